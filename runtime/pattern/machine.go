package pattern

import (
	"cmp"
	"hash/fnv"
	"math"
	"slices"
)

// A Machine finds the matches of one pattern. It holds the compiled pattern and
// scratch space; what is particular to a key is in its [State]. It is not safe
// for concurrent use.
type Machine[T any] struct {
	// Set by Compile, never written again.
	stages    []string // in the order of the pattern, negated ones left out
	slots     []slot
	begin     []edge // to the slot of a match's first event
	conds     []condition[T]
	within    int64 // milliseconds; 0: no limit
	skip      Skip
	skipStage int32
	print     uint64 // tells compiled patterns apart

	// Per call.
	memo  []memo // answers of simple conditions for the event at hand
	round uint64
	runs  []run
	found []found
	late  []found
	ids   []uint64 // backing of found and late, see Machine.spell
	names []int32

	discardTimeouts bool
}

type memo struct {
	round uint64
	fits  bool
}

// Result is what an advance has found. The slices are the caller's.
type Result[T any] struct {
	Matches  []Match[T]
	Timeouts []Timeout[T]
}

// Match holds the events of one match. It is the caller's to keep.
type Match[T any] struct {
	names  []string
	events []T
	stages []int32 // by event: index into names
	start  int64
	end    int64
}

// All returns the events of the stage in the order in which they came, or none
// if the stage was left out or there is no such stage.
func (m Match[T]) All(stage string) []T {
	var all []T
	for i, s := range m.stages {
		if m.names[s] == stage {
			all = append(all, m.events[i])
		}
	}
	return all
}

// First returns the first event of the stage, or the zero T if it has none.
func (m Match[T]) First(stage string) T {
	for i, s := range m.stages {
		if m.names[s] == stage {
			return m.events[i]
		}
	}
	var zero T
	return zero
}

// Events returns the events of all stages in the order in which they came. The
// slice is the match's own.
func (m Match[T]) Events() []T { return m.events }

// Stage returns the name of the stage that took the i-th event.
func (m Match[T]) Stage(i int) string { return m.names[m.stages[i]] }

// Start returns the timestamp of the first event.
func (m Match[T]) Start() int64 { return m.start }

// End returns the timestamp of the last event.
func (m Match[T]) End() int64 { return m.end }

// Timeout is a partial match that ran out of time while it waited for more.
type Timeout[T any] struct {
	Match[T]
	At int64 // when the time was over, in event time
}

// Stages returns the names of the stages that take events, in the order of the
// pattern.
func (m *Machine[T]) Stages() []string { return slices.Clone(m.stages) }

// DiscardTimeouts makes the machine drop partial matches that run out of time
// instead of returning them, for callers that have no use for them.
func (m *Machine[T]) DiscardTimeouts() { m.discardTimeouts = true }

// Advance brings the next event of the key. Events come in order of their
// timestamps, and after [Machine.AdvanceTime] t only events above t. First it
// does what AdvanceTime(timestamp) does, as an event at the time limit is too
// late. Unless the event is taken into some partial match, or something is
// found, it does not allocate.
//
// A panic of a user's condition leaves the state and the machine unusable.
func (m *Machine[T]) Advance(s *State[T], event T, timestamp int64) Result[T] {
	var out Result[T]
	m.expire(s, timestamp, &out)

	m.round++
	a := arrival[T]{value: event, timestamp: timestamp, id: -1}
	m.runs = m.runs[:0]
	for _, r := range s.runs {
		m.move(s, r, &a)
		s.release(r.node)
	}
	matched := Matched[T]{machine: m, state: s, node: -1, now: timestamp}
	for i := range m.begin {
		e := &m.begin[i]
		if m.fatal(e, &a, matched, false) || !m.takes(e, &a, matched) {
			continue
		}
		m.take(s, e.to, -1, run{start: s.seq, startTime: timestamp}, &a)
	}
	s.runs, m.runs = m.runs, s.runs
	if a.id >= 0 {
		s.seq++
	}
	m.emit(s, &out)
	return out
}

// AdvanceTime says that no event with a timestamp up to t will come any more. It
// drops the partial matches whose time is over.
func (m *Machine[T]) AdvanceTime(s *State[T], t int64) Result[T] {
	var out Result[T]
	m.expire(s, t, &out)
	return out
}

// Deadline returns the earliest time at which AdvanceTime will find something
// to do, and false if there is none.
func (m *Machine[T]) Deadline(s *State[T]) (int64, bool) {
	if m.within == 0 || len(s.runs) == 0 {
		return 0, false
	}
	return m.deadline(s.runs[0].startTime), true
}

func (m *Machine[T]) deadline(start int64) int64 {
	if start > math.MaxInt64-m.within {
		return math.MaxInt64
	}
	return start + m.within
}

// arrival is the event at hand. It enters the buffer when it is first taken.
type arrival[T any] struct {
	value     T
	timestamp int64
	id        int32 // in the buffer; -1: not there
}

