// Package table holds keyed state in memory: typed tables that are split by
// key group, keep keys and values inline, and give a consistent snapshot of
// any amount of state in microseconds.
//
// It decides how entries lie in memory, how they are found and when they are
// copied. It leaves hashing to state/keygroup (every call takes the key's
// hash word), bytes and files to the codecs and state/snapshot, and the
// current key, time-to-live and eviction to whoever owns the table.
//
// There are four kinds. Table has one value for each key, MapTable a small
// hash table, ListTable an append-only list and OrderedTable a sorted map.
// All of them promise the same:
//
//   - One goroutine writes. Snapshot takes time in proportion to the number
//     of key groups and nothing else. The snapshot can be read from another
//     goroutine while the table is written, and never changes. After a
//     snapshot the first write to a page of about 4 KiB copies that page,
//     until the snapshot is released.
//   - Values are copied shallowly: a snapshot and the table share what a
//     value points to. So what a stored value points to is never changed in
//     place. Replace the value.
//   - Strings in keys are copied when a key is inserted, so callers may pass
//     keys that borrow from a buffer. Strings in values are stored as they
//     are: the caller stores only strings that it owns.
//   - Pages of types without pointers are never looked into by the garbage
//     collector.
//   - The order of iteration depends on the history of the table alone, so
//     that runs from a seed can be repeated.
package table

import (
	"iter"
	"math/bits"

	"github.com/millrace/millrace/state/keygroup"
)

// Options configures a table. The zero value is what production uses.
type Options struct {
	// PageBytes is the size of a page, the unit that is copied on the first
	// write after a snapshot: 4096. Tests choose small pages to see many.
	PageBytes int
}

func (o Options) pageBytes() int {
	if o.PageBytes > 0 {
		return o.PageBytes
	}
	return 4096
}

// firstSlots is the size of a key group's first page: with 128 groups and
// many tables that hold little, what an almost empty group costs matters.
const firstSlots = 8

// A Table maps keys to values within a range of key groups.
//
// Keys are of a type that keygroup.NewHasher takes, and the word passed with
// a key is the one its hasher gives; a word of a group that the table does
// not hold panics. Keys with a NaN in them are never found again and must be
// kept out.
//
// A Table is owned by one goroutine.
type Table[K comparable, V any] struct {
	start   uint64 // first key group
	groups  []group[K, V]
	n       int
	v       versions
	l       layout[K, V]
	strings stringsIn[K]
	arenas  []arena // by group, if keys have strings
	fresh   []int32 // indices of the keys that the last UpsertBatch inserted
	touched uint64  // keeps the loads of Touch from being dropped
}

// New makes an empty table for the given key groups.
func New[K comparable, V any](groups keygroup.Range, opt Options) *Table[K, V] {
	t := &Table[K, V]{
		start:   uint64(groups.Start),
		groups:  make([]group[K, V], groups.Len()),
		v:       newVersions(),
		l:       newLayout[K, V](firstSlots, opt.pageBytes()),
		strings: stringsOf[K](),
	}
	if t.strings.any() {
		t.arenas = make([]arena, groups.Len())
	}
	t.reset()
	return t
}

func (t *Table[K, V]) reset() {
	for i := range t.groups {
		t.groups[i] = t.l.empty
	}
	clear(t.arenas)
	t.n = 0
}

// Groups is the range of key groups that the table holds.
func (t *Table[K, V]) Groups() keygroup.Range {
	return keygroup.Range{Start: int(t.start), End: int(t.start) + len(t.groups) - 1}
}

// Len is the number of keys.
func (t *Table[K, V]) Len() int { return t.n }

// group is the group of word; it is a method of its own to be inlined.
func (t *Table[K, V]) group(word uint64) *group[K, V] {
	return &t.groups[word>>keygroup.GroupShift-t.start]
}

// Get is the value of k, or nil. It is to be read only, and valid until the
// next change of the table.
func (t *Table[K, V]) Get(word uint64, k K) *V {
	if _, e := t.group(word).find(word, k); e != nil {
		return &e.Value
	}
	return nil
}

// Upsert is the value of k, to be read and written. If k is not there, it is
// inserted with a zero value and created is true. The pointer is valid until
// the next change of the table: another Upsert or Delete, or a Snapshot.
func (t *Table[K, V]) Upsert(word uint64, k K) (v *V, created bool) {
	e, created := t.UpsertEntry(word, k)
	return &e.Value, created
}

// UpsertEntry is Upsert for callers that also want the key as the table keeps
// it, with strings of its own. Of the entry only the value may be written.
func (t *Table[K, V]) UpsertEntry(word uint64, k K) (e *Entry[K, V], created bool) {
	g := t.group(word)
	p, e := g.find(word, k)
	if e == nil {
		return t.insert(g, word, k), true
	}
	if p.epoch <= t.v.shared {
		g.own(&t.v, g.first(g.index(word)))
		e = g.again(word, k)
	}
	return e, false
}

func (t *Table[K, V]) insert(g *group[K, V], word uint64, k K) *Entry[K, V] {
	e := g.insert(&t.v, &t.l, word, k)
	t.n++
	if t.arenas != nil {
		t.strings.own(&t.arenas[word>>keygroup.GroupShift-t.start], &e.Key)
	}
	return e
}

