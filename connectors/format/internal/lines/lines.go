// Package lines reads the lines of a file that start in one range of it, for
// the formats whose records are lines or begin at one. It decides where a
// range begins and ends, keeps positions, and bounds what a line may take; it
// leaves to the formats what is in a line.
package lines

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/internal/fields"
)

// ChunkBytes is how much is read at once. Strings cut from lines keep their
// chunk alive, so it should be small; and a read costs a system call, so it
// should be large. From 64 KiB to 1 MiB the time per line differs by less than
// a tenth, and a chunk that fits the second-level cache is read while warm.
const ChunkBytes = 256 << 10

// DefaultMax is the longest line by default.
const DefaultMax = 16 << 20

// tailBytes is how much is read beyond a range's end at first, for its last
// line.
const tailBytes = 4 << 10

// ErrTooLong is the reason given for a line longer than the limit.
var ErrTooLong = errors.New("line is longer than the limit")

// A Scanner walks the lines that start in a range.
//
// Chunks are freshly allocated and never written again unless Reuse was
// asked for, so lines, and strings that view them, stay valid.
type Scanner struct {
	// Set by New, never written again.
	in    *format.Input
	max   int
	reuse bool
	to    int64

	r      io.ReadCloser
	buf    []byte // what has been read and not taken is buf[pos:]
	pos    int
	off    int64 // offset of buf[pos] in the file's content
	next   int64 // offset of the next byte to come from r
	ended  bool  // r has no more
	broken error // why r ended early, an ErrDamaged

	lines counter
}

// Options configures a Scanner.
type Options struct {
	// Max is the longest line in bytes; 0 is DefaultMax.
	Max int
	// Reuse says that nothing refers to a line after the next call.
	Reuse bool
}

