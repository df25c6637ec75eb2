package operator

import (
	"math"

	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
)

// IntervalJoin pairs records of two streams that have one key and lie close to
// each other in event time. Input 0 is the left one.
//
// A record is kept until the watermark reaches the time after which no partner
// of it can come, which is its own time if partners only come before it. A
// record that stays alone until then goes out alone if its side is kept; its
// result has that time as its event time. The result of a pair has the later of
// the two. Records behind the watermark go to port 1 (left) and port 2 (right).
type IntervalJoin[K comparable, L, R, Out any] struct {
	// From and To, in milliseconds, bound the right record's time minus the
	// left one's, both inclusive. From is not greater than To.
	From, To int64
	// KeepLeft and KeepRight say that records of that side that stay alone go
	// out too.
	KeepLeft, KeepRight bool
	// Join makes the result of a pair, or of a record alone: the other is nil
	// then. What they point to is Join's to read during the call.
	Join func(l *L, r *R) Out

	out Emitter[Out]

	env        *Env
	k          *Keyed[K]
	left       joinSide[K, L]
	right      joinSide[K, R]
	due        due[K]
	now        int64 // the watermark while keys are fired
	fire       func() error
	leftAlone  func(int64, *moment[L]) error
	rightAlone func(int64, *moment[R]) error
	marks      []int64 // scratch: times of the other side that have found a partner
}

// joinSide is one input of a join.
type joinSide[K comparable, T any] struct {
	rows *timedRows[K, T]
	late late[T]
	// keep is how long after its time a record stays, in milliseconds.
	keep int64
	// alone says that records without partner go out.
	alone bool
	count int64
}

// expired is the latest time of records that are removed when the watermark is
// wm.
func (s *joinSide[K, T]) expired(wm int64) int64 {
	if wm >= watermark.End-1 { // what plus returns at most
		return math.MaxInt64
	}
	return plus(wm, -s.keep)
}

// plus is t+d, kept away from the ends of the range, which have meanings of
// their own.
func plus(t, d int64) int64 {
	switch {
	case d > 0 && t > math.MaxInt64-1-d:
		return math.MaxInt64 - 1
	case d < 0 && t < math.MinInt64+1-d:
		return math.MinInt64 + 1
	}
	return t + d
}

// Open implements [Operator].
func (j *IntervalJoin[K, L, R, Out]) Open(env *Env) (err error) {
	j.env = env
	if j.k, err = NewKeyed[K](env); err != nil {
		return err
	}
	if j.left.rows, err = newTimedRows[K, L](j.k, "left"); err != nil {
		return err
	}
	if j.right.rows, err = newTimedRows[K, R](j.k, "right"); err != nil {
		return err
	}
	j.left.keep, j.left.alone = max(j.To, 0), j.KeepLeft
	j.right.keep, j.right.alone = max(-j.From, 0), j.KeepRight
	j.left.late.Open(env)
	j.right.late.Open(env)
	j.out.Open(env)
	j.due = newDue(j.k)
	j.fire = j.expire
	j.leftAlone = func(at int64, m *moment[L]) error {
		for i := int(m.paired); i < int(m.n); i++ {
			j.out.Emit(j.Join(m.at(i), nil), plus(at, j.left.keep))
		}
		return nil
	}
	j.rightAlone = func(at int64, m *moment[R]) error {
		for i := int(m.paired); i < int(m.n); i++ {
			j.out.Emit(j.Join(nil, m.at(i)), plus(at, j.right.keep))
		}
		return nil
	}
	return nil
}

// Input implements [Operator].
func (j *IntervalJoin[K, L, R, Out]) Input(i int) any {
	if i == 0 {
		return joinInput[L](j.receiveLeft)
	}
	return joinInput[R](j.receiveRight)
}

// joinInput is a Receiver made of a function.
type joinInput[T any] func(*record.Batch[T]) error

// Receive implements [Receiver].
func (f joinInput[T]) Receive(b *record.Batch[T]) error { return f(b) }

// Connect implements [Operator].
func (j *IntervalJoin[K, L, R, Out]) Connect(port int, r any) {
	switch port {
	case 1:
		j.left.late.Connect(r)
	case 2:
		j.right.late.Connect(r)
	default:
		j.out.Connect(r)
	}
}

// LateDropped is the number of late records of both sides that nobody received.
func (j *IntervalJoin[K, L, R, Out]) LateDropped() int64 {
	return j.left.late.dropped + j.right.late.dropped
}

