package operator

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/runtime/clock"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
	"github.com/millrace/millrace/state/keygroup"
)

// rec is a record of the window tests, out a result.
type rec struct{ Key, V, At int64 }

type out struct {
	Key   int64
	W     Window
	Value int64
	At    int64
}

func (o out) String() string { return fmt.Sprintf("%d %v=%d@%d", o.Key, o.W, o.Value, o.At) }

// sink collects what an output sends.
type sink[T any] struct{ got []T }

func (s *sink[T]) Receive(b *record.Batch[T]) error {
	for _, i := range b.Live() {
		v := b.Rows[i]
		if o, ok := any(&v).(*out); ok {
			o.At = b.Times[i]
		}
		s.got = append(s.got, v)
	}
	return nil
}

func windowEnv(clk clock.Clock, yield func() bool) *Env {
	return &Env{Ctx: context.Background(), Job: "test", Name: "window", UID: "window", Parallelism: 1,
		MaxParallelism: 4, BatchSize: 8, Clock: clk, Log: slog.Default(), Post: func() {}, Cursor: &Cursor{}, Yield: yield}
}

// drive runs a window operator; it may replace it by a restored one between any
// two calls.
type drive struct {
	t     *testing.T
	make  func() Operator
	op    Operator
	clk   *clock.Manual
	yield func() bool
	out   *sink[out]
	late  *sink[rec]
	swap  func() bool // replace it now?
	keys  *keygroup.Hasher[int64]
}

func newDrive(t *testing.T, rng *rand.Rand, make func() Operator, swaps bool) *drive {
	d := &drive{t: t, make: make, clk: &clock.Manual{}, out: &sink[out]{}, late: &sink[rec]{}}
	d.yield = func() bool { return rng.IntN(3) == 0 }
	d.swap = func() bool { return swaps && rng.IntN(6) == 0 }
	d.keys, _ = keygroup.NewHasher[int64](4, keygroup.Options{})
	d.open()
	return d
}

