// Package datagen makes records from a function of their index, for
// examples, tests and measurements. The same function gives the same records
// however many subtasks make them, and after a restart.
package datagen

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/millrace/millrace"
)

// Unbounded as a number of records means that they never end.
const Unbounded int64 = -1

// Options configures a generator. Zero fields take the defaults given.
type Options struct {
	Rate   float64 // records a second over all subtasks; as fast as they are taken
	Splits int     // parts the indexes are dealt to in turn; the parallelism
}

// Of is a source of gen(0) to gen(n-1), or without end if n is [Unbounded].
// Records have no event time. gen is called by several goroutines and must
// give the same record for an index whenever it is asked.
//
// The indexes are dealt to the splits in turn, so that all of them are at
// about the same place: if records get later with their index, no split is
// ahead in event time.
func Of[T any](n int64, gen func(i int64) T, opts ...Options) millrace.Source[T] {
	return newSource(n, opts, func(rows []T, times []int64, i, step int64) {
		for k := range rows {
			rows[k] = gen(i)
			times[k] = math.MinInt64 // no event time
			i += step
		}
	})
}

// Fill is [Of] for a function that fills records in place, which saves a copy,
// and returns their event times in milliseconds since the epoch. A row holds
// what an earlier use left there: gen overwrites every field.
func Fill[T any](n int64, gen func(i int64, row *T) (eventTimeMillis int64), opts ...Options) millrace.Source[T] {
	return newSource(n, opts, func(rows []T, times []int64, i, step int64) {
		for k := range rows {
			times[k] = gen(i, &rows[k])
			i += step
		}
	})
}

// fillFunc fills rows with the records of indexes i, i+step and so on.
type fillFunc[T any] func(rows []T, times []int64, i, step int64)

type source[T any] struct {
	n    int64
	o    Options
	fill fillFunc[T]
}

func newSource[T any](n int64, opts []Options, fill fillFunc[T]) source[T] {
	s := source[T]{n: n, fill: fill}
	if len(opts) > 0 {
		s.o = opts[0]
	}
	return s
}

func (s source[T]) Bounded() bool { return s.n >= 0 }

// Splits are named "index/number of splits".
func (s source[T]) Splits(_ context.Context, parallelism int) ([]millrace.Split, error) {
	if s.n < Unbounded || s.o.Rate < 0 || math.IsNaN(s.o.Rate) {
		return nil, fmt.Errorf("datagen: there cannot be %d records at %g a second", s.n, s.o.Rate)
	}
	n := s.o.Splits
	if n <= 0 {
		n = max(parallelism, 1)
	}
	out := make([]millrace.Split, n)
	for i := range out {
		out[i].ID = fmt.Sprintf("%d/%d", i, n)
		out[i].Data = binary.AppendUvarint(binary.AppendUvarint(nil, uint64(i)), uint64(n))
	}
	return out, nil
}

func (s source[T]) Open(_ context.Context, sp millrace.Split, at millrace.Position) (millrace.Reader[T], error) {
	i, a := binary.Uvarint(sp.Data)
	n, b := binary.Uvarint(sp.Data[max(a, 0):])
	if a <= 0 || b <= 0 || i >= n || n > math.MaxInt32 {
		return nil, fmt.Errorf("datagen: split %q is not one of a generator", sp.ID)
	}
	r := &reader[T]{fill: s.fill, first: int64(i), step: int64(n), count: math.MaxInt64}
	if s.n >= 0 {
		r.count = (s.n - r.first + r.step - 1) / r.step
		r.count = max(r.count, 0)
	}
	if at != nil {
		k, m := binary.Uvarint(at)
		if m != len(at) || m <= 0 || k > uint64(r.count) {
			return nil, fmt.Errorf("datagen: split %s has no position %x", sp.ID, []byte(at))
		}
		r.next = int64(k)
	}
	if s.o.Rate > 0 {
		r.rate = s.o.Rate / float64(n)
	}
	return r, nil
}

// reader makes the records first, first+step and so on, count of them.
type reader[T any] struct {
	fill               fillFunc[T]
	first, step, count int64
	next               int64 // records made

	// With a rate, record next is due (next-from)/rate seconds after start.
	rate  float64
	start time.Time
	from  int64
}

// ReadsInline says that a generator waits for nothing.
func (*reader[T]) ReadsInline() {}

func (r *reader[T]) Read(_ context.Context, out *millrace.Rows[T]) error {
	n := min(int64(out.Room()), r.count-r.next)
	if r.rate > 0 && n > 0 {
		due, wait := r.due()
		if n = min(n, due); n == 0 {
			out.Wait(wait)
			return nil
		}
	}
	if n > 0 {
		rows, times := out.Fill(int(n))
		r.fill(rows, times, r.first+r.next*r.step, r.step)
		r.next += n
	}
	if r.next == r.count {
		return io.EOF
	}
	return nil
}

// batchWait is how long records gather when none is due, so that a high rate
// does not mean a call for each.
const batchWait = time.Millisecond

// due is how many records should have been made by now and have not, and
// otherwise how long to wait for some. A generator that fell behind catches
// up: what is late stays due.
func (r *reader[T]) due() (n int64, wait time.Duration) {
	now := time.Now()
	if r.start.IsZero() {
		r.start, r.from = now, r.next
	}
	elapsed := now.Sub(r.start)
	n = int64(elapsed.Seconds()*r.rate) - (r.next - r.from) + 1
	if n > 0 {
		return n, 0
	}
	at := time.Duration(float64(r.next-r.from) / r.rate * float64(time.Second))
	return 0, max(at-elapsed, batchWait)
}

func (r *reader[T]) Position() millrace.Position {
	return binary.AppendUvarint(nil, uint64(r.next))
}

func (r *reader[T]) Close() error { return nil }
