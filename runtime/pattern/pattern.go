// Package pattern finds sequences of events that follow a described pattern:
// complex event processing over the events of one key.
//
// It decides which events belong together. A [Pattern] is described stage by
// stage, [Compile] makes a [Machine] of it, and the machine advances the
// [State] of one key event by event, answering with matches and with partial
// matches that have run out of time. It knows no streams, no keys and no
// checkpoints: the caller brings the events in event-time order, says when time
// has passed, and stores the state.
package pattern

import (
	"slices"
	"time"
)

// Pattern describes a sequence of events of type T, stage by stage. A pattern
// is a value: every method returns a new one and leaves its receiver as it was.
// Methods that say nothing of a whole pattern speak of the stage (or group)
// added last.
//
// What is wrong with a pattern is found by [Pattern.Validate], all at once.
type Pattern[T any] struct {
	units    []unit[T]
	within   time.Duration // 0: no limit
	skip     Skip
	problems []string // misuse that leaves no other trace
}

// A unit is one element of a sequence: a stage, a negated stage or a group.
type unit[T any] struct {
	name  string // "" for a group
	cond  condition[T]
	group []unit[T] // not nil for a group
	not   bool
	mode  contiguity // of the first event to whatever came before
	inner contiguity // between the repetitions

	min, max   int // repetitions; max is unbounded or >= min >= 1
	quantified bool
	optional   bool
	greedy     bool
	innerSet   bool
	until      condition[T] // unset: none
}

const unbounded = -1

// contiguity says which events may lie between two events of a match.
type contiguity uint8

const (
	strict  contiguity = iota // none
	relaxed                   // those that do not fit the awaited stage
	loose                     // any
)

// Begin starts a pattern with a stage that takes an event for which is returns
// true. A nil condition takes any event.
func Begin[T any](stage string, is func(T) bool) Pattern[T] {
	return Pattern[T]{}.add(stage, is, strict)
}

// BeginGroup starts a pattern with another pattern as a group, to which
// quantifiers then apply as a whole.
func BeginGroup[T any](group Pattern[T]) Pattern[T] {
	return Pattern[T]{}.addGroup(group, strict)
}

// Next adds a stage whose event must come directly after the one before.
func (p Pattern[T]) Next(stage string, is func(T) bool) Pattern[T] {
	return p.add(stage, is, strict)
}

// FollowedBy adds a stage that takes the next event that fits, whatever comes
// between.
func (p Pattern[T]) FollowedBy(stage string, is func(T) bool) Pattern[T] {
	return p.add(stage, is, relaxed)
}

// FollowedByAny adds a stage that takes any later event that fits: each of them
// makes a match of its own.
func (p Pattern[T]) FollowedByAny(stage string, is func(T) bool) Pattern[T] {
	return p.add(stage, is, loose)
}

// NextGroup adds a group whose first event must come directly after the event
// before.
func (p Pattern[T]) NextGroup(group Pattern[T]) Pattern[T] { return p.addGroup(group, strict) }

// FollowedByGroup adds a group whose first event is the next one that fits.
func (p Pattern[T]) FollowedByGroup(group Pattern[T]) Pattern[T] { return p.addGroup(group, relaxed) }

// FollowedByAnyGroup adds a group whose first event is any later one that fits.
func (p Pattern[T]) FollowedByAnyGroup(group Pattern[T]) Pattern[T] { return p.addGroup(group, loose) }

// NotNext forbids that the event directly after the one before fits. At the end
// of a pattern the match is complete when another event has come.
func (p Pattern[T]) NotNext(stage string, is func(T) bool) Pattern[T] {
	p = p.add(stage, is, strict)
	p.last().not = true
	return p
}

// NotFollowedBy forbids that an event fits between the stages around it, from
// after the first event of the stage before up to and including the event of
// the stage after. At the end of a pattern, which then needs [Pattern.Within],
// the match is complete when the time is over.
func (p Pattern[T]) NotFollowedBy(stage string, is func(T) bool) Pattern[T] {
	p = p.add(stage, is, relaxed)
	p.last().not = true
	return p
}

