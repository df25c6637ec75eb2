package operator

import (
	"math"
	"time"

	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
)

// DedupFirst passes on the first record of each key and drops the others, until
// TTL is over, in the order and the time in which they come. It keeps one flat
// entry for a key and passes rows on without copying them.
type DedupFirst[K comparable, T any] struct {
	// TTL is how long a key is remembered from its first record on, in
	// processing time; 0 is for good.
	TTL time.Duration

	out  Output[T]
	view record.Batch[T]
	sel  []int32

	k    *Keyed[K]
	seen ValueState[bool]
}

// Open implements [Operator].
func (d *DedupFirst[K, T]) Open(env *Env) (err error) {
	if d.k, err = NewKeyed[K](env); err != nil {
		return err
	}
	d.seen = NewValue[K, bool](d.k, "seen", StateOptions{TTL: d.TTL})
	return nil
}

// Input implements [Operator].
func (d *DedupFirst[K, T]) Input(int) any { return d }

// Connect implements [Operator].
func (d *DedupFirst[K, T]) Connect(_ int, r any) { d.out.Connect(r) }

// Receive implements [Receiver].
func (d *DedupFirst[K, T]) Receive(b *record.Batch[T]) error {
	live := b.Live()
	keys := *b.Keys.(*[]K)
	k := d.k
	k.Begin(b.Words)
	sel := d.sel[:0]
	for _, i := range live {
		k.Key, k.Word = keys[i], b.Words[i]
		if _, ok := d.seen.Load(); ok {
			continue
		}
		d.seen.Set(true)
		sel = append(sel, i)
	}
	k.End(len(live))
	d.sel = sel
	if len(sel) == 0 {
		return nil
	}
	if len(sel) == len(live) {
		return d.out.Send(b)
	}
	b.View(&d.view, sel)
	return d.out.Send(&d.view)
}

// Advance implements [Operator].
func (d *DedupFirst[K, T]) Advance(wm int64) (int64, bool, error) { return wm, true, nil }

// Finish implements [Operator].
func (d *DedupFirst[K, T]) Finish() (bool, error) { return true, nil }

// Close implements [Operator].
func (d *DedupFirst[K, T]) Close() error { return nil }

// Snapshot implements [Stateful].
func (d *DedupFirst[K, T]) Snapshot() ([]Piece, error) { return d.k.Snapshot() }

// Restore implements [Stateful].
func (d *DedupFirst[K, T]) Restore(pieces []Piece) error { return d.k.Restore(pieces) }

// lastOf is the latest record of a key so far.
type lastOf[T any] struct {
	Over int64 // when the key's time is over, in the clock that the operator uses
	At   int64 // event time of Row
	Row  T
}

// DedupLast passes on the last record of each key: the one that is the latest
// when TTL is over, counted in processing time from the key's first record on.
// The record keeps its event time, by which it may be late. What is held when
// the input ends goes out then.
type DedupLast[K comparable, T any] struct {
	// TTL in milliseconds, at least 1.
	TTL int64

	out Emitter[T]

	env  *Env
	k    *Keyed[K]
	last ValueState[lastOf[T]]
	due  due[K]
	fire func() error
}

const lastState = "last"

// Open implements [Operator].
func (d *DedupLast[K, T]) Open(env *Env) (err error) {
	d.env = env
	if d.k, err = NewKeyed[K](env); err != nil {
		return err
	}
	d.last = NewValue[K, lastOf[T]](d.k, lastState)
	d.due = newDue(d.k)
	d.fire = d.release
	d.out.Open(env)
	return nil
}

// Input implements [Operator].
func (d *DedupLast[K, T]) Input(int) any { return d }

// Connect implements [Operator].
func (d *DedupLast[K, T]) Connect(_ int, r any) { d.out.Connect(r) }

