package table

import "unsafe"

// GroupLen is the number of keys in one key group.
func (t *Table[K, V]) GroupLen(g int) int { return t.groups[g-int(t.start)].n }

// Recycle takes all keys out, as Clear does, and keeps the pages that no
// snapshot shares for the next use: a window's table is filled again with about
// as many keys as it had.
func (t *Table[K, V]) Recycle() {
	for g := range t.groups {
		if t.groups[g].n > 0 {
			t.ClearGroup(g + int(t.start))
		}
	}
}

// ClearGroup takes the keys of one key group out and keeps its pages, unless
// they are shared with a snapshot or mostly empty.
func (t *Table[K, V]) ClearGroup(group int) {
	i := group - int(t.start)
	g := &t.groups[i]
	if g.n == 0 {
		return
	}
	t.n -= g.n
	if t.arenas != nil {
		// Keys that were handed out may point into the old one.
		t.arenas[i] = arena{}
	}
	slots, frozen := 0, g.epoch <= t.v.shared && t.v.frozen(g.epoch)
	for p := range g.pages() {
		slots += g.dir[p].slots()
		frozen = frozen || g.dir[p].epoch <= t.v.shared && t.v.frozen(g.dir[p].epoch)
	}
	if frozen || g.n*8 < slots {
		*g = t.l.empty
		return
	}
	for p := range g.pages() {
		g.dir[p].clear()
		g.tally[p].count = 0
	}
	g.n = 0
}

// Drain appends the hash words, keys and values of one key group to words, keys
// and values, in the order of iteration, and then takes them out as ClearGroup
// does.
func (t *Table[K, V]) Drain(group int, words []uint64, keys []K, values []V) ([]uint64, []K, []V) {
	g := &t.groups[group-int(t.start)]
	if g.n == 0 {
		return words, keys, values
	}
	for i := range g.pages() {
		p := g.dir[i]
		for j := range uint64(p.slots()) {
			if e := p.at(j); e.mark != 0 {
				words = append(words, e.mark&^used)
				keys = append(keys, e.Key)
				values = append(values, e.Value)
			}
		}
	}
	t.ClearGroup(group)
	return words, keys, values
}

// clear empties the page in place.
func (p *page[K, V]) clear() {
	clear(unsafe.Slice(p.base, p.slots()))
	clear(unsafe.Slice(p.tags, p.slots()+tagsMore))
}
