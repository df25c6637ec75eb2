package table

import (
	"cmp"
	"iter"
	"reflect"
	"slices"
	"unsafe"

	"github.com/millrace/millrace/state/keygroup"
)

// An OrderedTable holds for each key a map of its own whose entries are in the
// order of MK: by cmp.Compare, in which NaN comes first and equals itself. It
// makes the promises of the package: a sorted map is cut into leaves of at
// most a page, shared with snapshots until they are written.
//
// A key is there while its map has an entry. An OrderedTable is owned by one
// goroutine.
type OrderedTable[K comparable, MK cmp.Ordered, V any] struct {
	outer   *Table[K, sorted[MK, V]]
	most    int // entries in a leaf
	strings stringsIn
	n       int
}

// sorted is a sorted sequence of leaves, none of them empty. Neighbours split
// and do not join again until one is empty: in stream state keys leave from
// one end.
type sorted[MK cmp.Ordered, V any] struct {
	leaves []leaf[MK, V]
	n      int
	epoch  uint32 // of leaves
}

// A leaf has keys[i] beside vals[i].
type leaf[MK cmp.Ordered, V any] struct {
	keys  []MK
	vals  []V
	epoch uint32
}

// NewOrdered makes an empty table for the given key groups.
func NewOrdered[K comparable, MK cmp.Ordered, V any](groups keygroup.Range, opt Options) *OrderedTable[K, MK, V] {
	var mk MK
	var v V
	return &OrderedTable[K, MK, V]{
		outer:   New[K, sorted[MK, V]](groups, opt),
		most:    min(max(opt.pageBytes()/int(unsafe.Sizeof(mk)+unsafe.Sizeof(v)), 4), 256),
		strings: stringsOf(reflect.TypeFor[MK]()),
	}
}

// Groups is the range of key groups that the table holds.
func (t *OrderedTable[K, MK, V]) Groups[_ lazy]() keygroup.Range { return t.outer.Groups() }

// Keys is the number of keys, that is of maps.
func (t *OrderedTable[K, MK, V]) Keys[_ lazy]() int { return t.outer.Len() }

// Len is the number of entries in all maps.
func (t *OrderedTable[K, MK, V]) Len[_ lazy]() int { return t.n }

// View is the map of k, to be read only and until the next change of the
// table. It is empty if k is not there.
func (t *OrderedTable[K, MK, V]) View[_ lazy](word uint64, k K) Ordered[MK, V] {
	return Ordered[MK, V]{t.outer.Get(word, k)}
}

// Get is the value of mk in the map of k, or nil. It is to be read only, and
// valid until the next change of the table.
func (t *OrderedTable[K, MK, V]) Get[_ lazy](word uint64, k K, mk MK) *V {
	return t.View(word, k).Get(mk)
}

// Upsert is the value of mk in the map of k, to be read and written. If it is
// not there, it is inserted with a zero value and created is true. The
// pointer is valid until the next change of the table.
func (t *OrderedTable[K, MK, V]) Upsert[_ lazy](word uint64, k K, mk MK) (v *V, created bool) {
	s, _ := t.outer.Upsert(word, k)
	vs := &t.outer.s.v
	i, j, found := s.search(mk)
	if found {
		return &s.ownLeaf(vs, i).vals[j], false
	}
	t.n++
	s.n++
	s.ownLeaves(vs)
	if len(s.leaves) == 0 {
		s.leaves = append(s.leaves, leaf[MK, V]{epoch: vs.epoch})
	}
	if len(s.leaves[i].keys) >= t.most {
		i, j = s.split(vs, i, j)
	}
	l := s.ownLeaf(vs, i)
	var zero V
	l.keys = slices.Insert(l.keys, j, mk)
	l.vals = slices.Insert(l.vals, j, zero)
	if t.strings.any() {
		// Objects of their own: keys of sorted maps are mostly times, and an
		// arena would have to be rewritten.
		t.strings.clone(unsafe.Pointer(&l.keys[j]))
	}
	return &l.vals[j], true
}

// search finds the leaf and the place in it where mk is or belongs.
func (s *sorted[MK, V]) search[_ lazy](mk MK) (i, j int, found bool) {
	if len(s.leaves) == 0 {
		return 0, 0, false
	}
	// The last leaf that does not begin behind mk.
	lo, hi := 0, len(s.leaves)
	for hi-lo > 1 {
		mid := int(uint(lo+hi) / 2)
		if cmp.Less(mk, s.leaves[mid].keys[0]) {
			hi = mid
		} else {
			lo = mid
		}
	}
	j, found = slices.BinarySearch(s.leaves[lo].keys, mk)
	return lo, j, found
}

