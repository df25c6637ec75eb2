package operator

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/pattern"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
	"github.com/millrace/millrace/state/table"
)

// Detect finds the matches of a pattern in the events of each key. Events are
// kept until the watermark has reached them and then taken in the order of
// their event times, those of one time in the order in which they came.
//
// A match has the event time of what completed it: that of its last event, or
// the time at which the last event could have come. Partial matches that run
// out of time go to port 1, at that time. Events that the watermark has passed
// already go to port 2.
type Detect[K comparable, T, Out, Timed any] struct {
	// Pattern is valid.
	Pattern pattern.Pattern[T]
	// OnMatch makes the result of a match.
	OnMatch func(K, pattern.Match[T]) Out
	// OnTimeout makes the result of a partial match; nil drops them.
	OnTimeout func(K, pattern.Timeout[T]) Timed

	out   Emitter[Out]
	timed Emitter[Timed]
	late  late[T]

	env     *Env
	k       *Keyed[K]
	rows    *timedRows[K, T] // of which the watermark has not come yet
	partial *partials[K, T]
	due     due[K]
	count   int64
	now     int64
	fire    func() error
	machine *pattern.Machine[T]
	state   *pattern.State[T] // of the key in effect, while it is fired
	take    func(int64, *moment[T]) error
}

// Open implements [Operator].
func (d *Detect[K, T, Out, Timed]) Open(env *Env) (err error) {
	d.env = env
	if d.machine, err = pattern.Compile(d.Pattern); err != nil {
		return err
	}
	if d.OnTimeout == nil {
		d.machine.DiscardTimeouts()
	}
	if d.k, err = NewKeyed[K](env); err != nil {
		return err
	}
	if d.rows, err = newTimedRows[K, T](d.k, "events"); err != nil {
		return err
	}
	d.partial = &partials[K, T]{k: d.k, m: d.machine, codec: d.rows.codec,
		t: table.New[K, partialMatches[T]](d.k.groups, table.Options{})}
	d.k.add("partial-matches", d.partial)
	d.due = newDue(d.k)
	d.fire = d.advanceKey
	d.take = d.feed
	d.out.Open(env)
	d.timed.Open(env)
	d.late.Open(env)
	return nil
}

// Input implements [Operator].
func (d *Detect[K, T, Out, Timed]) Input(int) any { return d }

// Connect implements [Operator].
func (d *Detect[K, T, Out, Timed]) Connect(port int, r any) {
	switch port {
	case 1:
		d.timed.Connect(r)
	case 2:
		d.late.Connect(r)
	default:
		d.out.Connect(r)
	}
}

// LateDropped is the number of late events that nobody received.
func (d *Detect[K, T, Out, Timed]) LateDropped() int64 { return d.late.dropped }

// Receive implements [Receiver].
func (d *Detect[K, T, Out, Timed]) Receive(b *record.Batch[T]) error {
	live := b.Live()
	keys := *b.Keys.(*[]K)
	k := d.k
	k.Begin(b.Words)
	for _, i := range live {
		at := b.Times[i]
		if at == record.NoTime {
			return untimed(d.env, d.count, b.Times, i)
		}
		if at <= k.Watermark {
			d.late.put(&b.Rows[i], at)
			continue
		}
		k.Key, k.Word = keys[i], b.Words[i]
		if d.rows.add(&b.Rows[i], at, false) {
			d.due.set(at)
		}
	}
	k.End(len(live))
	d.count += int64(len(live))
	return d.late.Flush()
}

// Advance implements [Operator].
func (d *Detect[K, T, Out, Timed]) Advance(wm int64) (int64, bool, error) {
	d.k.Watermark, d.now = wm, wm
	cur := d.env.Cursor
	cur.Op, cur.Times = d.env.Name, nil
	done, err := d.due.fire(d.env, wm, d.fire)
	if err != nil {
		return wm, false, err
	}
	cur.Op = ""
	if err := d.out.Flush(); err != nil {
		return wm, false, err
	}
	return wm, done, d.timed.Flush()
}

// advanceKey takes the events of the key in effect up to the watermark, and
// lets the time pass up to it.
func (d *Detect[K, T, Out, Timed]) advanceKey() error {
	d.state = d.partial.open()
	if head, ok := d.rows.head(); ok && head <= d.now {
		if err := d.rows.upTo(d.now, d.take); err != nil {
			return err
		}
		d.rows.drop(d.now)
	}
	// The end of input is no time that could be over.
	d.pass(min(d.now, watermark.End-1))
	deadline, ok := d.machine.Deadline(d.state)
	d.partial.close(d.state)
	if ok && deadline < watermark.End {
		d.due.set(deadline)
	}
	if at, ok := d.rows.head(); ok {
		d.due.set(at)
	}
	return nil
}

// feed takes the events of one moment.
func (d *Detect[K, T, Out, Timed]) feed(at int64, m *moment[T]) error {
	d.pass(at - 1)
	for i := range int(m.n) {
		d.emit(d.machine.Advance(d.state, *m.at(i), at), at)
	}
	return nil
}

// pass lets the time pass up to and including to, from deadline to deadline, so
// that what is found has the same time whatever watermarks come.
func (d *Detect[K, T, Out, Timed]) pass(to int64) {
	for {
		at, ok := d.machine.Deadline(d.state)
		if !ok || at > to {
			return
		}
		d.emit(d.machine.AdvanceTime(d.state, at), at)
	}
}

