package pattern

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// generator makes random patterns, with specs of their conditions beside them.
type generator struct {
	rng    *rand.Rand
	stages int
	names  []string // that take events
	conds  map[string]spec
	untils map[string]spec
}

func (g *generator) letters() string {
	const all = "abcd"
	var b strings.Builder
	for _, c := range []byte(all) {
		if g.rng.IntN(5) < 2 {
			b.WriteByte(c)
		}
	}
	if b.Len() == 0 {
		b.WriteByte(all[g.rng.IntN(4)])
	}
	return b.String()
}

func (g *generator) spec() spec {
	c := spec{letters: g.letters()}
	if len(g.names) > 0 && g.rng.IntN(5) == 0 {
		c.stage, c.below = g.names[g.rng.IntN(len(g.names))], 1+g.rng.IntN(2)
	}
	return c
}

func (g *generator) pattern(length, depth int) Pattern[ev] {
	var p Pattern[ev]
	for i := range length {
		mode := contiguity(g.rng.IntN(3))
		if i > 0 && (i < length-1 || depth == 0) && g.rng.IntN(5) == 0 && !nullable(p.units[i-1:i]) {
			p = g.negated(p, mode)
			continue
		}
		p = g.positive(p, mode, depth)
	}
	return p
}

func (g *generator) name(prefix string) string {
	g.stages++
	return fmt.Sprintf("%s%d", prefix, g.stages)
}

func (g *generator) negated(p Pattern[ev], mode contiguity) Pattern[ev] {
	name := g.name("n")
	c := g.spec()
	c.letters = c.letters[:1]
	g.conds[name] = c
	if mode == strict {
		p = p.NotNext(name, nil)
	} else {
		p = p.NotFollowedBy(name, nil)
	}
	return p.modify("", func(u *unit[ev]) { u.cond = c.condition() })
}

func (g *generator) positive(p Pattern[ev], mode contiguity, depth int) Pattern[ev] {
	if depth < 2 && g.rng.IntN(5) == 0 {
		group := g.pattern(1+g.rng.IntN(2), depth+1)
		p = p.addGroup(group, mode)
		if !nullable(group.units) {
			name := group.units[0].name
			if name != "" {
				name = "group " + name
			}
			p = g.quantifier(p, name)
		}
	} else {
		name := g.name("s")
		c := g.spec()
		g.conds[name] = c
		g.names = append(g.names, name)
		p = p.add(name, nil, mode).modify("", func(u *unit[ev]) { u.cond = c.condition() })
		p = g.quantifier(p, name)
	}
	if g.rng.IntN(5) == 0 {
		p = p.Optional()
	}
	return p
}

func (g *generator) quantifier(p Pattern[ev], name string) Pattern[ev] {
	switch g.rng.IntN(7) {
	case 0:
		p = p.Times(1 + g.rng.IntN(3))
	case 1:
		from := g.rng.IntN(3)
		p = p.TimesBetween(from, max(1, from+g.rng.IntN(2)))
	case 2:
		p = p.OneOrMore()
	case 3:
		p = p.TimesOrMore(1 + g.rng.IntN(2))
	default:
		return p
	}
	switch g.rng.IntN(3) {
	case 0:
		p = p.Consecutive()
	case 1:
		p = p.AllowCombinations()
	}
	group := p.last().group != nil
	if !group && g.rng.IntN(3) == 0 {
		p = p.Greedy()
	}
	// A group within a group has no name to file its stop condition under.
	if p.last().max == unbounded && name != "" && g.rng.IntN(3) == 0 {
		if _, used := g.untils[name]; !used {
			c := spec{letters: g.letters()[:1]}
			g.untils[name] = c
			p = p.Until(c.simple)
		}
	}
	return p
}

// random returns a pattern, its specs and an input. The seed decides all.
func random(seed uint64) (*Machine[ev], *oracle) {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 7)), conds: map[string]spec{}, untils: map[string]spec{}}
	p := g.pattern(1+g.rng.IntN(4), 0)
	o := &oracle{conds: g.conds, untils: g.untils}
	if g.rng.IntN(3) > 0 {
		p = p.Within(time.Duration(1+g.rng.IntN(12)) * time.Millisecond)
	}
	switch g.rng.IntN(8) {
	case 0:
		p = p.AfterMatch(SkipToNext())
	case 1:
		p = p.AfterMatch(SkipPastLastEvent())
	case 2:
		p = p.AfterMatch(SkipToFirst(g.names[g.rng.IntN(len(g.names))]))
	case 3:
		p = p.AfterMatch(SkipToLast(g.names[g.rng.IntN(len(g.names))]))
	}
	m, err := Compile(p)
	if err != nil {
		return nil, nil // not every random pattern makes sense
	}
	o.p, o.within = p, p.within.Milliseconds()
	var at int64
	for i := range 1 + g.rng.IntN(8) {
		at += g.rng.Int64N(4)
		o.input = append(o.input, ev{"abcd"[g.rng.IntN(4)], i})
		o.times = append(o.times, at)
	}
	return m, o
}

