package millrace

import (
	"context"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/operator/optest"
	"github.com/millrace/millrace/runtime/watermark"
)

// A naiveTrigger is a trigger of one key and window by its definition: it owns
// its timers and knows of no others.
type naiveTrigger interface {
	element(m *naive, r trip, w Window) TriggerResult
	event(m *naive, at int64, w Window) TriggerResult
	processing(m *naive, at int64, w Window) TriggerResult
	merged(m *naive, from []naiveTrigger, w Window)
	clear()
	timers(processing bool) []int64
}

// leaf is a trigger without others inside: its timers.
type leaf struct{ ev, pr map[int64]bool }

func (l *leaf) of(processing bool) *map[int64]bool {
	if processing {
		return &l.pr
	}
	return &l.ev
}

func (l *leaf) set(processing bool, at int64) {
	if m := l.of(processing); *m == nil {
		*m = map[int64]bool{}
	}
	(*l.of(processing))[at] = true
}

// own takes a timer that rings; it reports false if it is another's.
func (l *leaf) own(processing bool, at int64) bool {
	m := *l.of(processing)
	ok := m[at]
	delete(m, at)
	return ok
}

func (l *leaf) timers(processing bool) (at []int64) {
	for t := range *l.of(processing) {
		at = append(at, t)
	}
	return at
}

func (l *leaf) clear()                                         { *l = leaf{} }
func (l *leaf) element(*naive, trip, Window) TriggerResult     { return Continue }
func (l *leaf) event(*naive, int64, Window) TriggerResult      { return Continue }
func (l *leaf) processing(*naive, int64, Window) TriggerResult { return Continue }
func (l *leaf) merged(_ *naive, _ []naiveTrigger, _ Window)    {}
func fireIf(yes bool) TriggerResult                            { return map[bool]TriggerResult{true: Fire}[yes] }

type naiveEvent struct{ leaf }

func (t *naiveEvent) element(m *naive, _ trip, w Window) TriggerResult {
	if w.MaxTimestamp() <= m.wm {
		return Fire
	}
	t.set(false, w.MaxTimestamp())
	return Continue
}
func (t *naiveEvent) event(_ *naive, at int64, w Window) TriggerResult {
	return fireIf(t.own(false, at) || at == w.MaxTimestamp()) // cleared or not
}

type naiveProcessing struct{ leaf }

func (t *naiveProcessing) element(_ *naive, _ trip, w Window) TriggerResult {
	t.set(true, w.MaxTimestamp())
	return Continue
}
func (t *naiveProcessing) processing(_ *naive, at int64, w Window) TriggerResult {
	return fireIf(t.own(true, at) || at == w.MaxTimestamp())
}

// naiveContinuous fires at multiples of every and, by event time, at the end.
type naiveContinuous struct {
	leaf    // only the end of the window
	every   int64
	proc    bool
	next    int64
	hasNext bool
}

func (t *naiveContinuous) timers(processing bool) []int64 {
	at := t.leaf.timers(processing)
	if t.hasNext && processing == t.proc {
		at = append(at, t.next)
	}
	return at
}

func (t *naiveContinuous) element(m *naive, r trip, w Window) TriggerResult {
	at := r.At
	if t.proc {
		at = m.now
	} else {
		if w.MaxTimestamp() <= m.wm {
			return Fire
		}
		t.set(false, w.MaxTimestamp())
	}
	if !t.hasNext {
		t.next, t.hasNext = min(at-at%t.every+t.every, w.MaxTimestamp()), true
	}
	return Continue
}

func (t *naiveContinuous) rings(m *naive, at int64, w Window) TriggerResult {
	if !t.hasNext || t.next != at {
		return Continue
	}
	t.hasNext = at < w.MaxTimestamp()
	t.next = min(at-at%t.every+t.every, w.MaxTimestamp())
	if m.wm == watermark.End && w == operator.Everything && !t.proc {
		t.next = w.MaxTimestamp() // no multiples without event time
	}
	return Fire
}

func (t *naiveContinuous) event(m *naive, at int64, w Window) TriggerResult {
	end := t.own(false, at) || !t.proc && at == w.MaxTimestamp() // cleared or not
	return fireIf(end) | t.rings2(m, !t.proc, at, w)
}

func (t *naiveContinuous) rings2(m *naive, mine bool, at int64, w Window) TriggerResult {
	if !mine {
		return Continue
	}
	return t.rings(m, at, w)
}

func (t *naiveContinuous) processing(m *naive, at int64, w Window) TriggerResult {
	return t.rings2(m, t.proc, at, w)
}

func (t *naiveContinuous) merged(_ *naive, from []naiveTrigger, _ Window) {
	for _, f := range from {
		if f := f.(*naiveContinuous); f.hasNext && (!t.hasNext || f.next < t.next) {
			t.next, t.hasNext = f.next, true
		}
	}
}

