package memory

import (
	"context"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/millrace/millrace"
)

var ctx = context.Background()

func TestEveryRecordComesOnceInOrderFromAnyPosition(t *testing.T) {
	want := make([]int, 103)
	for i := range want {
		want[i] = i
	}
	for _, n := range []int{-1, 1, 2, 7, 200} {
		s := Of(n, want...)
		splits, err := s.Splits(ctx, 3)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, sp := range splits {
			var at millrace.Position
			for done := false; !done; {
				r, err := s.Open(ctx, sp, at) // again after every read
				if err != nil {
					t.Fatal(err)
				}
				out := millrace.NewRows[int](10)
				err = r.Read(ctx, out)
				got = append(got, out.Records()...)
				at, done = r.Position(), err == io.EOF
				if err != nil && !done {
					t.Fatal(err)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d splits: %v", n, got)
		}
	}
	s := Of(1, 1)
	for _, sp := range []string{"1", "-1", "x"} {
		if _, err := s.Open(ctx, millrace.Split{ID: sp}, nil); err == nil {
			t.Errorf("split %s was opened", sp)
		}
	}
	if _, err := s.Open(ctx, millrace.Split{ID: "0"}, millrace.Position{2}); err == nil {
		t.Error("a position behind the end was taken")
	}
}

func TestSinksTakeRecordsFromManySubtasks(t *testing.T) {
	var c Collect[int]
	d := Discard[int]()
	var wg sync.WaitGroup
	for i := range 4 {
		cw, _ := c.OpenWriter(ctx, millrace.Subtask{Index: i, Of: 4})
		dw, _ := d.OpenWriter(ctx, millrace.Subtask{Index: i, Of: 4})
		wg.Go(func() {
			for k := range 100 {
				cw.Write(ctx, []int{k, k})
				dw.Write(ctx, make([]int, 1000))
			}
			cw.Flush(ctx)
			cw.Close()
			dw.Close()
		})
	}
	wg.Wait()
	if len(c.Records()) != 800 || d.Count() != 400_000 {
		t.Errorf("%d collected, %d counted", len(c.Records()), d.Count())
	}
}

func TestDiscardingAllocatesNothing(t *testing.T) {
	d := Discard[string]()
	w, _ := d.OpenWriter(ctx, millrace.Subtask{Of: 1})
	recs := make([]string, 256)
	if n := testing.AllocsPerRun(1000, func() { w.Write(ctx, recs) }); n > 0 {
		t.Errorf("%v allocations a batch", n)
	}
}