// move takes one partial match over the event at hand.
func (m *Machine[T]) move(s *State[T], r run, a *arrival[T]) {
	matched := Matched[T]{machine: m, state: s, node: r.node, now: a.timestamp}
	edges := m.slots[s.nodes[r.node].slot].edges
	first := r.edge < 0
	if !first {
		edges = edges[r.edge : r.edge+1]
	}
	// Matches that go on come before those that wait, so that of two matches
	// the one that took an event earlier is found first.
	for i := range edges {
		e := &edges[i]
		if e.to >= 0 && m.takes(e, a, matched) && !m.fatal(e, a, matched, first) {
			m.take(s, e.to, r.node, r, a)
		}
	}
	for i := range edges {
		e := &edges[i]
		if m.fatal(e, a, matched, first) {
			continue
		}
		switch {
		case e.to == endAtNextEvent:
			m.complete(s, r.node, r.start)
			continue
		case e.to >= 0 && !m.passesOver(e, a, matched):
			continue
		}
		waiting := r
		if first {
			waiting.edge = int32(i)
		}
		s.nodes[r.node].refs++
		m.runs = append(m.runs, waiting)
	}
}

// take fills the slot with the event at hand.
func (m *Machine[T]) take(s *State[T], to, prev int32, r run, a *arrival[T]) {
	if a.id < 0 {
		a.id = s.addEvent(a.value, a.timestamp)
	}
	r.node = s.addNode(node{prev: prev, slot: to, event: a.id})
	r.edge = -1
	if m.slots[to].final {
		m.complete(s, r.node, r.start)
	}
	if len(m.slots[to].edges) > 0 {
		s.nodes[r.node].refs++
		m.runs = append(m.runs, r)
	}
}

func (m *Machine[T]) fits(cond int32, a *arrival[T], matched Matched[T]) bool {
	c := &m.conds[cond]
	if c.simple == nil {
		return c.iterative == nil || c.iterative(a.value, matched)
	}
	known := &m.memo[cond]
	if known.round != m.round {
		*known = memo{m.round, c.simple(a.value)}
	}
	return known.fits
}

func (m *Machine[T]) fitsAny(conds []int32, a *arrival[T], matched Matched[T]) bool {
	for _, c := range conds {
		if m.fits(c, a, matched) {
			return true
		}
	}
	return false
}

// fatal reports whether the event at hand ends the attempt to go along e. first
// says that it comes directly after the slot before.
func (m *Machine[T]) fatal(e *edge, a *arrival[T], matched Matched[T], first bool) bool {
	if first && m.fitsAny(e.notFirst, a, matched) {
		return true
	}
	for _, g := range e.never {
		if m.fits(g.cond, a, matched) && (g.unless < 0 || !m.fits(g.unless, a, matched)) {
			return true
		}
	}
	return false
}

func (m *Machine[T]) takes(e *edge, a *arrival[T], matched Matched[T]) bool {
	return m.fits(e.cond, a, matched) && !m.fitsAny(e.notTaken, a, matched)
}

func (m *Machine[T]) passesOver(e *edge, a *arrival[T], matched Matched[T]) bool {
	return e.mode != strict &&
		(e.mode == loose || !m.fits(e.cond, a, matched)) &&
		!m.fitsAny(e.notOver, a, matched)
}

// found is a match completed in the call at hand, or a partial match out of time,
// with what orders it.
type found struct {
	completed
	from, to int // its events and stages in Machine.ids and Machine.names
}

// complete notes that the partial match ending in node n is a match.
func (m *Machine[T]) complete(s *State[T], n int32, start uint64) {
	s.nodes[n].refs++
	m.found = append(m.found, m.spell(s, n, start))
}

// spell writes out the partial match that ends in node n, for comparison.
func (m *Machine[T]) spell(s *State[T], n int32, start uint64) found {
	f := found{completed: completed{node: n, start: start}, from: len(m.ids)}
	for ; n >= 0; n = s.nodes[n].prev {
		m.ids = append(m.ids, s.events[s.nodes[n].event].seq)
		m.names = append(m.names, m.slots[s.nodes[n].slot].stage)
	}
	f.to = len(m.ids)
	slices.Reverse(m.ids[f.from:f.to])
	slices.Reverse(m.names[f.from:f.to])
	return f
}

// compare orders matches: by where they start, and of those with one start, the
// one that took an event the other passed over comes first.
func (m *Machine[T]) compare(a, b found) int {
	return cmp.Or(
		cmp.Compare(a.start, b.start),
		slices.Compare(m.ids[a.from:a.to], m.ids[b.from:b.to]),
		slices.Compare(m.names[a.from:a.to], m.names[b.from:b.to]),
	)
}

