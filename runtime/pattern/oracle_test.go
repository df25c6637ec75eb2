package pattern

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// The oracle finds matches by trying every choice of events, with the rules of
// the pattern applied to whole stretches of input. It knows nothing of slots,
// edges, runs or time limits that come while it looks.

// A spec is a condition that the machine and the oracle can both ask: the
// letters that fit, and a bound on how many events of a stage were taken before.
type spec struct {
	letters string
	stage   string // "": no bound
	below   int
}

func (c spec) simple(e ev) bool { return strings.IndexByte(c.letters, e.letter) >= 0 }

func (c spec) condition() condition[ev] {
	if c.stage == "" {
		return condition[ev]{simple: c.simple}
	}
	return condition[ev]{iterative: func(e ev, m Matched[ev]) bool {
		if got := len(m.All(c.stage)); got != m.Count(c.stage) {
			panic(fmt.Sprintf("%d events, count %d", got, m.Count(c.stage)))
		}
		return c.simple(e) && m.Count(c.stage) < c.below
	}}
}

// taken is an event of a match, by its index, and the stage that took it.
type taken struct {
	stage string
	index int
}

func (c spec) fits(o *oracle, index int, path []taken) bool {
	if !c.simple(o.input[index]) {
		return false
	}
	n := 0
	for _, t := range path {
		if c.stage != "" && t.stage == c.stage {
			n++
		}
	}
	return c.stage == "" || n < c.below
}

type oracle struct {
	p      Pattern[ev]
	conds  map[string]spec // by stage
	untils map[string]spec // by stage, or "group " and its first stage
	input  []ev
	times  []int64
	within int64

	matches  []oracleMatch
	timeouts map[string]int64 // partial match to the time it was over
	alive    []int            // by index of the first event: last event it was open after
}

type oracleMatch struct {
	path  []taken
	at    int // event with which it is complete; len(input) for the end
	phase int // 0: by the passing of time, before the event; 1: by the event
}

// ban is a condition that no event may fit up to the next one taken.
type ban struct {
	cond   spec
	unless spec
	except bool
	greed  bool
}

// walk is where the search stands.
type walk struct {
	path     []taken
	notFirst []spec
	bans     []ban
	scopes   []scope // groups being matched, the outermost first
}

type scope struct {
	until    spec
	hasUntil bool
	fresh    bool // no event taken in this repetition
	entered  bool // an event taken in any
	mode     contiguity
}

func (w walk) last() int { return w.path[len(w.path)-1].index }

func (w walk) with(notFirst []spec, bans []ban) walk {
	w.notFirst = concat(w.notFirst, notFirst)
	w.bans = concat(w.bans, bans)
	return w
}

// search fills matches, timeouts and alive.
func (o *oracle) search() {
	o.timeouts = map[string]int64{}
	o.alive = make([]int, len(o.input))
	for i := range o.alive {
		o.alive[i] = -1
	}
	o.sequence(o.p.units, walk{}, o.complete)
	for _, m := range o.matches {
		if m.phase == 0 {
			delete(o.timeouts, o.words(m.path))
		}
	}
}

// horizon is the index of the first event too late for a match that starts at
// index, or of no event.
func (o *oracle) horizon(index int) int {
	if o.within > 0 {
		for i := index; i < len(o.times); i++ {
			if o.times[i]-o.times[index] >= o.within {
				return i
			}
		}
	}
	return len(o.times)
}

// wait says that the walk can be open after event index.
func (o *oracle) wait(w walk, index int) {
	start := w.path[0].index
	o.alive[start] = max(o.alive[start], index)
	if index == o.horizon(start)-1 && o.within > 0 {
		o.timeouts[o.words(w.path)] = o.times[start] + o.within
	}
}

// hit reports whether event index is one the walk must not meet.
func (o *oracle) hit(w walk, index int) bool {
	for _, c := range w.notFirst {
		if index == w.last()+1 && c.fits(o, index, w.path) {
			return true
		}
	}
	for _, b := range w.bans {
		if b.cond.fits(o, index, w.path) && !(b.except && b.unless.fits(o, index, w.path)) {
			return true
		}
	}
	return false
}

