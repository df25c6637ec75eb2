package pattern

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// slotsMax bounds the size of a compiled pattern; a repetition with an upper
// bound takes a slot for each event it may hold. It stops a mistyped count from
// eating the memory of every task.
const slotsMax = 1 << 14

// String names the unit for messages.
func (u unit[T]) String() string {
	if u.group == nil {
		return fmt.Sprintf("stage %q", u.name)
	}
	var names []string
	for _, g := range u.group {
		if g.group != nil {
			names = append(names, "(…)")
		} else {
			names = append(names, g.name)
		}
	}
	return fmt.Sprintf("group (%s)", strings.Join(names, " "))
}

// Validate returns everything that is wrong with the pattern as one error, or
// nil.
func (p Pattern[T]) Validate() error {
	v := validator[T]{problems: slices.Clone(p.problems)}
	v.sequence(p.units, false)
	if u, open := openEnd(p.units); open && p.within == 0 {
		v.report("%v: NotFollowedBy at the end needs Within", u)
	}
	if p.skip.kind == toFirst || p.skip.kind == toLast {
		switch i := slices.Index(v.names, p.skip.stage); {
		case i < 0:
			v.report("AfterMatch: there is no stage %q", p.skip.stage)
		case v.negated[i]:
			v.report("AfterMatch: stage %q is negated and never has an event", p.skip.stage)
		}
	}
	if len(v.problems) == 0 && slots(p.units) > slotsMax {
		v.report("a match may need more than %d events", slotsMax)
	}
	var errs []error
	for _, text := range v.problems {
		errs = append(errs, errors.New("pattern: "+text))
	}
	return errors.Join(errs...)
}

type validator[T any] struct {
	problems []string
	names    []string
	negated  []bool // by name
}

func (v *validator[T]) report(format string, args ...any) {
	v.problems = append(v.problems, fmt.Sprintf(format, args...))
}

func (v *validator[T]) sequence(units []unit[T], inGroup bool) {
	if len(units) == 0 {
		v.report("there are no stages")
	}
	for i, u := range units {
		v.unit(u)
		if !u.not {
			continue
		}
		switch {
		case i == 0:
			v.report("%v: a sequence cannot begin with a negated stage", u)
		case !units[i-1].not && nullable(units[i-1:i]):
			v.report("%v: a negated stage cannot come after an optional one", u)
		}
		if inGroup && i == len(units)-1 {
			v.report("%v: a group cannot end with a negated stage; put it after the group", u)
		}
	}
}

func (v *validator[T]) unit(u unit[T]) {
	switch {
	case u.group != nil:
		v.sequence(u.group, true)
		if u.max != 1 && nullable(u.group) {
			v.report("%v: a repeated group needs a stage that is not optional", u)
		}
		if u.greedy {
			v.report("%v: a group cannot be Greedy", u)
		}
	case u.name == "":
		v.report("a stage has no name")
	case slices.Contains(v.names, u.name):
		v.report("%v: the name is used twice", u)
	default:
		v.names = append(v.names, u.name)
		v.negated = append(v.negated, u.not)
	}
	if u.not {
		if u.quantified || u.optional || u.greedy || u.innerSet || u.until.set() {
			v.report("%v: a negated stage has no quantifier", u)
		}
		return
	}
	switch {
	case u.min < 1:
		v.report("%v: cannot take %d events", u, u.min)
	case u.max != unbounded && u.max < u.min:
		v.report("%v: at most %d events is less than at least %d", u, u.max, u.min)
	}
	if !u.quantified {
		if u.greedy && u.group == nil {
			v.report("%v: Greedy needs a quantifier", u)
		}
		if u.innerSet {
			v.report("%v: Consecutive and AllowCombinations need a quantifier", u)
		}
	}
	if u.until.set() && u.max != unbounded {
		v.report("%v: Until needs OneOrMore or TimesOrMore", u)
	}
}

// openEnd returns a NotFollowedBy that a match may end with: the last unit, or
// one with nothing but optional stages after it.
func openEnd[T any](units []unit[T]) (unit[T], bool) {
	for i := len(units) - 1; i >= 0; i-- {
		u := units[i]
		switch {
		case u.not && u.mode == relaxed:
			return u, true
		case u.not:
			continue
		}
		if n, open := openEnd(u.group); open {
			return n, true
		}
		if !nullable(units[i : i+1]) {
			break
		}
	}
	return unit[T]{}, false
}

// nullable reports whether the sequence can match without an event.
func nullable[T any](units []unit[T]) bool {
	for _, u := range units {
		if !u.not && !u.optional && (u.group == nil || !nullable(u.group)) {
			return false
		}
	}
	return true
}

// slots returns how many slots the sequence compiles to, or some number above
// slotsMax if it is more than that.
func slots[T any](units []unit[T]) int {
	total := 0
	for _, u := range units {
		if u.not {
			continue
		}
		one := 1
		if u.group != nil {
			one = slots(u.group)
		}
		times := max(u.min, u.max)
		if one > slotsMax || times > slotsMax {
			return slotsMax + 1
		}
		if total += one * times; total > slotsMax {
			return slotsMax + 1
		}
	}
	return total
}
