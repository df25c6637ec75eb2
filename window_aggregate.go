package millrace

import (
	"errors"
	"fmt"
	"slices"

	"github.com/millrace/millrace/runtime/operator"
)

// An Aggregator folds In records into an Acc, the only thing kept in state. The
// accumulator of a new key and window is the zero Acc. One of Add and AddRef
// must be set. What an Acc points to belongs to it alone: functions must not
// keep a second argument's slices or maps in their result.
type Aggregator[In, Acc, Out any] struct {
	// Add returns acc with in added. AddRef is the same in place, and faster.
	Add    func(acc Acc, in In) Acc
	AddRef func(acc *Acc, in *In)
	// Merge returns the accumulator of the records of both, those of a being
	// older where that means something; MergeRef is the same in place. Sessions
	// need one of them. Sliding windows are much faster with one: they then
	// share the accumulators of the time that they have in common.
	Merge    func(a, b Acc) Acc
	MergeRef func(into, from *Acc)
	// Subtract returns acc without the records of what: it undoes Merge,
	// exactly, so rounding arithmetic must not have it. Optional; it makes
	// sliding windows faster still.
	Subtract func(acc, what Acc) Acc
	// Finish makes the result. It may be nil if Out is Acc.
	Finish func(Acc) Out

	addEach func(accs []*Acc, rows []In, live []int32)
}

// engine is the aggregator as operators use it.
func (a Aggregator[In, Acc, Out]) engine() (g operator.Aggregate[In, Acc], finish func(*Out, *Acc), err error) {
	g.AddEach = a.addEach
	switch {
	case a.AddRef != nil:
		g.Add = a.AddRef
	case a.Add != nil:
		g.Add = func(acc *Acc, in *In) { *acc = a.Add(*acc, *in) }
	default:
		return g, nil, errors.New("the aggregator has neither Add nor AddRef")
	}
	switch {
	case a.MergeRef != nil:
		g.Merge = a.MergeRef
	case a.Merge != nil:
		g.Merge = func(into, from *Acc) { *into = a.Merge(*into, *from) }
	}
	if a.Subtract != nil {
		g.Subtract = func(from, what *Acc) { *from = a.Subtract(*from, *what) }
	}
	if a.Finish != nil {
		return g, func(out *Out, acc *Acc) { *out = a.Finish(*acc) }, nil
	}
	if _, ok := any((*Acc)(nil)).(*Out); !ok {
		return g, nil, fmt.Errorf("the aggregator has no Finish, and its result %T is not its accumulator %T", *new(Out), *new(Acc))
	}
	return g, func(out *Out, acc *Acc) { *out = *any(acc).(*Out) }, nil
}

// counting is the aggregate of Count.
func counting[T any]() operator.Aggregate[T, int64] {
	return operator.Aggregate[T, int64]{
		Add: func(acc *int64, _ *T) { *acc++ },
		AddEach: func(accs []*int64, _ []T, _ []int32) {
			for _, a := range accs {
				*a++
			}
		},
		Merge:    func(into, from *int64) { *into += *from },
		Subtract: func(from, what *int64) { *from -= *what },
	}
}

// fractional reports whether N rounds.
func fractional[N Number]() bool { return N(1)/N(2) != 0 }

// Counts counts records; [WindowedStream.Count] is the short form.
func Counts[In any]() Aggregator[In, int64, int64] {
	c := counting[In]()
	return Aggregator[In, int64, int64]{AddRef: c.Add, addEach: c.AddEach, MergeRef: c.Merge,
		Subtract: func(acc, what int64) int64 { return acc - what }}
}

// Sum adds up a number taken from each record. Whole numbers wrap around;
// choose a type that is wide enough.
func Sum[In any, N Number](of func(In) N) Aggregator[In, N, N] {
	return SumRef(func(in *In) N { return of(*in) })
}

// SumRef is [Sum] by reference.
func SumRef[In any, N Number](of func(*In) N) Aggregator[In, N, N] {
	a := Aggregator[In, N, N]{
		AddRef:   func(acc *N, in *In) { *acc += of(in) },
		MergeRef: func(into, from *N) { *into += *from },
		addEach: func(accs []*N, rows []In, live []int32) {
			for j, i := range live {
				*accs[j] += of(&rows[i])
			}
		},
	}
	if !fractional[N]() {
		a.Subtract = func(acc, what N) N { return acc - what }
	}
	return a
}

// Extreme is the accumulator of [Min] and [Max].
type Extreme[N Number] struct {
	Value N
	Any   bool // a record has been seen
}

// Min finds the smallest of a number taken from each record.
func Min[In any, N Number](of func(In) N) Aggregator[In, Extreme[N], N] {
	return extreme(of, func(a, b N) bool { return a < b })
}

// Max finds the greatest of a number taken from each record.
func Max[In any, N Number](of func(In) N) Aggregator[In, Extreme[N], N] {
	return extreme(of, func(a, b N) bool { return a > b })
}

func extreme[In any, N Number](of func(In) N, before func(a, b N) bool) Aggregator[In, Extreme[N], N] {
	return Aggregator[In, Extreme[N], N]{
		AddRef: func(acc *Extreme[N], in *In) {
			if n := of(*in); !acc.Any || before(n, acc.Value) {
				acc.Value, acc.Any = n, true
			}
		},
		MergeRef: func(into, from *Extreme[N]) {
			if from.Any && (!into.Any || before(from.Value, into.Value)) {
				*into = *from
			}
		},
		Finish: func(acc Extreme[N]) N { return acc.Value },
	}
}

// Mean is the accumulator of [Avg].
type Mean[N Number] struct {
	Sum   N
	Count int64
}

// Avg finds the mean of a number taken from each record. The sum is kept in N.
func Avg[In any, N Number](of func(In) N) Aggregator[In, Mean[N], float64] {
	a := Aggregator[In, Mean[N], float64]{
		AddRef: func(acc *Mean[N], in *In) {
			acc.Sum += of(*in)
			acc.Count++
		},
		MergeRef: func(into, from *Mean[N]) {
			into.Sum += from.Sum
			into.Count += from.Count
		},
		Finish: func(acc Mean[N]) float64 { return float64(acc.Sum) / float64(acc.Count) },
	}
	if !fractional[N]() {
		a.Subtract = func(acc, what Mean[N]) Mean[N] {
			return Mean[N]{acc.Sum - what.Sum, acc.Count - what.Count}
		}
	}
	return a
}

// TopBy keeps every record that ties for the largest value of by.
func TopBy[In any](by func(In) int64) Aggregator[In, []In, []In] {
	return Aggregator[In, []In, []In]{
		AddRef: func(acc *[]In, in *In) {
			switch n := by(*in); {
			case len(*acc) == 0 || n > by((*acc)[0]):
				*acc = append([]In(nil), *in)
			case n == by((*acc)[0]):
				*acc = append(*acc, *in)
			}
		},
		MergeRef: func(into, from *[]In) {
			switch {
			case len(*from) == 0:
			case len(*into) == 0 || by((*from)[0]) > by((*into)[0]):
				*into = slices.Clone(*from)
			case by((*from)[0]) == by((*into)[0]):
				*into = append(slices.Clip(*into), *from...)
			}
		},
	}
}
