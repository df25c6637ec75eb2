package millrace

import (
	"time"

	"github.com/millrace/millrace/engine/graph"
	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/operator"
)

// Pairs is two keyed streams whose records of one key meet if they are close in
// event time; [KeyedStream.IntervalJoin] makes it. Inner, Left, Right and Full
// say what becomes of them.
//
// The result for a pair has the later of the two event times. A record is kept
// until event time has come to where no partner of it can follow: for l that is
// its time plus to, for r its time minus from, and their own time if that is
// later. A record that has stayed alone goes out then, if it goes out at all,
// and that time is its result's event time.
//
// A record that event time has passed when it comes is late: it is dropped, and
// counted, unless [Pairs.LateLeft] or [Pairs.LateRight] takes it.
type Pairs[K comparable, T, U any] struct {
	left     KeyedStream[K, T]
	right    KeyedStream[K, U]
	from, to time.Duration
	above    bool // from is exclusive
	below    bool // to is exclusive

	lateLeft  *Stream[T]
	lateRight *Stream[U]
	location  string
}

// IntervalJoin pairs records l of k and r of other that have one key and
// l.time+from <= r.time <= l.time+to. Times count in whole milliseconds.
func (k KeyedStream[K, T]) IntervalJoin[U any](other KeyedStream[K, U], from, to time.Duration) Pairs[K, T, U] {
	return Pairs[K, T, U]{left: k, right: other, from: from, to: to, location: caller()}
}

// FromExclusive leaves out pairs with r.time = l.time+from.
func (p Pairs[K, T, U]) FromExclusive() Pairs[K, T, U] {
	p.above = true
	return p
}

// ToExclusive leaves out pairs with r.time = l.time+to.
func (p Pairs[K, T, U]) ToExclusive() Pairs[K, T, U] {
	p.below = true
	return p
}

// LateLeft sets *into to the stream of l that come late, once the join is made
// by one of the methods below.
func (p Pairs[K, T, U]) LateLeft(into *Stream[T]) Pairs[K, T, U] {
	p.lateLeft = into
	return p
}

// LateRight is [Pairs.LateLeft] for the other side.
func (p Pairs[K, T, U]) LateRight(into *Stream[U]) Pairs[K, T, U] {
	p.lateRight = into
	return p
}

// Inner sends f of each pair. Records are kept in checkpoints under id.
func (p Pairs[K, T, U]) Inner[Out any](id string, f func(l T, r U) Out) Stream[Out] {
	return addPairs(p, id, false, false, func() func(*T, *U) Out {
		return func(l *T, r *U) Out { return f(*l, *r) }
	})
}

// InnerRef is [Pairs.Inner] by reference; f must neither change nor keep what it
// is given.
func (p Pairs[K, T, U]) InnerRef[Out any](id string, f func(l *T, r *U) Out) Stream[Out] {
	return addPairs(p, id, false, false, func() func(*T, *U) Out { return f })
}

// Left is [Pairs.Inner] that also sends f(l, nil) for each l that stays alone.
func (p Pairs[K, T, U]) Left[Out any](id string, f func(l T, r *U) Out) Stream[Out] {
	return addPairs(p, id, true, false, func() func(*T, *U) Out {
		var rs copies[U]
		return func(l *T, r *U) Out { return f(*l, rs.of(r)) }
	})
}

// Right is [Pairs.Inner] that also sends f(nil, r) for each r that stays alone.
func (p Pairs[K, T, U]) Right[Out any](id string, f func(l *T, r U) Out) Stream[Out] {
	return addPairs(p, id, false, true, func() func(*T, *U) Out {
		var ls copies[T]
		return func(l *T, r *U) Out { return f(ls.of(l), *r) }
	})
}

// Full is [Pairs.Inner] that also sends f(l, nil) and f(nil, r) for all that
// stay alone.
func (p Pairs[K, T, U]) Full[Out any](id string, f func(l *T, r *U) Out) Stream[Out] {
	return addPairs(p, id, true, true, func() func(*T, *U) Out {
		var ls copies[T]
		var rs copies[U]
		return func(l *T, r *U) Out { return f(ls.of(l), rs.of(r)) }
	})
}

// copies copies rows for functions that may keep what they are given, many to
// an allocation.
type copies[T any] struct{ room []T }

func (c *copies[T]) of(v *T) *T {
	if v == nil {
		return nil
	}
	if len(c.room) == cap(c.room) {
		c.room = make([]T, 0, 32)
	}
	c.room = append(c.room, *v)
	return &c.room[len(c.room)-1]
}

// bounds returns the bounds in milliseconds, both inclusive.
func (p Pairs[K, T, U]) bounds() (from, to int64) {
	const ms = int64(time.Millisecond)
	down := func(d int64) int64 {
		q := d / ms
		if d%ms < 0 {
			q--
		}
		return q
	}
	// The least millisecond not before from, and the greatest not after to;
	// without the bounds themselves if they are exclusive.
	from, to = -down(-int64(p.from)), down(int64(p.to))
	if p.above {
		from = down(int64(p.from)) + 1
	}
	if p.below {
		to = -down(-int64(p.to)) - 1
	}
	return from, to
}

// addPairs adds the operator. join is called once for each subtask.
func addPairs[K comparable, T, U, Out any](p Pairs[K, T, U], id string, left, right bool, join func() func(*T, *U) Out) Stream[Out] {
	job := p.left.s.job
	from, to := p.bounds()
	switch {
	case p.right.s.job != job:
		job.g.Fail(p.location, "interval join %s: the other stream is of another job", id)
		return Stream[Out]{job: job, node: p.left.s.node}
	case p.from > p.to:
		job.g.Fail(p.location, "interval join %s: it begins at %v and ends before that, at %v", id, p.from, p.to)
	case from > to:
		job.g.Fail(p.location, "interval join %s: no millisecond lies between %v and %v", id, p.from, p.to)
	}
	stores[T](job, "interval join "+id+": records of the left side")
	stores[U](job, "interval join "+id+": records of the right side")
	n := job.g.Add(graph.Node{UID: id, Name: id, Location: caller(), Inputs: []graph.Edge{p.left.s.edge(0), p.right.s.edge(1)},
		Prepare: always(func() operator.Operator {
			return &operator.IntervalJoin[K, T, U, Out]{From: from, To: to, KeepLeft: left, KeepRight: right, Join: join()}
		})})
	if p.lateLeft != nil {
		*p.lateLeft = Stream[T]{job: job, node: n, port: 1}
	}
	if p.lateRight != nil {
		*p.lateRight = Stream[U]{job: job, node: n, port: 2}
	}
	return Stream[Out]{job: job, node: n}
}

// stores records a mistake if T cannot be part of checkpoints.
func stores[T any](job *Job, what string) {
	if _, err := codec.Of[T](); err != nil {
		job.g.Fail(caller(), "%s are part of checkpoints: %w", what, err)
	}
}
