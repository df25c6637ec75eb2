package restart

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	epoch  = time.Unix(1_000_000, 0)
	broken = Failure{Cause: errors.New("broken")}
)

// A line is failures at seconds since the start, and what is decided: the
// seconds at which the job restarts, "same" for a restart already decided, or
// "fail".
func TestStrategies(t *testing.T) {
	with := func(k Kind, change func(*Config)) Config {
		c := Default(false)
		c.Kind = k
		if change != nil {
			change(&c)
		}
		return c
	}
	for _, tt := range []struct {
		name string
		c    Config
		at   []float64
		want string
	}{
		{"none", with(None, nil), []float64{1}, "fail"},
		{"fixed delay, once by default", with(FixedDelay, nil), []float64{5, 100}, "6 fail"},
		{"failures together are one", with(FixedDelay, nil), []float64{5, 5, 5.9, 6, 6.5}, "6 same same same fail"},
		{"fixed delay, three times", with(FixedDelay, func(c *Config) { c.Attempts, c.Delay = 3, 10*time.Second }), []float64{0, 20, 40, 60}, "10 30 50 fail"},
		{"failure rate, one a minute", with(FailureRate, nil), []float64{0, 61, 122, 182}, "1 62 123 fail"},
		{"failure rate, three a minute", with(FailureRate, func(c *Config) { c.MaxFailures = 3 }), []float64{0, 10, 20, 61, 71, 80}, "1 11 21 62 72 fail"},
		{"exponential delay grows", with(ExponentialDelay, func(c *Config) { c.Jitter = 0 }), []float64{0, 2, 4, 7}, "1 3.5 6.25 10.375"},
		{"exponential delay is capped", with(ExponentialDelay, func(c *Config) { c.Jitter, c.Multiplier = 0, 100 }), []float64{0, 10, 100}, "1 70 160"},
		{"exponential delay, not quite an hour of rest", with(ExponentialDelay, func(c *Config) { c.Jitter = 0 }), []float64{0, 2, 3603.4, 7205}, "1 3.5 3605.65 7208.375"},
		{"exponential delay starts anew after an hour of rest", with(ExponentialDelay, func(c *Config) { c.Jitter = 0 }), []float64{0, 3601, 7202}, "1 3602 7203"},
		{"exponential delay with a limit", with(ExponentialDelay, func(c *Config) { c.Jitter, c.AttemptsBeforeReset = 0, 2 }), []float64{0, 2, 5, 5000}, "1 3.5 fail 5001"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := New(tt.c, nil)
			var got []string
			for _, at := range tt.at {
				d := s.Failed(epoch.Add(time.Duration(at*float64(time.Second))), broken)
				switch {
				case d.Err != nil:
					if !errors.Is(d.Err, broken.Cause) || !d.At.IsZero() {
						t.Errorf("at %v: %+v does not wrap the cause", at, d)
					}
					got = append(got, "fail")
				case d.Merged:
					got = append(got, "same")
				default:
					got = append(got, fmt.Sprint(d.At.Sub(epoch).Seconds()))
				}
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("failures at %v: got %s, want %s", tt.at, s, tt.want)
			}
		})
	}
}

func TestUnrecoverableFailuresEndTheJob(t *testing.T) {
	s := New(Default(true), nil)
	s.Failed(epoch, broken)
	d := s.Failed(epoch, Failure{Cause: broken.Cause, Unrecoverable: true})
	if d.Err == nil || d.Merged {
		t.Errorf("got %+v, want an error though a restart is on its way", d)
	}
}

