package millrace_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace"
)

// login is a record of the tests of patterns: of one of three users, failing two
// times of three, and out of order in time.
type login struct {
	User, ID, At int64
	OK           bool
}

func loginOf(i int64) login {
	return login{User: i % 3, ID: i, At: i ^ 5, OK: i*i%7 == 1}
}

func logins(job *millrace.Job, n int64) millrace.KeyedStream[int64, login] {
	return job.From("logins", numbers{n: n}).
		EventTimeMillis(func(i *int64) int64 { return loginOf(*i).At }, 8*time.Millisecond).
		Rebalance().Map(loginOf).KeyBy(func(l login) int64 { return l.User })
}

func failed(l login) bool    { return !l.OK }
func succeeded(l login) bool { return l.OK }

// guesses is what two failures followed directly by a success within 20 ms come
// to, found by looking at each user's logins in order.
func guesses(n int64) (want []string) {
	for user := range int64(3) {
		var of []login
		for i := range n {
			if l := loginOf(i); l.User == user {
				of = append(of, l)
			}
		}
		slices.SortFunc(of, func(a, b login) int { return int(a.At - b.At) })
		for i := 2; i < len(of); i++ {
			if of[i].OK && !of[i-1].OK && !of[i-2].OK && of[i].At-of[i-2].At < 20 {
				want = append(want, fmt.Sprint(user, of[i-2].ID, of[i-1].ID, of[i].ID))
			}
		}
	}
	slices.Sort(want)
	return want
}

func TestDetectDoesNotDependOnHowTheJobIsRun(t *testing.T) {
	guessed := millrace.Begin("fail", failed).Times(2).Consecutive().Next("in", succeeded).Within(20 * time.Millisecond)
	check := func(t *testing.T, opt millrace.RunOptions, n int64) {
		out := &collect[string]{}
		err := millrace.RunWith(t.Context(), "guess", opt, func(job *millrace.Job) {
			logins(job, n).Detect("guessed", guessed, func(user int64, m millrace.Match[login]) string {
				f := m.All("fail")
				return fmt.Sprint(user, f[0].ID, f[1].ID, m.First("in").ID)
			}).To("out", out)
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(out.recs)
		if want := guesses(n); !slices.Equal(out.recs, want) {
			t.Fatalf("got %v, want %v", out.recs, want)
		}
	}
	everyWay(t, func(t *testing.T, opt millrace.RunOptions) { check(t, opt, 160) })
	for seed := range uint64(700) {
		check(t, millrace.RunOptions{Parallelism: []int{1, 2, 4, 7}[seed%4], BatchSize: 1 + int(seed%5), NoChaining: seed%3 == 0, Seed: &seed}, 40)
	}
}

func TestPatternMistakesNameFileAndLine(t *testing.T) {
	err := millrace.Run(t.Context(), "bad", func(job *millrace.Job) {
		f := func(int64, millrace.Match[login]) int { return 0 }
		l := logins(job, 1)
		l.Detect("none", millrace.Begin("a", failed).Times(0), f).To("a", discard[int]{})
		l.Detect("open", millrace.Begin("a", failed).NotFollowedBy("b", succeeded), f).To("b", discard[int]{})
		l.Deduplicate("last", millrace.DedupOptions{Last: true}).To("c", discard[login]{})
		l.Deduplicate("negative", millrace.DedupOptions{TTL: -1}).To("d", discard[login]{})
	})
	wantMistakes(t, err, "pattern_test.go", "detect none: ", "detect open: pattern: stage \"b\": NotFollowedBy at the end needs Within",
		"deduplicate last: Last needs a TTL", "deduplicate negative: TTL -1ns is negative")
}

// Sorted records are in order, and none is lost or late; de-duplication in event
// time keeps the earliest or the latest of each key's spans.
func TestSortAndDeduplicateDoNotDependOnHowTheJobIsRun(t *testing.T) {
	const n = 120
	everyWay(t, func(t *testing.T, opt millrace.RunOptions) {
		sorted, late := &collect[login]{}, &collect[login]{}
		plain, first, last := &collect[login]{}, &collect[login]{}, &collect[login]{}
		err := millrace.RunWith(t.Context(), "sort", opt, func(job *millrace.Job) {
			l := logins(job, n)
			s, behind := l.SortByEventTimeLate("by-user")
			s.To("sorted", sorted)
			behind.To("late", late)
			job.From("plain", numbers{n: n}).EventTimeMillis(func(i *int64) int64 { return loginOf(*i).At }, 8*time.Millisecond).
				Map(loginOf).SortByEventTime("all").To("plain-out", plain)
			l.Deduplicate("first", millrace.DedupOptions{EventTime: true}).To("first-out", first)
			l.Deduplicate("last", millrace.DedupOptions{EventTime: true, Last: true, TTL: time.Hour}).To("last-out", last)
		})
		if err != nil {
			t.Fatal(err)
		}
		at := map[int64]int64{}
		for _, l := range sorted.recs {
			if was, ok := at[l.User]; ok && was >= l.At {
				t.Fatalf("user %d: %d after %d", l.User, l.At, was)
			}
			at[l.User] = l.At
		}
		if len(sorted.recs) != n || len(late.recs) != 0 || len(plain.recs) != n {
			t.Fatalf("%d sorted, %d late, %d sorted in all", len(sorted.recs), len(late.recs), len(plain.recs))
		}
		if !slices.IsSortedFunc(plain.recs, func(a, b login) int { return int(a.At - b.At) }) {
			t.Fatal("not in order")
		}
		if len(first.recs) != 3 || len(last.recs) != 3 {
			t.Fatalf("%d first, %d last", len(first.recs), len(last.recs))
		}
		for user := range int64(3) {
			for i := range int64(n) {
				l := loginOf(i)
				for _, f := range first.recs {
					if f.User == user && l.User == user && l.At < f.At {
						t.Fatalf("user %d: %d is not the first", user, f.ID)
					}
				}
				for _, f := range last.recs {
					if f.User == user && l.User == user && l.At > f.At {
						t.Fatalf("user %d: %d is not the last", user, f.ID)
					}
				}
			}
		}
	})
}
