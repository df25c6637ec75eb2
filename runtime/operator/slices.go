package operator

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
	"github.com/millrace/millrace/state/keygroup"
	"github.com/millrace/millrace/state/table"
)

// Slices aggregates event-time windows that do not depend on the records:
// tumbling, sliding, cumulative and global ones, fired once, when event time
// passes their end. Port 0 is the main output, port 1 takes late records.
//
// It cuts time into slices, such that every window is a row of whole slices,
// and keeps the accumulators of each. A record is added to one accumulator,
// however many windows it is in, and there are no timers but the end of the
// next window. What a window's end costs for each key does not grow with the
// number of slices in a window, either: windows of one slice are read from the
// slice's table, others from sums that go along with the windows (see sums).
//
// Where windows are of several slices, a slice is a table only until the first
// window that holds it fires. Then it becomes two arrays (see sums), and the
// table, still in the cache, serves a new slice: with a table for each of
// hundreds of slices every record would meet memory that was last seen a
// window's length ago. Records that come after that are put in a second, late
// slice of the same time.
//
// Results are made key group by key group, and a firing is only cut between two
// key groups. So a snapshot needs to know of each key group no more than how
// far it has come, and only the slices are stored: what is derived from them is
// made anew.
type Slices[K comparable, In, Acc, R any] struct {
	// Windows are not sessions and not of processing time.
	Windows Assigner
	// Agg has a Merge unless every window is one slice.
	Agg Aggregate[In, Acc]
	// Result fills out with a window's result. It may keep what acc points to
	// and must not change it.
	Result func(out *R, key K, w Window, acc *Acc)
	// Results, if not nil, takes the place of Result and emits any number.
	Results func(key K, w Window, acc *Acc, emit func(R))
	// Grows says that accumulators point to nothing but slices that are only
	// appended to, so that a snapshot may read them while the operator works.
	Grows bool

	env     *Env
	out     Emitter[R]
	late    lateOutput[In]
	groups  keygroup.Range
	keys    *codec.Codec[K]
	accs    *codec.Codec[Acc]
	hasher  *keygroup.Hasher[K]
	mutable bool // accumulators point to what Agg may change
	count   int64

	wm    int64 // event time handled
	ahead []int64
	live  []*slice[K, Acc]             // by start
	cur   *slice[K, Acc]               // the one last used, or nil
	pool  []*table.Table[K, Acc]       // for reuse
	opens []*table.AppendTable[K, Acc] // for reuse
	used  int                          // tables that slices have
	peak  int                          // the most there were, of late
	most  int                          // the most there were since peak was lowered
	fired int                          // windows since then
	next  int64                        // end of the next window that has records; MaxInt64 if due is false
	due   bool
	at    int // in a firing that was cut: the next key group; else the first

	over  *sums[K, In, Acc] // nil where every window is one slice
	ptrs  []*Acc
	taken int64 // results since the last look at Yield
}

// slice is the accumulators of the records in [start, end).
type slice[K comparable, Acc any] struct {
	start, end int64
	// Where every window is one slice, t has them. Elsewhere open has them at
	// first and set when open is nil. late says that a window with the slice had
	// been made before it came up: it never is open. There may be a closed slice
	// and a late one of the same time.
	t    *table.Table[K, Acc]
	open *table.AppendTable[K, Acc]
	set  closedSet[Acc]
	late bool
}

// Open implements [Operator].
func (o *Slices[K, In, Acc, R]) Open(env *Env) (err error) {
	o.env = env
	o.groups = keygroup.RangeOf(env.Index, env.Parallelism, env.MaxParallelism)
	if o.keys, err = codec.Of[K](); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if o.accs, err = codec.Of[Acc](); err != nil {
		return fmt.Errorf("accumulator: %w", err)
	}
	if o.hasher, err = keygroup.NewHasher[K](env.MaxParallelism, keygroup.Options{}); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	o.mutable = !o.Grows && mutable(reflect.TypeFor[Acc]())
	o.wm, o.next, o.at = watermark.None, math.MaxInt64, o.groups.Start
	o.out.Open(env)
	o.late.out.Open(env)
	o.ptrs = make([]*Acc, 0, env.BatchSize)
	if !o.Windows.single() {
		m := mergeOf[Acc]{o.Agg.Merge, o.Agg.Subtract, nil}
		if o.mutable {
			m.subtract, m.clone = nil, o.accs.Clone
		}
		o.over = newSums[K, In](m, o.groups, o.hasher)
	}
	return nil
}

// Input implements [Operator].
func (o *Slices[K, In, Acc, R]) Input(int) any { return o }

// Connect implements [Operator].
func (o *Slices[K, In, Acc, R]) Connect(port int, r any) {
	if port == 0 {
		o.out.Connect(r)
		return
	}
	o.late.out.Connect(r)
}

// Close implements [Operator].
func (o *Slices[K, In, Acc, R]) Close() error { return nil }

// Finish implements [Operator].
func (o *Slices[K, In, Acc, R]) Finish() (bool, error) { return true, nil }