func (d *drive) open() {
	d.op = d.make()
	d.op.Connect(0, d.out)
	d.op.Connect(1, d.late)
	if err := d.op.Open(windowEnv(d.clk, d.yield)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *drive) between() {
	if !d.swap() {
		return
	}
	pieces, err := d.op.(Stateful).Snapshot()
	if err != nil {
		d.t.Fatal(err)
	}
	for i := range pieces {
		if pieces[i].Data, err = pieces[i].Encode(nil); err != nil {
			d.t.Fatal(err)
		}
		pieces[i].Encode = nil
	}
	d.open()
	if err := d.op.(Stateful).Restore(pieces); err != nil {
		d.t.Fatal(err)
	}
}

func (d *drive) records(rs []rec) {
	d.between()
	b := record.New[rec](max(len(rs), 1))
	keys := []int64{}
	for _, r := range rs {
		b.Append(r, r.At)
		keys = append(keys, r.Key)
	}
	b.Keys = &keys
	b.Words = d.keys.Batch(keys, nil)
	if err := d.op.Input(0).(Receiver[rec]).Receive(b); err != nil {
		d.t.Fatal(err)
	}
}

func (d *drive) advance(wm int64) {
	for {
		d.between()
		_, done, err := d.op.Advance(wm)
		if err != nil {
			d.t.Fatal(err)
		}
		if done {
			return
		}
	}
}

// take returns what came out since the last call, sorted.
func (d *drive) take() (outs []out, late []rec) {
	outs, late = d.out.got, d.late.got
	d.out.got, d.late.got = nil, nil
	sortOuts(outs)
	return outs, late
}

func sortOuts(outs []out) {
	slices.SortFunc(outs, func(a, b out) int {
		for _, c := range []int64{a.Key - b.Key, a.W.StartMillis - b.W.StartMillis, a.W.EndMillis - b.W.EndMillis, a.Value - b.Value} {
			if c != 0 {
				if c < 0 {
					return -1
				}
				return 1
			}
		}
		return 0
	})
}

// without returns what is in a but not in b.
func without(a, b []out) (d []out) {
	for _, o := range a {
		if !slices.Contains(b, o) {
			d = append(d, o)
		}
	}
	return d[:min(len(d), 20)]
}

// model is windows by the definition: every record is kept in every window.
type model struct {
	a        Assigner
	lateness int64
	fold     func([]int64) int64
	wm       int64
	open     map[int64]map[Window][]int64
	outs     []out
	late     []rec
}

func newModel(a Assigner, lateness int64, fold func([]int64) int64) *model {
	return &model{a: a, lateness: lateness, fold: fold, wm: watermark.None, open: map[int64]map[Window][]int64{}}
}

// windows are those of ts, tried one by one.
func (m *model) windows(ts int64) (ws []Window) {
	switch m.a.Kind {
	case GlobalWindows:
		return []Window{Everything}
	case SessionWindows:
		return []Window{{ts, ts + m.a.Gap}}
	}
	for s := ts - m.a.Size; s <= ts; s++ {
		for e := s + 1; e <= s+m.a.Size; e++ {
			if s > ts || ts >= e {
				continue
			}
			mod := func(x, y int64) int64 { return ((x % y) + y) % y }
			if m.a.Kind == CumulativeWindows && mod(s-m.a.Offset, m.a.Size) == 0 && mod(e-s, m.a.Slide) == 0 ||
				m.a.Kind == SlidingWindows && mod(s-m.a.Offset, m.a.Slide) == 0 && e-s == m.a.Size {
				ws = append(ws, Window{s, e})
			}
		}
	}
	return ws
}

func (m *model) fire(key int64, w Window) {
	m.outs = append(m.outs, out{key, w, m.fold(m.open[key][w]), w.MaxTimestamp()})
}

func (m *model) record(r rec) {
	ws := m.windows(r.At)
	if m.open[r.Key] == nil {
		m.open[r.Key] = map[Window][]int64{}
	}
	mine := m.open[r.Key]
	skipped := len(ws) > 0
	for _, w := range ws {
		if m.a.Kind == SessionWindows {
			vs := []int64{}
			joined := false
			for again := true; again; {
				again = false
				for o, ovs := range mine {
					if o.StartMillis <= w.EndMillis && w.StartMillis <= o.EndMillis {
						w = Window{min(w.StartMillis, o.StartMillis), max(w.EndMillis, o.EndMillis)}
						vs = append(vs, ovs...)
						delete(mine, o)
						again, joined = true, true
						break
					}
				}
			}
			if !joined && w.MaxTimestamp()+m.lateness <= m.wm {
				continue
			}
			mine[w] = vs
		} else if w != Everything && w.MaxTimestamp()+m.lateness <= m.wm || m.wm == math.MaxInt64 {
			continue
		}
		skipped = false
		mine[w] = append(mine[w], r.V)
		if w.MaxTimestamp() <= m.wm {
			m.fire(r.Key, w)
		}
	}
	if skipped {
		m.late = append(m.late, r)
	}
}

func (m *model) advance(wm int64) {
	for key, ws := range m.open {
		for w := range ws {
			if max := w.MaxTimestamp(); m.wm < max && max <= wm {
				m.fire(key, w)
			}
		}
		for w := range ws {
			if w != Everything && w.MaxTimestamp()+m.lateness <= wm {
				delete(ws, w)
			}
		}
	}
	m.wm = wm
}

func (m *model) take() ([]out, []rec) {
	outs, late := m.outs, m.late
	m.outs, m.late = nil, nil
	sortOuts(outs)
	return outs, late
}

func sumOf(vs []int64) (s int64) {
	for _, v := range vs {
		s += v
	}
	return s
}

func bestOf(vs []int64) int64 { return slices.Max(vs) }

// listOf is a fold for accumulators that hold all values.
func listOf(vs []int64) (s int64) {
	for _, v := range vs {
		s += v*v + 1
	}
	return s
}

type most struct {
	V   int64
	Any bool
}

var (
	sumAgg = Aggregate[rec, int64]{
		Add:      func(a *int64, r *rec) { *a += r.V },
		Merge:    func(a, b *int64) { *a += *b },
		Subtract: func(a, b *int64) { *a -= *b },
	}
	maxAgg = Aggregate[rec, most]{
		Add: func(a *most, r *rec) {
			if !a.Any || r.V > a.V {
				*a = most{r.V, true}
			}
		},
		Merge: func(a, b *most) {
			if b.Any && (!a.Any || b.V > a.V) {
				*a = *b
			}
		},
	}
	listAgg = Aggregate[rec, []int64]{
		Add: func(a *[]int64, r *rec) { *a = append(*a, r.V) },
		Merge: func(a, b *[]int64) {
			if len(*a) == 0 {
				*a = *b // may alias: the operator has to cope
				return
			}
			*a = append(*a, *b...)
		},
	}
)

func result[Acc any](f func(*Acc) int64) func(*out, int64, Window, *Acc) {
	return func(o *out, k int64, w Window, a *Acc) { *o = out{Key: k, W: w, Value: f(a)} }
}

var (
	sumResult  = result(func(a *int64) int64 { return *a })
	maxResult  = result(func(a *most) int64 { return a.V })
	listResult = result(func(a *[]int64) int64 { return listOf(*a) })
)

func slicesOp[Acc any](a Assigner, agg Aggregate[rec, Acc], r func(*out, int64, Window, *Acc)) func() Operator {
	return func() Operator { return &Slices[int64, rec, Acc, out]{Windows: a, Agg: agg, Result: r} }
}

func windowedOp[Acc any](a Assigner, lateness int64, agg Aggregate[rec, Acc], r func(*out, int64, Window, *Acc)) func() Operator {
	return func() Operator {
		return &Windowed[int64, rec, Acc, out]{Windows: a, Lateness: lateness, Merge: agg.Merge,
			Add: func(acc *Acc, in *rec, _ int64) { agg.Add(acc, in) },
			Fire: func(o *Windowed[int64, rec, Acc, out], acc *Acc) bool {
				r(o.Out.Next(o.Window.MaxTimestamp()), o.Global.Key, o.Window, acc)
				return false
			}}
	}
}

// windowHistory feeds a random history to an operator and the model, and compares
// after each step.
func windowHistory(t *testing.T, seed uint64, name string, m *model, mk func() Operator) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 17))
	d := newDrive(t, rng, mk, true)
	at := int64(-40)
	wm := watermark.None
	check := func(what string) {
		got, gotLate := d.take()
		want, wantLate := m.take()
		if !slices.Equal(got, want) {
			t.Fatalf("%s: seed %d: %s: got also %v\nwant also %v", name, seed, what, without(got, want), without(want, got))
		}
		if !slices.Equal(gotLate, wantLate) {
			t.Fatalf("%s: seed %d: %s: late %v\nwant %v", name, seed, what, gotLate, wantLate)
		}
	}
	keys := 1 + rng.Int64N(6)
	disorder := 1 + rng.Int64N(30)
	for range 30 {
		if rng.IntN(12) == 0 {
			at += rng.Int64N(200)
		}
		var rs []rec
		for range rng.IntN(12) {
			at += rng.Int64N(4)
			rs = append(rs, rec{rng.Int64N(keys), rng.Int64N(50) - 10, at - rng.Int64N(disorder)})
		}
		d.records(rs)
		for _, r := range rs {
			m.record(r)
		}
		check(fmt.Sprintf("after %v at %d", rs, wm))
		if rng.IntN(2) == 0 {
			if next := at - rng.Int64N(40); next > wm {
				wm = next
				d.advance(wm)
				m.advance(wm)
				check(fmt.Sprintf("at %d", wm))
			}
		}
	}
	d.advance(watermark.End)
	m.advance(watermark.End)
	check("at the end")
	d.records([]rec{{1, 1, at}})
	m.record(rec{1, 1, at})
	check("after the end")
}

