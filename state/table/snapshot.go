package table

import (
	"iter"

	"github.com/millrace/millrace/state/keygroup"
)

// A Snapshot is a Table as it was when Snapshot was called. It may be read
// from any goroutine, by several at once, while the table is written. Nothing
// read from it may be written to, and nothing may be read from it after
// Release.
type Snapshot[K comparable, V any] struct{ s snapshot }

// A snapshot is a Snapshot without the types of its keys and values.
type snapshot struct {
	start  int
	groups []group
	n      int
	token  *token
}

func (s *store) snapshot() snapshot {
	return snapshot{
		start:  int(s.start),
		groups: append([]group(nil), s.groups...),
		n:      s.n,
		token:  s.v.freeze(),
	}
}

// one is the given key group alone.
func (s *snapshot) one(group int) []group { return s.groups[group-s.start:][:1] }

// Release gives the pages that only the snapshot needs back to the collector
// and lets the table write the others in place. It may be called from any
// goroutine, and more than once.
func (s *Snapshot[K, V]) Release() { s.s.token.released.Store(true) }

// Groups is the range of key groups that the snapshot holds.
func (s *Snapshot[K, V]) Groups[_ lazy]() keygroup.Range {
	return keygroup.Range{Start: s.s.start, End: s.s.start + len(s.s.groups) - 1}
}

// Len is the number of keys.
func (s *Snapshot[K, V]) Len[_ lazy]() int { return s.s.n }

// GroupLen is the number of keys in one key group.
func (s *Snapshot[K, V]) GroupLen[_ lazy](g int) int { return s.s.groups[g-s.s.start].n }

// Get is the value of k, or nil.
func (s *Snapshot[K, V]) Get[_ lazy](word uint64, k K) *V {
	if _, e := find[K, V](&s.s.groups[keygroup.Of(word)-s.s.start], word, k); e != nil {
		return &e.Value
	}
	return nil
}

// All iterates over the keys and values by key group.
func (s *Snapshot[K, V]) All[_ lazy]() iter.Seq2[K, *V] { return pairs[K, V](s.s.groups) }

// Group iterates over the keys and values of one key group.
func (s *Snapshot[K, V]) Group[_ lazy](g int) iter.Seq2[K, *V] { return pairs[K, V](s.s.one(g)) }

// Entries is All with the hash word of each key at hand.
func (s *Snapshot[K, V]) Entries[_ lazy]() iter.Seq[*Entry[K, V]] { return entries[K, V](s.s.groups) }

// GroupEntries is Group with the hash word of each key at hand.
func (s *Snapshot[K, V]) GroupEntries[_ lazy](g int) iter.Seq[*Entry[K, V]] {
	return entries[K, V](s.s.one(g))
}