func (o *oracle) complete(w walk) {
	if len(w.path) == 0 {
		return
	}
	w.bans = slices.DeleteFunc(slices.Clone(w.bans), func(b ban) bool { return b.greed })
	end := o.horizon(w.path[0].index)
	next := w.last() + 1
	switch {
	case len(w.bans) > 0:
		o.wait(w, w.last())
		for i := next; i < end; i++ {
			if o.hit(w, i) {
				return
			}
			o.wait(w, i)
		}
		o.matches = append(o.matches, oracleMatch{w.path, end, 0})
	case len(w.notFirst) > 0:
		o.wait(w, w.last())
		if next < end && !o.hit(w, next) {
			o.matches = append(o.matches, oracleMatch{w.path, next, 1})
		}
	default:
		o.matches = append(o.matches, oracleMatch{w.path, w.last(), 1})
	}
}

func (o *oracle) sequence(units []unit[ev], w walk, done func(walk)) {
	if len(units) == 0 {
		done(w)
		return
	}
	u, rest := units[0], units[1:]
	if u.not {
		if u.mode == strict {
			w = w.with([]spec{o.conds[u.name]}, nil)
		} else {
			w = w.with(nil, []ban{{cond: o.conds[u.name]}})
		}
		o.sequence(rest, w, done)
		return
	}
	var notFirst []spec
	var bans []ban
	for i := 0; i < len(rest) && rest[i].not; i++ {
		if c := o.conds[rest[i].name]; rest[i].mode == strict {
			notFirst = append(notFirst, c)
		} else {
			bans = append(bans, ban{cond: c})
		}
	}
	onward := func(w walk) { o.sequence(rest, w, done) }
	if u.group != nil {
		o.group(u, w, notFirst, bans, onward)
	} else {
		o.stage(u, w, notFirst, bans, onward)
	}
}

func (o *oracle) stage(u unit[ev], w walk, notFirst []spec, bans []ban, onward func(walk)) {
	cond := o.conds[u.name]
	until, hasUntil := o.untils[u.name]
	greed := []ban{{cond: cond, unless: until, except: hasUntil, greed: true}}
	if !u.greedy {
		greed = nil
	}
	if u.optional {
		onward(w.with(nil, greed))
	}
	var notTaken []spec
	if hasUntil {
		notTaken = []spec{until}
	}
	var more func(w walk, k int)
	more = func(w walk, k int) {
		full := k == u.max
		if k >= u.min {
			if full {
				onward(w)
			} else {
				onward(w.with(nil, greed))
			}
		}
		if full {
			return
		}
		next := w.with(nil, bans)
		if k >= u.min {
			next = next.with(notFirst, nil)
		}
		o.take(u.name, cond, u.inner, notTaken, notTaken, next, func(w walk) { more(w, k+1) })
	}
	mode := u.mode
	for _, s := range w.scopes {
		if s.fresh {
			mode = s.mode
			break
		}
	}
	o.take(u.name, cond, mode, notTaken, nil, w, func(w walk) { more(w, 1) })
}

func (o *oracle) group(u unit[ev], w walk, notFirst []spec, bans []ban, onward func(walk)) {
	if u.optional {
		onward(w)
	}
	until, hasUntil := o.untils["group "+u.group[0].name]
	depth := len(w.scopes)
	leave := func(w walk) walk {
		w.scopes = w.scopes[:depth]
		return w
	}
	var repetition func(w walk, k int)
	repetition = func(w walk, k int) {
		o.sequence(u.group, w, func(w walk) {
			if k >= u.min {
				onward(leave(w))
			}
			if k == u.max || len(w.path) == 0 {
				return
			}
			next := w.with(nil, bans)
			if k >= u.min {
				next = next.with(notFirst, nil)
			}
			next.scopes = slices.Clone(next.scopes)
			next.scopes[depth].fresh = true
			next.scopes[depth].mode = u.inner
			repetition(next, k+1)
		})
	}
	w.scopes = append(slices.Clip(w.scopes), scope{until: until, hasUntil: hasUntil, fresh: true, mode: u.mode})
	repetition(w, 1)
}

