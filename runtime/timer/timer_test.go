package timer

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/millrace/millrace/state/keygroup"
)

// model is the naive service: timers in a map to the order of setting.
type model struct {
	set map[Timer[string]]int
	seq int
}

func (m *model) sorted() []Timer[string] {
	return slices.SortedFunc(maps.Keys(m.set), func(a, b Timer[string]) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(m.set[a], m.set[b]))
	})
}

// first is the timer that fires next.
func (m *model) first() (Timer[string], bool) {
	var best Timer[string]
	found := false
	for t, seq := range m.set {
		if !found || t.At < best.At || t.At == best.At && seq < m.set[best] {
			best, found = t, true
		}
	}
	return best, found
}

// Whatever is set, deleted, advanced, paused and set while firing, a service
// fires what a sorted set would, in the same order, and its snapshots hold
// what it held.
func TestServiceFiresWhatASortedSetFires(t *testing.T) {
	groups := keygroup.Range{Start: 2, End: 9}
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := New[string](groups)
		m := &model{set: map[Timer[string]]int{}}
		now := int64(math.MinInt64)
		base := []int64{0, -1000, 1_700_000_000_000}[rng.IntN(3)]
		far := []int64{3, 100, 5000, 1 << 20, 1 << 40}[rng.IntN(5)]
		keys := 1 + rng.IntN(60)
		buf := make([]byte, 16)
		draw := func() Timer[string] {
			// The key is borrowed: the service must have its own copy.
			i := rng.IntN(keys)
			k := unsafe.String(&buf[0], copy(buf, fmt.Sprint("k", i)))
			at := max(now, base) + rng.Int64N(far) - far/10
			if rng.IntN(200) == 0 {
				at = []int64{math.MinInt64, math.MaxInt64, 0, -1}[rng.IntN(4)]
			}
			return Timer[string]{keygroup.Word(2+i%8, uint64(i)*0x9e3779b97f4a7c15), k, at}
		}
		own := func(x Timer[string]) Timer[string] {
			x.Key = fmt.Sprint(x.Key)
			return x
		}
		op := 0
		set := func() {
			x := draw()
			_, ok := m.set[x]
			if got := s.Set(x.Word, x.Key, x.At); got == ok {
				t.Fatalf("seed %d op %d: Set(%v) = %t", seed, op, x, got)
			}
			if !ok {
				m.seq++
				m.set[own(x)] = m.seq
			}
		}
		del := func() {
			x := draw()
			if len(m.set) > 0 && rng.IntN(3) > 0 {
				x = m.sorted()[rng.IntN(len(m.set))]
			}
			_, ok := m.set[x]
			if got := s.Delete(x.Word, x.Key, x.At); got != ok {
				t.Fatalf("seed %d op %d: Delete(%v) = %t", seed, op, x, got)
			}
			delete(m.set, x)
		}
		type held struct {
			snap *Snapshot[string]
			want map[Timer[string]]int
		}
		var open []held
		check := func(h held) {
			n := 0
			for g := range groups.All() {
				inGroup := 0
				for x := range h.snap.Group(g) {
					if n, inGroup = n+1, inGroup+1; h.want[x] == 0 || keygroup.Of(x.Word) != g {
						t.Fatalf("seed %d op %d: snapshot group %d has %v", seed, op, g, x)
					}
				}
				if inGroup != h.snap.GroupLen(g) {
					t.Fatalf("seed %d op %d: GroupLen %d of %d", seed, op, h.snap.GroupLen(g), inGroup)
				}
			}
			if n != len(h.want) || n != h.snap.Len() {
				t.Fatalf("seed %d op %d: snapshot has %d timers, Len %d, want %d", seed, op, n, h.snap.Len(), len(h.want))
			}
		}
		for op = range 1200 {
			switch r := rng.IntN(100); {
			case r < 55:
				set()
			case r < 75:
				del()
			case r < 78:
				open = append(open, held{s.Snapshot(), maps.Clone(m.set)})
			case r < 80 && len(open) > 0:
				check(open[0])
				open[0].snap.Release()
				open = open[1:]
			case r < 81:
				// A restore into a fresh service, here with one order of
				// setting for both.
				fresh := New[string](groups)
				m.seq = 0
				next := map[Timer[string]]int{}
				fresh.Restore(s.All())
				for x := range s.All() {
					m.seq++
					next[x] = m.seq
				}
				if len(next) != len(m.set) || fresh.Len() != len(next) {
					t.Fatalf("seed %d op %d: %d timers restored of %d", seed, op, fresh.Len(), len(m.set))
				}
				s, m.set, now = fresh, next, math.MinInt64
			default:
				to := max(now, base) + rng.Int64N(far)
				if rng.IntN(50) == 0 {
					to = math.MaxInt64
				}
				for {
					again := 20
					done := s.Advance(to, func(word uint64, k string, at int64) bool {
						got := Timer[string]{word, k, at}
						want, ok := m.first()
						if !ok || want != got || at > to {
							t.Fatalf("seed %d op %d: Advance(%d) fires %v, want %v (%t)", seed, op, to, got, want, ok)
						}
						delete(m.set, want)
						for again > 0 && rng.IntN(3) == 0 {
							again--
							if rng.IntN(4) == 0 {
								del()
							} else {
								set()
							}
						}
						return rng.IntN(10) > 0
					})
					if done {
						break
					}
					for range rng.IntN(3) {
						set()
					}
				}
				if x, ok := m.first(); ok && x.At <= to {
					t.Fatalf("seed %d op %d: Advance(%d) left %v", seed, op, to, x)
				}
				if to < math.MaxInt64 {
					now = max(now, to)
				}
			}
			x, ok := m.first()
			at, got := s.Next()
			if got != ok || ok && at > x.At || s.Len() != len(m.set) {
				t.Fatalf("seed %d op %d: Next = %d, %t; want %d, %t; Len %d, want %d", seed, op, at, got, x.At, ok, s.Len(), len(m.set))
			}
		}
		for _, h := range open {
			check(h)
		}
	}
}

