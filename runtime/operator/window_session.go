package operator

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
	"github.com/millrace/millrace/state/keygroup"
	"github.com/millrace/millrace/state/table"
)

// Sessions aggregates sessions of event time that fire once, when event time
// passes their end. Port 0 is the main output, port 1 takes late records.
//
// A key's sessions lie together in one table entry, the one last used inline.
// There is one timer for each key, which is left alone when a session grows:
// it then fires too early, and is set anew. Timers follow from the sessions,
// so snapshots do without them.
type Sessions[K comparable, In, Acc, R any] struct {
	// Gap is the length of a session's silence in milliseconds; GapOf, if not
	// nil, that after a record.
	Gap   int64
	GapOf func(*In) int64
	// Agg has a Merge.
	Agg Aggregate[In, Acc]
	// Result and Results are as for [Slices].
	Result  func(out *R, key K, w Window, acc *Acc)
	Results func(key K, w Window, acc *Acc, emit func(R))

	env     *Env
	out     Emitter[R]
	late    lateOutput[In]
	groups  keygroup.Range
	keys    *codec.Codec[K]
	accs    *codec.Codec[Acc]
	hasher  *keygroup.Hasher[K]
	mutable bool
	count   int64
	wm      int64

	rows *table.Table[K, sessionRow[Acc]]
	heap []keyTimer[K]
	send func(R)
	at   int64 // event time of what send emits
}

// sessionRow is the sessions of one key: at least one.
type sessionRow[Acc any] struct {
	last  session[Acc]
	rest  []session[Acc] // in no order; never changed in place
	timer int64          // the only timer that counts: at most the least end
}

type session[Acc any] struct {
	start, end int64
	acc        Acc
}

// Open implements [Operator].
func (o *Sessions[K, In, Acc, R]) Open(env *Env) (err error) {
	o.env = env
	o.groups = keygroup.RangeOf(env.Index, env.Parallelism, env.MaxParallelism)
	if o.keys, err = codec.Of[K](); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if o.accs, err = codec.Of[Acc](); err != nil {
		return fmt.Errorf("accumulator: %w", err)
	}
	if o.hasher, err = keygroup.NewHasher[K](env.MaxParallelism, keygroup.Options{}); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	o.mutable = mutable(reflect.TypeFor[Acc]())
	o.wm = watermark.None
	o.rows = table.New[K, sessionRow[Acc]](o.groups, table.Options{})
	o.out.Open(env)
	o.late.out.Open(env)
	o.send = func(v R) { o.out.Emit(v, o.at) }
	return nil
}

// Input implements [Operator].
func (o *Sessions[K, In, Acc, R]) Input(int) any { return o }

// Connect implements [Operator].
func (o *Sessions[K, In, Acc, R]) Connect(port int, r any) {
	if port == 0 {
		o.out.Connect(r)
		return
	}
	o.late.out.Connect(r)
}

// Close implements [Operator].
func (o *Sessions[K, In, Acc, R]) Close() error { return nil }

// Finish implements [Operator].
func (o *Sessions[K, In, Acc, R]) Finish() (bool, error) { return true, nil }

// LateDropped is the number of late records that nobody took.
func (o *Sessions[K, In, Acc, R]) LateDropped() int64 { return o.late.dropped }

// Receive implements [Receiver].
func (o *Sessions[K, In, Acc, R]) Receive(b *record.Batch[In]) error {
	keys, words, times := *b.Keys.(*[]K), b.Words, b.Times
	cur := o.env.Cursor
	cur.Op, cur.Base, cur.Times = o.env.Name, o.count, times
	o.rows.Touch(words)
	gap := o.Gap
	for _, i := range b.Live() {
		cur.Row = i
		ts := times[i]
		if !hasTime(ts) {
			return errNoTime(nil)
		}
		if o.GapOf != nil {
			if gap = o.GapOf(&b.Rows[i]); gap <= 0 {
				return fmt.Errorf("window: the gap of a session is %d ms: it must be greater than 0", gap)
			}
		}
		row, created := o.rows.Upsert(words[i], keys[i])
		switch s := &row.last; {
		case created:
			if ts+gap-1 <= o.wm {
				o.rows.Delete(words[i], keys[i])
				o.late.late(&b.Rows[i], ts)
				cur.Op = o.env.Name
				continue
			}
			s.start, s.end = ts, ts+gap
			o.Agg.Add(&s.acc, &b.Rows[i])
			o.arm(row, words[i], keys[i], ts+gap-1)
		case row.rest == nil && s.start <= ts+gap && ts <= s.end:
			s.start, s.end = min(s.start, ts), max(s.end, ts+gap)
			o.Agg.Add(&s.acc, &b.Rows[i])
		default:
			o.join(row, words[i], keys[i], &b.Rows[i], ts, ts+gap)
			cur.Op = o.env.Name
		}
	}
	cur.Op = ""
	o.count += int64(b.Len())
	return errors.Join(o.out.Flush(), o.late.out.Flush())
}

