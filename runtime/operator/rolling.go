package operator

import (
	"cmp"
	"fmt"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/state/table"
)

// Rolling keeps one value of A per key of a keyed stream, changes it with every
// record and sends on what it then is. It is the fast path of a [Process] with
// one value: a batch's values are found together.
type Rolling[K comparable, In, A, Out any] struct {
	// State is the name of the state in snapshots.
	State string
	// Step folds the record into the value, which is zero and fresh for the
	// first of a key, and fills out, which holds what an earlier record left.
	Step func(key *K, in *In, acc *A, fresh bool, out *Out)

	env    *Env
	k      *Keyed[K]
	s      *valueState[K, A]
	out    Emitter[Out]
	count  int64
	values []*A
}

// atOnce is how many keys are found together. Their values are used while they
// are still in the nearest cache.
const atOnce = 64

// Open implements [Operator].
func (r *Rolling[K, In, A, Out]) Open(env *Env) (err error) {
	r.env = env
	if r.k, err = NewKeyed[K](env); err != nil {
		return err
	}
	c, err := codec.Of[A]()
	if err != nil {
		return fmt.Errorf("state %q: %w", r.State, err)
	}
	r.s = &valueState[K, A]{k: r.k, t: table.New[K, A](r.k.groups, table.Options{}), name: r.State, codec: c, plain: c.PointerFree()}
	r.k.add(r.State, r.s)
	r.out.Open(env)
	return nil
}

// Input implements [Operator].
func (r *Rolling[K, In, A, Out]) Input(int) any { return r }

// Connect implements [Operator].
func (r *Rolling[K, In, A, Out]) Connect(_ int, to any) { r.out.Connect(to) }

// Receive implements [Receiver].
func (r *Rolling[K, In, A, Out]) Receive(b *record.Batch[In]) error {
	live := b.Live()
	keys := *b.Keys.(*[]K)
	cur := r.env.Cursor
	cur.Op, cur.Base, cur.Row, cur.Times = r.env.Name, r.count, 0, b.Times
	r.count += int64(len(live))
	t, step := r.s.t, r.Step
	own := r.k.Borrowed && !r.s.plain
	if b.Sel != nil { // does not come from an exchange: no need to be fast
		for _, i := range live {
			cur.Row = i
			out := r.out.Next(b.Times[i])
			p, fresh := t.Upsert(b.Words[i], keys[i])
			step(&keys[i], &b.Rows[i], p, fresh, out)
			if own {
				r.s.codec.Own(p)
			}
		}
		live = nil
	}
	for lo := 0; lo < len(live); lo += atOnce {
		at := live[lo:min(lo+atOnce, len(live))]
		first, end := lo, lo+len(at)
		r.values, _ = t.UpsertBatch(b.Words[first:end], keys[first:end], r.values[:0])
		fresh := t.Fresh()
		for j, i := range at {
			cur.Row = i
			out := r.out.Next(b.Times[i])
			isFresh := len(fresh) > 0 && fresh[0] == int32(j)
			if isFresh {
				fresh = fresh[1:]
			}
			step(&keys[i], &b.Rows[i], r.values[j], isFresh, out)
			if own {
				r.s.codec.Own(r.values[j])
			}
		}
	}
	cur.Op = ""
	return r.out.Flush()
}

// Advance implements [Operator].
func (r *Rolling[K, In, A, Out]) Advance(wm int64) (int64, bool, error) { return wm, true, nil }

// Finish implements [Operator].
func (r *Rolling[K, In, A, Out]) Finish() (bool, error) { return true, nil }

// Close implements [Operator].
func (r *Rolling[K, In, A, Out]) Close() error { return nil }

// Snapshot implements [Stateful].
func (r *Rolling[K, In, A, Out]) Snapshot() ([]Piece, error) { return r.k.Snapshot() }

// Restore implements [Stateful].
func (r *Rolling[K, In, A, Out]) Restore(pieces []Piece) error { return r.k.Restore(pieces) }

// Number is what can be added up.
type Number interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// RollingReduce folds records into one of their own type.
func RollingReduce[K comparable, T any](f func(a, b T) T) *Rolling[K, T, T, T] {
	return &Rolling[K, T, T, T]{State: "reduced", Step: func(_ *K, in, acc *T, fresh bool, out *T) {
		if fresh {
			*acc = *in
		} else {
			*acc = f(*acc, *in)
		}
		*out = *acc
	}}
}

// RollingSum keeps the first record of a key and adds the field of later ones
// to its own.
func RollingSum[K comparable, T any, N Number](field func(*T) *N) *Rolling[K, T, T, T] {
	return &Rolling[K, T, T, T]{State: "sum", Step: func(_ *K, in, acc *T, fresh bool, out *T) {
		if fresh {
			*acc = *in
		} else {
			*field(acc) += *field(in)
		}
		*out = *acc
	}}
}

// RollingBest keeps the first record of a key and takes over the field of a
// later one that is less, or greater if most is set.
func RollingBest[K comparable, T any, N cmp.Ordered](field func(*T) *N, most bool) *Rolling[K, T, T, T] {
	return &Rolling[K, T, T, T]{State: "best", Step: func(_ *K, in, acc *T, fresh bool, out *T) {
		if fresh {
			*acc = *in
		} else if better(*field(in), *field(acc), most) {
			*field(acc) = *field(in)
		}
		*out = *acc
	}}
}

// RollingBestBy keeps the record with the least, or greatest, value of by. Of
// equals it keeps the first.
func RollingBestBy[K comparable, T any, N cmp.Ordered](by func(*T) N, most bool) *Rolling[K, T, T, T] {
	return &Rolling[K, T, T, T]{State: "best", Step: func(_ *K, in, acc *T, fresh bool, out *T) {
		if fresh || better(by(in), by(acc), most) {
			*acc = *in
		}
		*out = *acc
	}}
}

func better[N cmp.Ordered](a, b N, most bool) bool {
	if most {
		a, b = b, a
	}
	return cmp.Less(a, b)
}
