// Package streamtest is what users of millrace test their programs with, on a
// clock that the test moves.
//
// A user function is a function and is tested as one. [NewStep] runs one
// operator of handlers and state alone: the test sends records, moves event
// and processing time and looks at what is emitted, while the operator is
// snapshotted, thrown away and restored after every call. [Run] runs a whole
// program many times, each time with its tasks stepped in another order that a
// seed decides, with [Records] and [Collect] at its ends.
package streamtest

import (
	"testing"
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/runtime/clock"
)

// An Option changes how a step is run.
type Option func(*millrace.HarnessOptions)

// NoRestore lets a step live through the whole test instead of being restored
// after every call: for timing, and to tell whether a failure is about state.
func NoRestore() Option { return func(o *millrace.HarnessOptions) { o.RestoreEach = false } }

// Parallelism runs a step in n subtasks; records reach the one of their key.
func Parallelism(n int) Option { return func(o *millrace.HarnessOptions) { o.Parallelism = n } }

// Start sets processing time before the step is opened; the default is the Unix
// epoch.
func Start(at time.Time) Option {
	return func(o *millrace.HarnessOptions) {
		o.Clock = &clock.Manual{}
		o.Clock.Set(at.UnixNano())
	}
}

func harnessOptions(opts []Option) millrace.HarnessOptions {
	o := millrace.HarnessOptions{RestoreEach: true}
	for _, f := range opts {
		f(&o)
	}
	return o
}

// step is what steps of every kind have in common.
type step[Out any] struct {
	t       testing.TB
	h       *millrace.Harness[Out]
	started bool
}

func newStep[Out any](t testing.TB, h *millrace.Harness[Out]) step[Out] {
	return step[Out]{t: t, h: h}
}

// start opens the operator before its first use: side outputs are read by then.
func (s *step[Out]) start() {
	s.t.Helper()
	if s.started {
		return
	}
	s.started = true
	s.t.Cleanup(func() {
		if err := s.h.Close(); err != nil {
			s.t.Errorf("close: %v", err)
		}
	})
	s.must(s.h.Start())
}

func (s *step[Out]) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// Watermark brings event time to at: timers up to it fire.
func (s *step[Out]) Watermark(at time.Time) {
	s.t.Helper()
	s.start()
	s.must(s.h.Watermark(at))
}

// ProcessingTime moves the clock to at: processing-time timers up to it fire.
func (s *step[Out]) ProcessingTime(at time.Time) {
	s.t.Helper()
	s.start()
	s.must(s.h.ProcessingTime(at))
}

// Finish ends the input: all event-time timers fire and OnFinish is called.
func (s *step[Out]) Finish() {
	s.t.Helper()
	s.start()
	s.must(s.h.Finish())
}

// Rescale snapshots the step and restores it in n subtasks.
func (s *step[Out]) Rescale(n int) {
	s.t.Helper()
	s.start()
	s.must(s.h.Restart(n))
}

// Output returns what was emitted since the last call.
func (s *step[Out]) Output() (out []Out) {
	for _, e := range s.h.Output() {
		out = append(out, e.Record)
	}
	return out
}

// OutputWithTimes is Output with the records' event times.
func (s *step[Out]) OutputWithTimes() []millrace.Emitted[Out] { return s.h.Output() }

// SideOutput reads a side output. It is called before anything is sent; the
// function it returns gives what was emitted there since its last call.
func (s *step[Out]) SideOutput[V any](tag millrace.SideOutput[V]) func() []V {
	s.t.Helper()
	if s.started {
		s.t.Fatalf("SideOutput(%q) is called after the step was used", tag.Name())
	}
	take := s.h.SideOutput(tag)
	return func() (out []V) {
		for _, e := range take() {
			out = append(out, e.Record)
		}
		return out
	}
}

// Step runs one stateful operator alone. Any error or panic of the operator
// fails the test; see [Step.TrySend] to expect one.
type Step[K comparable, In, Out any] struct{ step[Out] }

// NewStep makes a step of the setup function of a KeyedStream's Process. After
// every call the step is snapshotted, thrown away and restored, unless
// [NoRestore] is given, so a step that keeps something outside of its state
// fails here.
func NewStep[K comparable, In, Out any](t testing.TB, setup func(*millrace.Op[K, In, Out]), opts ...Option) *Step[K, In, Out] {
	return &Step[K, In, Out]{newStep(t, millrace.NewHarness(setup, harnessOptions(opts)))}
}

// Send sends a record with event time at.
func (s *Step[K, In, Out]) Send(key K, at time.Time, rec In) {
	s.t.Helper()
	s.must(s.TrySend(key, at, rec))
}

// TrySend is Send with the operator's error, or panic as an error, returned.
func (s *Step[K, In, Out]) TrySend(key K, at time.Time, rec In) error {
	s.t.Helper()
	s.start()
	return s.h.SendKeyed(0, key, at, rec)
}

// Step2 runs one stateful operator on two keyed streams alone; see [Step].
type Step2[K comparable, L, R, Out any] struct{ step[Out] }

// NewStep2 makes a step of the setup function of a KeyedConnected's Process;
// see [NewStep].
func NewStep2[K comparable, L, R, Out any](t testing.TB, setup func(*millrace.Op2[K, L, R, Out]), opts ...Option) *Step2[K, L, R, Out] {
	return &Step2[K, L, R, Out]{newStep(t, millrace.NewHarness2(setup, harnessOptions(opts)))}
}

// Left sends a record of the first stream with event time at.
func (s *Step2[K, L, R, Out]) Left(key K, at time.Time, rec L) {
	s.t.Helper()
	s.start()
	s.must(s.h.SendKeyed(0, key, at, rec))
}

// Right sends a record of the second stream with event time at.
func (s *Step2[K, L, R, Out]) Right(key K, at time.Time, rec R) {
	s.t.Helper()
	s.start()
	s.must(s.h.SendKeyed(1, key, at, rec))
}

// EndLeft ends the first stream.
func (s *Step2[K, L, R, Out]) EndLeft() {
	s.t.Helper()
	s.start()
	s.must(s.h.EndInput(0))
}

// EndRight ends the second stream.
func (s *Step2[K, L, R, Out]) EndRight() {
	s.t.Helper()
	s.start()
	s.must(s.h.EndInput(1))
}

// PlainStep runs one operator on a stream without keys alone; see [Step].
type PlainStep[In, Out any] struct{ step[Out] }

// NewPlainStep makes a step of the setup function of a Stream's Process; see
// [NewStep].
func NewPlainStep[In, Out any](t testing.TB, setup func(*millrace.PlainOp[In, Out]), opts ...Option) *PlainStep[In, Out] {
	return &PlainStep[In, Out]{newStep(t, millrace.NewPlainHarness(setup, harnessOptions(opts)))}
}

// Send sends a record with event time at, to the subtasks in turn.
func (s *PlainStep[In, Out]) Send(at time.Time, rec In) {
	s.t.Helper()
	s.start()
	s.must(s.h.Send(0, at, rec))
}
