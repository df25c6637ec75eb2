package operator

import (
	"math"
	"math/bits"
	"slices"

	"github.com/millrace/millrace/state/keygroup"
	"github.com/millrace/millrace/state/table"
)

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

// A closedSet is the accumulators of a slice that gets no more records, and of a
// late one, which gets a few. Keys are numbers here (see sums).
//
// A key may have several entries in a late one: a snapshot keeps those that are
// there, and what comes after gets entries of its own. Combining them is what is
// done with the entries of several slices anyway.
type closedSet[Acc any] struct {
	ids  []uint32
	accs []Acc
	// undo is what sums of accumulators that cannot be subtracted keep beside
	// them, once the slice is in the front.
	undo   []Acc
	places map[uint32]int // by number, if late and not shared
	shared bool           // a snapshot may read it: its memory must not be used again
}

// sum is the entries of some slices for one key, combined. acc means nothing if
// there are none.
type sum[Acc any] struct {
	acc Acc
	n   int32 // entries in acc
	// refs, of a front, is the number of entries of the key in all slices that
	// are closed or late. A key without any loses its number.
	refs int32
}

// sums makes windows of several slices. It gives each key of a slice that is
// closed a number, by which slices know it, and keeps from one window to the
// next a sum for each key of the slices they share.
//
// Accumulators that can be subtracted are all in the front: the slices that a
// window has more than the one before are merged into it, those that it has
// less are subtracted. A late slice is merged into it record by record.
//
// Others are on two stacks. New slices are merged into the back. The front is
// the sum of the slices from the window's start up to some point, and each of
// their entries remembers what the front was before it came in, newest first:
// so taking the oldest out is putting back what was there. When the oldest is
// in the back, the front is made anew of all slices and the back is empty. That
// is three merges for each entry of a slice over its whole life. Late slices
// are left out of the stacks and merged into each window by itself.
type sums[K comparable, In, Acc any] struct {
	agg    mergeOf[Acc]
	groups keygroup.Range
	hasher *keygroup.Hasher[K]

	// numbers has, plus one, the number of each key with entries: its place in
	// its key group, and below that, in bits, the key group.
	numbers *table.Table[K, uint32]
	bits    uint8
	free    [][]uint32 // places, by key group

	to    int64 // slices that end at or before it are in the sums, or late
	front [][]sum[Acc]
	back  [][]sum[Acc] // nil if accumulators can be subtracted
	flip  int64        // slices that end at or before it are in the front
	late  [][]sum[Acc] // of the window at hand; nil if it has no late slices
	acc   Acc

	spare   []closedSet[Acc] // memory for reuse
	entries []*table.Entry[K, uint32]
	order   []uint32
	ends    []uint32
	words   []uint64
	keys    []K
	found   []*uint32
}

func newSums[K comparable, In, Acc any](agg mergeOf[Acc], groups keygroup.Range, hasher *keygroup.Hasher[K]) *sums[K, In, Acc] {
	n := groups.Len()
	c := &sums[K, In, Acc]{agg: agg, groups: groups, hasher: hasher,
		numbers: table.New[K, uint32](groups, table.Options{}),
		bits:    uint8(bits.Len(uint(n - 1))),
		free:    make([][]uint32, n), front: make([][]sum[Acc], n),
		to: math.MinInt64, flip: math.MinInt64}
	if agg.subtract == nil {
		c.back = make([][]sum[Acc], n)
	}
	return c
}

// place takes a number apart.
func (c *sums[K, In, Acc]) place(id uint32) (group, place uint32) {
	return id & (1<<(c.bits&31) - 1), id >> (c.bits & 31)
}

// assign gives a key of the word that is new in the table a number.
func (c *sums[K, In, Acc]) assign(v *uint32, word uint64) {
	g := keygroup.Of(word) - c.groups.Start
	var i uint32
	if n := len(c.free[g]); n > 0 {
		i, c.free[g] = c.free[g][n-1], c.free[g][:n-1]
	} else {
		i = uint32(len(c.front[g]))
		c.front[g] = append(c.front[g], sum[Acc]{})
		if c.back != nil {
			c.back[g] = append(c.back[g], sum[Acc]{})
		}
	}
	*v = (i<<(c.bits&31) | uint32(g)) + 1
}

