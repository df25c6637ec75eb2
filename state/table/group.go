package table

import (
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
type page struct {
	base  unsafe.Pointer // the first slot, an Entry
	tags  *uint8         // of the slots; the first tagsMore are repeated at the end
	mask  uint32         // number of slots - 1
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
type group struct {
	dir   []page
	tally []tally // beside dir
	n     int
	epoch uint32 // of dir and tally
	depth uint8
}

// layout is what the groups of one table have in common.
//
// Groups and pages do not depend on the types of keys and values: their code
// is compiled once, and not in every program for each pair of types. It moves
// entries with what layout knows of their type. Typed are only the functions
// that look for a key, and those that hand entries out.
type layout struct {
	empty group // its directory and page are shared and never written
	first int   // slots of a group's first page
	full  int   // slots at which a page splits and no longer doubles

	size  uintptr // of an entry
	slots func(n int) unsafe.Pointer
	copy  func(to, from unsafe.Pointer, n int) // zeros if from is nil
}

// keyAt is the offset of the key in an entry, behind the mark.
const keyAt = unsafe.Sizeof(uint64(0))

func newLayout[K comparable, V any](first, pageBytes int) layout {
	return layout{
		first: first,
		size:  unsafe.Sizeof(Entry[K, V]{}),
		slots: func(n int) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(make([]Entry[K, V], n))) },
		copy: func(to, from unsafe.Pointer, n int) {
			if from == nil {
				clear(unsafe.Slice((*Entry[K, V])(to), n))
				return
			}
			copy(unsafe.Slice((*Entry[K, V])(to), n), unsafe.Slice((*Entry[K, V])(from), n))
		},
	}.sized(pageBytes)
}

// sized completes a layout for pages of about so many bytes.
func (l layout) sized(pageBytes int) layout {
	// A quarter above the wanted size is better than nearly half below it.
	full := max(pageBytes*5/4/int(l.size), 4)
	l.full = 1 << (bits.Len(uint(full)) - 1)
	l.first = min(l.first, l.full)
	l.empty = group{dir: []page{l.page(1, 0)}, tally: make([]tally, 1)}
	return l
}

func (l *layout) page(slots int, epoch uint32) page {
	return page{
		base:  l.slots(slots),
		tags:  &make([]uint8, slots+tagsMore)[0],
		mask:  uint32(slots - 1),
		epoch: epoch,
	}
}

// at is slot i of p, modulo the number of slots.
func (l *layout) at(p *page, i uint64) unsafe.Pointer {
	return unsafe.Add(p.base, uintptr(i&uint64(p.mask))*l.size)
}

// mark is the mark of slot i of p.
func (l *layout) mark(p *page, i uint64) uint64 { return *(*uint64)(l.at(p, i)) }

// room is the number of entries that a page of so many slots takes. It leaves
// at least one slot free, which ends every probe, and is 0 for the one-slot
// page of empty groups.
func room(slots int) uint32 { return uint32(slots * 13 / 16) }

// index is the place in the directory of the page for word.
func (g *group) index(word uint64) uint64 {
	return word << (64 - wordBits) >> 1 >> ((63 - g.depth) & 63)
}

// find returns the page of g for word and the entry of k in it, or nil.
func find[K comparable, V any](g *group, word uint64, k K) (*page, *Entry[K, V]) {
	p := &g.dir[g.index(word)]
	t := tagOf(word)
	for i := word; ; i += 8 {
		eight := p.eight(i)
		for m := matches(eight, t); m != 0; m &= m - 1 {
			if e := at[K, V](p, i+uint64(bits.TrailingZeros64(m)/8)); e.mark == word|used && e.Key == k {
				return p, e
			}
		}
		if free(eight) != 0 {
			return p, nil
		}
	}
}

// at is slot i of p, modulo the number of slots. A slice in its place would
// make directories larger and check bounds that the mask keeps.
func at[K comparable, V any](p *page, i uint64) *Entry[K, V] {
	return (*Entry[K, V])(unsafe.Add(p.base, uintptr(i&uint64(p.mask))*unsafe.Sizeof(Entry[K, V]{})))
}

// insert adds k to g, which must not be there, with a zero value.
func insert[K comparable, V any](g *group, v *versions, l *layout, word uint64, k K) *Entry[K, V] {
	e := (*Entry[K, V])(g.insert(v, l, word))
	e.Key = k
	return e
}

// remove takes the entry of k out of g, if it is there, and returns its key as
// it was stored.
func remove[K comparable, V any](g *group, v *versions, l *layout, word uint64, k K) (stored K, ok bool) {
	p, e := find[K, V](g, word, k)
	if e == nil {
		return stored, false
	}
	stored = e.Key
	g.remove(v, l, word, l.slotOf(p, unsafe.Pointer(e)))
	return stored, true
}