// join adds a record of a key that has several sessions, or gets one more.
func (o *Sessions[K, In, Acc, R]) join(row *sessionRow[Acc], word uint64, k K, v *In, start, end int64) {
	all := append(slices.Clone(row.rest), row.last)
	var joined, others []session[Acc]
	for _, s := range all {
		if s.start <= end && start <= s.end {
			joined = append(joined, s)
		} else {
			others = append(others, s)
		}
	}
	if len(joined) == 0 {
		if end-1 <= o.wm {
			o.late.late(v, start)
			return
		}
		row.rest = others
		row.last = session[Acc]{start: start, end: end}
		o.Agg.Add(&row.last.acc, v)
		if end-1 < row.timer {
			o.arm(row, word, k, end-1)
		}
		return
	}
	// Older sessions come first.
	slices.SortFunc(joined, func(a, b session[Acc]) int {
		if a.start < b.start {
			return -1
		}
		return 1
	})
	s := joined[0]
	for i := range joined[1:] {
		o.Agg.Merge(&s.acc, &joined[1+i].acc)
		s.end = max(s.end, joined[1+i].end)
	}
	s.start, s.end = min(s.start, start), max(s.end, end)
	o.Agg.Add(&s.acc, v)
	row.last, row.rest = s, others
}

// arm sets the timer of a key.
func (o *Sessions[K, In, Acc, R]) arm(row *sessionRow[Acc], word uint64, k K, at int64) {
	row.timer = at
	o.keys.Own(&k) // it may be borrowed from a batch
	o.push(keyTimer[K]{at, word, k})
}

// Advance implements [Operator].
func (o *Sessions[K, In, Acc, R]) Advance(wm int64) (int64, bool, error) {
	o.wm = max(o.wm, wm)
	if len(o.heap) == 0 || o.heap[0].at > wm {
		return wm, true, nil
	}
	cur := o.env.Cursor
	cur.Op, cur.Times = o.env.Name, nil
	done := true
	for n := 1; len(o.heap) > 0 && o.heap[0].at <= wm; n++ {
		e := o.pop()
		o.fire(e)
		if n%yieldEvery == 0 && o.env.Yield() {
			done = false
			break
		}
	}
	cur.Op = ""
	return wm, done, o.out.Flush()
}

// fire fires the sessions of a key that end at its timer.
func (o *Sessions[K, In, Acc, R]) fire(e keyTimer[K]) {
	at := o.rows.Get(e.word, e.key)
	if at == nil || at.timer != e.at {
		return
	}
	row, _ := o.rows.Upsert(e.word, e.key)
	if row.rest == nil {
		if row.last.end-1 > e.at {
			row.timer = row.last.end - 1
			o.push(keyTimer[K]{row.timer, e.word, e.key})
			return
		}
		o.emit(e.key, &row.last)
		o.rows.Delete(e.word, e.key)
		return
	}
	var left []session[Acc]
	next := int64(math.MaxInt64)
	for _, s := range append(slices.Clone(row.rest), row.last) {
		if s.end-1 <= e.at {
			o.emit(e.key, &s)
			continue
		}
		next = min(next, s.end-1)
		left = append(left, s)
	}
	if len(left) == 0 {
		o.rows.Delete(e.word, e.key)
		return
	}
	row.last = left[len(left)-1]
	if row.rest = left[: len(left)-1 : len(left)-1]; len(row.rest) == 0 {
		row.rest = nil
	}
	row.timer = next
	o.push(keyTimer[K]{next, e.word, e.key})
}

