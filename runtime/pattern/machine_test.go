package pattern

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func mustCompile(t testing.TB, p Pattern[ev]) *Machine[ev] {
	t.Helper()
	m, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// feed advances by one event for each letter, a millisecond apart.
func feed(m *Machine[ev], s *State[ev], from int, letters string) (found []string) {
	for i := range letters {
		r := m.Advance(s, ev{letters[i], from + i}, int64(from+i))
		for _, match := range r.Matches {
			found = append(found, words(match))
		}
	}
	return found
}

func TestIterativeConditionsSeeWhatThePartialMatchHasTaken(t *testing.T) {
	// Events of "up" as long as their numbers add up to less than 6, then one
	// that is above the last of them.
	sum := func(e ev, m Matched[ev]) bool {
		total := e.n
		for _, before := range m.All("up") {
			total += before.n
		}
		return total < 6
	}
	above := func(e ev, m Matched[ev]) bool {
		last, ok := m.Last("up")
		if _, start := m.Last("start"); !start || m.Count("up") == 0 || m.Timestamp() != int64(e.n) {
			t.Errorf("wrong view of the match at %v", e)
		}
		return ok && e.n > last.n
	}
	m := mustCompile(t, Begin("start", among("s")).
		FollowedBy("up", among("u")).WhereMatched(sum).OneOrMore().Greedy().
		FollowedBy("end", among("e")).WhereMatched(above))
	var s State[ev]
	got := feed(m, &s, 0, "suuuee")
	if want := []string{"s0 u1 u2 e4"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestConditionsCombine(t *testing.T) {
	iterative := func(letters string) func(ev, Matched[ev]) bool {
		return func(e ev, _ Matched[ev]) bool { return among(letters)(e) }
	}
	begin := Begin[ev]("x", nil)
	for _, tt := range []struct {
		name string
		p    Pattern[ev]
		want string
	}{
		{"none", begin, "abcd"},
		{"where", begin.Where(among("ab")), "ab"},
		{"and", begin.Where(among("ab")).Where(among("bc")), "b"},
		{"or on none", begin.Or(among("ab")), "ab"},
		{"or", begin.Where(among("a")).Or(among("c")), "ac"},
		{"or then and", begin.Where(among("a")).Or(among("c")).Where(among("cd")), "c"},
		{"iterative and", begin.Where(among("ab")).WhereMatched(iterative("bc")), "b"},
		{"iterative or", begin.WhereMatched(iterative("a")).Or(among("c")), "ac"},
		{"simple or iterative", begin.Where(among("a")).OrMatched(iterative("d")), "ad"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, got := mustCompile(t, tt.p), ""
			for i := range "abcd" {
				var s State[ev]
				if len(feed(m, &s, 0, "abcd"[i:i+1])) > 0 {
					got += "abcd"[i : i+1]
				}
			}
			if got != tt.want {
				t.Errorf("takes %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPatternsAreValues(t *testing.T) {
	base := Begin("a", among("a")).FollowedBy("b", among("b"))
	many := base.OneOrMore().Greedy()
	with := base.FollowedBy("c", among("c"))
	other := base.FollowedBy("d", among("d"))
	_ = many.Within(time.Second).AfterMatch(SkipToNext()).Times(3)
	for _, tt := range []struct {
		p    Pattern[ev]
		want []string
	}{
		{base, []string{"a0 b1"}},
		{many, []string{"a0 b1", "a0 b1 b2"}},
		{with, []string{"a0 b1 c3"}},
		{other, []string{"a0 b1 d4"}},
	} {
		var s State[ev]
		if got := feed(mustCompile(t, tt.p), &s, 0, "abbcd"); !slices.Equal(got, tt.want) {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestMisuseIsReportedByValidate(t *testing.T) {
	for name, p := range map[string]Pattern[ev]{
		"nil where":         Begin[ev]("a", nil).Where(nil),
		"nil until":         Begin[ev]("a", nil).OneOrMore().Until(nil),
		"until twice":       Begin[ev]("a", nil).OneOrMore().Until(among("b")).Until(among("c")),
		"no stage":          Pattern[ev]{}.OneOrMore(),
		"empty":             {},
		"empty name":        Begin[ev]("", nil),
		"empty group":       BeginGroup(Pattern[ev]{}),
		"where on a group":  BeginGroup(Begin[ev]("a", nil)).Where(among("a")),
		"skip in a group":   BeginGroup(Begin[ev]("a", nil).AfterMatch(SkipToNext())),
		"problem in group":  BeginGroup(Begin[ev]("a", nil).Where(nil)),
		"not after maybe":   BeginGroup(Begin[ev]("a", nil).Optional()).NotNext("n", nil).Next("b", nil),
		"group within zero": BeginGroup(Begin[ev]("a", nil).Within(-1)),
	} {
		if err := p.Validate(); err == nil {
			t.Errorf("%s: no problem found", name)
		}
		if _, err := Compile(p); err == nil {
			t.Errorf("%s: compiles", name)
		}
	}
}

func TestGroupsBringTheirTimeLimit(t *testing.T) {
	m := mustCompile(t, BeginGroup(Begin("a", among("a")).Within(3*time.Millisecond)).FollowedBy("b", among("b")).Within(time.Second))
	var s State[ev]
	if got, want := feed(m, &s, 0, "ababaddb"), []string{"a0 b1", "a2 b3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMatchesTellTheirStagesAndTimes(t *testing.T) {
	m := mustCompile(t, Begin("a", among("a")).FollowedBy("b", among("b")).Times(2).FollowedBy("c", among("c")).Optional())
	var s State[ev]
	m.Advance(&s, ev{'a', 1}, 10)
	m.Advance(&s, ev{'b', 2}, 20)
	r := m.Advance(&s, ev{'b', 3}, 30)
	if len(r.Matches) != 1 {
		t.Fatalf("got %d matches, want 1", len(r.Matches))
	}
	got := r.Matches[0]
	if got.Start() != 10 || got.End() != 30 || got.First("b") != (ev{'b', 2}) || got.First("c") != (ev{}) ||
		fmt.Sprintf("%v %v %s %s %v", got.All("b"), got.All("c"), got.Stage(0), got.Stage(2), m.Stages()) != "[b2 b3] [] a b [a b c]" {
		t.Errorf("got %+v", got)
	}
}

func TestEventsAreKeptOnceAndOnlyWhileNeeded(t *testing.T) {
	m := mustCompile(t, Begin("a", among("a")).FollowedByAny("b", among("b")).OneOrMore().AllowCombinations().
		FollowedBy("c", among("c")).Within(8*time.Millisecond))
	var s State[ev]
	feed(m, &s, 0, "abbxb")
	if s.Events() != 4 {
		t.Errorf("%d events kept, want a and three b", s.Events())
	}
	if len(s.nodes)-len(s.freeNodes) != 8 {
		t.Errorf("%d nodes, want one for each of 8 partial matches", len(s.nodes)-len(s.freeNodes))
	}
	if at, ok := m.Deadline(&s); !ok || at != 8 {
		t.Errorf("deadline %d %t, want 8", at, ok)
	}
	if r := m.AdvanceTime(&s, 7); len(r.Timeouts) != 0 {
		t.Errorf("%d timeouts before the time is over", len(r.Timeouts))
	}
	if r := m.AdvanceTime(&s, 8); len(r.Timeouts) != 8 {
		t.Errorf("%d timeouts, want 8", len(r.Timeouts))
	}
	if _, ok := m.Deadline(&s); ok || !s.Empty() || s.Events() != 0 || s.Partial() != 0 {
		t.Errorf("something is left: %+v", s)
	}
	m.DiscardTimeouts()
	feed(m, &s, 10, "abb")
	if r := m.AdvanceTime(&s, endOfTime); len(r.Timeouts) != 0 || !s.Empty() {
		t.Errorf("%d timeouts that nobody asked for", len(r.Timeouts))
	}
}

func TestManyRoundsReuseTheBuffer(t *testing.T) {
	m := mustCompile(t, Begin("a", among("a")).FollowedBy("b", among("b")).Times(3).Within(20*time.Millisecond))
	var s State[ev]
	at := 0
	for range 2000 {
		feed(m, &s, at, "abdab")
		at += 5
	}
	if len(s.events) > 50 || len(s.nodes) > 50 {
		t.Errorf("room for %d events and %d nodes after many rounds", len(s.events), len(s.nodes))
	}
}

func TestEventsOfNoInterestAllocateNothing(t *testing.T) {
	m := mustCompile(t, Begin("a", among("a")).FollowedBy("b", among("b")).OneOrMore().NotFollowedBy("n", among("n")).
		FollowedBy("c", among("c")).Within(time.Hour))
	var s State[ev]
	feed(m, &s, 0, "abaab")
	at := int64(10)
	if n := testing.AllocsPerRun(1000, func() {
		at++
		m.Advance(&s, ev{'x', 1}, at)
		m.AdvanceTime(&s, at)
	}); n != 0 {
		t.Errorf("%v allocations an event, want none", n)
	}
}

func TestStateOfAnotherPatternIsRefused(t *testing.T) {
	one := mustCompile(t, Begin("a", among("a")).FollowedBy("b", among("b")))
	two := mustCompile(t, Begin("a", among("a")).FollowedByAny("b", among("b")))
	var s State[ev]
	feed(one, &s, 0, "a")
	p := one.AppendState(nil, &s, appendEvent)
	if _, err := two.DecodeState(p, decodeEvent); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v, want ErrChanged", err)
	}
	for n := range p {
		if _, err := one.DecodeState(p[:n], decodeEvent); err == nil {
			t.Errorf("the first %d of %d bytes are accepted", n, len(p))
		}
	}
	if _, err := one.DecodeState(append(p, 0), decodeEvent); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v for a byte too many, want ErrCorrupt", err)
	}
}

// fuzzed is a pattern with all kinds of edges.
func fuzzed() Pattern[ev] {
	return Begin("a", among("a")).
		FollowedBy("b", among("bc")).OneOrMore().Until(among("u")).Greedy().
		NotNext("m", among("m")).
		FollowedByAnyGroup(Begin("c", among("c")).Next("d", among("d")).Optional()).Times(2).
		NotFollowedBy("n", among("n")).
		Within(20 * time.Millisecond).AfterMatch(SkipToLast("c"))
}

// What is accepted encodes to the same bytes, and the machine can go on from it.
func FuzzDecodeState(f *testing.F) {
	m := mustCompile(f, fuzzed())
	var s State[ev]
	f.Add(m.AppendState(nil, &s, appendEvent)[9:])
	for i, letter := range "abxcdacbcd" {
		m.Advance(&s, ev{byte(letter), i}, int64(i))
		f.Add(m.AppendState(nil, &s, appendEvent)[9:])
	}
	head := slices.Clone(m.AppendState(nil, &s, appendEvent)[:9])
	f.Fuzz(func(t *testing.T, p []byte) {
		p = append(slices.Clone(head), p...)
		s, err := m.DecodeState(p, decodeEvent)
		if err != nil {
			return
		}
		if again := m.AppendState(nil, s, appendEvent); !bytes.Equal(again, p) {
			t.Fatalf("decoded %+v from %x, encodes to %x", s, p, again)
		}
		if s.Partial() > 100 {
			return
		}
		for i, letter := range "bcdmun" {
			m.Advance(s, ev{byte(letter), i}, endOfTime-100)
		}
		m.AdvanceTime(s, endOfTime)
		if !s.Empty() {
			t.Fatalf("%+v is left of %x", s, p)
		}
	})
}

func BenchmarkAdvance(b *testing.B) {
	// Three failures and then a success within five minutes, one key.
	p := Begin("fail", among("f")).Times(3).Consecutive().Next("in", among("s")).Within(5 * time.Minute)
	for _, tt := range []struct{ name, letters string }{
		{"nothing", "xxxxxxxx"},
		{"one-match-in-8", "fffsxxxx"},
	} {
		b.Run("events="+tt.name, func(b *testing.B) {
			m := mustCompile(b, p)
			var s State[ev]
			b.ReportAllocs()
			var i int
			for b.Loop() {
				m.Advance(&s, ev{tt.letters[i%8], i}, int64(i))
				i++
			}
		})
	}
}