// LateDropped is the number of late records that nobody took.
func (o *Slices[K, In, Acc, R]) LateDropped() int64 { return o.late.dropped }

// Receive implements [Receiver]. Neighbouring records mostly fall into one
// slice, so it works by runs of them.
func (o *Slices[K, In, Acc, R]) Receive(b *record.Batch[In]) error {
	live, times := b.Live(), b.Times
	cur := o.env.Cursor
	cur.Op, cur.Base, cur.Times = o.env.Name, o.count, times
	for j := 0; j < len(live); {
		at := times[live[j]]
		s := o.cur
		if s == nil || at < s.start || at >= s.end {
			if s = o.find(at); s == nil {
				cur.Row = live[j]
				if !hasTime(at) && o.Windows.Kind != GlobalWindows {
					return errNoTime(&o.Windows)
				}
				if _, _, in := o.Windows.slice(at); in {
					o.late.late(&b.Rows[live[j]], at)
				}
				j++
				continue
			}
			o.cur = s
		}
		n := j + 1
		for n < len(live) && times[live[n]] >= s.start && times[live[n]] < s.end {
			n++
		}
		o.add(s, b, live[j:n])
		j = n
	}
	cur.Op = ""
	o.count += int64(len(live))
	return errors.Join(o.out.Flush(), o.late.out.Flush())
}

// add adds rows that fall into s.
func (o *Slices[K, In, Acc, R]) add(s *slice[K, Acc], b *record.Batch[In], rows []int32) {
	keys, words := *b.Keys.(*[]K), b.Words
	cur := o.env.Cursor
	if o.ahead != nil || s.late {
		for _, i := range rows {
			cur.Row = i
			o.addLate(s, words[i], keys[i], &b.Rows[i], b.Times[i])
		}
		return
	}
	lo := int(rows[0])
	hi := int(rows[len(rows)-1]) + 1
	if hi-lo != len(rows) || len(rows) < 4 {
		for _, i := range rows {
			cur.Row = i
			acc, _ := o.upsert(s, words[i], keys[i])
			o.Agg.Add(acc, &b.Rows[i])
		}
		return
	}
	if o.over != nil {
		o.ptrs = s.open.UpsertBatch(words[lo:hi], keys[lo:hi], o.ptrs[:0])
	} else {
		o.ptrs, _ = s.t.UpsertBatch(words[lo:hi], keys[lo:hi], o.ptrs[:0])
	}
	if o.Agg.AddEach != nil {
		cur.Row = rows[0]
		o.Agg.AddEach(o.ptrs, b.Rows, rows)
		return
	}
	for j, i := range rows {
		cur.Row = i
		o.Agg.Add(o.ptrs[j], &b.Rows[i])
	}
}

// upsert is the accumulator of k in s, to be changed before anything else is.
func (o *Slices[K, In, Acc, R]) upsert(s *slice[K, Acc], word uint64, k K) (acc *Acc, created bool) {
	if o.over == nil {
		return s.t.Upsert(word, k)
	}
	return s.open.Upsert(word, k)
}

// addLate adds a record to a slice that windows have been made with already,
// or whose key group may have come further than the operator has.
func (o *Slices[K, In, Acc, R]) addLate(s *slice[K, Acc], word uint64, k K, v *In, at int64) {
	if o.ahead != nil && o.Windows.lastEnd(s.start, s.end)-1 <= o.ahead[keygroup.Of(word)-o.groups.Start] {
		o.late.late(v, at)
		return
	}
	if s.late {
		o.over.addLate(&s.set, word, k, o.Agg.Add, v)
		return
	}
	acc, _ := o.upsert(s, word, k)
	o.Agg.Add(acc, v)
}

// find returns the slice for a record at at, or nil if there is none to add it
// to: it is late, or in no window.
func (o *Slices[K, In, Acc, R]) find(at int64) *slice[K, Acc] {
	if !hasTime(at) && o.Windows.Kind != GlobalWindows {
		return nil
	}
	start, end, ok := o.Windows.slice(at)
	if !ok || o.Windows.lastEnd(start, end)-1 <= o.wm {
		return nil
	}
	return o.sliceAt(start, end)
}

// sliceAt returns the slice [start, end) that takes records, made if need be.
func (o *Slices[K, In, Acc, R]) sliceAt(start, end int64) *slice[K, Acc] {
	i, ok := slices.BinarySearchFunc(o.live, start, func(s *slice[K, Acc], at int64) int {
		switch {
		case s.start < at:
			return -1
		case s.start > at:
			return 1
		}
		return 0
	})
	if ok {
		if s := o.live[i]; s.t != nil || s.open != nil || s.late {
			return o.live[i]
		}
		if i++; i < len(o.live) && o.live[i].start == start {
			return o.live[i]
		}
	}
	s := &slice[K, Acc]{start: start, end: end, late: o.over != nil && end <= o.over.to}
	if !s.late {
		o.used++
		o.most = max(o.most, o.used)
		o.peak = max(o.peak, o.most)
	}
	switch n, m := len(o.pool), len(o.opens); {
	case s.late:
	case o.over != nil && m > 0:
		s.open, o.opens = o.opens[m-1], o.opens[:m-1]
	case o.over != nil:
		s.open = table.NewAppend[K, Acc]()
	case n > 0:
		s.t, o.pool = o.pool[n-1], o.pool[:n-1]
	default:
		s.t = table.New[K, Acc](o.groups, table.Options{})
	}
	o.live = slices.Insert(o.live, i, s)
	o.schedule(s)
	return s
}