// timedWindows are the kinds of windows that do not depend on the records.
var timedWindows = map[string]Assigner{
	"tumbling 10":         {Size: 10, Slide: 10},
	"tumbling 10 offset":  {Size: 10, Slide: 10, Offset: 3},
	"tumbling 1":          {Size: 1, Slide: 1},
	"sliding 10/2":        {Size: 10, Slide: 2},
	"sliding 10/2 offset": {Size: 10, Slide: 2, Offset: -1},
	"sliding 10/3":        {Size: 10, Slide: 3},
	"sliding 10/7 offset": {Size: 10, Slide: 7, Offset: 5},
	"sliding 20/1":        {Size: 20, Slide: 1},
	"sliding 5/8":         {Size: 5, Slide: 8},
	"cumulative 12/3":     {Kind: CumulativeWindows, Size: 12, Slide: 3},
	"cumulative 12/4":     {Kind: CumulativeWindows, Size: 12, Slide: 4, Offset: 7},
	"global":              {Kind: GlobalWindows, EndsWithJob: true},
}

// Whatever records come in whatever order, under whatever watermarks, with
// firings cut and the operator restored from a snapshot between any two calls,
// sliced windows are those of the definition.
func TestSlicedWindowsAreThoseOfTheDefinition(t *testing.T) {
	for name, a := range timedWindows {
		for seed := range uint64(40) {
			windowHistory(t, seed, name+" sum", newModel(a, 0, sumOf), slicesOp(a, sumAgg, sumResult))
			windowHistory(t, seed, name+" max", newModel(a, 0, bestOf), slicesOp(a, maxAgg, maxResult))
			windowHistory(t, seed, name+" list", newModel(a, 0, listOf), slicesOp(a, listAgg, listResult))
		}
	}
}

func TestWindowsWithLatenessAreThoseOfTheDefinition(t *testing.T) {
	all := map[string]Assigner{
		"session 5": {Kind: SessionWindows, Gap: 5},
		"session 1": {Kind: SessionWindows, Gap: 1},
	}
	for name, a := range timedWindows {
		all[name] = a
	}
	for name, a := range all {
		for seed := range uint64(10) {
			for _, l := range []int64{0, 1, 25} {
				windowHistory(t, seed, name+" sum", newModel(a, l, sumOf), windowedOp(a, l, sumAgg, sumResult))
				windowHistory(t, seed, name+" list", newModel(a, l, listOf), windowedOp(a, l, listAgg, listResult))
			}
		}
	}
}

func sessionsOp[Acc any](gap int64, agg Aggregate[rec, Acc], r func(*out, int64, Window, *Acc)) func() Operator {
	return func() Operator { return &Sessions[int64, rec, Acc, out]{Gap: gap, Agg: agg, Result: r} }
}

func TestSessionsAreThoseOfTheDefinition(t *testing.T) {
	for _, gap := range []int64{1, 3, 8, 30} {
		a := Assigner{Kind: SessionWindows, Gap: gap}
		name := fmt.Sprintf("session %d", gap)
		for seed := range uint64(200) {
			windowHistory(t, seed, name+" sum", newModel(a, 0, sumOf), sessionsOp(gap, sumAgg, sumResult))
			windowHistory(t, seed, name+" list", newModel(a, 0, listOf), sessionsOp(gap, listAgg, listResult))
		}
	}
}
