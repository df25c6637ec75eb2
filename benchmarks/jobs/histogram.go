package jobs

import (
	"context"
	"math/bits"
	"sync"
	"time"

	"github.com/millrace/millrace"
)

// A Histogram counts durations in buckets less than 1 % wide, from a
// nanosecond to years. Merge is safe for concurrent use, the rest is not.
type Histogram struct {
	mu     sync.Mutex
	counts [58 * bucketsPerDoubling]int64
	n, max int64
}

// bucketsPerDoubling is a power of two: 128 buckets from each 2^k to 2^(k+1).
const bucketsPerDoubling = 1 << bucketBits

const bucketBits = 7

// bucket is the index of the bucket that ns lies in. Up to 2^8 every number has
// a bucket of its own.
func bucket(ns int64) int {
	if ns < bucketsPerDoubling {
		return int(max(ns, 0))
	}
	e := bits.Len64(uint64(ns)) - 1 - bucketBits
	return e*bucketsPerDoubling + int(ns>>e)
}

// bucketTop is the largest number in bucket i.
func bucketTop(i int) int64 {
	if i < 2*bucketsPerDoubling {
		return int64(i)
	}
	e := i/bucketsPerDoubling - 1
	return (int64(i%bucketsPerDoubling)+bucketsPerDoubling+1)<<e - 1
}

// Add counts a duration; one below zero counts as zero.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(int64(d))]++
	h.n++
	h.max = max(h.max, int64(d))
}

// Merge adds what o has counted.
func (h *Histogram) Merge(o *Histogram) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// Count is the number of durations counted.
func (h *Histogram) Count() int64 { return h.n }

// Max is the longest duration counted.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max) }

// Quantile returns a duration that the share q of those counted does not
// exceed, at most 1 % above the least such; 0 if none was counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	left := max(int64(q*float64(h.n)+0.5), 1)
	for i, c := range h.counts {
		if left -= c; left <= 0 {
			return time.Duration(min(bucketTop(i), h.max))
		}
	}
	return time.Duration(h.max)
}

// lateness is a sink that counts how long after their due time records arrive.
// Those due during the warm-up are only tallied.
type lateness struct {
	t      *Tally
	h      *Histogram
	pace   *Pace
	warmup int64 // nanoseconds
}

// OpenWriter implements [millrace.Sink].
func (l lateness) OpenWriter(context.Context, millrace.Subtask) (millrace.Writer[Pair], error) {
	return &latenessWriter{lateness: l, own: &Histogram{}}, nil
}

type latenessWriter struct {
	lateness
	own  *Histogram
	rows int64
}

// Write implements [millrace.Writer]. The value of a pair is its due time.
func (w *latenessWriter) Write(_ context.Context, recs []Pair) error {
	now := w.pace.Now()
	if w.rows == 0 {
		w.t.Arrived()
	}
	w.rows += int64(len(recs))
	for i := range recs {
		if due := recs[i].Value; due >= w.warmup {
			w.own.Add(time.Duration(now - due))
		}
	}
	return nil
}

// Flush implements [millrace.Writer].
func (w *latenessWriter) Flush(context.Context) error { return nil }

// Close implements [millrace.Writer].
func (w *latenessWriter) Close() error {
	w.t.rows.Add(w.rows)
	w.h.Merge(w.own)
	w.rows, w.own = 0, &Histogram{}
	return nil
}
