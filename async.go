package millrace

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/engine/graph"
	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/operator"
)

// AsyncOptions bounds asynchronous calls. Zero fields take the defaults given.
type AsyncOptions struct {
	// InFlight is the most records of one subtask that are being called for or
	// whose result waits for its turn; 100. When it is reached the subtask takes
	// no more input.
	InFlight int
	// Timeout bounds one record's calls, retries and pauses included; 30s. The
	// context given to the function ends then. A function that has not returned
	// one second later is left behind: its record has failed, whatever it
	// returns is not used, and the goroutine it runs on lives until it returns.
	// A job in which more than InFlight calls of a subtask are left behind ends.
	Timeout time.Duration
	// Attempts is how often a failing call is made, the first time included; 1.
	// A function that panics is not called again.
	Attempts int
	// Backoff is the pause before the second attempt; 0. Each further pause is
	// Multiplier times as long, up to MaxBackoff.
	Backoff time.Duration
	// Multiplier of the pause; 1, a fixed delay.
	Multiplier float64
	// MaxBackoff bounds the pause; no bound but Timeout.
	MaxBackoff time.Duration
	// RetryIf says which errors are worth another attempt; all of them.
	RetryIf func(error) bool
	// Unordered sends results on as they come, though never past a watermark.
	// The default keeps the order of the input.
	Unordered bool
	// BatchSize is how many records one call of [Stream.AsyncBatch] takes at
	// most; 100.
	BatchSize int
	// BatchWait is how long a call of [Stream.AsyncBatch] waits for BatchSize
	// records; 10ms.
	BatchWait time.Duration
}

func (o AsyncOptions) check() error {
	var errs []error
	if o.InFlight < 0 {
		errs = append(errs, errors.New("InFlight is negative"))
	}
	if o.Timeout < 0 {
		errs = append(errs, errors.New("Timeout is negative"))
	}
	if o.Attempts < 0 {
		errs = append(errs, errors.New("Attempts is negative"))
	}
	if o.Backoff < 0 || o.MaxBackoff < 0 || o.BatchWait < 0 {
		errs = append(errs, errors.New("Backoff, MaxBackoff or BatchWait is negative"))
	}
	if o.Multiplier != 0 && o.Multiplier < 1 {
		errs = append(errs, errors.New("Multiplier is less than 1"))
	}
	if o.BatchSize < 0 {
		errs = append(errs, errors.New("BatchSize is negative"))
	}
	if o.InFlight > 0 && o.BatchSize > o.InFlight {
		errs = append(errs, fmt.Errorf("BatchSize %d is more than InFlight %d", o.BatchSize, o.InFlight))
	}
	return errors.Join(errs...)
}

// asyncSpec fills in the defaults.
func asyncSpec[T, U, D any](o AsyncOptions, group int, linger time.Duration, call func(context.Context, []T) ([]U, error), dead func(T, error) D) operator.AsyncSpec[T, U, D] {
	s := operator.AsyncSpec[T, U, D]{InFlight: o.InFlight, Timeout: o.Timeout, Attempts: max(o.Attempts, 1),
		Backoff: o.Backoff, MaxBackoff: o.MaxBackoff, Multiplier: max(o.Multiplier, 1), Retry: o.RetryIf,
		Unordered: o.Unordered, Group: group, Linger: linger, Call: call, Dead: dead}
	if s.InFlight == 0 {
		s.InFlight = 100
	}
	if s.Timeout == 0 {
		s.Timeout = 30 * time.Second
	}
	if s.MaxBackoff == 0 {
		s.MaxBackoff = s.Timeout
	}
	if s.Retry == nil {
		s.Retry = func(error) bool { return true }
	}
	return s
}

// addAsync adds the operator.
func addAsync[T, U, D any](s Stream[T], id string, o AsyncOptions, spec operator.AsyncSpec[T, U, D]) *graph.Node {
	if err := o.check(); err != nil {
		s.job.g.Fail(caller(), "async %s: %w", id, err)
	}
	if _, err := codec.Of[T](); err != nil {
		s.job.g.Fail(caller(), "async %s: records in flight are part of checkpoints: %w", id, err)
	}
	n := s.then("", id, func() operator.Operator { return &operator.Async[T, U, D]{Spec: spec} })
	n.Chaining = graph.ChainHead
	return n
}

// one makes a call for a single record of a call for several.
func one[T, U any](f func(context.Context, T) (U, error)) func(context.Context, []T) ([]U, error) {
	return func(ctx context.Context, in []T) ([]U, error) {
		v, err := f(ctx, in[0])
		return []U{v}, err
	}
}

// Async calls f for each record with at most opt.InFlight calls open in one
// subtask. f is plain blocking code on a goroutine of its own; it must heed its
// context. Records whose call is open when a checkpoint starts are part of it
// and are called for again after recovery, under id. A call that fails for good
// ends the job; see [Stream.AsyncOrDead].
func (s Stream[T]) Async[U any](id string, opt AsyncOptions, f func(context.Context, T) (U, error)) Stream[U] {
	return Stream[U]{job: s.job, node: addAsync(s, id, opt, asyncSpec[T, U, struct{}](opt, 1, 0, one(f), nil))}
}

// AsyncOrDead is [Stream.Async] for jobs that go on: a record whose call fails
// for good becomes a dead letter, made by dead, on the second stream.
func (s Stream[T]) AsyncOrDead[U, D any](id string, opt AsyncOptions, f func(context.Context, T) (U, error), dead func(in T, err error) D) (Stream[U], Stream[D]) {
	n := addAsync(s, id, opt, asyncSpec(opt, 1, 0, one(f), dead))
	return Stream[U]{job: s.job, node: n}, Stream[D]{job: s.job, node: n, port: 1}
}

// AsyncBatch is [Stream.Async] for services that answer many questions at
// once: f is given up to opt.BatchSize records and returns one result for each,
// in their order. InFlight counts records. A watermark does not part a batch;
// it waits for all of it.
func (s Stream[T]) AsyncBatch[U any](id string, opt AsyncOptions, f func(context.Context, []T) ([]U, error)) Stream[U] {
	return Stream[U]{job: s.job, node: addAsyncBatch[T, U, struct{}](s, id, opt, f, nil)}
}

// AsyncBatchOrDead is [Stream.AsyncBatch] for jobs that go on: the records of a
// call that fails for good become dead letters, each made by dead, on the second
// stream.
func (s Stream[T]) AsyncBatchOrDead[U, D any](id string, opt AsyncOptions, f func(context.Context, []T) ([]U, error), dead func(in T, err error) D) (Stream[U], Stream[D]) {
	n := addAsyncBatch(s, id, opt, f, dead)
	return Stream[U]{job: s.job, node: n}, Stream[D]{job: s.job, node: n, port: 1}
}

// addAsyncBatch adds the operator, with the defaults of batched calls.
func addAsyncBatch[T, U, D any](s Stream[T], id string, opt AsyncOptions, f func(context.Context, []T) ([]U, error), dead func(T, error) D) *graph.Node {
	size, wait := opt.BatchSize, opt.BatchWait
	if size == 0 {
		size = 100
		if opt.InFlight > 0 {
			size = min(size, opt.InFlight)
		}
	}
	if wait == 0 {
		wait = 10 * time.Millisecond
	}
	if opt.InFlight == 0 {
		opt.InFlight = max(100, 2*size)
	}
	return addAsync(s, id, opt, asyncSpec(opt, size, wait, f, dead))
}
