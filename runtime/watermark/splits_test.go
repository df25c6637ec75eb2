package watermark

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

var epoch = time.Unix(1_700_000_000, 0)

func TestStrategiesStayBehindTheLargestTimestamp(t *testing.T) {
	for _, tt := range []struct {
		strategy Strategy
		events   []int64
		want     int64
	}{
		{Monotonous(), nil, None},
		{Monotonous(), []int64{5}, 4},
		{Monotonous(), []int64{5, 3}, 4},
		{Monotonous(), []int64{None}, None},
		{Monotonous(), []int64{End}, End - 1},
		{BoundedOutOfOrderness(10 * time.Millisecond), nil, None},
		{BoundedOutOfOrderness(10 * time.Millisecond), []int64{100, 120, 90}, 109},
		{BoundedOutOfOrderness(1), []int64{100}, 98},
		{BoundedOutOfOrderness(time.Hour), []int64{None + 5}, None},
		{BoundedOutOfOrderness(1<<63 - 1), []int64{0}, -(1<<63-1)/1000000 - 2},
		{NoWatermarks(), []int64{100}, None},
		{Custom(), []int64{100}, None},
	} {
		s := NewSplits(tt.strategy, Idleness{})
		sp, _ := s.Add("a", epoch)
		for _, ts := range tt.events {
			sp.Observe(ts)
		}
		s.Tick(epoch)
		if got := sp.Watermark(); got != tt.want {
			t.Errorf("%v after %v: watermark %s, want %s", tt.strategy, tt.events, Format(got), Format(tt.want))
		}
	}
}

// Over random lives of splits, the output is the minimum over splits that are
// not idle, never goes back, and reaches the end only when nothing is left.
func TestSplitsAreTheMinimumOverActiveSplits(t *testing.T) {
	for seed := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		s := NewSplits(BoundedOutOfOrderness(3*time.Millisecond), Idleness{Timeout: 500 * time.Millisecond})
		now, next, out, status, noMore := epoch, 0, None, Idle, false
		for range 120 {
			var change Change
			all := s.All()
			switch k := rng.IntN(12); {
			case k == 0 && !noMore:
				_, change = s.Add(fmt.Sprint(next), now)
				next++
			case k == 1 && rng.IntN(30) == 0:
				noMore = true
				change = s.NoMoreSplits()
			case len(all) == 0:
			case k == 2:
				change = all[rng.IntN(len(all))].Finish()
			case k == 3:
				s.Block(now)
			case k == 4:
				s.Unblock(now)
			case k < 8:
				change = all[rng.IntN(len(all))].Observe(rng.Int64N(1000))
			default:
				now = now.Add(time.Duration(rng.IntN(300)) * time.Millisecond)
				change = s.Tick(now)
			}
			if change.Advanced && change.Watermark <= out {
				t.Fatalf("seed %d: output from %d to %d", seed, out, change.Watermark)
			}
			low, active := End, false
			for _, sp := range s.All() {
				if !sp.Idle() {
					low, active = min(low, sp.Watermark()), true
				}
			}
			want, wantStatus := out, Idle
			switch {
			case active:
				want, wantStatus = max(out, low), Active
			case noMore && len(s.All()) == 0:
				want, wantStatus = End, Finished
			}
			got, gotStatus := s.Current()
			if got != want || gotStatus != wantStatus || change.Switched != (status != wantStatus) {
				t.Fatalf("seed %d: got %s %v by %v, want %s %v", seed, Format(got), gotStatus, change, Format(want), wantStatus)
			}
			out, status = want, wantStatus
		}
	}
}

// A split that always has an event within the timeout of unblocked time is
// never idle, however long it is blocked or paused in between.
func TestBlockedOrPausedTimeIsNotSilence(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 4))
		s := NewSplits(Monotonous(), Idleness{Timeout: time.Second})
		sp, _ := s.Add("a", epoch)
		now, ran, stopped := epoch, time.Duration(0), [2]bool{}
		sp.Observe(1000)
		s.Tick(now)
		for range 200 {
			switch rng.IntN(6) {
			case 0:
				s.Block(now)
				stopped[0] = true
			case 1:
				s.Unblock(now)
				stopped[0] = false
			case 2:
				s.Align(10, now)
				stopped[1] = true
			case 3:
				s.Align(End, now)
				stopped[1] = false
			case 4:
				d := time.Duration(rng.IntN(900)) * time.Millisecond
				if stopped == [2]bool{} {
					if ran += d; ran > time.Second {
						sp.Observe(1000)
						s.Tick(now)
						ran = d
					}
				} else {
					d *= 100
				}
				now = now.Add(d)
			default:
				s.Tick(now)
			}
			if sp.Idle() {
				t.Fatalf("seed %d: idle after %v of silence", seed, ran)
			}
		}
	}
}

func TestGroupDrift(t *testing.T) {
	g := NewGroup[int](time.Second)
	if got := g.Drift(100); got != 0 {
		t.Errorf("drift %d with nothing reported, want 0", got)
	}
	g.Report(1, -50)
	for own, want := range map[int64]int64{100: 150, None: 0, End: 0, End - 1: End, -60: 0} {
		if got := g.Drift(own); got != want {
			t.Errorf("drift of %s is %d, want %d", Format(own), got, want)
		}
	}
}