// Receive implements [Receiver].
func (d *DedupLast[K, T]) Receive(b *record.Batch[T]) error {
	live := b.Live()
	keys := *b.Keys.(*[]K)
	k := d.k
	over := plus(d.env.NowMillis(), d.TTL)
	k.Begin(b.Words)
	for _, i := range live {
		k.Key, k.Word = keys[i], b.Words[i]
		v, created := d.last.Upsert()
		v.Row, v.At = b.Rows[i], b.Times[i]
		if created {
			v.Over = over
			d.due.set(over)
		}
		if k.Borrowed {
			k.Settle()
		}
	}
	k.End(len(live))
	return nil
}

// release sends what is held of the key in effect.
func (d *DedupLast[K, T]) release() error {
	if v, ok := d.last.Load(); ok {
		d.out.Emit(v.Row, v.At)
		d.last.Clear()
	}
	return nil
}

// Due implements [Ticker].
func (d *DedupLast[K, T]) Due() (int64, bool) {
	if d.k == nil {
		return 0, false
	}
	return d.due.s.Next()
}

// OnTime implements [Ticker].
func (d *DedupLast[K, T]) OnTime(now int64) (bool, error) {
	done, err := d.due.fire(d.env, now, d.fire)
	if err != nil {
		return false, err
	}
	return done, d.out.Flush()
}

// Advance implements [Operator].
func (d *DedupLast[K, T]) Advance(wm int64) (int64, bool, error) { return wm, true, nil }

// Finish implements [Operator].
func (d *DedupLast[K, T]) Finish() (bool, error) { return d.OnTime(watermark.End) }

// Close implements [Operator].
func (d *DedupLast[K, T]) Close() error { return nil }

// Snapshot implements [Stateful].
func (d *DedupLast[K, T]) Snapshot() ([]Piece, error) { return d.k.Snapshot() }

// Restore implements [Stateful].
func (d *DedupLast[K, T]) Restore(pieces []Piece) error {
	if err := d.k.Restore(pieces); err != nil {
		return err
	}
	return d.k.ForEachKey(lastState, func() error {
		v, _ := d.last.Load()
		d.due.set(v.Over)
		return nil
	})
}

// DedupByTime de-duplicates in event time: the records of a key are taken in
// the order of their event times, whatever the order in which they come. The
// first begins a span of TTL; the result is the first record of each span, at
// its own time, or the last, at the last millisecond of the span. A span begins
// with the first record behind the one before.
//
// A record that the watermark has passed is late and goes to port 1, unless it
// is known to repeat a first record that has gone out.
type DedupByTime[K comparable, T any] struct {
	// TTL in milliseconds; 0 is for good, which Last does not allow.
	TTL  int64
	Last bool

	out  Emitter[T]
	late late[T]

	env   *Env
	k     *Keyed[K]
	rows  *timedRows[K, T]      // of which the watermark has not come yet
	over  ValueState[int64]     // First: end of the span under way
	last  ValueState[lastOf[T]] // Last: the span under way
	due   due[K]
	count int64
	now   int64
	fire  func() error
	take  func(int64, *moment[T]) error
}

// Open implements [Operator].
func (d *DedupByTime[K, T]) Open(env *Env) (err error) {
	d.env = env
	if d.k, err = NewKeyed[K](env); err != nil {
		return err
	}
	if d.rows, err = newTimedRows[K, T](d.k, "rows"); err != nil {
		return err
	}
	d.take = d.takeFirst
	if d.Last {
		d.last = NewValue[K, lastOf[T]](d.k, lastState)
		d.take = d.takeLast
	} else {
		d.over = NewValue[K, int64](d.k, "over")
	}
	d.due = newDue(d.k)
	d.fire = d.advanceKey
	d.out.Open(env)
	d.late.Open(env)
	return nil
}

// Input implements [Operator].
func (d *DedupByTime[K, T]) Input(int) any { return d }

// Connect implements [Operator].
func (d *DedupByTime[K, T]) Connect(port int, r any) {
	if port == 1 {
		d.late.Connect(r)
		return
	}
	d.out.Connect(r)
}

// LateDropped is the number of late records that nobody received.
func (d *DedupByTime[K, T]) LateDropped() int64 { return d.late.dropped }