// Whatever the settings and the times of failures, a restart is never before
// the failure nor later than the longest delay after it, and the same seed
// decides the same.
func TestExponentialDelaysStayInBounds(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 0))
		c := Default(true)
		c.Initial = time.Duration(1 + rng.Int64N(int64(10*time.Second)))
		c.Max = c.Initial + time.Duration(rng.Int64N(int64(time.Hour)))
		c.Multiplier, c.Jitter = 1+5*rng.Float64(), rng.Float64()
		c.ResetAfter = time.Duration(1 + rng.Int64N(int64(time.Hour)))
		s, twin := New(c, rand.New(rand.NewPCG(seed, 1))), New(c, rand.New(rand.NewPCG(seed, 1)))
		now := epoch
		for range 60 {
			d := s.Failed(now, broken)
			if again := twin.Failed(now, broken); !reflect.DeepEqual(d, again) {
				t.Fatalf("seed %d: %+v and %+v", seed, d, again)
			}
			if delay := d.At.Sub(now); !d.Merged && delay < c.Initial || delay < 0 || delay > c.Max {
				t.Fatalf("seed %d: delay %v is not in %v..%v", seed, delay, c.Initial, c.Max)
			}
			now = now.Add(time.Duration(rng.Int64N(2 * int64(c.Max))))
		}
	}
}

// However failures come, no more are restarted within the interval than the
// rate allows.
func TestFailureRateIsKept(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 0))
		c := Default(false)
		c.Kind, c.Delay, c.MaxFailures = FailureRate, 0, 1+rng.IntN(5)
		s := New(c, nil)
		now := epoch
		var taken []time.Time
		for range 100 {
			now = now.Add(1 + time.Duration(rng.Int64N(int64(30*time.Second))))
			in := 0
			for _, t := range taken {
				if now.Sub(t) <= c.Interval {
					in++
				}
			}
			d := s.Failed(now, broken)
			if (d.Err == nil) != (in < c.MaxFailures) {
				t.Fatalf("seed %d: after %d failures in the interval, %d allowed: %+v", seed, in, c.MaxFailures, d)
			}
			if d.Err == nil {
				taken = append(taken, now)
			}
		}
	}
}

func TestRegions(t *testing.T) {
	pipe := func(from, to int) Edge { return Edge{From: from, To: to} }
	block := func(from, to int) Edge { return Edge{from, to, true} }
	for _, tt := range []struct {
		name    string
		tasks   int
		edges   []Edge
		failed  []int
		lost    func(Edge) bool
		regions string
		restart string
	}{
		{"slices are apart", 4, []Edge{pipe(0, 2), pipe(1, 3)}, []int{2}, nil, "[[0 2] [1 3]]", "[0 2]"},
		{"all to all joins", 4, []Edge{pipe(0, 2), pipe(0, 3), pipe(1, 2), pipe(1, 3)}, []int{2}, nil, "[[0 1 2 3]]", "[0 1 2 3]"},
		{"a reader of both joins", 3, []Edge{pipe(2, 0), pipe(2, 1)}, []int{0}, nil, "[[0 1 2]]", "[0 1 2]"},
		{"consumers of a restarted region", 3, []Edge{block(0, 1), block(1, 2)}, []int{1}, nil, "[[0] [1] [2]]", "[1 2]"},
		{"producers of what is lost", 3, []Edge{block(0, 1), block(1, 2)}, []int{2}, func(e Edge) bool { return e.From == 1 }, "[[0] [1] [2]]", "[1 2]"},
		{"and their other consumers", 4, []Edge{block(0, 1), block(0, 2), block(3, 0)}, []int{1}, func(e Edge) bool { return e.To == 1 }, "[[0] [1] [2] [3]]", "[0 1 2]"},
		{"two failed", 4, []Edge{pipe(0, 1)}, []int{3, 1}, nil, "[[0 1] [2] [3]]", "[0 1 3]"},
		{"no tasks", 0, nil, nil, nil, "[]", "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := NewRegions(tt.tasks, tt.edges)
			if got := fmt.Sprint(r.tasks); got != tt.regions {
				t.Errorf("regions %s, want %s", got, tt.regions)
			}
			if got := fmt.Sprint(r.Restart(tt.failed, tt.lost)); got != tt.restart {
				t.Errorf("restart %s, want %s", got, tt.restart)
			}
		})
	}
}

