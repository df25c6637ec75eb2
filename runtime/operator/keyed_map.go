package operator

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/state/table"
)

// MapState is one map per key. A map without entries is not there.
type MapState[MK comparable, V any] interface {
	Load(MK) (V, bool)
	Set(MK, V)
	// Ref returns the value of mk, made zero if there is none, to be changed
	// in place before the next use of any state of the operator.
	Ref(MK) *V
	Delete(MK)
	// All iterates over the map of the key in effect as it was when the loop
	// began, in an order that depends on the map's history alone; the loop
	// may change it.
	All() iter.Seq2[MK, V]
	Len() int
	Clear()
}

// pair is an entry of a map.
type pair[MK, V any] struct {
	key   MK
	value V
}

// mapState is a MapState in the hot tier.
type mapState[K, MK comparable, V any] struct {
	k     *Keyed[K]
	t     *table.MapTable[K, MK, V]
	name  string
	plain bool
	keys  *codec.Codec[MK]
	codec *codec.Codec[V]
	spare []pair[MK, V] // of iterations
}

// NewMap declares a map state; see [NewValue].
func NewMap[K, MK comparable, V any](k *Keyed[K], name string, opts ...StateOptions) MapState[MK, V] {
	keys, c := codecOf[MK](name), codecOf[V](name)
	if o := option(opts); o.TTL > 0 {
		s := &ttlMap[K, MK, V]{inner: c, life: k.lifetime(o)}
		s.mapState = mapState[K, MK, stamped[V]]{k: k, t: mapTable[K, MK, stamped[V]](k, name), name: name, keys: keys, plain: c.PointerFree() && keys.PointerFree()}
		k.add(name, s)
		k.ttl.states = append(k.ttl.states, s)
		return s
	}
	s := &mapState[K, MK, V]{k: k, t: mapTable[K, MK, V](k, name), name: name, keys: keys, codec: c, plain: c.PointerFree()}
	k.add(name, s)
	return s
}

func mapTable[K, MK comparable, V any](k *Keyed[K], name string) *table.MapTable[K, MK, V] {
	t, err := table.NewMap[K, MK, V](k.groups, table.Options{})
	if err != nil {
		panic(fmt.Errorf("state %q: %w", name, err))
	}
	return t
}

func (s *mapState[K, MK, V]) active() {
	if !s.k.Active {
		s.k.outside(s.name)
	}
}

func (s *mapState[K, MK, V]) Load(mk MK) (v V, ok bool) {
	s.active()
	if p := s.t.Get(s.k.Word, s.k.Key, mk); p != nil {
		return *p, true
	}
	return v, false
}

func (s *mapState[K, MK, V]) Set(mk MK, v V) {
	s.active()
	if s.k.Borrowed && !s.plain {
		s.codec.Own(&v)
	}
	p, _ := s.t.Upsert(s.k.Word, s.k.Key, mk)
	*p = v
}

func (s *mapState[K, MK, V]) Ref(mk MK) *V {
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

func (s *mapState[K, MK, V]) Delete(mk MK) {
	s.active()
	s.t.Delete(s.k.Word, s.k.Key, mk)
}

func (s *mapState[K, MK, V]) All() iter.Seq2[MK, V] {
	s.active()
	return func(yield func(MK, V) bool) {
		// The entries are copied before the first is handed out, so that the
		// loop may change the map, as it may a Go map.
		all := s.spare[:0]
		s.spare = nil
		for mk, v := range s.t.Entries(s.k.Word, s.k.Key) {
			all = append(all, pair[MK, V]{mk, *v})
		}
		defer func() {
			clear(all)
			s.spare = all[:0]
		}()
		for i := range all {
			if !yield(all[i].key, all[i].value) {
				return
			}
		}
	}
}

func (s *mapState[K, MK, V]) Len() int {
	s.active()
	return s.t.LenOf(s.k.Word, s.k.Key)
}

func (s *mapState[K, MK, V]) Clear() {
	s.active()
	s.t.DeleteAll(s.k.Word, s.k.Key)
}

func (s *mapState[K, MK, V]) touch(words []uint64) { s.t.Touch(words) }

func (s *mapState[K, MK, V]) visit(f func(word uint64, key K)) {
	for e := range s.t.All() {
		f(e.Word(), e.Key())
	}
}

func (s *mapState[K, MK, V]) snapshot(name string) []Piece {
	return s.pieces(name, 0, s.codec.Schema(), s.codec.Append)
}

// pieces is snapshot with the encoding of a value given.
func (s *mapState[K, MK, V]) pieces(name string, flags byte, schema codec.Schema, value func(dst []byte, v *V) []byte) []Piece {
	snap := s.t.Snapshot()
	return s.k.pieces(name, frozen{
		flags:   flags,
		schema:  schemas(s.k.keys.Schema(), s.keys.Schema(), schema),
		has:     func(g int) bool { return snap.GroupKeys(g) > 0 },
		release: snap.Release,
		append: func(dst []byte, g int) []byte {
			for e := range snap.Group(g) {
				key := e.Key()
				dst = binary.AppendUvarint(s.k.keys.Append(dst, &key), uint64(e.Len()))
				for mk, v := range e.All() {
					dst = value(s.keys.Append(dst, &mk), v)
				}
			}
			return dst
		},
	})
}

func (s *mapState[K, MK, V]) restore(p Piece) error {
	return restoreMaps(s.k, p, s.keys, s.codec, func(word uint64, key K, mk MK, _ int64, v *V) {
		e, _ := s.t.Upsert(word, key, mk)
		*e = *v
	})
}

// restoreMaps reads a piece of a map state, with or without times of access.
func restoreMaps[K comparable, MK, V any](k *Keyed[K], p Piece, keys *codec.Codec[MK], c *codec.Codec[V], put func(word uint64, key K, mk MK, at int64, v *V)) error {
	r, written, err := k.open(p, 2)
	if err != nil {
		return err
	}
	dk, err := under(keys, written[0])
	if err != nil {
		return err
	}
	d, err := under(c, written[1])
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
			return fmt.Errorf("map of key %v: length: %w", key, codec.ErrCorrupt)
		}
		r.src = r.src[w:]
		for i := range n {
			var mk MK
			if r.src, err = dk.decode(r.src, &mk); err != nil {
				return fmt.Errorf("map of key %v: key %d: %w", key, i, err)
			}
			at, err := r.stamp()
			if err != nil {
				return err
			}
			var v V
			if r.src, err = d.decode(r.src, &v); err != nil {
				return fmt.Errorf("map of key %v: value of %v: %w", key, mk, err)
			}
			put(word, key, mk, at, &v)
		}
	}
	return nil
}

