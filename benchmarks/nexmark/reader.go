package nexmark

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/gzip"
)

const (
	readBlock = 64 << 10
	lineMax   = 4 << 20 // a longer line is taken for something else than events
)

// A Reader reads events from lines of JSON. It is not safe for concurrent use.
type Reader struct {
	name string
	in   io.Reader
	done func() error // closes what OpenFile opened

	buf     []byte // read and not yet handed out; ends in a part of a line
	have    int    // bytes of buf that are read
	text    string // whole lines not yet parsed; events keep parts of it
	line    int64  // number of the last line handed out
	started bool
	err     error // of in; returned when text is used up

	p parser
}

// NewReader returns a reader of in, which may be compressed with gzip. The
// name is for error messages.
func NewReader(in io.Reader, name string) *Reader {
	return &Reader{name: name, in: in, buf: make([]byte, readBlock)}
}

// OpenFile returns a reader of a file, which may be compressed with gzip
// whatever its name. The caller closes it.
func OpenFile(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	r := NewReader(f, path)
	r.done = f.Close
	return r, nil
}

// Close closes the file if OpenFile opened it.
func (r *Reader) Close() error {
	if r.done == nil {
		return nil
	}
	return r.done()
}

// Line returns the number of the last line read, from 1.
func (r *Reader) Line() int64 { return r.line }

// Read reads up to len(dst) events, overwriting all of each, and returns how
// many. At the end of the input it returns 0 and io.EOF. Any other error
// names file and line and, of a bad event, the field; the events before it
// have been returned, and the error comes again with every call.
//
// Strings of an event share a block of 64 KiB with those of its neighbours:
// a program that keeps few of them for long should clone those.
func (r *Reader) Read(dst []Event) (int, error) {
	n := 0
	for n < len(dst) {
		line, ok := r.nextLine()
		if !ok {
			if n > 0 {
				return n, nil
			}
			return 0, r.err
		}
		if len(line) == 0 {
			continue
		}
		if err := r.p.parse(line, &dst[n]); err != nil {
			r.text = ""
			r.err = fmt.Errorf("%s: line %d: %w", r.name, r.line, err)
			if n > 0 {
				return n, nil
			}
			return 0, r.err
		}
		n++
	}
	return n, nil
}

// nextLine returns the next line without the blanks at its end, or false when there is none
// and r.err says why.
func (r *Reader) nextLine() (string, bool) {
	for r.text == "" {
		if r.err != nil {
			return "", false
		}
		r.fill()
	}
	line, rest, _ := strings.Cut(r.text, "\n")
	r.text = rest
	r.line++
	return strings.TrimRight(line, "\r\t "), true
}

// fill makes r.text of the whole lines that the next read gives, if any, and
// of the rest at the end of the input.
func (r *Reader) fill() {
	if !r.started {
		r.started = true
		if err := r.decompress(); err != nil {
			r.err = err
			return
		}
	}
	if r.have == len(r.buf) { // one long line fills it
		if len(r.buf) >= lineMax {
			r.err = fmt.Errorf("%s: line %d: longer than %d bytes", r.name, r.line+1, lineMax)
			return
		}
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	n, err := r.in.Read(r.buf[r.have:])
	end := bytes.LastIndexByte(r.buf[r.have:r.have+n], '\n')
	if end >= 0 {
		end += r.have + 1
	}
	r.have += n
	switch {
	case errors.Is(err, io.EOF):
		r.err = io.EOF
		end = r.have
	case err != nil:
		r.err = fmt.Errorf("%s: line %d: %w", r.name, r.line+1, err)
	}
	if end > 0 {
		r.text = string(r.buf[:end])
		r.have = copy(r.buf, r.buf[end:r.have])
	}
}

// decompress puts a decompressor before the input if it starts as gzip does.
func (r *Reader) decompress() error {
	head := make([]byte, 2)
	n, err := io.ReadFull(r.in, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	whole := io.MultiReader(bytes.NewReader(head[:n]), r.in)
	if n < 2 || head[0] != 0x1f || head[1] != 0x8b {
		r.in = whole
		return nil
	}
	z, err := gzip.NewReader(whole)
	if err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	r.in = z
	return nil
}
