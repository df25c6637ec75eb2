package operator

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/runtime/watermark"
)

// A snapshot that is encoded long after it was taken, when its slices have been
// sealed, dropped and their memory used for others, is still what the operator
// was: restored, it makes of the same input what the operator made of it.
func TestSlicesInSnapshotsDoNotChange(t *testing.T) {
	type step struct {
		rs []rec
		wm int64
	}
	history := func(d *drive, steps []step) []out {
		for _, s := range steps {
			d.records(s.rs)
			d.advance(s.wm)
		}
		outs, _ := d.take()
		return outs
	}
	a := Assigner{Size: 30, Slide: 3}
	for name, mk := range map[string]func() Operator{
		"sum":  slicesOp(a, sumAgg, sumResult),
		"max":  slicesOp(a, maxAgg, maxResult),
		"list": slicesOp(a, listAgg, listResult),
	} {
		for seed := range uint64(20) {
			rng := rand.New(rand.NewPCG(seed, 3))
			var steps []step
			at := int64(100)
			for range 60 {
				s := step{wm: at - 5}
				for range 20 {
					s.rs = append(s.rs, rec{rng.Int64N(30), rng.Int64N(50), at - rng.Int64N(25)})
				}
				steps = append(steps, s)
				at += rng.Int64N(4)
			}
			steps[len(steps)-1].wm = watermark.End
			d := newDrive(t, rng, mk, false)
			history(d, steps[:25])
			pieces, err := d.op.(Stateful).Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			want := history(d, steps[25:])
			for i := range pieces {
				if pieces[i].Data, err = pieces[i].Encode(nil); err != nil {
					t.Fatal(err)
				}
			}
			d.open()
			if err := d.op.(Stateful).Restore(pieces); err != nil {
				t.Fatal(err)
			}
			if got := history(d, steps[25:]); !slices.Equal(got, want) {
				t.Fatalf("%s: seed %d: got also %v\nwant also %v", name, seed, without(got, want), without(want, got))
			}
		}
	}
}

// Keys that come in a flood and go are forgotten: windows are right when their
// numbers are given out anew, and the places they had are given back.
func TestSlicesForgetAFloodOfKeys(t *testing.T) {
	was := fewPlaces
	fewPlaces = 4
	defer func() { fewPlaces = was }()
	for _, a := range []Assigner{{Size: 10, Slide: 2}, {Size: 10, Slide: 3}, {Kind: CumulativeWindows, Size: 12, Slide: 4}} {
		for seed := range uint64(60) {
			for name, d := range map[string]struct {
				m  *model
				op func() Operator
			}{
				"sum": {newModel(a, 0, sumOf), slicesOp(a, sumAgg, sumResult)},
				"max": {newModel(a, 0, bestOf), slicesOp(a, maxAgg, maxResult)},
			} {
				floodHistory(t, seed, name, d.m, d.op)
			}
		}
	}
}

func floodHistory(t *testing.T, seed uint64, name string, m *model, mk func() Operator) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 23))
	d := newDrive(t, rng, mk, true)
	at := int64(100)
	for step := range 100 {
		keys := int64(3)
		if step%20 == 5 && step < 60 {
			keys = 200
		}
		var rs []rec
		for range 5 + keys {
			rs = append(rs, rec{rng.Int64N(keys), rng.Int64N(50), at - rng.Int64N(8)})
		}
		d.records(rs)
		for _, r := range rs {
			m.record(r)
		}
		at += rng.Int64N(4)
		d.advance(at - 3)
		m.advance(at - 3)
		got, late := d.take()
		want, wantLate := m.take()
		if !slices.Equal(got, want) || !slices.Equal(late, wantLate) {
			t.Fatalf("%s: seed %d: step %d: got also %v\nwant also %v", name, seed, step, without(got, want), without(want, got))
		}
	}
	places := 0
	switch o := d.op.(type) {
	case *Slices[int64, rec, int64, out]:
		for _, f := range o.over.front {
			places += len(f)
		}
	case *Slices[int64, rec, most, out]:
		for _, f := range o.over.front {
			places += len(f)
		}
	}
	if places > 4+8*8 {
		t.Fatalf("%s: seed %d: %d places for 3 keys", name, seed, places)
	}
}
