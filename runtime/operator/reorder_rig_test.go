package operator

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/millrace/millrace/runtime/clock"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/state/keygroup"
)

// rigMax is the number of key groups in these tests.
const rigMax = 16

// rig drives the subtasks of one keyed operator by hand.
type rig struct {
	t      testing.TB
	make   func() Operator
	attach func(Operator) // connects the outputs
	ops    []Operator
	clk    *clock.Manual
	yield  func() bool
	hash   *keygroup.Hasher[uint8]
	wm     int64
}

func newRig(t testing.TB, parallelism int, make func() Operator, attach func(Operator)) *rig {
	h, err := keygroup.NewHasher[uint8](rigMax, keygroup.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, make: make, attach: attach, clk: &clock.Manual{}, hash: h, yield: func() bool { return false }, wm: record.NoTime}
	r.start(parallelism)
	return r
}

func testEnv(r *rig, i, of int) *Env {
	return &Env{Ctx: context.Background(), Name: "op", UID: "op", Index: i, Parallelism: of, MaxParallelism: rigMax, BatchSize: 8,
		Clock: r.clk, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Post: func() {}, Cursor: &Cursor{},
		Yield: func() bool { return r.yield() }}
}

func (r *rig) start(parallelism int) {
	r.ops = nil
	for i := range parallelism {
		op := r.make()
		r.attach(op)
		if err := op.Open(testEnv(r, i, parallelism)); err != nil {
			r.t.Fatal(err)
		}
		r.ops = append(r.ops, op)
	}
}

// give brings rows with their keys to an input, each to the subtask of its key.
func give[T any](r *rig, input int, keys []uint8, times []int64, rows []T) {
	for o, op := range r.ops {
		b := record.New[T](len(rows))
		ks := []uint8{}
		b.Keys = &ks
		for i := range rows {
			w := r.hash.One(&keys[i])
			if keygroup.Owner(int(w>>keygroup.GroupShift), len(r.ops), rigMax) != o {
				continue
			}
			b.Append(rows[i], times[i])
			b.Words = append(b.Words, w)
			ks = append(ks, keys[i])
		}
		if b.Len() == 0 {
			continue
		}
		if err := op.Input(input).(Receiver[T]).Receive(b); err != nil {
			r.t.Fatal(err)
		}
		clear(b.Rows) // it was borrowed
	}
}

func (r *rig) advance(wm int64) {
	r.wm = wm
	for _, op := range r.ops {
		for done := false; !done; {
			var err error
			if _, done, err = op.Advance(wm); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

// pass lets processing time pass.
func (r *rig) pass(to int64) {
	r.clk.Set(to * 1e6)
	for _, op := range r.ops {
		for {
			tick := op.(Ticker)
			if at, ok := tick.Due(); !ok || at > to {
				break
			}
			if _, err := tick.OnTime(to); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func (r *rig) finish() {
	r.advance(1<<63 - 1)
	for _, op := range r.ops {
		for done := false; !done; {
			var err error
			if done, err = op.Finish(); err != nil {
				r.t.Fatal(err)
			}
		}
		if err := op.Close(); err != nil {
			r.t.Fatal(err)
		}
	}
}

// rescale takes a snapshot, lets disturb work on with the operators while it is
// encoded, and goes on with new ones that are restored from it.
func (r *rig) rescale(parallelism int, disturb func()) {
	var pieces []Piece
	for _, op := range r.ops {
		ps, err := op.(Stateful).Snapshot()
		if err != nil {
			r.t.Fatal(err)
		}
		pieces = append(pieces, ps...)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range pieces {
			p := &pieces[i]
			data, err := p.Encode(nil)
			if err != nil {
				r.t.Error(err)
			}
			p.Data, p.Encode = data, nil
		}
	})
	disturb()
	wg.Wait()
	r.start(parallelism)
	for o, op := range r.ops {
		var mine []Piece
		for i, p := range pieces {
			if p.Group < 0 && i%parallelism == o || p.Group >= 0 && keygroup.Owner(p.Group, parallelism, rigMax) == o {
				mine = append(mine, p)
			}
		}
		if err := op.(Stateful).Restore(mine); err != nil {
			r.t.Fatal(err)
		}
	}
	if r.wm != record.NoTime {
		r.advance(r.wm)
	}
}

// gathered is what an output has sent.
type gathered[T any] struct {
	rows  []T
	times []int64
	off   *bool // set while what is sent is of no interest
}

// Receive implements Receiver.
func (g *gathered[T]) Receive(b *record.Batch[T]) error {
	if g.off != nil && *g.off {
		return nil
	}
	for _, i := range b.Live() {
		g.rows = append(g.rows, b.Rows[i])
		g.times = append(g.times, b.Times[i])
	}
	return nil
}

// lines is what was sent, with times, in an order of no meaning.
func (g *gathered[T]) lines() []string {
	out := make([]string, 0, len(g.rows))
	for i := range g.rows {
		out = append(out, fmt.Sprintf("%v @%d", g.rows[i], g.times[i]))
	}
	slices.Sort(out)
	return out
}

// sameLines fails unless got and want hold the same.
func sameLines(t testing.TB, what string, got, want []string) {
	t.Helper()
	slices.Sort(want)
	if slices.Equal(got, want) {
		return
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	t.Fatalf("%s: got %d lines, want %d; from %d on:\ngot  %v\nwant %v", what, len(got), len(want), i, head(got[i:]), head(want[i:]))
}

func head(s []string) []string { return s[:min(len(s), 5)] }

// event is a record of these tests.
type event struct {
	Key  uint8
	ID   int32
	Name string
}

// rigHistory is a random sequence of calls: batches, watermarks, times, and
// snapshots in between.
type rigHistory struct {
	rng  *rand.Rand
	wm   int64
	id   int32
	keys uint8
}

func newRigHistory(seed uint64) *rigHistory {
	return &rigHistory{rng: rand.New(rand.NewPCG(seed, 7)), wm: 0, keys: 5}
}

// batch is up to six records with times around the watermark, some late.
func (h *rigHistory) batch() (keys []uint8, times []int64, rows []event) {
	for range 1 + h.rng.IntN(6) {
		h.id++
		k := uint8(h.rng.IntN(int(h.keys)))
		keys = append(keys, k)
		times = append(times, h.wm-2+int64(h.rng.IntN(12)))
		rows = append(rows, event{k, h.id, fmt.Sprint("n", h.id)})
	}
	return
}

func (h *rigHistory) next() int64 {
	h.wm += int64(h.rng.IntN(5))
	return h.wm
}

func (h *rigHistory) parallelism() int { return []int{1, 2, 4, 7}[h.rng.IntN(4)] }

type timedEvent struct {
	event
	at int64
}

func byTime(a, b timedEvent) int { return cmp.Compare(a.at, b.at) }

// batchOf makes a batch as a keyed exchange does.
func batchOf[T any](r *rig, keys []uint8, times []int64, rows []T) *record.Batch[T] {
	b := record.New[T](len(rows))
	ks := slices.Clone(keys)
	b.Keys = &ks
	for i := range rows {
		b.Append(rows[i], times[i])
		b.Words = append(b.Words, r.hash.One(&keys[i]))
	}
	return b
}

// counting counts what it receives.
type counting[T any] struct{ n *int }

// Receive implements Receiver.
func (c counting[T]) Receive(b *record.Batch[T]) error {
	*c.n += b.Len()
	return nil
}
