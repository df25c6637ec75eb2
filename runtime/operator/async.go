package operator

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
)

// AsyncSpec says how an Async calls out. All fields are set.
type AsyncSpec[T, U, D any] struct {
	// InFlight is the most records whose calls are open in one subtask.
	InFlight int
	// Timeout bounds one record's calls, retries included.
	Timeout time.Duration
	// Attempts is how often one call is made at most.
	Attempts int
	// Backoff is the pause before the second attempt; it grows by Multiplier
	// up to MaxBackoff.
	Backoff, MaxBackoff time.Duration
	Multiplier          float64
	// Retry says which errors are worth another attempt.
	Retry func(error) bool
	// Unordered sends results as they come, though never past a watermark.
	Unordered bool
	// Group is how many records one call takes at most, Linger how long it
	// waits for them.
	Group  int
	Linger time.Duration
	// Call answers a group of records, one result each, in their order.
	Call func(ctx context.Context, in []T) ([]U, error)
	// Dead makes the dead letter, on port 1, of a record whose call failed;
	// nil ends the job instead.
	Dead func(in T, err error) D
}

// Async calls a function that waits on something outside, many calls at a
// time, without ever holding up its task. It is the head of its chain: while
// as many calls are open as may be, it leaves its input in the queue.
type Async[T, U, D any] struct {
	Spec AsyncSpec[T, U, D]

	env   *Env
	codec *codec.Codec[T]
	out   Emitter[U]
	dead  Emitter[D]

	waiting []pendingIn[T] // taken from the input, not yet called for
	head    int            // of waiting
	since   int64          // when the oldest waiting record came, in milliseconds
	open    []*asyncCall[T, U]
	flying  int // records in open
	fences  []fence
	sent    int64 // calls that have left the front of open, ever
	started int64 // calls started, ever
	event   int64

	work    chan *asyncCall[T, U]
	workers int

	mu   sync.Mutex
	done []*asyncCall[T, U] // finished, to be taken by the task
}

type pendingIn[T any] struct {
	v  T
	at int64
}

// asyncCall is one call for one or more records.
type asyncCall[T, U any] struct {
	seq      int64
	in       []T
	at       []int64
	out      []U
	err      error
	finished bool
	emitted  bool
}

// fence is a watermark that may pass once the calls before it are done.
type fence struct {
	before int64 // number of calls started when the watermark came
	wait   int   // records that were waiting then; they become calls first
	wm     int64
}

// Open implements [Operator].
func (a *Async[T, U, D]) Open(env *Env) (err error) {
	a.env, a.event = env, watermark.None
	if a.codec, err = codec.Of[T](); err != nil {
		return fmt.Errorf("records in flight are part of snapshots: %w", err)
	}
	a.out.Open(env)
	a.dead.Open(env)
	a.work = make(chan *asyncCall[T, U], a.Spec.InFlight) // every open call fits: sending never waits
	return nil
}

// Input implements [Operator].
func (a *Async[T, U, D]) Input(int) any { return a }

// Connect implements [Operator].
func (a *Async[T, U, D]) Connect(port int, r any) {
	if port == 1 {
		a.dead.Connect(r)
		return
	}
	a.out.Connect(r)
}

// Wants implements [Gated].
func (a *Async[T, U, D]) Wants(int) bool { return a.head == len(a.waiting) }

// EventTime implements [Timekeeper].
func (a *Async[T, U, D]) EventTime() int64 { return a.event }

// Receive implements [Receiver].
func (a *Async[T, U, D]) Receive(b *record.Batch[T]) error {
	if a.head == len(a.waiting) {
		a.waiting, a.head = a.waiting[:0], 0
		a.since = a.env.NowMillis()
	}
	for _, i := range b.Live() {
		a.waiting = append(a.waiting, pendingIn[T]{b.Rows[i], b.Times[i]})
	}
	a.start(false)
	return nil
}

