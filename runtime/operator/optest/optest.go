// Package optest drives operators outside of a job, on a clock that is moved by
// hand. A [Driver] is the subtasks of one operator and what a job does to them:
// records by input and key, event time, processing time, the end, and
// snapshots that are restored at any parallelism. [Conform] plays one story to
// an operator in several ways that must come to the same.
//
// It decides what reaches which subtask, as exchanges do, and leaves everything
// about time and order to the caller.
package optest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/millrace/millrace/runtime/clock"
	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
	"github.com/millrace/millrace/state/keygroup"
)

// Options says how a driver runs an operator. Zero fields take the defaults
// given.
type Options struct {
	// Parallelism is the number of subtasks; 1.
	Parallelism int
	// MaxParallelism is the number of key groups; 128.
	MaxParallelism int
	// BatchSize is the capacity of batches; 256.
	BatchSize int
	// Clock tells processing time; one that starts at 0.
	Clock *clock.Manual
	// RestoreEach replaces the subtasks by new ones restored from a snapshot
	// after each call.
	RestoreEach bool
	// Interrupt makes every firing stop as soon as the operator asks whether
	// it should; the driver calls it again.
	Interrupt bool
}

// A Driver is an operator with all its subtasks. It is used by one goroutine.
//
// The order of calls is New, Collect for each port that is read, Start, then
// any others, Close last.
type Driver struct {
	make   func() operator.Operator
	opt    Options
	ports  []port
	subs   []*subtask
	wm     int64
	ended  map[int]bool
	turn   int
	closed bool
	// discard makes collectors drop what they get.
	discard bool
}

type port struct {
	number  int
	connect func(d *Driver, op operator.Operator)
}

type subtask struct {
	op  operator.Operator
	env *operator.Env
}

// New returns a driver of the operator that make makes.
func New(make func() operator.Operator, opt Options) *Driver {
	if opt.Parallelism == 0 {
		opt.Parallelism = 1
	}
	if opt.MaxParallelism == 0 {
		opt.MaxParallelism = 128
	}
	if opt.BatchSize == 0 {
		opt.BatchSize = record.Size
	}
	if opt.Clock == nil {
		opt.Clock = &clock.Manual{}
	}
	return &Driver{make: make, opt: opt, wm: watermark.None, ended: map[int]bool{}}
}

// Sent is a record that an operator sent.
type Sent[T any] struct {
	Record T
	// Time is the event time in milliseconds, or record.NoTime.
	Time int64
}

// A Collector keeps what an operator sends to one port, of all subtasks in the
// order in which they were called.
type Collector[T any] struct {
	d    *Driver
	sent []Sent[T]
}

// Collect reads a port. Before Start it is read from the beginning, later from
// then on.
func Collect[T any](d *Driver, number int) *Collector[T] {
	c := &Collector[T]{d: d}
	p := port{number, func(d *Driver, op operator.Operator) { op.Connect(number, c) }}
	d.ports = append(d.ports, p)
	return c
}

// Receive implements operator.Receiver.
func (c *Collector[T]) Receive(b *record.Batch[T]) error {
	if c.d.discard {
		return nil
	}
	for _, i := range b.Live() {
		c.sent = append(c.sent, Sent[T]{b.Rows[i], b.Times[i]})
	}
	return nil
}

// Take returns what came since the last call.
func (c *Collector[T]) Take() []Sent[T] {
	s := c.sent
	c.sent = nil
	return s
}

// lines is Take as text.
func (c *Collector[T]) lines(port int) (out []string) {
	for _, s := range c.Take() {
		out = append(out, fmt.Sprintf("port %d: %+v at %s", port, s.Record, operator.FormatMillis(s.Time)))
	}
	return out
}

// Start makes and opens the subtasks.
func (d *Driver) Start() error { return d.open(d.opt.Parallelism) }

func (d *Driver) open(parallelism int) error {
	d.opt.Parallelism = parallelism
	d.subs = nil
	for i := range parallelism {
		s := &subtask{op: d.make()}
		s.env = &operator.Env{
			Ctx: context.Background(), Job: "test", Name: "test", UID: "test",
			Index: i, Parallelism: parallelism, MaxParallelism: d.opt.MaxParallelism,
			BatchSize: d.opt.BatchSize, Clock: d.opt.Clock,
			Log:  slog.New(slog.NewTextHandler(io.Discard, nil)),
			Post: func() {}, Cursor: &operator.Cursor{}, Yield: func() bool { return d.opt.Interrupt },
			Go: func(f func()) { f() },
		}
		for _, p := range d.ports {
			p.connect(d, s.op)
		}
		d.subs = append(d.subs, s)
		if err := s.guard(func() error { return s.op.Open(s.env) }); err != nil {
			return fmt.Errorf("open: %w", err)
		}
	}
	return nil
}

