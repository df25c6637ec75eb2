package jobs

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace"
)

// A Tally counts what reached the end of a job. Its parts add themselves once
// each, so that counting costs nothing while the job runs.
type Tally struct {
	rows  atomic.Int64
	first atomic.Int64 // Unix nanoseconds
}

// Rows is the number of records counted. It is complete when the job has ended.
func (t *Tally) Rows() int64 { return t.rows.Load() }

// First is when the first record arrived; zero if none has.
func (t *Tally) First() time.Time {
	if ns := t.first.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// Add counts n records.
func (t *Tally) Add(n int64) { t.rows.Add(n) }

// Arrived notes that a record has come; the first call counts.
func (t *Tally) Arrived() { t.first.CompareAndSwap(0, time.Now().UnixNano()) }

// Discard returns a sink that counts records in t and forgets them.
func Discard[T any](t *Tally) millrace.Sink[T] { return discard[T]{t} }

// discard is a sink that counts records in t and forgets them.
type discard[T any] struct{ t *Tally }

// OpenWriter implements [millrace.Sink].
func (d discard[T]) OpenWriter(context.Context, millrace.Subtask) (millrace.Writer[T], error) {
	return &discardWriter[T]{t: d.t}, nil
}

type discardWriter[T any] struct {
	t    *Tally
	rows int64
}

// Write implements [millrace.Writer].
func (w *discardWriter[T]) Write(_ context.Context, recs []T) error {
	if w.rows == 0 {
		w.t.Arrived()
	}
	w.rows += int64(len(recs))
	return nil
}

// Flush implements [millrace.Writer].
func (w *discardWriter[T]) Flush(context.Context) error { return nil }

// Close implements [millrace.Writer].
func (w *discardWriter[T]) Close() error {
	w.t.rows.Add(w.rows)
	w.rows = 0
	return nil
}

// fixed makes an Events function of a number.
func fixed(n int64) func() int64 { return func() int64 { return n } }

// sourceOnly makes the Source function of a Run out of a source of n records.
func sourceOnly[T any](source func(n int64) millrace.Source[T], t *Tally) func(*millrace.Job, int64) {
	return func(j *millrace.Job, n int64) { j.From("source", source(n)).To("discard", discard[T]{t}) }
}
