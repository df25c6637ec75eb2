package operator

import (
	"fmt"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/state/table"
)

// ValueState is one value per key.
type ValueState[V any] interface {
	// Load returns the value of the key in effect and whether there is one.
	Load() (V, bool)
	Set(V)
	// Ref returns the value, made zero if there is none, to be changed in
	// place before the next use of any state of the operator.
	Ref() *V
	// Upsert is Ref that also tells whether the value was made.
	Upsert() (v *V, created bool)
	Clear()
}

// valueState is a ValueState in the hot tier.
type valueState[K comparable, V any] struct {
	k     *Keyed[K]
	t     *table.Table[K, V]
	name  string
	plain bool // V holds no pointers
	codec *codec.Codec[V]
}

// NewValue declares a value state. It panics if name is taken or V cannot be
// stored: user code is declaring its states.
func NewValue[K comparable, V any](k *Keyed[K], name string, opts ...StateOptions) ValueState[V] {
	c := codecOf[V](name)
	if o := option(opts); o.TTL > 0 {
		s := &ttlValue[K, V]{life: k.lifetime(o)}
		s.valueState = valueState[K, stamped[V]]{k: k, t: table.New[K, stamped[V]](k.groups, table.Options{}), name: name, plain: c.PointerFree()}
		s.inner = c
		k.add(name, s)
		k.ttl.states = append(k.ttl.states, s)
		return s
	}
	s := &valueState[K, V]{k: k, t: table.New[K, V](k.groups, table.Options{}), name: name, codec: c, plain: c.PointerFree()}
	k.add(name, s)
	return s
}

// option is the last of opts: there is at most one.
func option(opts []StateOptions) (o StateOptions) {
	if len(opts) > 0 {
		o = opts[len(opts)-1]
	}
	return o
}

func (s *valueState[K, V]) Load() (v V, ok bool) {
	if !s.k.Active {
		s.k.outside(s.name)
	}
	if p := s.t.Get(s.k.Word, s.k.Key); p != nil {
		return *p, true
	}
	return v, false
}

func (s *valueState[K, V]) Set(v V) {
	if !s.k.Active {
		s.k.outside(s.name)
	}
	if s.k.Borrowed && !s.plain {
		s.codec.Own(&v)
	}
	p, _ := s.t.Upsert(s.k.Word, s.k.Key)
	*p = v
}

func (s *valueState[K, V]) Ref() *V {
	p, _ := s.Upsert()
	return p
}

func (s *valueState[K, V]) Upsert() (*V, bool) {
	if !s.k.Active {
		s.k.outside(s.name)
	}
	if s.k.Borrowed && !s.plain {
		s.k.lent = append(s.k.lent, lent[K]{s.own, s.k.Word, s.k.Key})
	}
	return s.t.Upsert(s.k.Word, s.k.Key)
}

// own copies the strings of an entry that user code has written to.
func (s *valueState[K, V]) own(word uint64, key K) {
	if s.t.Get(word, key) != nil {
		p, _ := s.t.Upsert(word, key)
		s.codec.Own(p)
	}
}

func (s *valueState[K, V]) Clear() {
	if !s.k.Active {
		s.k.outside(s.name)
	}
	s.t.Delete(s.k.Word, s.k.Key)
}

func (s *valueState[K, V]) touch(words []uint64) { s.t.Touch(words) }

func (s *valueState[K, V]) visit(f func(word uint64, key K)) {
	for e := range s.t.Entries() {
		f(e.Word(), e.Key)
	}
}

func (s *valueState[K, V]) snapshot(name string) []Piece {
	snap := s.t.Snapshot()
	return s.k.pieces(name, frozen{
		schema:  schemas(s.k.keys.Schema(), s.codec.Schema()),
		has:     func(g int) bool { return snap.GroupLen(g) > 0 },
		release: snap.Release,
		append: func(dst []byte, g int) []byte {
			for e := range snap.GroupEntries(g) {
				dst = s.codec.Append(s.k.keys.Append(dst, &e.Key), &e.Value)
			}
			return dst
		},
	})
}

func (s *valueState[K, V]) restore(p Piece) error {
	return restoreValues(s.k, p, s.codec, func(word uint64, key K, _ int64, v *V) {
		at, _ := s.t.Upsert(word, key)
		*at = *v
	})
}

// restoreValues reads a piece of a value state, with or without times of
// access.
func restoreValues[K comparable, V any](k *Keyed[K], p Piece, c *codec.Codec[V], put func(word uint64, key K, at int64, v *V)) error {
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
		at, err := r.stamp()
		if err != nil {
			return err
		}
		var v V
		if r.src, err = d.decode(r.src, &v); err != nil {
			return fmt.Errorf("value of key %v: %w", key, err)
		}
		put(word, key, at, &v)
	}
	return nil
}

// ttlValue is a ValueState whose values expire.
type ttlValue[K comparable, V any] struct {
	valueState[K, stamped[V]] // its codec is not used
	inner                     *codec.Codec[V]
	life                      lifetime[K]
	dead                      []dead[K]
}

// dead is an entry to be removed.
type dead[K comparable] struct {
	word uint64
	key  K
}

