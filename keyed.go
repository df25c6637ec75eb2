package millrace

import (
	"cmp"

	"github.com/millrace/millrace/engine/graph"
	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/exchange"
	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/state/keygroup"
)

// KeyedStream is a stream grouped by a key of type K.
type KeyedStream[K comparable, T any] struct {
	s Stream[T] // routed by key
}

// keyBy makes a keyed stream out of a function that takes a batch's keys.
func keyBy[K comparable, T any](s Stream[T], keys func(*record.Cursor, *record.Batch[T], []int32, []K) []K) KeyedStream[K, T] {
	checkKey[K](s.job, "KeyBy")
	return KeyedStream[K, T]{s.routed(graph.Keyed, func(w exchange.Wiring) (exchange.Output, error) {
		h, err := keygroup.NewHasher[K](w.MaxParallelism, keygroup.Options{})
		if err != nil {
			return nil, err
		}
		return exchange.NewKeyed(w, h, keys), nil
	})}
}

// checkKey records the mistake of a key type that cannot be hashed.
func checkKey[K comparable](j *Job, what string) {
	if _, err := keygroup.NewHasher[K](keygroup.DefaultMax(1), keygroup.Options{}); err != nil {
		j.g.Fail(caller(), "%s: %w", what, err)
	}
}

// checkType records the mistake of a type that cannot be kept in state.
func checkType[T any](j *Job, id, what string) {
	if _, err := codec.Of[T](); err != nil {
		j.g.Fail(caller(), "operator %s: %s cannot be kept in state: %w", id, what, err)
	}
}

// then adds an operator that takes k as its only input.
func (k KeyedStream[K, T]) then(uid string, op func() operator.Operator) *graph.Node {
	return k.s.then("", uid, op)
}

// Number is what [KeyedStream.Sum] can add up.
type Number = operator.Number

// KeyCount is a key and how many records it has had.
type KeyCount[K comparable] struct {
	Key   K
	Count int64
}

// Count emits, for every record, its key and the number of the key's records
// so far.
func (k KeyedStream[K, T]) Count[_ lazy](id string) Stream[KeyCount[K]] {
	n := k.then(id, func() operator.Operator {
		return &operator.Rolling[K, T, int64, KeyCount[K]]{State: "count",
			Step: func(key *K, _ *T, n *int64, _ bool, out *KeyCount[K]) {
				*n++
				out.Key, out.Count = *key, *n
			}}
	})
	return Stream[KeyCount[K]]{job: k.s.job, node: n}
}

// Reduce folds each record into those of its key before it, and emits the
// result: the first record of a key as it is, then f(so far, record).
func (k KeyedStream[K, T]) Reduce[_ lazy](id string, f func(a, b T) T) Stream[T] {
	return k.rolling(id, func() operator.Operator { return operator.RollingReduce[K](f) })
}

// Sum emits, for every record, the first record of its key with the field that
// field points to replaced by the sum over all records of the key so far.
func (k KeyedStream[K, T]) Sum[N Number](id string, field func(*T) *N) Stream[T] {
	return k.rolling(id, func() operator.Operator { return operator.RollingSum[K](field) })
}

// Min is [KeyedStream.Sum] for the least value of the field. For the whole
// record that has it, see [KeyedStream.MinBy].
func (k KeyedStream[K, T]) Min[N cmp.Ordered](id string, field func(*T) *N) Stream[T] {
	return k.rolling(id, func() operator.Operator { return operator.RollingBest[K](field, false) })
}

// Max is [KeyedStream.Min] for the greatest value.
func (k KeyedStream[K, T]) Max[N cmp.Ordered](id string, field func(*T) *N) Stream[T] {
	return k.rolling(id, func() operator.Operator { return operator.RollingBest[K](field, true) })
}

// MinBy emits, for every record, the record of its key so far with the least
// value of by; of equals the first.
func (k KeyedStream[K, T]) MinBy[N cmp.Ordered](id string, by func(T) N) Stream[T] {
	return k.rolling(id, func() operator.Operator {
		return operator.RollingBestBy[K](func(t *T) N { return by(*t) }, false)
	})
}

// MaxBy is [KeyedStream.MinBy] for the greatest value.
func (k KeyedStream[K, T]) MaxBy[N cmp.Ordered](id string, by func(T) N) Stream[T] {
	return k.rolling(id, func() operator.Operator {
		return operator.RollingBestBy[K](func(t *T) N { return by(*t) }, true)
	})
}

func (k KeyedStream[K, T]) rolling(id string, op func() operator.Operator) Stream[T] {
	checkType[T](k.s.job, id, "the record type")
	return Stream[T]{job: k.s.job, node: k.then(id, op)}
}
