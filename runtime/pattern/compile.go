package pattern

import "slices"

// A slot is a place in the pattern that one event of a match fills: the third
// event of stage b, say. Repetitions are unrolled, so that where a partial match
// stands is told by the slot it filled last and nothing else.
type slot struct {
	stage int32
	edges []edge // to where a match can go from here, in order of preference
	final bool   // the match is complete once the slot is filled
}

// An edge leads from a filled slot to the next one to fill. While a partial
// match is on an edge, each event is taken, passed over or fatal, by the rules
// the edge carries. All numbers are of conditions of the machine.
type edge struct {
	to   int32 // slot, or one of the ends below
	mode contiguity
	cond int32 // what the slot takes

	notFirst []int32 // no event directly after the slot before may fit these
	never    []guard // no event up to and including the taken one may fit these
	notTaken []int32 // the taken event must not fit these
	notOver  []int32 // events passed over must not fit these
}

const (
	endAtNextEvent int32 = -1 // complete when another event has come
	endInTime      int32 = -2 // complete when the time is over
)

// A guard is a condition that holds unless another one does.
type guard struct {
	cond   int32
	unless int32 // none: -1
}

// A fragment is a compiled part of the pattern, open at both ends.
type fragment struct {
	firsts []edge    // into it, from whatever comes before
	lasts  []last    // out of it
	empty  []passing // ways through it without an event
}

type last struct {
	slot int32
	passing
}

// passing is what an edge collects from the units it jumps over.
type passing struct {
	notFirst []int32
	never    []guard
}

func (p passing) join(q passing) passing {
	return passing{
		notFirst: concat(p.notFirst, q.notFirst),
		never:    concat(p.never, q.never),
	}
}

func concat[E any](a, b []E) []E { return append(slices.Clip(a), b...) }

// Compile makes a machine of the pattern. The error is that of
// [Pattern.Validate]. A machine belongs to one goroutine and serves any number
// of states.
func Compile[T any](p Pattern[T]) (*Machine[T], error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	m := &Machine[T]{
		within: p.within.Milliseconds(),
		skip:   p.skip,
	}
	c := compiler[T]{m: m}
	all := c.sequence(p.units)
	m.begin = all.firsts
	for _, l := range all.lasts {
		s := &m.slots[l.slot]
		end := edge{to: endAtNextEvent, notFirst: l.notFirst, never: c.negations(l.never)}
		switch {
		case len(end.never) > 0:
			end.to = endInTime
			s.edges = append(s.edges, end)
		case len(end.notFirst) > 0:
			s.edges = append(s.edges, end)
		default:
			s.final = true
		}
	}
	m.skipStage = int32(slices.Index(m.stages, p.skip.stage))
	m.memo = make([]memo, len(m.conds))
	m.print = m.fingerprint()
	return m, nil
}

type compiler[T any] struct {
	m        *Machine[T]
	negative []int32 // conditions of NotFollowedBy, as against those of greed
}

func (c *compiler[T]) cond(cond condition[T]) int32 {
	c.m.conds = append(c.m.conds, cond)
	return int32(len(c.m.conds) - 1)
}

// negations drops the guards that greed put there: at the end of a pattern
// nothing is left for which a greedy stage could miss an event.
func (c *compiler[T]) negations(guards []guard) []guard {
	var kept []guard
	for _, g := range guards {
		if slices.Contains(c.negative, g.cond) {
			kept = append(kept, g)
		}
	}
	return kept
}

func (c *compiler[T]) sequence(units []unit[T]) fragment {
	// Conditions of negated stages are needed before their turn, by a
	// repetition in front of them.
	negated := make([]passing, len(units))
	for i, u := range units {
		if u.not {
			negated[i] = c.negated(u)
		}
	}
	all := fragment{empty: []passing{{}}}
	for i, u := range units {
		if u.not {
			all = c.concat(all, fragment{empty: negated[i : i+1]})
			continue
		}
		var after passing
		for j := i + 1; j < len(units) && units[j].not; j++ {
			after = after.join(negated[j])
		}
		if u.group != nil {
			all = c.concat(all, c.group(u, after))
		} else {
			all = c.concat(all, c.stage(u, after))
		}
	}
	return all
}

func (c *compiler[T]) negated(u unit[T]) passing {
	cond := c.cond(u.cond)
	if u.mode == strict {
		return passing{notFirst: []int32{cond}}
	}
	c.negative = append(c.negative, cond)
	return passing{never: []guard{{cond, -1}}}
}

