package millrace

import (
	"cmp"
	"iter"
	"time"

	"github.com/millrace/millrace/runtime/operator"
)

// StateOption adjusts one state of an operator; see [TTL].
type StateOption struct{ o operator.StateOptions }

// TTL lets an entry of a state expire d after it was last written, in
// processing time. Lists and maps count for each of their values. Expired
// entries are not returned; they are removed when they are met, and a few with
// every batch of records. Switching TTL on or off keeps what is in checkpoints:
// entries without a time of last access get the time of the restore.
func TTL(d time.Duration) StateOption { return StateOption{operator.StateOptions{TTL: d}} }

// OnReadAndWrite makes reading an entry renew it as writing does.
func (s StateOption) OnReadAndWrite() StateOption {
	s.o.RenewOnRead = true
	return s
}

// ReturnExpiredIfNotCleanedUp lets reads return an expired entry that is still
// there, one last time.
func (s StateOption) ReturnExpiredIfNotCleanedUp() StateOption {
	s.o.ReturnExpired = true
	return s
}

// stateOptions puts options together; what is set in any of them is set.
func stateOptions(opts []StateOption) (all operator.StateOptions) {
	for _, s := range opts {
		if s.o.TTL != 0 {
			all.TTL = s.o.TTL
		}
		all.RenewOnRead = all.RenewOnRead || s.o.RenewOnRead
		all.ReturnExpired = all.ReturnExpired || s.o.ReturnExpired
	}
	return all
}

// Value declares a single value per key, kept in checkpoints under name. The
// setup function calls it, as it does all methods that declare state.
func (o *KeyedContext[K, Out]) Value[V any](name string, opts ...StateOption) *Value[V] {
	return &Value[V]{operator.NewValue[K, V](o.k.Keyed, name, stateOptions(opts)), name}
}

// List declares a list per key.
func (o *KeyedContext[K, Out]) List[V any](name string, opts ...StateOption) *List[V] {
	return &List[V]{operator.NewList[K, V](o.k.Keyed, name, stateOptions(opts)), name}
}

// Map declares a map per key.
func (o *KeyedContext[K, Out]) Map[MK comparable, V any](name string, opts ...StateOption) *Map[MK, V] {
	return &Map[MK, V]{operator.NewMap[K, MK, V](o.k.Keyed, name, stateOptions(opts)), name}
}

// OrderedMap declares a map per key whose entries are in the order of their
// keys.
func (o *KeyedContext[K, Out]) OrderedMap[MK cmp.Ordered, V any](name string) *OrderedMap[MK, V] {
	return &OrderedMap[MK, V]{operator.NewOrderedMap[K, MK, V](o.k.Keyed, name), name}
}

// Reducing declares a value per key into which others are folded by f.
func (o *KeyedContext[K, Out]) Reducing[V any](name string, f func(a, b V) V, opts ...StateOption) *Reducing[V] {
	return &Reducing[V]{operator.NewReducing[K](o.k.Keyed, name, f, stateOptions(opts)), name}
}

// Aggregating declares an accumulator per key: add folds a value into it, and
// result makes what is read. A key starts from the zero Acc.
func (o *KeyedContext[K, Out]) Aggregating[In, Acc, Res any](name string, add func(Acc, In) Acc, result func(Acc) Res, opts ...StateOption) *Aggregating[In, Acc, Res] {
	return &Aggregating[In, Acc, Res]{operator.NewAggregating[K](o.k.Keyed, name, add, result, stateOptions(opts)), name}
}

// A KeyedState is a handle of keyed state, of whatever kind.
type KeyedState interface{ stateName() string }

// Value is one value for each key.
type Value[V any] struct {
	s    operator.ValueState[V]
	name string
}

func (v *Value[V]) stateName() string { return v.name }

// Get returns the value, or the zero V if none is set.
func (v *Value[V]) Get() V {
	x, _ := v.s.Load()
	return x
}

// Load returns the value and whether one is set.
func (v *Value[V]) Load() (V, bool) { return v.s.Load() }

// Set replaces the value. What it points to must not be changed afterwards.
func (v *Value[V]) Set(x V) { v.s.Set(x) }