// guard turns a panic of user code into an error that says where it was.
func (s *subtask) guard(f func() error) (err error) {
	defer func() {
		c := s.env.Cursor
		if c.Op == "" {
			return
		}
		place := ""
		if p := c.Position(); p != "" {
			place = p + ": "
		}
		c.Op = ""
		if p := recover(); p != nil {
			cause, ok := p.(error)
			if !ok {
				cause = fmt.Errorf("%v", p)
			}
			err = fmt.Errorf("%spanic: %w", place, cause)
		} else if err != nil {
			err = fmt.Errorf("%s%w", place, err)
		}
	}()
	return f()
}

// Clock is the clock of processing time.
func (d *Driver) Clock() *clock.Manual { return d.opt.Clock }

// Subtasks returns the operators, by index.
func (d *Driver) Subtasks() (ops []operator.Operator) {
	for _, s := range d.subs {
		ops = append(ops, s.op)
	}
	return ops
}

// Row is a record to be sent to an operator.
type Row[K comparable, T any] struct {
	Key    K
	Time   int64 // event time in milliseconds
	Record T
}

// SendKeyed sends records to an input that a keyed exchange feeds: each to the
// subtask of its key, in batches as large as they get.
func SendKeyed[K comparable, T any](d *Driver, input int, rows ...Row[K, T]) error {
	h, err := keygroup.NewHasher[K](d.opt.MaxParallelism, keygroup.Options{})
	if err != nil {
		return err
	}
	for sub := range d.subs {
		var mine []Row[K, T]
		var words []uint64
		for _, r := range rows {
			if w := h.One(&r.Key); keygroup.Owner(keygroup.Of(w), len(d.subs), d.opt.MaxParallelism) == sub {
				mine, words = append(mine, r), append(words, w)
			}
		}
		for len(mine) > 0 {
			n := min(len(mine), d.opt.BatchSize)
			b := record.New[T](d.opt.BatchSize)
			var keys []K
			for i, r := range mine[:n] {
				b.Append(r.Record, r.Time)
				b.Words = append(b.Words, words[i])
				keys = append(keys, r.Key)
			}
			b.Keys = &keys
			if err := deliver(d, sub, input, b); err != nil {
				return err
			}
			mine, words = mine[n:], words[n:]
		}
	}
	return d.after()
}

// Send sends records to an input without keys, subtask by subtask in turn.
func Send[T any](d *Driver, input int, rows ...Sent[T]) error {
	for len(rows) > 0 {
		n := min(len(rows), d.opt.BatchSize)
		b := record.New[T](d.opt.BatchSize)
		for _, r := range rows[:n] {
			b.Append(r.Record, r.Time)
		}
		if err := deliver(d, d.turn%len(d.subs), input, b); err != nil {
			return err
		}
		d.turn++
		rows = rows[n:]
	}
	return d.after()
}

// Broadcast sends records to an input of every subtask.
func Broadcast[T any](d *Driver, input int, rows ...Sent[T]) error {
	for sub := range d.subs {
		for _, r := range rows {
			b := record.New[T](d.opt.BatchSize)
			b.Append(r.Record, r.Time)
			if err := deliver(d, sub, input, b); err != nil {
				return err
			}
		}
	}
	return d.after()
}

func deliver[T any](d *Driver, sub, input int, b *record.Batch[T]) error {
	s := d.subs[sub]
	r, ok := s.op.Input(input).(operator.Receiver[T])
	if !ok {
		return fmt.Errorf("input %d does not take %T", input, *new(T))
	}
	return s.guard(func() error { return r.Receive(b) })
}

// each calls f on every subtask.
func (d *Driver) each(f func(op operator.Operator) error) error {
	for _, s := range d.subs {
		if err := s.guard(func() error { return f(s.op) }); err != nil {
			return err
		}
	}
	return nil
}

