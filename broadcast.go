package millrace

import (
	"iter"

	"github.com/millrace/millrace/engine/graph"
	"github.com/millrace/millrace/runtime/operator"
)

// BroadcastState is a table of a stream's latest record per key, that every
// subtask of the operators it is given to holds a full copy of. It is for what
// is small and changes rarely: rules, exchange rates, names.
type BroadcastState[K comparable, V any] struct {
	id    string
	s     Stream[V]
	key   func(*V) K
	first bool
}

// BroadcastState keeps the latest record per key in a table for others to look
// things up in (see [KeyedStream.With] and [Stream.With]). Each operator that
// does keeps its copy in checkpoints under its own id, as the state id.
func (s Stream[T]) BroadcastState[K comparable](id string, key func(T) K) BroadcastState[K, T] {
	checkKey[K](s.job, "BroadcastState")
	checkType[T](s.job, id, "the record type")
	return BroadcastState[K, T]{id: id, s: s.Broadcast(), key: func(t *T) K { return key(*t) }}
}

// ReadFirst makes operators wait with their other input until the table's
// stream, which must be bounded, has been read to its end: no record misses an
// entry that was there from the beginning. The table's stream and the other
// input must not come from one source, which could not get on with both; such
// a job does not start.
func (b BroadcastState[K, V]) ReadFirst() BroadcastState[K, V] {
	b.first = true
	return b
}

// readBy notes that n reads the table first, if it does. What is wrong with
// that is reported when the job is started, and all of it built.
func (b BroadcastState[K, V]) readBy(n *graph.Node) {
	if b.first {
		b.s.job.g.ReadFirst(n) // Check reports the error
	}
}

// View is a read-only look at a broadcast table.
type View[K comparable, V any] struct {
	t *operator.BroadcastTable[K, V]
}

// Get returns the value of k, or the zero V.
func (v View[K, V]) Get(k K) V {
	x, _ := v.t.Load(k)
	return x
}

// Load returns the value of k and whether there is one.
func (v View[K, V]) Load(k K) (V, bool) { return v.t.Load(k) }

// Ref returns the value of k without copying it, or nil. It must not be changed
// nor kept beyond the handler.
func (v View[K, V]) Ref(k K) *V { return v.t.Ref(k) }

// All iterates over the table in no particular order that is yet the same for
// the same history.
func (v View[K, V]) All() iter.Seq2[K, V] { return v.t.All }

// Len is the number of keys.
func (v View[K, V]) Len() int { return v.t.Len() }

// KeyedWith is a keyed stream beside a broadcast table.
type KeyedWith[K comparable, T any, BK comparable, B any] struct {
	k KeyedStream[K, T]
	b BroadcastState[BK, B]
}

// With lets a stateful operator on k look things up in a broadcast table.
func (k KeyedStream[K, T]) With[BK comparable, B any](b BroadcastState[BK, B]) KeyedWith[K, T, BK, B] {
	if b.s.job != k.s.job {
		k.s.job.g.Fail(caller(), "With: a table of another job")
	}
	return KeyedWith[K, T, BK, B]{k, b}
}

// Process is [KeyedStream.Process] with the table passed to setup.
func (w KeyedWith[K, T, BK, B]) Process[Out any](id string, setup func(op *Op[K, T, Out], table View[BK, B])) Stream[Out] {
	b := w.b
	n := two(w.k.s.job, id, id, caller(), w.k.s.edge(0), b.s.edge(1), func() operator.Operator {
		return &operator.BroadcastProcess[K, T, B, Out]{Broadcasts: operator.Broadcasts[B]{ReadFirst: b.first},
			SetupBroadcast: func(p *operator.BroadcastProcess[K, T, B, Out]) {
				t := operator.DeclareTable[BK, B](&p.Broadcasts, &p.Func, b.id)
				p.OnBroadcast = operator.KeepLatest(t, b.key)
				setup(&Op[K, T, Out]{keyedContext(&p.KeyedFunc), &p.Process}, View[BK, B]{t})
			}}
	})
	b.readBy(n)
	return Stream[Out]{job: w.k.s.job, node: n}
}

// StreamWith is a stream beside a broadcast table.
type StreamWith[T any, BK comparable, B any] struct {
	s Stream[T]
	b BroadcastState[BK, B]
}