// each visits the entries of g until visit returns false, and reports whether
// it saw them all.
func each[K comparable, V any](g *group, visit func(*Entry[K, V]) bool) bool {
	for i := uint64(0); g.n > 0 && i < uint64(len(g.dir)); i += g.places(i) {
		p := &g.dir[i]
		for j := 0; j < p.slots(); j += 8 {
			for used := p.used(j); used != 0; used &= used - 1 {
				if !visit(at[K, V](p, uint64(j+bits.TrailingZeros64(used)/8))) {
					return false
				}
			}
		}
	}
	return true
}

// owned makes the entry at e, which find gave with its page p, safe to write,
// and returns where it is then.
func (g *group) owned(v *versions, l *layout, word uint64, p *page, e unsafe.Pointer) unsafe.Pointer {
	slot := l.slotOf(p, e)
	i := g.first(g.index(word))
	g.own(v, l, i)
	return l.at(&g.dir[i], slot)
}

// insert takes a slot for a key of word, which must not be there, and marks it.
func (g *group) insert(v *versions, l *layout, word uint64) unsafe.Pointer {
	for {
		i := g.first(g.index(word))
		if g.tally[i].count < room(g.dir[i].slots()) {
			break
		}
		g.grow(v, l, i)
	}
	i := g.first(g.index(word))
	g.own(v, l, i)
	g.tally[i].count++
	g.n++
	e := l.at(&g.dir[i], g.dir[i].place(word))
	*(*uint64)(e) = word | used
	return e
}

// place takes the free slot for word.
func (p *page) place(word uint64) uint64 {
	i := word
	for free(p.eight(i)) == 0 {
		i += 8
	}
	i += uint64(bits.TrailingZeros64(free(p.eight(i))) / 8)
	p.setTag(i, tagOf(word))
	return i
}

// fill puts copies of all entries of o for which (mark & bit != 0) == set
// into p, and returns their number.
func (l *layout) fill(p, o *page, bit uint64, set bool) (n uint32) {
	for i := range uint64(o.slots()) {
		if m := l.mark(o, i); m != 0 && (m&bit != 0) == set {
			l.copy(l.at(p, p.place(m)), l.at(o, i), 1)
			n++
		}
	}
	return n
}

// places is the number of places in the directory of the page at index i.
func (g *group) places(i uint64) uint64 { return 1 << (g.depth - g.tally[i].depth) }

// first is the first place of the page at index i.
func (g *group) first(i uint64) uint64 { return i &^ (g.places(i) - 1) }

// own makes the page whose first place is i safe to write.
func (g *group) own(v *versions, l *layout, i uint64) {
	p := g.dir[i]
	if p.epoch > v.shared || !v.frozen(p.epoch) {
		return
	}
	v.moves++
	g.ownDir(v)
	base := l.slots(p.slots())
	l.copy(base, p.base, p.slots())
	p.base = base
	p.tags = &slices.Clone(unsafe.Slice(p.tags, p.slots()+tagsMore))[0]
	p.epoch = v.epoch
	g.put(i, g.places(i), p, g.tally[i])
}

// ownDir makes the directory safe to write.
func (g *group) ownDir(v *versions) {
	if g.epoch <= v.shared && v.frozen(g.epoch) {
		g.dir = slices.Clone(g.dir)
		g.tally = slices.Clone(g.tally)
		g.epoch = v.epoch
	}
}

// put sets n places of the directory from i on.
func (g *group) put(i, n uint64, p page, t tally) {
	for j := i; j < i+n; j++ {
		g.dir[j] = p
		g.tally[j] = t
	}
}

// grow makes room in the page whose first place is i: small pages double, full
// ones split. Where splitting would not help, because the words have their
// upper bits in common, the page doubles beyond its usual size.
func (g *group) grow(v *versions, l *layout, i uint64) {
	v.moves++
	slots := g.dir[i].slots()
	if slots == 1 {
		*g = group{dir: []page{l.page(l.first, v.epoch)}, tally: make([]tally, 1), epoch: v.epoch}
		return
	}
	g.ownDir(v)
	switch {
	case slots < l.full:
		g.resize(v, l, i, 2*slots)
	case g.tally[i].depth < g.depth:
		g.split(v, l, i)
	case g.depth < wordBits-16 && len(g.dir)*l.full <= 8*g.n:
		dir, tallies := make([]page, 2*len(g.dir)), make([]tally, 2*len(g.dir))
		for j := range dir {
			dir[j], tallies[j] = g.dir[j/2], g.tally[j/2]
		}
		g.dir, g.tally = dir, tallies
		g.depth++
		g.split(v, l, 2*i)
	default:
		g.resize(v, l, i, 2*slots)
	}
}

// resize moves the page whose first place is i to one of so many slots.
func (g *group) resize(v *versions, l *layout, i uint64, slots int) {
	p := l.page(slots, v.epoch)
	l.fill(&p, &g.dir[i], used, true)
	g.put(i, g.places(i), p, g.tally[i])
}

