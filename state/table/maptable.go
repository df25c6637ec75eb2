package table

import (
	"fmt"
	"iter"
	"reflect"
	"unsafe"

	"github.com/millrace/millrace/state/keygroup"
)

// firstMapSlots is the size of the first page of one key's map: most maps are
// small, and there may be millions.
const firstMapSlots = 4

// A MapTable holds for each key a map of its own, from MK to V. It makes the
// promises of the package: each map is a small table, its pages are shared
// with snapshots as those of Table are, so a snapshot's cost does not depend
// on how many or how large the maps are.
//
// A key is there while its map has an entry. A MapTable is owned by one
// goroutine.
type MapTable[K, MK comparable, V any] struct {
	outer   *Table[K, group]
	hash    *keygroup.Hasher[MK]
	l       layout
	strings stringsIn
	arenas  []arena // of map keys, by key group, if they have strings
	n       int
}

// NewMap makes an empty table for the given key groups. The error is that of
// keygroup.NewHasher for the map's key type. A NaN in a map key makes an
// entry that is never found again, as in a Go map.
func NewMap[K, MK comparable, V any](groups keygroup.Range, opt Options) (*MapTable[K, MK, V], error) {
	hash, err := keygroup.NewHasher[MK](1, keygroup.Options{})
	if err != nil {
		return nil, fmt.Errorf("map %w", err)
	}
	t := &MapTable[K, MK, V]{
		outer:   New[K, group](groups, opt),
		hash:    hash,
		l:       newLayout[MK, V](firstMapSlots, opt.pageBytes()),
		strings: stringsOf(reflect.TypeFor[MK]()),
	}
	if t.strings.any() {
		t.arenas = make([]arena, groups.Len())
	}
	return t, nil
}

// Groups is the range of key groups that the table holds.
func (t *MapTable[K, MK, V]) Groups[_ lazy]() keygroup.Range { return t.outer.Groups() }

// Keys is the number of keys, that is of maps.
func (t *MapTable[K, MK, V]) Keys[_ lazy]() int { return t.outer.Len() }

// Len is the number of entries in all maps.
func (t *MapTable[K, MK, V]) Len[_ lazy]() int { return t.n }

// LenOf is the number of entries in the map of k.
func (t *MapTable[K, MK, V]) LenOf[_ lazy](word uint64, k K) int {
	if m := t.outer.Get(word, k); m != nil {
		return m.n
	}
	return 0
}

// Get is the value of mk in the map of k, or nil. It is to be read only, and
// valid until the next change of the table.
func (t *MapTable[K, MK, V]) Get[_ lazy](word uint64, k K, mk MK) *V {
	m := t.outer.Get(word, k)
	if m == nil {
		return nil
	}
	if _, e := find[MK, V](m, t.hash.One(&mk), mk); e != nil {
		return &e.Value
	}
	return nil
}

// Upsert is the value of mk in the map of k, to be read and written. If it is
// not there, it is inserted with a zero value and created is true. The
// pointer is valid until the next change of the table.
func (t *MapTable[K, MK, V]) Upsert[_ lazy](word uint64, k K, mk MK) (v *V, created bool) {
	m, fresh := t.outer.Upsert(word, k)
	if fresh {
		*m = t.l.empty
	}
	vs := &t.outer.s.v
	w := t.hash.One(&mk)
	p, e := find[MK, V](m, w, mk)
	if e == nil {
		e = insert[MK, V](m, vs, &t.l, w, mk)
		t.n++
		if t.arenas != nil {
			t.strings.own(t.arena(word), unsafe.Pointer(&e.Key))
		}
		return &e.Value, true
	}
	if p.epoch <= vs.shared {
		e = (*Entry[MK, V])(m.owned(vs, &t.l, w, p, unsafe.Pointer(e)))
	}
	return &e.Value, false
}

func (t *MapTable[K, MK, V]) arena[_ lazy](word uint64) *arena {
	return &t.arenas[word>>keygroup.GroupShift-t.outer.s.start]
}

// Delete takes mk out of the map of k, and reports whether it was there.
func (t *MapTable[K, MK, V]) Delete[_ lazy](word uint64, k K, mk MK) bool {
	m := t.outer.Get(word, k)
	if m == nil {
		return false
	}
	w := t.hash.One(&mk)
	if _, e := find[MK, V](m, w, mk); e == nil {
		return false
	}
	m, _ = t.outer.Upsert(word, k)
	stored, _ := remove[MK, V](m, &t.outer.s.v, &t.l, w, mk)
	t.n--
	if m.n == 0 {
		t.outer.Delete(word, k)
	}
	if t.arenas != nil {
		t.strings.disown(t.arena(word), unsafe.Pointer(&stored))
		t.tidy(word)
	}
	return true
}

// DeleteAll takes k out with its whole map, and reports whether it was there.
func (t *MapTable[K, MK, V]) DeleteAll[_ lazy](word uint64, k K) bool {
	m := t.outer.Get(word, k)
	if m == nil {
		return false
	}
	t.n -= m.n
	if t.arenas != nil {
		a := t.arena(word)
		each(m, func(e *Entry[MK, V]) bool {
			t.strings.disown(a, unsafe.Pointer(&e.Key))
			return true
		})
	}
	t.outer.Delete(word, k)
	if t.arenas != nil {
		t.tidy(word)
	}
	return true
}