// stage compiles a stage in front of negated ones. These count within its
// repetition too: NotFollowedBy from its first event on, NotNext after every
// event that could have been the last.
func (c *compiler[T]) stage(u unit[T], after passing) fragment {
	name := int32(len(c.m.stages))
	c.m.stages = append(c.m.stages, u.name)
	inner := edge{mode: u.inner, cond: c.cond(u.cond)}
	greed := passing{}
	taken := guard{inner.cond, -1}
	if u.until.set() {
		until := c.cond(u.until)
		inner.notTaken = []int32{until}
		inner.notOver = []int32{until}
		taken.unless = until
	}
	if u.greedy {
		greed.never = []guard{taken}
	}
	inner.never = after.never

	count := max(u.min, u.max)
	base := int32(len(c.m.slots))
	var f fragment
	for k := 1; k <= count; k++ {
		c.m.slots = append(c.m.slots, slot{stage: name})
		here := base + int32(k) - 1
		more := u.max == unbounded || k < u.max
		if more {
			e := inner
			e.to = min(here+1, base+int32(count)-1)
			if k >= u.min {
				e.notFirst = after.notFirst
			}
			c.m.slots[here].edges = append(c.m.slots[here].edges, e)
		}
		if k >= u.min {
			out := last{slot: here}
			if more {
				out.passing = greed
			}
			f.lasts = append(f.lasts, out)
		}
	}
	first := inner
	first.to, first.mode, first.notOver, first.never = base, u.mode, nil, nil
	f.firsts = []edge{first}
	if u.optional {
		f.empty = []passing{greed}
	}
	return f
}

// group compiles a group in front of negated stages, which count between its
// repetitions too.
func (c *compiler[T]) group(u unit[T], after passing) fragment {
	var until []int32
	if u.until.set() {
		until = []int32{c.cond(u.until)}
	}
	var f, before fragment
	count := max(u.min, u.max)
	stages, conds := len(c.m.stages), len(c.m.conds)
	for k := 1; k <= count; k++ {
		// Every copy has the same stages and conditions, by the same numbers.
		c.m.stages, c.m.conds = c.m.stages[:stages], c.m.conds[:conds]
		base := len(c.m.slots)
		body := c.sequence(u.group)
		for from := base; from < len(c.m.slots); from++ {
			for i := range c.m.slots[from].edges {
				e := &c.m.slots[from].edges[i]
				e.notTaken = concat(e.notTaken, until)
				e.notOver = concat(e.notOver, until)
			}
		}
		for i := range body.firsts {
			e := &body.firsts[i]
			e.mode = u.mode
			e.notTaken = concat(e.notTaken, until)
		}
		if k == 1 {
			f.firsts = body.firsts
			f.empty = body.empty
		} else {
			c.repeat(u, k-1, before, body, until, after)
		}
		if k == count && u.max == unbounded {
			c.repeat(u, k, body, body, until, after)
		}
		if k >= u.min {
			f.lasts = append(f.lasts, body.lasts...)
		}
		before = body
	}
	if u.optional {
		f.empty = append(f.empty, passing{})
	}
	return f
}

// repeat connects the k-th copy of a group to the one after it.
func (c *compiler[T]) repeat(u unit[T], k int, from, to fragment, until []int32, after passing) {
	if k < u.min {
		after.notFirst = nil
	}
	lasts := slices.Clone(from.lasts)
	for i := range lasts {
		lasts[i].passing = lasts[i].join(after)
	}
	firsts := slices.Clone(to.firsts)
	for i := range firsts {
		firsts[i].mode = u.inner
		firsts[i].notOver = concat(firsts[i].notOver, until)
	}
	c.connect(lasts, firsts)
}

// connect makes an edge from every last to every first.
func (c *compiler[T]) connect(lasts []last, firsts []edge) {
	for _, l := range lasts {
		s := &c.m.slots[l.slot]
		for _, e := range firsts {
			s.edges = append(s.edges, jump(l.passing, e))
		}
	}
}

// jump is e with what was passed on the way to it.
func jump(p passing, e edge) edge {
	e.notFirst = concat(p.notFirst, e.notFirst)
	e.never = concat(p.never, e.never)
	return e
}

func (c *compiler[T]) concat(a, b fragment) fragment {
	c.connect(a.lasts, b.firsts)
	out := fragment{firsts: slices.Clip(a.firsts), lasts: slices.Clip(b.lasts)}
	for _, p := range a.empty {
		for _, e := range b.firsts {
			out.firsts = append(out.firsts, jump(p, e))
		}
		for _, q := range b.empty {
			out.empty = append(out.empty, p.join(q))
		}
	}
	for _, q := range b.empty {
		for _, l := range a.lasts {
			out.lasts = append(out.lasts, last{l.slot, l.join(q)})
		}
	}
	return out
}
