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