// Where narrows the stage to events for which is returns true too.
func (p Pattern[T]) Where(is func(T) bool) Pattern[T] {
	return p.narrow("Where", condition[T]{simple: is})
}

// WhereMatched narrows the stage by a condition that also sees the events the
// partial match has taken so far.
func (p Pattern[T]) WhereMatched(is func(T, Matched[T]) bool) Pattern[T] {
	return p.narrow("WhereMatched", condition[T]{iterative: is})
}

// Or widens the stage by events for which is returns true. On a stage without
// condition it is the condition.
func (p Pattern[T]) Or(is func(T) bool) Pattern[T] {
	return p.widen("Or", condition[T]{simple: is})
}

// OrMatched widens the stage by a condition that also sees the events taken so
// far.
func (p Pattern[T]) OrMatched(is func(T, Matched[T]) bool) Pattern[T] {
	return p.widen("OrMatched", condition[T]{iterative: is})
}

// Until ends a repetition without upper bound at an event for which is returns
// true: neither that event nor any later one is taken into it.
func (p Pattern[T]) Until(is func(T) bool) Pattern[T] {
	return p.stopAt(condition[T]{simple: is})
}

// UntilMatched is Until with a condition that also sees the events taken so
// far.
func (p Pattern[T]) UntilMatched(is func(T, Matched[T]) bool) Pattern[T] {
	return p.stopAt(condition[T]{iterative: is})
}

// Times asks for n events, n >= 1.
func (p Pattern[T]) Times(n int) Pattern[T] { return p.quantify("Times", n, n) }

// TimesBetween asks for at least m and at most n events. If m is 0 the stage is
// optional.
func (p Pattern[T]) TimesBetween(m, n int) Pattern[T] {
	if m == 0 {
		p = p.Optional()
		m = 1
	}
	return p.quantify("TimesBetween", m, n)
}

// OneOrMore asks for one event or more.
func (p Pattern[T]) OneOrMore() Pattern[T] { return p.quantify("OneOrMore", 1, unbounded) }

// TimesOrMore asks for n events or more, n >= 1.
func (p Pattern[T]) TimesOrMore(n int) Pattern[T] { return p.quantify("TimesOrMore", n, unbounded) }

// Optional says that the stage may be left out altogether.
func (p Pattern[T]) Optional() Pattern[T] {
	return p.modify("Optional", func(u *unit[T]) { u.optional = true })
}

// Greedy makes a repeated stage take what it can: while a partial match waits
// for the stage after it, an event that the greedy stage would still take ends
// the attempt. At the end of a pattern it has no effect.
func (p Pattern[T]) Greedy() Pattern[T] {
	return p.modify("Greedy", func(u *unit[T]) { u.greedy = true })
}

// Consecutive asks that the repetitions of the stage follow each other
// directly. Without it, events that do not fit may lie between.
func (p Pattern[T]) Consecutive() Pattern[T] { return p.between("Consecutive", strict) }

// AllowCombinations lets a repetition pass over events that fit, so that every
// combination makes a match of its own.
func (p Pattern[T]) AllowCombinations() Pattern[T] { return p.between("AllowCombinations", loose) }

// Within bounds the time from the first event of a match to its last: their
// timestamps must differ by less than d, which counts in whole milliseconds.
// Of several limits the smallest holds.
func (p Pattern[T]) Within(d time.Duration) Pattern[T] {
	if d < time.Millisecond {
		return p.problem("Within: " + d.String() + " is less than a millisecond")
	}
	if p.within == 0 || d < p.within {
		p.within = d
	}
	return p
}

// AfterMatch says how matches that overlap are thinned out. The default is
// [NoSkip].
func (p Pattern[T]) AfterMatch(s Skip) Pattern[T] {
	p.skip = s
	return p
}

// Skip says which other matches are given up when a match is found. Unless it
// is [NoSkip], a match is held back while a partial match that started earlier
// is still open.
type Skip struct {
	kind  skipKind
	stage string
}

type skipKind uint8

const (
	noSkip skipKind = iota
	toNext
	pastLastEvent
	toFirst
	toLast
)