// addLate adds a record to a late slice, and to the sums where those have it.
func (c *sums[K, In, Acc]) addLate(p *closedSet[Acc], word uint64, k K, add func(*Acc, *In), v *In) {
	id, created := c.numbers.Upsert(word, k)
	if created {
		c.assign(id, word)
	}
	g, i := c.place(*id - 1)
	s := &c.front[g][i]
	at, there := p.places[*id-1]
	if !there {
		at = len(p.ids)
		if p.places == nil {
			p.places = map[uint32]int{}
		}
		p.places[*id-1] = at
		var zero Acc
		p.ids, p.accs = append(p.ids, *id-1), append(p.accs, zero)
		s.refs++
	}
	add(&p.accs[at], v)
	if c.back != nil {
		return
	}
	var x Acc
	add(&x, v)
	c.agg.merge(&s.acc, &x)
	if !there {
		s.n++
	}
}

// manyKeys is the number of keys above which close goes by key group.
const manyKeys = 1 << 14

// close makes p of the entries of a slice that gets no more records. It goes
// key group by key group if there are many keys, so that what it touches of the
// sums fits the cache.
func (c *sums[K, In, Acc]) close(p *closedSet[Acc], entries []table.Entry[K, Acc]) {
	if n := len(c.spare); n > 0 {
		*p, c.spare[n-1] = c.spare[n-1], closedSet[Acc]{}
		c.spare = c.spare[:n-1]
	}
	p.ids, p.accs = slices.Grow(p.ids, len(entries)), slices.Grow(p.accs, len(entries))
	sorted := c.numbers.Len() > manyKeys
	if sorted {
		c.order, c.ends = byGroup(c.order, c.ends, c.groups.Len(), len(entries), func(j int) int {
			return keygroup.Of(entries[j].Word()) - c.groups.Start
		})
	}
	for at := 0; at < len(entries); at += 256 {
		n := min(len(entries)-at, 256)
		c.words, c.keys = c.words[:0], c.keys[:0]
		for j := at; j < at+n; j++ {
			e := &entries[j]
			if sorted {
				e = &entries[c.order[j]]
			}
			c.words, c.keys = append(c.words, e.Word()), append(c.keys, e.Key)
			p.accs = append(p.accs, e.Value)
		}
		c.found, _ = c.numbers.UpsertBatch(c.words, c.keys, c.found[:0])
		for j, v := range c.found {
			if *v == 0 {
				c.assign(v, c.words[j])
			}
			p.ids = append(p.ids, *v-1)
			g, i := c.place(*v - 1)
			c.front[g][i].refs++
		}
	}
	clear(c.keys)
	c.words, c.keys = c.words[:0], c.keys[:0]
}

// byGroup sorts the numbers below n by key group, without changing the order
// within one: those of group g are order[ends[g]:ends[g+1]]. It uses the memory
// of order and ends.
func byGroup(order, ends []uint32, groups, n int, group func(j int) int) (_, _ []uint32) {
	order = slices.Grow(order[:0], n)[:n]
	ends = slices.Grow(ends[:0], groups+2)[:groups+2]
	clear(ends)
	// At first, ends[g+2] is the size of group g; then ends[g+1] is where its
	// next one goes.
	for j := range n {
		ends[group(j)+2]++
	}
	for g := range groups {
		ends[g+2] += ends[g+1]
	}
	for j := range n {
		g := group(j)
		order[ends[g+1]] = uint32(j)
		ends[g+1]++
	}
	return order, ends
}

// begin makes the sums those of w, of which in are the slices that are there.
func (c *sums[K, In, Acc]) begin(w Window, in []*slice[K, Acc]) {
	c.late = nil
	for _, s := range in {
		switch {
		case s.late && c.back != nil:
			c.addToLate(&s.set)
		case s.late || s.end <= c.to:
		case c.back != nil:
			c.addToBack(&s.set)
		default:
			c.add(&s.set)
		}
	}
	c.to = max(c.to, w.EndMillis)
}

// add merges p into the front.
func (c *sums[K, In, Acc]) add(p *closedSet[Acc]) {
	accs := p.accs[:len(p.ids)]
	for j, id := range p.ids {
		g, i := c.place(id)
		s := &c.front[g][i]
		c.agg.merge(&s.acc, &accs[j])
		s.n++
	}
}

