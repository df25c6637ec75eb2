package operator

import (
	"fmt"
	"slices"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/state/keygroup"
	"github.com/millrace/millrace/state/table"
)

// ownStates are the states of an operator that belong to no key.
type ownStates struct{ all []ownState }

type ownState struct {
	name string
	ownPart
}

type ownPart interface {
	snapshot(name string, index int) []Piece
	restore(p Piece) error
}

func (s *ownStates) add(name string, p ownPart) {
	if name == "" || name[:1] == reserved {
		panic(fmt.Errorf("state %q: the name must not be empty or begin with %q", name, reserved))
	}
	if s.find(name) != nil {
		panic(fmt.Errorf("state %q is declared twice", name))
	}
	s.all = append(s.all, ownState{name, p})
}

func (s *ownStates) find(name string) ownPart {
	i := slices.IndexFunc(s.all, func(o ownState) bool { return o.name == name })
	if i < 0 {
		return nil
	}
	return s.all[i].ownPart
}

func (s *ownStates) snapshot(index int) (ps []Piece) {
	for _, o := range s.all {
		ps = append(ps, o.snapshot(o.name, index)...)
	}
	return ps
}

func (s *ownStates) restore(p Piece) error {
	o := s.find(p.State)
	if o == nil {
		return ErrUndeclared
	}
	return o.restore(p)
}

// OperatorList is a list that belongs to a subtask, not to a key. Each value is
// a piece of its own in snapshots. When a snapshot is restored the values of
// all subtasks are shared out among them or, for a union list, every subtask
// gets all of them.
type OperatorList[V any] struct {
	values []V // a snapshot shares the values below its length
	codec  *codec.Codec[V]
	group  int
}

// NewOperatorList declares an operator list; Setup calls it. It panics if the
// name is taken or V cannot be stored.
func NewOperatorList[V, Out any](f *Func[Out], name string, union bool) *OperatorList[V] {
	f.Declaring("ListState")
	l := &OperatorList[V]{codec: codecOf[V](name), group: OperatorGroup}
	if union {
		l.group = UnionGroup
	}
	f.own.add(name, l)
	return l
}

// Values returns the list; it must not be changed.
func (l *OperatorList[V]) Values() []V { return l.values }

// Add appends values.
func (l *OperatorList[V]) Add(vs ...V) {
	for i := range vs {
		v := vs[i]
		l.codec.Own(&v)
		l.values = append(l.values, v)
	}
}

// Replace makes the list these values.
func (l *OperatorList[V]) Replace(vs []V) {
	l.values = nil // a snapshot may share what it was
	l.Add(vs...)
}

func (l *OperatorList[V]) snapshot(name string, _ int) []Piece {
	schema := schemas(l.codec.Schema())
	ps := make([]Piece, len(l.values))
	for i := range l.values {
		v := &l.values[i]
		ps[i] = Piece{State: name, Group: l.group, Schema: schema, Encode: func(dst []byte) (_ []byte, err error) {
			defer encodeError(&err)
			return l.codec.Append(dst, v), nil
		}}
	}
	return ps
}

func (l *OperatorList[V]) restore(p Piece) error {
	written, err := splitSchemas(p.Schema, 1)
	if err != nil {
		return err
	}
	d, err := under(l.codec, written[0])
	if err != nil {
		return err
	}
	for src := p.Data; len(src) > 0; {
		var v V
		if src, err = d.decode(src, &v); err != nil {
			return err
		}
		l.values = append(l.values, v)
	}
	return nil
}

// A BroadcastTable is a map that every subtask holds a full copy of. Only what
// reaches all subtasks alike may change it. Subtask 0 writes it to snapshots;
// all of them read it back.
type BroadcastTable[K comparable, V any] struct {
	t      *table.Table[K, V]
	hasher *keygroup.Hasher[K]
	keys   *codec.Codec[K]
	codec  *codec.Codec[V]
	name   string
	// writable is true while what reaches all subtasks alike is handled.
	writable bool
}

