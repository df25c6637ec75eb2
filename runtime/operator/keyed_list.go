package operator

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/state/table"
)

// ListState is one list per key. A list without values is not there.
type ListState[V any] interface {
	Add(V)
	AddAll([]V)
	// Replace makes the list these values; it keeps nothing of the slice.
	Replace([]V)
	// All iterates over the list of the key in effect as it was when the loop
	// began; the loop may change it.
	All() iter.Seq[V]
	Len() int
	Clear()
}

// listState is a ListState in the hot tier.
type listState[K comparable, V any] struct {
	k     *Keyed[K]
	t     *table.ListTable[K, V]
	name  string
	plain bool
	codec *codec.Codec[V]
}

// NewList declares a list state; see [NewValue].
func NewList[K comparable, V any](k *Keyed[K], name string, opts ...StateOptions) ListState[V] {
	c := codecOf[V](name)
	if o := option(opts); o.TTL > 0 {
		s := &ttlList[K, V]{inner: c, life: k.lifetime(o)}
		s.listState = listState[K, stamped[V]]{k: k, t: table.NewList[K, stamped[V]](k.groups, table.Options{}), name: name, plain: c.PointerFree()}
		k.add(name, s)
		k.ttl.states = append(k.ttl.states, s)
		return s
	}
	s := &listState[K, V]{k: k, t: table.NewList[K, V](k.groups, table.Options{}), name: name, codec: c, plain: c.PointerFree()}
	k.add(name, s)
	return s
}

func (s *listState[K, V]) active() {
	if !s.k.Active {
		s.k.outside(s.name)
	}
}

func (s *listState[K, V]) Add(v V) {
	s.active()
	if s.k.Borrowed && !s.plain {
		s.codec.Own(&v)
	}
	s.t.Append(s.k.Word, s.k.Key, v)
}

func (s *listState[K, V]) AddAll(vs []V) {
	s.active()
	if s.k.Borrowed && !s.plain {
		for _, v := range vs {
			s.Add(v)
		}
		return
	}
	s.t.AppendAll(s.k.Word, s.k.Key, vs)
}

func (s *listState[K, V]) Replace(vs []V) {
	s.Clear()
	s.AddAll(vs)
}

func (s *listState[K, V]) All() iter.Seq[V] {
	s.active()
	return func(yield func(V) bool) {
		for v := range s.t.Values(s.k.Word, s.k.Key) {
			if !yield(*v) {
				return
			}
		}
	}
}

func (s *listState[K, V]) Len() int {
	s.active()
	return s.t.LenOf(s.k.Word, s.k.Key)
}

func (s *listState[K, V]) Clear() {
	s.active()
	s.t.Delete(s.k.Word, s.k.Key)
}

func (s *listState[K, V]) touch(words []uint64) { s.t.Touch(words) }

func (s *listState[K, V]) visit(f func(word uint64, key K)) {
	for e := range s.t.All() {
		f(e.Word(), e.Key())
	}
}

func (s *listState[K, V]) snapshot(name string) []Piece {
	return s.pieces(name, 0, s.codec.Schema(), s.codec.Append)
}

// pieces is snapshot with the encoding of a value given.
func (s *listState[K, V]) pieces(name string, flags byte, schema codec.Schema, value func(dst []byte, v *V) []byte) []Piece {
	snap := s.t.Snapshot()
	return s.k.pieces(name, frozen{
		flags:   flags,
		schema:  schemas(s.k.keys.Schema(), schema),
		has:     func(g int) bool { return snap.GroupKeys(g) > 0 },
		release: snap.Release,
		append: func(dst []byte, g int) []byte {
			for e := range snap.Group(g) {
				key := e.Key()
				dst = binary.AppendUvarint(s.k.keys.Append(dst, &key), uint64(e.Len()))
				for v := range e.All() {
					dst = value(dst, v)
				}
			}
			return dst
		},
	})
}

func (s *listState[K, V]) restore(p Piece) error {
	return restoreLists(s.k, p, s.codec, func(word uint64, key K, _ int64, v *V) { s.t.Append(word, key, *v) })
}

