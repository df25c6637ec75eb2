package operator_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/operator/optest"
	"github.com/millrace/millrace/runtime/pattern"
)

// restored is an operator with state of every kind and how to give it some.
type restored struct {
	name string
	make func() operator.Operator
	fill func(d *optest.Driver) error
}

func rows(n int64) (rs []optest.Row[int64, int64]) {
	for i := range n {
		rs = append(rs, optest.Row[int64, int64]{Key: i % 5, Time: 10 + i*3%20, Record: i})
	}
	return rs
}

func send(inputs ...int) func(d *optest.Driver) error {
	return func(d *optest.Driver) error {
		for _, in := range inputs {
			if err := optest.SendKeyed(d, in, rows(12)...); err != nil {
				return err
			}
		}
		return nil
	}
}

var sumOfRecords = operator.Aggregate[int64, int64]{
	Add:   func(a, r *int64) { *a += *r },
	Merge: func(a, b *int64) { *a += *b },
}

func giveSum(out *int64, _ int64, _ operator.Window, acc *int64) { *out = *acc }

type windowed = operator.Windowed[int64, int64, int64, int64]

func windowedOf(a operator.Assigner, t operator.Trigger) *windowed {
	return &windowed{Windows: a, Trigger: t, Lateness: 5, Merge: sumOfRecords.Merge,
		Add: func(acc, in *int64, _ int64) { *acc += *in },
		Setup: func(o *windowed) {
			n := operator.NewWindowValue[int64, string](&o.Scope, "n")
			sum := operator.NewValue[int64, int64](o.Global, "sum")
			o.Fire = func(o *windowed, acc *int64) bool {
				n.Set("fired")
				*sum.Ref() += *acc
				o.Emit(*acc)
				return false
			}
		},
		Fire: func(*windowed, *int64) bool { return false },
	}
}

var operatorsWithState = []restored{
	{"slices", func() operator.Operator {
		return &operator.Slices[int64, int64, int64, int64]{Windows: operator.Assigner{Size: 10, Slide: 4}, Agg: sumOfRecords, Result: giveSum}
	}, send(0)},
	{"sessions", func() operator.Operator {
		return &operator.Sessions[int64, int64, int64, int64]{Gap: 5, Agg: sumOfRecords, Result: giveSum}
	}, send(0)},
	{"windows", func() operator.Operator {
		return windowedOf(operator.Assigner{Size: 10, Slide: 10}, operator.CompositeTrigger{Of: []operator.Trigger{
			operator.CountTrigger{N: 2}, operator.ContinuousTrigger{Interval: 3, Processing: true},
			operator.DeltaTrigger{Threshold: 2, Delta: func(a, b any) float64 { return float64(*b.(*int64) - *a.(*int64)) }}}})
	}, send(0)},
	{"windows that merge", func() operator.Operator {
		return windowedOf(operator.Assigner{Kind: operator.SessionWindows, Gap: 4}, operator.CountTrigger{N: 3})
	}, send(0)},
	{"interval join", func() operator.Operator {
		return &operator.IntervalJoin[int64, int64, int64, int64]{From: -5, To: 5, KeepLeft: true, KeepRight: true,
			Join: func(l, r *int64) int64 { return 1 }}
	}, send(0, 1)},
	{"sort", func() operator.Operator { return &operator.Sort[int64, int64]{} }, send(0)},
	{"de-duplication", func() operator.Operator { return &operator.DedupByTime[int64, int64]{TTL: 5, Last: true} }, send(0)},
	{"pattern", func() operator.Operator {
		return &operator.Detect[int64, int64, int64, int64]{
			Pattern: pattern.Begin("a", func(v int64) bool { return v%2 == 0 }).OneOrMore().FollowedByAny("b", func(v int64) bool { return v > 40 }).Within(90 * time.Millisecond),
			OnMatch: func(int64, pattern.Match[int64]) int64 { return 1 }}
	}, func(d *optest.Driver) error { return errors.Join(send(0)(d), d.Advance(20)) }},
	{"records in flight", func() operator.Operator {
		return &operator.Async[int64, int64, string]{Spec: operator.AsyncSpec[int64, int64, string]{InFlight: 4, Timeout: time.Second, Attempts: 1, Multiplier: 1,
			MaxBackoff: time.Hour, Group: 1, Retry: func(error) bool { return true }, Call: func(_ context.Context, in []int64) ([]int64, error) { return in, nil }}}
	}, func(d *optest.Driver) error {
		return optest.Send(d, 0, optest.Sent[int64]{Record: 7, Time: 3}, optest.Sent[int64]{Record: 8, Time: 4})
	}},
	{"states and timers", func() operator.Operator {
		return &operator.Process[int64, int64, int64]{Setup: func(p *operator.Process[int64, int64, int64]) {
			v := operator.NewValue[int64, []string](p.Keyed, "value")
			l := operator.NewList[int64, string](p.Keyed, "list")
			e := operator.NewList[int64, struct{}](p.Keyed, "list of nothing")
			m := operator.NewMap[int64, string, int64](p.Keyed, "map")
			o := operator.NewOrderedMap[int64, int64, string](p.Keyed, "ordered")
			brief := operator.NewList[int64, int64](p.Keyed, "list that expires", operator.StateOptions{TTL: 1000})
			shared := operator.NewOperatorList[int64](&p.Func, "own", false)
			p.OnTimer = func(int64) error { return nil }
			p.OnProcTimer = func(int64) error { return nil }
			p.OnRecordRef = func(r *int64) error {
				v.Set([]string{"a", "b"})
				l.Add("text")
				e.Add(struct{}{})
				m.Set("k", *r)
				o.Set(*r, "v")
				brief.Add(*r)
				shared.Add(*r)
				p.SetTimer(100 + *r)
				p.SetProcTimer(200 + *r)
				return nil
			}
		}}
	}, send(0)},
}

