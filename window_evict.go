package millrace

import (
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/runtime/operator"
)

// An Evictor removes records from a window when it fires, before its function
// is called or, by After, behind it. It is made by [EvictCount], [EvictTime],
// [EvictDelta] and [EvictBy].
type Evictor[T any] struct {
	// keep returns what is left; it must not change recs.
	keep  func(recs []operator.Elem[T], w Window) []operator.Elem[T]
	after bool
	bad   string
}

// After makes the evictor act behind the window's function.
func (e Evictor[T]) After() Evictor[T] {
	e.after = true
	return e
}

// evict evicts if now says so.
func (e *Evictor[T]) evict(recs []operator.Elem[T], w Window, now bool) []operator.Elem[T] {
	if !now || len(recs) == 0 {
		return recs
	}
	return e.keep(recs, w)
}

// EvictCount keeps the last n records.
func EvictCount[T any](n int) Evictor[T] {
	if n < 0 {
		return Evictor[T]{bad: fmt.Sprintf("count evictor: %d is negative", n)}
	}
	return Evictor[T]{keep: func(recs []operator.Elem[T], _ Window) []operator.Elem[T] {
		if len(recs) <= n {
			return recs
		}
		return slices.Clone(recs[len(recs)-n:])
	}}
}

// EvictTime keeps the records less than d older, in event time, than the latest
// one in the window.
func EvictTime[T any](d time.Duration) Evictor[T] {
	if d < 0 {
		return Evictor[T]{bad: fmt.Sprintf("time evictor: %v is negative", d)}
	}
	return Evictor[T]{keep: func(recs []operator.Elem[T], _ Window) []operator.Elem[T] {
		latest := recs[0].At
		for i := range recs {
			latest = max(latest, recs[i].At)
		}
		return keepIf(recs, func(e *operator.Elem[T]) bool { return e.At > latest-d.Milliseconds() })
	}}
}

// EvictDelta drops the records for which delta, given the record and the last
// one in the window, is threshold or more.
func EvictDelta[T any](threshold float64, delta func(rec, last T) float64) Evictor[T] {
	return Evictor[T]{keep: func(recs []operator.Elem[T], _ Window) []operator.Elem[T] {
		last := recs[len(recs)-1].Value
		return keepIf(recs, func(e *operator.Elem[T]) bool { return delta(e.Value, last) < threshold })
	}}
}

// EvictBy drops the records for which drop returns true; it is given their place
// in the window, the window's number of records and the window.
func EvictBy[T any](drop func(rec T, at time.Time, i, n int, w Window) bool) Evictor[T] {
	return Evictor[T]{keep: func(recs []operator.Elem[T], w Window) []operator.Elem[T] {
		i := -1
		return keepIf(recs, func(e *operator.Elem[T]) bool {
			i++
			return !drop(e.Value, time.UnixMilli(e.At).UTC(), i, len(recs), w)
		})
	}}
}

// keepIf returns the elements that keep accepts, in a slice of their own unless
// that is all of them.
func keepIf[T any](recs []operator.Elem[T], keep func(*operator.Elem[T]) bool) []operator.Elem[T] {
	for i := range recs {
		if !keep(&recs[i]) {
			left := slices.Clone(recs[:i])
			for j := i + 1; j < len(recs); j++ {
				if keep(&recs[j]) {
					left = append(left, recs[j])
				}
			}
			return left
		}
	}
	return recs
}
