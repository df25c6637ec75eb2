package millrace

import (
	"context"
	"io"
	"strconv"
	"testing"
	"time"
)

type numbers struct{ n int64 }

func (numbers) Bounded() bool { return true }
func (s numbers) Splits(_ context.Context, p int) (out []Split, err error) {
	for i := range p {
		out = append(out, Split{ID: strconv.Itoa(i), Data: []byte{byte(i), byte(p)}})
	}
	return
}
func (s numbers) Open(_ context.Context, sp Split, at Position) (Reader[bid], error) {
	return &numReader{next: int64(sp.Data[0]), step: int64(sp.Data[1]), n: s.n}, nil
}

type bid struct {
	a, b, c, d, e int64
	s, t          string
}

type numReader struct{ next, step, n int64 }

func (r *numReader) ReadsInline() {}
func (r *numReader) Read(_ context.Context, out *Rows[bid]) error {
	k := min(int64(out.Room()), (r.n-r.next+r.step-1)/r.step)
	rows, times := out.Fill(int(k))
	for i := range rows {
		rows[i] = bid{a: r.next, b: 1, c: 2, s: "x", t: "y"}
		times[i] = r.next
		r.next += r.step
	}
	if r.next >= r.n {
		return io.EOF
	}
	return nil
}
func (r *numReader) Position() Position { return nil }
func (r *numReader) Close() error       { return nil }

type sum struct{ total *int64 }

func (s sum) OpenWriter(context.Context, Subtask) (Writer[bid], error) { return s, nil }
func (s sum) Write(_ context.Context, r []bid) error {
	for i := range r {
		*s.total += r[i].a
	}
	return nil
}
func (s sum) Flush(context.Context) error { return nil }
func (s sum) Close() error                { return nil }

func TestSmoke(t *testing.T) {
	for _, p := range []int{1, 2, 3} {
		var total int64
		n := int64(1_000_00)
		err := RunWith(context.Background(), "smoke", RunOptions{Parallelism: p}, func(j *Job) {
			j.From("numbers", numbers{n}).Rebalance().Filter(func(b bid) bool { return b.a%2 == 0 }).Map(func(b bid) bid { b.a++; return b }).
				Global().Map(func(b bid) bid { b.a--; return b }).Parallelism(1).To("sum", sum{&total})
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := n / 2 * (n - 2) / 2; total != want {
			t.Fatal(total, want)
		}
		for seed := uint64(0); seed < 5; seed++ {
			total = 0
			err := RunWith(context.Background(), "smoke", RunOptions{Parallelism: p, Seed: &seed}, func(j *Job) {
				j.From("numbers", numbers{n}).Rebalance().Filter(func(b bid) bool { return b.a%2 == 0 }).Map(func(b bid) bid { b.a++; return b }).
					Global().Map(func(b bid) bid { b.a--; return b }).Parallelism(1).To("sum", sum{&total})
			})
			if err != nil {
				t.Fatal(err)
			}
			if want := n / 2 * (n - 2) / 2; total != want {
				t.Fatal(total, want)
			}
		}
	}
}

func TestPass(t *testing.T) {
	for _, p := range []int{1, 2} {
		t0 := time.Now()
		totals := make([]int64, 64)
		n := int64(50_000_000)
		RunWith(context.Background(), "smoke", RunOptions{Parallelism: p}, func(j *Job) {
			j.From("numbers", numbers{n}).Rebalance().To("sum", discard{})
		})
		t.Log("pass", p, float64(n)/time.Since(t0).Seconds()/1e6, "M/s")
		t0 = time.Now()
		RunWith(context.Background(), "smoke", RunOptions{Parallelism: p}, func(j *Job) {
			j.From("numbers", numbers{n}).KeyByRef(func(b *bid) int64 { return b.a }).s.To("sum", discard{})
		})
		t.Log("keyed", p, float64(n)/time.Since(t0).Seconds()/1e6, "M/s")
		_ = totals
	}
}

type discard struct{}

func (s discard) OpenWriter(context.Context, Subtask) (Writer[bid], error) { return s, nil }
func (s discard) Write(_ context.Context, r []bid) error                   { return nil }
func (s discard) Flush(context.Context) error                              { return nil }
func (s discard) Close() error                                             { return nil }
