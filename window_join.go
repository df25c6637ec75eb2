package millrace

import (
	"iter"
	"slices"
	"time"

	"github.com/millrace/millrace/runtime/operator"
)

// WindowJoin is two streams keyed alike whose records have been assigned to the
// same windows. Its methods say what is made of the records of one key and
// window. All of them are kept until the window is cleaned up. Results have the
// last millisecond of the window as their event time. Records that are late for
// all their windows are dropped.
type WindowJoin[K comparable, L, R any] struct {
	left  WindowedStream[K, L]
	right KeyedStream[K, R]
}

// WindowJoin assigns the records of k and other, which are keyed alike, to the
// windows of w.
func (k KeyedStream[K, T]) WindowJoin[R any](other KeyedStream[K, R], w Windows) WindowJoin[K, T, R] {
	x := WindowJoin[K, T, R]{k.Window(w), other}
	switch {
	case w.gapOf != nil:
		x.left.fail("SessionBy cannot be used with a join: its gap is taken from records of one type")
	case w.count > 0:
		x.left.fail("windows of a number of records cannot be used with a join")
	}
	if k.s.job != other.s.job {
		x.left.fail("a join with a stream of another job")
	}
	return x
}

// Trigger sets when windows fire, in place of the default. It must not look at
// records.
func (j WindowJoin[K, L, R]) Trigger(t Trigger) WindowJoin[K, L, R] {
	if t.Needs().Records > 0 {
		j.left.fail("trigger %s cannot be used with a join: it compares records", t.Needs().Name)
		return j
	}
	j.left = j.left.Trigger(t)
	return j
}

// AllowedLateness is [WindowedStream.AllowedLateness].
func (j WindowJoin[K, L, R]) AllowedLateness(d time.Duration) WindowJoin[K, L, R] {
	j.left = j.left.AllowedLateness(d)
	return j
}

// CoGroup calls f with the records of both sides for each key and window that
// has any; one side may be empty. The sequences and emit must not be used after
// f has returned.
func (j WindowJoin[K, L, R]) CoGroup[Out any](id string, f func(key K, win Window, lefts iter.Seq[L], rights iter.Seq[R], emit func(Out))) Stream[Out] {
	return j.groups(id, func(key K, win Window, b *operator.Both[L, R], emit func(Out)) {
		f(key, win, slices.Values(b.Lefts), slices.Values(b.Rights), emit)
	})
}

// Inner emits f of every pair of a left and a right record.
func (j WindowJoin[K, L, R]) Inner[Out any](id string, f func(L, R) Out) Stream[Out] {
	return j.groups(id, func(_ K, _ Window, b *operator.Both[L, R], emit func(Out)) {
		for i := range b.Lefts {
			for k := range b.Rights {
				emit(f(b.Lefts[i], b.Rights[k]))
			}
		}
	})
}

// Left is Inner, and f of each left record and nil where there is no right one.
func (j WindowJoin[K, L, R]) Left[Out any](id string, f func(L, *R) Out) Stream[Out] {
	return j.outer(id, true, false, func(l *L, r *R) Out { return f(*l, r) })
}

// Right is Inner, and f of nil and each right record where there is no left
// one.
func (j WindowJoin[K, L, R]) Right[Out any](id string, f func(*L, R) Out) Stream[Out] {
	return j.outer(id, false, true, func(l *L, r *R) Out { return f(l, *r) })
}

// Full is Left and Right together.
func (j WindowJoin[K, L, R]) Full[Out any](id string, f func(*L, *R) Out) Stream[Out] {
	return j.outer(id, true, true, f)
}

// outer is a join that keeps the records of some sides without a partner. f
// must not change what it is given.
func (j WindowJoin[K, L, R]) outer[Out any](id string, left, right bool, f func(*L, *R) Out) Stream[Out] {
	return j.groups(id, func(_ K, _ Window, b *operator.Both[L, R], emit func(Out)) {
		for i := range b.Lefts {
			for k := range b.Rights {
				emit(f(&b.Lefts[i], &b.Rights[k]))
			}
			if len(b.Rights) == 0 && left {
				emit(f(&b.Lefts[i], nil))
			}
		}
		if len(b.Lefts) == 0 && right {
			for k := range b.Rights {
				emit(f(nil, &b.Rights[k]))
			}
		}
	})
}

// groups adds the operator; f is given both sides, borrowed.
func (j WindowJoin[K, L, R]) groups[Out any](id string, f func(key K, win Window, b *operator.Both[L, R], emit func(Out))) Stream[Out] {
	type (
		either = operator.Either[L, R]
		both   = operator.Both[L, R]
	)
	w := j.left
	job := w.k.s.job
	checkStored[L](job, "left records")
	checkStored[R](job, "right records")
	n := two(job, id, "WindowJoin", caller(), w.k.s.edge(0), j.right.s.edge(1), func() operator.Operator {
		if w.sliced(false) {
			return operator.NewPaired[L, R](&operator.Slices[K, either, both, Out]{Windows: w.w.a,
				Agg: operator.Aggregate[either, both]{Add: (*both).Add}, Results: f, Grows: true})
		}
		return operator.NewPaired[L, R](&general[K, either, both, Out]{Windows: w.w.a, Trigger: w.trigger, Lateness: w.lateness,
			Add: func(acc *both, in *either, _ int64) { acc.Add(in) }, Merge: (*both).Merge,
			Fire: func(o *general[K, either, both, Out], acc *both) bool {
				f(o.Global.Key, o.Window, acc, o.Emit)
				return false
			}})
	})
	return Stream[Out]{job: job, node: n}
}