// split makes room for an entry at place j of the full leaf i, and returns
// its new place. An entry behind all others opens a leaf of its own, so that
// keys which arrive in order fill their leaves.
func (s *sorted[MK, V]) split[_ lazy](vs *versions, i, j int) (int, int) {
	full := s.leaves[i]
	if i == len(s.leaves)-1 && j == len(full.keys) {
		s.leaves = append(s.leaves, leaf[MK, V]{epoch: vs.epoch})
		return i + 1, 0
	}
	half := len(full.keys) / 2
	upper := leaf[MK, V]{keys: slices.Clone(full.keys[half:]), vals: slices.Clone(full.vals[half:]), epoch: vs.epoch}
	lower := leaf[MK, V]{keys: slices.Clone(full.keys[:half]), vals: slices.Clone(full.vals[:half]), epoch: vs.epoch}
	s.leaves[i] = lower
	s.leaves = slices.Insert(s.leaves, i+1, upper)
	if j > half {
		return i + 1, j - half
	}
	return i, j
}

func (s *sorted[MK, V]) ownLeaves[_ lazy](vs *versions) {
	if s.epoch <= vs.shared && vs.frozen(s.epoch) {
		s.leaves = slices.Clone(s.leaves)
		s.epoch = vs.epoch
	}
}

// ownLeaf makes leaf i safe to write and returns it.
func (s *sorted[MK, V]) ownLeaf[_ lazy](vs *versions, i int) *leaf[MK, V] {
	if l := &s.leaves[i]; l.epoch > vs.shared || !vs.frozen(l.epoch) {
		return l
	}
	s.ownLeaves(vs)
	l := &s.leaves[i]
	*l = leaf[MK, V]{keys: slices.Clone(l.keys), vals: slices.Clone(l.vals), epoch: vs.epoch}
	return l
}

// Delete takes mk out of the map of k, and reports whether it was there.
func (t *OrderedTable[K, MK, V]) Delete[_ lazy](word uint64, k K, mk MK) bool {
	s := t.outer.Get(word, k)
	if s == nil {
		return false
	}
	i, j, found := s.search(mk)
	if !found {
		return false
	}
	s, _ = t.outer.Upsert(word, k)
	s.ownLeaves(&t.outer.s.v)
	t.cut(s, i, j, j+1)
	t.drop(word, k, s)
	return true
}

// DeleteRange takes the entries from from on and before to out of the map of
// k, and returns their number.
func (t *OrderedTable[K, MK, V]) DeleteRange[_ lazy](word uint64, k K, from, to MK) int {
	s := t.outer.Get(word, k)
	if s == nil || cmp.Compare(from, to) >= 0 {
		return 0
	}
	i, j, _ := s.search(from)
	i2, j2, _ := s.search(to)
	if i == i2 && j == j2 {
		return 0
	}
	before := t.n
	s, _ = t.outer.Upsert(word, k)
	s.ownLeaves(&t.outer.s.v)
	if i == i2 {
		t.cut(s, i, j, j2)
		t.drop(word, k, s)
		return before - t.n
	}
	// From behind, so that places before stay as they are.
	t.cut(s, i2, 0, j2)
	for m := i + 1; m < i2; m++ {
		t.n -= len(s.leaves[m].keys)
		s.n -= len(s.leaves[m].keys)
	}
	s.leaves = slices.Delete(s.leaves, i+1, i2)
	t.cut(s, i, j, len(s.leaves[i].keys))
	t.drop(word, k, s)
	return before - t.n
}

// cut takes places j to j2 out of leaf i, and the leaf if it is empty then.
// The leaves are owned.
func (t *OrderedTable[K, MK, V]) cut[_ lazy](s *sorted[MK, V], i, j, j2 int) {
	if j == j2 {
		return
	}
	t.n -= j2 - j
	s.n -= j2 - j
	if j2-j == len(s.leaves[i].keys) {
		s.leaves = slices.Delete(s.leaves, i, i+1)
		return
	}
	l := s.ownLeaf(&t.outer.s.v, i)
	l.keys = slices.Delete(l.keys, j, j2)
	l.vals = slices.Delete(l.vals, j, j2)
}

