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
//
// AppendTable is of another sort: it is filled and emptied again and again.
package table

import (
	"iter"
	"math/bits"
	"reflect"
	"unsafe"

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

// lazy is the type parameter of methods that need none. All plain methods of a
// generic type are compiled for each program that uses the type, with whatever
// types it uses it for; those with a type parameter only where they are called.
// It is never written in a call: its only type is inferred.
type lazy interface{ struct{} }

// A Table maps keys to values within a range of key groups.
//
// Keys are of a type that keygroup.NewHasher takes, and the word passed with
// a key is the one its hasher gives; a word of a group that the table does
// not hold panics. Keys with a NaN in them are never found again and must be
// kept out.
//
// A Table is owned by one goroutine.
type Table[K comparable, V any] struct {
	s     store
	fresh []int32 // indices of the keys that the last UpsertBatch inserted
}

// A store is a Table without the types of its keys and values.
type store struct {
	start   uint64 // first key group
	groups  []group
	n       int
	v       versions
	l       layout
	strings stringsIn
	arenas  []arena // by group, if keys have strings
	touched uint64  // keeps the loads of touch from being dropped
}

// New makes an empty table for the given key groups.
func New[K comparable, V any](groups keygroup.Range, opt Options) *Table[K, V] {
	t := new(Table[K, V])
	t.s.init(groups, newLayout[K, V](firstSlots, opt.pageBytes()), reflect.TypeFor[K]())
	return t
}

func (s *store) init(groups keygroup.Range, l layout, key reflect.Type) {
	*s = store{
		start:   uint64(groups.Start),
		groups:  make([]group, groups.Len()),
		v:       newVersions(),
		l:       l,
		strings: stringsOf(key),
	}
	if s.strings.any() {
		s.arenas = make([]arena, groups.Len())
	}
	s.reset()
}

func (s *store) reset() {
	for i := range s.groups {
		s.groups[i] = s.l.empty
	}
	clear(s.arenas)
	s.n = 0
}

// group is the group of word; it is a method of its own to be inlined.
func (s *store) group(word uint64) *group {
	return &s.groups[word>>keygroup.GroupShift-s.start]
}

// one is the given key group alone.
func (s *store) one(group int) []group { return s.groups[group-int(s.start):][:1] }

// inserted takes note of a new entry.
func (s *store) inserted(word uint64, e unsafe.Pointer) {
	s.n++
	if s.arenas != nil {
		s.strings.own(&s.arenas[word>>keygroup.GroupShift-s.start], unsafe.Add(e, keyAt))
	}
}

// deleted takes note that an entry with the key at stored is gone.
func (s *store) deleted(word uint64, stored unsafe.Pointer) {
	s.n--
	if s.arenas != nil {
		a := &s.arenas[word>>keygroup.GroupShift-s.start]
		if s.strings.disown(a, stored); a.wasteful() {
			*a = arena{}
			s.group(word).update(&s.v, &s.l, func(e unsafe.Pointer) { s.strings.own(a, unsafe.Add(e, keyAt)) })
		}
	}
}

// Groups is the range of key groups that the table holds.
func (t *Table[K, V]) Groups[_ lazy]() keygroup.Range {
	return keygroup.Range{Start: int(t.s.start), End: int(t.s.start) + len(t.s.groups) - 1}
}

// Len is the number of keys.
func (t *Table[K, V]) Len[_ lazy]() int { return t.s.n }

// Get is the value of k, or nil. It is to be read only, and valid until the
// next change of the table.
func (t *Table[K, V]) Get[_ lazy](word uint64, k K) *V {
	if _, e := find[K, V](t.s.group(word), word, k); e != nil {
		return &e.Value
	}
	return nil
}

// Upsert is the value of k, to be read and written. If k is not there, it is
// inserted with a zero value and created is true. The pointer is valid until
// the next change of the table: another Upsert or Delete, or a Snapshot.
func (t *Table[K, V]) Upsert[_ lazy](word uint64, k K) (v *V, created bool) {
	e, created := t.UpsertEntry(word, k)
	return &e.Value, created
}

// UpsertEntry is Upsert for callers that also want the key as the table keeps
// it, with strings of its own. Of the entry only the value may be written.
func (t *Table[K, V]) UpsertEntry[_ lazy](word uint64, k K) (e *Entry[K, V], created bool) {
	s := &t.s
	g := s.group(word)
	p, e := find[K, V](g, word, k)
	if e == nil {
		e = insert[K, V](g, &s.v, &s.l, word, k)
		s.inserted(word, unsafe.Pointer(e))
		return e, true
	}
	if p.epoch <= s.v.shared {
		e = (*Entry[K, V])(g.owned(&s.v, &s.l, word, p, unsafe.Pointer(e)))
	}
	return e, false
}

// Delete takes k out, and reports whether it was there.
func (t *Table[K, V]) Delete[_ lazy](word uint64, k K) bool {
	stored, ok := remove[K, V](t.s.group(word), &t.s.v, &t.s.l, word, k)
	if ok {
		t.s.deleted(word, unsafe.Pointer(&stored))
	}
	return ok
}

// Clear takes all keys out.
func (t *Table[K, V]) Clear[_ lazy]() { t.s.reset() }

// ahead is the number of keys whose cache misses Touch and UpsertBatch
// overlap. A processor has tens of misses under way; 64 keys fill that, and
// their lines stay in its nearest cache.
const ahead = 64

// places are the pages of words, at most ahead, and in each the entry that the
// tags point to: the wanted one if it is there, but for one in a hundred.
type places struct {
	pages [ahead]*page
	found [ahead]unsafe.Pointer
}

// locate finds the places of words. Each loop is of independent loads, so that
// their misses overlap.
func (s *store) locate(words []uint64, at *places) {
	for i, w := range words {
		g := s.group(w)
		at.pages[i&(ahead-1)] = &g.dir[g.index(w)]
	}
	for i, w := range words {
		p := at.pages[i&(ahead-1)]
		at.found[i&(ahead-1)] = s.l.at(p, w+uint64(bits.TrailingZeros64(matches(p.eight(w), tagOf(w))|1<<63)/8))
	}
	// The first and the last byte of each entry.
	sum, last := uint64(0), s.l.size-1
	for i := range words {
		e := at.found[i&(ahead-1)]
		sum += *(*uint64)(e) + uint64(*(*uint8)(unsafe.Add(e, last)))
	}
	s.touched = sum
}

// touch locates any number of words.
func (s *store) touch(words []uint64) {
	var at places
	for len(words) > 0 {
		n := min(len(words), ahead)
		s.locate(words[:n], &at)
		words = words[n:]
	}
}

// Touch reads the places of a whole batch of words, so that their cache
// misses overlap and the calls that follow find the lines at hand. It changes
// nothing, and pays once the table outgrows the cache.
func (t *Table[K, V]) Touch[_ lazy](words []uint64) { t.s.touch(words) }

// UpsertBatch is Upsert for a whole batch, keys[i] with words[i], and takes
// about half the time for tables that outgrow the cache. It appends to values
// the value of each key, to be read and written; all of them are valid until
// the next change of the table. Keys that were not there have zero values;
// created is their number, where a key that is new and comes twice counts
// once.
func (t *Table[K, V]) UpsertBatch[_ lazy](words []uint64, keys []K, values []*V) (_ []*V, created int) {
	var places places
	s := &t.s
	before, moves, at := s.n, s.v.moves, len(values)
	t.fresh = t.fresh[:0]
	for lo := 0; lo < len(words); lo += ahead {
		ws := words[lo:min(lo+ahead, len(words))]
		ks := keys[lo : lo+len(ws)]
		s.locate(ws, &places)
		for i, w := range ws {
			e := (*Entry[K, V])(places.found[i&(ahead-1)])
			if e.mark != w|used || e.Key != ks[i] || places.pages[i&(ahead-1)].epoch <= s.v.shared {
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
	if s.v.moves != moves {
		// Entries have moved since we pointed to them. All are there now,
		// and theirs to write.
		for i, w := range words {
			_, e := find[K, V](s.group(w), w, keys[i])
			values[at+i] = &e.Value
		}
	}
	return values, s.n - before
}

// Fresh lists, in ascending order, the indices of the keys that the last
// UpsertBatch inserted. It is valid until the next one.
func (t *Table[K, V]) Fresh[_ lazy]() []int32 { return t.fresh }

// All iterates over the keys and values by key group. The values are to be
// read only, and the table must not be changed before the loop is over.
func (t *Table[K, V]) All[_ lazy]() iter.Seq2[K, *V] { return pairs[K, V](t.s.groups) }

// Group iterates over the keys and values of one key group, as All does.
func (t *Table[K, V]) Group[_ lazy](g int) iter.Seq2[K, *V] { return pairs[K, V](t.s.one(g)) }

// Entries is All with the hash word of each key at hand.
func (t *Table[K, V]) Entries[_ lazy]() iter.Seq[*Entry[K, V]] { return entries[K, V](t.s.groups) }

// GroupEntries is Group with the hash word of each key at hand.
func (t *Table[K, V]) GroupEntries[_ lazy](g int) iter.Seq[*Entry[K, V]] {
	return entries[K, V](t.s.one(g))
}

// Snapshot freezes the table as it is now. It takes time in proportion to the
// number of key groups. The caller releases the snapshot when it has been
// read; until then, first writes to a page copy it.
func (t *Table[K, V]) Snapshot[_ lazy]() *Snapshot[K, V] {
	return &Snapshot[K, V]{t.s.snapshot()}
}

func entries[K comparable, V any](groups []group) iter.Seq[*Entry[K, V]] {
	return func(yield func(*Entry[K, V]) bool) {
		for i := range groups {
			if !each(&groups[i], yield) {
				return
			}
		}
	}
}

func pairs[K comparable, V any](groups []group) iter.Seq2[K, *V] {
	return func(yield func(K, *V) bool) {
		entries[K, V](groups)(func(e *Entry[K, V]) bool { return yield(e.Key, &e.Value) })
	}
}
