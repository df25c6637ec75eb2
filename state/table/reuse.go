package table

import (
	"math/bits"
	"slices"
	"unsafe"
)

// GroupLen is the number of keys in one key group.
func (t *Table[K, V]) GroupLen[_ lazy](g int) int { return t.s.groups[g-int(t.s.start)].n }

// AppendGroup appends the entries of one key group to entries, in the order of
// iteration. They are to be read only, and valid until the next change of the
// table.
func (t *Table[K, V]) AppendGroup[_ lazy](g int, entries []*Entry[K, V]) []*Entry[K, V] {
	one := &t.s.one(g)[0]
	entries = slices.Grow(entries, one.n)
	for i := uint64(0); one.n > 0 && i < uint64(len(one.dir)); i += one.places(i) {
		p := &one.dir[i]
		for j := 0; j < p.slots(); j += 8 {
			for used := p.used(j); used != 0; used &= used - 1 {
				entries = append(entries, at[K, V](p, uint64(j+bits.TrailingZeros64(used)/8)))
			}
		}
	}
	return entries
}

// Recycle takes all keys out, as Clear does, and keeps the pages that no
// snapshot shares for the next use: a window's table is filled again with about
// as many keys as it had.
func (t *Table[K, V]) Recycle[_ lazy]() { t.s.recycle() }

// ClearGroup takes the keys of one key group out and keeps its pages, unless
// they are shared with a snapshot or mostly empty.
func (t *Table[K, V]) ClearGroup[_ lazy](group int) { t.s.clearGroup(group) }

// Drain appends the hash words, keys and values of one key group to words, keys
// and values, in the order of iteration, and then takes them out as ClearGroup
// does.
func (t *Table[K, V]) Drain[_ lazy](group int, words []uint64, keys []K, values []V) ([]uint64, []K, []V) {
	each(&t.s.one(group)[0], func(e *Entry[K, V]) bool {
		words = append(words, e.Word())
		keys = append(keys, e.Key)
		values = append(values, e.Value)
		return true
	})
	t.s.clearGroup(group)
	return words, keys, values
}

func (s *store) recycle() {
	for g := range s.groups {
		if s.groups[g].n > 0 {
			s.clearGroup(g + int(s.start))
		} else {
			s.groups[g] = s.l.empty // what the last use did not need, the next will not
		}
	}
}

func (s *store) clearGroup(group int) {
	i := group - int(s.start)
	g := &s.groups[i]
	if g.n == 0 {
		return
	}
	s.n -= g.n
	if s.arenas != nil {
		// Keys that were handed out may point into the old one.
		s.arenas[i] = arena{}
	}
	slots, frozen := 0, g.epoch <= s.v.shared && s.v.frozen(g.epoch)
	for p := uint64(0); p < uint64(len(g.dir)); p += g.places(p) {
		slots += g.dir[p].slots()
		frozen = frozen || g.dir[p].epoch <= s.v.shared && s.v.frozen(g.dir[p].epoch)
	}
	if frozen || g.n*8 < slots {
		*g = s.l.empty
		return
	}
	for p := uint64(0); p < uint64(len(g.dir)); p += g.places(p) {
		s.l.clear(&g.dir[p])
		g.tally[p].count = 0
	}
	g.n = 0
}

// clear empties p in place.
func (l *layout) clear(p *page) {
	l.copy(p.base, nil, p.slots())
	clear(unsafe.Slice(p.tags, p.slots()+tagsMore))
}
