// Package text reads and writes files whose records are their lines. It takes
// bytes as they are: what encoding they are in is left to the program.
package text

import (
	"context"
	"errors"
	"io"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/internal/lines"
)

// Options configures the format. Zero fields take the defaults given.
type Options struct {
	LineBytesMax int // longest line; a longer one is a bad record; 16 MiB
}

// Lines is the format of text files. A record is a line without its end,
// which is "\n" or "\r\n"; the last line may lack one, and an empty line is an
// empty record.
//
// The strings read are views into blocks of the file of 256 KiB. A program
// that keeps a few of many lines for long should keep strings.Clone of them.
func Lines() format.Format[string] { return Options{}.Lines() }

// Lines is [Lines] with options.
func (o Options) Lines() format.Format[string] { return lineFormat{o} }

type lineFormat struct{ o Options }

func (lineFormat) Extension() string { return ".txt" }

func (lineFormat) Cuts(_ *format.Input, near []int64) ([]int64, error) { return near, nil }

func (f lineFormat) Open(in *format.Input, r format.Range, at millrace.Position) (millrace.Reader[string], error) {
	s, err := lines.New(in, r, at, lines.Options{Max: f.o.LineBytesMax})
	if err != nil {
		return nil, err
	}
	return &reader{in: in, s: s}, nil
}

type reader struct {
	format.Inline
	in  *format.Input
	s   *lines.Scanner
	got []string // scratch of Read
}

// Read fills a scratch slice first, since how many lines there are shows only
// on the way and rows cannot be given back.
func (r *reader) Read(_ context.Context, out *millrace.Rows[string]) error {
	if cap(r.got) < out.Room() {
		r.got = make([]string, out.Room())
	}
	n, err := r.s.Strings(r.got[:out.Room()])
	if n > 0 {
		rows, times := out.Fill(n)
		copy(rows, r.got)
		format.NoTimes(times)
		return nil
	}
	switch {
	case errors.Is(err, lines.ErrTooLong):
		return r.s.PassTooLong(out.Bad)
	case err == io.EOF:
		r.s.ReportBroken(out.Bad)
	}
	return err
}

func (r *reader) Position() millrace.Position { return r.s.Position() }
func (r *reader) Close() error                { return r.s.Close() }

func (lineFormat) Encode(w io.Writer) (format.Encoder[string], error) {
	return &encoder{w: w}, nil
}

type encoder struct {
	w   io.Writer
	buf []byte
}

func (e *encoder) Encode(recs []string) error {
	e.buf = e.buf[:0]
	for _, s := range recs {
		e.buf = append(append(e.buf, s...), '\n')
	}
	_, err := e.w.Write(e.buf)
	return err
}

func (e *encoder) Close() error { return nil }
