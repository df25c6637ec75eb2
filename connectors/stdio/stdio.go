// Package stdio prints records to standard output, for a person or for the
// next program in a pipe.
package stdio

import (
	"bytes"
	"context"
	v1 "encoding/json"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"

	"github.com/millrace/millrace"
)

// Options configures the sink. Zero fields take the defaults given.
type Options struct {
	JSON bool      // a JSON value a line; as fmt prints with %+v
	Bare bool      // no subtask before lines; "2> " and so on when there are several
	To   io.Writer // standard output
}

// Print is a sink that prints a record a line. Lines of several subtasks come
// whole and start with the subtask's number, counted from 1. Standard output
// that is closed, or read by nobody any more, is an error.
func Print[T any](opts ...Options) millrace.Sink[T] {
	s := &sink[T]{}
	if len(opts) > 0 {
		s.o = opts[0]
	}
	return s
}

type sink[T any] struct {
	o Options

	// Guards To: writers of all subtasks share it.
	mu sync.Mutex
}

func (s *sink[T]) OpenWriter(_ context.Context, sub millrace.Subtask) (millrace.Writer[T], error) {
	w := &writer[T]{sink: s, out: s.o.To}
	if w.out == nil {
		f, err := standardOutput()
		if err != nil {
			return nil, explain(err)
		}
		w.out, w.file = f, f
	}
	if sub.Of > 1 && !s.o.Bare {
		w.prefix = strconv.Itoa(sub.Index+1) + "> "
	}
	w.enc = jsontext.NewEncoder(&w.buf, v1.FormatDurationAsNano(true))
	return w, nil
}

type writer[T any] struct {
	sink   *sink[T]
	prefix string
	out    io.Writer
	file   io.Closer // out, if it is ours to close
	buf    bytes.Buffer
	enc    *jsontext.Encoder
}

// Write prints recs in one write, so that lines stay whole and a batch costs
// one system call.
func (w *writer[T]) Write(_ context.Context, recs []T) error {
	w.buf.Reset()
	for i := range recs {
		w.buf.WriteString(w.prefix)
		if !w.sink.o.JSON {
			fmt.Fprintf(&w.buf, "%+v\n", recs[i])
			continue
		}
		w.enc.Reset(&w.buf, v1.FormatDurationAsNano(true))
		if err := json.MarshalEncode(w.enc, &recs[i]); err != nil {
			return fmt.Errorf("stdio: record as JSON: %w", err)
		}
	}
	if w.buf.Len() == 0 {
		return nil
	}
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	if _, err := w.out.Write(w.buf.Bytes()); err != nil {
		return explain(err)
	}
	return nil
}

// Flush does nothing: nothing is kept back.
func (w *writer[T]) Flush(context.Context) error { return nil }

func (w *writer[T]) Close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

// explain says what errors of standard output mean.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("stdio: standard output is closed: the program that read it has gone: %w", err)
	case errors.Is(err, syscall.EBADF), errors.Is(err, os.ErrClosed):
		return fmt.Errorf("stdio: standard output is closed: %w", err)
	}
	return fmt.Errorf("stdio: write to standard output: %w", err)
}
