package operator

import (
	"math"

	"github.com/millrace/millrace/state/keygroup"
	"github.com/millrace/millrace/state/table"
)

// mergeOf is what combining accumulators takes.
type mergeOf[Acc any] struct {
	merge, subtract func(*Acc, *Acc)
	// clone, if not nil, copies an accumulator so that it shares nothing.
	clone func(dst, src *Acc)
}

// copy makes dst a copy of src.
func (m *mergeOf[Acc]) copy(dst, src *Acc) {
	if m.clone != nil {
		m.clone(dst, src)
		return
	}
	*dst = *src
}

// into merges src into dst and leaves src free to be changed later.
func (m *mergeOf[Acc]) into(dst, src *Acc) {
	if m.clone != nil {
		var c Acc
		m.clone(&c, src)
		src = &c
	}
	m.merge(dst, src)
}

// merging is what running and stacked slices have in common.
type merging[K comparable, Acc any] struct {
	agg    mergeOf[Acc]
	groups keygroup.Range
	most   int64   // the greatest of to
	to     []int64 // by group: slices that end at or before it are in
}

func (m *merging[K, Acc]) open() {
	m.to = make([]int64, m.groups.Len())
	m.most = math.MinInt64
	for i := range m.to {
		m.to[i] = math.MinInt64
	}
}

func (m *merging[K, Acc]) reached() int64 { return m.most }

// reach notes that group g has come to end.
func (m *merging[K, Acc]) reach(g int, end int64) {
	m.to[g-m.groups.Start] = end
	m.most = max(m.most, end)
}

// tally is a running accumulator and the number of slices it is made of.
type tally[Acc any] struct {
	acc Acc
	n   int32
}

// runningSlices keeps, for each key, the sum of the last window's slices.
type runningSlices[K comparable, Acc any] struct {
	merging[K, Acc]
	run  *table.Table[K, tally[Acc]]
	from []int64 // by group: the start of what run holds
	e    table.Entry[K, Acc]
}

func newRunning[K comparable, Acc any](m merging[K, Acc]) *runningSlices[K, Acc] {
	m.open()
	return &runningSlices[K, Acc]{merging: m, run: table.New[K, tally[Acc]](m.groups, table.Options{})}
}

func (r *runningSlices[K, Acc]) fire(g int, w Window, in []*slice[K, Acc], keep int64, emit func(*table.Entry[K, Acc])) {
	to := r.to[g-r.groups.Start]
	// The new ones are the last.
	i := len(in)
	for i > 0 && in[i-1].end > to {
		i--
	}
	for _, s := range in[i:] {
		for e := range s.t.GroupEntries(g) {
			t, _ := r.run.Upsert(e.Word(), e.Key)
			r.agg.merge(&t.acc, &e.Value)
			t.n++
		}
	}
	for e := range r.run.GroupEntries(g) {
		r.e.Key, r.e.Value = e.Key, e.Value.acc
		emit(&r.e)
	}
	r.reach(g, w.EndMillis)
	if keep >= w.EndMillis {
		r.run.ClearGroup(g)
		return
	}
	for _, s := range in {
		if s.start >= keep {
			break
		}
		for e := range s.t.GroupEntries(g) {
			t, _ := r.run.Upsert(e.Word(), e.Key)
			if t.n == 1 {
				r.run.Delete(e.Word(), e.Key)
				continue
			}
			r.agg.subtract(&t.acc, &e.Value)
			t.n--
		}
	}
}

func (r *runningSlices[K, Acc]) amend(_ []*slice[K, Acc], s *slice[K, Acc], word uint64, k K, x *Acc, created bool) {
	if s.end > r.to[keygroup.Of(word)-r.groups.Start] {
		return
	}
	t, _ := r.run.Upsert(word, k)
	r.agg.merge(&t.acc, x)
	if created {
		t.n++
	}
}

func (r *runningSlices[K, Acc]) dropped(*slice[K, Acc]) {}

// before is the front's accumulator of a key as it was before a slice was
// merged into it; there false means that there was none.
type before[Acc any] struct {
	acc   Acc
	there bool
}

// stackedSlices keeps two stacks of slices, of which a window is the sum. New
// slices are merged into the back. The front is the sum of the slices from the
// window's start up to some point, and remembers for each of them, newest
// first, what it was before that slice came in: so taking the oldest out is
// putting back what was there. When the oldest is in the back, the front is
// made anew of the slices and the back is empty.
type stackedSlices[K comparable, Acc any] struct {
	merging[K, Acc]
	front, back *table.Table[K, Acc]
	frontTo     []int64 // by group: slices that end at or before it are in the front
	pool        []*table.Table[K, before[Acc]]
	e           table.Entry[K, Acc]
}

func newStacked[K comparable, Acc any](m merging[K, Acc]) *stackedSlices[K, Acc] {
	m.open()
	f := &stackedSlices[K, Acc]{merging: m, front: table.New[K, Acc](m.groups, table.Options{}),
		back: table.New[K, Acc](m.groups, table.Options{}), frontTo: make([]int64, m.groups.Len())}
	for i := range f.frontTo {
		f.frontTo[i] = math.MinInt64
	}
	return f
}