// Two tasks are in one region exactly if a walk over pipelined edges, in either
// direction, leads from one to the other; and what is restarted is closed: no
// pipelined edge leaves it, nor one to a reader, nor one from a producer of
// what is lost.
func TestRegionsOfRandomGraphs(t *testing.T) {
	for seed := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, 0))
		n := 1 + rng.IntN(12)
		var edges []Edge
		for range rng.IntN(2 * n) {
			edges = append(edges, Edge{rng.IntN(n), rng.IntN(n), rng.IntN(3) == 0})
		}
		lost := func(e Edge) bool { return (e.From*7+e.To)%3 == 0 }
		joined := make([][]bool, n)
		for i := range joined {
			joined[i] = make([]bool, n)
			joined[i][i] = true
		}
		for _, e := range edges {
			if !e.Blocking {
				joined[e.From][e.To], joined[e.To][e.From] = true, true
			}
		}
		for k := range n {
			for i := range n {
				for j := range n {
					joined[i][j] = joined[i][j] || joined[i][k] && joined[k][j]
				}
			}
		}
		r := NewRegions(n, edges)
		for i := range n {
			for j := range n {
				if (r.Of(i) == r.Of(j)) != joined[i][j] {
					t.Fatalf("seed %d: tasks %d and %d: regions %d and %d in %v", seed, i, j, r.Of(i), r.Of(j), edges)
				}
			}
			if !slices.Contains(r.Tasks(r.Of(i)), i) {
				t.Fatalf("seed %d: task %d is not in its region", seed, i)
			}
		}
		failed := rng.IntN(n)
		ts := r.Restart([]int{failed}, lost)
		in := func(x int) bool { _, ok := slices.BinarySearch(ts, x); return ok }
		for _, e := range edges {
			if !e.Blocking && in(e.From) != in(e.To) || e.Blocking && in(e.From) && !in(e.To) || e.Blocking && in(e.To) && lost(e) && !in(e.From) {
				t.Fatalf("seed %d: restart of %v for %d cuts %+v", seed, ts, failed, e)
			}
		}
		if !in(failed) {
			t.Fatalf("seed %d: %d failed and is not in %v", seed, failed, ts)
		}
	}
}

func TestPoisonRecordsAreFoundByTheirPosition(t *testing.T) {
	c := Default(true)
	c.Poison, c.PoisonFailures = Skip, 3
	s := NewSuspects(c)
	a, b := Position{"clicks", "0", "41"}, Position{"clicks", "1", "41"}
	for i, tt := range []struct {
		p    Position
		want Verdict
	}{
		{a, Verdict{1, false, Skip}},
		{b, Verdict{1, false, Skip}},
		{a, Verdict{2, false, Skip}},
		{a, Verdict{3, true, Skip}},
		{b, Verdict{2, false, Skip}},
		{a, Verdict{4, true, Skip}},
	} {
		if got := s.Failed(tt.p); got != tt.want {
			t.Errorf("failure %d at %v: %+v, want %+v", i, tt.p, got, tt.want)
		}
	}
	if got := s.Blamed(); !slices.Equal(got, []Position{a}) {
		t.Errorf("blamed %v, want %v", got, a)
	}
	s.Passed(b)
	if got := s.Failed(b); got.Failures != 1 {
		t.Errorf("a record that has passed starts anew: %+v", got)
	}
	// A flood of others does not grow without bound.
	for i := range 3 * suspectsMost {
		s.Failed(Position{Offset: fmt.Sprint(i)})
	}
	if len(s.failures) != suspectsMost || len(s.order) != suspectsMost {
		t.Errorf("%d and %d records are remembered, want %d", len(s.failures), len(s.order), suspectsMost)
	}
	if got := s.Blamed(); !slices.Equal(got, []Position{a}) {
		t.Errorf("blamed %v after the flood, want %v", got, a)
	}
}
