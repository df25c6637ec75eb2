// Package timer keeps the timers of one task's keyed operator: which key
// wants to be called at what time, and in what order the calls come.
//
// It decides what is due and fires it through a function; it knows no clock
// and no watermark. The operator has one Service for each time domain and
// says, with Advance, what time it is there. Setting the current key before a
// call, forwarding the watermark after the loop, and arming a physical timer
// for processing time are left to the task.
package timer

import (
	"iter"
	"math"
	"math/bits"

	"github.com/millrace/millrace/state/keygroup"
	"github.com/millrace/millrace/state/table"
)

// lazy is the type parameter of methods that need none, as in package table:
// they are compiled only where they are called.
type lazy interface{ struct{} }

// A Timer is a key that is to be called at a time. Word is the key's hash
// word, At is in milliseconds of the service's time domain.
type Timer[K comparable] struct {
	Word uint64
	Key  K
	At   int64
}

// A Service holds the timers of the keys in a range of key groups, for one
// time domain. A timer is a key and a time: setting it twice is setting it
// once.
//
// Timers fire in the order of their times; those of one time in the order in
// which they were set, for the same history always the same. After a restore
// that is the order in which they were added.
//
// The truth is a table of timers, which makes setting twice harmless and
// gives snapshots with the table's guarantee. What is next is kept in a
// wheel, of which deleted timers are no longer part though they may still lie
// in it; an entry of the wheel counts if the table has its timer under the
// same sequence number.
//
// A Service is owned by its task's loop.
type Service[K comparable] struct {
	timers *table.Table[stamp[K], uint64] // to sequence numbers
	w      wheel[K]
	late   heap[K] // behind the wheel's time
	seq    uint64  // of the timer set last
	dead   int     // entries of wheel and heap that no longer count
	words  []uint64
}

type stamp[K comparable] struct {
	key K
	at  int64
}

// An entry is one timer in the wheel or the heap. word is the timer's, not
// the key's.
type entry[K comparable] struct {
	word uint64
	key  K
	at   int64
	seq  uint64
}

// New makes a service without timers for the given key groups.
func New[K comparable](groups keygroup.Range) *Service[K] {
	return &Service[K]{
		timers: table.New[stamp[K], uint64](groups, table.Options{}),
		w:      wheel[K]{cur: order(math.MinInt64)},
	}
}

// timerWord is the hash word of the timer of a key at a time. It is of the
// key's group.
func timerWord(word uint64, at int64) uint64 {
	return word&^keygroup.LowMask | (word+spread(at))&keygroup.LowMask
}

// keyWord is the word from which timerWord made word.
func keyWord(word uint64, at int64) uint64 {
	return word&^keygroup.LowMask | (word-spread(at))&keygroup.LowMask
}

