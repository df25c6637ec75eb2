package operator

import (
	"errors"

	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
)

// Plain is what an operator without timers, state or resources has in common
// with others: it lets time and the end pass.
type Plain struct {
	env   *Env
	count int64 // records before the current batch
}

// Open implements [Operator].
func (p *Plain) Open(env *Env) error { p.env = env; return nil }

// Advance implements [Operator].
func (p *Plain) Advance(wm int64) (int64, bool, error) { return wm, true, nil }

// Finish implements [Operator].
func (p *Plain) Finish() (bool, error) { return true, nil }

// Close implements [Operator].
func (p *Plain) Close() error { return nil }

// enter points the cursor at the operator's user code and returns it.
func (p *Plain) enter(times []int64) *Cursor {
	c := p.env.Cursor
	c.Op, c.Base, c.Row, c.Times = p.env.Name, p.count, 0, times
	return c
}

// Map turns each record into one record. Exactly one of F and To is set.
type Map[T, U any] struct {
	Plain
	F  func(T) U
	To func(in *T, out *U)

	out   Output[U]
	batch *record.Batch[U]
}

// Open implements [Operator].
func (m *Map[T, U]) Open(env *Env) error {
	m.batch = record.New[U](env.BatchSize)
	return m.Plain.Open(env)
}

// Input implements [Operator].
func (m *Map[T, U]) Input(int) any { return m }

// Connect implements [Operator].
func (m *Map[T, U]) Connect(_ int, r any) { m.out.Connect(r) }

// Receive implements [Receiver].
func (m *Map[T, U]) Receive(b *record.Batch[T]) error {
	live := b.Live()
	o := m.batch
	o.Rows, o.Times = o.Rows[:len(live)], o.Times[:len(live)]
	cur := m.enter(b.Times)
	if m.To != nil {
		for j, i := range live {
			cur.Row = i
			m.To(&b.Rows[i], &o.Rows[j])
		}
	} else {
		for j, i := range live {
			cur.Row = i
			o.Rows[j] = m.F(b.Rows[i])
		}
	}
	cur.Op = ""
	m.count += int64(len(live))
	if b.Sel == nil {
		copy(o.Times, b.Times)
	} else {
		for j, i := range live {
			o.Times[j] = b.Times[i]
		}
	}
	err := m.out.Send(o)
	o.Reset()
	return err
}

// Update changes each record in place, in a copy if it is not the only reader.
type Update[T any] struct {
	Plain
	F func(*T)

	out   Output[T]
	batch *record.Batch[T]
}

// Open implements [Operator].
func (u *Update[T]) Open(env *Env) error {
	u.batch = record.New[T](env.BatchSize)
	return u.Plain.Open(env)
}

// Input implements [Operator].
func (u *Update[T]) Input(int) any { return u }

// Connect implements [Operator].
func (u *Update[T]) Connect(_ int, r any) { u.out.Connect(r) }

// Receive implements [Receiver].
func (u *Update[T]) Receive(b *record.Batch[T]) error {
	live := b.Live()
	o := b
	if b.Shared {
		o = u.batch
		for _, i := range live {
			o.Append(b.Rows[i], b.Times[i])
		}
		live = o.Live()
	}
	cur := u.enter(o.Times)
	for _, i := range live {
		cur.Row = i
		u.F(&o.Rows[i])
	}
	cur.Op = ""
	u.count += int64(len(live))
	err := u.out.Send(o)
	if o != b {
		o.Reset()
	}
	return err
}

// Filter keeps the records that a function accepts. Exactly one of F and Ref is
// set.
type Filter[T any] struct {
	Plain
	F   func(T) bool
	Ref func(*T) bool

	out Output[T]
	sel []int32
}

// Input implements [Operator].
func (f *Filter[T]) Input(int) any { return f }

// Connect implements [Operator].
func (f *Filter[T]) Connect(_ int, r any) { f.out.Connect(r) }

// Receive implements [Receiver]. Nothing is copied: the batch goes on with a
// shorter selection.
func (f *Filter[T]) Receive(b *record.Batch[T]) error {
	live := b.Live()
	if cap(f.sel) < len(live) {
		f.sel = make([]int32, cap(b.Rows))
	}
	sel := f.sel[:len(live)]
	n := 0
	cur := f.enter(b.Times)
	if f.Ref != nil {
		for _, i := range live {
			cur.Row = i
			sel[n] = i
			if f.Ref(&b.Rows[i]) {
				n++
			}
		}
	} else {
		for _, i := range live {
			cur.Row = i
			sel[n] = i
			if f.F(b.Rows[i]) {
				n++
			}
		}
	}
	cur.Op = ""
	f.count += int64(len(live))
	switch {
	case n == 0:
		return nil
	case n == len(live):
		return f.out.Send(b)
	}
	was := b.Sel
	b.Sel = sel[:n]
	err := f.out.Send(b)
	b.Sel = was
	return err
}

// FlatMap turns each record into any number of records.
type FlatMap[T, U any] struct {
	Plain
	// F is given the record and a function that emits; one of F and Ref is set.
	F   func(T, func(U))
	Ref func(*T, func(U))

	out  Emitter[U]
	at   int64
	emit func(U)
}

// Open implements [Operator].
func (f *FlatMap[T, U]) Open(env *Env) error {
	f.out.Open(env)
	f.emit = func(v U) { f.out.Emit(v, f.at) }
	return f.Plain.Open(env)
}

// Input implements [Operator].
func (f *FlatMap[T, U]) Input(int) any { return f }

// Connect implements [Operator].
func (f *FlatMap[T, U]) Connect(_ int, r any) { f.out.Connect(r) }