func (t *naiveContinuous) clear() { *t = naiveContinuous{every: t.every, proc: t.proc} }

type naiveCount struct {
	leaf
	of, n int
}

func (t *naiveCount) element(*naive, trip, Window) TriggerResult {
	if t.n++; t.n >= t.of {
		t.n = 0
		return Fire
	}
	return Continue
}
func (t *naiveCount) merged(_ *naive, from []naiveTrigger, _ Window) {
	for _, f := range from {
		t.n += f.(*naiveCount).n
	}
}
func (t *naiveCount) clear() { t.n = 0 }

type naiveDelta struct {
	leaf
	last *trip
}

func (t *naiveDelta) element(_ *naive, r trip, _ Window) TriggerResult {
	if t.last == nil || r.V-t.last.V > 30 {
		fire := t.last != nil
		t.last = &r
		return fireIf(fire)
	}
	return Continue
}
func (t *naiveDelta) clear() { t.last = nil }

type naiveNever struct{ leaf }

type naivePurging struct{ naiveTrigger }

func purged(r TriggerResult) TriggerResult {
	if r&Fire != 0 {
		return FireAndPurge
	}
	return r
}
func (t *naivePurging) element(m *naive, r trip, w Window) TriggerResult {
	return purged(t.naiveTrigger.element(m, r, w))
}
func (t *naivePurging) event(m *naive, at int64, w Window) TriggerResult {
	return purged(t.naiveTrigger.event(m, at, w))
}
func (t *naivePurging) processing(m *naive, at int64, w Window) TriggerResult {
	return purged(t.naiveTrigger.processing(m, at, w))
}
func (t *naivePurging) merged(m *naive, from []naiveTrigger, w Window) {
	var inner []naiveTrigger
	for _, f := range from {
		inner = append(inner, f.(*naivePurging).naiveTrigger)
	}
	t.naiveTrigger.merged(m, inner, w)
}

// naiveTimeout counts from the first record since it fired, or from the last.
type naiveTimeout struct {
	inner        naiveTrigger
	after        int64
	reset, clean bool
	at           int64
	on           bool
}

func (t *naiveTimeout) element(m *naive, r trip, w Window) TriggerResult {
	res := t.inner.element(m, r, w)
	if res&Fire != 0 {
		t.clear()
		return res
	}
	if !t.on || t.reset {
		t.at, t.on = m.now+t.after, true
	}
	return res
}
func (t *naiveTimeout) event(m *naive, at int64, w Window) TriggerResult {
	res := t.inner.event(m, at, w)
	if res&Fire != 0 {
		t.clear()
	}
	return res
}
func (t *naiveTimeout) processing(m *naive, at int64, w Window) TriggerResult {
	res := t.inner.processing(m, at, w)
	over := t.on && t.at == at
	if over {
		t.on = false
		res |= Fire
		if t.clean {
			t.clear()
		}
	} else if res&Fire != 0 {
		t.clear()
	}
	return res
}
func (t *naiveTimeout) merged(*naive, []naiveTrigger, Window) { panic("cannot merge") }
func (t *naiveTimeout) clear()                                { t.on = false; t.inner.clear() }
func (t *naiveTimeout) timers(processing bool) []int64 {
	at := t.inner.timers(processing)
	if t.on && processing {
		at = append(at, t.at)
	}
	return at
}

// naiveSeveral is any of several triggers, or all.
type naiveSeveral struct {
	all   bool
	of    []naiveTrigger
	fired []bool
	purge bool
}

func (t *naiveSeveral) each(f func(naiveTrigger) TriggerResult) (r TriggerResult) {
	for i, x := range t.of {
		one := f(x)
		if !t.all {
			r |= one
			continue
		}
		t.fired[i] = t.fired[i] || one&Fire != 0
		t.purge = t.purge || one == FireAndPurge
	}
	if t.all && !slices.Contains(t.fired, false) {
		r = Fire
		if t.purge {
			r = FireAndPurge
		}
		clear(t.fired)
		t.purge = false
	}
	return r
}
func (t *naiveSeveral) element(m *naive, r trip, w Window) TriggerResult {
	return t.each(func(x naiveTrigger) TriggerResult { return x.element(m, r, w) })
}
func (t *naiveSeveral) event(m *naive, at int64, w Window) TriggerResult {
	return t.each(func(x naiveTrigger) TriggerResult { return x.event(m, at, w) })
}
func (t *naiveSeveral) processing(m *naive, at int64, w Window) TriggerResult {
	return t.each(func(x naiveTrigger) TriggerResult { return x.processing(m, at, w) })
}
func (t *naiveSeveral) merged(m *naive, from []naiveTrigger, w Window) {
	for i, x := range t.of {
		var inner []naiveTrigger
		for _, f := range from {
			f := f.(*naiveSeveral)
			inner = append(inner, f.of[i])
			t.fired[i] = t.fired[i] || f.fired[i]
			t.purge = t.purge || f.purge
		}
		x.merged(m, inner, w)
	}
}
func (t *naiveSeveral) clear() {
	for _, x := range t.of {
		x.clear()
	}
	clear(t.fired)
	t.purge = false
}
func (t *naiveSeveral) timers(processing bool) (at []int64) {
	for _, x := range t.of {
		at = append(at, x.timers(processing)...)
	}
	return at
}

