package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
)

// AsyncSpec says how an Async calls out. All fields are set but those that say
// otherwise.
type AsyncSpec[T, U, D any] struct {
	// InFlight is the most records of one subtask that are being called for or
	// whose result waits for its turn.
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
	// Unordered sends results as they come, though never behind a watermark
	// that came behind their records.
	Unordered bool
	// Group is how many records one call takes at most, no more than InFlight,
	// and Linger how long a record waits for others to be called for with it; 0
	// if it does not wait.
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
// it has no room, it leaves its input in the queue. A watermark is held back
// until the results of all records before it have been sent.
//
// A group may also take in records that came behind a watermark which is still
// held back; their results then leave before it, which only makes the watermark
// later than it could be.
type Async[T, U, D any] struct {
	Spec AsyncSpec[T, U, D]

	env   *Env
	codec *codec.Codec[T]
	out   Emitter[U]
	dead  Emitter[D]

	waiting []asyncInput[T] // taken from the input, not yet called for
	head    int             // of waiting
	count   int64           // records received, ever
	open    []*asyncCall[T, U]
	flying  int // records in open
	fences  []fence
	started int64 // calls started, ever
	left    int64 // calls that have left the front of open, ever
	event   int64
	astray  int // calls left behind that still run

	pool *asyncPool[T, U] // nil until the first call, and in simulations
}

type asyncInput[T any] struct {
	v    T
	at   int64
	came int64 // processing time in milliseconds; 0 without Linger
}

// asyncCall is one call for one or more records. The task owns it but for what
// a worker reads: in.
type asyncCall[T, U any] struct {
	seq  int64
	base int64 // number of records received before the first of in
	in   []T
	at   []int64

	finished bool
	emitted  bool
	answer   asyncAnswer[U]
}

// asyncAnswer is how a call ended.
type asyncAnswer[U any] struct {
	out []U
	err error
	// astray: the function has not returned. The worker that runs it is lost
	// until it does.
	astray bool
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

// Wants implements [Gated]: records are taken when they can be called for, or
// can join a group that waits for more.
func (a *Async[T, U, D]) Wants(int) bool {
	n := len(a.waiting) - a.head
	return n == 0 && a.flying < a.Spec.InFlight || n > 0 && n < a.Spec.Group && a.flying+a.Spec.Group <= a.Spec.InFlight
}

// EventTime implements [Timekeeper].
func (a *Async[T, U, D]) EventTime() int64 { return a.event }

// Receive implements [Receiver].
func (a *Async[T, U, D]) Receive(b *record.Batch[T]) error {
	if a.head > 0 {
		n := copy(a.waiting, a.waiting[a.head:])
		clear(a.waiting[n:])
		a.waiting, a.head = a.waiting[:n], 0
	}
	came := int64(0)
	if a.Spec.Linger > 0 {
		came = a.env.NowMillis()
	}
	for _, i := range b.Live() {
		a.waiting = append(a.waiting, asyncInput[T]{b.Rows[i], b.Times[i], came})
	}
	a.count += int64(b.Len())
	a.start(false)
	return nil
}

// next is the size of the next group, and whether there is room for it.
func (a *Async[T, U, D]) next() (n int, room bool) {
	n = min(a.Spec.Group, len(a.waiting)-a.head)
	return n, n > 0 && a.flying+n <= a.Spec.InFlight
}

// due is when the group that begins with the first waiting record must start
// though it is not full.
func (a *Async[T, U, D]) due() int64 {
	return a.waiting[a.head].came + max(a.Spec.Linger.Milliseconds(), 1)
}

// start makes calls of waiting records as far as there is room. A group that is
// not full waits for more until Linger is over or force is set.
func (a *Async[T, U, D]) start(force bool) {
	for {
		n, room := a.next()
		if !room || n < a.Spec.Group && !force && a.Spec.Linger > 0 && a.env.NowMillis() < a.due() {
			return
		}
		c := &asyncCall[T, U]{seq: a.started, base: a.count - int64(len(a.waiting)-a.head), in: make([]T, n), at: make([]int64, n)}
		for i, w := range a.waiting[a.head : a.head+n] {
			c.in[i], c.at[i] = w.v, w.at
		}
		clear(a.waiting[a.head : a.head+n])
		a.head += n
		a.started++
		a.flying += n
		a.open = append(a.open, c)
		for i := range a.fences {
			if f := &a.fences[i]; f.wait > 0 {
				f.wait = max(f.wait-n, 0)
				f.before = a.started
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
	if a.pool == nil {
		a.pool = newAsyncPool[T, U](a.env, a.Spec.InFlight, func(in []T, handOver func(asyncAnswer[U])) { a.Spec.run(a.env, in, handOver) })
	}
	a.pool.start(c)
}

// OnPost implements [Poster].
func (a *Async[T, U, D]) OnPost() error {
	if a.env.Blocking {
		if a.pool != nil {
			a.pool.collect(func(c *asyncCall[T, U], ans asyncAnswer[U]) { c.finished, c.answer = true, ans })
			a.astray = a.pool.astrayNow()
		}
		if a.astray > a.Spec.InFlight {
			return fmt.Errorf("%d calls still run though their contexts ended long ago: the function must heed its context", a.astray)
		}
		return a.progress()
	}
	// One open call, of the simulation's choosing, is answered now.
	var asked []*asyncCall[T, U]
	for _, c := range a.open {
		if !c.finished {
			asked = append(asked, c)
		}
	}
	if len(asked) > 0 {
		c := asked[a.env.Rand(len(asked))]
		a.Spec.run(a.env, c.in, func(ans asyncAnswer[U]) { c.finished, c.answer = true, ans })
		a.env.Post()
	}
	return a.progress()
}

// progress sends what may be sent, lets fences pass, and starts new calls.
func (a *Async[T, U, D]) progress() error {
	for {
		limit := a.started // calls before the first fence may go out of order
		if len(a.fences) > 0 {
			limit = a.fences[0].before // if records wait before it, no call came after it
		}
		for _, c := range a.open {
			if c.seq >= limit || !c.finished && !a.Spec.Unordered {
				break
			}
			if c.finished && !c.emitted {
				if err := a.emit(c); err != nil {
					return err
				}
			}
		}
		n := 0
		for n < len(a.open) && a.open[n].emitted {
			a.open[n] = nil
			n++
		}
		a.open = a.open[n:]
		a.left += int64(n)
		if len(a.fences) == 0 || a.fences[0].wait > 0 || a.left < a.fences[0].before {
			break
		}
		// What has been sent so far must leave before the watermark does.
		if err := a.flush(); err != nil {
			return err
		}
		a.event = a.fences[0].wm
		a.fences = a.fences[1:]
		if slices.ContainsFunc(a.open, func(c *asyncCall[T, U]) bool { return c.finished && !c.emitted }) {
			// What comes behind the watermark must not leave before it: let the
			// task take it along first.
			a.env.Post()
			break
		}
	}
	a.start(false)
	return a.flush()
}

func (a *Async[T, U, D]) flush() error { return errors.Join(a.out.Flush(), a.dead.Flush()) }

// emit sends the results of c, or its dead letters, or says why the job ends.
func (a *Async[T, U, D]) emit(c *asyncCall[T, U]) error {
	c.emitted = true
	a.flying -= len(c.in)
	if c.answer.err == nil {
		for i, v := range c.answer.out {
			a.out.Emit(v, c.at[i])
		}
		c.answer.out = nil
		return nil
	}
	if err := a.env.Ctx.Err(); err != nil {
		return err
	}
	cur := a.env.Cursor
	cur.Op, cur.Base, cur.Row, cur.Times = a.env.Name, c.base, 0, c.at
	if a.Spec.Dead == nil {
		if len(c.in) > 1 {
			return fmt.Errorf("call for %d records: %w", len(c.in), c.answer.err)
		}
		return c.answer.err
	}
	for i, v := range c.in {
		cur.Row = int32(i)
		a.dead.Emit(a.Spec.Dead(v, c.answer.err), c.at[i])
	}
	cur.Op = ""
	return nil
}

// Advance implements [Operator]: the watermark waits for the calls before it.
func (a *Async[T, U, D]) Advance(wm int64) (int64, bool, error) {
	f := fence{before: a.started, wait: len(a.waiting) - a.head, wm: wm}
	if n := len(a.fences); n > 0 && a.fences[n-1].before == f.before && a.fences[n-1].wait == f.wait {
		a.fences[n-1].wm = wm // nothing between the two
	} else {
		a.fences = append(a.fences, f)
	}
	return a.event, true, a.progress()
}

// Due implements [Ticker]: a group that is not full waits for Linger.
func (a *Async[T, U, D]) Due() (int64, bool) {
	if _, room := a.next(); !room || a.Spec.Linger == 0 {
		return 0, false
	}
	return a.due(), true
}

// OnTime implements [Ticker].
func (a *Async[T, U, D]) OnTime(int64) (bool, error) {
	a.start(false)
	return true, nil
}

// Finish implements [Operator]. Calls that are to be made again go on being
// made again: the end of input is no reason to lose a record.
func (a *Async[T, U, D]) Finish() (bool, error) {
	a.start(true)
	if err := a.progress(); err != nil {
		return false, err
	}
	return len(a.open) == 0 && a.head == len(a.waiting), nil
}

// Close implements [Operator].
func (a *Async[T, U, D]) Close() error {
	if a.pool != nil {
		a.pool.close()
	}
	return nil
}

// inFlightState is the name under which records in flight are kept.
const inFlightState = reserved + "in-flight"

// Snapshot implements [Stateful]: the inputs whose results have not been sent.
// They are called for again after a restore, before new input.
func (a *Async[T, U, D]) Snapshot() ([]Piece, error) {
	var in []T
	var at []int64
	for _, c := range a.open {
		if !c.emitted {
			in, at = append(in, c.in...), append(at, c.at...)
		}
	}
	for _, w := range a.waiting[a.head:] {
		in, at = append(in, w.v), append(at, w.at)
	}
	if len(in) == 0 {
		return nil, nil
	}
	return []Piece{{State: inFlightState, Group: OperatorGroup, Schema: schemas(a.codec.Schema()), Encode: func(dst []byte) (_ []byte, err error) {
		defer encodeError(&err)
		for i := range in {
			dst = a.codec.Append(appendInt64(dst, at[i]), &in[i])
		}
		return dst, nil
	}}}, nil
}

// Restore implements [Stateful].
func (a *Async[T, U, D]) Restore(pieces []Piece) error {
	for _, p := range pieces {
		if p.State != inFlightState {
			return fmt.Errorf("state %s: %w", p.State, ErrUndeclared)
		}
		if err := a.restore(p); err != nil {
			return fmt.Errorf("state %s: %w", p.State, err)
		}
	}
	a.start(false)
	return nil
}

func (a *Async[T, U, D]) restore(p Piece) error {
	written, err := splitSchemas(p.Schema, 1)
	if err != nil {
		return err
	}
	d, err := under(a.codec, written[0])
	if err != nil {
		return err
	}
	for src := p.Data; len(src) > 0; {
		in := asyncInput[T]{came: a.env.NowMillis()}
		if in.at, src, err = takeInt64(src); err != nil {
			return err
		}
		if src, err = d.decode(src, &in.v); err != nil {
			return err
		}
		a.waiting = append(a.waiting, in)
		a.count++
	}
	return nil
}