// With lets an operator on s look things up in a broadcast table.
func (s Stream[T]) With[BK comparable, B any](b BroadcastState[BK, B]) StreamWith[T, BK, B] {
	if b.s.job != s.job {
		s.job.g.Fail(caller(), "With: a table of another job")
	}
	return StreamWith[T, BK, B]{s, b}
}

// Process is [Stream.Process] with the table passed to setup.
func (w StreamWith[T, BK, B]) Process[Out any](id string, setup func(op *PlainOp[T, Out], table View[BK, B])) Stream[Out] {
	b := w.b
	n := two(w.s.job, id, id, caller(), w.s.edge(0), b.s.edge(1), func() operator.Operator {
		return &operator.PlainBroadcastProcess[T, B, Out]{Broadcasts: operator.Broadcasts[B]{ReadFirst: b.first},
			SetupBroadcast: func(p *operator.PlainBroadcastProcess[T, B, Out]) {
				t := operator.DeclareTable[BK, B](&p.Broadcasts, &p.Func, b.id)
				p.OnBroadcast = operator.KeepLatest(t, b.key)
				setup(&PlainOp[T, Out]{OpContext[Out]{&p.Func}, &p.PlainProcess}, View[BK, B]{t})
			}}
	})
	b.readBy(n)
	return Stream[Out]{job: w.s.job, node: n}
}

// KeyedBroadcast is a keyed stream and a stream that reaches every subtask,
// read by one operator.
type KeyedBroadcast[K comparable, T, B any] struct {
	k KeyedStream[K, T]
	b Stream[B]
}

// ConnectBroadcast pairs k with a stream whose records all reach every subtask,
// for an operator that has handlers for both. [KeyedStream.With] is simpler
// where the latest record per key is all that is wanted.
func (k KeyedStream[K, T]) ConnectBroadcast[B any](b Stream[B]) KeyedBroadcast[K, T, B] {
	if b.job != k.s.job {
		k.s.job.g.Fail(caller(), "ConnectBroadcast: a stream of another job")
	}
	return KeyedBroadcast[K, T, B]{k, b.Broadcast()}
}

// Process runs a stateful operator on both streams; setup is called once in
// each subtask.
func (c KeyedBroadcast[K, T, B]) Process[Out any](id string, setup func(*BroadcastOp[K, T, B, Out])) Stream[Out] {
	j := c.k.s.job
	var n *graph.Node
	n = two(j, id, id, caller(), c.k.s.edge(0), c.b.edge(1), func() operator.Operator {
		return &operator.BroadcastProcess[K, T, B, Out]{Broadcasts: operator.Broadcasts[B]{AskFirst: func() error { return j.g.ReadFirst(n) }},
			SetupBroadcast: func(p *operator.BroadcastProcess[K, T, B, Out]) {
				setup(&BroadcastOp[K, T, B, Out]{Op[K, T, Out]{keyedContext(&p.KeyedFunc), &p.Process}, p})
			}}
	})
	return Stream[Out]{job: c.k.s.job, node: n}
}

// BroadcastOp is one subtask of an operator on a keyed stream and a broadcast
// one, as its code sees it.
//
// Every subtask sees every broadcast record, but records of several subtasks
// of the broadcast side can come in different orders: handlers must arrive at
// the same tables whatever the order.
type BroadcastOp[K comparable, In, B, Out any] struct {
	Op[K, In, Out]
	b *operator.BroadcastProcess[K, In, B, Out]
}

// OnBroadcast sets the handler of broadcast records. It may change broadcast
// tables; no key is in effect, but see [BroadcastOp.ForEachKey].
func (o *BroadcastOp[K, In, B, Out]) OnBroadcast(f func(B) error) {
	o.p.Declaring("OnBroadcast")
	o.b.OnBroadcast = func(b *B) error { return f(*b) }
}

// OnBroadcastEnd sets a function called when the broadcast side has ended.
func (o *BroadcastOp[K, In, B, Out]) OnBroadcastEnd(f func() error) {
	o.p.Declaring("OnBroadcastEnd")
	o.b.OnBroadcastEnd = f
}

// ReadFirst holds back the keyed stream until the broadcast one, which must be
// bounded, has ended. The two must not come from one source; see
// [BroadcastState.ReadFirst].
func (o *BroadcastOp[K, In, B, Out]) ReadFirst() {
	o.p.Declaring("ReadFirst")
	o.b.ReadFirst = true
}

