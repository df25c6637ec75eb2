package table

import (
	"iter"

	"github.com/millrace/millrace/state/keygroup"
)

// A Snapshot is a Table as it was when Snapshot was called. It may be read
// from any goroutine, by several at once, while the table is written. Nothing
// read from it may be written to, and nothing may be read from it after
// Release.
type Snapshot[K comparable, V any] struct {
	start  int
	groups []group[K, V]
	n      int
	token  *token
}

// Release gives the pages that only the snapshot needs back to the collector
// and lets the table write the others in place. It may be called from any
// goroutine, and more than once.
func (s *Snapshot[K, V]) Release() { s.token.released.Store(true) }

// Groups is the range of key groups that the snapshot holds.
func (s *Snapshot[K, V]) Groups() keygroup.Range {
	return keygroup.Range{Start: s.start, End: s.start + len(s.groups) - 1}
}

// Len is the number of keys.
func (s *Snapshot[K, V]) Len() int { return s.n }

// GroupLen is the number of keys in one key group.
func (s *Snapshot[K, V]) GroupLen(g int) int { return s.groups[g-s.start].n }

// Get is the value of k, or nil.
func (s *Snapshot[K, V]) Get(word uint64, k K) *V {
	if _, e := s.groups[keygroup.Of(word)-s.start].find(word, k); e != nil {
		return &e.Value
	}
	return nil
}

// All iterates over the keys and values by key group.
func (s *Snapshot[K, V]) All() iter.Seq2[K, *V] { return pairs(s.Entries()) }

// Group iterates over the keys and values of one key group.
func (s *Snapshot[K, V]) Group(g int) iter.Seq2[K, *V] { return pairs(s.GroupEntries(g)) }

// Entries is All with the hash word of each key at hand.
func (s *Snapshot[K, V]) Entries() iter.Seq[*Entry[K, V]] { return entries(s.groups) }

// GroupEntries is Group with the hash word of each key at hand.
func (s *Snapshot[K, V]) GroupEntries(g int) iter.Seq[*Entry[K, V]] {
	return entries(s.groups[g-s.start:][:1])
}