// naive is windows by their definition: each key's windows with their records,
// a trigger each, and no state or timer shared.
type naive struct {
	assign   func(r trip, now int64) []Window
	sessions bool
	proc     bool // windows of processing time
	lateness int64
	trigger  func() naiveTrigger
	evict    func([]trip) []trip
	after    bool
	line     func(key int64, w Window, recs []trip, firing int) string
	wm, now  int64
	open     []*naiveWindow
	out      []string
	late     []string
	cleared  []string
}

type naiveWindow struct {
	key    int64
	w      Window
	recs   []trip
	t      naiveTrigger
	firing int
}

func (m *naive) cleanup(w Window) int64 {
	at := w.MaxTimestamp()
	if m.proc || at == math.MaxInt64 {
		return at
	}
	return at + m.lateness
}

func (m *naive) record(r trip) {
	ws := m.assign(r, m.now)
	skipped := len(ws) > 0
	for _, w := range ws {
		var n *naiveWindow
		if m.sessions {
			n = m.session(r.Key, w)
		} else {
			for _, o := range m.open {
				if o.key == r.Key && o.w == w {
					n = o
				}
			}
		}
		if n == nil {
			if !m.proc && m.cleanup(w) <= m.wm {
				continue
			}
			n = &naiveWindow{key: r.Key, w: w, t: m.trigger()}
			m.open = append(m.open, n)
		}
		skipped = false
		n.recs = append(n.recs, r)
		m.act(n, n.t.element(m, r, n.w))
	}
	if skipped {
		m.late = append(m.late, fmt.Sprintf("port 1: %+v at %s", r, operator.FormatMillis(r.At)))
	}
}

// session returns the window that a record with window w joins, if any.
func (m *naive) session(key int64, w Window) *naiveWindow {
	var joined []*naiveWindow
	for _, o := range m.open {
		if o.key == key && o.w.StartMillis <= w.EndMillis && w.StartMillis <= o.w.EndMillis {
			joined = append(joined, o)
		}
	}
	if len(joined) == 0 {
		return nil
	}
	slices.SortFunc(joined, func(a, b *naiveWindow) int { return int(a.w.StartMillis - b.w.StartMillis) })
	n := &naiveWindow{key: key, w: w, t: m.trigger()}
	var ts []naiveTrigger
	for _, o := range joined {
		n.w = Window{StartMillis: min(n.w.StartMillis, o.w.StartMillis), EndMillis: max(n.w.EndMillis, o.w.EndMillis)}
		n.recs = append(n.recs, o.recs...)
		n.firing = max(n.firing, o.firing)
		ts = append(ts, o.t)
	}
	if len(joined) == 1 && joined[0].w == n.w {
		return joined[0]
	}
	n.t.merged(m, ts, n.w)
	m.open = slices.DeleteFunc(m.open, func(o *naiveWindow) bool { return slices.Contains(joined, o) })
	m.open = append(m.open, n)
	return n
}

func (m *naive) act(n *naiveWindow, r TriggerResult) {
	if r&Fire != 0 && len(n.recs) > 0 {
		recs := n.recs
		if m.evict != nil && !m.after {
			recs = m.evict(recs)
		}
		m.out = append(m.out, fmt.Sprintf("port 0: %s at %s", m.line(n.key, n.w, recs, n.firing), operator.FormatMillis(n.w.MaxTimestamp())))
		n.firing++
		if m.evict != nil && m.after && len(recs) > 0 {
			recs = m.evict(recs)
		}
		n.recs = recs
	}
	if r&Purge != 0 {
		n.recs = nil
	}
}