// New returns a scanner of the lines of in that start in r. at continues where
// Position was taken; nil starts at the range's start.
func New(in *format.Input, r format.Range, at millrace.Position, o Options) (*Scanner, error) {
	s := &Scanner{in: in, max: o.Max, reuse: o.Reuse, to: r.To}
	if s.max <= 0 {
		s.max = DefaultMax
	}
	from, inside := r.From, r.From > 0
	if at != nil {
		off, n := binary.Uvarint(at)
		if n != len(at) || n <= 0 || int64(off) < r.From {
			return nil, fmt.Errorf("%s: position %x is not one of the range from %d", in.Path, []byte(at), r.From)
		}
		from, inside = int64(off), false
	}
	// The byte before the range tells whether a line starts at its start.
	if inside {
		from--
	}
	src, err := in.Stream(from)
	if err != nil && !errors.Is(err, format.ErrDamaged) {
		return nil, err
	}
	s.r, s.off, s.next = src, from, from
	s.lines.counting = in.Compression != format.None && from == 0
	if err != nil {
		s.ended, s.broken = true, err
	}
	if inside {
		if err := s.Skip(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Close ends the scanner.
func (s *Scanner) Close() error {
	if s.r == nil {
		return nil
	}
	return s.r.Close()
}

// Max is the longest line in bytes.
func (s *Scanner) Max() int { return s.max }

// Offset is where the next line starts, in bytes of the file's content.
func (s *Scanner) Offset() int64 { return s.off }

// Position is Offset as a position to continue from.
func (s *Scanner) Position() millrace.Position {
	return binary.AppendUvarint(nil, uint64(s.off))
}

// Done reports whether the next line, if there is one, starts outside the
// range.
func (s *Scanner) Done() bool { return s.off >= s.to }

// Window is what has been read and not taken. It is valid until the next
// call of More, and for good unless chunks are reused.
func (s *Scanner) Window() []byte { return s.buf[s.pos:] }

// Ended reports whether Window is all that is left of the file.
func (s *Scanner) Ended() bool { return s.ended }

// Broken is why the file ended before its time, or nil: see
// [format.ErrDamaged].
func (s *Scanner) Broken() error { return s.broken }

// Advance takes the first n bytes of the window.
func (s *Scanner) Advance(n int) {
	s.pos += n
	s.off += int64(n)
}

// More makes the window longer, unless the file has ended. An error is the
// file's.
func (s *Scanner) More() error {
	if s.ended {
		return nil
	}
	rest := s.buf[s.pos:]
	size := ChunkBytes
	if want := s.to - s.next + tailBytes; want < int64(size) {
		size = int(max(want, tailBytes))
	}
	// A long line is read in growing steps, each of which copies it.
	size = max(size, len(rest))
	s.lines.drop(s.buf[:s.pos])
	if s.reuse && cap(s.buf) >= len(rest)+size {
		copy(s.buf[:len(rest)], rest)
		s.buf = s.buf[:len(rest)]
	} else {
		s.buf = append(make([]byte, 0, len(rest)+size), rest...)
	}
	s.pos = 0
	n, err := io.ReadFull(s.r, s.buf[len(rest):len(rest)+size])
	s.buf = s.buf[:len(rest)+n]
	s.next += int64(n)
	switch {
	case err == nil:
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		s.ended = true
	case errors.Is(err, format.ErrDamaged):
		s.ended, s.broken = true, err
	default:
		return err
	}
	return nil
}

// Next returns the next line of the range without its end ("\n" or "\r\n"),
// io.EOF after the last, or ErrTooLong for one that must be passed over with
// Skip.
func (s *Scanner) Next() ([]byte, error) {
	if s.Done() {
		return nil, io.EOF
	}
	for {
		w := s.buf[s.pos:]
		if i := bytes.IndexByte(w, '\n'); i >= 0 {
			if i > s.max {
				return nil, ErrTooLong
			}
			s.Advance(i + 1)
			return trim(w[:i]), nil
		}
		if len(w) > s.max {
			return nil, ErrTooLong
		}
		if s.ended {
			// What stands before a damaged place may not be all of its line.
			if len(w) == 0 || s.broken != nil {
				return nil, io.EOF
			}
			s.Advance(len(w))
			return trim(w), nil
		}
		if err := s.More(); err != nil {
			return nil, err
		}
	}
}

// Strings is Next for many lines: it fills dst with views of them and returns
// how many. Fewer than len(dst), or none, come with the reason.
func (s *Scanner) Strings(dst []string) (n int, err error) {
	for n < len(dst) {
		w := s.buf[s.pos:]
		left := s.to - s.off
		at, limit := 0, s.max
		for n < len(dst) && int64(at) < left {
			i := bytes.IndexByte(w[at:], '\n')
			if i < 0 || i > limit {
				break
			}
			line := w[at : at+i]
			if i > 0 && line[i-1] == '\r' {
				line = line[:i-1]
			}
			dst[n] = fields.View(line)
			n++
			at += i + 1
		}
		s.Advance(at)
		if n == len(dst) {
			break
		}
		// The slow way meets the end of the window, the range or the file.
		line, err := s.Next()
		if err != nil {
			return n, err
		}
		dst[n] = fields.View(line)
		n++
	}
	return n, nil
}

// Skip passes over the rest of the current line, however long it is.
func (s *Scanner) Skip() error {
	for {
		w := s.buf[s.pos:]
		if i := bytes.IndexByte(w, '\n'); i >= 0 {
			s.Advance(i + 1)
			return nil
		}
		s.Advance(len(w))
		if s.ended {
			return nil
		}
		if err := s.More(); err != nil {
			return err
		}
	}
}

func trim(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// Where says in words where offset off is: by line where that is known or
// cheap to find, and by byte.
func (s *Scanner) Where(off int64) string {
	line, ok := s.lines.at(s, off)
	if !ok {
		return fmt.Sprintf("byte %d", off)
	}
	return fmt.Sprintf("line %d, byte %d", line, off)
}

// countMax bounds how much of a file is read again to find a line's number.
const countMax = 256 << 20

// counter finds line numbers. A file that can be read anywhere is read again
// when a number is asked for; the lines of a compressed one are counted as
// they pass, which costs little beside its decompression.
type counter struct {
	counting bool  // a compressed file, read from its start
	passed   int64 // line ends before the window's buffer, when counting

	off, line int64 // a place and the line ends before it, otherwise
	buf       []byte
}

var newline = []byte{'\n'}

func (c *counter) drop(b []byte) {
	if c.counting {
		c.passed += int64(bytes.Count(b, newline))
	}
}

func (c *counter) at(s *Scanner, off int64) (line int64, ok bool) {
	if s.in.Compression != format.None {
		i := off - (s.off - int64(s.pos))
		if !c.counting || i < 0 || i > int64(len(s.buf)) {
			return 0, false
		}
		return c.passed + int64(bytes.Count(s.buf[:i], newline)) + 1, true
	}
	if off < c.off {
		c.off, c.line = 0, 0
	}
	if off-c.off > countMax {
		return 0, false
	}
	if c.buf == nil {
		c.buf = make([]byte, 64<<10)
	}
	for c.off < off {
		n, err := s.in.R.ReadAt(c.buf[:min(int64(len(c.buf)), off-c.off)], c.off)
		c.line += int64(bytes.Count(c.buf[:n], newline))
		c.off += int64(n)
		if err != nil && c.off < off {
			return 0, false
		}
	}
	return c.line + 1, true
}

// PassTooLong reports the line that Next gave ErrTooLong for and passes over
// it.
func (s *Scanner) PassTooLong(bad func(millrace.BadRecord)) error {
	bad(s.in.Bad(s.Where(s.off), "", fmt.Errorf("%w of %d bytes", ErrTooLong, s.max), s.Window()))
	return s.Skip()
}

// ReportBroken reports once that the file ended before its time, if it did.
func (s *Scanner) ReportBroken(bad func(millrace.BadRecord)) {
	if s.broken == nil {
		return
	}
	bad(s.in.Bad(s.Where(s.off), "", fmt.Errorf("the rest of the file cannot be read: %w", s.broken), s.Window()))
	s.broken = nil
}
