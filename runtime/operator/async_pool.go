package operator

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// asyncGrace is how long a call may go on after its context has ended. A call
// that has not returned then is left behind: it counts as failed, its result
// will not be used, and the goroutine it runs on lives until it returns.
const asyncGrace = time.Second

// errDeaf is the error of a call that was left behind.
var errDeaf = errors.New("the function does not heed its context")

// run makes the calls for in, attempt by attempt, and hands the answer over: the
// first is the one that counts.
func (s *AsyncSpec[T, U, D]) run(env *Env, in []T, handOver func(asyncAnswer[U])) {
	ctx, cancel := context.WithTimeout(env.Ctx, s.Timeout)
	defer cancel()
	if env.Blocking {
		deaf := time.AfterFunc(s.Timeout+asyncGrace, func() {
			handOver(asyncAnswer[U]{err: fmt.Errorf("no answer within %v: %w", s.Timeout, errDeaf), astray: true})
		})
		defer deaf.Stop()
	}
	out, err := s.attempts(ctx, env.Blocking, in)
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("no answer within %v: %w", s.Timeout, err)
	}
	handOver(asyncAnswer[U]{out: out, err: err})
}

func (s *AsyncSpec[T, U, D]) attempts(ctx context.Context, pauses bool, in []T) ([]U, error) {
	pause := min(s.Backoff, s.MaxBackoff)
	for attempt := 1; ; attempt++ {
		out, err := s.once(ctx, in)
		switch {
		case err == nil && len(out) != len(in):
			return nil, fmt.Errorf("the function returned %d results for %d records", len(out), len(in))
		case err == nil, attempt >= s.Attempts, ctx.Err() != nil, !s.retry(err):
			return out, err
		}
		if pauses && pause > 0 {
			t := time.NewTimer(pause)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return nil, err
			}
			// In floating point, for the product may exceed a Duration.
			pause = time.Duration(min(float64(pause)*s.Multiplier, float64(s.MaxBackoff)))
		}
	}
}

// once makes one attempt; a panic of the user's function becomes its error.
func (s *AsyncSpec[T, U, D]) once(ctx context.Context, in []T) (out []U, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, panicError(p)
		}
	}()
	return s.Call(ctx, in)
}

// retry asks the user's predicate; a panic says no.
func (s *AsyncSpec[T, U, D]) retry(err error) (again bool) {
	if _, ok := errors.AsType[*asyncPanic](err); ok {
		return false // trying again would hide a bug
	}
	defer func() { _ = recover() }()
	return s.Retry(err)
}

// asyncPanic is the error of a function that panicked.
type asyncPanic struct {
	cause error
	stack []byte
}

func panicError(p any) *asyncPanic {
	cause, ok := p.(error)
	if !ok {
		cause = fmt.Errorf("%v", p)
	}
	return &asyncPanic{cause, debug.Stack()}
}

// Error tells the panic and where it happened.
func (p *asyncPanic) Error() string { return fmt.Sprintf("panic: %v\n%s", p.cause, p.stack) }

// Unwrap returns what the function panicked with, if that was an error.
func (p *asyncPanic) Unwrap() error { return p.cause }

// asyncPool makes calls on goroutines, as many as calls are open. A goroutine
// whose call was left behind no longer counts.
type asyncPool[T, U any] struct {
	// Set by newAsyncPool, never written again.
	env  *Env
	run  func(in []T, handOver func(asyncAnswer[U]))
	work chan *asyncCall[T, U] // has room for every open call: sending never waits
	gone chan struct{}         // closed when the operator closes

	// Owned by the task.
	workers int // that take calls
	open    int // calls given out and not collected

	astray atomic.Int64   // calls left behind that still run
	busy   sync.WaitGroup // goroutines of workers

	mu   sync.Mutex
	done []asyncDone[T, U] // to be collected by the task
}

type asyncDone[T, U any] struct {
	c      *asyncCall[T, U]
	answer asyncAnswer[U]
}

func newAsyncPool[T, U any](env *Env, calls int, run func(in []T, handOver func(asyncAnswer[U]))) *asyncPool[T, U] {
	p := &asyncPool[T, U]{env: env, run: run, work: make(chan *asyncCall[T, U], calls), gone: make(chan struct{})}
	// The job waits for this goroutine, and it waits for the workers, but not
	// for ever: a function that does not heed its context must not keep the job
	// from ending.
	env.Go(func() {
		<-p.gone
		returned := make(chan struct{})
		go func() {
			p.busy.Wait()
			close(returned)
		}()
		t := time.NewTimer(asyncGrace)
		defer t.Stop()
		select {
		case <-returned:
		case <-t.C:
			env.Log.Warn("calls are left behind that do not heed their contexts", "calls", p.astray.Load())
		}
	})
	return p
}

// start gives c to a worker.
func (p *asyncPool[T, U]) start(c *asyncCall[T, U]) {
	p.open++
	if p.workers < p.open {
		p.workers++
		p.busy.Go(p.worker)
	}
	p.work <- c
}

// What has become of a call.
const (
	callRuns int32 = iota
	callAnswered
	callAstray
)

func (p *asyncPool[T, U]) worker() {
	for c := range p.work {
		select {
		case <-p.gone:
			return
		default:
		}
		var fate atomic.Int32
		p.run(c.in, func(a asyncAnswer[U]) {
			next := callAnswered
			if a.astray {
				next = callAstray
			}
			if !fate.CompareAndSwap(callRuns, next) {
				return
			}
			if a.astray {
				p.astray.Add(1)
			}
			p.mu.Lock()
			p.done = append(p.done, asyncDone[T, U]{c, a})
			p.mu.Unlock()
			p.env.Post()
		})
		if fate.Load() == callAstray {
			p.astray.Add(-1)
			return // another is started in its place
		}
	}
}

// collect passes the calls that have ended to f.
func (p *asyncPool[T, U]) collect(f func(*asyncCall[T, U], asyncAnswer[U])) {
	p.mu.Lock()
	done := p.done
	p.done = nil
	p.mu.Unlock()
	for _, d := range done {
		p.open--
		if d.answer.astray {
			p.workers--
		}
		f(d.c, d.answer)
	}
}

func (p *asyncPool[T, U]) astrayNow() int { return int(p.astray.Load()) }

// close lets the workers end. Calls that no worker has begun are dropped.
func (p *asyncPool[T, U]) close() {
	close(p.work)
	close(p.gone)
}
