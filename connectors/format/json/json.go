// Package json reads and writes files of JSON lines: one JSON value a line.
package json

import (
	"context"
	v1 "encoding/json"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/internal/lines"
)

// Options configures the format. Zero fields take the defaults given.
type Options struct {
	LineBytesMax int  // longest line; a longer one is a bad record; 16 MiB
	KnownOnly    bool // a member that the record has no field for is an error; it is passed over
}

// Of is the format of JSON lines that hold a T, which is usually a struct with
// json tags. Empty lines are passed over. Members that are missing leave their
// field zero; a member given twice, invalid UTF-8 and a value that does not
// fit its field make a bad record. Durations are whole nanoseconds.
func Of[T any]() format.Format[T] { return jsonFormat[T]{} }

// With is [Of] with options.
func With[T any](o Options) format.Format[T] { return jsonFormat[T]{o} }

type jsonFormat[T any] struct{ o Options }

func (jsonFormat[T]) Extension() string { return ".json" }

func (jsonFormat[T]) Cuts(_ *format.Input, near []int64) ([]int64, error) { return near, nil }

func (f jsonFormat[T]) Open(in *format.Input, r format.Range, at millrace.Position) (millrace.Reader[T], error) {
	// Decoding copies what it keeps, so chunks can be reused. A field that is
	// a jsontext.Value is copied too.
	s, err := lines.New(in, r, at, lines.Options{Max: f.o.LineBytesMax, Reuse: true})
	if err != nil {
		return nil, err
	}
	return &reader[T]{in: in, s: s, opts: json.JoinOptions(
		v1.FormatDurationAsNano(true),
		json.RejectUnknownMembers(f.o.KnownOnly),
	)}, nil
}

type reader[T any] struct {
	format.Inline
	in   *format.Input
	s    *lines.Scanner
	opts json.Options
	rec  T
}

func (r *reader[T]) Read(_ context.Context, out *millrace.Rows[T]) error {
	bad := 0
	for out.Room() > 0 && bad < format.BadMax {
		at := r.s.Offset()
		line, err := r.s.Next()
		switch {
		case errors.Is(err, lines.ErrTooLong):
			bad++
			if err := r.s.PassTooLong(out.Bad); err != nil {
				return err
			}
			continue
		case err == io.EOF:
			r.s.ReportBroken(out.Bad)
			return io.EOF
		case err != nil:
			return err
		}
		if blank(line) {
			continue
		}
		var zero T
		r.rec = zero
		if err := json.Unmarshal(line, &r.rec, r.opts); err != nil {
			bad++
			field, reason := explain(err)
			out.Bad(r.in.Bad(r.s.Where(at), field, reason, line))
			continue
		}
		out.Append(r.rec)
	}
	return nil
}

func (r *reader[T]) Position() millrace.Position { return r.s.Position() }
func (r *reader[T]) Close() error                { return r.s.Close() }

func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' {
			return false
		}
	}
	return true
}

// explain separates the field at fault from what is wrong with it.
func explain(err error) (field string, reason error) {
	var sem *json.SemanticError
	var syn *jsontext.SyntacticError
	switch {
	case errors.As(err, &sem):
		field = dotted(sem.JSONPointer)
		if sem.GoType == nil {
			return field, err
		}
		what := kindName(sem.JSONKind)
		if len(sem.JSONValue) > 0 && len(sem.JSONValue) <= 64 {
			what += " " + string(sem.JSONValue)
		}
		if sem.Err != nil {
			return field, fmt.Errorf("%s does not fit type %v: %w", what, sem.GoType, sem.Err)
		}
		return field, fmt.Errorf("%s does not fit type %v", what, sem.GoType)
	case errors.As(err, &syn):
		return dotted(syn.JSONPointer), fmt.Errorf("after %d bytes of the line: %w", syn.ByteOffset, syn.Err)
	}
	return "", err
}

func kindName(k jsontext.Kind) string {
	switch k {
	case jsontext.KindBeginObject:
		return "object"
	case jsontext.KindBeginArray:
		return "array"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "bool"
	}
	return k.String()
}

func dotted(p jsontext.Pointer) string {
	return strings.ReplaceAll(strings.TrimPrefix(string(p), "/"), "/", ".")
}

func (jsonFormat[T]) Encode(w io.Writer) (format.Encoder[T], error) {
	return &encoder[T]{jsontext.NewEncoder(w, v1.FormatDurationAsNano(true))}, nil
}

type encoder[T any] struct{ e *jsontext.Encoder }

func (e *encoder[T]) Encode(recs []T) error {
	for i := range recs {
		if err := json.MarshalEncode(e.e, &recs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder[T]) Close() error { return nil }