// Receive implements [Receiver].
func (f *FlatMap[T, U]) Receive(b *record.Batch[T]) error {
	live := b.Live()
	cur := f.enter(b.Times)
	for _, i := range live {
		cur.Row, f.at = i, b.Times[i]
		if f.Ref != nil {
			f.Ref(&b.Rows[i], f.emit)
		} else {
			f.F(b.Rows[i], f.emit)
		}
	}
	cur.Op = ""
	f.count += int64(len(live))
	return f.out.Flush()
}

// TryMap turns each record into one record, or, where that fails, into a dead
// letter on port 1. Without a Dead function an error ends the job.
type TryMap[T, U, D any] struct {
	Plain
	F    func(T) (U, error)
	Dead func(in T, err error) D

	out  Emitter[U]
	dead Emitter[D]
}

// Open implements [Operator].
func (m *TryMap[T, U, D]) Open(env *Env) error {
	m.out.Open(env)
	m.dead.Open(env)
	return m.Plain.Open(env)
}

// Input implements [Operator].
func (m *TryMap[T, U, D]) Input(int) any { return m }

// Connect implements [Operator].
func (m *TryMap[T, U, D]) Connect(port int, r any) {
	if port == 1 {
		m.dead.Connect(r)
	} else {
		m.out.Connect(r)
	}
}

// Receive implements [Receiver].
func (m *TryMap[T, U, D]) Receive(b *record.Batch[T]) error {
	cur := m.enter(b.Times)
	for _, i := range b.Live() {
		cur.Row = i
		v, err := m.F(b.Rows[i])
		switch {
		case err == nil:
			m.out.Emit(v, b.Times[i])
		case m.Dead == nil:
			return err
		default:
			m.dead.Emit(m.Dead(b.Rows[i], err), b.Times[i])
		}
	}
	cur.Op = ""
	m.count += int64(b.Len())
	return errors.Join(m.out.Flush(), m.dead.Flush())
}

// Timestamps gives records their event time in the middle of a stream and makes
// watermarks from it; those that come from upstream are dropped, but for the
// end. Right behind a source, stamping is done in the source instead.
type Timestamps[T any] struct {
	Plain
	Stamping Stamping[T]

	out    Output[T]
	view   record.Batch[T]
	dense  *record.Batch[T] // live rows of a batch with a selection
	times  []int64
	split  *watermark.Split
	splits *watermark.Splits
	gen    watermark.Generator[T]
	max    int64
	event  int64
}

// Open implements [Operator].
func (t *Timestamps[T]) Open(env *Env) error {
	t.event, t.max = watermark.None, watermark.None
	if t.Stamping.Generator != nil {
		t.gen = t.Stamping.Generator()
	}
	t.splits = watermark.NewSplits(t.Stamping.Strategy, watermark.Idleness{})
	t.split, _ = t.splits.Add("stream", timeOf(env))
	return t.Plain.Open(env)
}

// Input implements [Operator].
func (t *Timestamps[T]) Input(int) any { return t }

// Connect implements [Operator].
func (t *Timestamps[T]) Connect(_ int, r any) { t.out.Connect(r) }

// EventTime implements [Timekeeper].
func (t *Timestamps[T]) EventTime() int64 { return t.event }

// Receive implements [Receiver].
func (t *Timestamps[T]) Receive(b *record.Batch[T]) error {
	v := &t.view
	if b.Sel != nil { // the user's function is for live rows only
		if t.dense == nil {
			t.dense = record.New[T](t.env.BatchSize)
		}
		t.dense.Reset()
		for _, i := range b.Sel {
			t.dense.Append(b.Rows[i], b.Times[i])
		}
		b = t.dense
	}
	b.View(v, nil)
	if cap(t.times) < len(b.Times) {
		t.times = make([]int64, cap(b.Times))
	}
	v.Times = t.times[:len(b.Times)]
	copy(v.Times, b.Times)
	cur := t.enter(b.Times)
	if t.Stamping.Stamp != nil {
		t.Stamping.Stamp(cur, v.Rows, v.Times)
	}
	if i := record.CheckTimes(v.Times); i >= 0 {
		cur.Row = int32(i)
		return timeError(v.Times[i])
	}
	if t.gen != nil {
		for _, i := range v.Live() {
			cur.Row = i
			if w := t.gen.OnEvent(&v.Rows[i], v.Times[i]); w > t.event {
				t.split.Advance(w)
				t.event = w
			}
		}
		cur.Aside(t.env.Name, "OnPeriodic")
		if w := t.gen.OnPeriodic(); w > t.event {
			t.event = w
		}
	} else {
		for _, i := range v.Live() {
			t.max = max(t.max, v.Times[i])
		}
		t.split.Observe(t.max)
		if c := t.splits.Tick(timeOf(t.env)); c.Advanced {
			t.event = max(t.event, c.Watermark)
		}
	}
	cur.Op = ""
	t.count += int64(b.Len())
	return t.out.Send(v)
}

// Advance implements [Operator]: only the end comes through.
func (t *Timestamps[T]) Advance(wm int64) (int64, bool, error) {
	if wm == watermark.End {
		t.event = wm
	}
	return t.event, true, nil
}

// Identity passes batches on: the head of a union that others follow, or an
// operator that only carries a name or a parallelism.
type Identity[T any] struct {
	Plain
	out Output[T]
}

// Input implements [Operator].
func (p *Identity[T]) Input(int) any { return p }

// Connect implements [Operator].
func (p *Identity[T]) Connect(_ int, r any) { p.out.Connect(r) }

// Receive implements [Receiver].
func (p *Identity[T]) Receive(b *record.Batch[T]) error { return p.out.Send(b) }
