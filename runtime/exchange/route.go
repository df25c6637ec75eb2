package exchange

import (
	"fmt"
	"math/rand/v2"

	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/state/keygroup"
)

// Wiring is what a task tells a new output about where it is.
type Wiring struct {
	Targets []Target
	// BatchSize is the capacity of batches.
	BatchSize int
	// Wake is called when credit comes back; see [Output].
	Wake func()
	// Index of the producing subtask, where round robin starts.
	Index int
	// MaxParallelism is the number of key groups of the consumer.
	MaxParallelism int
	// Cursor is the producing task's; the functions of users that choose a
	// row's way are called with it pointed at them.
	Cursor *record.Cursor
	// Consumer is how errors of these functions call the operator that the
	// output leads to.
	Consumer string
}

// asked is what outputs that ask a function of the user have in common.
type asked struct {
	cur   *record.Cursor
	what  string
	name  string
	count int64 // rows before the current batch
}

func (w *Wiring) asks(what string) asked {
	cur := w.Cursor
	if cur == nil {
		cur = new(record.Cursor)
	}
	return asked{cur: cur, what: what, name: w.Consumer}
}

// enter points the cursor at the function.
func (a *asked) enter(times []int64) *record.Cursor {
	c := a.cur
	c.Op, c.What, c.Base, c.Row, c.Times = a.name, a.what, a.count, 0, times
	return c
}

// leave ends n calls.
func (a *asked) leave(n int) {
	a.cur.Op, a.cur.What = "", ""
	a.count += int64(n)
}

// Keyed routes each row to the subtask that owns its key's group. Keys and hash
// words travel with the batch.
type Keyed[K comparable, T any] struct {
	links[T]
	asked
	keys   func(cur *record.Cursor, b *record.Batch[T], live []int32, dst []K) []K
	hasher *keygroup.Hasher[K]
	owner  []uint16 // by key group: index of the target
	lanes  []lane[K, T]

	buf   []K
	words []uint64
}

// A lane is the open batch of one link with its columns at full length, so that
// adding a row is four stores. The batch itself learns how long it is when it
// is sent (see seal).
type lane[K comparable, T any] struct {
	n     int // rows filled
	rows  []T
	times []int64
	words []uint64
	keys  []K
}

// NewKeyed returns an output that takes each row's key with keys, which appends
// the keys of the live rows and keeps cur at the row it asks the user for.
func NewKeyed[K comparable, T any](w Wiring, hasher *keygroup.Hasher[K], keys func(cur *record.Cursor, b *record.Batch[T], live []int32, dst []K) []K) *Keyed[K, T] {
	k := &Keyed[K, T]{asked: w.asks("key of"), keys: keys, hasher: hasher, owner: make([]uint16, w.MaxParallelism), lanes: make([]lane[K, T], len(w.Targets))}
	for g := range k.owner {
		k.owner[g] = uint16(keygroup.Owner(g, len(w.Targets), w.MaxParallelism))
	}
	k.links = newLinks(w.Targets, w.BatchSize, w.Wake, func(b *record.Batch[T]) {
		ks := make([]K, 0, w.BatchSize)
		b.Keys = &ks
		b.Words = make([]uint64, 0, w.BatchSize)
	})
	return k
}