// ring handles all timers up to and including to.
func (m *naive) ring(processing bool, to int64) {
	for {
		var due *naiveWindow
		at := int64(math.MaxInt64)
		for _, n := range m.open {
			ts := n.t.timers(processing)
			if c := m.cleanup(n.w); processing == m.proc && c != math.MaxInt64 {
				ts = append(ts, c)
			}
			for _, t := range ts {
				if t <= to && (due == nil || t < at) {
					due, at = n, t
				}
			}
		}
		if due == nil {
			return
		}
		if processing {
			m.act(due, due.t.processing(m, at, due.w))
		} else {
			m.act(due, due.t.event(m, at, due.w))
		}
		if processing == m.proc && at == m.cleanup(due.w) {
			m.cleared = append(m.cleared, fmt.Sprint(due.key, due.w))
			m.open = slices.DeleteFunc(m.open, func(o *naiveWindow) bool { return o == due })
		}
	}
}

func (m *naive) take() (out, late, cleared []string) {
	out, late, cleared = m.out, m.late, m.cleared
	m.out, m.late, m.cleared = nil, nil, nil
	return sortedLines(out), sortedLines(late), sortedLines(cleared)
}

func sortedLines(s []string) []string {
	slices.Sort(s)
	return s
}

// trial is one choice of windows, trigger, evictor, lateness and function, with
// the model that says what comes of it.
type trial struct {
	name  string
	model *naive
	make  func() operator.Operator
	ports []optest.PortReader
	clear *[]string // what OnClear was called for; nil if it is not set
}

func mod(x, y int64) int64 { return ((x % y) + y) % y }

// spans are the windows of size every slide that hold ts.
func spans(ts, size, slide, offset int64) (ws []Window) {
	for s := ts - size + 1; s <= ts; s++ {
		if mod(s-offset, slide) == 0 {
			ws = append(ws, Window{StartMillis: s, EndMillis: s + size})
		}
	}
	return ws
}

func someWindows(rng *rand.Rand, m *naive) (name string, w Windows) {
	timed := func(f func(ts int64) []Window) {
		m.assign = func(r trip, now int64) []Window {
			if m.proc {
				return f(now)
			}
			return f(r.At)
		}
	}
	switch rng.IntN(9) {
	case 0, 1:
		name, w = "tumbling", Tumbling(10*ms).Offset(3*ms)
		timed(func(ts int64) []Window { return spans(ts, 10, 10, 3) })
	case 2:
		name, w = "sliding", Sliding(12*ms, 5*ms)
		timed(func(ts int64) []Window { return spans(ts, 12, 5, 0) })
	case 3:
		name, w = "sliding with gaps", Sliding(5*ms, 8*ms)
		timed(func(ts int64) []Window { return spans(ts, 5, 8, 0) })
	case 4:
		name, w = "cumulative", Cumulative(12*ms, 4*ms)
		timed(func(ts int64) (ws []Window) {
			for _, s := range spans(ts, 12, 12, 0) {
				for e := s.StartMillis + 4; e <= s.EndMillis; e += 4 {
					if ts < e {
						ws = append(ws, Window{StartMillis: s.StartMillis, EndMillis: e})
					}
				}
			}
			return ws
		})
	case 5:
		m.sessions = true
		name, w = "session", Session(6*ms)
		timed(func(ts int64) []Window { return []Window{{StartMillis: ts, EndMillis: ts + 6}} })
	case 6:
		m.sessions = true
		name, w = "session by", SessionBy(func(t trip) time.Duration { return time.Duration(1+t.V%9) * ms })
		m.assign = func(r trip, now int64) []Window {
			ts := r.At
			if m.proc {
				ts = now
			}
			return []Window{{StartMillis: ts, EndMillis: ts + 1 + r.V%9}}
		}
	case 7, 8:
		m.assign = func(trip, int64) []Window { return []Window{operator.Everything} }
		return "global", Global()
	}
	if rng.IntN(3) == 0 {
		m.proc = true
		return name + " of processing time", w.ProcessingTime()
	}
	return name, w
}

