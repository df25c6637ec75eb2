package watermark

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// model is the rule of the merge written down without any bookkeeping.
type model struct {
	watermark []int64
	status    []Status
	aligned   []bool
	out       int64
	overall   Status
}

func newModel(n int) *model {
	m := &model{out: None}
	for range n {
		m.watermark = append(m.watermark, None)
		m.status = append(m.status, Active)
		m.aligned = append(m.aligned, true)
	}
	return m
}

func (m *model) apply(ch int, t int64, s Status, isStatus bool) {
	before := m.overall
	held := m.aligned[ch] && m.watermark[ch] == m.out
	if !isStatus && t == End {
		isStatus, s = true, Finished
	}
	switch {
	case m.status[ch] == Finished:
		return
	case isStatus && m.status[ch] == s:
		return
	case isStatus:
		m.status[ch] = s
		m.aligned[ch] = s == Active && m.watermark[ch] >= m.out
	case m.status[ch] != Active:
		return
	default:
		m.watermark[ch] = max(m.watermark[ch], t)
		m.aligned[ch] = m.aligned[ch] || m.watermark[ch] >= m.out
	}
	switch {
	case slices.Contains(m.status, Active):
		m.overall = Active
		var aligned []int64
		for i, w := range m.watermark {
			if m.aligned[i] {
				aligned = append(aligned, w)
			}
		}
		if len(aligned) > 0 {
			m.out = max(m.out, slices.Min(aligned))
		}
	case slices.Contains(m.status, Idle):
		m.overall = Idle
		if before == Active && (held || s == Finished) {
			for i, w := range m.watermark {
				if m.status[i] == Idle {
					m.out = max(m.out, w)
				}
			}
		}
	default:
		m.overall, m.out = Finished, End
	}
}

// Whatever happens on the channels, the merger's output is that of the plain
// rule; it never goes back; it is the minimum over active channels when all of
// them are aligned; and finished channels never dominate it.
func TestMergerAgreesWithThePlainRule(t *testing.T) {
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := 1 + rng.IntN(5)
		merger, want := NewMerger(n), newModel(n)
		out, status := merger.Current()
		highest := None // of what any channel has promised, ends excepted
		var log []string
		for range 60 {
			ch := rng.IntN(n)
			var change Change
			switch rng.IntN(10) {
			case 0, 1, 2:
				s := Status(rng.IntN(2))
				if rng.IntN(12) == 0 {
					s = Finished
				}
				log = append(log, fmt.Sprint(ch, " ", s))
				change = merger.Status(ch, s)
				want.apply(ch, 0, s, true)
			default:
				w := rng.Int64N(40)
				if rng.IntN(60) == 0 {
					w = End
				} else {
					highest = max(highest, w)
				}
				log = append(log, fmt.Sprint(ch, " at ", w))
				change = merger.Watermark(ch, w)
				want.apply(ch, w, 0, false)
			}
			if change.Advanced {
				if change.Watermark <= out {
					t.Fatalf("seed %d: output goes from %d to %d after %v", seed, out, change.Watermark, log)
				}
				out = change.Watermark
			}
			if change.Switched {
				if change.Status == status {
					t.Fatalf("seed %d: switch from %v to itself after %v", seed, status, log)
				}
				status = change.Status
			}
			if out != want.out || status != want.overall {
				t.Fatalf("seed %d: got %s %v, want %s %v after %v", seed,
					Format(out), status, Format(want.out), want.overall, log)
			}
			if w, s := merger.Current(); w != out || s != status {
				t.Fatalf("seed %d: changes add up to %d %v, current is %d %v", seed, out, status, w, s)
			}
			if status != Finished && out > highest {
				t.Fatalf("seed %d: output %s though no channel was past %d: %v", seed, Format(out), highest, log)
			}
			checkMinimum(t, seed, merger, out)
		}
	}
}

func checkMinimum(t *testing.T, seed uint64, m *Merger, out int64) {
	low, any, behind := End, false, false
	for ch := range m.channels {
		w, s := m.Channel(ch)
		if s != Active {
			continue
		}
		any = true
		low = min(low, w)
		behind = behind || w < out
	}
	if any && !behind && low != out {
		t.Fatalf("seed %d: output %s, minimum over active channels %s", seed, Format(out), Format(low))
	}
}

func TestInputsAreTheMinimumOverActiveInputs(t *testing.T) {
	for seed := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, 2))
		sizes := make([]int, 1+rng.IntN(3))
		for i := range sizes {
			sizes[i] = 1 + rng.IntN(3)
		}
		in := NewInputs(sizes...)
		out := None
		for range 80 {
			input := rng.IntN(len(sizes))
			ch := rng.IntN(sizes[input])
			var change Change
			if rng.IntN(4) == 0 {
				s := Status(rng.IntN(2))
				if rng.IntN(10) == 0 {
					s = Finished
				}
				change = in.Status(input, ch, s)
			} else {
				change = in.Watermark(input, ch, rng.Int64N(50))
			}
			low, statuses := End, map[Status]bool{}
			for i := range sizes {
				w, s := in.Input(i)
				statuses[s] = true
				if s == Active {
					low = min(low, w)
				}
			}
			wantStatus, want := Finished, End
			switch {
			case statuses[Active]:
				wantStatus, want = Active, max(out, low)
			case statuses[Idle]:
				wantStatus, want = Idle, out
			}
			got, gotStatus := in.Current()
			if got != want || gotStatus != wantStatus {
				t.Fatalf("seed %d: got %s %v, want %s %v", seed, Format(got), gotStatus, Format(want), wantStatus)
			}
			if change.Advanced != (want > out) {
				t.Fatalf("seed %d: change %v when going from %s to %s", seed, change, Format(out), Format(want))
			}
			out = want
		}
	}
}

func TestMergingAllocatesNothing(t *testing.T) {
	m, in := NewMerger(8), NewInputs(4, 4)
	s := NewSplits(Monotonous(), Idleness{})
	var splits []*Split
	for i := range 4 {
		sp, _ := s.Add(fmt.Sprint(i), epoch)
		splits = append(splits, sp)
	}
	var w int64
	if n := testing.AllocsPerRun(1000, func() {
		w++
		for ch := range 8 {
			m.Watermark(ch, w)
			in.Watermark(ch%2, ch/2, w)
		}
		for _, sp := range splits {
			sp.Observe(w)
		}
		s.Tick(epoch)
	}); n != 0 {
		t.Errorf("%v allocations a round, want none", n)
	}
}

func BenchmarkMerger(b *testing.B) {
	for _, n := range []int{2, 16, 256} {
		b.Run(fmt.Sprintf("channels=%d", n), func(b *testing.B) {
			m := NewMerger(n)
			b.ReportAllocs()
			var i int64
			for b.Loop() {
				m.Watermark(int(i%int64(n)), i)
				i++
			}
		})
	}
}
