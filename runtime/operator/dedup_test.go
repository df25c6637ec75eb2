package operator

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// The first record of each key passes, and again when its time is over by the
// clock, across snapshots and changes of parallelism.
func TestDedupFirstFollowsModel(t *testing.T) {
	for seed := range uint64(30) {
		h := newRigHistory(seed)
		ttl := int64(h.rng.IntN(2) * (1 + h.rng.IntN(20)))
		var out gathered[event]
		off := false
		out.off = &off
		r := newRig(t, h.parallelism(), func() Operator { return &DedupFirst[uint8, event]{TTL: time.Duration(ttl) * time.Millisecond} },
			func(op Operator) { op.Connect(0, &out) })
		seen := map[uint8]int64{}
		var want []string
		now := int64(1000)
		r.clk.Set(now * 1e6)
		for range 60 {
			switch h.rng.IntN(4) {
			case 0, 1:
				keys, times, rows := h.batch()
				give(r, 0, keys, times, rows)
				for i := range rows {
					if at, ok := seen[keys[i]]; ok && (ttl == 0 || now < at+ttl) {
						continue
					}
					seen[keys[i]] = now
					want = append(want, fmt.Sprintf("%v @%d", rows[i], times[i]))
				}
			case 2:
				now += int64(h.rng.IntN(8))
				r.clk.Set(now * 1e6)
			case 3:
				r.rescale(h.parallelism(), func() {
					off = true
					keys, times, rows := h.batch()
					give(r, 0, keys, times, rows)
					off = false
				})
			}
		}
		sameLines(t, fmt.Sprintf("seed %d: ttl %d", seed, ttl), out.lines(), want)
	}
}

// The last record of a key goes out when its time is over by the clock, or at
// the end of input.
func TestDedupLastFollowsModel(t *testing.T) {
	type held struct {
		over int64
		e    timedEvent
	}
	for seed := range uint64(30) {
		h := newRigHistory(seed)
		ttl := int64(1 + h.rng.IntN(20))
		var out gathered[event]
		off := false
		out.off = &off
		r := newRig(t, h.parallelism(), func() Operator { return &DedupLast[uint8, event]{TTL: ttl} },
			func(op Operator) { op.Connect(0, &out) })
		last := map[uint8]held{}
		var want []string
		now := int64(1000)
		r.pass(now)
		over := func() {
			for k, l := range last {
				if l.over <= now {
					want = append(want, fmt.Sprintf("%v @%d", l.e.event, l.e.at))
					delete(last, k)
				}
			}
		}
		for range 60 {
			switch h.rng.IntN(4) {
			case 0, 1:
				keys, times, rows := h.batch()
				give(r, 0, keys, times, rows)
				for i := range rows {
					l, ok := last[keys[i]]
					if !ok {
						l.over = now + ttl
					}
					l.e = timedEvent{rows[i], times[i]}
					last[keys[i]] = l
				}
			case 2:
				now += int64(h.rng.IntN(8))
				r.pass(now)
				over()
			case 3:
				r.rescale(h.parallelism(), func() {
					off = true
					keys, times, rows := h.batch()
					give(r, 0, keys, times, rows)
					off = false
				})
			}
		}
		r.finish()
		now = math.MaxInt64
		over()
		sameLines(t, fmt.Sprintf("seed %d: ttl %d", seed, ttl), out.lines(), want)
	}
}

