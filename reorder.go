package millrace

import "github.com/millrace/millrace/runtime/operator"

// SortByEventTime sends the records of each subtask on in the order of their
// event times: it keeps them until event time has reached them. Records of one
// time stay in the order in which they came. Late records are dropped; see
// [Stream.SortByEventTimeLate]. What waits is kept in checkpoints under id.
func (s Stream[T]) SortByEventTime[_ lazy](id string) Stream[T] {
	sorted, _ := s.SortByEventTimeLate(id)
	return sorted
}

// SortByEventTimeLate is [Stream.SortByEventTime] with the records that come
// when event time has passed them already on the second stream.
func (s Stream[T]) SortByEventTimeLate[_ lazy](id string) (sorted, late Stream[T]) {
	stores[T](s.job, "sort "+id+": records that wait")
	n := s.then("", id, func() operator.Operator { return &operator.Sort[uint8, T]{Unkeyed: true} })
	return Stream[T]{job: s.job, node: n}, Stream[T]{job: s.job, node: n, port: 1}
}

// SortByEventTime is [Stream.SortByEventTime] for the records of each key.
// Between keys there is no order.
func (k KeyedStream[K, T]) SortByEventTime[_ lazy](id string) Stream[T] {
	sorted, _ := k.SortByEventTimeLate(id)
	return sorted
}

// SortByEventTimeLate is [KeyedStream.SortByEventTime] with the late records on
// the second stream.
func (k KeyedStream[K, T]) SortByEventTimeLate[_ lazy](id string) (sorted, late Stream[T]) {
	job := k.s.job
	stores[T](job, "sort "+id+": records that wait")
	n := k.then(id, func() operator.Operator { return &operator.Sort[K, T]{} })
	return Stream[T]{job: job, node: n}, Stream[T]{job: job, node: n, port: 1}
}