// NoSkip finds every match.
func NoSkip() Skip { return Skip{} }

// SkipToNext gives up all that started with the same event as the match.
func SkipToNext() Skip { return Skip{kind: toNext} }

// SkipPastLastEvent gives up all that started up to the last event of the
// match.
func SkipPastLastEvent() Skip { return Skip{kind: pastLastEvent} }

// SkipToFirst gives up all that started before the match's first event of the
// stage. A match without an event of the stage gives up nothing.
func SkipToFirst(stage string) Skip { return Skip{kind: toFirst, stage: stage} }

// SkipToLast gives up all that started before the match's last event of the
// stage. A match without an event of the stage gives up nothing.
func SkipToLast(stage string) Skip { return Skip{kind: toLast, stage: stage} }

// last returns the unit added last for writing. The caller owns p.units.
func (p *Pattern[T]) last() *unit[T] { return &p.units[len(p.units)-1] }

func (p Pattern[T]) add(stage string, is func(T) bool, mode contiguity) Pattern[T] {
	return p.append(unit[T]{name: stage, cond: condition[T]{simple: is}, mode: mode, inner: relaxed, min: 1, max: 1})
}

func (p Pattern[T]) addGroup(group Pattern[T], mode contiguity) Pattern[T] {
	if group.skip != (Skip{}) {
		p = p.problem("a group cannot have AfterMatch of its own")
	}
	for _, text := range group.problems {
		p = p.problem(text)
	}
	if group.within != 0 {
		p = p.Within(group.within)
	}
	units := append(make([]unit[T], 0, len(group.units)), group.units...)
	return p.append(unit[T]{group: units, mode: mode, inner: relaxed, min: 1, max: 1})
}

func (p Pattern[T]) append(u unit[T]) Pattern[T] {
	p.units = append(slices.Clip(p.units), u)
	return p
}

func (p Pattern[T]) problem(text string) Pattern[T] {
	p.problems = append(slices.Clip(p.problems), text)
	return p
}

// modify returns p with its last unit changed.
func (p Pattern[T]) modify(method string, change func(*unit[T])) Pattern[T] {
	if len(p.units) == 0 {
		return p.problem(method + ": there is no stage yet")
	}
	p.units = slices.Clone(p.units)
	change(p.last())
	return p
}

func (p Pattern[T]) narrow(method string, c condition[T]) Pattern[T] {
	return p.condition(method, c, condition[T].and)
}

func (p Pattern[T]) widen(method string, c condition[T]) Pattern[T] {
	return p.condition(method, c, condition[T].or)
}

func (p Pattern[T]) condition(method string, c condition[T], join func(a, b condition[T]) condition[T]) Pattern[T] {
	if !c.set() {
		return p.problem(method + ": condition is nil")
	}
	if len(p.units) > 0 && p.last().group != nil {
		return p.problem(method + ": a group has no condition of its own")
	}
	return p.modify(method, func(u *unit[T]) { u.cond = join(u.cond, c) })
}

func (p Pattern[T]) stopAt(c condition[T]) Pattern[T] {
	if !c.set() {
		return p.problem("Until: condition is nil")
	}
	if len(p.units) > 0 && p.last().until.set() {
		return p.problem(p.last().String() + ": Until is given twice")
	}
	return p.modify("Until", func(u *unit[T]) { u.until = c })
}

func (p Pattern[T]) quantify(method string, m, n int) Pattern[T] {
	if len(p.units) > 0 && p.last().quantified {
		return p.problem(p.last().String() + ": " + method + " comes after another quantifier")
	}
	return p.modify(method, func(u *unit[T]) { u.min, u.max, u.quantified = m, n, true })
}

func (p Pattern[T]) between(method string, mode contiguity) Pattern[T] {
	if len(p.units) > 0 && p.last().innerSet && p.last().inner != mode {
		return p.problem(p.last().String() + ": both Consecutive and AllowCombinations")
	}
	return p.modify(method, func(u *unit[T]) { u.inner, u.innerSet = mode, true })
}
