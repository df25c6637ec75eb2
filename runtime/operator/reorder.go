package operator

import "github.com/millrace/millrace/runtime/record"

// Sort sends records on in the order of their event times, key by key: it keeps
// them until the watermark has reached them. Records of one key and time stay in
// the order in which they came. Records that the watermark has passed already
// go to port 1.
type Sort[K comparable, T any] struct {
	// Unkeyed sorts all records of the subtask as if they were of one key. K
	// then is a number.
	Unkeyed bool

	out  Output[T]
	send *record.Batch[T]
	late late[T]

	env   *Env
	k     *Keyed[K]
	rows  *timedRows[K, T]
	due   due[K]
	count int64
}

// Open implements [Operator].
func (s *Sort[K, T]) Open(env *Env) (err error) {
	s.env = env
	alone := *env
	if s.Unkeyed {
		alone.Index, alone.Parallelism, alone.MaxParallelism = 0, 1, 1
	}
	if s.k, err = NewKeyed[K](&alone); err != nil {
		return err
	}
	if s.rows, err = newTimedRows[K, T](s.k, "rows"); err != nil {
		return err
	}
	s.due = newDue(s.k)
	s.send = record.New[T](env.BatchSize)
	s.late.Open(env)
	return nil
}

// Input implements [Operator].
func (s *Sort[K, T]) Input(int) any { return s }

// Connect implements [Operator].
func (s *Sort[K, T]) Connect(port int, r any) {
	if port == 1 {
		s.late.Connect(r)
		return
	}
	s.out.Connect(r)
}

// LateDropped is the number of late records that nobody received.
func (s *Sort[K, T]) LateDropped() int64 { return s.late.dropped }

// Receive implements [Receiver].
func (s *Sort[K, T]) Receive(b *record.Batch[T]) error {
	live := b.Live()
	k := s.k
	var keys []K
	if s.Unkeyed {
		k.Begin(nil)
		k.Word = k.Hash(k.Key)
	} else {
		keys = *b.Keys.(*[]K)
		k.Begin(b.Words)
	}
	for _, i := range live {
		at := b.Times[i]
		if at == record.NoTime {
			return untimed(s.env, s.count, b.Times, i)
		}
		if at <= k.Watermark {
			s.late.put(&b.Rows[i], at)
			continue
		}
		if !s.Unkeyed {
			k.Key, k.Word = keys[i], b.Words[i]
		}
		if s.rows.add(&b.Rows[i], at, false) {
			s.due.set(at)
		}
	}
	k.End(len(live))
	s.count += int64(len(live))
	return s.late.Flush()
}

// Advance implements [Operator].
func (s *Sort[K, T]) Advance(wm int64) (int64, bool, error) {
	s.k.Watermark = wm
	done, err := s.due.fire(s.env, wm, func() error {
		if err := s.rows.upTo(wm, s.release); err != nil {
			return err
		}
		s.rows.drop(wm)
		if at, ok := s.rows.head(); ok {
			s.due.set(at)
		}
		return nil
	})
	if err == nil {
		err = s.flush()
	}
	return wm, done, err
}

func (s *Sort[K, T]) release(at int64, m *moment[T]) error {
	for i := range int(m.n) {
		if s.send.Full() {
			if err := s.flush(); err != nil {
				return err
			}
		}
		s.send.Append(*m.at(i), at)
	}
	return nil
}

func (s *Sort[K, T]) flush() error {
	if len(s.send.Rows) == 0 {
		return nil
	}
	err := s.out.Send(s.send)
	s.send.Reset()
	return err
}

// Finish implements [Operator].
func (s *Sort[K, T]) Finish() (bool, error) { return true, nil }

// Close implements [Operator].
func (s *Sort[K, T]) Close() error { return nil }

// Snapshot implements [Stateful].
func (s *Sort[K, T]) Snapshot() ([]Piece, error) {
	all, err := s.k.Snapshot()
	if s.Unkeyed {
		for i := range all {
			all[i].Group = OperatorGroup
		}
	}
	return all, err
}

// Restore implements [Stateful].
func (s *Sort[K, T]) Restore(pieces []Piece) error {
	for _, p := range pieces {
		if s.Unkeyed && p.Group == OperatorGroup {
			p.Group = 0
		}
		if err := s.k.Restore([]Piece{p}); err != nil {
			return err
		}
	}
	rebuild(s.k, s.rows, func(at int64) { s.due.set(at) })
	return nil
}