// start makes calls of waiting records as far as the limit goes. A group that is
// not full waits for more until Linger is over or force is set.
func (a *Async[T, U, D]) start(force bool) {
	for a.head < len(a.waiting) {
		n := min(a.Spec.Group, len(a.waiting)-a.head)
		if n < a.Spec.Group && !force && a.Spec.Linger > 0 && len(a.fences) == 0 &&
			a.env.NowMillis() < a.since+a.Spec.Linger.Milliseconds() {
			return
		}
		if a.flying > 0 && a.flying+n > a.Spec.InFlight {
			return
		}
		c := &asyncCall[T, U]{seq: a.started}
		for _, w := range a.waiting[a.head : a.head+n] {
			c.in = append(c.in, w.v)
			c.at = append(c.at, w.at)
		}
		clear(a.waiting[a.head : a.head+n])
		a.head += n
		a.started++
		a.flying += n
		a.open = append(a.open, c)
		for i := range a.fences {
			if w := &a.fences[i]; w.wait > 0 {
				w.wait -= n
				w.before = a.started
			}
		}
		a.launch(c)
	}
}

// launch has c made by a worker, or, in a simulation, later by OnPost.
func (a *Async[T, U, D]) launch(c *asyncCall[T, U]) {
	if !a.env.Blocking {
		a.env.Post()
		return
	}
	if a.workers < a.Spec.InFlight && a.workers < len(a.open) {
		a.workers++
		a.env.Go(func() {
			for c := range a.work {
				a.call(c)
				a.mu.Lock()
				a.done = append(a.done, c)
				a.mu.Unlock()
				a.env.Post()
			}
		})
	}
	a.work <- c
}