// In event time the first or last of each span goes out, in whatever order the
// records come and whenever watermarks do.
func TestDedupByTimeFollowsModel(t *testing.T) {
	for seed := range uint64(40) {
		h := newRigHistory(seed)
		last := h.rng.IntN(2) == 0
		ttl := int64(1 + h.rng.IntN(20))
		if !last && h.rng.IntN(3) == 0 {
			ttl = 0
		}
		var out, side gathered[event]
		off := false
		out.off, side.off = &off, &off
		r := newRig(t, h.parallelism(), func() Operator { return &DedupByTime[uint8, event]{TTL: ttl, Last: last} },
			func(op Operator) {
				op.Connect(0, &out)
				op.Connect(1, &side)
			})
		r.yield = func() bool { return h.rng.IntN(2) == 0 }
		r.advance(0)
		var taken []timedEvent
		for range 60 {
			switch h.rng.IntN(5) {
			case 0, 1, 2:
				keys, times, rows := h.batch()
				for i := range times {
					times[i] += 3 // none is late
				}
				give(r, 0, keys, times, rows)
				for i := range rows {
					taken = append(taken, timedEvent{rows[i], times[i]})
				}
			case 3:
				r.advance(h.next())
			case 4:
				r.rescale(h.parallelism(), func() {
					was := r.wm
					off = true
					keys, times, rows := h.batch()
					give(r, 0, keys, times, rows)
					r.advance(h.wm + 3)
					off = false
					r.wm = was
				})
			}
		}
		r.finish()
		slices.SortStableFunc(taken, byTime)
		var want []string
		for k := range h.keys {
			var first, latest *timedEvent
			put := func() {
				switch {
				case first == nil:
				case last:
					want = append(want, fmt.Sprintf("%v @%d", latest.event, first.at+ttl-1))
				default:
					want = append(want, fmt.Sprintf("%v @%d", first.event, first.at))
				}
			}
			for i := range taken {
				e := &taken[i]
				if e.Key != k {
					continue
				}
				if first == nil || ttl > 0 && e.at >= first.at+ttl {
					put()
					first = e
				}
				latest = e
			}
			put()
		}
		what := fmt.Sprintf("seed %d: ttl %d last %v", seed, ttl, last)
		sameLines(t, what, out.lines(), want)
		sameLines(t, what+" late", side.lines(), nil)
		for _, op := range r.ops {
			if d := op.(*DedupByTime[uint8, event]); d.rows.t.Len() > 0 || d.due.s.Len() > 0 {
				t.Fatalf("%s: %d rows and %d timers are kept at the end", what, d.rows.t.Len(), d.due.s.Len())
			}
		}
	}
}

// A repetition of what has gone out is dropped even if it is late; any other
// late record goes aside.
func TestDedupByTimeTellsLateFromRepeated(t *testing.T) {
	var out, side gathered[event]
	r := newRig(t, 1, func() Operator { return &DedupByTime[uint8, event]{TTL: 100} }, func(op Operator) {
		op.Connect(0, &out)
		op.Connect(1, &side)
	})
	give(r, 0, []uint8{1}, []int64{10}, []event{{Key: 1, ID: 1}})
	r.advance(50)
	give(r, 0, []uint8{1, 2, 1}, []int64{20, 20, 60}, []event{{Key: 1, ID: 2}, {Key: 2, ID: 3}, {Key: 1, ID: 4}})
	r.finish()
	sameLines(t, "out", out.lines(), []string{"{1 1 } @10"})
	sameLines(t, "late", side.lines(), []string{"{2 3 } @20"})
}

// De-duplicating by arrival allocates nothing for repetitions, and passes rows
// on without copying them.
func TestDedupFirstAllocatesNothing(t *testing.T) {
	type flat struct{ A, B int64 }
	for _, ttl := range []time.Duration{0, time.Hour} {
		n := 0
		r := newRig(t, 1, func() Operator { return &DedupFirst[uint8, flat]{TTL: ttl} }, func(op Operator) {
			op.Connect(0, counting[flat]{&n})
		})
		keys := make([]uint8, 200)
		for i := range keys {
			keys[i] = uint8(i)
		}
		b := batchOf(r, keys, make([]int64, 200), make([]flat, 200))
		in := r.ops[0].Input(0).(Receiver[flat])
		again := func() {
			if err := in.Receive(b); err != nil {
				t.Fatal(err)
			}
		}
		again()
		if a := testing.AllocsPerRun(50, again); a > 0 {
			t.Errorf("ttl %v: %v allocations for 200 records", ttl, a)
		}
		if n != 200 {
			t.Errorf("ttl %v: %d records passed, want 200", ttl, n)
		}
	}
}