// Receive implements operator.Receiver.
func (k *Keyed[K, T]) Receive(b *record.Batch[T]) error {
	live := b.Live()
	if len(live) == 0 {
		return nil
	}
	cur := k.enter(b.Times)
	k.buf = k.keys(cur, b, live, k.buf[:0])
	keys := k.buf[:len(live)]
	if k.hasher.MayBeNaN() {
		for i := range keys {
			if k.hasher.HasNaN(&keys[i]) {
				cur.Row = live[i]
				return fmt.Errorf("key %v of record %+v holds NaN, which equals nothing, not even itself: map it to a number first", keys[i], b.Rows[live[i]])
			}
		}
	}
	k.leave(len(live))
	k.words = k.hasher.Batch(keys, k.words[:0])
	words := k.words[:len(live)]
	if len(k.links) == 1 {
		k.single(b, live, keys, words)
		return nil
	}
	rows, times := b.Rows, b.Times[:len(b.Rows)]
	for j, i := range live {
		word := words[j]
		to := k.owner[word>>keygroup.GroupShift]
		l := &k.lanes[to]
		n := l.n
		if n == len(l.rows) {
			k.next(to)
			n = 0
		}
		l.rows[n] = rows[i]
		l.times[n] = times[i]
		l.words[n] = word
		l.keys[n] = keys[j]
		l.n = n + 1
	}
	return nil
}

// next sends lane to's batch, if it has one, and opens another.
func (k *Keyed[K, T]) next(to uint16) {
	l := &k.lanes[to]
	if l.n > 0 {
		k.seal(to)
		k.links[to].send()
	}
	o := k.links[to].batch()
	size := cap(o.Rows)
	l.n, l.rows, l.times, l.words, l.keys = 0, o.Rows[:size], o.Times[:size], o.Words[:size], (*o.Keys.(*[]K))[:size]
}

// seal tells the open batch of lane to what is in it.
func (k *Keyed[K, T]) seal(to uint16) {
	l := &k.lanes[to]
	o := k.links[to].open
	o.Rows, o.Times, o.Words = l.rows[:l.n], l.times[:l.n], l.words[:l.n]
	*o.Keys.(*[]K) = l.keys[:l.n]
}

// Flush implements [Output].
func (k *Keyed[K, T]) Flush(all bool) {
	if len(k.links) == 1 {
		k.links.Flush(all)
		return
	}
	for to := range k.lanes {
		if l := &k.lanes[to]; l.n > 0 && (all || l.n == len(l.rows) || k.links[to].to.Idle()) {
			k.seal(uint16(to))
			k.links[to].send()
			*l = lane[K, T]{}
		}
	}
}

// Control implements [Output].
func (k *Keyed[K, T]) Control(kind Kind, v int64) {
	k.Flush(true)
	k.links.Control(kind, v)
}

// single is Receive for one target: rows move in blocks, or change hands whole.
func (k *Keyed[K, T]) single(b *record.Batch[T], live []int32, keys []K, words []uint64) {
	l := k.links[0]
	if o := l.batch(); len(o.Rows) == 0 && !b.Shared && b.Sel == nil && cap(b.Rows) == cap(o.Rows) {
		o.Rows, b.Rows = b.Rows, o.Rows
		o.Times, b.Times = b.Times, o.Times
		o.Words = append(o.Words[:0], words...)
		ks := o.Keys.(*[]K)
		*ks = append((*ks)[:0], keys...)
		if o.Full() {
			l.send()
		}
		return
	}
	for len(live) > 0 {
		o := l.batch()
		ks := o.Keys.(*[]K)
		n := min(cap(o.Rows)-len(o.Rows), len(live))
		*ks = append((*ks)[:len(o.Rows)], keys[:n]...)
		o.Words = append(o.Words, words[:n]...)
		appendRows(o, b, live[:n])
		live, keys, words = live[n:], keys[n:], words[n:]
		if o.Full() {
			l.send()
		}
	}
}

// appendRows copies the rows listed in live from b to o, which has room.
func appendRows[T any](o, b *record.Batch[T], live []int32) {
	if b.Sel == nil { // a run of neighbours
		if len(live) > 0 {
			lo, hi := live[0], live[len(live)-1]+1
			o.Rows = append(o.Rows, b.Rows[lo:hi]...)
			o.Times = append(o.Times, b.Times[lo:hi]...)
		}
		return
	}
	for _, i := range live {
		o.Rows = append(o.Rows, b.Rows[i])
		o.Times = append(o.Times, b.Times[i])
	}
}