// NewBroadcastTable declares a broadcast table; Setup or the operator calls it.
// It panics if the name is taken or a type cannot be stored.
func NewBroadcastTable[K comparable, V, Out any](f *Func[Out], name string) *BroadcastTable[K, V] {
	h, err := keygroup.NewHasher[K](1, keygroup.Options{})
	if err != nil {
		panic(fmt.Errorf("state %q: %w", name, err))
	}
	b := &BroadcastTable[K, V]{t: table.New[K, V](keygroup.Whole(1), table.Options{}), hasher: h, keys: codecOf[K](name), codec: codecOf[V](name), name: name}
	f.own.add(name, b)
	return b
}

// Load returns the value of k and whether there is one.
func (b *BroadcastTable[K, V]) Load(k K) (v V, ok bool) {
	if p := b.t.Get(b.hasher.One(&k), k); p != nil {
		return *p, true
	}
	return v, false
}

// Ref returns the value of k, to be read only and until the table changes, or
// nil.
func (b *BroadcastTable[K, V]) Ref(k K) *V { return b.t.Get(b.hasher.One(&k), k) }

// Len is the number of keys.
func (b *BroadcastTable[K, V]) Len() int { return b.t.Len() }

// All calls yield for every entry, in an order that depends on the table's
// history alone. yield must not change the table.
func (b *BroadcastTable[K, V]) All(yield func(K, V) bool) {
	for k, v := range b.t.All() {
		if !yield(k, *v) {
			return
		}
	}
}

// Set puts v in under k. It panics while the table is read-only.
func (b *BroadcastTable[K, V]) Set(k K, v V) {
	b.check()
	if b.hasher.MayBeNaN() && b.hasher.HasNaN(&k) {
		panic(fmt.Errorf("state %q: key %v holds NaN, which equals nothing, not even itself", b.name, k))
	}
	b.codec.Own(&v)
	p, _ := b.t.Upsert(b.hasher.One(&k), k)
	*p = v
}

// Delete takes k out. It panics while the table is read-only.
func (b *BroadcastTable[K, V]) Delete(k K) {
	b.check()
	b.t.Delete(b.hasher.One(&k), k)
}

// Clear takes everything out. It panics while the table is read-only.
func (b *BroadcastTable[K, V]) Clear() {
	b.check()
	b.t.Clear()
}

func (b *BroadcastTable[K, V]) check() {
	if !b.writable {
		panic(fmt.Errorf("state %q: broadcast state can only be changed while a broadcast record is handled: other records reach one subtask only, and the copies would differ", b.name))
	}
}

func (b *BroadcastTable[K, V]) write(on bool) { b.writable = on }

func (b *BroadcastTable[K, V]) snapshot(name string, index int) []Piece {
	if index != 0 || b.t.Len() == 0 {
		return nil
	}
	snap := b.t.Snapshot()
	return []Piece{{State: name, Group: BroadcastGroup, Schema: schemas(b.keys.Schema(), b.codec.Schema()),
		Encode: func(dst []byte) (_ []byte, err error) {
			defer encodeError(&err)
			defer snap.Release()
			for k, v := range snap.All() {
				dst = b.codec.Append(b.keys.Append(dst, &k), v)
			}
			return dst, nil
		}}}
}

func (b *BroadcastTable[K, V]) restore(p Piece) error {
	written, err := splitSchemas(p.Schema, 2)
	if err != nil {
		return err
	}
	dk, err := under(b.keys, written[0])
	if err != nil {
		return err
	}
	d, err := under(b.codec, written[1])
	if err != nil {
		return err
	}
	for src := p.Data; len(src) > 0; {
		var k K
		var v V
		if src, err = dk.decode(src, &k); err != nil {
			return fmt.Errorf("key: %w", err)
		}
		if src, err = d.decode(src, &v); err != nil {
			return fmt.Errorf("value of key %v: %w", k, err)
		}
		at, _ := b.t.Upsert(b.hasher.One(&k), k)
		*at = v
	}
	return nil
}