// addToBack merges p into the back.
func (c *sums[K, In, Acc]) addToBack(p *closedSet[Acc]) {
	for j, id := range p.ids {
		g, i := c.place(id)
		c.gather(&c.back[g][i], &p.accs[j])
	}
}

// addToLate merges p into the late slices of the window.
func (c *sums[K, In, Acc]) addToLate(p *closedSet[Acc]) {
	if c.late == nil {
		c.late = make([][]sum[Acc], len(c.front))
		for g := range c.late {
			c.late[g] = make([]sum[Acc], len(c.front[g]))
		}
	}
	for j, id := range p.ids {
		g, i := c.place(id)
		c.gather(&c.late[g][i], &p.accs[j])
	}
}

// gather merges acc into s, which may be empty.
func (c *sums[K, In, Acc]) gather(s *sum[Acc], acc *Acc) {
	if s.n++; s.n == 1 {
		c.agg.copy(&s.acc, acc)
		return
	}
	c.agg.into(&s.acc, acc)
}

// each calls emit for each key of the gth key group with a record in the window
// that has begun, and returns a measure of the work it was.
func (c *sums[K, In, Acc]) each(g int, emit func(K, *Acc)) int {
	group, front := g+c.groups.Start, c.front[g]
	c.entries = c.numbers.AppendGroup(group, c.entries[:0])
	for _, e := range c.entries {
		_, i := c.place(e.Value - 1)
		switch s := &front[i]; {
		case s.refs == 0:
			c.words, c.keys = append(c.words, e.Word()), append(c.keys, e.Key)
			c.free[g] = append(c.free[g], i)
		case c.back == nil:
			if s.n > 0 {
				emit(e.Key, &s.acc)
			}
		default:
			n := c.take(0, s)
			n = c.take(n, &c.back[g][i])
			if c.late != nil {
				n = c.take(n, &c.late[g][i])
			}
			if n > 0 {
				emit(e.Key, &c.acc)
			}
		}
	}
	c.forget(g)
	return len(c.entries)
}

// forget takes the keys that each has found to have no entries out of the gth
// key group; words and keys have them.
func (c *sums[K, In, Acc]) forget(g int) {
	var acc Acc
	c.acc = acc
	if len(c.keys) == 0 {
		return
	}
	for j, k := range c.keys {
		c.numbers.Delete(c.words[j], k)
	}
	clear(c.keys)
	c.words, c.keys = c.words[:0], c.keys[:0]
	if c.numbers.GroupLen(g+c.groups.Start) > 0 {
		return
	}
	c.front[g], c.free[g] = nil, nil
	if c.back != nil {
		c.back[g] = nil
	}
}

// take merges s into acc, which holds n entries.
func (c *sums[K, In, Acc]) take(n int32, s *sum[Acc]) int32 {
	switch {
	case s.n == 0:
	case n == 0:
		c.agg.copy(&c.acc, &s.acc)
	default:
		c.agg.into(&c.acc, &s.acc)
	}
	return n + s.n
}

// end prepares for a next window that begins at keep: it takes the slices
// before out of the sums.
func (c *sums[K, In, Acc]) end(w Window, in []*slice[K, Acc], keep int64) {
	c.late = nil
	n := 0
	for n < len(in) && in[n].start < keep {
		n++
	}
	if c.back == nil {
		for _, s := range in[:n] {
			c.subtract(&s.set)
		}
		return
	}
	for _, s := range in[:n] {
		if s.end > c.flip && !s.late {
			c.remake(in[n:])
			c.flip = w.EndMillis
			return
		}
	}
	for _, s := range in[:n] {
		if !s.late {
			c.undo(&s.set)
		}
	}
}

// subtract takes p out of the front.
func (c *sums[K, In, Acc]) subtract(p *closedSet[Acc]) {
	var zero Acc
	accs := p.accs[:len(p.ids)]
	for j, id := range p.ids {
		g, i := c.place(id)
		s := &c.front[g][i]
		if s.n--; s.n == 0 {
			s.acc = zero
			continue
		}
		c.agg.subtract(&s.acc, &accs[j])
	}
}