// Ref returns the value to be changed in place; it is zero, and set from then
// on, if there was none. The pointer is good until the next use of any state of
// this operator. What the value points to must not be changed in place:
// checkpoints under way share it.
func (v *Value[V]) Ref() *V { return v.s.Ref() }

// Clear removes the value.
func (v *Value[V]) Clear() { v.s.Clear() }

// List is a list for each key. What its values point to must not be changed.
type List[V any] struct {
	s    operator.ListState[V]
	name string
}

func (l *List[V]) stateName() string { return l.name }

// Add appends a value.
func (l *List[V]) Add(v V) { l.s.Add(v) }

// AddAll appends values; the slice stays the caller's.
func (l *List[V]) AddAll(vs []V) { l.s.AddAll(vs) }

// Replace makes the list these values; the slice stays the caller's.
func (l *List[V]) Replace(vs []V) { l.s.Replace(vs) }

// All iterates over the list as it was when the loop began; the loop may change
// it.
func (l *List[V]) All() iter.Seq[V] { return l.s.All() }

// Len is the number of values.
func (l *List[V]) Len() int { return l.s.Len() }

// Clear empties the list.
func (l *List[V]) Clear() { l.s.Clear() }

// Map is a map for each key. What its values point to must not be changed.
type Map[MK comparable, V any] struct {
	s    operator.MapState[MK, V]
	name string
}

func (m *Map[MK, V]) stateName() string { return m.name }

// Get returns the value of k, or the zero V.
func (m *Map[MK, V]) Get(k MK) V {
	v, _ := m.s.Load(k)
	return v
}

// Load returns the value of k and whether there is one.
func (m *Map[MK, V]) Load(k MK) (V, bool) { return m.s.Load(k) }

// Has reports whether there is a value of k.
func (m *Map[MK, V]) Has(k MK) bool {
	_, ok := m.s.Load(k)
	return ok
}

// Set puts v in under k.
func (m *Map[MK, V]) Set(k MK, v V) { m.s.Set(k, v) }

// Ref returns the value of k to be changed in place, made zero if there was
// none. The pointer is good until the next use of any state of this operator.
func (m *Map[MK, V]) Ref(k MK) *V { return m.s.Ref(k) }

// Delete takes k out.
func (m *Map[MK, V]) Delete(k MK) { m.s.Delete(k) }

// All iterates over the map as it was when the loop began, in no particular
// order that is yet the same for the same history; the loop may change the map.
func (m *Map[MK, V]) All() iter.Seq2[MK, V] { return m.s.All() }

// Len is the number of entries.
func (m *Map[MK, V]) Len() int { return m.s.Len() }

// Clear empties the map.
func (m *Map[MK, V]) Clear() { m.s.Clear() }

// OrderedMap is a map for each key whose entries are in the order of their
// keys. What its values point to must not be changed.
//
// Loops over it may change it: entries that are yet to come are taken as they
// then are, 64 at a time.
type OrderedMap[MK cmp.Ordered, V any] struct {
	s    operator.OrderedMapState[MK, V]
	name string
}

func (m *OrderedMap[MK, V]) stateName() string { return m.name }

// Get returns the value of k, or the zero V.
func (m *OrderedMap[MK, V]) Get(k MK) V {
	v, _ := m.s.Load(k)
	return v
}

// Load returns the value of k and whether there is one.
func (m *OrderedMap[MK, V]) Load(k MK) (V, bool) { return m.s.Load(k) }

// Set puts v in under k.
func (m *OrderedMap[MK, V]) Set(k MK, v V) { m.s.Set(k, v) }

// Ref returns the value of k to be changed in place, made zero if there was
// none. The pointer is good until the next use of any state of this operator.
func (m *OrderedMap[MK, V]) Ref(k MK) *V { return m.s.Ref(k) }

// Delete takes k out.
func (m *OrderedMap[MK, V]) Delete(k MK) { m.s.Delete(k) }

// DeleteRange takes out the keys from from up to but not including to and
// returns their number.
func (m *OrderedMap[MK, V]) DeleteRange(from, to MK) int { return m.s.DeleteRange(from, to) }

