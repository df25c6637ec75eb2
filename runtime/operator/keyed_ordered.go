package operator

import (
	"cmp"
	"encoding/binary"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/state/table"
)

// OrderedMapState is one sorted map per key. A map without entries is not
// there.
type OrderedMapState[MK cmp.Ordered, V any] interface {
	Load(MK) (V, bool)
	Set(MK, V)
	// Ref returns the value of mk, made zero if there is none, to be changed
	// in place before the next use of any state of the operator.
	Ref(MK) *V
	Delete(MK)
	// DeleteRange deletes the entries from from up to but not including to
	// and returns their number.
	DeleteRange(from, to MK) int
	// First and Last return the entry with the least or greatest key.
	First() (MK, V, bool)
	Last() (MK, V, bool)
	// Ascend calls yield for the entries from *from on and before *to, in
	// order, until it returns false; nil means no bound. yield may change the
	// map: entries that are yet to come are taken as they then are.
	Ascend(from, to *MK, yield func(MK, V) bool)
	// Descend is Ascend backwards over the same range.
	Descend(from, to *MK, yield func(MK, V) bool)
	Len() int
	Clear()
}

// orderedState is an OrderedMapState in the hot tier.
type orderedState[K comparable, MK cmp.Ordered, V any] struct {
	k     *Keyed[K]
	t     *table.OrderedTable[K, MK, V]
	name  string
	plain bool
	keys  *codec.Codec[MK]
	codec *codec.Codec[V]
	spare []pair[MK, V] // of iterations
}

// NewOrderedMap declares a state of sorted maps; see [NewValue].
func NewOrderedMap[K comparable, MK cmp.Ordered, V any](k *Keyed[K], name string) OrderedMapState[MK, V] {
	s := &orderedState[K, MK, V]{k: k, t: table.NewOrdered[K, MK, V](k.groups, table.Options{}), name: name, keys: codecOf[MK](name), codec: codecOf[V](name)}
	s.plain = s.codec.PointerFree()
	k.add(name, s)
	return s
}

func (s *orderedState[K, MK, V]) active() {
	if !s.k.Active {
		s.k.outside(s.name)
	}
}

func (s *orderedState[K, MK, V]) Load(mk MK) (v V, ok bool) {
	s.active()
	if p := s.t.Get(s.k.Word, s.k.Key, mk); p != nil {
		return *p, true
	}
	return v, false
}

func (s *orderedState[K, MK, V]) Set(mk MK, v V) {
	s.active()
	if s.k.Borrowed && !s.plain {
		s.codec.Own(&v)
	}
	p, _ := s.t.Upsert(s.k.Word, s.k.Key, mk)
	*p = v
}

func (s *orderedState[K, MK, V]) Ref(mk MK) *V {
	s.active()
	if s.k.Borrowed && !s.plain {
		s.keys.Own(&mk)
		s.k.lent = append(s.k.lent, lent[K]{func(word uint64, key K) {
			if s.t.Get(word, key, mk) != nil {
				p, _ := s.t.Upsert(word, key, mk)
				s.codec.Own(p)
			}
		}, s.k.Word, s.k.Key})
	}
	p, _ := s.t.Upsert(s.k.Word, s.k.Key, mk)
	return p
}

func (s *orderedState[K, MK, V]) Delete(mk MK) {
	s.active()
	s.t.Delete(s.k.Word, s.k.Key, mk)
}

func (s *orderedState[K, MK, V]) DeleteRange(from, to MK) int {
	s.active()
	return s.t.DeleteRange(s.k.Word, s.k.Key, from, to)
}

func (s *orderedState[K, MK, V]) view() table.Ordered[MK, V] {
	s.active()
	return s.t.View(s.k.Word, s.k.Key)
}

func (s *orderedState[K, MK, V]) First() (mk MK, v V, ok bool) {
	mk, p := s.view().First()
	if p == nil {
		return mk, v, false
	}
	return mk, *p, true
}

