package csv

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/internal/fields"
)

// Encode writes a header unless the options say otherwise. Times are written
// as the options say, durations as package time prints them.
func (f *csvFormat[T]) Encode(w io.Writer) (format.Encoder[T], error) {
	if f.err != nil {
		return nil, f.err
	}
	e := &encoder[T]{f: f, w: w}
	if f.o.NoHeader {
		return e, nil
	}
	for i, name := range f.names() {
		e.separate(i)
		e.text(name, false)
	}
	e.buf = append(e.buf, '\n')
	return e, e.flush()
}

type encoder[T any] struct {
	f   *csvFormat[T]
	w   io.Writer
	buf []byte
	err error // the first value that cannot be written
}

func (e *encoder[T]) Encode(recs []T) error {
	for i := range recs {
		for j := range e.f.fields {
			fd := &e.f.fields[j]
			e.separate(j)
			at := fields.Cell(&recs[i], fd)
			if fd.Optional {
				if at = fields.Deref(at); at.Nil() {
					continue
				}
			}
			e.value(at, fd)
		}
		e.buf = append(e.buf, '\n')
	}
	return e.flush()
}

func (e *encoder[T]) Close() error { return nil }

func (e *encoder[T]) flush() error {
	if e.err != nil {
		return e.err
	}
	_, err := e.w.Write(e.buf)
	e.buf = e.buf[:0]
	return err
}

func (e *encoder[T]) separate(i int) {
	if i > 0 {
		e.buf = append(e.buf, e.f.o.Comma)
	}
}

func (e *encoder[T]) value(at fields.Cells, f *fields.Field) {
	switch f.Kind {
	case fields.Bool:
		e.buf = strconv.AppendBool(e.buf, *fields.At[bool](at, 0))
	case fields.Int8:
		e.buf = strconv.AppendInt(e.buf, int64(*fields.At[int8](at, 0)), 10)
	case fields.Int16:
		e.buf = strconv.AppendInt(e.buf, int64(*fields.At[int16](at, 0)), 10)
	case fields.Int32:
		e.buf = strconv.AppendInt(e.buf, int64(*fields.At[int32](at, 0)), 10)
	case fields.Int64:
		e.buf = strconv.AppendInt(e.buf, *fields.At[int64](at, 0), 10)
	case fields.Uint8:
		e.buf = strconv.AppendUint(e.buf, uint64(*fields.At[uint8](at, 0)), 10)
	case fields.Uint16:
		e.buf = strconv.AppendUint(e.buf, uint64(*fields.At[uint16](at, 0)), 10)
	case fields.Uint32:
		e.buf = strconv.AppendUint(e.buf, uint64(*fields.At[uint32](at, 0)), 10)
	case fields.Uint64:
		e.buf = strconv.AppendUint(e.buf, *fields.At[uint64](at, 0), 10)
	case fields.Float32:
		e.buf = strconv.AppendFloat(e.buf, float64(*fields.At[float32](at, 0)), 'g', -1, 32)
	case fields.Float64:
		e.buf = strconv.AppendFloat(e.buf, *fields.At[float64](at, 0), 'g', -1, 64)
	case fields.String:
		e.text(*fields.At[string](at, 0), f.Optional)
	case fields.Bytes:
		e.text(string(*fields.At[[]byte](at, 0)), f.Optional)
	case fields.Time:
		layout := e.f.o.TimeLayout
		if layout == "" {
			layout = time.RFC3339Nano
		}
		e.text(fields.At[time.Time](at, 0).Format(layout), false)
	case fields.Duration:
		e.buf = append(e.buf, fields.At[time.Duration](at, 0).String()...)
	}
}

// text appends a cell, quoted where it must be: also when it is empty and nil
// could have been meant, or when the line would be empty without.
func (e *encoder[T]) text(s string, mayBeNil bool) {
	if e.f.o.NoQuotes {
		if i := strings.IndexAny(s, "\r\n"+string(rune(e.f.o.Comma))); i >= 0 && e.err == nil {
			e.err = fmt.Errorf("csv: a cell cannot hold %q when quotes are off: %.64q", s[i], s)
		}
	} else if strings.ContainsAny(s, "\"\r\n") || strings.IndexByte(s, e.f.o.Comma) >= 0 ||
		s == "" && (mayBeNil || len(e.f.fields) == 1) {
		e.buf = append(e.buf, '"')
		e.buf = append(e.buf, strings.ReplaceAll(s, `"`, `""`)...)
		e.buf = append(e.buf, '"')
		return
	}
	e.buf = append(e.buf, s...)
}
