package millrace

import (
	"time"

	"github.com/millrace/millrace/runtime/operator"
)

// DedupOptions says which record of a key [KeyedStream.Deduplicate] keeps. The
// zero value keeps the first to come, for good.
type DedupOptions struct {
	// TTL is how long the records of a key count as repetitions of each other,
	// from the first of them on; 0 is for good, which Last does not allow.
	TTL time.Duration
	// Last keeps the last record of a key within TTL in place of the first. It
	// goes out when TTL is over.
	Last bool
	// EventTime goes by event time: first and last are those with the earliest
	// and the latest event time, in whatever order they come, and TTL passes in
	// event time. The first goes out when event time has reached it, and the
	// last has the last millisecond of TTL as its event time. Late records are
	// dropped; see [KeyedStream.DeduplicateLate].
	//
	// Without it first and last go by arrival, and TTL by the clock: the first
	// goes out at once, and the last when TTL is over or the input ends, with
	// an event time that may be late by then.
	EventTime bool
}

// Deduplicate keeps one record of each key. The keys seen are kept in
// checkpoints under id.
func (k KeyedStream[K, T]) Deduplicate[_ lazy](id string, opt DedupOptions) Stream[T] {
	kept, _ := k.DeduplicateLate(id, opt)
	return kept
}

// DeduplicateLate is [KeyedStream.Deduplicate] with the late records on the
// second stream. It has none unless opt.EventTime is set.
func (k KeyedStream[K, T]) DeduplicateLate[_ lazy](id string, opt DedupOptions) (kept, late Stream[T]) {
	job := k.s.job
	switch {
	case opt.TTL < 0:
		job.g.Fail(caller(), "deduplicate %s: TTL %v is negative", id, opt.TTL)
	case opt.TTL > 0 && opt.TTL < time.Millisecond:
		job.g.Fail(caller(), "deduplicate %s: TTL %v is less than a millisecond", id, opt.TTL)
	case opt.Last && opt.TTL == 0:
		job.g.Fail(caller(), "deduplicate %s: Last needs a TTL: without one no record is known to be the last", id)
	}
	if opt.Last || opt.EventTime {
		stores[T](job, "deduplicate "+id+": records that wait")
	}
	n := k.then(id, func() operator.Operator {
		switch {
		case opt.EventTime:
			return &operator.DedupByTime[K, T]{TTL: opt.TTL.Milliseconds(), Last: opt.Last}
		case opt.Last:
			return &operator.DedupLast[K, T]{TTL: opt.TTL.Milliseconds()}
		}
		return &operator.DedupFirst[K, T]{TTL: opt.TTL}
	})
	return Stream[T]{job: job, node: n}, Stream[T]{job: job, node: n, port: 1}
}
