package operator

import (
	"math/rand/v2"
	"testing"

	"github.com/millrace/millrace/runtime/clock"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/state/keygroup"
)

type none struct{ n int }

func (s *none) Receive(b *record.Batch[out]) error { s.n += b.Len(); return nil }

// windowLoad drives op with perMilli records of each millisecond, keys of many
// at random, and event time behind every batch.
type windowLoad struct {
	op       Operator
	batches  []*record.Batch[rec]
	at, i    int64
	perMilli int64
	sink     none
}

func newWindowLoad(op Operator, many, perMilli int64) *windowLoad {
	l := &windowLoad{op: op, perMilli: perMilli}
	op.Connect(0, &l.sink)
	env := windowEnv(&clock.Manual{}, func() bool { return false })
	env.BatchSize, env.MaxParallelism = 256, 128
	if err := op.Open(env); err != nil {
		panic(err)
	}
	h, _ := keygroup.NewHasher[int64](128, keygroup.Options{})
	rng := rand.New(rand.NewPCG(1, 1))
	for range 1024 {
		b := record.New[rec](256)
		keys := make([]int64, 256)
		for i := range keys {
			keys[i] = rng.Int64N(many)
			b.Append(rec{keys[i], rng.Int64N(1000), 0}, 0)
		}
		b.Keys, b.Words = &keys, h.Batch(keys, nil)
		l.batches = append(l.batches, b)
	}
	return l
}

func (l *windowLoad) step() {
	b := l.batches[l.i%int64(len(l.batches))]
	for i := range b.Times {
		b.Times[i] = (l.i*256 + int64(i)) / l.perMilli
	}
	l.i++
	if err := l.op.Input(0).(Receiver[rec]).Receive(b); err != nil {
		panic(err)
	}
	if _, _, err := l.op.Advance(b.Times[255] - 1); err != nil {
		panic(err)
	}
}

func windowBench(b *testing.B, mk func() Operator, many, perMilli, warm int64) {
	l := newWindowLoad(mk(), many, perMilli)
	for range warm {
		l.step()
	}
	b.ReportAllocs()
	for b.Loop() {
		l.step()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/256, "ns/record")
}

// 10,000 keys, 1,000 records a millisecond: 20,000 records and 10,000 results
// for each slide of 20 ms.
func BenchmarkWindows(b *testing.B) {
	slide := func(size, slide int64) Assigner { return Assigner{Size: size, Slide: slide} }
	b.Run("sum 10s", func(b *testing.B) {
		windowBench(b, slicesOp(slide(10_000, 10_000), sumAgg, sumResult), 10_000, 1000, 4000)
	})
	b.Run("sum 10s by 20ms", func(b *testing.B) {
		windowBench(b, slicesOp(slide(10_000, 20), sumAgg, sumResult), 10_000, 1000, 42_000)
	})
	b.Run("max 10s", func(b *testing.B) {
		windowBench(b, slicesOp(slide(10_000, 10_000), maxAgg, maxResult), 10_000, 1000, 4000)
	})
	b.Run("max 10s by 20ms", func(b *testing.B) {
		windowBench(b, slicesOp(slide(10_000, 20), maxAgg, maxResult), 10_000, 1000, 42_000)
	})
	b.Run("sum 10s by 2s", func(b *testing.B) {
		windowBench(b, slicesOp(slide(10_000, 2000), sumAgg, sumResult), 1000, 1000, 4000)
	})
	b.Run("session 50ms", func(b *testing.B) {
		windowBench(b, sessionsOp(50, sumAgg, sumResult), 10_000, 1000, 4000)
	})
}

// Records allocate nothing; what is allocated for each slice is a few words.
func TestRecordsInWindowsDoNotAllocate(t *testing.T) {
	for name, op := range map[string]Operator{
		"sum":      slicesOp(Assigner{Size: 1 << 40, Slide: 1 << 39}, sumAgg, sumResult)(),
		"max":      slicesOp(Assigner{Size: 1 << 40, Slide: 1 << 40}, maxAgg, maxResult)(),
		"sessions": sessionsOp(1<<40, sumAgg, sumResult)(),
	} {
		l := newWindowLoad(op, 1000, 1000)
		for range 200 {
			l.step()
		}
		if n := testing.AllocsPerRun(100, l.step); n != 0 {
			t.Errorf("%s: %v allocations a batch", name, n)
		}
	}
}
