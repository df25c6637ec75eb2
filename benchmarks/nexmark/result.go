package nexmark

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/benchmarks/jobs"
)

// emit ends an appending query: all rows of s are the result.
func emit[T any](p *plan, s millrace.Stream[T], print func(dst []byte, row *T) []byte) {
	if p.setup.Output == "" {
		discardRows(p, s)
		return
	}
	write(p, s.Map(func(row T) line { return line{text: string(print(nil, &row))} }), false)
}

// emitFinal ends an updating query: a row of s replaces the one before it with
// the same key.
func emitFinal[T any, K comparable](p *plan, s millrace.Stream[T], key func(*T) K, print func(dst []byte, row *T) []byte) {
	if p.setup.Output == "" {
		discardRows(p, s)
		return
	}
	write(p, s.Map(func(row T) line { return line{key: fmt.Sprint(key(&row)), text: string(print(nil, &row))} }), true)
}

// line is a row of the result, printed.
type line struct{ key, text string }

// write ends s in the file of results. All lines pass one subtask, in the
// order in which their subtask sent them.
func write(p *plan, s millrace.Stream[line], final bool) {
	s.Global().Map(func(l line) line { return l }).Parallelism(1).
		To("result", &lineSink{path: filepath.Join(p.setup.Output, p.query.Name+".jsonl"), final: final, tally: p.sink})
}

// lineSink writes lines to a file, or the last line of every key. The file
// takes its name when it is complete.
type lineSink struct {
	path  string
	final bool
	tally *jobs.Tally
}

// OpenWriter implements [millrace.Sink].
func (s *lineSink) OpenWriter(context.Context, millrace.Subtask) (millrace.Writer[line], error) {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o777); err != nil {
		return nil, fmt.Errorf("make folder of results: %w", err)
	}
	f, err := os.Create(s.path + ".part")
	if err != nil {
		return nil, fmt.Errorf("write results: %w", err)
	}
	return &lineWriter{lineSink: s, file: f, out: bufio.NewWriterSize(f, 64<<10), at: map[string]int{}}, nil
}

type lineWriter struct {
	*lineSink
	file *os.File
	out  *bufio.Writer
	rows int64
	last []string       // of each key
	at   map[string]int // where in last a key is
}

// Write implements [millrace.Writer].
func (w *lineWriter) Write(_ context.Context, lines []line) error {
	if w.rows == 0 {
		w.tally.Arrived()
	}
	w.rows += int64(len(lines))
	for _, l := range lines {
		if !w.final {
			if err := w.put(l.text); err != nil {
				return err
			}
			continue
		}
		i, ok := w.at[l.key]
		if !ok {
			i = len(w.last)
			w.at[l.key] = i
			w.last = append(w.last, "")
		}
		w.last[i] = l.text
	}
	return nil
}

func (w *lineWriter) put(text string) error {
	_, err := w.out.WriteString(text)
	if err == nil {
		err = w.out.WriteByte('\n')
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", w.file.Name(), err)
	}
	return nil
}

// Flush implements [millrace.Writer]. It is called once, at the end of input:
// these jobs take no checkpoints.
func (w *lineWriter) Flush(context.Context) error {
	for _, text := range w.last {
		if err := w.put(text); err != nil {
			return err
		}
	}
	w.last = nil
	if err := w.out.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", w.file.Name(), err)
	}
	if err := os.Rename(w.file.Name(), w.path); err != nil {
		return fmt.Errorf("name results: %w", err)
	}
	return nil
}

// Close implements [millrace.Writer].
func (w *lineWriter) Close() error {
	w.tally.Add(w.rows)
	w.rows = 0
	err := w.file.Close()
	if rerr := os.Remove(w.path + ".part"); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// discardRows ends s in a sink that counts rows.
func discardRows[T any](p *plan, s millrace.Stream[T]) { s.To("discard", jobs.Discard[T](p.sink)) }
