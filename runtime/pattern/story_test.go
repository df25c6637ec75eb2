package pattern

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// ev is a letter with the number of its occurrence: the second b is b2.
type ev struct {
	letter byte
	n      int
}

func (e ev) String() string { return fmt.Sprintf("%c%d", e.letter, e.n) }

func among(letters string) func(ev) bool {
	return func(e ev) bool { return strings.IndexByte(letters, e.letter) >= 0 }
}

// TestStories runs the files in testdata. A command describes a pattern, one
// stage a line, and names the events:
//
//	detect events=(a, b@5, t=9)
//	begin a
//	followedBy b optional
//
// A stage takes events whose letter is its name, or one of those after "=". An
// event comes at its index in milliseconds, or at the time after "@". "t=9"
// lets the time advance. A line with only "(" or ")" opens or closes a group,
// which the next-to-last word of the line before introduces.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			p := parse(t, d)
			if d.Cmd == "validate" {
				if err := p.Validate(); err != nil {
					return err.Error()
				}
				return "ok"
			}
			m, err := Compile(p)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			return play(t, d, m)
		})
	})
}

func play(t *testing.T, d *datadriven.TestData, m *Machine[ev]) string {
	var b strings.Builder
	var s State[ev]
	var events []string
	for _, arg := range d.CmdArgs {
		if arg.Key == "events" {
			events = arg.Vals
		}
	}
	count := map[byte]int{}
	for i, word := range events {
		var r Result[ev]
		if when, ok := strings.CutPrefix(word, "t="); ok {
			r = m.AdvanceTime(&s, atoi(t, when))
		} else {
			at := int64(i)
			if _, when, ok := strings.Cut(word, "@"); ok {
				at = atoi(t, when)
			}
			count[word[0]]++
			e := ev{word[0], count[word[0]]}
			r = m.Advance(&s, e, at)
			word = e.String()
		}
		for _, match := range r.Matches {
			fmt.Fprintf(&b, "%s: %s\n", word, words(match))
		}
		for _, late := range r.Timeouts {
			fmt.Fprintf(&b, "%s: timeout at %d: %s\n", word, late.At, words(late.Match))
		}
	}
	if d.HasArg("left") {
		fmt.Fprintf(&b, "partial %d, events %d\n", s.Partial(), s.Events())
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}

func words(m Match[ev]) string {
	var b strings.Builder
	for i, e := range m.Events() {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(e.String())
	}
	return b.String()
}

func atoi(t *testing.T, s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func parse(t *testing.T, d *datadriven.TestData) Pattern[ev] {
	lines := strings.Split(strings.TrimSpace(d.Input), "\n")
	p, rest := parseSequence(t, d, lines)
	if len(rest) > 0 {
		d.Fatalf(t, "unread lines %q", rest)
	}
	return p
}

func parseSequence(t *testing.T, d *datadriven.TestData, lines []string) (Pattern[ev], []string) {
	var p Pattern[ev]
	for len(lines) > 0 {
		f := strings.Fields(lines[0])
		lines = lines[1:]
		if len(f) == 0 {
			continue
		}
		if f[0] == ")" {
			return p, append([]string{strings.Join(f[1:], " ")}, lines...)
		}
		switch f[0] {
		case "within":
			limit, err := time.ParseDuration(f[1])
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			p = p.Within(limit)
			continue
		case "skip":
			p = p.AfterMatch(parseSkip(t, d, f[1:]))
			continue
		}
		if len(f) > 1 && f[1] == "(" {
			var group Pattern[ev]
			group, lines = parseSequence(t, d, lines)
			switch f[0] {
			case "begin":
				p = BeginGroup(group)
			case "next":
				p = p.NextGroup(group)
			case "followedBy":
				p = p.FollowedByGroup(group)
			case "followedByAny":
				p = p.FollowedByAnyGroup(group)
			default:
				d.Fatalf(t, "no group with %s", f[0])
			}
			p = quantifiers(t, d, p, strings.Fields(lines[0]))
			lines = lines[1:]
			continue
		}
		name, letters, ok := strings.Cut(f[1], "=")
		if !ok {
			letters = name
		}
		switch is := among(letters); f[0] {
		case "begin":
			p = Begin(name, is)
		case "next":
			p = p.Next(name, is)
		case "followedBy":
			p = p.FollowedBy(name, is)
		case "followedByAny":
			p = p.FollowedByAny(name, is)
		case "notNext":
			p = p.NotNext(name, is)
		case "notFollowedBy":
			p = p.NotFollowedBy(name, is)
		default:
			d.Fatalf(t, "unknown line %q", f)
		}
		p = quantifiers(t, d, p, f[2:])
	}
	return p, nil
}

func quantifiers(t *testing.T, d *datadriven.TestData, p Pattern[ev], f []string) Pattern[ev] {
	for _, word := range f {
		word, arg, _ := strings.Cut(word, "=")
		switch word {
		case "optional":
			p = p.Optional()
		case "oneOrMore":
			p = p.OneOrMore()
		case "timesOrMore":
			p = p.TimesOrMore(int(atoi(t, arg)))
		case "times":
			if m, n, ok := strings.Cut(arg, "-"); ok {
				p = p.TimesBetween(int(atoi(t, m)), int(atoi(t, n)))
			} else {
				p = p.Times(int(atoi(t, arg)))
			}
		case "greedy":
			p = p.Greedy()
		case "consecutive":
			p = p.Consecutive()
		case "combinations":
			p = p.AllowCombinations()
		case "until":
			p = p.Until(among(arg))
		default:
			d.Fatalf(t, "unknown quantifier %q", word)
		}
	}
	return p
}

func parseSkip(t *testing.T, d *datadriven.TestData, f []string) Skip {
	switch f[0] {
	case "none":
		return NoSkip()
	case "next":
		return SkipToNext()
	case "pastLast":
		return SkipPastLastEvent()
	case "first":
		return SkipToFirst(f[1])
	case "last":
		return SkipToLast(f[1])
	}
	d.Fatalf(t, "unknown skip %q", f)
	return Skip{}
}
