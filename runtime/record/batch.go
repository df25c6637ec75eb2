// Package record holds the unit in which records travel: a batch of rows of
// one type with their event times, the rows that are selected and, after a
// keyed exchange, their keys and hash words. It moves nothing itself; chains
// pass batches by borrowing them and exchanges hand them over (see package
// runtime/exchange).
package record

import "math"

// Size is the number of rows a batch holds by default: enough to pay a dynamic
// call and a queue operation once for many records, small enough for 72-byte
// rows to stay in the first-level cache.
const Size = 256

// SizeMax bounds the batch size a job may ask for.
const SizeMax = 4096

// NoTime is the event time of a record that has none.
const NoTime int64 = math.MinInt64

// TimeMax bounds the event times that records may have, in milliseconds to
// either side of the epoch: about a million years. What is beyond is a mistake
// of units, and windows of it could not be told apart.
const TimeMax int64 = 1 << 55

// CheckTimes returns the index of the first time that is out of bounds, or -1.
func CheckTimes(times []int64) int {
	for i, t := range times {
		if (t > TimeMax || t < -TimeMax) && t != NoTime {
			return i
		}
	}
	return -1
}

// identity selects every row; Batch.Live hands out prefixes of it.
var identity = func() (s [SizeMax]int32) {
	for i := range s {
		s[i] = int32(i)
	}
	return s
}()

// A Batch is up to its capacity of rows of one type.
//
// Ownership: a batch belongs to whoever made it or took it from a queue. An
// operator that receives a batch borrows it for the length of the call: it may
// read the rows that are live, must not change them, and copies what it keeps.
// The one exception is [Batch.Swap] on a batch that is not Shared.
type Batch[T any] struct {
	// Rows are the records; only those listed by Live are part of the stream.
	Rows []T
	// Times are the event times of Rows in milliseconds since the epoch, or
	// NoTime; always as long as Rows.
	Times []int64
	// Sel lists the live rows in ascending order; nil means all of them.
	Sel []int32
	// Words are the hash words of Rows' keys (see state/keygroup). Set by a
	// keyed exchange, empty otherwise.
	Words []uint64
	// Keys is a *[]K as long as Rows, set by a keyed exchange, else nil or
	// stale; the edge's type says what K is.
	Keys any
	// Shared says that more than one operator reads this batch, so that it
	// must not be swapped or changed.
	Shared bool
	// Home takes the batch back when its reader is done with it. Nil for a
	// batch that never crosses an exchange.
	Home Home[T]

	selBuf []int32
}

// Home is where a batch returns to after use.
type Home[T any] interface{ Return(b *Batch[T]) }

// New returns an empty batch for up to size rows.
func New[T any](size int) *Batch[T] {
	return &Batch[T]{Rows: make([]T, 0, size), Times: make([]int64, 0, size)}
}

// Live returns the indices of the live rows in ascending order. The slice is
// the batch's own (or shared by all batches) and must not be changed.
func (b *Batch[T]) Live() []int32 {
	if b.Sel != nil {
		return b.Sel
	}
	return identity[:len(b.Rows)]
}

// Len is the number of live rows.
func (b *Batch[T]) Len() int {
	if b.Sel != nil {
		return len(b.Sel)
	}
	return len(b.Rows)
}

// Full reports whether no row can be appended.
func (b *Batch[T]) Full() bool { return len(b.Rows) == cap(b.Rows) }

// Append adds a row. The batch must not be full.
func (b *Batch[T]) Append(v T, at int64) {
	b.Rows = append(b.Rows, v)
	b.Times = append(b.Times, at)
}

// Next adds a row with event time at and returns it to be filled in place. It
// holds whatever an earlier use of the batch left there: the caller overwrites
// every field. The batch must not be full.
func (b *Batch[T]) Next(at int64) *T {
	n := len(b.Rows)
	b.Rows = b.Rows[:n+1]
	b.Times = append(b.Times, at)
	return &b.Rows[n]
}

// Reset empties the batch for its next use. Rows keep what they point to until
// they are overwritten; that is at most one batch's worth of garbage.
func (b *Batch[T]) Reset() {
	b.Rows = b.Rows[:0]
	b.Times = b.Times[:0]
	b.Words = b.Words[:0]
	b.Sel = nil
	b.Shared = false
}

// SelBuffer returns an empty index slice with room for every row, owned by the
// batch, to be filled and then assigned to Sel. Its content is lost by the
// next call.
func (b *Batch[T]) SelBuffer() []int32 {
	if cap(b.selBuf) < cap(b.Rows) {
		b.selBuf = make([]int32, 0, cap(b.Rows))
	}
	return b.selBuf[:0]
}

// Swap exchanges the rows of b and o with their times and selections, so that
// they change hands without being copied. Home, words and keys stay with each
// batch: they belong to the link whose pool it is from. Neither may be Shared.
func (b *Batch[T]) Swap(o *Batch[T]) {
	b.Rows, o.Rows = o.Rows, b.Rows
	b.Times, o.Times = o.Times, b.Times
	if b.Sel != nil || o.Sel != nil {
		bs, os := b.Sel, o.Sel
		b.Sel, o.Sel = nil, nil
		// A selection may live in its operator's scratch: copy it.
		if os != nil {
			b.Sel = append(b.SelBuffer(), os...)
		}
		if bs != nil {
			o.Sel = append(o.SelBuffer(), bs...)
		}
	}
}

// View makes v a second batch over the same rows as b, with its own selection:
// what a filter passes on. v is shared when b is.
func (b *Batch[T]) View(v *Batch[T], sel []int32) {
	v.Rows, v.Times, v.Words, v.Keys = b.Rows, b.Times, b.Words, b.Keys
	v.Sel = sel
	v.Shared = true // the rows belong to b: whoever gets v must not take them
}