// tidy rewrites the map keys of the key group of word into a fresh arena when
// most of the old one is waste.
func (t *MapTable[K, MK, V]) tidy[_ lazy](word uint64) {
	a := t.arena(word)
	if !a.wasteful() {
		return
	}
	*a = arena{}
	vs := &t.outer.s.v
	t.outer.s.group(word).update(vs, &t.outer.s.l, func(e unsafe.Pointer) {
		(*Entry[K, group])(e).Value.update(vs, &t.l, func(e unsafe.Pointer) { t.strings.own(a, unsafe.Add(e, keyAt)) })
	})
}

// Clear takes all keys out.
func (t *MapTable[K, MK, V]) Clear[_ lazy]() {
	t.outer.Clear()
	clear(t.arenas)
	t.n = 0
}

// Touch is Table.Touch for the keys; what their maps need is not touched.
func (t *MapTable[K, MK, V]) Touch[_ lazy](words []uint64) { t.outer.Touch(words) }

// Entries iterates over the map of k. The values are to be read only, and the
// table must not be changed before the loop is over.
func (t *MapTable[K, MK, V]) Entries[_ lazy](word uint64, k K) iter.Seq2[MK, *V] {
	return entriesOf[MK, V](t.outer.Get(word, k))
}

// All iterates over the keys and their maps by key group, under the rules of
// Entries.
func (t *MapTable[K, MK, V]) All[_ lazy]() iter.Seq[MapEntry[K, MK, V]] {
	return mapEntries[K, MK, V](t.outer.Entries())
}

// Group is All for one key group.
func (t *MapTable[K, MK, V]) Group[_ lazy](g int) iter.Seq[MapEntry[K, MK, V]] {
	return mapEntries[K, MK, V](t.outer.GroupEntries(g))
}

// Snapshot freezes the table as it is now; see Table.Snapshot.
func (t *MapTable[K, MK, V]) Snapshot[_ lazy]() *MapSnapshot[K, MK, V] {
	return &MapSnapshot[K, MK, V]{outer: t.outer.Snapshot(), hash: t.hash, n: t.n}
}

// A MapEntry is one key of a MapTable and its map, to be read only.
type MapEntry[K, MK comparable, V any] struct{ e *Entry[K, group] }

// Word is the hash word of the key.
func (m MapEntry[K, MK, V]) Word[_ lazy]() uint64 { return m.e.Word() }

// Key is the key.
func (m MapEntry[K, MK, V]) Key[_ lazy]() K { return m.e.Key }

// Len is the number of entries in the key's map.
func (m MapEntry[K, MK, V]) Len[_ lazy]() int { return m.e.Value.n }

// All iterates over the key's map.
func (m MapEntry[K, MK, V]) All[_ lazy]() iter.Seq2[MK, *V] { return entriesOf[MK, V](&m.e.Value) }

func mapEntries[K, MK comparable, V any](entries iter.Seq[*Entry[K, group]]) iter.Seq[MapEntry[K, MK, V]] {
	return func(yield func(MapEntry[K, MK, V]) bool) {
		for e := range entries {
			if !yield(MapEntry[K, MK, V]{e}) {
				return
			}
		}
	}
}

func entriesOf[MK comparable, V any](m *group) iter.Seq2[MK, *V] {
	return func(yield func(MK, *V) bool) {
		if m != nil {
			each(m, func(e *Entry[MK, V]) bool { return yield(e.Key, &e.Value) })
		}
	}
}

// A MapSnapshot is a MapTable as it was when Snapshot was called, under the
// rules of Snapshot.
type MapSnapshot[K, MK comparable, V any] struct {
	outer *Snapshot[K, group]
	hash  *keygroup.Hasher[MK]
	n     int
}

// Release is Snapshot.Release.
func (s *MapSnapshot[K, MK, V]) Release() { s.outer.Release() }

// Groups is the range of key groups that the snapshot holds.
func (s *MapSnapshot[K, MK, V]) Groups[_ lazy]() keygroup.Range { return s.outer.Groups() }

// Keys is the number of keys.
func (s *MapSnapshot[K, MK, V]) Keys[_ lazy]() int { return s.outer.Len() }

// Len is the number of entries in all maps.
func (s *MapSnapshot[K, MK, V]) Len[_ lazy]() int { return s.n }

// GroupKeys is the number of keys in one key group.
func (s *MapSnapshot[K, MK, V]) GroupKeys[_ lazy](g int) int { return s.outer.GroupLen(g) }

// Get is the value of mk in the map of k, or nil.
func (s *MapSnapshot[K, MK, V]) Get[_ lazy](word uint64, k K, mk MK) *V {
	if m := s.outer.Get(word, k); m != nil {
		if _, e := find[MK, V](m, s.hash.One(&mk), mk); e != nil {
			return &e.Value
		}
	}
	return nil
}

// Entries iterates over the map of k.
func (s *MapSnapshot[K, MK, V]) Entries[_ lazy](word uint64, k K) iter.Seq2[MK, *V] {
	return entriesOf[MK, V](s.outer.Get(word, k))
}

// All iterates over the keys and their maps by key group.
func (s *MapSnapshot[K, MK, V]) All[_ lazy]() iter.Seq[MapEntry[K, MK, V]] {
	return mapEntries[K, MK, V](s.outer.Entries())
}

// Group is All for one key group.
func (s *MapSnapshot[K, MK, V]) Group[_ lazy](g int) iter.Seq[MapEntry[K, MK, V]] {
	return mapEntries[K, MK, V](s.outer.GroupEntries(g))
}