// ttlMap is a MapState each of whose entries expires.
type ttlMap[K, MK comparable, V any] struct {
	mapState[K, MK, stamped[V]] // its codec is not used
	inner                       *codec.Codec[V]
	life                        lifetime[K]
	dead                        []deadEntry[K, MK]
	spare2                      []pair[MK, V]
}

type deadEntry[K, MK comparable] struct {
	dead[K]
	mk MK
}

func (s *ttlMap[K, MK, V]) Load(mk MK) (v V, ok bool) {
	s.active()
	p := s.t.Get(s.k.Word, s.k.Key, mk)
	switch {
	case p == nil:
		return v, false
	case s.life.expired(p.At):
		if s.life.expose {
			v, ok = p.Value, true
		}
		s.t.Delete(s.k.Word, s.k.Key, mk)
		return v, ok
	case s.life.renew && p.At != s.life.c.now:
		p, _ = s.t.Upsert(s.k.Word, s.k.Key, mk)
		p.At = s.life.c.now
	}
	return p.Value, true
}

func (s *ttlMap[K, MK, V]) upsert(mk MK) *stamped[V] {
	s.active()
	p, created := s.t.Upsert(s.k.Word, s.k.Key, mk)
	if !created && s.life.expired(p.At) {
		*p = stamped[V]{}
	}
	p.At = s.life.c.now
	return p
}

func (s *ttlMap[K, MK, V]) Set(mk MK, v V) {
	if s.k.Borrowed && !s.plain {
		s.inner.Own(&v)
	}
	s.upsert(mk).Value = v
}

func (s *ttlMap[K, MK, V]) Ref(mk MK) *V {
	if s.k.Borrowed && !s.plain {
		s.keys.Own(&mk)
		s.k.lent = append(s.k.lent, lent[K]{func(word uint64, key K) {
			if s.t.Get(word, key, mk) != nil {
				p, _ := s.t.Upsert(word, key, mk)
				s.inner.Own(&p.Value)
			}
		}, s.k.Word, s.k.Key})
	}
	return &s.upsert(mk).Value
}

func (s *ttlMap[K, MK, V]) All() iter.Seq2[MK, V] {
	s.active()
	return func(yield func(MK, V) bool) {
		word, key := s.k.Word, s.k.Key
		all := s.spare2[:0]
		s.spare2 = nil
		var over, renew []MK
		for mk, v := range s.t.Entries(word, key) {
			expired := s.life.expired(v.At)
			if expired {
				over = append(over, mk)
			} else if s.life.renew && v.At != s.life.c.now {
				renew = append(renew, mk)
			}
			if !expired || s.life.expose {
				all = append(all, pair[MK, V]{mk, v.Value})
			}
		}
		for _, mk := range over {
			s.t.Delete(word, key, mk)
		}
		for _, mk := range renew {
			p, _ := s.t.Upsert(word, key, mk)
			p.At = s.life.c.now
		}
		defer func() {
			clear(all)
			s.spare2 = all[:0]
		}()
		for i := range all {
			if !yield(all[i].key, all[i].value) {
				return
			}
		}
	}
}

func (s *ttlMap[K, MK, V]) Len() (n int) {
	s.active()
	for _, v := range s.t.Entries(s.k.Word, s.k.Key) {
		if s.life.expose || !s.life.expired(v.At) {
			n++
		}
	}
	return n
}

func (s *ttlMap[K, MK, V]) entries() int { return s.t.Len() }

func (s *ttlMap[K, MK, V]) clean(g int) {
	s.dead = s.dead[:0]
	for e := range s.t.Group(g) {
		for mk, v := range e.All() {
			if s.life.expired(v.At) {
				s.dead = append(s.dead, deadEntry[K, MK]{dead[K]{e.Word(), e.Key()}, mk})
			}
		}
	}
	for _, d := range s.dead {
		s.t.Delete(d.word, d.key, d.mk)
	}
	clear(s.dead)
}

func (s *ttlMap[K, MK, V]) snapshot(name string) []Piece {
	return s.pieces(name, pieceStamped, s.inner.Schema(), func(dst []byte, v *stamped[V]) []byte {
		return s.inner.Append(appendStamp(dst, v.At), &v.Value)
	})
}

func (s *ttlMap[K, MK, V]) restore(p Piece) error {
	return restoreMaps(s.k, p, s.keys, s.inner, func(word uint64, key K, mk MK, at int64, v *V) {
		e, _ := s.t.Upsert(word, key, mk)
		*e = stamped[V]{at, *v}
	})
}