// emit moves the matches completed in this call, and those held back that are
// now free, to the result.
func (m *Machine[T]) emit(s *State[T], out *Result[T]) {
	if len(m.found) > 0 {
		slices.SortStableFunc(m.found, m.compare)
		for i, f := range m.found {
			// A pattern may allow one and the same match in several ways.
			if i > 0 && m.compare(m.found[i-1], f) == 0 {
				s.release(f.node)
				continue
			}
			s.hold(f.completed)
		}
		m.found, m.ids, m.names = m.found[:0], m.ids[:0], m.names[:0]
	}
	if m.skip.kind == noSkip {
		for _, c := range s.completed {
			out.Matches = append(out.Matches, m.match(s, c.node))
			s.release(c.node)
		}
		s.completed = s.completed[:0]
	}
	for len(s.completed) > 0 {
		first := s.completed[0]
		if len(s.runs) > 0 && s.runs[0].start < first.start {
			break
		}
		s.completed = slices.Delete(s.completed, 0, 1)
		out.Matches = append(out.Matches, m.match(s, first.node))
		m.prune(s, first)
		s.release(first.node)
	}
	s.resetIfEmpty()
}

// prune gives up what the skip strategy gives up for a match.
func (m *Machine[T]) prune(s *State[T], c completed) {
	var limit uint64 // all that started before it goes
	switch m.skip.kind {
	case toNext:
		limit = c.start + 1
	case pastLastEvent:
		limit = s.events[s.nodes[c.node].event].seq + 1
	default:
		for n := c.node; n >= 0; n = s.nodes[n].prev {
			if m.slots[s.nodes[n].slot].stage == m.skipStage {
				limit = s.events[s.nodes[n].event].seq
				if m.skip.kind == toLast {
					break
				}
			}
		}
	}
	s.runs = slices.DeleteFunc(s.runs, func(r run) bool {
		if r.start < limit {
			s.release(r.node)
		}
		return r.start < limit
	})
	s.completed = slices.DeleteFunc(s.completed, func(d completed) bool {
		if d.start < limit {
			s.release(d.node)
		}
		return d.start < limit
	})
}

// expire drops the partial matches whose time is over at t. Runs are in order of
// their start, so these are the first ones.
func (m *Machine[T]) expire(s *State[T], t int64, out *Result[T]) {
	if m.within == 0 || len(s.runs) == 0 || m.deadline(s.runs[0].startTime) > t {
		return
	}
	n := 0
	for n < len(s.runs) && m.deadline(s.runs[n].startTime) <= t {
		n++
	}
	// Several runs may stand for one partial match, each waiting for another
	// stage. It is reported once, and not at all if it is a match.
	m.round++
	for _, r := range s.runs[:n] {
		node := &s.nodes[r.node]
		for i, e := range m.slots[node.slot].edges {
			if e.to == endInTime && (r.edge < 0 || int(r.edge) == i) && node.mark != m.round {
				node.mark = m.round
				m.complete(s, r.node, r.start)
			}
		}
	}
	for _, r := range s.runs[:n] {
		node := &s.nodes[r.node]
		if node.mark != m.round && !m.discardTimeouts {
			node.mark = m.round
			m.late = append(m.late, m.spell(s, r.node, r.start))
		}
	}
	m.reportLate(s, out)
	for _, r := range s.runs[:n] {
		s.release(r.node)
	}
	s.runs = slices.Delete(s.runs, 0, n)
	m.emit(s, out)
}

// reportLate moves the partial matches out of time to the result, as emit does
// with matches.
func (m *Machine[T]) reportLate(s *State[T], out *Result[T]) {
	slices.SortFunc(m.late, m.compare)
	for i, f := range m.late {
		if i > 0 && m.compare(m.late[i-1], f) == 0 {
			continue
		}
		if slices.ContainsFunc(m.found, func(g found) bool { return m.compare(f, g) == 0 }) {
			continue
		}
		match := m.match(s, f.node)
		out.Timeouts = append(out.Timeouts, Timeout[T]{match, m.deadline(match.start)})
	}
	m.late = m.late[:0]
	if len(m.found) == 0 {
		m.ids, m.names = m.ids[:0], m.names[:0]
	}
}

// match copies the events of the partial match that ends in node n.
func (m *Machine[T]) match(s *State[T], n int32) Match[T] {
	length := 0
	for i := n; i >= 0; i = s.nodes[i].prev {
		length++
	}
	out := Match[T]{names: m.stages, events: make([]T, length), stages: make([]int32, length)}
	out.end = s.events[s.nodes[n].event].timestamp
	for i := n; i >= 0; i = s.nodes[i].prev {
		length--
		e := &s.events[s.nodes[i].event]
		out.events[length] = e.value
		out.stages[length] = m.slots[s.nodes[i].slot].stage
		out.start = e.timestamp
	}
	return out
}

// fingerprint sums up what the numbers in a stored state refer to.
func (m *Machine[T]) fingerprint() uint64 {
	h := fnv.New64a()
	var b []byte
	put := func(v int) {
		b = b[:0]
		for range 8 {
			b = append(b, byte(v))
			v >>= 8
		}
		h.Write(b)
	}
	put(len(m.stages))
	for _, name := range m.stages {
		put(len(name))
		h.Write([]byte(name))
	}
	put(len(m.slots))
	for _, s := range m.slots {
		put(int(s.stage))
		put(len(s.edges))
		for _, e := range s.edges {
			put(int(e.to))
			put(int(e.mode))
		}
	}
	return h.Sum64()
}
