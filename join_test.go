package millrace_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace"
)

// order and payment are the records of the joins: numbers with a key, and a time
// that goes back and forth.
type order struct{ Key, ID, At int64 }
type payment struct{ Key, ID, At int64 }

func orderOf(i int64) order     { return order{i % 5, i, i + i*7%11} }
func paymentOf(i int64) payment { return payment{i * 3 % 5, i, i + i*13%7} }

// ordersAndPayments reads both, with n of each.
func ordersAndPayments(job *millrace.Job, n int64) (millrace.KeyedStream[int64, order], millrace.KeyedStream[int64, payment]) {
	at := func(f func(int64) int64) func(*int64) int64 { return func(i *int64) int64 { return f(*i) } }
	o := job.From("orders", numbers{n: n}).EventTimeMillis(at(func(i int64) int64 { return orderOf(i).At }), 12*time.Millisecond).Rebalance().Map(orderOf)
	p := job.From("payments", numbers{n: n}).EventTimeMillis(at(func(i int64) int64 { return paymentOf(i).At }), 12*time.Millisecond).Rebalance().Map(paymentOf)
	return o.KeyBy(func(o order) int64 { return o.Key }), p.KeyBy(func(p payment) int64 { return p.Key })
}

func pairOf(o *order, p *payment) string {
	s := ""
	if o != nil {
		s = fmt.Sprint("order ", o.ID)
	}
	if p != nil {
		s += fmt.Sprint(" payment ", p.ID)
	}
	return s
}

// pairs is what a join of n orders and payments gives.
func pairs(n, from, to int64, left, right bool) (want []string) {
	paid := map[int64]bool{}
	for i := range n {
		o, found := orderOf(i), false
		for j := range n {
			p := paymentOf(j)
			if d := p.At - o.At; o.Key == p.Key && d >= from && d <= to {
				want = append(want, pairOf(&o, &p))
				found, paid[j] = true, true
			}
		}
		if left && !found {
			want = append(want, pairOf(&o, nil))
		}
	}
	for j := range n {
		if p := paymentOf(j); right && !paid[j] {
			want = append(want, pairOf(nil, &p))
		}
	}
	slices.Sort(want)
	return want
}

// kindOfJoin adds one of the kinds of join.
func kindOfJoin(kind int, j millrace.Pairs[int64, order, payment]) millrace.Stream[string] {
	switch kind {
	case 0:
		return j.Inner("pairs", func(o order, p payment) string { return pairOf(&o, &p) })
	case 1:
		return j.InnerRef("pairs", func(o *order, p *payment) string { return pairOf(o, p) })
	case 2:
		return j.Left("pairs", func(o order, p *payment) string { return pairOf(&o, p) })
	case 3:
		return j.Right("pairs", func(o *order, p payment) string { return pairOf(o, &p) })
	}
	return j.Full("pairs", pairOf)
}