// Receive implements [Receiver].
func (d *DedupByTime[K, T]) Receive(b *record.Batch[T]) error {
	live := b.Live()
	keys := *b.Keys.(*[]K)
	k := d.k
	k.Begin(b.Words)
	for _, i := range live {
		at := b.Times[i]
		if at == record.NoTime {
			return untimed(d.env, d.count, b.Times, i)
		}
		k.Key, k.Word = keys[i], b.Words[i]
		if !d.Last {
			if over, ok := d.over.Load(); ok && at < over {
				continue
			}
		}
		if at <= k.Watermark {
			d.late.put(&b.Rows[i], at)
			continue
		}
		if !d.Last && d.TTL == 0 {
			// Only the earliest can ever go out.
			if head, ok := d.rows.head(); ok {
				if head <= at {
					continue
				}
				d.rows.drop(math.MaxInt64)
			}
		}
		if d.rows.add(&b.Rows[i], at, false) {
			d.due.set(at)
		}
	}
	k.End(len(live))
	d.count += int64(len(live))
	return d.late.Flush()
}

// Advance implements [Operator].
func (d *DedupByTime[K, T]) Advance(wm int64) (int64, bool, error) {
	d.k.Watermark, d.now = wm, wm
	done, err := d.due.fire(d.env, wm, d.fire)
	if err != nil {
		return wm, false, err
	}
	return wm, done, d.out.Flush()
}

// advanceKey brings the key in effect up to the watermark.
func (d *DedupByTime[K, T]) advanceKey() error {
	if head, ok := d.rows.head(); ok && head <= d.now {
		if err := d.rows.upTo(d.now, d.take); err != nil {
			return err
		}
		d.rows.drop(d.now)
	}
	if at, ok := d.closing(); ok && at <= d.now {
		d.close()
	} else if ok {
		d.due.set(at)
	}
	if at, ok := d.rows.head(); ok {
		d.due.set(at)
	}
	return nil
}

// closing is the watermark at which the span under way is over.
func (d *DedupByTime[K, T]) closing() (int64, bool) {
	if d.Last {
		v, ok := d.last.Load()
		return v.Over - 1, ok
	}
	over, ok := d.over.Load()
	return over - 1, ok && d.TTL > 0
}

func (d *DedupByTime[K, T]) close() {
	if !d.Last {
		d.over.Clear()
		return
	}
	v, _ := d.last.Load()
	d.out.Emit(v.Row, v.Over-1)
	d.last.Clear()
}

func (d *DedupByTime[K, T]) takeFirst(at int64, m *moment[T]) error {
	if over, ok := d.over.Load(); ok && at < over {
		return nil
	}
	over := int64(math.MaxInt64)
	if d.TTL > 0 {
		over = plus(at, d.TTL)
	}
	d.over.Set(over)
	d.out.Emit(m.first, at)
	return nil
}

func (d *DedupByTime[K, T]) takeLast(at int64, m *moment[T]) error {
	v, ok := d.last.Load()
	if ok && at >= v.Over {
		d.close()
		ok = false
	}
	if !ok {
		v.Over = plus(at, d.TTL)
	}
	v.Row, v.At = *m.at(int(m.n) - 1), at
	d.last.Set(v)
	return nil
}

// Finish implements [Operator].
func (d *DedupByTime[K, T]) Finish() (bool, error) { return true, nil }

// Close implements [Operator].
func (d *DedupByTime[K, T]) Close() error { return nil }

// Snapshot implements [Stateful].
func (d *DedupByTime[K, T]) Snapshot() ([]Piece, error) { return d.k.Snapshot() }

// Restore implements [Stateful].
func (d *DedupByTime[K, T]) Restore(pieces []Piece) error {
	if err := d.k.Restore(pieces); err != nil {
		return err
	}
	rebuild(d.k, d.rows, func(at int64) { d.due.set(at) })
	name := "over"
	if d.Last {
		name = lastState
	}
	return d.k.ForEachKey(name, func() error {
		if at, ok := d.closing(); ok {
			d.due.set(at)
		}
		return nil
	})
}