// Delete takes k out, and reports whether it was there.
func (t *Table[K, V]) Delete(word uint64, k K) bool {
	g := t.group(word)
	stored, ok := g.remove(&t.v, &t.l, word, k)
	if !ok {
		return false
	}
	t.n--
	if t.arenas != nil {
		a := &t.arenas[word>>keygroup.GroupShift-t.start]
		if t.strings.disown(a, &stored); a.wasteful() {
			*a = arena{}
			g.update(&t.v, func(e *Entry[K, V]) { t.strings.own(a, &e.Key) })
		}
	}
	return true
}

// Clear takes all keys out.
func (t *Table[K, V]) Clear() { t.reset() }

// ahead is the number of keys whose cache misses Touch and UpsertBatch
// overlap. A processor has tens of misses under way; 64 keys fill that, and
// their lines stay in its nearest cache.
const ahead = 64

// locate finds the pages of words, at most ahead, and in each the entry that
// the tags point to: the wanted one if it is there, but for one in a hundred.
// Each loop is of independent loads, so that their misses overlap.
func (t *Table[K, V]) locate(words []uint64, pages *[ahead]*page[K, V], found *[ahead]*Entry[K, V]) {
	for i, w := range words {
		g := t.group(w)
		pages[i&(ahead-1)] = &g.dir[g.index(w)]
	}
	for i, w := range words {
		p := pages[i&(ahead-1)]
		found[i&(ahead-1)] = p.at(w + uint64(bits.TrailingZeros64(matches(p.eight(w), tagOf(w))|1<<63)/8))
	}
}

// Touch reads the places of a whole batch of words, so that their cache
// misses overlap and the calls that follow find the lines at hand. It changes
// nothing, and pays once the table outgrows the cache.
func (t *Table[K, V]) Touch(words []uint64) {
	var pages [ahead]*page[K, V]
	var found [ahead]*Entry[K, V]
	for len(words) > 0 {
		n := min(len(words), ahead)
		t.locate(words[:n], &pages, &found)
		t.touch(found[:n])
		words = words[n:]
	}
}

// touch reads the first and the last byte of each entry.
func (t *Table[K, V]) touch(found []*Entry[K, V]) {
	sum := uint64(0)
	for _, e := range found {
		sum += e.mark + uint64(*e.last())
	}
	t.touched = sum
}

// UpsertBatch is Upsert for a whole batch, keys[i] with words[i], and takes
// about half the time for tables that outgrow the cache. It appends to values
// the value of each key, to be read and written; all of them are valid until
// the next change of the table. Keys that were not there have zero values;
// created is their number, where a key that is new and comes twice counts
// once.
func (t *Table[K, V]) UpsertBatch(words []uint64, keys []K, values []*V) (_ []*V, created int) {
	var pages [ahead]*page[K, V]
	var found [ahead]*Entry[K, V]
	before, moves, at := t.n, t.v.moves, len(values)
	t.fresh = t.fresh[:0]
	for lo := 0; lo < len(words); lo += ahead {
		ws := words[lo:min(lo+ahead, len(words))]
		ks := keys[lo : lo+len(ws)]
		t.locate(ws, &pages, &found)
		t.touch(found[:len(ws)])
		for i, w := range ws {
			e := found[i&(ahead-1)]
			if e.mark != w|used || e.Key != ks[i] || pages[i&(ahead-1)].epoch <= t.v.shared {
				v, fresh := t.Upsert(w, ks[i])
				if fresh {
					t.fresh = append(t.fresh, int32(lo+i))
				}
				values = append(values, v)
				continue
			}
			values = append(values, &e.Value)
		}
	}
	if t.v.moves != moves {
		// Entries have moved since we pointed to them. All are there now,
		// and theirs to write.
		for i, w := range words {
			_, e := t.group(w).find(w, keys[i])
			values[at+i] = &e.Value
		}
	}
	return values, t.n - before
}

// Fresh lists, in ascending order, the indices of the keys that the last
// UpsertBatch inserted. It is valid until the next one.
func (t *Table[K, V]) Fresh() []int32 { return t.fresh }

// All iterates over the keys and values by key group. The values are to be
// read only, and the table must not be changed before the loop is over.
func (t *Table[K, V]) All() iter.Seq2[K, *V] { return pairs(t.Entries()) }

// Group iterates over the keys and values of one key group, as All does.
func (t *Table[K, V]) Group(g int) iter.Seq2[K, *V] { return pairs(t.GroupEntries(g)) }

// Entries is All with the hash word of each key at hand.
func (t *Table[K, V]) Entries() iter.Seq[*Entry[K, V]] { return entries(t.groups) }

// GroupEntries is Group with the hash word of each key at hand.
func (t *Table[K, V]) GroupEntries(g int) iter.Seq[*Entry[K, V]] {
	return entries(t.groups[g-int(t.start):][:1])
}

// Snapshot freezes the table as it is now. It takes time in proportion to the
// number of key groups. The caller releases the snapshot when it has been
// read; until then, first writes to a page copy it.
func (t *Table[K, V]) Snapshot() *Snapshot[K, V] {
	return &Snapshot[K, V]{
		start:  int(t.start),
		groups: append([]group[K, V](nil), t.groups...),
		n:      t.n,
		token:  t.v.freeze(),
	}
}

func entries[K comparable, V any](groups []group[K, V]) iter.Seq[*Entry[K, V]] {
	return func(yield func(*Entry[K, V]) bool) {
		for i := range groups {
			if !groups[i].each(yield) {
				return
			}
		}
	}
}

func pairs[K comparable, V any](entries iter.Seq[*Entry[K, V]]) iter.Seq2[K, *V] {
	return func(yield func(K, *V) bool) {
		for e := range entries {
			if !yield(e.Key, &e.Value) {
				return
			}
		}
	}
}
