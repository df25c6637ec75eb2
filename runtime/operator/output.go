package operator

import (
	"fmt"

	"github.com/millrace/millrace/runtime/record"
)

// Output is one output port of an operator: the receivers connected to it.
type Output[T any] struct {
	one  Receiver[T] // the only receiver, or nil
	many []Receiver[T]
}

// Connect adds a receiver. A receiver of another type is a bug in the graph
// that typed API methods rule out, hence the panic.
func (o *Output[T]) Connect(r any) {
	t, ok := r.(Receiver[T])
	if !ok {
		panic(fmt.Sprintf("operator: %T connected to an output of %T", r, *new(T)))
	}
	o.many = append(o.many, t)
	o.one = nil
	if len(o.many) == 1 {
		o.one = t
	}
}

// Connected reports whether anybody receives.
func (o *Output[T]) Connected() bool { return len(o.many) > 0 }

// Send passes b to every receiver. b stays the caller's; unless it came in as
// Shared its rows may have been swapped away.
func (o *Output[T]) Send(b *record.Batch[T]) error {
	if o.one != nil {
		return o.one.Receive(b)
	}
	was := b.Shared
	b.Shared = true
	for _, r := range o.many {
		if err := r.Receive(b); err != nil {
			b.Shared = was
			return err
		}
	}
	b.Shared = was
	return nil
}

// Emitter collects the records an operator makes one at a time and sends them
// on in batches. Its operator flushes it at the end of each call, so that no
// record stays behind when a watermark passes.
//
// A batch that is full is sent on in the middle of the user's function. The
// operators behind this one point the task's cursor at code of their own; it is
// put back for the rest of the function.
type Emitter[T any] struct {
	Output[T]
	batch  *record.Batch[T]
	cur    *Cursor // of the task
	err    error   // first error of a flush inside Emit; reported by Flush
	failed *Cursor // where err came from
}

// Open allocates the batch.
func (e *Emitter[T]) Open(env *Env) {
	e.cur = env.Cursor
	if e.batch == nil {
		e.batch = record.New[T](env.BatchSize)
	}
}

// Emit adds a record with event time at.
func (e *Emitter[T]) Emit(v T, at int64) {
	b := e.batch
	if len(b.Rows) == cap(b.Rows) {
		e.flush()
	}
	b.Rows = append(b.Rows, v)
	b.Times = append(b.Times, at)
}

// Next adds a record with event time at, to be filled in place: it holds what
// an earlier use left there.
func (e *Emitter[T]) Next(at int64) *T {
	if len(e.batch.Rows) == cap(e.batch.Rows) {
		e.flush()
	}
	return e.batch.Next(at)
}

// Pending is the number of records not sent yet.
func (e *Emitter[T]) Pending() int { return len(e.batch.Rows) }

// Flush sends what is pending and reports the first error since the last call,
// with the cursor where that error came from.
func (e *Emitter[T]) Flush() error {
	if len(e.batch.Rows) > 0 {
		e.flush()
	}
	err := e.err
	if err != nil {
		*e.cur = *e.failed
	}
	e.err, e.failed = nil, nil
	return err
}

func (e *Emitter[T]) flush() {
	b := e.batch
	if e.Connected() && e.err == nil {
		at := *e.cur
		if e.err = e.Send(b); e.err != nil {
			failed := *e.cur
			e.failed = &failed
		}
		*e.cur = at
	}
	b.Reset()
}

// FormatMillis prints an event time.
func FormatMillis(ms int64) string { return record.FormatMillis(ms) }
