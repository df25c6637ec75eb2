package operator

import (
	"math"
	"slices"

	"github.com/millrace/millrace/state/keygroup"
	"github.com/millrace/millrace/state/table"
)

// sealed is the entries of a slice that takes no more records, key group by key
// group. A group can be read as soon as it is there.
type sealed[K comparable, Acc any] struct {
	at    []int // group i is at[i] to at[i+1]; as long as there are groups
	words []uint64
	keys  []K
	accs  []Acc
	// undo is what sums of accumulators that cannot be subtracted keep beside
	// them, once the slice is in the front.
	undo   []Acc
	shared bool // a snapshot may read it: it must not be used again
}

// groupLen is the number of entries of the ith group.
func (d *sealed[K, Acc]) groupLen(i int) int {
	if i+1 >= len(d.at) {
		return 0
	}
	return d.at[i+1] - d.at[i]
}

// group is the entries of the ith group, which must be there.
func (d *sealed[K, Acc]) group(i int) ([]uint64, []K, []Acc) {
	lo, hi := d.at[i], d.at[i+1]
	return d.words[lo:hi], d.keys[lo:hi], d.accs[lo:hi]
}

// mergeOf is what combining accumulators takes.
type mergeOf[Acc any] struct {
	merge    func(*Acc, *Acc)
	subtract func(*Acc, *Acc) // nil if it cannot be used
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

// sum is what the slices of a window have for one key.
type sum[Acc any] struct {
	acc  Acc   // of the front
	n    int32 // slices in acc, which means nothing if there are none
	back int32 // where the back of the key is in sums.backs, plus one; 0 if there is none
}

// sums makes windows of several slices, one key group at a time. From one
// window to the next it keeps a sum for each key of the slices they share.
//
// Accumulators that can be subtracted are all in the front: the slices that a
// window has more than the one before are merged into it, those that it has
// less are subtracted.
//
// Others are on two stacks. New slices are merged into the back. The front is
// the sum of the slices from the window's start up to some point, and each of
// these remembers what the front was before it came in, newest first: so
// taking the oldest out is putting back what was there. When the oldest is in
// the back, the front is made anew of all slices and the back is empty. That
// is three merges for each entry of a slice over its whole life. Late slices
// are left out of the stacks and merged into each window by itself.
type sums[K comparable, Acc any] struct {
	agg    mergeOf[Acc]
	groups keygroup.Range
	t      *table.Table[K, sum[Acc]]
	to     []int64 // by group: slices that end at or before it are in
	most   int64   // the greatest of to

	front []int64 // by group: slices that end at or before it are in the front
	backs [][]Acc // by group
	late  *table.Table[K, Acc]

	found []*sum[Acc]
	gone  []int32
	tmp   sealed[K, Acc]
	acc   Acc
}

func newSums[K comparable, Acc any](agg mergeOf[Acc], groups keygroup.Range) *sums[K, Acc] {
	c := &sums[K, Acc]{agg: agg, groups: groups, most: math.MinInt64,
		t: table.New[K, sum[Acc]](groups, table.Options{}), to: make([]int64, groups.Len())}
	for i := range c.to {
		c.to[i] = math.MinInt64
	}
	if agg.subtract == nil {
		c.front, c.backs = slices.Clone(c.to), make([][]Acc, groups.Len())
		c.late = table.New[K, Acc](groups, table.Options{})
	}
	return c
}

// fire calls emit for each key of group g with a record in the slices in, which
// are those of w that are there, and then prepares for a next window that
// begins at keep. It returns a measure of the work it was.
func (c *sums[K, Acc]) fire(g int, w Window, in []*slice[K, Acc], keep int64, emit func(K, *Acc)) int {
	i := g - c.groups.Start
	work := 0
	for _, s := range in {
		if s.end > c.to[i] && (!s.late || c.agg.subtract != nil) {
			work += c.add(s, i)
		}
	}
	c.to[i] = w.EndMillis
	c.most = max(c.most, w.EndMillis)
	if c.agg.subtract != nil {
		for e := range c.t.GroupEntries(g) {
			emit(e.Key, &e.Value.acc)
		}
	} else {
		c.emitStacks(i, in, emit)
	}
	work += c.t.GroupLen(g)
	if keep >= w.EndMillis {
		c.clear(i)
		if c.front != nil {
			c.front[i] = w.EndMillis
		}
		return work
	}
	// The slices to take out come first.
	n := 0
	for n < len(in) && in[n].start < keep {
		n++
	}
	if c.front != nil {
		for _, s := range in[:n] {
			if s.end > c.front[i] && !s.late {
				return work + c.flip(i, w.EndMillis, in[n:])
			}
		}
	}
	for _, s := range in[:n] {
		switch {
		case c.front == nil:
			work += c.subtract(s, i)
		case !s.late:
			work += c.undo(s, i)
		}
	}
	return work
}

// entries are those of the ith group of s.
func (c *sums[K, Acc]) entries(s *slice[K, Acc], i int) ([]uint64, []K, []Acc) {
	if !s.late {
		return s.d.group(i)
	}
	d := &c.tmp
	d.words, d.keys, d.accs = d.words[:0], d.keys[:0], d.accs[:0]
	for e := range s.t.GroupEntries(i + c.groups.Start) {
		d.words, d.keys, d.accs = append(d.words, e.Word()), append(d.keys, e.Key), append(d.accs, e.Value)
	}
	return d.words, d.keys, d.accs
}

// chunk is the number of keys looked up at once: their misses overlap.
const chunk = 64

// sumsOf returns the sums of keys.
func (c *sums[K, Acc]) sumsOf(words []uint64, keys []K) []*sum[Acc] {
	c.found, _ = c.t.UpsertBatch(words, keys, c.found[:0])
	return c.found
}

// add merges the ith group of s into the front if it can be subtracted, else
// into the back.
func (c *sums[K, Acc]) add(s *slice[K, Acc], i int) int {
	words, keys, accs := c.entries(s, i)
	for lo := 0; lo < len(words); lo += chunk {
		hi := min(lo+chunk, len(words))
		found := c.sumsOf(words[lo:hi], keys[lo:hi])
		if c.agg.subtract != nil {
			for j, v := range found {
				c.agg.merge(&v.acc, &accs[lo+j])
				v.n++
			}
			continue
		}
		backs := c.backs[i]
		for j, v := range found {
			if v.back != 0 {
				c.agg.into(&backs[v.back-1], &accs[lo+j])
				continue
			}
			var acc Acc
			backs = append(backs, acc)
			v.back = int32(len(backs))
			c.agg.copy(&backs[v.back-1], &accs[lo+j])
		}
		c.backs[i] = backs
	}
	return len(words)
}

// subtract takes the ith group of s out of the front.
func (c *sums[K, Acc]) subtract(s *slice[K, Acc], i int) int {
	words, keys, accs := c.entries(s, i)
	for lo := 0; lo < len(words); lo += chunk {
		hi := min(lo+chunk, len(words))
		for j, v := range c.sumsOf(words[lo:hi], keys[lo:hi]) {
			if v.n--; v.n == 0 {
				c.gone = append(c.gone, int32(lo+j))
				continue
			}
			c.agg.subtract(&v.acc, &accs[lo+j])
		}
		c.deleteGone(words, keys)
	}
	return len(words)
}

// undo makes the front of the ith group what it was before s came in.
func (c *sums[K, Acc]) undo(s *slice[K, Acc], i int) int {
	words, keys, _ := s.d.group(i)
	undo := s.d.undo[s.d.at[i]:]
	for lo := 0; lo < len(words); lo += chunk {
		hi := min(lo+chunk, len(words))
		for j, v := range c.sumsOf(words[lo:hi], keys[lo:hi]) {
			v.n--
			switch {
			case v.n > 0:
				v.acc = undo[lo+j]
			case v.back == 0:
				c.gone = append(c.gone, int32(lo+j))
			}
		}
		c.deleteGone(words, keys)
	}
	return len(words)
}

// deleteGone takes out the keys that gone lists; they were just looked up.
func (c *sums[K, Acc]) deleteGone(words []uint64, keys []K) {
	for _, j := range c.gone {
		c.t.Delete(words[j], keys[j])
	}
	c.gone = c.gone[:0]
}

// flip makes the front of the ith group the sum of the slices in and the back
// empty.
func (c *sums[K, Acc]) flip(i int, end int64, in []*slice[K, Acc]) (work int) {
	c.clear(i)
	c.front[i] = end
	for _, s := range slices.Backward(in) {
		if s.late {
			continue
		}
		words, keys, accs := s.d.group(i)
		if len(s.d.undo) < len(s.d.accs) {
			s.d.undo = slices.Grow(s.d.undo[:0], len(s.d.accs))[:len(s.d.accs)]
		}
		undo := s.d.undo[s.d.at[i]:]
		for lo := 0; lo < len(words); lo += chunk {
			hi := min(lo+chunk, len(words))
			for j, v := range c.sumsOf(words[lo:hi], keys[lo:hi]) {
				v.n++
				if v.n == 1 {
					c.agg.copy(&v.acc, &accs[lo+j])
					continue
				}
				// Older records come first, as they do in the back.
				was := &undo[lo+j]
				*was = v.acc
				c.agg.copy(&v.acc, &accs[lo+j])
				c.agg.into(&v.acc, was)
			}
		}
		work += len(words)
	}
	return work
}

// clear takes all slices out of the ith group.
func (c *sums[K, Acc]) clear(i int) {
	c.t.ClearGroup(i + c.groups.Start)
	if c.backs != nil {
		clear(c.backs[i])
		c.backs[i] = c.backs[i][:0]
	}
}

// emitStacks emits the sums of front, back and late slices of the ith group.
func (c *sums[K, Acc]) emitStacks(i int, in []*slice[K, Acc], emit func(K, *Acc)) {
	g := i + c.groups.Start
	for _, s := range in {
		if s.late && s.t.GroupLen(g) > 0 {
			for e := range s.t.GroupEntries(g) {
				v, created := c.late.Upsert(e.Word(), e.Key)
				if created {
					c.agg.copy(v, &e.Value)
					continue
				}
				c.agg.into(v, &e.Value)
			}
		}
	}
	lates := c.late.GroupLen(g) > 0
	backs := c.backs[i]
	for e := range c.t.GroupEntries(g) {
		v := &e.Value
		if v.n > 0 {
			c.agg.copy(&c.acc, &v.acc)
			if v.back != 0 {
				c.agg.into(&c.acc, &backs[v.back-1])
			}
		} else {
			c.agg.copy(&c.acc, &backs[v.back-1])
		}
		if lates {
			if l := c.late.Get(e.Word(), e.Key); l != nil {
				c.agg.into(&c.acc, l)
			}
		}
		emit(e.Key, &c.acc)
	}
	if lates {
		for e := range c.late.GroupEntries(g) {
			if c.t.Get(e.Word(), e.Key) == nil {
				emit(e.Key, &e.Value)
			}
		}
		c.late.ClearGroup(g)
	}
	var zero Acc
	c.acc = zero
}

// counts reports whether a record of the late slice s, just added, has to be
// merged into the sum of its key.
func (c *sums[K, Acc]) counts(s *slice[K, Acc], word uint64) bool {
	return c.agg.subtract != nil && s.end <= c.to[keygroup.Of(word)-c.groups.Start]
}

// amend merges x, a late record of k that counts, into the sum. created says
// that k was not in its slice before.
func (c *sums[K, Acc]) amend(word uint64, k K, x *Acc, created bool) {
	v, _ := c.t.Upsert(word, k)
	c.agg.merge(&v.acc, x)
	if created {
		v.n++
	}
}
