package millrace

import (
	"time"

	"github.com/millrace/millrace/runtime/clock"
	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/operator/optest"
)

// A Harness is one process operator outside of any job, in as many subtasks as
// wanted. It is what package streamtest is built on; tests use that.
type Harness[Out any] struct {
	d    *optest.Driver
	main *optest.Collector[Out]
}

// HarnessOptions says how a [Harness] runs its operator. Zero fields take the
// defaults given.
type HarnessOptions struct {
	// Parallelism is the number of subtasks; 1.
	Parallelism int
	// MaxParallelism is the number of key groups; 128.
	MaxParallelism int
	// RestoreEach replaces the subtasks by new ones restored from a snapshot
	// after each call.
	RestoreEach bool
	// Clock tells processing time; one that starts at the epoch.
	Clock *clock.Manual
}

// NewHarness returns a harness of the operator that [KeyedStream.Process] makes
// of setup.
func NewHarness[K comparable, In, Out any](setup func(*Op[K, In, Out]), opt HarnessOptions) *Harness[Out] {
	return newHarness[Out](func() operator.Operator { return newProcess(setup) }, opt)
}

// NewHarness2 returns a harness of the operator that [KeyedConnected.Process]
// makes of setup.
func NewHarness2[K comparable, L, R, Out any](setup func(*Op2[K, L, R, Out]), opt HarnessOptions) *Harness[Out] {
	return newHarness[Out](func() operator.Operator { return newProcess2(setup) }, opt)
}

// NewPlainHarness returns a harness of the operator that [Stream.Process] makes
// of setup.
func NewPlainHarness[In, Out any](setup func(*PlainOp[In, Out]), opt HarnessOptions) *Harness[Out] {
	return newHarness[Out](func() operator.Operator { return newPlainProcess(setup) }, opt)
}

func newHarness[Out any](make func() operator.Operator, opt HarnessOptions) *Harness[Out] {
	d := optest.New(make, optest.Options{Parallelism: opt.Parallelism, MaxParallelism: opt.MaxParallelism,
		RestoreEach: opt.RestoreEach, Clock: opt.Clock})
	return &Harness[Out]{d, optest.Collect[Out](d, 0)}
}

// Start opens the operator, after which the other methods may be called.
func (h *Harness[Out]) Start() error { return h.d.Start() }

// SendKeyed sends a record to an input of a keyed stream, 0 but for the right
// one of two.
func (h *Harness[Out]) SendKeyed[K comparable, T any](input int, key K, at time.Time, rec T) error {
	return optest.SendKeyed(h.d, input, optest.Row[K, T]{Key: key, Time: at.UnixMilli(), Record: rec})
}

// Send sends a record to an input of a stream without keys.
func (h *Harness[Out]) Send[T any](input int, at time.Time, rec T) error {
	return optest.Send(h.d, input, optest.Sent[T]{Record: rec, Time: at.UnixMilli()})
}

// Watermark brings event time to at.
func (h *Harness[Out]) Watermark(at time.Time) error { return h.d.Advance(at.UnixMilli()) }

// ProcessingTime moves the clock to at and fires what is due.
func (h *Harness[Out]) ProcessingTime(at time.Time) error { return h.d.ProcessingTime(at.UnixMilli()) }

// EndInput ends one of two inputs.
func (h *Harness[Out]) EndInput(input int) error { return h.d.EndInput(input) }

// Finish ends all input.
func (h *Harness[Out]) Finish() error { return h.d.Finish() }

// Close closes the operator.
func (h *Harness[Out]) Close() error { return h.d.Close() }

// Restart replaces the subtasks by new ones, parallelism of them, restored from
// a snapshot of the old.
func (h *Harness[Out]) Restart(parallelism int) error { return h.d.Restart(parallelism) }

// Emitted is a record that an operator emitted. Time is its event time, or the
// zero time if it has none.
type Emitted[T any] struct {
	Record T
	Time   time.Time
}

// Output returns what was emitted since the last call.
func (h *Harness[Out]) Output() []Emitted[Out] { return emitted(h.main.Take()) }

// SideOutput reads a side output. It is called before Start; the function it
// returns gives what was emitted since its last call.
func (h *Harness[Out]) SideOutput[V any](tag SideOutput[V]) func() []Emitted[V] {
	c := optest.Collect[V](h.d, tag.port())
	return func() []Emitted[V] { return emitted(c.Take()) }
}

func emitted[T any](sent []optest.Sent[T]) (out []Emitted[T]) {
	for _, s := range sent {
		e := Emitted[T]{Record: s.Record}
		if s.Time != NoTime {
			e.Time = time.UnixMilli(s.Time).UTC()
		}
		out = append(out, e)
	}
	return out
}
