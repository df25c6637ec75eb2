package operator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/timer"
	"github.com/millrace/millrace/state/table"
)

// timedRows is a state that keeps rows by key and event time: what waits for the
// watermark or for a partner. Rows of one key and time stay in the order in
// which they came.
type timedRows[K comparable, T any] struct {
	k     *Keyed[K]
	t     *table.OrderedTable[K, int64, moment[T]]
	codec *codec.Codec[T]
	plain bool // T holds no pointers
}

// moment is the rows of one key and event time. What more points to is only
// ever appended to, so snapshots share it.
type moment[T any] struct {
	first T
	more  []T
	n     int32
	// paired is how many of the rows, from the first on, have met a partner.
	// Rows that have and rows that have not do not mix: who meets a row meets
	// all that are there already.
	paired int32
}

// at returns row i.
func (m *moment[T]) at(i int) *T {
	if i == 0 {
		return &m.first
	}
	return &m.more[i-1]
}

// newTimedRows declares the state.
func newTimedRows[K comparable, T any](k *Keyed[K], name string) (*timedRows[K, T], error) {
	c, err := codec.Of[T]()
	if err != nil {
		return nil, fmt.Errorf("state %s: %w", name, err)
	}
	s := &timedRows[K, T]{k: k, t: table.NewOrdered[K, int64, moment[T]](k.groups, table.Options{}), codec: c, plain: c.PointerFree()}
	k.add(name, s)
	return s, nil
}

// add puts a row of the key in effect, and reports whether it is the first of
// its key in time.
func (s *timedRows[K, T]) add(v *T, at int64, paired bool) (first bool) {
	k := s.k
	earliest, v0 := s.t.View(k.Word, k.Key).First()
	m, created := s.t.Upsert(k.Word, k.Key, at)
	var p *T
	if created {
		m.first = *v
		p = &m.first
	} else {
		m.more = append(m.more, *v)
		p = &m.more[len(m.more)-1]
	}
	if k.Borrowed && !s.plain {
		s.codec.Own(p)
	}
	m.n++
	if paired {
		m.paired = m.n
	}
	return v0 == nil || at < earliest
}

// head is the earliest time that the key in effect has a row of.
func (s *timedRows[K, T]) head() (at int64, ok bool) {
	at, m := s.t.View(s.k.Word, s.k.Key).First()
	return at, m != nil
}

// upTo calls f for the moments of the key in effect up to and including to, in
// order, until f fails.
func (s *timedRows[K, T]) upTo(to int64, f func(at int64, m *moment[T]) error) error {
	view := s.t.View(s.k.Word, s.k.Key)
	for at, m := range view.All() {
		if at > to {
			break
		}
		if err := f(at, m); err != nil {
			return err
		}
	}
	return nil
}

// drop removes the moments of the key in effect up to and including to.
func (s *timedRows[K, T]) drop(to int64) {
	if to == math.MaxInt64 {
		s.t.DeleteAll(s.k.Word, s.k.Key)
		return
	}
	s.t.DeleteRange(s.k.Word, s.k.Key, math.MinInt64, to+1)
}

func (s *timedRows[K, T]) touch(words []uint64) { s.t.Touch(words) }

func (s *timedRows[K, T]) visit(f func(word uint64, key K)) {
	for e := range s.t.All() {
		f(e.Word(), e.Key())
	}
}

// snapshot writes for each key the number of its moments, and for each of them
// its time, the number of its rows, how many of these are paired, and the rows.
func (s *timedRows[K, T]) snapshot(name string) []Piece {
	snap := s.t.Snapshot()
	return s.k.pieces(name, frozen{
		schema:  schemas(s.k.keys.Schema(), s.codec.Schema()),
		has:     func(g int) bool { return snap.GroupKeys(g) > 0 },
		release: snap.Release,
		append: func(dst []byte, g int) []byte {
			for e := range snap.Group(g) {
				key := e.Key()
				dst = s.k.keys.Append(dst, &key)
				dst = binary.AppendUvarint(dst, uint64(e.Map().Len()))
				for at, m := range e.Map().All() {
					dst = appendInt64(dst, at)
					dst = binary.AppendUvarint(dst, uint64(m.n))
					dst = binary.AppendUvarint(dst, uint64(m.paired))
					for i := range int(m.n) {
						dst = s.codec.Append(dst, m.at(i))
					}
				}
			}
			return dst
		},
	})
}