func (s *orderedState[K, MK, V]) Last() (mk MK, v V, ok bool) {
	mk, p := s.view().Last()
	if p == nil {
		return mk, v, false
	}
	return mk, *p, true
}

// stride is the number of entries that an iteration takes at a time: between
// two takes the map may change.
const stride = 64

func (s *orderedState[K, MK, V]) Ascend(from, to *MK, yield func(MK, V) bool) {
	skip := false // the entry at *from has been handed out
	for {
		view := s.view()
		entries := view.All()
		switch {
		case from != nil && to != nil:
			entries = view.Range(*from, *to)
		case from != nil:
			entries = view.From(*from)
		case to != nil:
			entries = view.Before(*to)
		}
		some := s.take()
		for mk, v := range entries {
			if skip && cmp.Compare(mk, *from) == 0 {
				continue
			}
			if some = append(some, pair[MK, V]{mk, *v}); len(some) == stride {
				break
			}
		}
		var last MK
		if n := len(some); n > 0 {
			last = some[n-1].key
		}
		if !s.hand(some, yield) {
			return
		}
		from, skip = &last, true
	}
}

func (s *orderedState[K, MK, V]) Descend(from, to *MK, yield func(MK, V) bool) {
	for {
		view := s.view()
		low, first := view.First()
		if first == nil {
			return
		}
		if from != nil {
			low = *from
		}
		entries := view.Backward()
		if to != nil {
			entries = view.RangeBackward(low, *to)
		}
		some := s.take()
		for mk, v := range entries {
			if cmp.Less(mk, low) {
				break
			}
			if some = append(some, pair[MK, V]{mk, *v}); len(some) == stride {
				break
			}
		}
		var last MK
		if n := len(some); n > 0 {
			last = some[n-1].key
		}
		if !s.hand(some, yield) {
			return
		}
		to = &last
	}
}

func (s *orderedState[K, MK, V]) take() []pair[MK, V] {
	some := s.spare
	s.spare = nil
	return some[:0]
}

// hand yields some and reports whether there may be more to come.
func (s *orderedState[K, MK, V]) hand(some []pair[MK, V], yield func(MK, V) bool) bool {
	n := len(some)
	defer func() {
		clear(some)
		s.spare = some[:0]
	}()
	for i := range some {
		if !yield(some[i].key, some[i].value) {
			return false
		}
	}
	return n == stride
}

func (s *orderedState[K, MK, V]) Len() int { return s.view().Len() }

func (s *orderedState[K, MK, V]) Clear() {
	s.active()
	s.t.DeleteAll(s.k.Word, s.k.Key)
}

func (s *orderedState[K, MK, V]) touch(words []uint64) { s.t.Touch(words) }

func (s *orderedState[K, MK, V]) visit(f func(word uint64, key K)) {
	for e := range s.t.All() {
		f(e.Word(), e.Key())
	}
}

func (s *orderedState[K, MK, V]) snapshot(name string) []Piece {
	snap := s.t.Snapshot()
	return s.k.pieces(name, frozen{
		schema:  schemas(s.k.keys.Schema(), s.keys.Schema(), s.codec.Schema()),
		has:     func(g int) bool { return snap.GroupKeys(g) > 0 },
		release: snap.Release,
		append: func(dst []byte, g int) []byte {
			for e := range snap.Group(g) {
				key, m := e.Key(), e.Map()
				dst = binary.AppendUvarint(s.k.keys.Append(dst, &key), uint64(m.Len()))
				for mk, v := range m.All() {
					dst = s.codec.Append(s.keys.Append(dst, &mk), v)
				}
			}
			return dst
		},
	})
}

func (s *orderedState[K, MK, V]) restore(p Piece) error {
	return restoreMaps(s.k, p, s.keys, s.codec, func(word uint64, key K, mk MK, _ int64, v *V) {
		e, _ := s.t.Upsert(word, key, mk)
		*e = *v
	})
}
