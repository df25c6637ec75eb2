// Package memory has sources and sinks that hold their records in memory, for
// examples, tests and measurements. It keeps nothing over a restart of the
// process.
package memory

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace"
)

// Of is a bounded source of records, which it keeps in order and cuts into so
// many splits, at least one. Records have no event time. The slice is kept and
// must not change.
func Of[T any](splits int, recs ...T) millrace.Source[T] {
	return source[T]{max(splits, 1), recs}
}

type source[T any] struct {
	splits int
	recs   []T
}

func (s source[T]) Bounded() bool { return true }

func (s source[T]) Splits(context.Context, int) ([]millrace.Split, error) {
	out := make([]millrace.Split, s.splits)
	for i := range out {
		out[i].ID = strconv.Itoa(i)
	}
	return out, nil
}

func (s source[T]) Open(_ context.Context, sp millrace.Split, at millrace.Position) (millrace.Reader[T], error) {
	i, err := strconv.Atoi(sp.ID)
	if err != nil || i < 0 || i >= s.splits {
		return nil, fmt.Errorf("memory: there is no split %q", sp.ID)
	}
	n := len(s.recs)
	r := &reader[T]{recs: s.recs[n*i/s.splits : n*(i+1)/s.splits]}
	if at != nil {
		k, m := binary.Uvarint(at)
		if m != len(at) || m <= 0 || k > uint64(len(r.recs)) {
			return nil, fmt.Errorf("memory: split %s has no position %x", sp.ID, []byte(at))
		}
		r.next = int(k)
	}
	return r, nil
}

type reader[T any] struct {
	recs []T
	next int
}

func (*reader[T]) ReadsInline() {}

func (r *reader[T]) Read(_ context.Context, out *millrace.Rows[T]) error {
	n := min(out.Room(), len(r.recs)-r.next)
	if n > 0 {
		rows, times := out.Fill(n)
		copy(rows, r.recs[r.next:])
		for i := range times {
			times[i] = math.MinInt64 // no event time
		}
		r.next += n
	}
	if r.next == len(r.recs) {
		return io.EOF
	}
	return nil
}

func (r *reader[T]) Position() millrace.Position {
	return binary.AppendUvarint(nil, uint64(r.next))
}

func (r *reader[T]) Close() error { return nil }

// Collect is a sink that keeps what is written to it. The zero value is ready
// for use; it must not be copied after.
type Collect[T any] struct {
	mu   sync.Mutex
	recs []T
}

// OpenWriter opens the writer of a subtask.
func (c *Collect[T]) OpenWriter(context.Context, millrace.Subtask) (millrace.Writer[T], error) {
	return collectWriter[T]{c}, nil
}

// Records is a copy of what has been written so far: in order for each
// subtask, the subtasks mixed.
func (c *Collect[T]) Records() []T {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]T(nil), c.recs...)
}

type collectWriter[T any] struct{ c *Collect[T] }

func (w collectWriter[T]) Write(_ context.Context, recs []T) error {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	w.c.recs = append(w.c.recs, recs...)
	return nil
}

func (collectWriter[T]) Flush(context.Context) error { return nil }
func (collectWriter[T]) Close() error                { return nil }

// Discard is a sink that counts records and drops them.
func Discard[T any]() *Discarded[T] { return &Discarded[T]{} }

// Discarded is the sink that [Discard] makes.
type Discarded[T any] struct{ n atomic.Int64 }

// OpenWriter opens the writer of a subtask.
func (d *Discarded[T]) OpenWriter(context.Context, millrace.Subtask) (millrace.Writer[T], error) {
	return &discardWriter[T]{d: d}, nil
}

// Count is how many records have been written: exact once the job has ended,
// and after each flush.
func (d *Discarded[T]) Count() int64 { return d.n.Load() }

// publishRecords is how many records a writer counts by itself before others
// can see them, so that subtasks do not pass one cache line round.
const publishRecords = 1 << 16

type discardWriter[T any] struct {
	d *Discarded[T]
	n int64
}

func (w *discardWriter[T]) Write(_ context.Context, recs []T) error {
	if w.n += int64(len(recs)); w.n >= publishRecords {
		w.publish()
	}
	return nil
}

func (w *discardWriter[T]) publish() {
	w.d.n.Add(w.n)
	w.n = 0
}

func (w *discardWriter[T]) Flush(context.Context) error { w.publish(); return nil }
func (w *discardWriter[T]) Close() error                { w.publish(); return nil }