// Rebalance hands batches to its targets in turn. With one target it is the
// forward edge.
type Rebalance[T any] struct {
	links[T]
	next int
}

// NewRebalance returns an output that spreads batches evenly.
func NewRebalance[T any](w Wiring) *Rebalance[T] {
	return &Rebalance[T]{links: newLinks[T](w.Targets, w.BatchSize, w.Wake, nil), next: w.Index % len(w.Targets)}
}

// Receive implements operator.Receiver.
func (r *Rebalance[T]) Receive(b *record.Batch[T]) error {
	live := b.Live()
	if len(live) == 0 {
		return nil
	}
	l := r.links[r.next]
	if o := l.batch(); len(o.Rows) == 0 && !b.Shared && 2*len(live) >= len(b.Rows) && cap(b.Rows) == cap(o.Rows) {
		o.Swap(b)
		if 2*len(o.Rows) >= cap(o.Rows) || o.Sel != nil {
			r.send(l)
		}
		return nil
	}
	for len(live) > 0 {
		o := l.batch()
		n := min(cap(o.Rows)-len(o.Rows), len(live))
		appendRows(o, b, live[:n])
		live = live[n:]
		if o.Full() {
			r.send(l)
			l = r.links[r.next]
		}
	}
	return nil
}

func (r *Rebalance[T]) send(l *Link[T]) {
	l.send()
	r.next++
	if r.next == len(r.links) {
		r.next = 0
	}
}

// Flush implements [Output]; the target after a flushed one is next.
func (r *Rebalance[T]) Flush(all bool) {
	l := r.links[r.next]
	if l.open != nil && len(l.open.Rows) > 0 && (all || l.to.Idle()) {
		r.send(l)
	}
}

// Broadcast copies every row to every target.
type Broadcast[T any] struct{ links[T] }

// NewBroadcast returns an output that repeats everything for each target.
func NewBroadcast[T any](w Wiring) *Broadcast[T] {
	return &Broadcast[T]{newLinks[T](w.Targets, w.BatchSize, w.Wake, nil)}
}

// Receive implements operator.Receiver.
func (r *Broadcast[T]) Receive(b *record.Batch[T]) error {
	for _, l := range r.links {
		for live := b.Live(); len(live) > 0; {
			o := l.batch()
			n := min(cap(o.Rows)-len(o.Rows), len(live))
			appendRows(o, b, live[:n])
			live = live[n:]
			if o.Full() {
				l.send()
			}
		}
	}
	return nil
}

// Custom routes each row to the target that a function names.
type Custom[T any] struct {
	links[T]
	asked
	route func(row *T, targets int) int
}

// NewCustom returns an output that asks route for the index of each row's
// target; an index out of range is an error.
func NewCustom[T any](w Wiring, route func(row *T, targets int) int) *Custom[T] {
	return &Custom[T]{asked: w.asks("target of"), links: newLinks[T](w.Targets, w.BatchSize, w.Wake, nil), route: route}
}

// NewShuffle returns an output that sends each row to a random target; the
// choice is a function of the subtask's index and the row's number.
func NewShuffle[T any](w Wiring) *Custom[T] {
	rng := rand.New(rand.NewPCG(uint64(w.Index), 0x5eed))
	return NewCustom(w, func(_ *T, n int) int { return rng.IntN(n) })
}

// Receive implements operator.Receiver.
func (r *Custom[T]) Receive(b *record.Batch[T]) error {
	n := len(r.links)
	cur := r.enter(b.Times)
	for _, i := range b.Live() {
		cur.Row = i
		to := r.route(&b.Rows[i], n)
		if uint(to) >= uint(n) {
			return fmt.Errorf("partitioner sent record %+v to subtask %d of %d", b.Rows[i], to, n)
		}
		l := r.links[to]
		o := l.batch()
		o.Append(b.Rows[i], b.Times[i])
		if o.Full() {
			l.send()
		}
	}
	r.leave(b.Len())
	return nil
}