func (o *Sessions[K, In, Acc, R]) emit(k K, s *session[Acc]) {
	o.at = s.end - 1
	o.env.Cursor.Op = o.env.Name
	if o.Results != nil {
		o.Results(k, Window{s.start, s.end}, &s.acc, o.send)
		return
	}
	o.Result(o.out.Next(o.at), k, Window{s.start, s.end}, &s.acc)
}

const stateKeySessions = "sessions"

// Snapshot implements [Stateful].
func (o *Sessions[K, In, Acc, R]) Snapshot() ([]Piece, error) {
	put := func(dst []byte, s *session[Acc]) []byte {
		return o.accs.Append(putInt64(putInt64(dst, s.start), s.end), &s.acc)
	}
	ps := tablePieces(stateKeySessions, o.rows, o.groups, func(dst []byte, k *K, row *sessionRow[Acc]) []byte {
		dst = putInt64(o.keys.Append(dst, k), int64(len(row.rest)))
		for i := range row.rest {
			dst = put(dst, &row.rest[i])
		}
		return put(dst, &row.last)
	})
	if o.mutable {
		var err error
		if ps, err = encoded(ps); err != nil {
			return nil, err
		}
	}
	return append(ps, timePiece(o.wm)), nil
}

// Restore implements [Stateful].
func (o *Sessions[K, In, Acc, R]) Restore(pieces []Piece) error {
	known := false
	for _, p := range pieces {
		r := &stateReader{src: p.Data}
		switch p.State {
		case stateTime:
			if wm := r.int64(); !known || wm < o.wm {
				o.wm, known = wm, true
			}
		case stateKeySessions:
			for r.err == nil && len(r.src) > 0 {
				o.restore(r)
			}
		default:
			return fmt.Errorf("state %s is in the snapshot but not known to a window operator of this kind", p.State)
		}
		if r.err != nil {
			return fmt.Errorf("state %s: key group %d: %w", p.State, p.Group, r.err)
		}
	}
	return nil
}

func (o *Sessions[K, In, Acc, R]) restore(r *stateReader) {
	k, word := readKey(r, o.keys, o.hasher, o.groups)
	var row sessionRow[Acc]
	next := int64(math.MaxInt64)
	n := r.int64()
	if n < 0 {
		r.err = cmp.Or(r.err, fmt.Errorf("%w: %d sessions", codec.ErrCorrupt, n))
	}
	for ; n >= 0 && r.err == nil; n-- {
		s := session[Acc]{start: r.int64(), end: r.int64()}
		r.decode(func(src []byte) ([]byte, error) { return o.accs.DecodeOwned(src, &s.acc) })
		next = min(next, s.end-1)
		if n == 0 {
			row.last = s
		} else {
			row.rest = append(row.rest, s)
		}
	}
	if r.err != nil {
		return
	}
	at, _ := o.rows.Upsert(word, k)
	*at = row
	at.timer = next
	o.push(keyTimer[K]{next, word, k})
}

// keyTimer is a timer of a key.
type keyTimer[K comparable] struct {
	at   int64
	word uint64
	key  K
}

func (e *keyTimer[K]) less(o *keyTimer[K]) bool {
	return e.at < o.at || e.at == o.at && e.word < o.word
}

func (o *Sessions[K, In, Acc, R]) push(e keyTimer[K]) {
	h := append(o.heap, e)
	i := len(h) - 1
	for i > 0 {
		p := (i - 1) / 4
		if !e.less(&h[p]) {
			break
		}
		h[i] = h[p]
		i = p
	}
	h[i] = e
	o.heap = h
}

func (o *Sessions[K, In, Acc, R]) pop() keyTimer[K] {
	h := o.heap
	top := h[0]
	n := len(h) - 1
	e := h[n]
	h[n] = keyTimer[K]{}
	h = h[:n]
	o.heap = h
	i := 0
	for {
		c := 4*i + 1
		if c >= n {
			break
		}
		for j, last := c+1, min(c+4, n); j < last; j++ {
			if h[j].less(&h[c]) {
				c = j
			}
		}
		if !h[c].less(&e) {
			break
		}
		h[i] = h[c]
		i = c
	}
	if n > 0 {
		h[i] = e
	}
	return top
}