// undo makes the front what it was before p came in.
func (c *sums[K, In, Acc]) undo(p *closedSet[Acc]) {
	for j, id := range p.ids {
		g, i := c.place(id)
		s := &c.front[g][i]
		if s.n--; s.n > 0 {
			s.acc = p.undo[j]
		}
	}
}

// remake makes the front the sum of the slices in and the back empty.
func (c *sums[K, In, Acc]) remake(in []*slice[K, Acc]) {
	for g := range c.front {
		for i := range c.front[g] {
			c.front[g][i] = sum[Acc]{refs: c.front[g][i].refs}
		}
		clear(c.back[g])
	}
	for _, s := range slices.Backward(in) {
		if s.late {
			continue
		}
		p := &s.set
		p.undo = slices.Grow(p.undo[:0], len(p.accs))[:len(p.accs)]
		// Older records come first, as they do in the back.
		for j, id := range slices.Backward(p.ids) {
			g, i := c.place(id)
			s := &c.front[g][i]
			if s.n++; s.n == 1 {
				c.agg.copy(&s.acc, &p.accs[j])
				continue
			}
			p.undo[j] = s.acc
			c.agg.copy(&s.acc, &p.accs[j])
			c.agg.into(&s.acc, &p.undo[j])
		}
	}
}

// drop takes the entries of a slice away, which is in no sum any more. Keys that
// have no others lose their numbers when a window next looks at them.
func (c *sums[K, In, Acc]) drop(p *closedSet[Acc]) {
	for _, id := range p.ids {
		g, i := c.place(id)
		s := &c.front[g][i]
		if s.refs--; s.refs == 0 {
			*s = sum[Acc]{}
		}
	}
	if !p.shared && len(c.spare) < poolMax && cap(p.ids) < 8*len(p.ids)+1024 {
		clear(p.accs)
		clear(p.undo)
		c.spare = append(c.spare, closedSet[Acc]{ids: p.ids[:0], accs: p.accs[:0], undo: p.undo[:0]})
	}
	*p = closedSet[Acc]{}
}

// fewPlaces is how many places are never too many. Tests make it smaller.
var fewPlaces = 1024

// tidy numbers the keys anew, without gaps, when most places have no key: a
// flood of keys long ago must not be felt for ever.
func (c *sums[K, In, Acc]) tidy(live []*slice[K, Acc]) {
	places := 0
	for g := range c.front {
		places += len(c.front[g])
	}
	if places < fewPlaces+8*c.numbers.Len() {
		return
	}
	moved := make([][]uint32, len(c.front)) // new numbers, by the old places
	for g, front := range c.front {
		n := c.numbers.GroupLen(g + c.groups.Start)
		moved[g] = make([]uint32, len(front))
		c.front[g], c.free[g] = make([]sum[Acc], 0, n), nil
		var back []sum[Acc]
		if c.back != nil {
			back, c.back[g] = c.back[g], make([]sum[Acc], 0, n)
		}
		c.entries = c.numbers.AppendGroup(g+c.groups.Start, c.entries[:0])
		c.words, c.keys = c.words[:0], c.keys[:0]
		for _, e := range c.entries {
			c.words, c.keys = append(c.words, e.Word()), append(c.keys, e.Key)
		}
		for j, k := range c.keys {
			id, _ := c.numbers.Upsert(c.words[j], k)
			_, was := c.place(*id - 1)
			c.assign(id, c.words[j])
			_, is := c.place(*id - 1)
			moved[g][was] = *id - 1
			c.front[g][is] = front[was]
			if back != nil {
				c.back[g][is] = back[was]
			}
		}
		clear(c.keys)
		c.words, c.keys = c.words[:0], c.keys[:0]
	}
	for _, s := range live {
		p := &s.set
		if p.shared {
			p.ids = slices.Clone(p.ids)
		}
		for j, id := range p.ids {
			g, i := c.place(id)
			p.ids[j] = moved[g][i]
		}
		places := map[uint32]int{}
		for id, j := range p.places {
			g, i := c.place(id)
			places[moved[g][i]] = j
		}
		p.places = places
	}
	c.order, c.entries, c.spare, c.late = nil, nil, nil, nil
}