// pieces returns what an operator with some state writes.
func pieces(tb testing.TB, r restored) []operator.Piece {
	d := optest.New(r.make, optest.Options{MaxParallelism: 4})
	if err := d.Start(); err != nil {
		tb.Fatalf("%s: %v", r.name, err)
	}
	if err := r.fill(d); err != nil {
		tb.Fatalf("%s: %v", r.name, err)
	}
	ps, err := d.Snapshot()
	if err != nil {
		tb.Fatalf("%s: %v", r.name, err)
	}
	return ps
}

// halfOf opens the first of two subtasks.
func halfOf(tb testing.TB, r restored) operator.Operator {
	op := r.make()
	e := env()
	e.Parallelism, e.MaxParallelism = 2, 4
	e.Post = func() {}
	if err := op.Open(e); err != nil {
		tb.Fatal(err)
	}
	return op
}

// Whatever the bytes of a piece, restoring it comes to an end: with an error,
// or with state that can be written and restored again.
func FuzzRestore(f *testing.F) {
	for i, r := range operatorsWithState {
		seen := map[string]bool{}
		for _, p := range pieces(f, r) {
			if p.Group < 2 && !seen[p.State] {
				seen[p.State] = true
				f.Add(uint8(i), int8(p.Group), p.State, p.Schema, p.Data)
			}
		}
		if len(seen) == 0 {
			f.Fatalf("%s wrote nothing", r.name)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, group int8, state string, schema, data []byte) {
		if int(which) >= len(operatorsWithState) || len(data) > 1<<12 {
			return
		}
		r := operatorsWithState[which]
		op := halfOf(t, r)
		defer op.Close()
		if op.(operator.Stateful).Restore([]operator.Piece{{State: state, Group: int(group), Schema: schema, Data: data}}) != nil {
			return
		}
		ps, err := op.(operator.Stateful).Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		for i := range ps {
			if ps[i].Data, err = ps[i].Encode(nil); err != nil {
				t.Fatal(err)
			}
			ps[i].Encode = nil
		}
		again := halfOf(t, r)
		defer again.Close()
		if err := again.(operator.Stateful).Restore(ps); err != nil {
			t.Fatalf("%s: state %s: restored from %x, and then not from %v: %v", r.name, state, data, ps, err)
		}
	})
}

// Pieces that end too early are refused, or read as far as they go, and the
// first of two subtasks takes nothing of the second.
func TestBrokenPiecesDoNotBreakARestore(t *testing.T) {
	for _, r := range operatorsWithState {
		for _, p := range pieces(t, r) {
			for n := range p.Data {
				cut := p
				cut.Data = p.Data[:n]
				op := halfOf(t, r)
				_ = op.(operator.Stateful).Restore([]operator.Piece{cut})
				op.Close()
			}
			if p.Group >= 2 {
				p.Group = 0
				op := halfOf(t, r)
				if op.(operator.Stateful).Restore([]operator.Piece{p}) == nil && r.name != "records in flight" {
					t.Errorf("%s: state %s: keys of another subtask were taken", r.name, p.State)
				}
				op.Close()
			}
		}
	}
}
