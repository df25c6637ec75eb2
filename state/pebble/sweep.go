package pebble

import (
	"bytes"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/millrace/millrace/state/cold"
)

// A sweeper is where the next Sweep goes on. Entries of one kind are a range
// of keys in each key group.
type sweeper struct {
	order []int  // kinds, by prefix
	place int    // index into order
	group int    // key group
	from  []byte // first key to look at in the range, or empty for its start
	begun bool
	kept  []byte
	batch cold.Batch
}

// Expire sets a clock, as cold.Store says.
func (s *Store) Expire(kind int, now int64) {
	s.mu.Lock()
	s.clocks[kind] = max(s.clocks[kind], now)
	s.mu.Unlock()
}

func (s *Store) now(kind int) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clocks[kind]
}

// Sweep removes expired entries, as cold.Store says. To move to another key
// group counts like an entry.
func (s *Store) Sweep(entries int) (looked int, err error) {
	if len(s.kinds) == 0 || s.groups.Len() == 0 {
		return 0, nil
	}
	w := &s.sweep
	if !w.begun {
		w.begin(s)
	}
	it, err := s.db.NewIter(nil)
	if err != nil {
		return 0, s.wrap("sweeping", err)
	}
	w.batch.Reset()
	for ranges := 0; looked < entries && ranges <= s.groups.Len()*len(w.order); {
		kind := w.order[w.place]
		n, ended, err := s.sweepSome(it, kind, w.group, entries-looked)
		looked += max(n, 1)
		if err != nil {
			return looked, s.wrap("sweeping", errors.Join(err, it.Close()))
		}
		if !ended {
			break
		}
		ranges++
		w.from = w.from[:0]
		if w.place++; w.place == len(w.order) {
			w.place = 0
			if w.group++; w.group > s.groups.End {
				w.group = s.groups.Start
			}
		}
	}
	if err := it.Close(); err != nil {
		return looked, s.wrap("sweeping", err)
	}
	return looked, s.Write(&w.batch)
}

func (w *sweeper) begin(s *Store) {
	w.begun, w.group = true, s.groups.Start
	for i := range s.kinds {
		w.order = append(w.order, i)
	}
	slices.SortFunc(w.order, func(a, b int) int { return bytes.Compare(s.kinds[a].Prefix, s.kinds[b].Prefix) })
}

// sweepSome looks at up to most entries of a kind in a group, from w.from on,
// and puts what is to be changed into w.batch.
func (s *Store) sweepSome(it *pebble.Iterator, kind, group, most int) (n int, ended bool, err error) {
	w, t, now := &s.sweep, &s.kinds[kind], s.now(kind)
	if len(w.from) == 0 {
		w.from = append(append(w.from, cold.GroupKey(group)...), t.Prefix...)
	}
	first := len(t.Prefix) + 2
	prefix := slices.Clone(w.from[:first])
	for ok := it.SeekGE(w.from); ok && bytes.HasPrefix(it.Key(), prefix); ok = it.Next() {
		if n == most {
			w.from = append(w.from[:0], it.Key()...)
			return n, false, nil
		}
		n++
		v, err := it.ValueAndErr()
		if err != nil {
			return n, false, err
		}
		live := t.Live(v, now, w.kept)
		switch {
		case live == nil && len(v) > 0:
			w.batch.Delete(it.Key())
		case len(live) < len(v):
			w.batch.Put(it.Key(), live)
			w.kept = live
		}
	}
	return n, true, it.Error()
}

// sweepRange removes all expired entries with lower <= key < upper.
func (s *Store) sweepRange(lower, upper []byte) error {
	scan, err := s.Scan(lower, upper)
	if err != nil {
		return err
	}
	var in, out cold.Batch
	var kept []byte
	for {
		more, err := scan.Next(&in)
		if err != nil {
			return errors.Join(err, scan.Close())
		}
		if !more {
			return scan.Close()
		}
		out.Reset()
		for _, e := range in.All() {
			for k := range s.kinds {
				if !s.kinds[k].Covers(e.Key) {
					continue
				}
				live := s.kinds[k].Live(e.Value, s.now(k), kept)
				switch {
				case live == nil && len(e.Value) > 0:
					out.Delete(e.Key)
				case len(live) < len(e.Value):
					out.Put(e.Key, live)
					kept = live
				}
				break
			}
		}
		if err := s.Write(&out); err != nil {
			return errors.Join(err, scan.Close())
		}
	}
}