func (s *ttlValue[K, V]) Load() (v V, ok bool) {
	k := s.k
	if !k.Active {
		k.outside(s.name)
	}
	p := s.t.Get(k.Word, k.Key)
	switch {
	case p == nil:
		return v, false
	case s.life.expired(p.At):
		if s.life.expose {
			v, ok = p.Value, true
		}
		s.t.Delete(k.Word, k.Key)
		return v, ok
	case s.life.renew && p.At != s.life.c.now:
		p, _ = s.t.Upsert(k.Word, k.Key)
		p.At = s.life.c.now
	}
	return p.Value, true
}

func (s *ttlValue[K, V]) Set(v V) {
	if s.k.Borrowed && !s.plain {
		s.inner.Own(&v)
	}
	p, _ := s.upsert()
	p.Value = v
}

func (s *ttlValue[K, V]) Ref() *V {
	p, _ := s.Upsert()
	return p
}

func (s *ttlValue[K, V]) Upsert() (*V, bool) {
	p, created := s.upsert()
	if s.k.Borrowed && !s.plain {
		s.k.lent = append(s.k.lent, lent[K]{s.own, s.k.Word, s.k.Key})
	}
	return &p.Value, created
}

func (s *ttlValue[K, V]) upsert() (*stamped[V], bool) {
	if !s.k.Active {
		s.k.outside(s.name)
	}
	p, created := s.t.Upsert(s.k.Word, s.k.Key)
	if !created && s.life.expired(p.At) {
		*p, created = stamped[V]{}, true
	}
	p.At = s.life.c.now
	return p, created
}

func (s *ttlValue[K, V]) own(word uint64, key K) {
	if s.t.Get(word, key) != nil {
		p, _ := s.t.Upsert(word, key)
		s.inner.Own(&p.Value)
	}
}

func (s *ttlValue[K, V]) entries() int { return s.t.Len() }

func (s *ttlValue[K, V]) clean(g int) {
	s.dead = s.dead[:0]
	for e := range s.t.GroupEntries(g) {
		if s.life.expired(e.Value.At) {
			s.dead = append(s.dead, dead[K]{e.Word(), e.Key})
		}
	}
	for _, d := range s.dead {
		s.t.Delete(d.word, d.key)
	}
	clear(s.dead)
}

func (s *ttlValue[K, V]) snapshot(name string) []Piece {
	snap := s.t.Snapshot()
	return s.k.pieces(name, frozen{
		flags:   pieceStamped,
		schema:  schemas(s.k.keys.Schema(), s.inner.Schema()),
		has:     func(g int) bool { return snap.GroupLen(g) > 0 },
		release: snap.Release,
		append: func(dst []byte, g int) []byte {
			for e := range snap.GroupEntries(g) {
				dst = appendStamp(s.k.keys.Append(dst, &e.Key), e.Value.At)
				dst = s.inner.Append(dst, &e.Value.Value)
			}
			return dst
		},
	})
}

func (s *ttlValue[K, V]) restore(p Piece) error {
	return restoreValues(s.k, p, s.inner, func(word uint64, key K, at int64, v *V) {
		e, _ := s.t.Upsert(word, key)
		*e = stamped[V]{at, *v}
	})
}

// Reducing is one value per key, into which others are folded.
type Reducing[V any] struct {
	s ValueState[V]
	f func(a, b V) V
}

// NewReducing declares a reducing state; see [NewValue].
func NewReducing[K comparable, V any](k *Keyed[K], name string, f func(a, b V) V, opts ...StateOptions) *Reducing[V] {
	return &Reducing[V]{NewValue[K, V](k, name, opts...), f}
}

// Load returns what was added, reduced, and whether anything was.
func (r *Reducing[V]) Load() (V, bool) { return r.s.Load() }

// Add folds v in.
func (r *Reducing[V]) Add(v V) {
	old, ok := r.s.Load()
	if ok {
		v = r.f(old, v)
	}
	r.s.Set(v)
}

// Clear forgets what was added.
func (r *Reducing[V]) Clear() { r.s.Clear() }

// Aggregating is an accumulator per key. A key that has none starts from the
// zero accumulator.
type Aggregating[In, Acc, Out any] struct {
	s      ValueState[Acc]
	add    func(Acc, In) Acc
	result func(Acc) Out
}

// NewAggregating declares an aggregating state; see [NewValue].
func NewAggregating[K comparable, In, Acc, Out any](k *Keyed[K], name string, add func(Acc, In) Acc, result func(Acc) Out, opts ...StateOptions) *Aggregating[In, Acc, Out] {
	return &Aggregating[In, Acc, Out]{NewValue[K, Acc](k, name, opts...), add, result}
}

// Load returns the result of what was added, and whether anything was.
func (a *Aggregating[In, Acc, Out]) Load() (out Out, ok bool) {
	acc, ok := a.s.Load()
	if ok {
		out = a.result(acc)
	}
	return out, ok
}

// Add folds v in.
func (a *Aggregating[In, Acc, Out]) Add(v In) {
	acc, _ := a.s.Load()
	a.s.Set(a.add(acc, v))
}

// Clear forgets what was added.
func (a *Aggregating[In, Acc, Out]) Clear() { a.s.Clear() }
