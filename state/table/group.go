package table

import (
	"iter"
	"math/bits"
	"slices"
)

// used marks a slot that holds an entry. It is the bit of a hash word that is
// always 0, so that the mark and the word are compared as one.
const used = 1 << 63

const wordBits = 48 // of a hash word, below the key group

// An Entry is one key of a table with its value, as it lies in its page.
// Readers must not change it.
type Entry[K comparable, V any] struct {
	Value V
	Key   K
	mark  uint64 // last: a zero-size field at the end would cost a word
}

// Word is the hash word that the entry was stored under.
func (e *Entry[K, V]) Word() uint64 { return e.mark &^ used }

// A page is a small hash table with linear probing in 1<<k slots: an entry's
// place is given by the lowest bits of its word. One page is what a write
// after a snapshot copies, and what a split moves.
//
// A page stands in 1<<(group.depth-depth) neighbouring places of the
// directory; its count is true in the first of them only.
type page[K comparable, V any] struct {
	slots []Entry[K, V]
	count uint32
	epoch uint32
	depth uint8 // number of word bits that all its entries have in common
}

// A group is an extendible hash table: a directory of 1<<depth places, chosen
// by the uppermost of the word's 48 bits, that point to pages. It grows by
// splitting one page at a time, so no insertion ever moves more than a page;
// only the directory, 40 bytes a page, is doubled as a whole.
//
// It serves as a key group of a Table and as the map of one key in a
// MapTable.
type group[K comparable, V any] struct {
	dir   []page[K, V]
	n     int
	epoch uint32 // of dir
	depth uint8
}

// layout is what the groups of one table have in common.
type layout[K comparable, V any] struct {
	empty []page[K, V] // directory of a group without entries; never written
	first int          // slots of a group's first page
	full  int          // slots at which a page splits and no longer doubles
}

func newLayout[K comparable, V any](first, pageBytes int) layout[K, V] {
	var e [2]Entry[K, V]
	size := int(sizeOf(&e[0]))
	full := max(pageBytes/size, 4)
	full = 1 << (bits.Len(uint(full)) - 1)
	return layout[K, V]{
		empty: []page[K, V]{{slots: make([]Entry[K, V], 1)}},
		first: min(first, full),
		full:  full,
	}
}

// room is the number of entries that a page of so many slots takes. It leaves
// at least one slot free, which ends every probe, and is 0 for the one-slot
// page of empty groups.
func room(slots int) uint32 { return uint32(slots * 13 / 16) }

// index is the place in the directory of the page for word.
func (g *group[K, V]) index(word uint64) uint64 {
	return word << (64 - wordBits) >> 1 >> ((63 - g.depth) & 63)
}

// find returns the page for word and the entry of k in it, or nil.
func (g *group[K, V]) find(word uint64, k K) (*page[K, V], *Entry[K, V]) {
	p := &g.dir[g.index(word)]
	s := p.slots
	mask := uint64(len(s) - 1)
	for i := word; ; i++ {
		e := &s[i&mask]
		if e.mark == word|used && e.Key == k {
			return p, e
		}
		if e.mark == 0 {
			return p, nil
		}
	}
}

// slotOf is the slot number of an entry that find has found in s.
func slotOf[K comparable, V any](s []Entry[K, V], word uint64, k K) uint64 {
	mask := uint64(len(s) - 1)
	for i := word & mask; ; i = (i + 1) & mask {
		if s[i].mark == word|used && s[i].Key == k {
			return i
		}
	}
}

// insert adds k, which must not be there, with a zero value.
func (g *group[K, V]) insert(v *versions, l *layout[K, V], word uint64, k K) *Entry[K, V] {
	p := g.first(g.index(word))
	for p.count >= room(len(p.slots)) {
		g.grow(v, l, g.index(word))
		p = g.first(g.index(word))
	}
	p = g.own(v, g.index(word))
	p.count++
	g.n++
	e := place(p.slots, word|used)
	e.mark = word | used
	e.Key = k
	return e
}

