package millrace

import (
	"github.com/millrace/millrace/engine/graph"
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
func keyBy[K comparable, T any](s Stream[T], keys func(*record.Batch[T], []int32, []K) []K) KeyedStream[K, T] {
	if _, err := keygroup.NewHasher[K](keygroup.DefaultMax(1), keygroup.Options{}); err != nil {
		s.job.g.Fail(caller(), "KeyBy: %w", err)
	}
	return KeyedStream[K, T]{s.routed(graph.Keyed, func(w exchange.Wiring) (exchange.Output, error) {
		h, err := keygroup.NewHasher[K](w.MaxParallelism, keygroup.Options{})
		if err != nil {
			return nil, err
		}
		return exchange.NewKeyed(w, h, keys), nil
	})}
}

// keyed adds an operator that takes k as its only input.
func (k KeyedStream[K, T]) then(uid string, op func() operator.Operator) *graph.Node {
	return k.s.then("", uid, op)
}