func spread(at int64) uint64 {
	hi, lo := bits.Mul64(uint64(at)^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	return hi ^ lo
}

// Len is the number of timers.
func (s *Service[K]) Len[_ lazy]() int { return s.timers.Len() }

// Set sets a timer for k, whose hash word is word, at the time at, and reports
// whether it is new. A timer whose time has passed fires at the next Advance,
// or, when set by a firing timer, in the same one. k may borrow its strings;
// they are copied.
func (s *Service[K]) Set(word uint64, k K, at int64) bool {
	tw := timerWord(word, at)
	e, created := s.timers.UpsertEntry(tw, stamp[K]{k, at})
	if !created {
		return false
	}
	s.seq++
	e.Value = s.seq
	s.enqueue(entry[K]{tw, e.Key.key, at, s.seq})
	return true
}

// SetAll sets a timer at one time for each key of a batch, keys[i] with
// words[i]: Set of each, with the table's cache misses overlapped.
func (s *Service[K]) SetAll[_ lazy](words []uint64, keys []K, at int64) {
	s.words = s.words[:0]
	for _, w := range words {
		s.words = append(s.words, timerWord(w, at))
	}
	s.timers.Touch(s.words)
	for i, k := range keys {
		s.Set(words[i], k, at)
	}
}

func (s *Service[K]) enqueue(e entry[K]) {
	if order(e.at) < s.w.cur {
		s.late.push(e)
		return
	}
	s.w.add(e)
}

// Delete takes the timer of k at the time at back, and reports whether there
// was one.
func (s *Service[K]) Delete[_ lazy](word uint64, k K, at int64) bool {
	if !s.timers.Delete(timerWord(word, at), stamp[K]{k, at}) {
		return false
	}
	if s.dead++; s.dead > s.timers.Len()+1024 {
		s.sweep()
	}
	return true
}

// sweep takes the entries of deleted timers out of wheel and heap. It runs
// after more deletions than there are timers, hence costs each a constant.
func (s *Service[K]) sweep[_ lazy]() {
	if s.timers.Len() == 0 {
		s.w.clear()
		s.late = s.late[:0]
	} else {
		s.w.filter(s.alive)
		s.late.filter(s.alive)
	}
	s.dead = 0
}

func (s *Service[K]) alive(e *entry[K]) bool {
	seq := s.timers.Get(e.word, stamp[K]{e.key, e.at})
	return seq != nil && *seq == e.seq
}

// Next is a time before which no timer is due: that of the earliest timer, or
// an earlier one at which a timer was to fire that has been deleted. Advancing
// to it fires the timers there are, if any, and brings Next forward. ok is
// false when there are no timers at all.
func (s *Service[K]) Next() (at int64, ok bool) {
	if s.timers.Len() == 0 {
		return 0, false
	}
	if len(s.late) > 0 {
		return s.late[0].at, true
	}
	return s.w.next()
}

// Advance fires the timers due at the time to or before, in order, among them
// those that fire sets meanwhile. A timer is gone when fire is called for it,
// and fire may set it again.
//
// When fire returns false, Advance returns false after it, with timers
// perhaps still due, so that the task can do what is urgent; the next Advance
// goes on from there. Otherwise it returns true, with none due. fire must not
// call Advance.
func (s *Service[K]) Advance(to int64, fire func(word uint64, k K, at int64) bool) (done bool) {
	for {
		e, ok := s.pop(to)
		if !ok {
			return true
		}
		if !s.alive(&e) {
			s.dead--
			continue
		}
		s.timers.Delete(e.word, stamp[K]{e.key, e.at})
		if !fire(keyWord(e.word, e.at), e.key, e.at) {
			return false
		}
	}
}

// pop takes out the first entry, if it is due at the time to.
func (s *Service[K]) pop(to int64) (e entry[K], ok bool) {
	if len(s.late) > 0 {
		if s.late[0].at > to {
			return e, false
		}
		return s.late.pop(), true
	}
	b := s.w.due(to)
	if b == nil {
		s.w.skip(to)
		return e, false
	}
	if c := b.head; c.from == 0 && c.to > 1 {
		// The table will be asked for each of them: let the misses overlap.
		s.words = s.words[:0]
		for i := range c.entries[:c.to] {
			s.words = append(s.words, c.entries[i].word)
		}
		s.timers.Touch(s.words)
	}
	return s.w.pop(b), true
}

// Clear takes all timers back.
func (s *Service[K]) Clear[_ lazy]() {
	s.timers.Clear()
	s.sweep()
}

// All iterates over the timers by key group, within one in no particular
// order, but for the same history always in the same. The service must not be
// changed before the loop is over.
func (s *Service[K]) All[_ lazy]() iter.Seq[Timer[K]] { return timers(s.timers.Entries()) }

// Snapshot freezes the timers as they are now, in time that depends on the
// number of key groups only. It may be read by another goroutine while the
// service runs on. The caller releases it.
func (s *Service[K]) Snapshot[_ lazy]() *Snapshot[K] {
	return &Snapshot[K]{timers: s.timers.Snapshot()}
}

// Restore sets the timers given, those of a snapshot's key groups. It may be
// called several times, with timers of several snapshots.
func (s *Service[K]) Restore[_ lazy](timers iter.Seq[Timer[K]]) {
	for t := range timers {
		s.Set(t.Word, t.Key, t.At)
	}
}

// A Snapshot is the timers of a Service as they were when Snapshot was called.
// It may be read from any goroutine, and not after Release.
type Snapshot[K comparable] struct {
	timers *table.Snapshot[stamp[K], uint64]
}

// Release ends the use of the snapshot. It may be called from any goroutine
// and more than once.
func (s *Snapshot[K]) Release() { s.timers.Release() }

// Groups is the range of key groups that the snapshot holds.
func (s *Snapshot[K]) Groups[_ lazy]() keygroup.Range { return s.timers.Groups() }

// Len is the number of timers.
func (s *Snapshot[K]) Len[_ lazy]() int { return s.timers.Len() }

// GroupLen is the number of timers in one key group.
func (s *Snapshot[K]) GroupLen[_ lazy](g int) int { return s.timers.GroupLen(g) }

// All iterates over the timers by key group.
func (s *Snapshot[K]) All[_ lazy]() iter.Seq[Timer[K]] { return timers(s.timers.Entries()) }

// Group iterates over the timers of one key group.
func (s *Snapshot[K]) Group[_ lazy](g int) iter.Seq[Timer[K]] {
	return timers(s.timers.GroupEntries(g))
}

func timers[K comparable](entries iter.Seq[*table.Entry[stamp[K], uint64]]) iter.Seq[Timer[K]] {
	return func(yield func(Timer[K]) bool) {
		for e := range entries {
			if !yield(Timer[K]{keyWord(e.Word(), e.Key.at), e.Key.key, e.Key.at}) {
				return
			}
		}
	}
}
