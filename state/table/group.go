package table

import (
	"iter"
	"math/bits"
	"slices"
	"unsafe"
)

// used marks a slot that holds an entry. It is the bit of a hash word that is
// always 0, so that the mark and the word are compared as one.
const used = 1 << 63

const wordBits = 48 // of a hash word, below the key group

// An Entry is one key of a table with its value, as it lies in its page.
// Readers must not change it.
type Entry[K comparable, V any] struct {
	mark  uint64 // the word with used set; 0 in a free slot
	Key   K
	Value V
}

// Word is the hash word that the entry was stored under.
func (e *Entry[K, V]) Word() uint64 { return e.mark &^ used }

// A page is a small hash table with linear probing in 1<<k slots: an entry's
// place is given by the lowest bits of its word. One page is what a write
// after a snapshot copies, and what a split moves.
//
// Beside the slots lies a byte for each, 0 where the slot is free and a few
// bits of the word where it is not. Probing compares eight of these at once
// and almost never looks at a slot that holds another key. Probing the slots
// themselves cost a third more for keys that fit the cache, in branches that
// cannot be predicted, and led one probe in five to another line of memory.
type page[K comparable, V any] struct {
	base  *Entry[K, V] // the first slot
	tags  *uint8       // of the slots; the first tagsMore are repeated at the end
	mask  uint32       // number of slots - 1
	epoch uint32
}

// tagsMore is the number of tags that are repeated, so that eight tags may be
// read from any place.
const tagsMore = 7

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// tagOf takes bits of the word that neither choose the page of a table of
// usual size nor the slot.
func tagOf(word uint64) uint8 { return uint8(word>>20) | 0x80 }

// matches has the high bit set in each byte where eight has tag t. It may be
// set in other used bytes above a match, so the slots are compared as well.
func matches(eight uint64, t uint8) uint64 {
	x := eight ^ ones*uint64(t)
	return (x - ones) &^ x & highs
}

// free has the high bit set in each byte of eight that marks a free slot.
func free(eight uint64) uint64 { return ^eight & highs }

// A tally is what only changes need of a page.
type tally struct {
	count uint32 // true in the first of the page's places only
	depth uint8  // number of word bits that all its entries have in common
}

// A group is an extendible hash table: a directory of 1<<depth places, chosen
// by the uppermost of the word's 48 bits, that point to pages. It grows by
// splitting one page at a time, so no insertion ever moves more than a page;
// only the directory, 24 bytes a page, is doubled as a whole. A page stands in
// 1<<(group.depth-tally.depth) neighbouring places of the directory.
//
// It serves as a key group of a Table and as the map of one key in a
// MapTable.
type group[K comparable, V any] struct {
	dir   []page[K, V]
	tally []tally // beside dir
	n     int
	epoch uint32 // of dir and tally
	depth uint8
}

// layout is what the groups of one table have in common.
type layout[K comparable, V any] struct {
	empty group[K, V] // its directory and page are shared and never written
	first int         // slots of a group's first page
	full  int         // slots at which a page splits and no longer doubles
}

func newLayout[K comparable, V any](first, pageBytes int) layout[K, V] {
	// A quarter above the wanted size is better than nearly half below it.
	full := max(pageBytes*5/4/int(unsafe.Sizeof(Entry[K, V]{})), 4)
	full = 1 << (bits.Len(uint(full)) - 1)
	return layout[K, V]{
		empty: group[K, V]{dir: []page[K, V]{newPage[K, V](1, 0)}, tally: make([]tally, 1)},
		first: min(first, full),
		full:  full,
	}
}

