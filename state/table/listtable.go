package table

import (
	"iter"
	"unsafe"

	"github.com/millrace/millrace/state/keygroup"
)

// A ListTable holds for each key a list that is appended to, read as a whole
// and taken out as a whole. It makes the promises of the package: values are
// never moved or changed once appended, so a snapshot shares them whole and
// appending after it copies no values.
//
// A key is there while its list has a value. A ListTable is owned by one
// goroutine.
type ListTable[K comparable, V any] struct {
	outer *Table[K, list[V]]
	most  int // values in a chunk
	n     int
}

// A list is a chain of chunks. A list in a snapshot and the one that grew from
// it share chunks: each reads no more than its n values, and what it reads was
// written before it was made.
type list[V any] struct {
	head, tail *chunk[V]
	n          int
	room       int // free places in tail
}

// A chunk's values are all there from the beginning, and get their content in
// order; next is set once.
type chunk[V any] struct {
	next   *chunk[V]
	values []V
}

// firstValues is the size of a list's first chunk.
const firstValues = 2

// NewList makes an empty table for the given key groups.
func NewList[K comparable, V any](groups keygroup.Range, opt Options) *ListTable[K, V] {
	var v V
	return &ListTable[K, V]{
		outer: New[K, list[V]](groups, opt),
		most:  max(opt.pageBytes()/max(int(unsafe.Sizeof(v)), 1), 1),
	}
}

// Groups is the range of key groups that the table holds.
func (t *ListTable[K, V]) Groups[_ lazy]() keygroup.Range { return t.outer.Groups() }

// Keys is the number of keys, that is of lists.
func (t *ListTable[K, V]) Keys[_ lazy]() int { return t.outer.Len() }

// Len is the number of values in all lists.
func (t *ListTable[K, V]) Len[_ lazy]() int { return t.n }

// LenOf is the number of values in the list of k.
func (t *ListTable[K, V]) LenOf[_ lazy](word uint64, k K) int {
	if l := t.outer.Get(word, k); l != nil {
		return l.n
	}
	return 0
}

// Append adds v at the end of the list of k.
func (t *ListTable[K, V]) Append[_ lazy](word uint64, k K, v V) {
	l, _ := t.outer.Upsert(word, k)
	l.append(v, t.most)
	t.n++
}

// AppendAll adds vs at the end of the list of k, in order. Of no values it
// does nothing.
func (t *ListTable[K, V]) AppendAll[_ lazy](word uint64, k K, vs []V) {
	if len(vs) == 0 {
		return
	}
	l, _ := t.outer.Upsert(word, k)
	for i := range vs {
		l.append(vs[i], t.most)
	}
	t.n += len(vs)
}

// Replace makes vs the list of k. Of no values it is Delete.
func (t *ListTable[K, V]) Replace[_ lazy](word uint64, k K, vs []V) {
	if len(vs) == 0 {
		t.Delete(word, k)
		return
	}
	l, _ := t.outer.Upsert(word, k)
	t.n -= l.n
	*l = list[V]{}
	t.AppendAll(word, k, vs)
}

func (l *list[V]) append[_ lazy](v V, most int) {
	if l.room == 0 {
		c := &chunk[V]{values: make([]V, min(max(l.n, firstValues), max(most, 1)))}
		if l.tail == nil {
			l.head = c
		} else {
			l.tail.next = c
		}
		l.tail = c
		l.room = len(c.values)
	}
	l.tail.values[len(l.tail.values)-l.room] = v
	l.room--
	l.n++
}

func (l *list[V]) all[_ lazy]() iter.Seq[*V] {
	return func(yield func(*V) bool) {
		if l == nil {
			return
		}
		left := l.n
		for c := l.head; left > 0; {
			for i := range c.values[:min(left, len(c.values))] {
				if !yield(&c.values[i]) {
					return
				}
			}
			// next of the last chunk is not ours to read: the writer may be
			// setting it.
			if left -= len(c.values); left > 0 {
				c = c.next
			}
		}
	}
}