// Table declares a broadcast table, kept in checkpoints under name. OnBroadcast
// may change it, all handlers may read it.
func (o *BroadcastOp[K, In, B, Out]) Table[BK comparable, V any](name string) *BroadcastTable[BK, V] {
	return &BroadcastTable[BK, V]{View[BK, V]{operator.DeclareTable[BK, V](&o.b.Broadcasts, &o.p.Func, name)}}
}

// ForEachKey puts every key of this subtask that has something in s in effect,
// one after the other, and calls f, which may use all state and timers: Flink's
// applyToKeyedState. OnBroadcast calls it. An error ends the loop and is
// returned.
func (o *BroadcastOp[K, In, B, Out]) ForEachKey(s KeyedState, f func(key K) error) error {
	return o.k.ForEachKey(s.stateName(), func() error { return f(o.k.Key) })
}

// PlainBroadcast is a stream without keys and a stream that reaches every
// subtask, read by one operator.
type PlainBroadcast[T, B any] struct {
	s Stream[T]
	b Stream[B]
}

// ConnectBroadcast pairs s with a stream whose records all reach every subtask,
// for an operator that has handlers for both.
func (s Stream[T]) ConnectBroadcast[B any](b Stream[B]) PlainBroadcast[T, B] {
	if b.job != s.job {
		s.job.g.Fail(caller(), "ConnectBroadcast: a stream of another job")
	}
	return PlainBroadcast[T, B]{s, b.Broadcast()}
}

// Process runs an operator made of handlers on both streams; setup is called
// once in each subtask.
func (c PlainBroadcast[T, B]) Process[Out any](id string, setup func(*PlainBroadcastOp[T, B, Out])) Stream[Out] {
	j := c.s.job
	var n *graph.Node
	n = two(j, id, id, caller(), c.s.edge(0), c.b.edge(1), func() operator.Operator {
		return &operator.PlainBroadcastProcess[T, B, Out]{Broadcasts: operator.Broadcasts[B]{AskFirst: func() error { return j.g.ReadFirst(n) }},
			SetupBroadcast: func(p *operator.PlainBroadcastProcess[T, B, Out]) {
				setup(&PlainBroadcastOp[T, B, Out]{PlainOp[T, Out]{OpContext[Out]{&p.Func}, &p.PlainProcess}, p})
			}}
	})
	return Stream[Out]{job: c.s.job, node: n}
}

// PlainBroadcastOp is [BroadcastOp] on a stream without keys.
type PlainBroadcastOp[In, B, Out any] struct {
	PlainOp[In, Out]
	b *operator.PlainBroadcastProcess[In, B, Out]
}

// OnBroadcast sets the handler of broadcast records. It may change broadcast
// tables.
func (o *PlainBroadcastOp[In, B, Out]) OnBroadcast(f func(B) error) {
	o.p.Declaring("OnBroadcast")
	o.b.OnBroadcast = func(b *B) error { return f(*b) }
}

// OnBroadcastEnd sets a function called when the broadcast side has ended.
func (o *PlainBroadcastOp[In, B, Out]) OnBroadcastEnd(f func() error) {
	o.p.Declaring("OnBroadcastEnd")
	o.b.OnBroadcastEnd = f
}

// ReadFirst holds back the other stream until the broadcast one, which must be
// bounded, has ended. The two must not come from one source; see
// [BroadcastState.ReadFirst].
func (o *PlainBroadcastOp[In, B, Out]) ReadFirst() {
	o.p.Declaring("ReadFirst")
	o.b.ReadFirst = true
}

// Table declares a broadcast table; see [BroadcastOp.Table].
func (o *PlainBroadcastOp[In, B, Out]) Table[BK comparable, V any](name string) *BroadcastTable[BK, V] {
	return &BroadcastTable[BK, V]{View[BK, V]{operator.DeclareTable[BK, V](&o.b.Broadcasts, &o.p.Func, name)}}
}

// BroadcastTable is a table that every subtask holds a full copy of. Changing
// it anywhere but in OnBroadcast ends the job: the copies would differ.
type BroadcastTable[K comparable, V any] struct{ View[K, V] }

// Set puts v in under k.
func (t *BroadcastTable[K, V]) Set(k K, v V) { t.t.Set(k, v) }

// Delete takes k out.
func (t *BroadcastTable[K, V]) Delete(k K) { t.t.Delete(k) }

// Clear takes everything out.
func (t *BroadcastTable[K, V]) Clear() { t.t.Clear() }