func newPage[K comparable, V any](slots int, epoch uint32) page[K, V] {
	return page[K, V]{
		base:  &make([]Entry[K, V], slots)[0],
		tags:  &make([]uint8, slots+tagsMore)[0],
		mask:  uint32(slots - 1),
		epoch: epoch,
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
	t := tagOf(word)
	for i := word; ; i += 8 {
		eight := p.eight(i)
		for m := matches(eight, t); m != 0; m &= m - 1 {
			if e := p.at(i + uint64(bits.TrailingZeros64(m)/8)); e.mark == word|used && e.Key == k {
				return p, e
			}
		}
		if free(eight) != 0 {
			return p, nil
		}
	}
}

// again is the entry that find gave, after its page was copied.
func (g *group[K, V]) again(word uint64, k K) *Entry[K, V] {
	_, e := g.find(word, k)
	return e
}

// insert adds k, which must not be there, with a zero value.
func (g *group[K, V]) insert(v *versions, l *layout[K, V], word uint64, k K) *Entry[K, V] {
	for {
		i := g.first(g.index(word))
		if g.tally[i].count < room(g.dir[i].slots()) {
			break
		}
		g.grow(v, l, i)
	}
	i := g.first(g.index(word))
	g.own(v, i)
	g.tally[i].count++
	g.n++
	e := g.dir[i].place(word)
	e.mark = word | used
	e.Key = k
	return e
}

// place takes the free slot for word.
func (p *page[K, V]) place(word uint64) *Entry[K, V] {
	i := word
	for free(p.eight(i)) == 0 {
		i += 8
	}
	i += uint64(bits.TrailingZeros64(free(p.eight(i))) / 8)
	p.setTag(i, tagOf(word))
	return p.at(i)
}

// fill puts copies of all entries of o for which (mark & bit != 0) == set
// into p, and returns their number.
func (p *page[K, V]) fill(o page[K, V], bit uint64, set bool) (n uint32) {
	for i := range uint64(o.slots()) {
		if e := o.at(i); e.mark != 0 && (e.mark&bit != 0) == set {
			*p.place(e.mark) = *e
			n++
		}
	}
	return n
}

// places is the number of places in the directory of the page at index i.
func (g *group[K, V]) places(i uint64) uint64 { return 1 << (g.depth - g.tally[i].depth) }

// first is the first place of the page at index i.
func (g *group[K, V]) first(i uint64) uint64 { return i &^ (g.places(i) - 1) }

// own makes the page whose first place is i safe to write.
func (g *group[K, V]) own(v *versions, i uint64) {
	p := g.dir[i]
	if p.epoch > v.shared || !v.frozen(p.epoch) {
		return
	}
	v.moves++
	g.ownDir(v)
	p.base = &slices.Clone(unsafe.Slice(p.base, p.slots()))[0]
	p.tags = &slices.Clone(unsafe.Slice(p.tags, p.slots()+tagsMore))[0]
	p.epoch = v.epoch
	g.put(i, g.places(i), p, g.tally[i])
}

// ownDir makes the directory safe to write.
func (g *group[K, V]) ownDir(v *versions) {
	if g.epoch <= v.shared && v.frozen(g.epoch) {
		g.dir = slices.Clone(g.dir)
		g.tally = slices.Clone(g.tally)
		g.epoch = v.epoch
	}
}

// put sets n places of the directory from i on.
func (g *group[K, V]) put(i, n uint64, p page[K, V], t tally) {
	for j := i; j < i+n; j++ {
		g.dir[j] = p
		g.tally[j] = t
	}
}

// grow makes room in the page whose first place is i: small pages double, full
// ones split. Where splitting would not help, because the words have their
// upper bits in common, the page doubles beyond its usual size.
func (g *group[K, V]) grow(v *versions, l *layout[K, V], i uint64) {
	v.moves++
	slots := g.dir[i].slots()
	if slots == 1 {
		*g = group[K, V]{dir: []page[K, V]{newPage[K, V](l.first, v.epoch)}, tally: make([]tally, 1), epoch: v.epoch}
		return
	}
	g.ownDir(v)
	switch {
	case slots < l.full:
		g.resize(v, i, 2*slots)
	case g.tally[i].depth < g.depth:
		g.split(v, l, i)
	case g.depth < wordBits-16 && len(g.dir)*l.full <= 8*g.n:
		dir, tallies := make([]page[K, V], 2*len(g.dir)), make([]tally, 2*len(g.dir))
		for j := range dir {
			dir[j], tallies[j] = g.dir[j/2], g.tally[j/2]
		}
		g.dir, g.tally = dir, tallies
		g.depth++
		g.split(v, l, 2*i)
	default:
		g.resize(v, i, 2*slots)
	}
}

// resize moves the page whose first place is i to one of so many slots.
func (g *group[K, V]) resize(v *versions, i uint64, slots int) {
	p := newPage[K, V](slots, v.epoch)
	p.fill(g.dir[i], used, true)
	g.put(i, g.places(i), p, g.tally[i])
}

// split divides the page whose first place is i by the next bit of its words.
func (g *group[K, V]) split(v *versions, l *layout[K, V], i uint64) {
	old, t, n := g.dir[i], g.tally[i], g.places(i)
	bit := uint64(1) << (wordBits - 1 - t.depth)
	upper := uint32(0)
	for j := range uint64(old.slots()) {
		upper += uint32(old.at(j).mark & bit / bit)
	}
	for half, count := range [2]uint32{t.count - upper, upper} {
		slots := l.full
		for room(slots) < count {
			slots *= 2
		}
		p := newPage[K, V](slots, v.epoch)
		p.fill(old, bit, half == 1)
		g.put(i+uint64(half)*n/2, n/2, p, tally{count, t.depth + 1})
	}
}

// remove takes the entry of k out, if it is there, and returns its key as it
// was stored. The entries behind it move up, so deletions leave nothing that
// later probes must step over; pages that run empty are joined.
func (g *group[K, V]) remove(v *versions, l *layout[K, V], word uint64, k K) (stored K, ok bool) {
	if _, e := g.find(word, k); e == nil {
		return stored, false
	}
	i := g.first(g.index(word))
	g.own(v, i)
	p := g.dir[i]
	hole := p.slotOf(g.again(word, k))
	stored = p.at(hole).Key
	for j := hole + 1; p.eight(j)&0x80 != 0; j++ {
		// The entry at j may move to the hole if its own place is not
		// between the two.
		if (j-p.at(j).mark)&uint64(p.mask) >= j-hole {
			*p.at(hole) = *p.at(j)
			p.setTag(hole, tagOf(p.at(j).mark))
			hole = j
		}
	}
	*p.at(hole) = Entry[K, V]{}
	p.setTag(hole, 0)
	g.tally[i].count--
	g.n--
	if int(g.tally[i].count)*4 < p.slots() {
		g.shrink(v, l, i)
	}
	return stored, true
}

// shrink joins the nearly empty page whose first place is i with its
// neighbour, or makes it smaller.
func (g *group[K, V]) shrink(v *versions, l *layout[K, V], i uint64) {
	if g.n == 0 {
		*g = l.empty
		return
	}
	g.ownDir(v)
	p, t, n := g.dir[i], g.tally[i], g.places(i)
	if t.depth == 0 || p.slots() > l.full {
		if half := p.slots() / 2; half >= l.first && t.count < room(half)*2/3 {
			g.resize(v, i, half)
		}
		return
	}
	q, u := g.dir[i^n], g.tally[i^n]
	if u.depth != t.depth || q.mask != p.mask || t.count+u.count > room(p.slots())*2/3 {
		return
	}
	joined := newPage[K, V](p.slots(), v.epoch)
	joined.fill(p, used, true)
	joined.fill(q, used, true)
	g.put(i&^n, 2*n, joined, tally{t.count + u.count, t.depth - 1})
	if t.depth < g.depth {
		return
	}
	for _, t := range g.tally {
		if t.depth == g.depth {
			return
		}
	}
	dir, tallies := make([]page[K, V], len(g.dir)/2), make([]tally, len(g.dir)/2)
	for j := range dir {
		dir[j], tallies[j] = g.dir[2*j], g.tally[2*j]
	}
	g.dir, g.tally = dir, tallies
	g.depth--
}

// pages iterates over the first places of all pages, in the order of the
// words' upper bits.
func (g *group[K, V]) pages() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for i := uint64(0); i < uint64(len(g.dir)); i += g.places(i) {
			if !yield(i) {
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
	for i := range g.pages() {
		p := g.dir[i]
		for j := range uint64(p.slots()) {
			if e := p.at(j); e.mark != 0 && !visit(e) {
				return false
			}
		}
	}
	return true
}

// update lets f change all entries in place, but for their words and what
// their keys are equal to.
func (g *group[K, V]) update(v *versions, f func(*Entry[K, V])) {
	if g.n == 0 {
		return
	}
	for i := range g.pages() {
		g.own(v, i)
		for j := range uint64(g.dir[i].slots()) {
			if e := g.dir[i].at(j); e.mark != 0 {
				f(e)
			}
		}
	}
}

// slots is the number of slots of the page.
func (p *page[K, V]) slots() int { return int(p.mask) + 1 }

// at is slot i, modulo the number of slots. A slice in its place would make
// directories larger and check bounds that the mask keeps.
func (p *page[K, V]) at(i uint64) *Entry[K, V] {
	return (*Entry[K, V])(unsafe.Add(unsafe.Pointer(p.base), uintptr(i&uint64(p.mask))*unsafe.Sizeof(*p.base)))
}

// slotOf is the slot of an entry that at gave.
func (p *page[K, V]) slotOf(e *Entry[K, V]) uint64 {
	return uint64((uintptr(unsafe.Pointer(e)) - uintptr(unsafe.Pointer(p.base))) / unsafe.Sizeof(*e))
}

// eight reads the tags of the eight slots from i on. In a page of fewer slots
// it reads some twice, or zeros behind them.
func (p *page[K, V]) eight(i uint64) uint64 {
	return *(*uint64)(unsafe.Add(unsafe.Pointer(p.tags), i&uint64(p.mask)))
}

func (p *page[K, V]) setTag(i uint64, t uint8) {
	i &= uint64(p.mask)
	tags := unsafe.Slice(p.tags, p.slots()+tagsMore)
	for ; i < uint64(len(tags)); i += uint64(p.slots()) {
		tags[i] = t
	}
}

// last is the last byte of the entry.
func (e *Entry[K, V]) last() *uint8 {
	return (*uint8)(unsafe.Add(unsafe.Pointer(e), unsafe.Sizeof(*e)-1))
}