// Values iterates over the list of k in the order of appending. The values
// are to be read only, and stay valid and as they are for as long as the
// caller wants, but the loop must not change the table.
func (t *ListTable[K, V]) Values[_ lazy](word uint64, k K) iter.Seq[*V] {
	return t.outer.Get(word, k).all()
}

// Delete takes k out with its list, and reports whether it was there.
func (t *ListTable[K, V]) Delete[_ lazy](word uint64, k K) bool {
	l := t.outer.Get(word, k)
	if l == nil {
		return false
	}
	t.n -= l.n
	return t.outer.Delete(word, k)
}

// Clear takes all keys out.
func (t *ListTable[K, V]) Clear[_ lazy]() {
	t.outer.Clear()
	t.n = 0
}

// Touch is Table.Touch for the keys.
func (t *ListTable[K, V]) Touch[_ lazy](words []uint64) { t.outer.Touch(words) }

// All iterates over the keys and their lists by key group. The table must not
// be changed before the loop is over.
func (t *ListTable[K, V]) All[_ lazy]() iter.Seq[ListEntry[K, V]] { return lists(t.outer.Entries()) }

// Group is All for one key group.
func (t *ListTable[K, V]) Group[_ lazy](g int) iter.Seq[ListEntry[K, V]] {
	return lists(t.outer.GroupEntries(g))
}

// Snapshot freezes the table as it is now; see Table.Snapshot.
func (t *ListTable[K, V]) Snapshot[_ lazy]() *ListSnapshot[K, V] {
	return &ListSnapshot[K, V]{outer: t.outer.Snapshot(), n: t.n}
}

// A ListEntry is one key of a ListTable and its list, to be read only.
type ListEntry[K comparable, V any] struct{ e *Entry[K, list[V]] }

// Word is the hash word of the key.
func (l ListEntry[K, V]) Word[_ lazy]() uint64 { return l.e.Word() }

// Key is the key.
func (l ListEntry[K, V]) Key[_ lazy]() K { return l.e.Key }

// Len is the number of values in the key's list.
func (l ListEntry[K, V]) Len[_ lazy]() int { return l.e.Value.n }

// All iterates over the key's list in the order of appending.
func (l ListEntry[K, V]) All[_ lazy]() iter.Seq[*V] { return l.e.Value.all() }

func lists[K comparable, V any](entries iter.Seq[*Entry[K, list[V]]]) iter.Seq[ListEntry[K, V]] {
	return func(yield func(ListEntry[K, V]) bool) {
		for e := range entries {
			if !yield(ListEntry[K, V]{e}) {
				return
			}
		}
	}
}

// A ListSnapshot is a ListTable as it was when Snapshot was called, under the
// rules of Snapshot.
type ListSnapshot[K comparable, V any] struct {
	outer *Snapshot[K, list[V]]
	n     int
}

// Release is Snapshot.Release.
func (s *ListSnapshot[K, V]) Release() { s.outer.Release() }

// Groups is the range of key groups that the snapshot holds.
func (s *ListSnapshot[K, V]) Groups[_ lazy]() keygroup.Range { return s.outer.Groups() }

// Keys is the number of keys.
func (s *ListSnapshot[K, V]) Keys[_ lazy]() int { return s.outer.Len() }

// Len is the number of values in all lists.
func (s *ListSnapshot[K, V]) Len[_ lazy]() int { return s.n }

// GroupKeys is the number of keys in one key group.
func (s *ListSnapshot[K, V]) GroupKeys[_ lazy](g int) int { return s.outer.GroupLen(g) }

// Values iterates over the list of k.
func (s *ListSnapshot[K, V]) Values[_ lazy](word uint64, k K) iter.Seq[*V] {
	return s.outer.Get(word, k).all()
}

// All iterates over the keys and their lists by key group.
func (s *ListSnapshot[K, V]) All[_ lazy]() iter.Seq[ListEntry[K, V]] { return lists(s.outer.Entries()) }

// Group is All for one key group.
func (s *ListSnapshot[K, V]) Group[_ lazy](g int) iter.Seq[ListEntry[K, V]] {
	return lists(s.outer.GroupEntries(g))
}