// First returns the entry with the least key; ok is false if there is none.
func (m *OrderedMap[MK, V]) First() (k MK, v V, ok bool) { return m.s.First() }

// Last returns the entry with the greatest key; ok is false if there is none.
func (m *OrderedMap[MK, V]) Last() (k MK, v V, ok bool) { return m.s.Last() }

// All iterates in ascending order.
func (m *OrderedMap[MK, V]) All() iter.Seq2[MK, V] {
	return func(yield func(MK, V) bool) { m.s.Ascend(nil, nil, yield) }
}

// Range iterates in ascending order over the keys from from up to but not
// including to.
func (m *OrderedMap[MK, V]) Range(from, to MK) iter.Seq2[MK, V] {
	return func(yield func(MK, V) bool) { m.s.Ascend(&from, &to, yield) }
}

// From iterates in ascending order over the keys from from on.
func (m *OrderedMap[MK, V]) From(from MK) iter.Seq2[MK, V] {
	return func(yield func(MK, V) bool) { m.s.Ascend(&from, nil, yield) }
}

// Before iterates in ascending order over the keys before to.
func (m *OrderedMap[MK, V]) Before(to MK) iter.Seq2[MK, V] {
	return func(yield func(MK, V) bool) { m.s.Ascend(nil, &to, yield) }
}

// Backward iterates in descending order.
func (m *OrderedMap[MK, V]) Backward() iter.Seq2[MK, V] {
	return func(yield func(MK, V) bool) { m.s.Descend(nil, nil, yield) }
}

// RangeBackward is [OrderedMap.Range] in descending order.
func (m *OrderedMap[MK, V]) RangeBackward(from, to MK) iter.Seq2[MK, V] {
	return func(yield func(MK, V) bool) { m.s.Descend(&from, &to, yield) }
}

// Len is the number of entries.
func (m *OrderedMap[MK, V]) Len() int { return m.s.Len() }

// Clear empties the map.
func (m *OrderedMap[MK, V]) Clear() { m.s.Clear() }

// Reducing is a value for each key into which others are folded.
type Reducing[V any] struct {
	s    *operator.Reducing[V]
	name string
}

func (r *Reducing[V]) stateName() string { return r.name }

// Get returns what was added, reduced, or the zero V if nothing was.
func (r *Reducing[V]) Get() V {
	v, _ := r.s.Load()
	return v
}

// Load returns what was added, reduced, and whether anything was.
func (r *Reducing[V]) Load() (V, bool) { return r.s.Load() }

// Add folds v in.
func (r *Reducing[V]) Add(v V) { r.s.Add(v) }

// Clear forgets what was added.
func (r *Reducing[V]) Clear() { r.s.Clear() }

// Aggregating is an accumulator for each key.
type Aggregating[In, Acc, Res any] struct {
	s    *operator.Aggregating[In, Acc, Res]
	name string
}

func (a *Aggregating[In, Acc, Res]) stateName() string { return a.name }

// Get returns the result of what was added, or the zero Res if nothing was.
func (a *Aggregating[In, Acc, Res]) Get() Res {
	v, _ := a.s.Load()
	return v
}

// Load returns the result of what was added, and whether anything was.
func (a *Aggregating[In, Acc, Res]) Load() (Res, bool) { return a.s.Load() }

// Add folds v in.
func (a *Aggregating[In, Acc, Res]) Add(v In) { a.s.Add(v) }

// Clear forgets what was added.
func (a *Aggregating[In, Acc, Res]) Clear() { a.s.Clear() }

// ListState declares a list that belongs to a subtask, not to a key. When the
// job is started with another parallelism the values of all subtasks are shared
// out evenly. The setup function calls it; see [OpContext.OnSnapshot].
func (o *OpContext[Out]) ListState[V any](name string) *ListState[V] {
	return operator.NewOperatorList[V](o.f, name, false)
}

// UnionListState is [OpContext.ListState] for a list that is given whole, the
// values of all subtasks together, to every subtask when the job is restored.
func (o *OpContext[Out]) UnionListState[V any](name string) *ListState[V] {
	return operator.NewOperatorList[V](o.f, name, true)
}

// ListState is a list that belongs to a subtask of an operator.
type ListState[V any] = operator.OperatorList[V]