// someTrigger returns a trigger and its definition. A timeout has no company:
// it would clear timers that others have set as well.
func someTrigger(rng *rand.Rand, depth int, merging bool) (string, Trigger, func() naiveTrigger) {
	n := 12
	if depth == 0 {
		n = 7
	}
	if merging && n == 12 {
		n = 11
	}
	every := 3 + rng.Int64N(6)
	switch k := rng.IntN(n); k {
	case 0:
		return "event", EventTimeTrigger(), func() naiveTrigger { return &naiveEvent{} }
	case 1:
		return "processing", ProcessingTimeTrigger(), func() naiveTrigger { return &naiveProcessing{} }
	case 2:
		return fmt.Sprintf("continuous %d", every), ContinuousEventTimeTrigger(time.Duration(every) * ms),
			func() naiveTrigger { return &naiveContinuous{every: every} }
	case 3:
		return fmt.Sprintf("continuous processing %d", every), ContinuousProcessingTimeTrigger(time.Duration(every) * ms),
			func() naiveTrigger { return &naiveContinuous{every: every, proc: true} }
	case 4, 5:
		if k == 5 && !merging {
			return "delta", DeltaTrigger(30, func(a, b trip) float64 { return float64(b.V - a.V) }), func() naiveTrigger { return &naiveDelta{} }
		}
		return fmt.Sprintf("count %d", every), CountTrigger(int(every)), func() naiveTrigger { return &naiveCount{of: int(every)} }
	case 6:
		return "never", NeverTrigger(), func() naiveTrigger { return &naiveNever{} }
	case 7, 8:
		name, t, f := someTrigger(rng, depth-1, merging)
		return "purging(" + name + ")", PurgingTrigger(t), func() naiveTrigger { return &naivePurging{f()} }
	case 9, 10:
		all := k == 10
		var names []string
		var ts []Trigger
		var fs []func() naiveTrigger
		for range 2 {
			name, t, f := someTrigger(rng, 0, merging)
			names, ts, fs = append(names, name), append(ts, t), append(fs, f)
		}
		t, what := AnyTrigger(ts...), "any("
		if all {
			t, what = AllTrigger(ts...), "all("
		}
		return what + strings.Join(names, ", ") + ")", t, func() naiveTrigger {
			s := &naiveSeveral{all: all, fired: make([]bool, len(fs))}
			for _, f := range fs {
				s.of = append(s.of, f())
			}
			return s
		}
	}
	reset, clean := rng.IntN(2) == 0, rng.IntN(2) == 0
	name, t, f := someTrigger(rng, 0, false)
	return fmt.Sprintf("timeout %d of (%s) reset %v clear %v", every, name, reset, clean), ProcessingTimeoutTrigger(t, time.Duration(every)*ms, reset, clean),
		func() naiveTrigger { return &naiveTimeout{inner: f(), after: every, reset: reset, clean: clean} }
}

func someEvictor(rng *rand.Rand) (string, Evictor[trip], func([]trip) []trip) {
	only := func(recs []trip, keep func(i int) bool) (left []trip) {
		for i := range recs {
			if keep(i) {
				left = append(left, recs[i])
			}
		}
		return left
	}
	n := 1 + rng.IntN(4)
	switch rng.IntN(4) {
	case 0:
		return fmt.Sprintf("count %d", n), EvictCount[trip](n), func(recs []trip) []trip {
			return only(recs, func(i int) bool { return i >= len(recs)-n })
		}
	case 1:
		return fmt.Sprintf("time %d", n), EvictTime[trip](time.Duration(n) * ms), func(recs []trip) []trip {
			return only(recs, func(i int) bool {
				for _, o := range recs {
					if recs[i].At <= o.At-int64(n) {
						return false
					}
				}
				return true
			})
		}
	case 2:
		return "delta", EvictDelta(20, func(r, last trip) float64 { return float64(last.V - r.V) }), func(recs []trip) []trip {
			return only(recs, func(i int) bool { return recs[len(recs)-1].V-recs[i].V < 20 })
		}
	}
	drop := func(r trip, at int64, i, n int) bool { return (r.V+at+int64(i*n))%3 == 0 }
	return "custom", EvictBy(func(r trip, at time.Time, i, n int, _ Window) bool { return drop(r, at.UnixMilli(), i, n) }), func(recs []trip) []trip {
		return only(recs, func(i int) bool { return !drop(recs[i], recs[i].At, i, len(recs)) })
	}
}