// place finds the free slot for mark in s.
func place[K comparable, V any](s []Entry[K, V], mark uint64) *Entry[K, V] {
	mask := uint64(len(s) - 1)
	i := mark & mask
	for s[i].mark != 0 {
		i = (i + 1) & mask
	}
	return &s[i]
}

// first is the place that keeps the count of the page at index i.
func (g *group[K, V]) first(i uint64) *page[K, V] {
	return &g.dir[i&^(1<<(g.depth-g.dir[i].depth)-1)]
}

// own makes the page at index i safe to write and returns its first place.
func (g *group[K, V]) own(v *versions, i uint64) *page[K, V] {
	if p := g.first(i); p.epoch > v.shared || !v.frozen(p.epoch) {
		return p
	}
	g.ownDir(v)
	p := g.first(i)
	p.slots = slices.Clone(p.slots)
	p.epoch = v.epoch
	g.spread(i)
	return p
}

// ownDir makes the directory safe to write.
func (g *group[K, V]) ownDir(v *versions) {
	if g.epoch <= v.shared && v.frozen(g.epoch) {
		g.dir = slices.Clone(g.dir)
		g.epoch = v.epoch
	}
}

// spread copies the first place of the page at index i to its others.
func (g *group[K, V]) spread(i uint64) {
	n := uint64(1) << (g.depth - g.dir[i].depth)
	i &^= n - 1
	for j := i + 1; j < i+n; j++ {
		g.dir[j] = g.dir[i]
	}
}

// grow makes room in the page at index i: small pages double, full ones
// split. Where splitting would not help, because the words have their upper
// bits in common, the page doubles beyond its usual size.
func (g *group[K, V]) grow(v *versions, l *layout[K, V], i uint64) {
	if g.n == 0 && len(g.dir) == 1 && len(g.dir[0].slots) == 1 {
		g.dir = []page[K, V]{{slots: make([]Entry[K, V], l.first), epoch: v.epoch}}
		g.epoch = v.epoch
		return
	}
	g.ownDir(v)
	p := g.first(i)
	switch {
	case len(p.slots) < l.full:
		g.resize(v, i, 2*len(p.slots))
	case p.depth < g.depth:
		g.split(v, l, i)
	case g.depth < wordBits-16 && len(g.dir)*l.full <= 8*g.n:
		dir := make([]page[K, V], 2*len(g.dir))
		for j := range dir {
			dir[j] = g.dir[j/2]
		}
		g.dir = dir
		g.depth++
		g.split(v, l, 2*i)
	default:
		g.resize(v, i, 2*len(p.slots))
	}
}

// resize moves the page at index i to one of so many slots.
func (g *group[K, V]) resize(v *versions, i uint64, slots int) {
	p := g.first(i)
	s := make([]Entry[K, V], slots)
	for j := range p.slots {
		if e := &p.slots[j]; e.mark != 0 {
			*place(s, e.mark) = *e
		}
	}
	p.slots = s
	p.epoch = v.epoch
	g.spread(i)
}