// split divides the page whose first place is i by the next bit of its words.
func (g *group) split(v *versions, l *layout, i uint64) {
	old, t, n := g.dir[i], g.tally[i], g.places(i)
	bit := uint64(1) << (wordBits - 1 - t.depth)
	upper := uint32(0)
	for j := range uint64(old.slots()) {
		upper += uint32(l.mark(&old, j) & bit / bit)
	}
	for half, count := range [2]uint32{t.count - upper, upper} {
		slots := l.full
		for room(slots) < count {
			slots *= 2
		}
		p := l.page(slots, v.epoch)
		l.fill(&p, &old, bit, half == 1)
		g.put(i+uint64(half)*n/2, n/2, p, tally{count, t.depth + 1})
	}
}

// remove takes out the entry in a slot of the page for word. The entries
// behind it move up, so deletions leave nothing that later probes must step
// over; pages that run empty are joined.
func (g *group) remove(v *versions, l *layout, word, hole uint64) {
	i := g.first(g.index(word))
	g.own(v, l, i)
	p := g.dir[i]
	for j := hole + 1; p.eight(j)&0x80 != 0; j++ {
		// The entry at j may move to the hole if its own place is not
		// between the two.
		if m := l.mark(&p, j); (j-m)&uint64(p.mask) >= j-hole {
			l.copy(l.at(&p, hole), l.at(&p, j), 1)
			p.setTag(hole, tagOf(m))
			hole = j
		}
	}
	l.copy(l.at(&p, hole), nil, 1)
	p.setTag(hole, 0)
	g.tally[i].count--
	g.n--
	if int(g.tally[i].count)*4 < p.slots() {
		g.shrink(v, l, i)
	}
}

// shrink joins the nearly empty page whose first place is i with its
// neighbour, or makes it smaller.
func (g *group) shrink(v *versions, l *layout, i uint64) {
	if g.n == 0 {
		*g = l.empty
		return
	}
	g.ownDir(v)
	p, t, n := g.dir[i], g.tally[i], g.places(i)
	if t.depth == 0 || p.slots() > l.full {
		if half := p.slots() / 2; half >= l.first && t.count < room(half)*2/3 {
			g.resize(v, l, i, half)
		}
		return
	}
	q, u := g.dir[i^n], g.tally[i^n]
	if u.depth != t.depth || q.mask != p.mask || t.count+u.count > room(p.slots())*2/3 {
		return
	}
	joined := l.page(p.slots(), v.epoch)
	l.fill(&joined, &p, used, true)
	l.fill(&joined, &q, used, true)
	g.put(i&^n, 2*n, joined, tally{t.count + u.count, t.depth - 1})
	if t.depth < g.depth {
		return
	}
	for _, t := range g.tally {
		if t.depth == g.depth {
			return
		}
	}
	dir, tallies := make([]page, len(g.dir)/2), make([]tally, len(g.dir)/2)
	for j := range dir {
		dir[j], tallies[j] = g.dir[2*j], g.tally[2*j]
	}
	g.dir, g.tally = dir, tallies
	g.depth--
}

// update lets f change all entries in place, but for their words and what
// their keys are equal to.
func (g *group) update(v *versions, l *layout, f func(e unsafe.Pointer)) {
	for i := uint64(0); g.n > 0 && i < uint64(len(g.dir)); i += g.places(i) {
		g.own(v, l, i)
		p := g.dir[i]
		for j := range uint64(p.slots()) {
			if l.mark(&p, j) != 0 {
				f(l.at(&p, j))
			}
		}
	}
}

// used has the high bit set in each byte for a slot, of the eight from i on,
// that holds an entry. Loops over entries go by these: a branch for each slot,
// taken at random, costs more than the rest.
func (p *page) used(i int) uint64 {
	u := p.eight(uint64(i)) & highs
	if p.slots() < 8 {
		u &= 1<<(8*p.slots()) - 1
	}
	return u
}

// slots is the number of slots of the page.
func (p *page) slots() int { return int(p.mask) + 1 }

// slotOf is the slot of an entry in p.
func (l *layout) slotOf(p *page, e unsafe.Pointer) uint64 {
	return uint64((uintptr(e) - uintptr(p.base)) / l.size)
}

// eight reads the tags of the eight slots from i on. In a page of fewer slots
// it reads some twice, or zeros behind them.
func (p *page) eight(i uint64) uint64 {
	return *(*uint64)(unsafe.Add(unsafe.Pointer(p.tags), i&uint64(p.mask)))
}

func (p *page) setTag(i uint64, t uint8) {
	i &= uint64(p.mask)
	tags := unsafe.Slice(p.tags, p.slots()+tagsMore)
	for ; i < uint64(len(tags)); i += uint64(p.slots()) {
		tags[i] = t
	}
}