func (f *stackedSlices[K, Acc]) fire(g int, w Window, in []*slice[K, Acc], keep int64, emit func(*table.Entry[K, Acc])) {
	to := f.to[g-f.groups.Start]
	i := len(in)
	for i > 0 && in[i-1].end > to {
		i--
	}
	for _, s := range in[i:] {
		for e := range s.t.GroupEntries(g) {
			f.mergeInto(f.back, e.Word(), e.Key, &e.Value)
		}
	}
	f.reach(g, w.EndMillis)
	fronts, backs := f.front.GroupLen(g) > 0, f.back.GroupLen(g) > 0
	if fronts {
		for e := range f.front.GroupEntries(g) {
			f.e.Key = e.Key
			f.agg.copy(&f.e.Value, &e.Value)
			if backs {
				if b := f.back.Get(e.Word(), e.Key); b != nil {
					f.agg.into(&f.e.Value, b)
				}
			}
			emit(&f.e)
		}
	}
	if backs {
		for e := range f.back.GroupEntries(g) {
			if fronts && f.front.Get(e.Word(), e.Key) != nil {
				continue
			}
			f.e.Key = e.Key
			f.agg.copy(&f.e.Value, &e.Value)
			emit(&f.e)
		}
	}
	f.expire(g, w, in, keep)
}

// mergeInto merges acc into the accumulator of k in t.
func (f *stackedSlices[K, Acc]) mergeInto(t *table.Table[K, Acc], word uint64, k K, acc *Acc) {
	v, created := t.Upsert(word, k)
	if created {
		f.agg.copy(v, acc)
		return
	}
	f.agg.into(v, acc)
}

// expire takes the slices before keep out of group g.
func (f *stackedSlices[K, Acc]) expire(g int, w Window, in []*slice[K, Acc], keep int64) {
	front := &f.frontTo[g-f.groups.Start]
	if keep >= w.EndMillis {
		f.front.ClearGroup(g)
		f.back.ClearGroup(g)
		*front = w.EndMillis
		return
	}
	flip := false
	for _, s := range in {
		if s.start >= keep {
			break
		}
		if s.end > *front {
			flip = true
			break
		}
		for e := range s.t.GroupEntries(g) {
			u := s.undo.Get(e.Word(), e.Key)
			if !u.there {
				f.front.Delete(e.Word(), e.Key)
				continue
			}
			v, _ := f.front.Upsert(e.Word(), e.Key)
			*v = u.acc
		}
	}
	if !flip {
		return
	}
	f.front.ClearGroup(g)
	f.back.ClearGroup(g)
	*front = w.EndMillis
	for i := len(in) - 1; i >= 0 && in[i].start >= keep; i-- {
		s := in[i]
		if s.undo == nil {
			s.undo = f.newUndo()
		}
		for e := range s.t.GroupEntries(g) {
			v, created := f.front.Upsert(e.Word(), e.Key)
			u, _ := s.undo.Upsert(e.Word(), e.Key)
			if created {
				f.agg.copy(v, &e.Value)
				continue
			}
			// Older records come first, as they do in the back.
			u.there, u.acc = true, *v
			var sum Acc
			f.agg.copy(&sum, &e.Value)
			f.agg.into(&sum, &u.acc)
			*v = sum
		}
	}
}

func (f *stackedSlices[K, Acc]) newUndo() *table.Table[K, before[Acc]] {
	if n := len(f.pool); n > 0 {
		u := f.pool[n-1]
		f.pool = f.pool[:n-1]
		return u
	}
	return table.New[K, before[Acc]](f.groups, table.Options{})
}

// amend adds x to everything that counts slice s in: rare, and the only thing
// whose cost grows with the number of slices.
func (f *stackedSlices[K, Acc]) amend(live []*slice[K, Acc], s *slice[K, Acc], word uint64, k K, x *Acc, created bool) {
	g := keygroup.Of(word) - f.groups.Start
	if s.end > f.to[g] {
		return
	}
	if s.end > f.frontTo[g] {
		f.mergeInto(f.back, word, k, x)
		return
	}
	if created {
		// What the slices behind s, still in the front, come to.
		if s.undo == nil {
			s.undo = f.newUndo()
		}
		u, _ := s.undo.Upsert(word, k)
		*u = before[Acc]{}
		for _, n := range live {
			if n.start <= s.start || n.end > f.frontTo[g] {
				continue
			}
			if acc := n.t.Get(word, k); acc != nil {
				f.agg.copy(&u.acc, acc)
				u.there = true
				if later := n.undo.Get(word, k); later.there {
					f.agg.into(&u.acc, &later.acc)
				}
				break
			}
		}
	}
	for _, n := range live {
		if n.start >= s.start {
			break
		}
		if n.t.Get(word, k) == nil {
			continue
		}
		u, _ := n.undo.Upsert(word, k)
		if u.there {
			f.agg.into(&u.acc, x)
			continue
		}
		u.there = true
		f.agg.copy(&u.acc, x)
	}
	f.mergeInto(f.front, word, k, x)
}

func (f *stackedSlices[K, Acc]) dropped(s *slice[K, Acc]) {
	if s.undo != nil {
		s.undo.Recycle()
		if len(f.pool) < poolMax {
			f.pool = append(f.pool, s.undo)
		}
		s.undo = nil
	}
}