// drop takes k out if its map is empty.
func (t *OrderedTable[K, MK, V]) drop[_ lazy](word uint64, k K, s *sorted[MK, V]) {
	if s.n == 0 {
		t.outer.Delete(word, k)
	}
}

// DeleteAll takes k out with its whole map, and reports whether it was there.
func (t *OrderedTable[K, MK, V]) DeleteAll[_ lazy](word uint64, k K) bool {
	t.n -= t.View(word, k).Len()
	return t.outer.Delete(word, k)
}

// Clear takes all keys out.
func (t *OrderedTable[K, MK, V]) Clear[_ lazy]() {
	t.outer.Clear()
	t.n = 0
}

// Touch is Table.Touch for the keys.
func (t *OrderedTable[K, MK, V]) Touch[_ lazy](words []uint64) { t.outer.Touch(words) }

// All iterates over the keys and their maps by key group. The table must not
// be changed before the loop is over.
func (t *OrderedTable[K, MK, V]) All[_ lazy]() iter.Seq[OrderedEntry[K, MK, V]] {
	return orderedEntries(t.outer.Entries())
}

// Group is All for one key group.
func (t *OrderedTable[K, MK, V]) Group[_ lazy](g int) iter.Seq[OrderedEntry[K, MK, V]] {
	return orderedEntries(t.outer.GroupEntries(g))
}

// Snapshot freezes the table as it is now; see Table.Snapshot.
func (t *OrderedTable[K, MK, V]) Snapshot[_ lazy]() *OrderedSnapshot[K, MK, V] {
	return &OrderedSnapshot[K, MK, V]{outer: t.outer.Snapshot(), n: t.n}
}

// Ordered is the sorted map of one key, to be read only.
type Ordered[MK cmp.Ordered, V any] struct{ s *sorted[MK, V] }

// Len is the number of entries.
func (o Ordered[MK, V]) Len[_ lazy]() int {
	if o.s == nil {
		return 0
	}
	return o.s.n
}

// Get is the value of mk, or nil.
func (o Ordered[MK, V]) Get[_ lazy](mk MK) *V {
	if o.s != nil {
		if i, j, found := o.s.search(mk); found {
			return &o.s.leaves[i].vals[j]
		}
	}
	return nil
}

// First is the entry with the smallest key; v is nil if there is none.
func (o Ordered[MK, V]) First[_ lazy]() (mk MK, v *V) {
	for mk, v := range o.All() {
		return mk, v
	}
	return mk, nil
}

// Last is the entry with the largest key; v is nil if there is none.
func (o Ordered[MK, V]) Last[_ lazy]() (mk MK, v *V) {
	for mk, v := range o.Backward() {
		return mk, v
	}
	return mk, nil
}

// All iterates over the entries in ascending order.
func (o Ordered[MK, V]) All[_ lazy]() iter.Seq2[MK, *V] {
	return func(yield func(MK, *V) bool) {
		if o.s != nil {
			o.s.ascend(0, 0, len(o.s.leaves), 0, yield)
		}
	}
}

// Backward iterates over the entries in descending order.
func (o Ordered[MK, V]) Backward[_ lazy]() iter.Seq2[MK, *V] {
	return func(yield func(MK, *V) bool) {
		if o.s != nil {
			o.s.descend(0, 0, len(o.s.leaves), 0, yield)
		}
	}
}

// Range iterates in ascending order over the entries from from on and before
// to.
func (o Ordered[MK, V]) Range[_ lazy](from, to MK) iter.Seq2[MK, *V] {
	return func(yield func(MK, *V) bool) {
		if o.s != nil && cmp.Less(from, to) {
			i, j, _ := o.s.search(from)
			i2, j2, _ := o.s.search(to)
			o.s.ascend(i, j, i2, j2, yield)
		}
	}
}

// RangeBackward iterates over the entries of Range in descending order.
func (o Ordered[MK, V]) RangeBackward[_ lazy](from, to MK) iter.Seq2[MK, *V] {
	return func(yield func(MK, *V) bool) {
		if o.s != nil && cmp.Less(from, to) {
			i, j, _ := o.s.search(from)
			i2, j2, _ := o.s.search(to)
			o.s.descend(i, j, i2, j2, yield)
		}
	}
}

// From iterates in ascending order over the entries from from on.
func (o Ordered[MK, V]) From[_ lazy](from MK) iter.Seq2[MK, *V] {
	return func(yield func(MK, *V) bool) {
		if o.s != nil {
			i, j, _ := o.s.search(from)
			o.s.ascend(i, j, len(o.s.leaves), 0, yield)
		}
	}
}

