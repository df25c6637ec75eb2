package operator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/runtime/pattern"
)

// kind is what the patterns of these tests look at: 0, 1 or 2.
func kind(n int32) func(event) bool { return func(e event) bool { return e.ID%3 == n } }

func detectPatterns() []pattern.Pattern[event] {
	ms := time.Millisecond
	return []pattern.Pattern[event]{
		pattern.Begin("a", kind(0)).Times(2).FollowedBy("b", kind(1)).Within(15 * ms),
		pattern.Begin("a", kind(0)).OneOrMore().Next("b", kind(1)).Within(9 * ms).AfterMatch(pattern.SkipPastLastEvent()),
		pattern.Begin("a", kind(0)).FollowedByAny("b", kind(1)).NotFollowedBy("c", kind(2)).Within(7 * ms),
		pattern.Begin("a", kind(0)).NotNext("b", kind(1)).FollowedBy("c", kind(2)).Optional().Within(12 * ms).AfterMatch(pattern.SkipToNext()),
		pattern.Begin("a", kind(0)).FollowedBy("b", func(e event) bool { return e.ID%3 != 0 }).WhereMatched(func(e event, m pattern.Matched[event]) bool {
			a, _ := m.Last("a")
			return e.ID > a.ID
		}),
	}
}

func matchText(k uint8, m pattern.Match[event]) string {
	var b strings.Builder
	fmt.Fprint(&b, k)
	for i, e := range m.Events() {
		fmt.Fprintf(&b, " %s%d", m.Stage(i), e.ID)
	}
	return b.String()
}

func timeoutText(k uint8, m pattern.Timeout[event]) string {
	return fmt.Sprint(matchText(k, m.Match), " until ", m.At)
}

// detectModel is what the pattern finds in all events, taken millisecond by
// millisecond.
func detectModel(t *testing.T, p pattern.Pattern[event], keys uint8, taken []timedEvent) (matches, timeouts []string) {
	m, err := pattern.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(taken, byTime)
	for k := range keys {
		var s pattern.State[event]
		put := func(r pattern.Result[event], at int64) {
			for _, x := range r.Matches {
				matches = append(matches, fmt.Sprintf("%s @%d", matchText(k, x), at))
			}
			for _, x := range r.Timeouts {
				timeouts = append(timeouts, fmt.Sprintf("%s @%d", timeoutText(k, x), at))
			}
		}
		next := 0
		for at := int64(-10); at < 400; at++ {
			put(m.AdvanceTime(&s, at-1), at-1)
			for ; next < len(taken) && taken[next].at == at; next++ {
				if taken[next].Key == k {
					put(m.Advance(&s, taken[next].event, at), at)
				}
			}
		}
	}
	return matches, timeouts
}

// Matches, timeouts and late records are those of a machine that sees all events
// in order, across snapshots and changes of parallelism.
func TestDetectFollowsModel(t *testing.T) {
	for seed := range uint64(50) {
		h := newRigHistory(seed)
		h.keys = uint8(1 + h.rng.IntN(4))
		ps := detectPatterns()
		p := ps[seed%uint64(len(ps))]
		var out, timed gathered[string]
		var side gathered[event]
		off := false
		out.off, timed.off, side.off = &off, &off, &off
		r := newRig(t, h.parallelism(), func() Operator {
			return &Detect[uint8, event, string, string]{Pattern: p, OnMatch: matchText, OnTimeout: timeoutText}
		}, func(op Operator) {
			op.Connect(0, &out)
			op.Connect(1, &timed)
			op.Connect(2, &side)
		})
		r.yield = func() bool { return h.rng.IntN(2) == 0 }
		r.advance(0)
		var taken []timedEvent
		var late []string
		for range 60 {
			switch h.rng.IntN(5) {
			case 0, 1, 2:
				keys, times, rows := h.batch()
				give(r, 0, keys, times, rows)
				for i := range rows {
					if times[i] <= r.wm {
						late = append(late, fmt.Sprintf("%v @%d", rows[i], times[i]))
					} else {
						taken = append(taken, timedEvent{rows[i], times[i]})
					}
				}
			case 3:
				r.advance(h.next())
			case 4:
				r.rescale(h.parallelism(), func() {
					was := r.wm
					off = true
					for range 3 {
						keys, times, rows := h.batch()
						give(r, 0, keys, times, rows)
						r.advance(r.wm + 4)
					}
					off = false
					r.wm = was
				})
			}
		}
		r.finish()
		matches, timeouts := detectModel(t, p, h.keys, taken)
		what := fmt.Sprintf("seed %d: pattern %d", seed, seed%uint64(len(ps)))
		sameLines(t, what, out.lines(), matches)
		sameLines(t, what+" timeouts", timed.lines(), timeouts)
		sameLines(t, what+" late", side.lines(), late)
	}
}

// Two snapshots under way at once each keep what they saw.
func TestDetectSnapshotsAreIndependent(t *testing.T) {
	r := newRig(t, 1, func() Operator {
		return &Detect[uint8, event, string, string]{Pattern: detectPatterns()[0], OnMatch: matchText}
	}, func(Operator) {})
	d := r.ops[0].(*Detect[uint8, event, string, string])
	snap := func() []Piece {
		ps, err := d.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		return ps
	}
	bytes := func(ps []Piece) (all []string) {
		for _, p := range ps {
			b, err := p.Encode(nil)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprintf("%s %d %x", p.State, p.Group, b))
		}
		return all
	}
	step := func(id int32, at int64) {
		give(r, 0, []uint8{1}, []int64{at}, []event{{1, id, "x"}})
		r.advance(at)
	}
	step(0, 1)
	want1 := bytes(snap())
	first := snap()
	step(3, 2)
	want2 := bytes(snap())
	second := snap()
	step(6, 3)
	if got := bytes(second); !slices.Equal(got, want2) {
		t.Errorf("second: got %v, want %v", got, want2)
	}
	if got := bytes(first); !slices.Equal(got, want1) {
		t.Errorf("first: got %v, want %v", got, want1)
	}
	if n := d.partial.frozen.Load(); n != 0 {
		t.Errorf("%d snapshots are taken to be under way", n)
	}
}

// State of a pattern that has changed its shape is refused.
func TestDetectRefusesStateOfAnotherPattern(t *testing.T) {
	p := detectPatterns()[0]
	mk := func() Operator { return &Detect[uint8, event, string, string]{Pattern: p, OnMatch: matchText} }
	r := newRig(t, 1, mk, func(Operator) {})
	give(r, 0, []uint8{1}, []int64{1}, []event{{1, 0, "x"}})
	r.advance(1)
	pieces, err := r.ops[0].(Stateful).Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for i := range pieces {
		if pieces[i].Data, err = pieces[i].Encode(nil); err != nil {
			t.Fatal(err)
		}
	}
	p = detectPatterns()[1]
	r.start(1)
	if err := r.ops[0].(Stateful).Restore(pieces); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Fatalf("got %v", err)
	}
}