func (j *IntervalJoin[K, L, R, Out]) receiveLeft(b *record.Batch[L]) error {
	return receiveJoin(j, b, &j.left, &j.right, j.From, j.To, j.Join)
}

func (j *IntervalJoin[K, L, R, Out]) receiveRight(b *record.Batch[R]) error {
	return receiveJoin(j, b, &j.right, &j.left, -j.To, -j.From, func(r *R, l *L) Out { return j.Join(l, r) })
}

// receiveJoin takes a batch of one side: it pairs each record with those of the
// other side from from to to after it, and keeps it.
func receiveJoin[K comparable, L, R, Out, A, B any](j *IntervalJoin[K, L, R, Out], b *record.Batch[A], own *joinSide[K, A], other *joinSide[K, B], from, to int64, join func(*A, *B) Out) error {
	live := b.Live()
	keys := *b.Keys.(*[]K)
	k := j.k
	cur := j.env.Cursor
	cur.Op, cur.Base, cur.Times = j.env.Name, own.count, b.Times
	k.Begin(b.Words)
	for _, i := range live {
		cur.Row = i
		at := b.Times[i]
		if at == record.NoTime {
			return errUntimed
		}
		row := &b.Rows[i]
		if at < k.Watermark {
			own.late.put(row, at)
			continue
		}
		k.Key, k.Word = keys[i], b.Words[i]
		paired := false
		for t, m := range other.rows.t.View(k.Word, k.Key).Range(plus(at, from), plus(at, to)+1) {
			paired = true
			when := max(at, t)
			for n := range int(m.n) {
				j.out.Emit(join(row, m.at(n)), when)
			}
			if other.alone && m.paired < m.n {
				j.marks = append(j.marks, t)
			}
		}
		for _, t := range j.marks {
			m, _ := other.rows.t.Upsert(k.Word, k.Key, t)
			m.paired = m.n
		}
		j.marks = j.marks[:0]
		if own.rows.add(row, at, paired) {
			j.due.set(plus(at, own.keep))
		}
	}
	k.End(len(live))
	own.count += int64(len(live))
	cur.Op = ""
	if err := own.late.Flush(); err != nil {
		return err
	}
	return j.out.Flush()
}

// Advance implements [Operator].
func (j *IntervalJoin[K, L, R, Out]) Advance(wm int64) (int64, bool, error) {
	j.k.Watermark, j.now = wm, wm
	cur := j.env.Cursor
	cur.Op, cur.Times = j.env.Name, nil
	done, err := j.due.fire(j.env, wm, j.fire)
	if err != nil {
		return wm, false, err
	}
	cur.Op = ""
	return wm, done, j.out.Flush()
}

// expire removes what no partner can come for from the key in effect.
func (j *IntervalJoin[K, L, R, Out]) expire() error {
	if err := expireSide(&j.left, &j.due, j.now, j.leftAlone); err != nil {
		return err
	}
	return expireSide(&j.right, &j.due, j.now, j.rightAlone)
}

func expireSide[K comparable, T any](s *joinSide[K, T], d *due[K], wm int64, alone func(int64, *moment[T]) error) error {
	head, ok := s.rows.head()
	to := s.expired(wm)
	if !ok {
		return nil
	}
	if head <= to {
		if s.alone {
			if err := s.rows.upTo(to, alone); err != nil {
				return err
			}
		}
		s.rows.drop(to)
		if head, ok = s.rows.head(); !ok {
			return nil
		}
	}
	d.set(plus(head, s.keep))
	return nil
}

// Finish implements [Operator].
func (j *IntervalJoin[K, L, R, Out]) Finish() (bool, error) { return true, nil }

// Close implements [Operator].
func (j *IntervalJoin[K, L, R, Out]) Close() error { return nil }

// Snapshot implements [Stateful].
func (j *IntervalJoin[K, L, R, Out]) Snapshot() ([]Piece, error) { return j.k.Snapshot() }

// Restore implements [Stateful].
func (j *IntervalJoin[K, L, R, Out]) Restore(pieces []Piece) error {
	if err := j.k.Restore(pieces); err != nil {
		return err
	}
	rebuild(j.k, j.left.rows, func(at int64) { j.due.set(plus(at, j.left.keep)) })
	rebuild(j.k, j.right.rows, func(at int64) { j.due.set(plus(at, j.right.keep)) })
	return nil
}