// Before iterates in ascending order over the entries before to.
func (o Ordered[MK, V]) Before[_ lazy](to MK) iter.Seq2[MK, *V] {
	return func(yield func(MK, *V) bool) {
		if o.s != nil {
			i, j, _ := o.s.search(to)
			o.s.ascend(0, 0, i, j, yield)
		}
	}
}

// ascend visits the places from (i, j) on and before (i2, j2).
func (s *sorted[MK, V]) ascend[_ lazy](i, j, i2, j2 int, yield func(MK, *V) bool) {
	for ; i < len(s.leaves) && i <= i2; i, j = i+1, 0 {
		l := &s.leaves[i]
		end := len(l.keys)
		if i == i2 {
			end = j2
		}
		for ; j < end; j++ {
			if !yield(l.keys[j], &l.vals[j]) {
				return
			}
		}
	}
}

// descend visits the places of ascend in the opposite order.
func (s *sorted[MK, V]) descend[_ lazy](i, j, i2, j2 int, yield func(MK, *V) bool) {
	for m := min(i2, len(s.leaves)-1); m >= i; m-- {
		l := &s.leaves[m]
		lo, hi := 0, len(l.keys)
		if m == i {
			lo = j
		}
		if m == i2 {
			hi = j2
		}
		for n := hi - 1; n >= lo; n-- {
			if !yield(l.keys[n], &l.vals[n]) {
				return
			}
		}
	}
}

// An OrderedEntry is one key of an OrderedTable and its map, to be read only.
type OrderedEntry[K comparable, MK cmp.Ordered, V any] struct{ e *Entry[K, sorted[MK, V]] }

// Word is the hash word of the key.
func (o OrderedEntry[K, MK, V]) Word[_ lazy]() uint64 { return o.e.Word() }

// Key is the key.
func (o OrderedEntry[K, MK, V]) Key[_ lazy]() K { return o.e.Key }

// Map is the key's map.
func (o OrderedEntry[K, MK, V]) Map[_ lazy]() Ordered[MK, V] { return Ordered[MK, V]{&o.e.Value} }

func orderedEntries[K comparable, MK cmp.Ordered, V any](entries iter.Seq[*Entry[K, sorted[MK, V]]]) iter.Seq[OrderedEntry[K, MK, V]] {
	return func(yield func(OrderedEntry[K, MK, V]) bool) {
		for e := range entries {
			if !yield(OrderedEntry[K, MK, V]{e}) {
				return
			}
		}
	}
}

// An OrderedSnapshot is an OrderedTable as it was when Snapshot was called,
// under the rules of Snapshot.
type OrderedSnapshot[K comparable, MK cmp.Ordered, V any] struct {
	outer *Snapshot[K, sorted[MK, V]]
	n     int
}

// Release is Snapshot.Release.
func (s *OrderedSnapshot[K, MK, V]) Release() { s.outer.Release() }

// Groups is the range of key groups that the snapshot holds.
func (s *OrderedSnapshot[K, MK, V]) Groups[_ lazy]() keygroup.Range { return s.outer.Groups() }

// Keys is the number of keys.
func (s *OrderedSnapshot[K, MK, V]) Keys[_ lazy]() int { return s.outer.Len() }

// Len is the number of entries in all maps.
func (s *OrderedSnapshot[K, MK, V]) Len[_ lazy]() int { return s.n }

// GroupKeys is the number of keys in one key group.
func (s *OrderedSnapshot[K, MK, V]) GroupKeys[_ lazy](g int) int { return s.outer.GroupLen(g) }

// View is the map of k.
func (s *OrderedSnapshot[K, MK, V]) View[_ lazy](word uint64, k K) Ordered[MK, V] {
	return Ordered[MK, V]{s.outer.Get(word, k)}
}

// All iterates over the keys and their maps by key group.
func (s *OrderedSnapshot[K, MK, V]) All[_ lazy]() iter.Seq[OrderedEntry[K, MK, V]] {
	return orderedEntries(s.outer.Entries())
}

// Group is All for one key group.
func (s *OrderedSnapshot[K, MK, V]) Group[_ lazy](g int) iter.Seq[OrderedEntry[K, MK, V]] {
	return orderedEntries(s.outer.GroupEntries(g))
}
