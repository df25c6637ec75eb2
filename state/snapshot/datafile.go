package snapshot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"path"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
)

// A data file is a head of 16 bytes, blocks, and a foot of 32 bytes; numbers are
// little endian.
//
//	head   magic "MRDATA\r\n", u32 version, u32 zero
//	block  u32 bytes of payload, u32 bytes it holds, u8 codec, 7 zero bytes,
//	       u64 checksum; payload
//	foot   magic "MREND\r\n\0", u64 size of the file, u64 blocks in it,
//	       u64 xxh64 of all bytes before
//
// A block's checksum is the xxh64 of a word that belongs to the file's name, the
// block's offset, the 16 bytes before the checksum and the payload, so that a
// block in the wrong place is as wrong as one with wrong bytes.
const (
	dataMagic      = "MRDATA\r\n"
	footMagic      = "MREND\r\n\x00"
	headBytes      = 16
	blockHeadBytes = 24
	footBytes      = 32

	// blockBytes is what the writer puts into a block before compression.
	// Smaller blocks compress worse; from larger ones a single key group costs
	// more to read.
	blockBytes = 256 << 10
	// blockBytesMax is the most a block may hold.
	blockBytesMax = 1 << 20
)

// The codecs of a block.
const (
	codecNone = 0
	codecZstd = 1
)

// xxh64 was chosen over sha256 for blocks and files, which are read on every
// restore: it is ten times as fast and misses a random change with a
// probability of 2^-64. It is no defence against someone who can write to the
// store, and need not be: they could as well write a whole checkpoint.

// fileWord goes into the checksums of a file's blocks.
func fileWord(name string) uint64 { return xxhash.Sum64String(path.Base(name)) }

// encoder and decoder of all blocks; both are safe for concurrent use.
var (
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
			zstd.WithWindowSize(blockBytes), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(err) // of wrong options only
		}
		return e
	})
	zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(blockBytesMax), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic(err)
		}
		return d
	})
)

// compressed has memory to compress blocks into.
var compressed = sync.Pool{New: func() any { return new([]byte) }}

// A block is a block of a data file that has no place yet.
type block struct {
	head    [blockHeadBytes]byte // without its checksum
	payload []byte
	raw     int
}

// newBlock makes a block that holds raw, which it keeps only if it may: if
// owned. compress says that it may be worth it.
func newBlock(raw []byte, compress, owned bool) block {
	b := block{raw: len(raw)}
	codec := byte(codecNone)
	if compress {
		buf := compressed.Get().(*[]byte)
		p := zstdEncoder().EncodeAll(raw, (*buf)[:0])
		if len(p) < len(raw)-len(raw)/16 {
			b.payload, codec = bytes.Clone(p), codecZstd
		}
		*buf = p
		compressed.Put(buf)
	}
	if codec == codecNone {
		b.payload = raw
		if !owned {
			b.payload = bytes.Clone(raw)
		}
	}
	binary.LittleEndian.PutUint32(b.head[0:], uint32(len(b.payload)))
	binary.LittleEndian.PutUint32(b.head[4:], uint32(len(raw)))
	b.head[8] = codec
	return b
}

// size is that of the block in the file.
func (b *block) size() int64 { return int64(blockHeadBytes + len(b.payload)) }

// place writes the checksum for a place in a file.
func (b *block) place(word uint64, offset int64) {
	binary.LittleEndian.PutUint64(b.head[16:], blockSum(word, offset, b.head[:16], b.payload))
}

func blockSum(word uint64, offset int64, head, payload []byte) uint64 {
	var place [16]byte
	binary.LittleEndian.PutUint64(place[0:], word)
	binary.LittleEndian.PutUint64(place[8:], uint64(offset))
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(place[:])
	_, _ = d.Write(head)
	_, _ = d.Write(payload)
	return d.Sum64()
}