// schedule sees to it that the next firing is not later than the first window
// of s that has not been fired.
func (o *Slices[K, In, Acc, R]) schedule(s *slice[K, Acc]) {
	e := o.Windows.endFrom(s.end)
	if e-1 <= o.wm {
		e = o.Windows.endFrom(o.wm + 2)
	}
	if !o.due || e < o.next {
		o.next, o.due = e, true
	}
}

// Advance implements [Operator].
func (o *Slices[K, In, Acc, R]) Advance(wm int64) (int64, bool, error) {
	for o.due && o.next-1 <= wm {
		if !o.fire() {
			return wm, false, o.out.Flush()
		}
	}
	o.wm = wm
	if o.ahead != nil && wm >= slices.Max(o.ahead) {
		o.ahead = nil
	}
	return wm, true, o.out.Flush()
}

// fire fires the window that is next. It reports false when it stopped between
// two key groups.
func (o *Slices[K, In, Acc, R]) fire() bool {
	end := o.next
	w := Window{o.Windows.startOf(end), end}
	in := o.within(w)
	keep := o.Windows.keepFrom(end)
	cur := o.env.Cursor
	cur.Op, cur.Times = o.env.Name, nil
	at := w.MaxTimestamp()
	emit := func(k K, acc *Acc) {
		cur.Op = o.env.Name // a full batch may have run other operators' code
		o.Result(o.out.Next(at), k, w, acc)
	}
	if o.Results != nil {
		send := func(v R) { o.out.Emit(v, at) }
		emit = func(k K, acc *Acc) {
			cur.Op = o.env.Name
			o.Results(k, w, acc, send)
		}
	}
	if o.over != nil && o.at == o.groups.Start {
		for _, s := range in {
			if s.open != nil {
				o.close(s)
			}
		}
		o.over.begin(w, in)
		o.cur = nil
	}
	for ; o.at <= o.groups.End; o.at++ {
		if o.taken >= yieldEvery {
			o.taken = 0
			if o.env.Yield() {
				cur.Op = ""
				return false
			}
		}
		if o.ahead != nil && o.ahead[o.at-o.groups.Start] >= at {
			continue
		}
		if o.over != nil {
			o.taken += int64(o.over.each(o.at-o.groups.Start, emit))
			continue
		}
		for _, s := range in { // one at most
			o.taken += int64(s.t.GroupLen(o.at))
			for e := range s.t.GroupEntries(o.at) {
				emit(e.Key, &e.Value)
			}
		}
	}
	cur.Op = ""
	if o.over != nil {
		o.over.end(w, in, keep)
	}
	o.cur = nil
	o.at = o.groups.Start
	o.wm = max(o.wm, end-1)
	o.drop(keep)
	o.due, o.next = false, math.MaxInt64
	if len(o.live) > 0 {
		o.schedule(o.live[0])
	}
	return true
}

// close makes s a closed slice.
func (o *Slices[K, In, Acc, R]) close(s *slice[K, Acc]) {
	o.over.close(&s.set, s.open.Entries())
	s.open.Reset()
	if o.used--; o.used+len(o.opens) < o.peak {
		o.opens = append(o.opens, s.open)
	}
	s.open = nil
}

// within returns the slices of w that are there.
func (o *Slices[K, In, Acc, R]) within(w Window) []*slice[K, Acc] {
	i := 0
	for i < len(o.live) && o.live[i].start < w.StartMillis {
		i++
	}
	n := i
	for n < len(o.live) && o.live[n].end <= w.EndMillis {
		n++
	}
	return o.live[i:n]
}

// drop forgets the slices before keep and keeps their memory for new ones.
func (o *Slices[K, In, Acc, R]) drop(keep int64) {
	n := 0
	for ; n < len(o.live) && o.live[n].start < keep; n++ {
		s := o.live[n]
		if o.over != nil {
			o.over.drop(&s.set)
			continue
		}
		s.t.Recycle()
		if o.used--; o.used+len(o.pool) < o.peak {
			o.pool = append(o.pool, s.t)
		}
		s.t = nil
	}
	o.live = slices.Delete(o.live, 0, n)
	if o.over != nil {
		o.over.tidy(o.live)
	}
	if o.fired++; o.fired == 100 {
		o.peak, o.most, o.fired = o.most, o.used, 0
	}
}

// poolMax bounds the tables, and the arrays, kept for reuse.
const poolMax = 4