func (d *Detect[K, T, Out, Timed]) emit(r pattern.Result[T], at int64) {
	for _, m := range r.Matches {
		d.out.Emit(d.OnMatch(d.k.Key, m), at)
	}
	for _, t := range r.Timeouts {
		d.timed.Emit(d.OnTimeout(d.k.Key, t), at)
	}
}

// Finish implements [Operator].
func (d *Detect[K, T, Out, Timed]) Finish() (bool, error) { return true, nil }

// Close implements [Operator].
func (d *Detect[K, T, Out, Timed]) Close() error { return nil }

// Snapshot implements [Stateful].
func (d *Detect[K, T, Out, Timed]) Snapshot() ([]Piece, error) { return d.k.Snapshot() }

// Restore implements [Stateful].
func (d *Detect[K, T, Out, Timed]) Restore(pieces []Piece) error {
	if err := d.k.Restore(pieces); err != nil {
		return err
	}
	rebuild(d.k, d.rows, func(at int64) { d.due.set(at) })
	for e := range d.partial.t.Entries() {
		if at, ok := d.machine.Deadline(e.Value.s); ok {
			d.k.Key, d.k.Word = e.Key, e.Word()
			d.due.set(at)
		}
	}
	return nil
}

// partials is the partial matches of each key that has any. The machine changes
// them in place; so those that a snapshot shares are copied before they are
// used again.
type partials[K comparable, T any] struct {
	k      *Keyed[K]
	m      *pattern.Machine[T]
	codec  *codec.Codec[T]
	t      *table.Table[K, partialMatches[T]]
	taken  uint64       // snapshots, ever
	frozen atomic.Int64 // snapshots that have not been encoded yet
	spare  *pattern.State[T]
	buf    []byte
}

type partialMatches[T any] struct {
	s     *pattern.State[T]
	since uint64 // number of snapshots taken when s was made
}

// open returns the state of the key in effect, to be changed.
func (p *partials[K, T]) open() *pattern.State[T] {
	e := p.t.Get(p.k.Word, p.k.Key)
	switch {
	case e == nil && p.spare == nil:
		return new(pattern.State[T])
	case e == nil:
		s := p.spare
		p.spare = nil
		return s
	case e.since < p.taken && p.frozen.Load() > 0:
		return p.clone(e.s)
	}
	return e.s
}

// clone copies a state that a snapshot shares. What events point to is shared.
func (p *partials[K, T]) clone(s *pattern.State[T]) *pattern.State[T] {
	// Events are numbered in the bytes and picked up again by number.
	var events []T
	p.buf = p.m.AppendState(p.buf[:0], s, func(dst []byte, v *T) []byte {
		events = append(events, *v)
		return append(dst, 0)
	})
	n := 0
	c, err := p.m.DecodeState(p.buf, func(src []byte) (T, []byte, error) {
		n++
		return events[n-1], src[1:], nil
	})
	if err != nil {
		panic(fmt.Errorf("partial matches of key %v: %w", p.k.Key, err)) // it has just been written
	}
	return c
}

// close stores the state that open returned.
func (p *partials[K, T]) close(s *pattern.State[T]) {
	k := p.k
	e := p.t.Get(k.Word, k.Key)
	switch {
	case s.Empty():
		if e != nil {
			p.t.Delete(k.Word, k.Key)
		}
		if e == nil {
			p.spare = s // nobody else has it
		}
	case e == nil || e.s != s:
		e, _ = p.t.Upsert(k.Word, k.Key)
		*e = partialMatches[T]{s, p.taken}
	}
}

func (p *partials[K, T]) touch(words []uint64) { p.t.Touch(words) }

func (p *partials[K, T]) visit(f func(word uint64, key K)) {
	for e := range p.t.Entries() {
		f(e.Word(), e.Key)
	}
}

// snapshot writes for each key the length of its partial matches' bytes and
// these bytes, which package pattern describes.
func (p *partials[K, T]) snapshot(name string) []Piece {
	snap := p.t.Snapshot()
	p.taken++
	p.frozen.Add(1)
	return p.k.pieces(name, frozen{
		schema: schemas(p.k.keys.Schema(), p.codec.Schema()),
		has:    func(g int) bool { return snap.GroupLen(g) > 0 },
		release: func() {
			snap.Release()
			p.frozen.Add(-1)
		},
		append: func(dst []byte, g int) []byte {
			var buf []byte
			for e := range snap.GroupEntries(g) {
				dst = p.k.keys.Append(dst, &e.Key)
				buf = p.m.AppendState(buf[:0], e.Value.s, p.codec.Append)
				dst = binary.AppendUvarint(dst, uint64(len(buf)))
				dst = append(dst, buf...)
			}
			return dst
		},
	})
}

func (p *partials[K, T]) restore(piece Piece) error {
	r, written, err := p.k.open(piece, 1)
	if err != nil {
		return err
	}
	d, err := under(p.codec, written[0])
	if err != nil {
		return err
	}
	for r.more() {
		word, key, err := r.key()
		if err != nil {
			return err
		}
		n, src, err := takeCount(r.src)
		if err != nil {
			return err
		}
		s, err := p.m.DecodeState(src[:n], func(src []byte) (v T, _ []byte, err error) {
			src, err = d.decode(src, &v)
			return v, src, err
		})
		if err != nil {
			return fmt.Errorf("partial matches of key %v: %w", key, err)
		}
		r.src = src[n:]
		e, _ := p.t.Upsert(word, key)
		*e = partialMatches[T]{s, p.taken}
	}
	return nil
}