// restoreLists reads a piece of a list state, with or without times of access.
func restoreLists[K comparable, V any](k *Keyed[K], p Piece, c *codec.Codec[V], put func(word uint64, key K, at int64, v *V)) error {
	r, written, err := k.open(p, 1)
	if err != nil {
		return err
	}
	d, err := under(c, written[0])
	if err != nil {
		return err
	}
	for r.more() {
		word, key, err := r.key()
		if err != nil {
			return err
		}
		n, w := binary.Uvarint(r.src)
		if w <= 0 || tooMany(n, r.src[w:]) {
			return fmt.Errorf("list of key %v: length: %w", key, codec.ErrCorrupt)
		}
		r.src = r.src[w:]
		for i := range n {
			at, err := r.stamp()
			if err != nil {
				return err
			}
			var v V
			if r.src, err = d.decode(r.src, &v); err != nil {
				return fmt.Errorf("list of key %v: value %d: %w", key, i, err)
			}
			put(word, key, at, &v)
		}
	}
	return nil
}

// ttlList is a ListState each of whose values expires.
type ttlList[K comparable, V any] struct {
	listState[K, stamped[V]] // its codec is not used
	inner                    *codec.Codec[V]
	life                     lifetime[K]
	dead                     []dead[K]
}

func (s *ttlList[K, V]) Add(v V) {
	s.active()
	if s.k.Borrowed && !s.plain {
		s.inner.Own(&v)
	}
	s.t.Append(s.k.Word, s.k.Key, stamped[V]{s.life.c.now, v})
}

func (s *ttlList[K, V]) AddAll(vs []V) {
	for _, v := range vs {
		s.Add(v)
	}
}

func (s *ttlList[K, V]) Replace(vs []V) {
	s.Clear()
	s.AddAll(vs)
}

// trim removes the expired values of a key, and renews the others if reads do.
func (s *ttlList[K, V]) trim(word uint64, key K, renew bool) {
	over, old := false, false
	for v := range s.t.Values(word, key) {
		over = over || s.life.expired(v.At)
		old = old || v.At != s.life.c.now
	}
	if renew = renew && old; !over && !renew {
		return
	}
	var keep []stamped[V]
	for v := range s.t.Values(word, key) {
		if s.life.expired(v.At) {
			continue
		}
		keep = append(keep, *v)
		if renew {
			keep[len(keep)-1].At = s.life.c.now
		}
	}
	s.t.Replace(word, key, keep)
}

func (s *ttlList[K, V]) All() iter.Seq[V] {
	s.active()
	return func(yield func(V) bool) {
		// What this walks stays as it is when the list is replaced below it.
		values := s.t.Values(s.k.Word, s.k.Key)
		if !s.life.expose {
			s.trim(s.k.Word, s.k.Key, s.life.renew)
			values = s.t.Values(s.k.Word, s.k.Key)
		}
		for v := range values {
			if !yield(v.Value) {
				break
			}
		}
		if s.life.expose && s.k.Active {
			s.trim(s.k.Word, s.k.Key, s.life.renew)
		}
	}
}

func (s *ttlList[K, V]) Len() int {
	s.active()
	if !s.life.expose {
		s.trim(s.k.Word, s.k.Key, false)
	}
	return s.t.LenOf(s.k.Word, s.k.Key)
}

func (s *ttlList[K, V]) entries() int { return s.t.Len() }

func (s *ttlList[K, V]) clean(g int) {
	s.dead = s.dead[:0]
	for e := range s.t.Group(g) {
		for v := range e.All() {
			if s.life.expired(v.At) {
				s.dead = append(s.dead, dead[K]{e.Word(), e.Key()})
				break
			}
		}
	}
	for _, d := range s.dead {
		s.trim(d.word, d.key, false)
	}
	clear(s.dead)
}

func (s *ttlList[K, V]) snapshot(name string) []Piece {
	return s.pieces(name, pieceStamped, s.inner.Schema(), func(dst []byte, v *stamped[V]) []byte {
		return s.inner.Append(appendStamp(dst, v.At), &v.Value)
	})
}

func (s *ttlList[K, V]) restore(p Piece) error {
	return restoreLists(s.k, p, s.inner, func(word uint64, key K, at int64, v *V) {
		s.t.Append(word, key, stamped[V]{at, *v})
	})
}
