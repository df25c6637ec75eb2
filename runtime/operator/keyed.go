package operator

import (
	"fmt"
	"sync/atomic"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/timer"
	"github.com/millrace/millrace/runtime/watermark"
	"github.com/millrace/millrace/state/keygroup"
	"github.com/millrace/millrace/state/table"
)

// Keyed is the keyed state of one operator in one subtask: its named states,
// its timers, and the key in effect. Its operator is the only user.
type Keyed[K comparable] struct {
	// Key, with its hash Word, is the key in effect: that of the record or
	// timer being handled.
	Key  K
	Word uint64
	// Active reports that a key is in effect; state may not be used without.
	Active bool
	// Watermark is the operator's event time in milliseconds.
	Watermark int64

	env    *Env
	groups keygroup.Range
	states []named
	event  *timer.Service[K] // nil until a timer is used
	proc   *timer.Service[K]
	keys   *codec.Codec[K]
	hasher *keygroup.Hasher[K]
}

// named is a state with its name.
type named struct {
	name string
	part
}

// part is what a state does whatever its type.
type part interface {
	// touch brings the entries of words into the cache.
	touch(words []uint64)
	// snapshot freezes the state and returns its pieces.
	snapshot(name string) ([]Piece, error)
	restore(p Piece) error
}

// NewKeyed returns the keyed state of a subtask, without any states.
func NewKeyed[K comparable](env *Env) (*Keyed[K], error) {
	c, err := codec.Of[K]()
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	h, err := keygroup.NewHasher[K](env.MaxParallelism, keygroup.Options{})
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return &Keyed[K]{env: env, keys: c, hasher: h, Watermark: watermark.None,
		groups: keygroup.RangeOf(env.Index, env.Parallelism, env.MaxParallelism)}, nil
}

// Groups is the range of key groups of the subtask.
func (k *Keyed[K]) Groups() keygroup.Range { return k.groups }

// add declares a state; a name taken is a mistake of the program.
func (k *Keyed[K]) add(name string, p part) {
	for _, s := range k.states {
		if s.name == name {
			panic(fmt.Sprintf("state %q is declared twice", name))
		}
	}
	k.states = append(k.states, named{name, p})
}

// touchLimit is how many states are looked up ahead for a batch: those declared
// first are taken to be used for every record.
const touchLimit = 2

// Touch overlaps the cache misses that a batch with these words will have.
func (k *Keyed[K]) Touch(words []uint64) {
	for i := range min(touchLimit, len(k.states)) {
		k.states[i].touch(words)
	}
}

// EventTimers returns the event-time timers.
func (k *Keyed[K]) EventTimers() *timer.Service[K] {
	if k.event == nil {
		k.event = timer.New[K](k.groups)
	}
	return k.event
}

// ProcTimers returns the processing-time timers.
func (k *Keyed[K]) ProcTimers() *timer.Service[K] {
	if k.proc == nil {
		k.proc = timer.New[K](k.groups)
	}
	return k.proc
}

// check panics when no key is in effect.
func (k *Keyed[K]) check(what string) {
	if !k.Active {
		panic(what + ": keyed state is only there while a record or timer is handled")
	}
}

// ValueState is one value per key.
type ValueState[V any] interface {
	// Load returns the value of the key in effect and whether there is one.
	Load() (V, bool)
	Set(V)
	// Ref returns the value, made zero if there is none, to be changed in
	// place before the next use of any state of the operator.
	Ref() *V
	Clear()
}

// valueState is a ValueState in the hot tier.
type valueState[K comparable, V any] struct {
	k     *Keyed[K]
	t     *table.Table[K, V]
	codec *codec.Codec[V]
}

// NewValue declares a value state. It panics if name is taken or V cannot be
// stored: user code is declaring its states.
func NewValue[K comparable, V any](k *Keyed[K], name string) ValueState[V] {
	c, err := codec.Of[V]()
	if err != nil {
		panic(fmt.Errorf("state %q: %w", name, err))
	}
	s := &valueState[K, V]{k: k, t: table.New[K, V](k.groups, table.Options{}), codec: c}
	k.add(name, s)
	return s
}

func (s *valueState[K, V]) Load() (v V, ok bool) {
	s.k.check("Value")
	if p := s.t.Get(s.k.Word, s.k.Key); p != nil {
		return *p, true
	}
	return v, false
}

func (s *valueState[K, V]) Set(v V) {
	s.k.check("Value")
	p, _ := s.t.Upsert(s.k.Word, s.k.Key)
	*p = v
}

func (s *valueState[K, V]) Ref() *V {
	s.k.check("Value")
	p, _ := s.t.Upsert(s.k.Word, s.k.Key)
	return p
}

func (s *valueState[K, V]) Clear() {
	s.k.check("Value")
	s.t.Delete(s.k.Word, s.k.Key)
}

func (s *valueState[K, V]) touch(words []uint64) { s.t.Touch(words) }

func (s *valueState[K, V]) snapshot(name string) ([]Piece, error) {
	snap := s.t.Snapshot()
	left := 0
	var ps []Piece
	for g := s.k.groups.Start; g <= s.k.groups.End; g++ {
		if snap.GroupLen(g) == 0 {
			continue
		}
		left++
	}
	if left == 0 {
		snap.Release()
		return nil, nil
	}
	pending := pendingCount(left)
	for g := s.k.groups.Start; g <= s.k.groups.End; g++ {
		if snap.GroupLen(g) == 0 {
			continue
		}
		ps = append(ps, Piece{State: name, Group: g, Encode: func(dst []byte) ([]byte, error) {
			for k, v := range snap.Group(g) {
				dst = s.k.keys.Append(dst, &k)
				dst = s.codec.Append(dst, v)
			}
			if pending.done() {
				snap.Release()
			}
			return dst, nil
		}})
	}
	return ps, nil
}

func (s *valueState[K, V]) restore(p Piece) error {
	for src := p.Data; len(src) > 0; {
		var k K
		var v V
		var err error
		if src, err = s.k.keys.DecodeOwned(src, &k); err != nil {
			return fmt.Errorf("key: %w", err)
		}
		if src, err = s.codec.DecodeOwned(src, &v); err != nil {
			return fmt.Errorf("value of key %v: %w", k, err)
		}
		at, _ := s.t.Upsert(s.k.hasher.One(&k), k)
		*at = v
	}
	return nil
}

// pending counts the encodings that still need a snapshot.
type pending struct{ n atomic.Int64 }

func pendingCount(n int) *pending {
	p := &pending{}
	p.n.Store(int64(n))
	return p
}

// done counts one and reports whether it was the last.
func (p *pending) done() bool { return p.n.Add(-1) == 0 }

// Snapshot freezes all states and timers and returns their pieces.
func (k *Keyed[K]) Snapshot() ([]Piece, error) {
	var all []Piece
	for _, s := range k.states {
		ps, err := s.snapshot(s.name)
		if err != nil {
			return nil, fmt.Errorf("state %s: %w", s.name, err)
		}
		all = append(all, ps...)
	}
	return all, nil
}

// Restore adds pieces to the states of their names.
func (k *Keyed[K]) Restore(pieces []Piece) error {
next:
	for _, p := range pieces {
		for _, s := range k.states {
			if s.name == p.State {
				if err := s.restore(p); err != nil {
					return fmt.Errorf("state %s: key group %d: %w", p.State, p.Group, err)
				}
				continue next
			}
		}
		return fmt.Errorf("state %s is in the snapshot but not declared", p.State)
	}
	return nil
}