func prepared[R any](t *testing.T, j *Job, s Stream[R], tr *trial) {
	t.Helper()
	mk, err := s.node.Prepare(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	tr.make = mk
	tr.ports = []optest.PortReader{optest.Port[R](0), optest.Port[trip](1)}
}

func listed(recs []trip) (vs []int64) {
	for _, r := range recs {
		vs = append(vs, r.V)
	}
	return vs
}

func added(recs []trip) (sum int64) {
	for _, r := range recs {
		sum += r.V
	}
	return sum
}

// someTrial chooses one for a seed.
func someTrial(t *testing.T, rng *rand.Rand) *trial {
	m := &naive{wm: watermark.None}
	tr := &trial{model: m}
	var w Windows
	tr.name, w = someWindows(rng, m)
	j := &Job{name: "trial"}
	x := keyed(j.From("trips", trips{})).Window(w)
	switch {
	case m.proc:
		m.trigger = func() naiveTrigger { return &naiveProcessing{} }
	default:
		m.trigger = func() naiveTrigger { return &naiveEvent{} }
	}
	if rng.IntN(4) > 0 {
		name, tt, f := someTrigger(rng, 1, m.sessions)
		tr.name += ", " + name
		m.trigger = f
		x = x.Trigger(tt)
	}
	if rng.IntN(2) == 0 {
		m.lateness = []int64{1, 7, 30}[rng.IntN(3)]
		x = x.AllowedLateness(time.Duration(m.lateness) * ms)
		tr.name += fmt.Sprintf(", lateness %d", m.lateness)
	}
	if rng.IntN(3) == 0 {
		name, e, f := someEvictor(rng)
		m.evict = f
		if m.after = rng.IntN(2) == 0; m.after {
			e = e.After()
			name += " after"
		}
		tr.name += ", evictor " + name
		x = x.Evictor(e)
	}
	switch rng.IntN(5) {
	case 0:
		tr.name += ", apply"
		m.line = func(k int64, w Window, recs []trip, _ int) string { return fmt.Sprint(k, w, listed(recs)) }
		prepared(t, j, x.Apply("w", func(k int64, w Window, recs iter.Seq[trip], emit func(string)) {
			emit(fmt.Sprint(k, w, listed(slices.Collect(recs))))
		}), tr)
	case 1:
		tr.name += ", sum"
		m.line = func(k int64, w Window, recs []trip, _ int) string {
			return fmt.Sprintf("%+v", Result[int64, int64]{k, w, added(recs)})
		}
		prepared(t, j, x.Aggregate("w", Sum(value)), tr)
	case 2:
		tr.name += ", aggregate and apply"
		m.line = func(k int64, w Window, recs []trip, _ int) string { return fmt.Sprint(k, w, len(recs)) }
		prepared(t, j, x.AggregateApply("w", Counts[trip](), func(k int64, w Window, n int64, emit func(string)) { emit(fmt.Sprint(k, w, n)) }), tr)
	case 3:
		tr.name += ", process"
		tr.clear = &[]string{}
		m.line = func(k int64, w Window, recs []trip, firing int) string {
			if w == operator.Everything {
				return fmt.Sprint(k, w, listed(recs))
			}
			return fmt.Sprint(k, w, listed(recs), firing, firing)
		}
		prepared(t, j, x.Process("w", func(o *WindowOp[int64, trip, string]) {
			o.OnWindow(func(recs iter.Seq[trip]) error {
				if o.Window() == operator.Everything {
					o.Emit(fmt.Sprint(o.Key(), o.Window(), listed(slices.Collect(recs))))
					return nil
				}
				o.Emit(fmt.Sprint(o.Key(), o.Window(), listed(slices.Collect(recs)), o.Firing(), o.Firing()))
				return nil
			})
			o.OnClear(func() error {
				*tr.clear = append(*tr.clear, fmt.Sprint(o.Key(), o.Window()))
				return nil
			})
		}), tr)
	case 4:
		tr.name += ", aggregate and process"
		tr.clear = &[]string{}
		m.line = func(k int64, w Window, recs []trip, _ int) string { return fmt.Sprint(k, w, added(recs)) }
		prepared(t, j, x.AggregateProcess("w", Sum(value), func(o *WindowOp[int64, int64, string]) {
			o.OnWindow(func(sums iter.Seq[int64]) error {
				for n := range sums {
					o.Emit(fmt.Sprint(o.Key(), o.Window(), n))
				}
				return nil
			})
			o.OnClear(func() error {
				*tr.clear = append(*tr.clear, fmt.Sprint(o.Key(), o.Window()))
				return nil
			})
		}), tr)
	}
	return tr
}

// play lives through a random history with the operator, on a clock that is
// moved by hand, and with the model. Between any two calls the operator may be
// restored in another number of subtasks.
func (tr *trial) play(t *testing.T, seed uint64, rng *rand.Rand) (n int) {
	t.Helper()
	m := tr.model
	d := optest.New(tr.make, optest.Options{Parallelism: 1 + rng.IntN(3), MaxParallelism: 8, BatchSize: 1 + rng.IntN(6), Interrupt: rng.IntN(2) == 0})
	var reads []func() []string
	for _, p := range tr.ports {
		reads = append(reads, p(d))
	}
	fail := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("seed %d: %s: %s: %v", seed, tr.name, what, err)
		}
	}
	fail("start", d.Start())
	var history []string
	check := func(what string) {
		t.Helper()
		history = append(history, what)
		got, gotLate := sortedLines(reads[0]()), sortedLines(reads[1]())
		want, wantLate, cleared := m.take()
		n += len(want)
		same := slices.Equal(got, want) && slices.Equal(gotLate, wantLate)
		if tr.clear != nil {
			same = same && slices.Equal(sortedLines(*tr.clear), cleared)
		}
		if !same {
			t.Fatalf("seed %d: %s:\n%s\ngot\n%s\nwant\n%s\nlate\n%s\nwant late\n%s\ncleared %v\nwant cleared %v", seed, tr.name, strings.Join(history, "\n"),
				strings.Join(got, "\n"), strings.Join(want, "\n"), strings.Join(gotLate, "\n"), strings.Join(wantLate, "\n"), tr.clear, cleared)
		}
		if tr.clear != nil {
			*tr.clear = nil
		}
	}
	at, now := int64(60), int64(0)
	for range 25 {
		if rng.IntN(4) == 0 {
			p := 1 + rng.IntN(4)
			fail("restart", d.Restart(p))
			history = append(history, fmt.Sprintf("restored in %d", p))
		}
		switch rng.IntN(4) {
		case 0:
			now += 1 + rng.Int64N(12)
			m.now = now
			m.ring(true, now-1)
			fail("clock", d.ProcessingTime(now))
			check(fmt.Sprintf("clock %d", now))
		case 1:
			if wm := at - rng.Int64N(15); wm > m.wm {
				m.wm = wm
				m.ring(false, wm)
				fail("watermark", d.Advance(wm))
				check(fmt.Sprintf("watermark %d", wm))
			}
		default:
			var rows []optest.Row[int64, trip]
			for range 1 + rng.IntN(6) {
				at += rng.Int64N(4)
				r := trip{rng.Int64N(4), rng.Int64N(60), at - rng.Int64N(25)}
				rows = append(rows, optest.Row[int64, trip]{Key: r.Key, Time: r.At, Record: r})
				m.record(r)
			}
			fail("records", optest.SendKeyed(d, 0, rows...))
			check(fmt.Sprintf("records %v", rows))
		}
	}
	m.wm = watermark.End
	m.ring(false, m.wm)
	fail("finish", d.Finish())
	check("end")
	fail("close", d.Close())
	return n
}