// Advance brings event time to wm milliseconds.
func (d *Driver) Advance(wm int64) error {
	if wm <= d.wm {
		return nil
	}
	d.wm = wm
	err := d.each(func(op operator.Operator) error {
		for {
			if _, done, err := op.Advance(wm); done || err != nil {
				return err
			}
		}
	})
	return errors.Join(err, d.after())
}

// ProcessingTime moves the clock to now milliseconds and lets the subtasks act.
func (d *Driver) ProcessingTime(now int64) error {
	d.opt.Clock.Set(now * 1e6)
	err := d.each(func(op operator.Operator) error {
		t, ok := op.(operator.Ticker)
		for ok {
			at, due := t.Due()
			if !due || at > now {
				return nil
			}
			for {
				if done, err := t.OnTime(now); err != nil {
					return err
				} else if done {
					break
				}
			}
		}
		return nil
	})
	return errors.Join(err, d.after())
}

// EndInput ends one of several inputs.
func (d *Driver) EndInput(input int) error {
	d.ended[input] = true
	return errors.Join(d.tellEnd(input), d.after())
}

func (d *Driver) tellEnd(input int) error {
	return d.each(func(op operator.Operator) error {
		if e, ok := op.(operator.InputEnder); ok {
			return e.EndInput(input)
		}
		return nil
	})
}

// Finish ends all inputs: event time comes to its end and the operator is asked
// to finish.
func (d *Driver) Finish() error {
	if err := d.Advance(watermark.End); err != nil {
		return err
	}
	return d.each(func(op operator.Operator) error {
		for range 1000 {
			if done, err := op.Finish(); done || err != nil {
				return err
			}
		}
		return errors.New("the operator is not done after 1000 calls of Finish")
	})
}

// Close closes the subtasks.
func (d *Driver) Close() error {
	if d.closed {
		return nil
	}
	d.closed = true
	return d.each(func(op operator.Operator) error { return op.Close() })
}

func (d *Driver) after() error {
	if !d.opt.RestoreEach {
		return nil
	}
	return d.Restart(d.opt.Parallelism)
}

// Restart takes a snapshot, closes the subtasks and restores it in new ones,
// parallelism of them.
func (d *Driver) Restart(parallelism int) error {
	ps, err := d.Snapshot()
	if err != nil {
		return err
	}
	return d.Restore(ps, parallelism)
}

// Snapshot takes a snapshot of all subtasks and encodes it.
func (d *Driver) Snapshot() ([]operator.Piece, error) {
	var all []operator.Piece
	err := d.each(func(op operator.Operator) error {
		s, ok := op.(operator.Stateful)
		if !ok {
			return nil
		}
		ps, err := s.Snapshot()
		if err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
		for _, p := range ps {
			if p.Data, err = p.Encode(nil); err != nil {
				return fmt.Errorf("snapshot: state %s: %w", p.State, err)
			}
			p.Encode = nil
			all = append(all, p)
		}
		return nil
	})
	return all, err
}

// Restore replaces the subtasks by new ones, parallelism of them, restored from
// pieces. Event time and the ends of inputs, which snapshots do not hold, are
// told to them first; what they send then is dropped.
func (d *Driver) Restore(pieces []operator.Piece, parallelism int) error {
	if err := d.each(func(op operator.Operator) error { return op.Close() }); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	if err := d.open(parallelism); err != nil {
		return err
	}
	d.discard = true
	err := d.each(func(op operator.Operator) error {
		if d.wm == watermark.None {
			return nil
		}
		_, _, err := op.Advance(d.wm)
		return err
	})
	for in := range 8 {
		if d.ended[in] {
			err = errors.Join(err, d.tellEnd(in))
		}
	}
	d.discard = false
	if err != nil {
		return err
	}
	mine := make([][]operator.Piece, parallelism)
	next := 0
	for _, p := range pieces {
		switch {
		case p.Group >= 0:
			i := keygroup.Owner(p.Group, parallelism, d.opt.MaxParallelism)
			mine[i] = append(mine[i], p)
		case p.Group == operator.OperatorGroup:
			mine[next%parallelism] = append(mine[next%parallelism], p)
			next++
		default:
			for i := range mine {
				mine[i] = append(mine[i], p)
			}
		}
	}
	for i, s := range d.subs {
		st, ok := s.op.(operator.Stateful)
		if !ok {
			continue
		}
		if err := s.guard(func() error { return st.Restore(mine[i]) }); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	return nil
}