// take tries every event that the stage can take next.
func (o *oracle) take(stage string, cond spec, mode contiguity, notTaken, notOver []spec, w walk, onward func(walk)) {
	for _, s := range w.scopes {
		if s.hasUntil {
			notTaken = append(slices.Clip(notTaken), s.until)
			if s.entered {
				notOver = append(slices.Clip(notOver), s.until)
			}
		}
	}
	fitsAny := func(conds []spec, i int) bool {
		return slices.ContainsFunc(conds, func(c spec) bool { return c.fits(o, i, w.path) })
	}
	from, to := 0, len(o.input)
	if len(w.path) > 0 {
		from, to = w.last()+1, o.horizon(w.path[0].index)
		o.wait(w, w.last())
	}
	for i := from; i < to; i++ {
		if o.hit(w, i) {
			if len(w.path) == 0 {
				continue
			}
			return
		}
		if cond.fits(o, i, w.path) && !fitsAny(notTaken, i) {
			next := walk{path: append(slices.Clip(w.path), taken{stage, i}), scopes: slices.Clone(w.scopes)}
			for j := range next.scopes {
				next.scopes[j].fresh, next.scopes[j].entered = false, true
			}
			onward(next)
		}
		if len(w.path) == 0 {
			continue // every event may begin a match
		}
		if mode == strict || mode == relaxed && cond.fits(o, i, w.path) || fitsAny(notOver, i) {
			return
		}
		o.wait(w, i)
	}
}

func (o *oracle) words(path []taken) string {
	var b strings.Builder
	for _, t := range path {
		fmt.Fprintf(&b, "%s:%v ", t.stage, o.input[t.index])
	}
	return b.String()
}

// expected returns the matches in the order in which they are to be found, each
// with the event that finds it, after thinning them out by the skip strategy.
func (o *oracle) expected(stages []string) []string {
	rank := func(m oracleMatch) (ids, names []int) {
		for _, t := range m.path {
			ids = append(ids, t.index)
			names = append(names, slices.Index(stages, t.stage))
		}
		return ids, names
	}
	slices.SortFunc(o.matches, func(a, b oracleMatch) int {
		ia, na := rank(a)
		ib, nb := rank(b)
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.phase, b.phase), slices.Compare(ia, ib), slices.Compare(na, nb))
	})
	o.matches = slices.CompactFunc(o.matches, func(a, b oracleMatch) bool {
		return a.at == b.at && a.phase == b.phase && slices.Equal(a.path, b.path)
	})
	var out []string
	dead := make([]bool, len(o.input)) // by first event: given up
	var held []oracleMatch
	next := 0
	for at := 0; at <= len(o.input); at++ {
		for phase := range 2 {
			for ; next < len(o.matches) && o.matches[next].at == at && o.matches[next].phase == phase; next++ {
				if !dead[o.matches[next].path[0].index] {
					held = append(held, o.matches[next])
				}
			}
			slices.SortStableFunc(held, func(a, b oracleMatch) int { return a.path[0].index - b.path[0].index })
			for len(held) > 0 && !o.earlierOpen(held[0].path[0].index, at, phase, dead) {
				m := held[0]
				held = held[1:]
				out = append(out, fmt.Sprintf("%d.%d %s", at, phase, o.words(m.path)))
				for i := range o.limit(m) {
					dead[i] = true
				}
				held = slices.DeleteFunc(held, func(m oracleMatch) bool { return dead[m.path[0].index] })
			}
		}
	}
	return out
}

// earlierOpen reports whether something that began before start is open.
func (o *oracle) earlierOpen(start, at, phase int, dead []bool) bool {
	if o.p.skip.kind == noSkip {
		return false
	}
	for i := range start {
		through := at - 1
		late := at == len(o.input) && o.within > 0 || at < len(o.input) && o.within > 0 && o.times[at]-o.times[i] >= o.within
		if phase == 1 && at < len(o.input) {
			through = at
		}
		if !dead[i] && !late && o.alive[i] >= through {
			return true
		}
	}
	return false
}

// limit returns the first event that may begin a match after m was found.
func (o *oracle) limit(m oracleMatch) int {
	switch first := m.path[0].index; o.p.skip.kind {
	case toNext:
		return first + 1
	case pastLastEvent:
		return m.path[len(m.path)-1].index + 1
	case toFirst:
		for _, t := range m.path {
			if t.stage == o.p.skip.stage {
				return t.index
			}
		}
	case toLast:
		for _, t := range slices.Backward(m.path) {
			if t.stage == o.p.skip.stage {
				return t.index
			}
		}
	}
	return 0
}

const endOfTime = math.MaxInt64
