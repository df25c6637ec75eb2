package operator_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/operator/optest"
)

type (
	either = operator.Either[int64, string]
	both   = operator.Both[int64, string]
)

// joined are operators of windows over two inputs.
var joined = map[string]func() operator.Operator{
	"tumbling": func() operator.Operator {
		return operator.NewPaired[int64, string](&operator.Slices[int64, either, both, string]{Windows: operator.Assigner{Size: 10, Slide: 10},
			Agg: operator.Aggregate[either, both]{Add: (*both).Add}, Grows: true,
			Results: func(k int64, w operator.Window, b *both, emit func(string)) { emit(fmt.Sprint(k, w, *b)) }})
	},
	"sliding with lateness": func() operator.Operator {
		return pairedWindows(operator.Assigner{Size: 12, Slide: 5}, nil, 20)
	},
	"sessions": func() operator.Operator {
		return pairedWindows(operator.Assigner{Kind: operator.SessionWindows, Gap: 4}, nil, 6)
	},
	"sessions of processing time": func() operator.Operator {
		return pairedWindows(operator.Assigner{Kind: operator.SessionWindows, Gap: 9, Processing: true}, nil, 0)
	},
	"global with a trigger": func() operator.Operator {
		return pairedWindows(operator.Assigner{Kind: operator.GlobalWindows}, operator.CompositeTrigger{All: true, Of: []operator.Trigger{
			operator.CountTrigger{N: 3}, operator.PurgingTrigger{Inner: operator.ContinuousTrigger{Interval: 7, Processing: true}}}}, 0)
	},
}

func pairedWindows(a operator.Assigner, t operator.Trigger, lateness int64) operator.Operator {
	type windows = operator.Windowed[int64, either, both, string]
	return operator.NewPaired[int64, string](&windows{Windows: a, Trigger: t, Lateness: lateness,
		Add: func(acc *both, in *either, _ int64) { acc.Add(in) }, Merge: (*both).Merge,
		Fire: func(o *windows, acc *both) bool {
			o.Emit(fmt.Sprint(o.Global.Key, o.Window, *acc, o.Firing))
			return false
		}})
}

// Windows over two inputs do the same record by record, interrupted, restored
// and in any number of subtasks.
func TestJoinedWindowsDoTheSameHoweverTheyAreDriven(t *testing.T) {
	for name, mk := range joined {
		for seed := range uint64(8) {
			rng := rand.New(rand.NewPCG(seed, 31))
			s := optest.Story{New: mk, Ports: []optest.PortReader{optest.Port[string](0)}, Keyed: true}
			at, now := int64(30), int64(0)
			for range 12 {
				switch rng.IntN(5) {
				case 0:
					s.Calls = append(s.Calls, optest.Advance(at-rng.Int64N(12)))
				case 1:
					now += 1 + rng.Int64N(15)
					s.Calls = append(s.Calls, optest.ProcessingTime(now))
				case 2, 3:
					var rs []optest.Row[int64, int64]
					for range 1 + rng.IntN(5) {
						at += rng.Int64N(5)
						rs = append(rs, optest.Row[int64, int64]{Key: rng.Int64N(4), Time: at - rng.Int64N(15), Record: at})
					}
					s.Calls = append(s.Calls, optest.Records(0, rs...))
				default:
					at += rng.Int64N(5)
					s.Calls = append(s.Calls, optest.Records(1, optest.Row[int64, string]{Key: rng.Int64N(4), Time: at - rng.Int64N(15), Record: fmt.Sprint(at)}))
				}
			}
			s.Calls = append(s.Calls, optest.Finish())
			t.Run(fmt.Sprint(name, seed), func(t *testing.T) { optest.Conform(t, s) })
		}
	}
}

// When sessions merge of which each has seen other triggers fire, all have, and
// the record that brought them together fires.
func TestAllTriggersRememberFiringsOfMergedSessions(t *testing.T) {
	d := optest.New(func() operator.Operator {
		return windowedOf(operator.Assigner{Kind: operator.SessionWindows, Gap: 10}, operator.CompositeTrigger{All: true, Of: []operator.Trigger{
			operator.CountTrigger{N: 2}, operator.ContinuousTrigger{Interval: 5, Processing: true}}})
	}, optest.Options{})
	out := optest.Collect[int64](d, 0)
	row := func(at, v int64) optest.Row[int64, int64] {
		return optest.Row[int64, int64]{Key: 1, Time: at, Record: v}
	}
	for _, f := range []func() error{
		d.Start,
		func() error { return optest.SendKeyed(d, 0, row(100, 1), row(101, 2)) }, // two records here
		func() error { return d.ProcessingTime(4) },
		func() error { return optest.SendKeyed(d, 0, row(120, 4)) },
		func() error { return d.ProcessingTime(6) }, // and the time there, but for the first session as well
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	if got := out.Take(); len(got) != 1 || got[0].Record != 3 {
		t.Fatalf("got %v, want the first session", got)
	}
	if err := optest.SendKeyed(d, 0, row(102, 8), row(103, 16)); err != nil { // two records again
		t.Fatal(err)
	}
	if err := optest.SendKeyed(d, 0, row(111, 32)); err != nil { // from 111 to 121 merges the two
		t.Fatal(err)
	}
	if got := out.Take(); len(got) != 1 || got[0].Record != 1+2+4+8+16+32 {
		t.Fatalf("got %v, want the merged session", got)
	}
}
