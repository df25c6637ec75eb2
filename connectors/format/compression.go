package format

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compression is how a whole file is compressed. Such a file can only be read
// from its start.
type Compression uint8

// The kinds of compression, with the name's ending that stands for each.
const (
	None Compression = iota
	Gzip             // .gz
	Zstd             // .zst
)

// String is the name of the compression.
func (c Compression) String() string {
	return [...]string{"plain", "gzip", "zstd"}[c]
}

// CompressionOf is the compression that a file's name stands for.
func CompressionOf(name string) Compression {
	switch {
	case strings.HasSuffix(name, ".gz"):
		return Gzip
	case strings.HasSuffix(name, ".zst"):
		return Zstd
	}
	return None
}

// zstdMemoryMax bounds the window a zstd file may ask for, so that a damaged
// header cannot take the machine's memory.
const zstdMemoryMax = 128 << 20

// Stream reads the file's content from offset from to its end, where offsets
// count decompressed bytes. A read returns an error that matches
// [ErrDamaged] when the compressed bytes are damaged or cut short; other
// errors come from the file.
func (in *Input) Stream(from int64) (io.ReadCloser, error) {
	raw := &rawReader{in: in}
	if in.Compression == None {
		raw.off = from
		return io.NopCloser(raw), nil
	}
	s := &stream{raw: raw}
	var err error
	switch in.Compression {
	case Gzip:
		if in.Size == 0 {
			return io.NopCloser(raw), nil
		}
		var z *gzip.Reader
		z, err = gzip.NewReader(raw)
		s.r, s.close = z, func() {}
	case Zstd:
		var z *zstd.Decoder
		z, err = zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(zstdMemoryMax))
		if err == nil {
			s.r, s.close = z, z.Close
		}
	}
	if err != nil {
		return nil, s.explain(err)
	}
	if _, err := io.CopyN(io.Discard, s, from); err != nil {
		s.close()
		if err == io.EOF {
			err = fmt.Errorf("%s: ends before byte %d", in.Path, from)
		}
		return nil, err
	}
	return s, nil
}

// ErrDamaged marks content that cannot be decompressed. What was read before
// it is good; nothing after it can be read.
var ErrDamaged = errors.New("damaged")

// rawReader reads the stored bytes in order and keeps the error of the file.
type rawReader struct {
	in  *Input
	off int64
	err error
}

func (r *rawReader) Read(p []byte) (int, error) {
	n, err := r.in.R.ReadAt(p, r.off)
	r.off += int64(n)
	if err != nil && err != io.EOF {
		r.err = fmt.Errorf("read %s: byte %d: %w", r.in.Path, r.off, err)
		return n, r.err
	}
	if n > 0 {
		err = nil
	}
	return n, err
}

type stream struct {
	raw   *rawReader
	r     io.Reader
	close func()
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		err = s.explain(err)
	}
	return n, err
}

func (s *stream) explain(err error) error {
	if s.raw.err != nil {
		return s.raw.err
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w %s content: %w", ErrDamaged, s.raw.in.Compression, err)
}

func (s *stream) Close() error {
	s.close()
	return nil
}

// Compress returns a writer that compresses to w; closing it ends the
// compressed content and leaves w open.
func Compress(w io.Writer, c Compression) (io.WriteCloser, error) {
	switch c {
	case Gzip:
		return gzip.NewWriter(w), nil
	case Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	}
	return nopCloser{w}, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
