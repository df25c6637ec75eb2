// Package keygroup decides which key group a key belongs to, and which
// subtask owns which key groups.
//
// A key group is the unit in which keyed state and timers move between
// subtasks: a job has a fixed number of them (its max parallelism), a key's
// group never changes, and a subtask owns a contiguous range of groups.
//
// A key is hashed once, where its record enters a keyed edge. The result is
// the key's hash word, which then travels with the record:
//
//	word = group<<48 | low 48 bits of the key's hash
//
// The upper 16 bits are the key group itself, so that routing is a shift and
// a division; the lower 48 bits are left for the tables of state/table, so
// that no table hashes again. Groups are below 32768, hence the topmost bit
// of a word is always 0 and holders of words may use it as a mark.
//
// Hash words never reach a stored file on their own account, but the group in
// them does: snapshots are cut by key group. The functions here therefore
// give the same word for the same key in every process, on every supported
// machine (64-bit, little-endian) and in every release. Changing them is a
// break of the snapshot format.
//
// What a group's tables look like is left to state/table; sending records to
// the owner of a group is left to the exchange.
package keygroup

import (
	"fmt"
	"iter"
	"math/bits"
)

// MaxParallelism is the largest parallelism and the largest number of key
// groups of a job. The smallest of both is 1.
const MaxParallelism = 1 << 15

// MinDefaultMax is the least number of key groups that DefaultMax answers.
const MinDefaultMax = 1 << 7

// GroupShift is the number of bits by which a word is shifted right to give
// its key group.
const GroupShift = 48

// LowMask selects the bits of a word that are the key's hash and not its
// group.
const LowMask = 1<<GroupShift - 1

// Validate reports why parallelism and max (the number of key groups) do not
// go together, or nil when they do: both are in 1..MaxParallelism, and
// parallelism is at most max.
func Validate(parallelism, max int) error {
	switch {
	case max < 1 || max > MaxParallelism:
		return fmt.Errorf("max parallelism %d: not in 1..%d", max, MaxParallelism)
	case parallelism < 1 || parallelism > MaxParallelism:
		return fmt.Errorf("parallelism %d: not in 1..%d", parallelism, MaxParallelism)
	case parallelism > max:
		return fmt.Errorf("parallelism %d: larger than max parallelism %d", parallelism, max)
	}
	return nil
}

// DefaultMax is the number of key groups of an operator whose user chose
// none: half as much again as parallelism, rounded up to a power of two,
// within MinDefaultMax..MaxParallelism.
func DefaultMax(parallelism int) int {
	want := parallelism + parallelism/2
	return min(max(nextPowerOfTwo(want), MinDefaultMax), MaxParallelism)
}

func nextPowerOfTwo(n int) int {
	if n <= 1 {
		return 1
	}
	return 1 << bits.Len(uint(n-1))
}

// Of is the key group of a hash word.
func Of(word uint64) int { return int(word >> GroupShift) }

// Word puts a hash word together from a key group and a hash, of which the
// low 48 bits are kept.
func Word(group int, hash uint64) uint64 {
	return uint64(group)<<GroupShift | hash&LowMask
}

// Owner is the subtask, of parallelism many, that owns group, of max many.
func Owner(group, parallelism, max int) int { return group * parallelism / max }

// A Range is a contiguous range of key groups; Start and End are both
// inclusive. A range with End < Start is empty.
type Range struct{ Start, End int }

// RangeOf is the range of key groups that subtask, of parallelism many, owns
// out of max groups. The ranges of all subtasks are disjoint, cover 0..max-1,
// and differ in length by at most 1.
func RangeOf(subtask, parallelism, max int) Range {
	return Range{
		Start: (subtask*max + parallelism - 1) / parallelism,
		End:   ((subtask+1)*max - 1) / parallelism,
	}
}

// Whole is the range of all groups of a job that has max of them.
func Whole(max int) Range { return Range{0, max - 1} }

// Len is the number of groups in r.
func (r Range) Len() int { return max(r.End-r.Start+1, 0) }

// Contains reports whether group lies in r.
func (r Range) Contains(group int) bool { return r.Start <= group && group <= r.End }

// Intersect is the range of groups in both r and o; it is empty when they
// share none.
func (r Range) Intersect(o Range) Range {
	return Range{max(r.Start, o.Start), min(r.End, o.End)}
}

// All iterates over the groups of r in order.
func (r Range) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for g := r.Start; g <= r.End; g++ {
			if !yield(g) {
				return
			}
		}
	}
}

// String is "start-end", as in log messages and Flink's web pages.
func (r Range) String() string { return fmt.Sprintf("%d-%d", r.Start, r.End) }