// Every kind of window in event and processing time, with any trigger and
// evictor, any lateness and any function, does what the definition says,
// whatever order records, watermarks and the clock come in, and wherever it is
// restored meanwhile.
func TestWindowsOfAllSortsAreThoseOfTheDefinition(t *testing.T) {
	seeds := uint64(1500)
	if testing.Short() {
		seeds = 300
	}
	n := 0
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 23))
		n += someTrial(t, rng).play(t, seed, rng)
	}
	if n < int(seeds)*5 {
		t.Fatalf("only %d firings", n)
	}
}

// orderJobs are jobs over windows whose results do not depend on the clock.
var orderJobs = map[string]func(Stream[trip], func(string) lines[string]){
	"session by": func(s Stream[trip], to func(string) lines[string]) {
		text(keyed(s).Window(SessionBy(func(t trip) time.Duration { return time.Duration(10+t.V%30) * ms })).Aggregate("w", Sum(value))).To("out", to("out"))
	},
	"count": func(s Stream[trip], to func(string) lines[string]) {
		text(keyed(s).Window(CountWindow(3)).Aggregate("w", Sum(value))).To("out", to("out"))
	},
	"count sliding": func(s Stream[trip], to func(string) lines[string]) {
		text(keyed(s).Window(CountSliding(4, 2)).Aggregate("w", Sum(value))).To("out", to("out"))
	},
	"global": func(s Stream[trip], to func(string) lines[string]) {
		text(keyed(s).Window(Global()).Aggregate("w", Sum(value))).To("out", to("out"))
	},
	"global with a trigger": func(s Stream[trip], to func(string) lines[string]) {
		delta := DeltaTrigger(40, func(a, b trip) float64 { return float64(b.V - a.V) })
		text(keyed(s).Window(Global()).Trigger(AnyTrigger(PurgingTrigger(CountTrigger(4)), delta)).Aggregate("w", Sum(value))).To("out", to("out"))
	},
	"evictor": func(s Stream[trip], to func(string) lines[string]) {
		text(keyed(s).Window(Tumbling(100*ms)).Evictor(EvictCount[trip](2)).Aggregate("w", Sum(value))).To("out", to("out"))
	},
	"lateness": func(s Stream[trip], to func(string) lines[string]) {
		text(keyed(s).Window(Sliding(100*ms, 40*ms)).AllowedLateness(time.Hour).Trigger(PurgingTrigger(EventTimeTrigger())).Count("w")).To("out", to("out"))
	},
	"continuous": func(s Stream[trip], to func(string) lines[string]) {
		w := keyed(s).Window(Tumbling(100 * ms)).Trigger(PurgingTrigger(ContinuousEventTimeTrigger(30 * ms)))
		total := w.Count("w").Map(func(r Result[int64, int64]) trip { return trip{r.Key, r.Value, r.Window.StartMillis} })
		text(keyed(total).Window(Tumbling(100*ms)).Aggregate("all", Sum(value))).To("out", to("out"))
	},
	"processing time": func(s Stream[trip], to func(string) lines[string]) {
		// The clock decides when; every record is in one window.
		sums := keyed(s).Window(Tumbling(10*ms).ProcessingTime()).Trigger(PurgingTrigger(CountTrigger(1))).Aggregate("w", Sum(value))
		text(sums.Map(func(r Result[int64, int64]) trip { return trip{r.Key, r.Value, 0} })).To("out", to("out"))
	},
}

