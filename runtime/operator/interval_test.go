package operator

import (
	"fmt"
	"math"
	"testing"
)

// pairModel is an interval join as its description says it, with lists.
type pairModel struct {
	from, to            int64
	keepLeft, keepRight bool
	wm                  int64
	left, right         []pairRow
	want, lateL, lateR  []string
}

type pairRow struct {
	timedEvent
	paired bool
}

func pairText(l, r *event) string {
	s := "alone"
	if l != nil {
		s = fmt.Sprint("L", *l)
	}
	if r != nil {
		s += fmt.Sprint("R", *r)
	}
	return s
}

func (m *pairModel) add(input int, e timedEvent) {
	own, other, late := &m.left, &m.right, &m.lateL
	if input == 1 {
		own, other, late = &m.right, &m.left, &m.lateR
	}
	if e.at < m.wm {
		*late = append(*late, fmt.Sprintf("%v @%d", e.event, e.at))
		return
	}
	row := pairRow{timedEvent: e}
	for i := range *other {
		o := &(*other)[i]
		l, r := &row, o
		if input == 1 {
			l, r = o, &row
		}
		if d := r.at - l.at; o.Key == e.Key && d >= m.from && d <= m.to {
			m.want = append(m.want, fmt.Sprintf("%v @%d", pairText(&l.event, &r.event), max(l.at, r.at)))
			row.paired, o.paired = true, true
		}
	}
	*own = append(*own, row)
}

func (m *pairModel) advance(wm int64) {
	m.wm = wm
	var left, right []pairRow
	for _, l := range m.left {
		if over := l.at + max(m.to, 0); over > wm {
			left = append(left, l)
		} else if m.keepLeft && !l.paired {
			m.want = append(m.want, fmt.Sprintf("%v @%d", pairText(&l.event, nil), over))
		}
	}
	for _, r := range m.right {
		if over := r.at + max(-m.from, 0); over > wm {
			right = append(right, r)
		} else if m.keepRight && !r.paired {
			m.want = append(m.want, fmt.Sprintf("%v @%d", pairText(nil, &r.event), over))
		}
	}
	m.left, m.right = left, right
}

// Every pair within the bounds goes out once, and what stays alone once if its
// side is kept, across snapshots and changes of parallelism.
func TestIntervalJoinFollowsModel(t *testing.T) {
	for seed := range uint64(60) {
		h := newRigHistory(seed)
		m := &pairModel{from: int64(h.rng.IntN(9) - 5), keepLeft: h.rng.IntN(2) == 0, keepRight: h.rng.IntN(2) == 0, wm: math.MinInt64}
		m.to = m.from + int64(h.rng.IntN(7))
		h.keys = uint8(1 + h.rng.IntN(5))
		var out gathered[string]
		var lateL, lateR gathered[event]
		off := false
		out.off, lateL.off, lateR.off = &off, &off, &off
		r := newRig(t, h.parallelism(), func() Operator {
			return &IntervalJoin[uint8, event, event, string]{From: m.from, To: m.to, KeepLeft: m.keepLeft, KeepRight: m.keepRight, Join: pairText}
		}, func(op Operator) {
			op.Connect(0, &out)
			op.Connect(1, &lateL)
			op.Connect(2, &lateR)
		})
		r.yield = func() bool { return h.rng.IntN(2) == 0 }
		for range 70 {
			switch h.rng.IntN(6) {
			case 0, 1, 2, 3:
				input := h.rng.IntN(2)
				keys, times, rows := h.batch()
				give(r, input, keys, times, rows)
				for i := range rows {
					m.add(input, timedEvent{rows[i], times[i]})
				}
			case 4:
				wm := h.next()
				r.advance(wm)
				m.advance(wm)
			case 5:
				r.rescale(h.parallelism(), func() {
					was := r.wm
					off = true
					for input := range 2 {
						keys, times, rows := h.batch()
						give(r, input, keys, times, rows)
					}
					r.advance(h.wm + 3)
					off = false
					r.wm = was
				})
				if m.wm != math.MinInt64 {
					m.advance(m.wm)
				}
			}
		}
		r.finish()
		m.advance(math.MaxInt64)
		what := fmt.Sprintf("seed %d: [%d,%d] left %v right %v", seed, m.from, m.to, m.keepLeft, m.keepRight)
		sameLines(t, what, out.lines(), m.want)
		sameLines(t, what+" late left", lateL.lines(), m.lateL)
		sameLines(t, what+" late right", lateR.lines(), m.lateR)
		for _, op := range r.ops {
			j := op.(*IntervalJoin[uint8, event, event, string])
			if n := j.left.rows.t.Len() + j.right.rows.t.Len() + j.due.s.Len(); n > 0 {
				t.Fatalf("%s: %d things are kept at the end", what, n)
			}
		}
	}
}

// Bounds and times at the ends of the range do not run over.
func TestIntervalJoinWithoutLimits(t *testing.T) {
	var out gathered[string]
	r := newRig(t, 1, func() Operator {
		return &IntervalJoin[uint8, event, event, string]{From: math.MinInt64 + 1, To: math.MaxInt64, KeepLeft: true, KeepRight: true, Join: pairText}
	}, func(op Operator) { op.Connect(0, &out) })
	give(r, 0, []uint8{1, 1, 2}, []int64{math.MinInt64 + 1, math.MaxInt64 - 1, 5}, make([]event, 3))
	r.advance(math.MinInt64 + 1)
	give(r, 1, []uint8{1, 1}, []int64{0, math.MaxInt64 - 1}, make([]event, 2))
	r.advance(math.MaxInt64 - 1)
	r.finish()
	if len(out.rows) != 4 {
		t.Fatalf("got %d results, want 3 pairs and one alone: %v", len(out.rows), out.lines())
	}
}

// One timer serves a key's whole buffer, not one each record.
func TestIntervalJoinSetsFewTimers(t *testing.T) {
	r := newRig(t, 1, func() Operator {
		return &IntervalJoin[uint8, event, event, string]{To: 1000, Join: pairText}
	}, func(Operator) {})
	for i := range 100 {
		give(r, 0, []uint8{3}, []int64{int64(i)}, make([]event, 1))
	}
	if n := r.ops[0].(*IntervalJoin[uint8, event, event, string]).due.s.Len(); n != 1 {
		t.Fatalf("%d timers for one key, want 1", n)
	}
}