// split divides the page at index i by the next bit of its words.
func (g *group[K, V]) split(v *versions, l *layout[K, V], i uint64) {
	old := *g.first(i)
	n := uint64(1) << (g.depth - old.depth)
	i &^= n - 1
	bit := uint64(1) << (wordBits - 1 - old.depth)
	var counts [2]uint32
	for j := range old.slots {
		if e := &old.slots[j]; e.mark != 0 {
			counts[b2i(e.mark&bit != 0)]++
		}
	}
	for half := range uint64(2) {
		slots := l.full
		for room(slots) < counts[half] {
			slots *= 2
		}
		p := page[K, V]{slots: make([]Entry[K, V], slots), count: counts[half], epoch: v.epoch, depth: old.depth + 1}
		for j := range old.slots {
			if e := &old.slots[j]; e.mark != 0 && (e.mark&bit != 0) == (half == 1) {
				*place(p.slots, e.mark) = *e
			}
		}
		for j := i + half*n/2; j < i+(half+1)*n/2; j++ {
			g.dir[j] = p
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// remove takes the entry of k out, if it is there, and returns its key as it
// was stored. The entries behind it move up, so deletions leave nothing that
// later probes must step over; pages that run empty are joined.
func (g *group[K, V]) remove(v *versions, l *layout[K, V], word uint64, k K) (stored K, ok bool) {
	if _, e := g.find(word, k); e == nil {
		return stored, false
	}
	i := g.index(word)
	p := g.own(v, i)
	s := p.slots
	mask := uint64(len(s) - 1)
	hole := slotOf(s, word, k)
	stored = s[hole].Key
	for j := (hole + 1) & mask; s[j].mark != 0; j = (j + 1) & mask {
		// The entry at j may move to the hole if its own place is not
		// between the two.
		if (j-s[j].mark)&mask >= (j-hole)&mask {
			s[hole] = s[j]
			hole = j
		}
	}
	s[hole] = Entry[K, V]{}
	p.count--
	g.n--
	if int(p.count)*4 < len(s) {
		g.shrink(v, l, i)
	}
	return stored, true
}

// shrink joins the nearly empty page at index i with its neighbour, or makes
// it smaller.
func (g *group[K, V]) shrink(v *versions, l *layout[K, V], i uint64) {
	if g.n == 0 {
		*g = group[K, V]{dir: l.empty}
		return
	}
	g.ownDir(v)
	p := g.first(i)
	if p.depth == 0 || len(p.slots) > l.full {
		if half := len(p.slots) / 2; half >= l.first && p.count < room(half)*2/3 {
			g.resize(v, i, half)
		}
		return
	}
	n := uint64(1) << (g.depth - p.depth)
	i &^= n - 1
	q := &g.dir[i^n]
	if q.depth != p.depth || len(q.slots) != len(p.slots) || p.count+q.count > room(len(p.slots))*2/3 {
		return
	}
	joined := page[K, V]{slots: make([]Entry[K, V], len(p.slots)), count: p.count + q.count, epoch: v.epoch, depth: p.depth - 1}
	for _, from := range [2]*page[K, V]{p, q} {
		for j := range from.slots {
			if e := &from.slots[j]; e.mark != 0 {
				*place(joined.slots, e.mark) = *e
			}
		}
	}
	deepest := p.depth == g.depth
	i &^= n
	for j := i; j < i+2*n; j++ {
		g.dir[j] = joined
	}
	if !deepest {
		return
	}
	for j := range g.dir {
		if g.dir[j].depth == g.depth {
			return
		}
	}
	dir := make([]page[K, V], len(g.dir)/2)
	for j := range dir {
		dir[j] = g.dir[2*j]
	}
	g.dir = dir
	g.depth--
}

// pages iterates over the pages, in the order of the words' upper bits.
func (g *group[K, V]) pages() iter.Seq[*page[K, V]] {
	return func(yield func(*page[K, V]) bool) {
		for i := 0; i < len(g.dir); i += 1 << (g.depth - g.dir[i].depth) {
			if !yield(&g.dir[i]) {
				return
			}
		}
	}
}

// each visits the entries until visit returns false, and reports whether it
// saw them all.
func (g *group[K, V]) each(visit func(*Entry[K, V]) bool) bool {
	if g.n == 0 {
		return true
	}
	for p := range g.pages() {
		for j := range p.slots {
			if e := &p.slots[j]; e.mark != 0 && !visit(e) {
				return false
			}
		}
	}
	return true
}

// rewrite lets f change the keys of all entries in place to equal ones.
func (g *group[K, V]) rewrite(v *versions, f func(k *K)) {
	for i := 0; i < len(g.dir) && g.n > 0; i += 1 << (g.depth - g.dir[i].depth) {
		p := g.own(v, uint64(i))
		for j := range p.slots {
			if e := &p.slots[j]; e.mark != 0 {
				f(&e.Key)
			}
		}
	}
}
