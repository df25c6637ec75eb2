package datagen

import (
	"context"
	"io"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace"
)

var ctx = context.Background()

func square(i int64) int64 { return i * i }

// readers opens every split.
func readers(t testing.TB, s millrace.Source[int64], parallelism int) (rs []millrace.Reader[int64]) {
	t.Helper()
	splits, err := s.Splits(ctx, parallelism)
	if err != nil {
		t.Fatal(err)
	}
	for _, sp := range splits {
		r, err := s.Open(ctx, sp, nil)
		if err != nil {
			t.Fatal(err)
		}
		rs = append(rs, r)
	}
	return rs
}

func TestRecordsAreThoseOfTheirIndexesHoweverManySplits(t *testing.T) {
	for _, n := range []int64{0, 1, 5, 1000} {
		var want []int64
		for i := range n {
			want = append(want, square(i))
		}
		for _, p := range []int{1, 2, 7} {
			var got []int64
			for _, r := range readers(t, Of(n, square), p) {
				out := millrace.NewRows[int64](100)
				for err := error(nil); err == nil; {
					out.Reset()
					err = r.Read(ctx, out)
					got = append(got, out.Records()...)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%d records in %d splits: %v", n, p, got)
			}
		}
	}
}

func TestReadingResumesAtAPosition(t *testing.T) {
	s := Of(100, square, Options{Splits: 3})
	splits, _ := s.Splits(ctx, 1)
	if len(splits) != 3 {
		t.Fatalf("%d splits", len(splits))
	}
	var got []int64
	var at millrace.Position
	for {
		r, err := s.Open(ctx, splits[1], at)
		if err != nil {
			t.Fatal(err)
		}
		out := millrace.NewRows[int64](5)
		err = r.Read(ctx, out)
		got = append(got, out.Records()...)
		at = r.Position()
		if err == io.EOF {
			break
		}
	}
	if len(got) != 33 || got[32] != square(97) {
		t.Errorf("got %v", got)
	}
	for _, sp := range []millrace.Split{{}, {Data: []byte{3, 3}}, {Data: []byte{0}}} {
		if _, err := s.Open(ctx, sp, nil); err == nil {
			t.Errorf("split %v was opened", sp)
		}
	}
}

func TestFilledRecordsHaveTheirEventTimes(t *testing.T) {
	s := Fill(Unbounded, func(i int64, row *int64) int64 { *row = -i; return 1000 + i })
	if s.Bounded() {
		t.Error("a source without end is bounded")
	}
	out := millrace.NewRows[int64](4)
	if err := readers(t, s, 1)[0].Read(ctx, out); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(out.Records(), []int64{0, -1, -2, -3}) || !slices.Equal(out.Times(), []int64{1000, 1001, 1002, 1003}) {
		t.Error(out.Records(), out.Times())
	}
	out.Reset()
	readers(t, Of(9, square), 1)[0].Read(ctx, out)
	if out.Times()[0] != math.MinInt64 {
		t.Error("a record has an event time that nobody gave")
	}
}

func TestRecordsComeWhenTheyAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rs := readers(t, Of(Unbounded, square, Options{Rate: 1000}), 2)
		read := func() (n int, wait time.Duration) {
			for _, r := range rs {
				out := millrace.NewRows[int64](1000)
				if err := r.Read(ctx, out); err != nil {
					t.Fatal(err)
				}
				n += out.Len()
				wait = max(wait, out.WaitFor())
			}
			return n, wait
		}
		read() // the clock starts
		total, begin := 0, time.Now()
		for time.Since(begin) < 10*time.Second {
			n, wait := read()
			total += n
			if n == 0 && (wait <= 0 || wait > 3*time.Millisecond) {
				t.Fatalf("nothing is due and the wait is %v", wait)
			}
			time.Sleep(wait)
		}
		if total < 9990 || total > 10_010 {
			t.Errorf("%d records in 10 s at 1000/s", total)
		}
		time.Sleep(time.Second) // late: the records are due all the same
		if n, _ := read(); n < 990 || n > 1010 {
			t.Errorf("%d records after a second's pause", n)
		}
	})
}

func TestAGeneratorAllocatesNothing(t *testing.T) {
	r := readers(t, Of(Unbounded, square), 1)[0]
	out := millrace.NewRows[int64](256)
	if n := testing.AllocsPerRun(100, func() { out.Reset(); r.Read(ctx, out) }); n > 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

func BenchmarkFill(b *testing.B) {
	r := readers(b, Fill(Unbounded, func(i int64, row *int64) int64 { *row = i; return i }), 1)[0]
	out := millrace.NewRows[int64](256)
	for b.Loop() {
		out.Reset()
		r.Read(ctx, out)
	}
	b.ReportMetric(256*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