func describe(o *oracle) string {
	return fmt.Sprintf("%s within %d skip %v\ninput %v at %v\nconds %v untils %v",
		describeUnits(o.p.units), o.within, o.p.skip, o.input, o.times, o.conds, o.untils)
}

func describeUnits(units []unit[ev]) string {
	var b strings.Builder
	for _, u := range units {
		fmt.Fprintf(&b, "[%d", u.mode)
		if u.not {
			b.WriteString(" not")
		}
		if u.group != nil {
			fmt.Fprintf(&b, " (%s)", describeUnits(u.group))
		} else {
			b.WriteString(" " + u.name)
		}
		fmt.Fprintf(&b, " %d-%d inner %d optional %t greedy %t until %t] ", u.min, u.max, u.inner, u.optional, u.greedy, u.until.set())
	}
	return b.String()
}

// detect runs the machine over the input. between is called between events with
// the state, and returns the one to go on with.
func detect(m *Machine[ev], o *oracle, between func(*State[ev]) *State[ev]) (matches, timeouts []string) {
	s := new(State[ev])
	note := func(at string, r Result[ev]) {
		text := func(m Match[ev]) string {
			var b strings.Builder
			for i, e := range m.Events() {
				fmt.Fprintf(&b, "%s:%v ", m.Stage(i), e)
			}
			return b.String()
		}
		for _, m := range r.Matches {
			matches = append(matches, at+" "+text(m))
		}
		for _, t := range r.Timeouts {
			timeouts = append(timeouts, fmt.Sprintf("%s@%d", text(t.Match), t.At))
		}
	}
	for i, e := range o.input {
		s = between(s)
		note(fmt.Sprintf("%d.0", i), m.AdvanceTime(s, o.times[i]))
		s = between(s)
		note(fmt.Sprintf("%d.1", i), m.Advance(s, e, o.times[i]))
	}
	note(fmt.Sprintf("%d.0", len(o.input)), m.AdvanceTime(s, endOfTime))
	if o.within > 0 && (!s.Empty() || s.Events() != 0) {
		panic("something is left at the end of time")
	}
	return matches, timeouts
}

func same(s *State[ev]) *State[ev] { return s }

// The machine finds exactly the matches that trying every choice of events
// finds, in the same order and at the same event, and times out the same
// partial matches.
func TestMachineAgreesWithTryingEverything(t *testing.T) {
	patterns, matched, timed, skipped := 0, 0, 0, 0
	for seed := uint64(0); patterns < 12000; seed++ {
		m, o := random(seed)
		if m == nil {
			continue
		}
		patterns++
		o.search()
		want := o.expected(m.Stages())
		got, late := detect(m, o, same)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %s\ngot  %q\nwant %q", seed, describe(o), got, want)
		}
		matched += len(got)
		if o.p.skip.kind != noSkip {
			skipped += len(o.matches) - len(got)
			continue // which partial matches a skip gives up is not modelled
		}
		var wantLate []string
		for text, at := range o.timeouts {
			wantLate = append(wantLate, fmt.Sprintf("%s@%d", text, at))
		}
		slices.Sort(wantLate)
		slices.Sort(late)
		if !slices.Equal(late, wantLate) {
			t.Fatalf("seed %d: %s\ntimeouts %q\nwant     %q", seed, describe(o), late, wantLate)
		}
		timed += len(late)
	}
	if matched < patterns || timed < patterns/2 || skipped < 100 {
		t.Errorf("%d patterns have %d matches, %d timeouts, %d matches given up: too few to mean much", patterns, matched, timed, skipped)
	}
}

func appendEvent(dst []byte, e *ev) []byte {
	return binary.AppendVarint(append(dst, e.letter), int64(e.n))
}

var errShort = errors.New("short event")

func decodeEvent(p []byte) (ev, []byte, error) {
	if len(p) < 2 {
		return ev{}, nil, errShort
	}
	n, k := binary.Varint(p[1:])
	if k <= 0 || k > 1 && p[k] == 0 {
		return ev{}, nil, errShort
	}
	return ev{p[0], int(n)}, p[1+k:], nil
}

// Storing and restoring the state between any two steps changes nothing, and a
// restored state is stored as the same bytes.
func TestRestoredStateGoesOnAsBefore(t *testing.T) {
	for seed := range uint64(2500) {
		m, o := random(seed)
		if m == nil {
			continue
		}
		wantMatches, wantTimeouts := detect(m, o, same)
		gotMatches, gotTimeouts := detect(m, o, func(s *State[ev]) *State[ev] {
			p := m.AppendState(nil, s, appendEvent)
			again, err := m.DecodeState(p, decodeEvent)
			if err != nil {
				t.Fatalf("seed %d: %s\n%v", seed, describe(o), err)
			}
			if q := m.AppendState(nil, again, appendEvent); !slices.Equal(p, q) {
				t.Fatalf("seed %d: stored as %x, then as %x", seed, p, q)
			}
			return again
		})
		if !slices.Equal(gotMatches, wantMatches) || !slices.Equal(gotTimeouts, wantTimeouts) {
			t.Fatalf("seed %d: %s\ngot  %q %q\nwant %q %q", seed, describe(o), gotMatches, gotTimeouts, wantMatches, wantTimeouts)
		}
	}
}