// decodeHead reads a block's head. n is the size of its payload, raw what it
// holds; both are within bounds.
func decodeHead(head []byte) (n, raw int, err error) {
	size, holds := binary.LittleEndian.Uint32(head[0:]), binary.LittleEndian.Uint32(head[4:])
	switch {
	case holds == 0 || holds > blockBytesMax:
		return 0, 0, fmt.Errorf("a block of %d bytes, want 1 to %d", holds, blockBytesMax)
	case size == 0 || size > holds:
		return 0, 0, fmt.Errorf("a block of %d bytes stored in %d", holds, size)
	case head[8] == codecNone && size != holds:
		return 0, 0, fmt.Errorf("a block of %d bytes stored in %d without compression", holds, size)
	case head[8] > codecZstd || !allZero(head[9:16]):
		return 0, 0, fmt.Errorf("a block with codec %x, want 0 or 1", head[8:16])
	}
	return int(size), int(holds), nil
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// decodeBlock reads the block that src begins with, which is at offset of its
// file. It returns the size of the block in the file and what the block holds,
// in dst's memory, in src or in new memory. src may be longer. io.ErrUnexpectedEOF
// if it is shorter than the block.
func decodeBlock(dst, src []byte, word uint64, offset int64) (size int, raw []byte, err error) {
	if len(src) < blockHeadBytes {
		return 0, nil, io.ErrUnexpectedEOF
	}
	head := src[:blockHeadBytes]
	n, holds, err := decodeHead(head)
	if err != nil {
		return 0, nil, err
	}
	if len(src)-blockHeadBytes < n {
		return 0, nil, io.ErrUnexpectedEOF
	}
	payload := src[blockHeadBytes : blockHeadBytes+n]
	want := binary.LittleEndian.Uint64(head[16:])
	if got := blockSum(word, offset, head[:16], payload); got != want {
		return 0, nil, fmt.Errorf("checksum of a block of %d bytes is %s, want %s", n, Sum(got), Sum(want))
	}
	if head[8] == codecNone {
		return blockHeadBytes + n, payload, nil
	}
	if cap(dst) < holds {
		dst = make([]byte, 0, holds)
	}
	raw, err = zstdDecoder().DecodeAll(payload, dst[:0:holds])
	if err != nil {
		return 0, nil, fmt.Errorf("decompress a block: %w", err)
	}
	if len(raw) != holds {
		return 0, nil, fmt.Errorf("a block of %d bytes, want %d", len(raw), holds)
	}
	return blockHeadBytes + n, raw, nil
}

func appendHead(dst []byte) []byte {
	dst = append(dst, dataMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, Version)
	return binary.LittleEndian.AppendUint32(dst, 0)
}

func checkHead(head []byte) error {
	if string(head[:8]) != dataMagic {
		return fmt.Errorf("begins with %q, not with a data file's %q", head[:8], dataMagic)
	}
	version, zero := binary.LittleEndian.Uint32(head[8:]), binary.LittleEndian.Uint32(head[12:])
	if version != Version || zero != 0 {
		return fmt.Errorf("version %d, %d; want %d, 0", version, zero, Version)
	}
	return nil
}

// A dataFile is a data file being put together in memory.
type dataFile struct {
	name   string
	word   uint64
	parts  [][]byte // the file's bytes
	size   int64
	blocks uint64
	sum    Sum // once sealed
}

func newDataFile(name string) *dataFile {
	return &dataFile{name: name, word: fileWord(name), parts: [][]byte{appendHead(nil)}, size: headBytes}
}

// add appends a block, whose memory the file then owns.
func (f *dataFile) add(b *block) {
	b.place(f.word, f.size)
	f.parts = append(f.parts, b.head[:], b.payload)
	f.size += b.size()
	f.blocks++
}

// seal writes the foot. Nothing is added after it.
func (f *dataFile) seal() {
	var d xxhash.Digest
	d.Reset()
	for _, p := range f.parts {
		_, _ = d.Write(p)
	}
	f.size += footBytes
	foot, sum := appendFoot(nil, &d, f.size, f.blocks)
	f.parts, f.sum = append(f.parts, foot), sum
}

// appendFoot appends the foot of a file of size bytes, foot included. d has seen
// all bytes before.
func appendFoot(dst []byte, d *xxhash.Digest, size int64, blocks uint64) ([]byte, Sum) {
	at := len(dst)
	dst = append(dst, footMagic...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(size))
	dst = binary.LittleEndian.AppendUint64(dst, blocks)
	_, _ = d.Write(dst[at:])
	sum := Sum(d.Sum64())
	return binary.LittleEndian.AppendUint64(dst, uint64(sum)), sum
}

// reader reads the sealed file.
func (f *dataFile) reader() io.Reader { return &partsReader{parts: f.parts} }

type partsReader struct{ parts [][]byte }

func (r *partsReader) Read(p []byte) (n int, err error) {
	for n < len(p) && len(r.parts) > 0 {
		k := copy(p[n:], r.parts[0])
		n += k
		if r.parts[0] = r.parts[0][k:]; len(r.parts[0]) == 0 {
			r.parts = r.parts[1:]
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// walkFile reads a whole data file from r and calls visit with each block's
// offset, size and content, which is valid during the call. It returns the
// file's checksum and size. Errors of r are returned as they are; all others are
// a fileError.
func walkFile(r io.Reader, name string, visit func(offset int64, size int, raw []byte) error) (Sum, int64, error) {
	var d xxhash.Digest
	d.Reset()
	word := fileWord(name)
	var buf, raw []byte
	at := int64(0)
	read := func(n int) error {
		if cap(buf) < n {
			buf = append(make([]byte, 0, n+n/4), buf...)
		}
		have := len(buf)
		buf = buf[:n]
		k, err := io.ReadFull(r, buf[have:])
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return &fileError{at + int64(have) + int64(k), "ends here, in the middle"}
		}
		return err
	}
	fail := func(err error) error { return &fileError{at, err.Error()} }
	buf = buf[:0]
	if err := read(headBytes); err != nil {
		return 0, 0, err
	}
	if err := checkHead(buf); err != nil {
		return 0, 0, fail(err)
	}
	_, _ = d.Write(buf)
	at += headBytes
	for blocks := uint64(0); ; blocks++ {
		buf = buf[:0]
		if err := read(len(footMagic)); err != nil {
			return 0, 0, err
		}
		if string(buf) == footMagic {
			if err := read(footBytes); err != nil {
				return 0, 0, err
			}
			_, _ = d.Write(buf[:footBytes-sumBytes])
			sum := Sum(d.Sum64())
			size, n, want := binary.LittleEndian.Uint64(buf[8:]), binary.LittleEndian.Uint64(buf[16:]), Sum(binary.LittleEndian.Uint64(buf[24:]))
			switch {
			case sum != want:
				return 0, 0, fail(fmt.Errorf("checksum of the file is %s, want %s", sum, want))
			case size > math.MaxInt64 || int64(size) != at+footBytes || n != blocks:
				return 0, 0, fail(fmt.Errorf("foot of a file of %d bytes and %d blocks behind %d blocks", size, n, blocks))
			}
			at += footBytes
			buf = buf[:0]
			if k, err := io.ReadFull(r, make([]byte, 1)); k > 0 || err != io.EOF {
				if k > 0 {
					err = fail(fmt.Errorf("more bytes behind the end"))
				}
				return 0, 0, err
			}
			return sum, at, nil
		}
		if err := read(blockHeadBytes); err != nil {
			return 0, 0, err
		}
		n, _, err := decodeHead(buf)
		if err != nil {
			return 0, 0, fail(err)
		}
		if err := read(blockHeadBytes + n); err != nil {
			return 0, 0, err
		}
		size, data, err := decodeBlock(raw, buf, word, at)
		if err != nil {
			return 0, 0, fail(err)
		}
		if buf[8] != codecNone {
			raw = data
		}
		if err := visit(at, size, data); err != nil {
			return 0, 0, err
		}
		_, _ = d.Write(buf)
		at += int64(size)
	}
}

// A fileError says what is wrong with a data file and where.
type fileError struct {
	offset  int64
	problem string
}

func (e *fileError) Error() string { return fmt.Sprintf("at offset %d: %s", e.offset, e.problem) }