func word(t testing.TB, k int64) uint64 {
	h, err := keygroup.NewHasher[int64](128, keygroup.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return h.One(&k)
}

func TestNextIsExactWhileNothingIsDeleted(t *testing.T) {
	s := New[int64](keygroup.Whole(128))
	rng := rand.New(rand.NewPCG(3, 0))
	if _, ok := s.Next(); ok {
		t.Error("an empty service has a next timer")
	}
	pending := map[int64]bool{}
	for range 2000 {
		at := rng.Int64N(1 << (10 + rng.IntN(30)))
		s.Set(word(t, 1), 1, at)
		pending[at] = true
	}
	for _, want := range slices.Sorted(maps.Keys(pending)) {
		if at, ok := s.Next(); !ok || at != want {
			t.Fatalf("Next = %d, %t; want %d", at, ok, want)
		}
		s.Advance(want, func(uint64, int64, int64) bool { return true })
	}
}

func TestATimerOfThePastWaitsForTheNextAdvance(t *testing.T) {
	s := New[int64](keygroup.Whole(128))
	var fired []int64
	fire := func(_ uint64, _ int64, at int64) bool {
		fired = append(fired, at)
		return true
	}
	s.Set(word(t, 1), 1, 100)
	s.Advance(500, fire)
	s.Set(word(t, 1), 1, 300)
	s.Set(word(t, 1), 1, 50)
	s.Set(word(t, 1), 1, 500)
	if len(fired) != 1 {
		t.Fatalf("fired %v without an Advance", fired)
	}
	s.Advance(501, fire)
	if fmt.Sprint(fired) != "[100 50 300 500]" {
		t.Errorf("fired %v", fired)
	}
}

func TestAPausedLoopGoesOnWhereItStopped(t *testing.T) {
	s := New[int64](keygroup.Whole(128))
	for k := range int64(5) {
		s.Set(word(t, k), k, 10+k/2)
	}
	var fired []int64
	calls := 0
	for !s.Advance(100, func(_ uint64, k int64, _ int64) bool {
		fired = append(fired, k)
		return false
	}) {
		if calls++; calls > 10 {
			t.Fatal("no end")
		}
	}
	if fmt.Sprint(fired) != "[0 1 2 3 4]" || calls != 5 {
		t.Errorf("fired %v in %d pauses", fired, calls)
	}
}

// A session that is extended with each event deletes and sets a timer each
// time; what is left behind must not pile up.
func TestDeletedTimersDoNotPileUp(t *testing.T) {
	s := New[int64](keygroup.Whole(128))
	w := make([]uint64, 100)
	for k := range w {
		w[k] = word(t, int64(k))
	}
	last := make([]int64, len(w))
	for i := range int64(100_000) {
		k := i % int64(len(w))
		s.Delete(w[k], k, last[k])
		last[k] = i + 30*60*1000
		s.Set(w[k], k, last[k])
	}
	entries := len(s.late)
	for _, l := range s.w.levels {
		if l == nil {
			continue
		}
		for i := range l.buckets {
			for c := l.buckets[i].head; c != nil; c = c.next {
				entries += c.to - c.from
			}
		}
	}
	if s.Len() != len(w) || entries > 2*len(w)+1100 {
		t.Errorf("%d timers, %d entries", s.Len(), entries)
	}
}

func TestSetAllIsSetOfEach(t *testing.T) {
	h, _ := keygroup.NewHasher[int64](128, keygroup.Options{})
	s := New[int64](keygroup.Whole(128))
	keys := []int64{4, 1, 3, 1, 2}
	s.SetAll(h.Batch(keys, nil), keys, 70)
	var fired []int64
	s.Advance(70, func(w uint64, k, at int64) bool {
		if w != h.One(&k) || at != 70 {
			t.Errorf("fired %x %d %d", w, k, at)
		}
		fired = append(fired, k)
		return true
	})
	if fmt.Sprint(fired) != "[4 1 3 2]" {
		t.Errorf("fired %v", fired)
	}
}

func TestSteadyServicesDoNotAllocate(t *testing.T) {
	s := New[int64](keygroup.Whole(128))
	words := make([]uint64, 1000)
	for k := range words {
		words[k] = word(t, int64(k))
	}
	now := int64(1_700_000_000_000)
	fire := func(word uint64, k int64, at int64) bool {
		s.Set(word, k, at+1+at*7%1000)
		return true
	}
	for k, w := range words {
		s.Set(w, int64(k), now+int64(k))
	}
	step := func() {
		now += 10
		s.Advance(now, fire)
	}
	for range 7000 {
		step()
	}
	if n := testing.AllocsPerRun(1000, step); n > 0.5 {
		t.Errorf("%v allocations for an Advance that fires about 20 timers", n)
	}
}

func TestSnapshotsAreReadWhileTimersFire(t *testing.T) {
	s := New[int64](keygroup.Whole(128))
	for k := range int64(3000) {
		s.Set(word(t, k), k, k)
	}
	done := make(chan int)
	for i := range int64(10) {
		snap, n := s.Snapshot(), s.Len()
		go func() {
			for x := range snap.All() {
				if x.At >= i*100 || x.At < 0 {
					n--
				}
			}
			snap.Release()
			done <- n
		}()
		s.Advance(i*100+99, func(w uint64, k, at int64) bool {
			if k%2 == 0 {
				s.Set(w, k, at+5000)
			}
			return true
		})
		if n := <-done; n != 0 {
			t.Fatalf("snapshot %d: %d timers missing", i, n)
		}
	}
}

func BenchmarkSetAndFire(b *testing.B) {
	h, _ := keygroup.NewHasher[int64](128, keygroup.Options{})
	const n = 1_000_000
	keys := make([]int64, n)
	for i := range keys {
		keys[i] = int64(i)
	}
	words := h.Batch(keys, nil)
	run := func(b *testing.B, at func(i int, now int64) int64) {
		s := New[int64](keygroup.Whole(128))
		now := int64(1_700_000_000_000)
		b.ReportAllocs()
		for b.Loop() {
			for i, k := range keys {
				s.Set(words[i], k, at(i, now))
			}
			now += 60_000
			for t := now - 59_000; t <= now; t += 1000 {
				s.Advance(t, func(uint64, int64, int64) bool { return true })
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/timer")
	}
	b.Run("one time", func(b *testing.B) {
		run(b, func(i int, now int64) int64 { return now + 60_000 })
	})
	b.Run("any of 60 s", func(b *testing.B) {
		rng := rand.New(rand.NewPCG(1, 1))
		run(b, func(i int, now int64) int64 { return now + 1 + rng.Int64N(60_000) })
	})
	b.Run("again and again within 60 s", func(b *testing.B) {
		s := New[int64](keygroup.Whole(128))
		rng := rand.New(rand.NewPCG(1, 1))
		now := int64(1_700_000_000_000)
		for i, k := range keys {
			s.Set(words[i], k, now+1+rng.Int64N(60_000))
		}
		fired := 0
		b.ReportAllocs()
		for b.Loop() {
			now += 1000
			s.Advance(now, func(w uint64, k, at int64) bool {
				fired++
				s.Set(w, k, at+1+rng.Int64N(60_000))
				return true
			})
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(fired), "ns/timer")
	})
	b.Run("wheel alone, any of 60 s", func(b *testing.B) {
		rng := rand.New(rand.NewPCG(1, 1))
		var w wheel[int64]
		now := int64(1_700_000_000_000)
		w.cur = order(now)
		b.ReportAllocs()
		for b.Loop() {
			for i, k := range keys {
				w.add(entry[int64]{words[i], k, now + 1 + rng.Int64N(60_000), 0})
			}
			now += 60_000
			for d := w.due(now); d != nil; d = w.due(now) {
				w.pop(d)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/timer")
	})
}
