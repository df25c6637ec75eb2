package operator

import (
	"errors"
	"fmt"
	"strings"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/timer"
	"github.com/millrace/millrace/runtime/watermark"
	"github.com/millrace/millrace/state/keygroup"
)

// Keyed is the keyed state of one operator in one subtask: its named states,
// its timers, and the key in effect. Its operator is the only user.
//
// The operator puts a key in effect by setting Key and Word, between Begin and
// End; the states declared with NewValue, NewList, NewMap and the others then
// work on that key's entries. Declaring is over with the first Begin or
// Restore.
type Keyed[K comparable] struct {
	// Key, with its hash Word, is the key in effect: that of the record or
	// timer being handled.
	Key  K
	Word uint64
	// Active reports that a key is in effect; state may not be used without.
	Active bool
	// Borrowed says that the rows being handled hold strings that are views
	// into a buffer which will be used again: what is put into state is then
	// copied first.
	Borrowed bool
	// Watermark is the operator's event time in milliseconds.
	Watermark int64

	env    *Env
	groups keygroup.Range
	states []named[K]
	byName map[string]part[K]
	sealed bool // declaring is over
	event  *timer.Service[K]
	proc   *timer.Service[K]
	keys   *codec.Codec[K]
	hasher *keygroup.Hasher[K]

	lent []lent[K] // handed out by Ref while Borrowed, to be owned after the handler
	ttl  cleaner[K]
}

// named is a state with its name.
type named[K comparable] struct {
	name string
	part[K]
}

// part is what a state does whatever its type.
type part[K comparable] interface {
	// touch brings the entries of words into the cache.
	touch(words []uint64)
	// snapshot freezes the state and returns its pieces.
	snapshot(name string) []Piece
	// restore adds what a piece holds.
	restore(p Piece) error
	// visit calls f for every key that has an entry, in an order that the
	// state's history alone decides. The state is not changed meanwhile.
	visit(f func(word uint64, key K))
}

// lent is an entry that user code may have put borrowed strings into.
type lent[K comparable] struct {
	own  func(word uint64, key K)
	word uint64
	key  K
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
	return &Keyed[K]{env: env, keys: c, hasher: h, Watermark: watermark.None, byName: map[string]part[K]{},
		groups: keygroup.RangeOf(env.Index, env.Parallelism, env.MaxParallelism)}, nil
}

// Groups is the range of key groups of the subtask.
func (k *Keyed[K]) Groups() keygroup.Range { return k.groups }

// Hash returns the hash word of a key, as the keyed exchange gives it.
func (k *Keyed[K]) Hash(key K) uint64 { return k.hasher.One(&key) }

// add declares a state; a name that is taken or malformed, and a declaration
// that comes too late, are mistakes of the program.
func (k *Keyed[K]) add(name string, p part[K]) {
	switch {
	case k.sealed:
		panic(fmt.Errorf("state %q: states are declared by the setup function, not by handlers", name))
	case name == "" || strings.HasPrefix(name, reserved):
		panic(fmt.Errorf("state %q: the name must not be empty or begin with %q", name, reserved))
	}
	if _, ok := k.byName[name]; ok {
		panic(fmt.Errorf("state %q is declared twice", name))
	}
	k.byName[name] = p
	k.states = append(k.states, named[K]{name, p})
}

// reserved begins the names of states that the engine declares.
const reserved = "_"

// touchLimit is how many states are looked up ahead for a batch: those declared
// first are taken to be used for every record.
const touchLimit = 2

// Touch overlaps the cache misses that a batch with these words will have.
func (k *Keyed[K]) Touch(words []uint64) {
	for i := range min(touchLimit, len(k.states)) {
		k.states[i].touch(words)
	}
}

// Begin starts the handling of a batch whose rows have these hash words, or of
// timers if there are none.
func (k *Keyed[K]) Begin(words []uint64) {
	k.sealed = true
	if len(words) > 0 {
		k.Touch(words)
	}
	if k.ttl.states != nil {
		k.ttl.now = k.env.NowMillis()
	}
	k.Active = true
}

// End ends the handling of n rows or timers: no key is in effect any more. It
// cleans up a bounded number of expired entries.
func (k *Keyed[K]) End(n int) {
	k.Active = false
	if k.ttl.states != nil {
		k.ttl.sweep(n, k.groups)
	}
}

// Settle is called after each handler if Borrowed: it copies the strings that
// the handler put into state by reference.
func (k *Keyed[K]) Settle() {
	for i := range k.lent {
		l := &k.lent[i]
		l.own(l.word, l.key)
	}
	clear(k.lent)
	k.lent = k.lent[:0]
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

// outside panics for state name used when no key is in effect. It is a
// function of its own so that the test for it is all that gets inlined.
func (k *Keyed[K]) outside(name string) {
	panic(fmt.Errorf("state %q is used while no key is in effect: keyed state is there in handlers of records and timers only", name))
}

// Check panics with what, a state or a timer, when no key is in effect.
func (k *Keyed[K]) Check(what string) {
	if !k.Active {
		panic(fmt.Errorf("%s is used while no key is in effect: it can be used in handlers of records and timers only", what))
	}
}

// ForEachKey puts every key of this subtask that has an entry in the state of
// this name in effect, one after the other, and calls f. f may change any
// state. It takes memory in proportion to the number of keys.
func (k *Keyed[K]) ForEachKey(name string, f func() error) error {
	p, ok := k.byName[name]
	if !ok {
		return fmt.Errorf("state %q is not declared", name)
	}
	type at struct {
		word uint64
		key  K
	}
	var all []at
	p.visit(func(word uint64, key K) { all = append(all, at{word, key}) })
	active, word, key := k.Active, k.Word, k.Key
	defer func() { k.Active, k.Word, k.Key = active, word, key }()
	k.Active = true
	for _, a := range all {
		k.Word, k.Key = a.word, a.key
		if err := f(); err != nil {
			return fmt.Errorf("key %v: %w", a.key, err)
		}
		if k.Borrowed {
			k.Settle()
		}
	}
	return nil
}

// Snapshot freezes all states and timers and returns their pieces. It takes
// time in proportion to the number of key groups.
func (k *Keyed[K]) Snapshot() ([]Piece, error) {
	var all []Piece
	for _, s := range k.states {
		all = append(all, s.snapshot(s.name)...)
	}
	all = append(all, k.snapshotTimers(eventTimers, k.event)...)
	all = append(all, k.snapshotTimers(procTimers, k.proc)...)
	return all, nil
}

// ErrUndeclared marks a piece of a snapshot whose state the operator does not
// declare. Whoever restores may allow that and leave the piece out.
var ErrUndeclared = errors.New("state is in the snapshot but not declared")

// Restore adds pieces to the states of their names.
func (k *Keyed[K]) Restore(pieces []Piece) error {
	k.sealed = true
	k.ttl.now = k.env.NowMillis()
	for _, p := range pieces {
		if err := k.restore(p); err != nil {
			return fmt.Errorf("state %s: key group %d: %w", p.State, p.Group, err)
		}
	}
	return nil
}

func (k *Keyed[K]) restore(p Piece) error {
	if !k.groups.Contains(p.Group) {
		return fmt.Errorf("it belongs to another subtask: this one has %v", k.groups)
	}
	switch p.State {
	case eventTimers:
		return k.restoreTimers(p, k.EventTimers())
	case procTimers:
		return k.restoreTimers(p, k.ProcTimers())
	}
	s, ok := k.byName[p.State]
	if !ok {
		return ErrUndeclared
	}
	return s.restore(p)
}
