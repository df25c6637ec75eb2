package operator_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/millrace/millrace/runtime/clock"
	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/operator/optest"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/state/keygroup"
)

// keyedBatch is a batch of n records as a keyed exchange hands it over, of keys
// keys.
func keyedBatch(n, keys int) *record.Batch[int64] {
	h, _ := keygroup.NewHasher[int64](128, keygroup.Options{})
	b := record.New[int64](n)
	ks := make([]int64, 0, n)
	for i := range n {
		k := int64(i % keys)
		b.Append(int64(i), int64(i))
		b.Words = append(b.Words, h.One(&k))
		ks = append(ks, k)
	}
	b.Keys = &ks
	return b
}

type sink struct{ n int }

func (s *sink) Receive(b *record.Batch[int64]) error {
	s.n += b.Len()
	return nil
}

type countSink struct{ n int }

func (s *countSink) Receive(b *record.Batch[pair]) error {
	s.n += b.Len()
	return nil
}

type pair struct{ Key, N int64 }

func env() *operator.Env {
	return &operator.Env{Name: "op", Parallelism: 1, MaxParallelism: 128, BatchSize: 256, Clock: &clock.Manual{},
		Cursor: &operator.Cursor{}, Yield: func() bool { return false }}
}

func counting() *operator.Process[int64, int64, int64] {
	return &operator.Process[int64, int64, int64]{Setup: func(p *operator.Process[int64, int64, int64]) {
		n := operator.NewValue[int64, int64](p.Keyed, "n")
		p.OnRecordRef = func(*int64) error {
			v := n.Ref()
			*v++
			p.Emit(*v)
			return nil
		}
	}}
}

func rolling() *operator.Rolling[int64, int64, int64, pair] {
	return &operator.Rolling[int64, int64, int64, pair]{State: "n", Step: func(k, _, n *int64, _ bool, out *pair) {
		*n++
		out.Key, out.N = *k, *n
	}}
}

// The paths of every record of a process function and a rolling count allocate
// nothing once their keys are there.
func TestHandlingARecordAllocatesNothing(t *testing.T) {
	b := keyedBatch(256, 50)
	p := counting()
	p.Connect(0, &sink{})
	r := rolling()
	r.Connect(0, &countSink{})
	for name, op := range map[string]interface {
		operator.Operator
		operator.Receiver[int64]
	}{"process": p, "rolling": r} {
		if err := op.Open(env()); err != nil {
			t.Fatal(err)
		}
		if got := testing.AllocsPerRun(100, func() {
			if err := op.Receive(b); err != nil {
				t.Fatal(err)
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations for a batch of 256", name, got)
		}
	}
}

// Process functions with state and timers, and rolling counts, do the same in
// whole batches, record by record, restored after each, interrupted and
// rescaled.
func TestProcessFunctionsConform(t *testing.T) {
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var calls []optest.Call
		for i := range 40 {
			switch rng.IntN(6) {
			case 0:
				calls = append(calls, optest.Advance(int64(i*10)))
			case 1:
				calls = append(calls, optest.ProcessingTime(int64(i*10)))
			default:
				var rows []optest.Row[string, int64]
				for range rng.IntN(9) {
					rows = append(rows, optest.Row[string, int64]{Key: fmt.Sprint("k", rng.IntN(6)), Time: int64(i*10 + rng.IntN(30)), Record: rng.Int64N(100)})
				}
				calls = append(calls, optest.Records(0, rows...))
			}
		}
		calls = append(calls, optest.Finish())
		optest.Conform(t, optest.Story{Keyed: true, Calls: calls, Ports: []optest.PortReader{optest.Port[string](0)},
			New: func() operator.Operator {
				return &operator.Process[string, int64, string]{Setup: func(p *operator.Process[string, int64, string]) {
					sum := operator.NewValue[string, int64](p.Keyed, "sum")
					last := operator.NewList[string, int64](p.Keyed, "last")
					p.OnRecord = func(n int64) error {
						*sum.Ref() += n
						last.Add(n)
						p.SetTimer(p.At + n)
						if n%7 == 0 {
							p.SetProcTimer(n * 10)
						}
						v, _ := sum.Load()
						p.Emit(fmt.Sprintf("%s %d", p.Key, v))
						return nil
					}
					p.OnTimer = func(at int64) error {
						v, _ := sum.Load()
						p.Emit(fmt.Sprintf("%s timer %d: %d of %d", p.Key, at, v, last.Len()))
						last.Clear()
						return nil
					}
					p.OnProcTimer = func(at int64) error {
						p.Emit(fmt.Sprintf("%s clock %d", p.Key, at))
						return nil
					}
				}}
			}})
		optest.Conform(t, optest.Story{Keyed: true, Calls: calls, Ports: []optest.PortReader{optest.Port[int64](0)},
			New: func() operator.Operator {
				return operator.RollingReduce[string](func(a, b int64) int64 { return a*3 + b })
			}})
	}
}

// story is a failing test seen from outside.
type story struct{ failed bool }

func (s *story) Helper()               {}
func (s *story) Errorf(string, ...any) { s.failed = true }
func (s *story) Fatalf(string, ...any) { s.failed = true }

// An operator that keeps something outside of its state does not conform.
func TestConformNoticesForgottenState(t *testing.T) {
	s := &story{}
	row := optest.Row[string, int64]{Key: "k", Record: 1}
	optest.Conform(s, optest.Story{Calls: []optest.Call{optest.Records(0, row), optest.Records(0, row)}, Ports: []optest.PortReader{optest.Port[int64](0)},
		New: func() operator.Operator {
			n := int64(0)
			return &operator.Process[string, int64, int64]{Setup: func(p *operator.Process[string, int64, int64]) {
				p.OnRecord = func(int64) error {
					n++
					p.Emit(n)
					return nil
				}
			}}
		}})
	if !s.failed {
		t.Error("it was taken to conform")
	}
}

func BenchmarkProcessCount(b *testing.B) {
	for _, keys := range []int{200, 100_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			p := counting()
			p.Connect(0, &sink{})
			benchmark(b, p, keys)
		})
	}
}

func BenchmarkRollingCount(b *testing.B) {
	for _, keys := range []int{200, 100_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			r := rolling()
			r.Connect(0, &countSink{})
			benchmark(b, r, keys)
		})
	}
}

// benchmark reports the time for a record.
func benchmark(b *testing.B, op interface {
	operator.Operator
	operator.Receiver[int64]
}, keys int) {
	if err := op.Open(env()); err != nil {
		b.Fatal(err)
	}
	h, _ := keygroup.NewHasher[int64](128, keygroup.Options{})
	var batches []*record.Batch[int64]
	next := int64(0)
	for range max(keys/256, 8) {
		bt := keyedBatch(256, 256)
		ks := *bt.Keys.(*[]int64)
		for i := range ks {
			next = (next*6364136223846793005 + 1442695040888963407)
			ks[i] = int64(uint64(next)>>33) % int64(keys)
			bt.Words[i] = h.One(&ks[i])
		}
		batches = append(batches, bt)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := op.Receive(batches[i%len(batches)]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/256, "ns/record")
}