// Every kind of window gives the same in any order of steps, and the same seed
// the same order.
func TestWindowsGiveTheSameInAnyOrderOfSteps(t *testing.T) {
	orders := uint64(64)
	if testing.Short() {
		orders = 8
	}
	in := someTrips(7, 1, 40)
	for i := range in[0] {
		in[0][i].Key %= 3
	}
	inOrder := func(opt RunOptions, build func(Stream[trip], func(string) lines[string])) string {
		t.Helper()
		var outs []lines[string]
		if err := RunWith(context.Background(), "windows", opt, func(j *Job) {
			build(j.From("trips", in).Timestamps(Timestamps[trip]{MaxDelay: 50 * ms, Idle: -1}), func(string) lines[string] {
				outs = append(outs, newLines[string]())
				return outs[len(outs)-1]
			})
		}); err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, o := range outs {
			all = append(all, strings.Join(*o.got, "\n"))
		}
		return strings.Join(all, "\n--\n")
	}
	count := 0
	for _, jobs := range []map[string]func(Stream[trip], func(string) lines[string]){windowJobs, orderJobs} {
		for name, build := range jobs {
			first := uint64(0)
			want := runWindows(t, in, RunOptions{Parallelism: 1, Seed: &first}, build)
			if want == "" {
				t.Fatalf("%s: nothing came out", name)
			}
			for seed := range orders {
				opt := RunOptions{Parallelism: 1 + int(seed%3), BatchSize: 1 + int(seed*5%11), NoChaining: seed%2 == 0, Seed: &seed}
				if got := runWindows(t, in, opt, build); got != want {
					t.Fatalf("%s: %+v, seed %d: got\n%s\nwant\n%s", name, opt, seed, got, want)
				}
				count++
				if seed%16 == 3 && inOrder(opt, build) != inOrder(opt, build) {
					t.Fatalf("%s: %+v, seed %d: another order the second time", name, opt, seed)
				}
			}
		}
	}
	if !testing.Short() && count < 1000 {
		t.Fatalf("%d orders are too few", count)
	}
}

// A trigger with multiples of event time fires once more in a window without
// end when the input ends, and not at every multiple until the end of time.
func TestContinuousTriggersEndWithTheInput(t *testing.T) {
	l := newLines[string]()
	seed := uint64(3)
	err := RunWith(context.Background(), "w", RunOptions{Parallelism: 1, Seed: &seed}, func(j *Job) {
		c := keyed(j.From("trips", trips{{{1, 1, 10}, {1, 2, 25}}})).Window(Global()).Trigger(ContinuousEventTimeTrigger(10*ms)).Aggregate("w", Sum(value))
		text(c.Map(func(r Result[int64, int64]) int64 { return r.Value })).To("out", l)
	})
	if err != nil || strings.Join(*l.got, ";") != "3;3" {
		t.Fatalf("got %v, %v", *l.got, err)
	}
}

// A timeout that clears a trigger of event time leaves alone the timer by which
// the window is cleaned up.
func TestTimeoutsLeaveTheCleanupAlone(t *testing.T) {
	m := &naive{wm: watermark.None, trigger: func() naiveTrigger {
		return &naiveTimeout{inner: &naiveEvent{}, after: 5, clean: true}
	}, assign: func(r trip, _ int64) []Window { return spans(r.At, 10, 10, 0) },
		line: func(k int64, w Window, recs []trip, _ int) string { return fmt.Sprint(k, w, listed(recs)) }}
	tr := &trial{name: "timeout", model: m, clear: &[]string{}}
	j := &Job{name: "trial"}
	x := keyed(j.From("trips", trips{})).Window(Tumbling(10 * ms)).Trigger(ProcessingTimeoutTrigger(EventTimeTrigger(), 5*ms, false, true))
	prepared(t, j, x.Process("w", func(o *WindowOp[int64, trip, string]) {
		o.OnWindow(func(recs iter.Seq[trip]) error {
			o.Emit(fmt.Sprint(o.Key(), o.Window(), listed(slices.Collect(recs))))
			return nil
		})
		o.OnClear(func() error {
			*tr.clear = append(*tr.clear, fmt.Sprint(o.Key(), o.Window()))
			return nil
		})
	}), tr)
	if tr.play(t, 1, rand.New(rand.NewPCG(1, 1))) == 0 {
		t.Fatal("nothing fired")
	}
}