func TestIntervalJoinDoesNotDependOnHowTheJobIsRun(t *testing.T) {
	check := func(t *testing.T, opt millrace.RunOptions, n int64, kind int) {
		out := &collect[string]{}
		err := millrace.RunWith(t.Context(), "settle", opt, func(job *millrace.Job) {
			o, p := ordersAndPayments(job, n)
			kindOfJoin(kind, o.IntervalJoin(p, -3*time.Millisecond, 9*time.Millisecond)).To("out", out)
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(out.recs)
		if want := pairs(n, -3, 9, kind == 2 || kind == 4, kind >= 3); !slices.Equal(out.recs, want) {
			t.Fatalf("kind %d: %d results, want %d", kind, len(out.recs), len(want))
		}
	}
	everyWay(t, func(t *testing.T, opt millrace.RunOptions) {
		for kind := range 5 {
			check(t, opt, 100, kind)
		}
	})
	for seed := range uint64(700) {
		check(t, millrace.RunOptions{Parallelism: []int{1, 2, 4, 7}[seed%4], BatchSize: 1 + int(seed%5), NoChaining: seed%3 == 0, Seed: &seed}, 24, int(seed%5))
	}
}

// Bounds count in whole milliseconds that lie between them.
func TestIntervalJoinBounds(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name             string
		from, to         time.Duration
		fromOpen, toOpen bool
		wantFrom, wantTo int64
	}{
		{"whole", -2 * ms, 4 * ms, false, false, -2, 4},
		{"exclusive", -2 * ms, 4 * ms, true, true, -1, 3},
		{"from exclusive", -2 * ms, 4 * ms, true, false, -1, 4},
		{"to exclusive", -2 * ms, 4 * ms, false, true, -2, 3},
		{"between milliseconds", -5 * ms / 2, 9 * ms / 2, false, false, -2, 4},
		{"exclusive between milliseconds", -5 * ms / 2, 9 * ms / 2, true, true, -2, 4},
		{"positive", ms / 2, 3 * ms, false, false, 1, 3},
		{"one point", 2 * ms, 2 * ms, false, false, 2, 2},
		{"only before", -6 * ms, -3 * ms, false, false, -6, -3},
	} {
		out := &collect[string]{}
		err := millrace.RunWith(t.Context(), "bounds", millrace.RunOptions{Parallelism: 2}, func(job *millrace.Job) {
			o, p := ordersAndPayments(job, 60)
			j := o.IntervalJoin(p, c.from, c.to)
			if c.fromOpen {
				j = j.FromExclusive()
			}
			if c.toOpen {
				j = j.ToExclusive()
			}
			j.Full("pairs", pairOf).To("out", out)
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(out.recs)
		if want := pairs(60, c.wantFrom, c.wantTo, true, true); !slices.Equal(out.recs, want) {
			t.Errorf("%s: %d results, want %d", c.name, len(out.recs), len(want))
		}
	}
}

// What a function keeps of an outer join stays as it was.
func TestPartnersOfOuterJoinsCanBeKept(t *testing.T) {
	type kept struct {
		O *order
		P *payment
	}
	out := &collect[kept]{}
	err := millrace.RunWith(t.Context(), "keep", millrace.RunOptions{Parallelism: 1}, func(job *millrace.Job) {
		o, p := ordersAndPayments(job, 200)
		o.IntervalJoin(p, 0, 20*time.Millisecond).Full("pairs", func(o *order, p *payment) kept { return kept{o, p} }).To("out", out)
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range out.recs {
		got = append(got, pairOf(k.O, k.P))
	}
	slices.Sort(got)
	if want := pairs(200, 0, 20, true, true); !slices.Equal(got, want) {
		t.Errorf("%d results, want %d", len(got), len(want))
	}
}

// Late records go where they are asked for, and a stream can be joined with
// itself.
func TestIntervalJoinLateAndSelf(t *testing.T) {
	out := &collect[string]{}
	left, right := &collect[int64]{}, &collect[int64]{}
	err := millrace.RunWith(t.Context(), "late", millrace.RunOptions{Parallelism: 1, BatchSize: 1}, func(job *millrace.Job) {
		var lateLeft, lateRight millrace.Stream[int64]
		// Every tenth number comes 50 ms behind the others.
		s := job.From("numbers", numbers{n: 100}).EventTimeMillis(func(i *int64) int64 {
			if *i > 60 && *i%10 == 0 {
				return *i - 50
			}
			return *i
		}, 0)
		k := s.KeyBy(func(int64) bool { return true })
		k.IntervalJoin(k, time.Millisecond, time.Millisecond).
			LateLeft(&lateLeft).LateRight(&lateRight).
			Inner("neighbours", func(a, b int64) string { return fmt.Sprint(a, b) }).To("out", out)
		lateLeft.To("left", left)
		lateRight.To("right", right)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []int64{70, 80, 90}
	if !slices.Equal(left.recs, want) || !slices.Equal(right.recs, want) {
		t.Errorf("late: %v and %v, want %v", left.recs, right.recs, want)
	}
	if len(out.recs) != 99-6 {
		t.Errorf("%d neighbours, want 93", len(out.recs))
	}
}

func TestIntervalJoinMistakesNameFileAndLine(t *testing.T) {
	err := millrace.Run(t.Context(), "bad", func(job *millrace.Job) {
		o, p := ordersAndPayments(job, 1)
		o.IntervalJoin(p, 2*time.Second, time.Second).Inner("backward", func(order, payment) int { return 0 }).To("a", discard[int]{})
		o.IntervalJoin(p, time.Second, time.Second).ToExclusive().Inner("empty", func(order, payment) int { return 0 }).To("b", discard[int]{})
		bad := job.From("numbers", numbers{n: 1}).Map(func(int64) chan int { return nil }).KeyBy(func(chan int) int64 { return 0 })
		o.IntervalJoin(bad, 0, 0).Inner("chans", func(order, chan int) int { return 0 }).To("c", discard[int]{})
	})
	wantMistakes(t, err, "join_test.go", "interval join backward: it begins at 2s and ends before that, at 1s",
		"interval join empty: no millisecond lies between", "interval join chans: records of the right side are part of checkpoints")
}
