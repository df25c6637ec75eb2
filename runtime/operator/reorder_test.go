package operator

import (
	"fmt"
	"slices"
	"testing"
)

// Each key's records come out by time, those of one time as they came, and late
// ones on the side, across snapshots and changes of parallelism.
func TestSortFollowsModel(t *testing.T) {
	for seed := range uint64(30) {
		h := newRigHistory(seed)
		var out, side gathered[event]
		off := false
		out.off, side.off = &off, &off
		unkeyed := seed%3 == 0
		r := newRig(t, h.parallelism(), func() Operator {
			if unkeyed {
				return &Sort[uint8, event]{Unkeyed: true}
			}
			return &Sort[uint8, event]{}
		}, func(op Operator) {
			op.Connect(0, &out)
			op.Connect(1, &side)
		})
		r.yield = func() bool { return h.rng.IntN(2) == 0 }
		r.advance(0)
		var held []timedEvent
		var want, late []string
		sent, mixed := 0, false // without keys, a key's records may be in any subtask after a restore
		for range 60 {
			switch h.rng.IntN(5) {
			case 0, 1, 2:
				keys, times, rows := h.batch()
				give(r, 0, keys, times, rows)
				for i := range rows {
					if times[i] <= r.wm {
						late = append(late, fmt.Sprintf("%v @%d", rows[i], times[i]))
					} else {
						held = append(held, timedEvent{rows[i], times[i]})
					}
				}
			case 3:
				wm := h.next()
				r.advance(wm)
				slices.SortStableFunc(held, byTime)
				for len(held) > 0 && held[0].at <= wm {
					want = append(want, fmt.Sprintf("%v @%d", held[0].event, held[0].at))
					held = held[1:]
				}
				if len(out.rows) != len(want) {
					t.Fatalf("seed %d: %d sent at watermark %d, want %d", seed, len(out.rows), wm, len(want))
				}
				// In order by key, since the last watermark.
				last := map[uint8]timedEvent{}
				for i := sent; i < len(out.rows) && !mixed; i++ {
					e := timedEvent{out.rows[i], out.times[i]}
					if p, ok := last[e.Key]; ok && (p.at > e.at || p.at == e.at && p.ID > e.ID) {
						t.Fatalf("seed %d: %v before %v", seed, p, e)
					}
					last[e.Key] = e
				}
				sent = len(out.rows)
			case 4:
				mixed = unkeyed
				r.rescale(h.parallelism(), func() {
					off = true
					keys, times, rows := h.batch()
					give(r, 0, keys, times, rows)
					r.advance(h.wm + 3)
					off = false
					r.wm = h.wm
				})
			}
		}
		r.finish()
		for _, e := range held {
			want = append(want, fmt.Sprintf("%v @%d", e.event, e.at))
		}
		sameLines(t, fmt.Sprint("seed ", seed), out.lines(), want)
		sameLines(t, fmt.Sprint("seed ", seed, " late"), side.lines(), late)
	}
}

// A record without event time ends the job with its position.
func TestSortRefusesRecordsWithoutTime(t *testing.T) {
	r := newRig(t, 1, func() Operator { return &Sort[uint8, event]{} }, func(Operator) {})
	b := batchOf(r, []uint8{1}, []int64{-1 << 63}, []event{{}})
	if err := r.ops[0].Input(0).(Receiver[event]).Receive(b); err != errUntimed {
		t.Fatalf("got %v", err)
	}
}

// Records that nobody takes when late are counted.
func TestSortCountsLateRecords(t *testing.T) {
	r := newRig(t, 1, func() Operator { return &Sort[uint8, event]{} }, func(Operator) {})
	r.advance(10)
	give(r, 0, []uint8{1, 1, 1}, []int64{9, 10, 11}, make([]event, 3))
	if n := r.ops[0].(*Sort[uint8, event]).LateDropped(); n != 2 {
		t.Fatalf("%d dropped, want 2", n)
	}
}