// call makes the calls for c, attempt by attempt, on a worker.
func (a *Async[T, U, D]) call(c *asyncCall[T, U]) {
	ctx, cancel := context.WithTimeout(a.env.Ctx, a.Spec.Timeout)
	defer cancel()
	pause := a.Spec.Backoff
	for attempt := 1; ; attempt++ {
		c.out, c.err = a.once(ctx, c.in)
		if c.err == nil && len(c.out) != len(c.in) {
			c.err = fmt.Errorf("call returned %d results for %d records", len(c.out), len(c.in))
			return
		}
		if c.err == nil || attempt == a.Spec.Attempts || !a.Spec.Retry(c.err) {
			break
		}
		if a.env.Blocking && pause > 0 {
			t := time.NewTimer(pause)
			select {
			case <-t.C:
			case <-ctx.Done():
			}
			t.Stop()
			pause = min(time.Duration(float64(pause)*a.Spec.Multiplier), a.Spec.MaxBackoff)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if c.err != nil && ctx.Err() == context.DeadlineExceeded {
		c.err = fmt.Errorf("no answer within %v: %w", a.Spec.Timeout, c.err)
	}
}

// once makes one attempt; a panic of the user's function becomes its error. An
// attempt that does not look at its context is left behind at the timeout.
func (a *Async[T, U, D]) once(ctx context.Context, in []T) (out []U, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return a.Spec.Call(ctx, in)
}

// OnPost implements [Poster].
func (a *Async[T, U, D]) OnPost() error {
	if !a.env.Blocking {
		// One open call, of the simulation's choosing, is answered now.
		var unfinished []*asyncCall[T, U]
		for _, c := range a.open {
			if !c.finished {
				unfinished = append(unfinished, c)
			}
		}
		if len(unfinished) > 0 {
			c := unfinished[a.env.Rand(len(unfinished))]
			a.call(c)
			c.finished = true
			a.env.Post()
		}
	} else {
		a.mu.Lock()
		for _, c := range a.done {
			c.finished = true
		}
		a.done = a.done[:0]
		a.mu.Unlock()
	}
	return a.progress()
}

// progress sends what may be sent, lets fences pass, and starts new calls.
func (a *Async[T, U, D]) progress() error {
	for {
		limit := a.started // calls before the first fence may go out of order
		if len(a.fences) > 0 {
			limit = a.fences[0].before
			if a.fences[0].wait > 0 {
				limit = a.started
			}
		}
		for _, c := range a.open {
			if c.seq >= limit {
				break
			}
			if !c.finished {
				if !a.Spec.Unordered {
					break
				}
				continue
			}
			if !c.emitted {
				if err := a.emit(c); err != nil {
					return err
				}
			}
		}
		for len(a.open) > 0 && a.open[0].emitted {
			a.open[0] = nil
			a.open = a.open[1:]
			a.sent++
		}
		if len(a.fences) == 0 || a.fences[0].wait > 0 || a.sent < a.fences[0].before {
			break
		}
		// Records sent so far must leave before the watermark does.
		if err := errors.Join(a.out.Flush(), a.dead.Flush()); err != nil {
			return err
		}
		a.event = a.fences[0].wm
		a.fences = a.fences[1:]
	}
	a.start(false)
	return errors.Join(a.out.Flush(), a.dead.Flush())
}

func (a *Async[T, U, D]) emit(c *asyncCall[T, U]) error {
	c.emitted = true
	a.flying -= len(c.in)
	if c.err != nil {
		if a.env.Ctx.Err() != nil {
			return a.env.Ctx.Err()
		}
		if a.Spec.Dead == nil {
			return fmt.Errorf("operator %s: call for record %+v: %w", a.env.Name, c.in[0], c.err)
		}
		for i, v := range c.in {
			a.dead.Emit(a.Spec.Dead(v, c.err), c.at[i])
		}
		return nil
	}
	for i, v := range c.out {
		a.out.Emit(v, c.at[i])
	}
	return nil
}

// Advance implements [Operator]: the watermark waits for the calls before it.
func (a *Async[T, U, D]) Advance(wm int64) (int64, bool, error) {
	a.fences = append(a.fences, fence{before: a.started, wait: len(a.waiting) - a.head, wm: wm})
	return a.event, true, a.progress()
}

// Due implements [Ticker]: a group that is not full waits for Linger.
func (a *Async[T, U, D]) Due() (int64, bool) {
	if a.head == len(a.waiting) || a.Spec.Linger == 0 || a.flying+1 > a.Spec.InFlight {
		return 0, false
	}
	return a.since + a.Spec.Linger.Milliseconds(), true
}

// OnTime implements [Ticker].
func (a *Async[T, U, D]) OnTime(int64) (bool, error) {
	a.start(true)
	if a.head < len(a.waiting) {
		a.since = a.env.NowMillis() // no room now; the next answer starts it
	}
	return true, nil
}

// Finish implements [Operator].
func (a *Async[T, U, D]) Finish() (bool, error) {
	a.start(true)
	if err := a.progress(); err != nil {
		return false, err
	}
	return len(a.open) == 0 && a.head == len(a.waiting), nil
}

// Close implements [Operator].
func (a *Async[T, U, D]) Close() error {
	if a.work != nil {
		close(a.work)
	}
	return nil
}

// inFlightState is the name under which records in flight are kept.
const inFlightState = "in-flight"

// Snapshot implements [Stateful]: the inputs whose results have not been sent.
// They are called for again after a restore, before new input.
func (a *Async[T, U, D]) Snapshot() ([]Piece, error) {
	var in []pendingIn[T]
	for _, c := range a.open {
		if !c.emitted {
			for i, v := range c.in {
				in = append(in, pendingIn[T]{v, c.at[i]})
			}
		}
	}
	in = append(in, a.waiting[a.head:]...)
	if len(in) == 0 {
		return nil, nil
	}
	return []Piece{{State: inFlightState, Group: OperatorGroup, Encode: func(dst []byte) ([]byte, error) {
		for _, p := range in {
			dst = appendInt64(dst, p.at)
			dst = a.codec.Append(dst, &p.v)
		}
		return dst, nil
	}}}, nil
}

// Restore implements [Stateful].
func (a *Async[T, U, D]) Restore(pieces []Piece) error {
	for _, p := range pieces {
		for src := p.Data; len(src) > 0; {
			var in pendingIn[T]
			var err error
			if in.at, src, err = takeInt64(src); err != nil {
				return fmt.Errorf("state %s: %w", p.State, err)
			}
			if src, err = a.codec.DecodeOwned(src, &in.v); err != nil {
				return fmt.Errorf("state %s: %w", p.State, err)
			}
			a.waiting = append(a.waiting, in)
		}
	}
	a.start(false)
	return nil
}
