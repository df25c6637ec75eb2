package millrace

import "github.com/millrace/millrace/runtime/operator"

// Connected is a pair of streams that one operator reads. Event time follows
// the slower of the two.
type Connected[L, R any] struct {
	left  Stream[L]
	right Stream[R]
}

// Connect pairs s with another stream, for an operator that handles records of
// both. There is no order between them.
func (s Stream[T]) Connect[U any](other Stream[U]) Connected[T, U] {
	if other.job != s.job {
		s.job.g.Fail(caller(), "Connect: a stream of another job")
	}
	return Connected[T, U]{s, other}
}

// Process runs an operator made of handlers; setup is called once in each
// subtask.
func (c Connected[L, R]) Process[Out any](id string, setup func(*PlainOp2[L, R, Out])) Stream[Out] {
	return c.process(id, "Process", setup)
}

func (c Connected[L, R]) process[Out any](id, name string, setup func(*PlainOp2[L, R, Out])) Stream[Out] {
	n := two(c.left.job, id, name, caller(), c.left.edge(0), c.right.edge(1), func() operator.Operator {
		return &operator.PlainProcess2[L, R, Out]{Setup: func(p *operator.PlainProcess2[L, R, Out]) {
			setup(&PlainOp2[L, R, Out]{OpContext[Out]{&p.Func}, p})
		}}
	})
	return Stream[Out]{job: c.left.job, node: n}
}

// Map turns each record of either stream into one record (Flink's CoMap).
func (c Connected[L, R]) Map[Out any](left func(L) Out, right func(R) Out) Stream[Out] {
	return c.process("", "CoMap", func(op *PlainOp2[L, R, Out]) {
		op.OnLeft(func(l L) error {
			op.Emit(left(l))
			return nil
		})
		op.OnRight(func(r R) error {
			op.Emit(right(r))
			return nil
		})
	})
}

// FlatMap turns each record of either stream into any number of records, passed
// to emit (Flink's CoFlatMap).
func (c Connected[L, R]) FlatMap[Out any](left func(rec L, emit func(Out)), right func(rec R, emit func(Out))) Stream[Out] {
	return c.process("", "CoFlatMap", func(op *PlainOp2[L, R, Out]) {
		emit := op.Emit
		op.OnLeft(func(l L) error {
			left(l, emit)
			return nil
		})
		op.OnRight(func(r R) error {
			right(r, emit)
			return nil
		})
	})
}

// PlainOp2 is one subtask of an operator on two streams without keys, as its
// code sees it.
type PlainOp2[L, R, Out any] struct {
	OpContext[Out]
	p *operator.PlainProcess2[L, R, Out]
}

// OnLeft sets the handler of the first stream's records. An error ends the job.
func (o *PlainOp2[L, R, Out]) OnLeft(f func(L) error) {
	o.p.Declaring("OnLeft")
	o.p.OnLeft = f
}

// OnLeftRef is [PlainOp2.OnLeft] by reference; f must not change the record.
func (o *PlainOp2[L, R, Out]) OnLeftRef(f func(*L) error) {
	o.p.Declaring("OnLeftRef")
	o.p.OnLeftRef = f
}

// OnRight sets the handler of the second stream's records. An error ends the
// job.
func (o *PlainOp2[L, R, Out]) OnRight(f func(R) error) {
	o.p.Declaring("OnRight")
	o.p.OnRight = f
}

// OnRightRef is [PlainOp2.OnRight] by reference; f must not change the record.
func (o *PlainOp2[L, R, Out]) OnRightRef(f func(*R) error) {
	o.p.Declaring("OnRightRef")
	o.p.OnRightRef = f
}

// OnLeftEnd sets a function called when the first stream has ended; it may
// emit.
func (o *PlainOp2[L, R, Out]) OnLeftEnd(f func() error) {
	o.p.Declaring("OnLeftEnd")
	o.p.OnLeftEnd = f
}

// OnRightEnd sets a function called when the second stream has ended; it may
// emit.
func (o *PlainOp2[L, R, Out]) OnRightEnd(f func() error) {
	o.p.Declaring("OnRightEnd")
	o.p.OnRightEnd = f
}

// KeyedConnected is a pair of streams grouped by keys of one type, that one
// operator reads. Event time follows the slower of the two.
type KeyedConnected[K comparable, L, R any] struct {
	left  KeyedStream[K, L]
	right KeyedStream[K, R]
}

// Connect pairs k with another keyed stream, for an operator that handles the
// records of both and keeps state that both see. There is no order between
// them.
func (k KeyedStream[K, T]) Connect[U any](other KeyedStream[K, U]) KeyedConnected[K, T, U] {
	if other.s.job != k.s.job {
		k.s.job.g.Fail(caller(), "Connect: a stream of another job")
	}
	return KeyedConnected[K, T, U]{k, other}
}

// Process runs a stateful operator on both streams; setup is called once in
// each subtask. Its state is kept in checkpoints under id.
func (c KeyedConnected[K, L, R]) Process[Out any](id string, setup func(*Op2[K, L, R, Out])) Stream[Out] {
	l, r := c.left.s, c.right.s
	n := two(l.job, id, id, caller(), l.edge(0), r.edge(1), func() operator.Operator { return newProcess2(setup) })
	return Stream[Out]{job: l.job, node: n}
}

func newProcess2[K comparable, L, R, Out any](setup func(*Op2[K, L, R, Out])) *operator.Process2[K, L, R, Out] {
	return &operator.Process2[K, L, R, Out]{Setup: func(p *operator.Process2[K, L, R, Out]) {
		setup(&Op2[K, L, R, Out]{keyedContext(&p.KeyedFunc), p})
	}}
}

// Op2 is one subtask of a stateful operator on two keyed streams, as its code
// sees it. Both handlers see the same state.
type Op2[K comparable, L, R, Out any] struct {
	KeyedContext[K, Out]
	p *operator.Process2[K, L, R, Out]
}

// OnLeft sets the handler of the first stream's records. An error ends the job.
func (o *Op2[K, L, R, Out]) OnLeft(f func(L) error) {
	o.p.Declaring("OnLeft")
	o.p.OnLeft = f
}

// OnLeftRef is [Op2.OnLeft] by reference; f must not change the record.
func (o *Op2[K, L, R, Out]) OnLeftRef(f func(*L) error) {
	o.p.Declaring("OnLeftRef")
	o.p.OnLeftRef = f
}

// OnRight sets the handler of the second stream's records. An error ends the
// job.
func (o *Op2[K, L, R, Out]) OnRight(f func(R) error) {
	o.p.Declaring("OnRight")
	o.p.OnRight = f
}

// OnRightRef is [Op2.OnRight] by reference; f must not change the record.
func (o *Op2[K, L, R, Out]) OnRightRef(f func(*R) error) {
	o.p.Declaring("OnRightRef")
	o.p.OnRightRef = f
}

// OnLeftEnd sets a function called when the first stream has ended; it may
// emit. No key is in effect.
func (o *Op2[K, L, R, Out]) OnLeftEnd(f func() error) {
	o.p.Declaring("OnLeftEnd")
	o.p.OnLeftEnd = f
}

// OnRightEnd sets a function called when the second stream has ended; it may
// emit. No key is in effect.
func (o *Op2[K, L, R, Out]) OnRightEnd(f func() error) {
	o.p.Declaring("OnRightEnd")
	o.p.OnRightEnd = f
}