func (s *timedRows[K, T]) restore(p Piece) error {
	r, written, err := s.k.open(p, 1)
	if err != nil {
		return err
	}
	d, err := under(s.codec, written[0])
	if err != nil {
		return err
	}
	for r.more() {
		word, key, err := r.key()
		if err != nil {
			return err
		}
		moments, src, err := takeCount(r.src)
		if err != nil {
			return err
		}
		r.src = src
		for range moments {
			if err := s.restoreMoment(&r, d, word, key); err != nil {
				return fmt.Errorf("rows of key %v: %w", key, err)
			}
		}
	}
	return nil
}

func (s *timedRows[K, T]) restoreMoment(r *reading[K], d decoder[T], word uint64, key K) error {
	at, src, err := takeInt64(r.src)
	if err != nil {
		return err
	}
	r.src = src
	n, w := binary.Uvarint(r.src)
	if w <= 0 || n == 0 || n > math.MaxInt32 || tooMany(n, r.src[w:]) {
		return fmt.Errorf("number of rows: %w", codec.ErrCorrupt)
	}
	r.src = r.src[w:]
	paired, w := binary.Uvarint(r.src)
	if w <= 0 || paired > n {
		return fmt.Errorf("number of paired rows: %w", codec.ErrCorrupt)
	}
	r.src = r.src[w:]
	// The state of an operator without keys may come from several subtasks, and
	// have the same time in more than one piece.
	m, _ := s.t.Upsert(word, key, at)
	for range n {
		var v T
		if r.src, err = d.decode(r.src, &v); err != nil {
			return err
		}
		if m.n == 0 {
			m.first = v
		} else {
			m.more = append(m.more, v)
		}
		m.n++
	}
	m.paired += int32(paired)
	return nil
}

// due says which keys have something to do at which time. It is not part of
// snapshots: what is due follows from the state.
type due[K comparable] struct {
	k *Keyed[K]
	s *timer.Service[K]
}

func newDue[K comparable](k *Keyed[K]) due[K] { return due[K]{k, timer.New[K](k.groups)} }

// set asks for the key in effect at time at.
func (d *due[K]) set(at int64) { d.s.Set(d.k.Word, d.k.Key, at) }

// fire puts every key that is due by now in effect, one after the other, and
// calls f. done false means it stopped in between.
func (d *due[K]) fire(env *Env, now int64, f func() error) (done bool, err error) {
	k := d.k
	n := 0
	k.Begin(nil)
	done = d.s.Advance(now, func(word uint64, key K, at int64) bool {
		k.Key, k.Word = key, word
		if err = f(); err != nil {
			return false
		}
		n++
		return n%yieldEvery != 0 || !env.Yield()
	})
	k.End(n)
	if err != nil {
		return false, fmt.Errorf("key %v: %w", k.Key, err)
	}
	return done, nil
}

// late is an output for records that came too late. While nobody receives it,
// they are counted.
type late[T any] struct {
	Emitter[T]
	dropped int64
}

func (l *late[T]) put(v *T, at int64) {
	if l.Connected() {
		*l.Next(at) = *v
		return
	}
	l.dropped++
}

// errUntimed is the error for a record without event time where one is needed.
var errUntimed = errors.New("the record has no event time: give the stream one with EventTime")

// untimed tells which record has no event time.
func untimed(env *Env, base int64, times []int64, row int32) error {
	cur := env.Cursor
	cur.Op, cur.Base, cur.Row, cur.Times = env.Name, base, row, times
	return errUntimed
}

// rebuild calls set for the earliest time of each key in rows, with the key in
// effect.
func rebuild[K comparable, T any](k *Keyed[K], rows *timedRows[K, T], set func(at int64)) {
	for e := range rows.t.All() {
		k.Key, k.Word = e.Key(), e.Word()
		at, _ := e.Map().First()
		set(at)
	}
}
