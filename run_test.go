package millrace_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace/millrace"
)

// numbers is a bounded source of 0..n-1, dealt out over splits; record i has
// event time i milliseconds.
type numbers struct {
	n      int64
	splits int
	fail   int64 // Read fails at this number if > 0
	bad    int64 // this number cannot be read if > 0
	block  bool  // not an inline reader
}

func (numbers) Bounded() bool { return true }

func (s numbers) Splits(context.Context, int) (out []millrace.Split, err error) {
	for i := range max(s.splits, 1) {
		out = append(out, millrace.Split{ID: strconv.Itoa(i)})
	}
	return out, nil
}

func (s numbers) Open(_ context.Context, sp millrace.Split, _ millrace.Position) (millrace.Reader[int64], error) {
	first, err := strconv.ParseInt(sp.ID, 10, 64)
	r := &numberReader{numbers: s, next: first, step: int64(max(s.splits, 1))}
	if s.block {
		return r, err
	}
	return inlineReader{r}, err
}

type numberReader struct {
	numbers
	next, step int64
}

type inlineReader struct{ *numberReader }

func (inlineReader) ReadsInline() {}

func (r *numberReader) Read(_ context.Context, out *millrace.Rows[int64]) error {
	for out.Room() > 0 {
		if r.next >= r.n {
			return io.EOF
		}
		switch {
		case r.fail > 0 && r.next == r.fail:
			return errors.New("the disk is on fire")
		case r.bad > 0 && r.next == r.bad:
			out.Bad(millrace.BadRecord{Split: "split " + strconv.Itoa(int(r.next%r.step)), Position: fmt.Sprint("number ", r.next), Reason: "unlucky"})
		default:
			out.AppendAt(r.next, r.next)
		}
		r.next += r.step
	}
	return nil
}
func (r *numberReader) Position() millrace.Position { return nil }
func (r *numberReader) Close() error                { return nil }

// collect is a sink that keeps everything.
type collect[T any] struct {
	mu   sync.Mutex
	recs []T
}

func (c *collect[T]) OpenWriter(context.Context, millrace.Subtask) (millrace.Writer[T], error) {
	return c, nil
}
func (c *collect[T]) Write(_ context.Context, recs []T) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recs = append(c.recs, recs...)
	return nil
}
func (c *collect[T]) Flush(context.Context) error { return nil }
func (c *collect[T]) Close() error                { return nil }

// discard is a sink that forgets everything.
type discard[T any] struct{}

func (d discard[T]) OpenWriter(context.Context, millrace.Subtask) (millrace.Writer[T], error) {
	return d, nil
}
func (discard[T]) Write(context.Context, []T) error { return nil }
func (discard[T]) Flush(context.Context) error      { return nil }
func (discard[T]) Close() error                     { return nil }

// everyWay runs build in many shapes: parallelism, batch size, chaining, and
// orders of steps from seeds.
func everyWay(t *testing.T, check func(t *testing.T, opt millrace.RunOptions)) {
	for _, p := range []int{1, 2, 4, 7} {
		for _, batch := range []int{1, 3, 256} {
			for _, no := range []bool{false, true} {
				opt := millrace.RunOptions{Parallelism: p, BatchSize: batch, NoChaining: no}
				t.Run(fmt.Sprintf("p=%d/batch=%d/nochaining=%t", p, batch, no), func(t *testing.T) {
					check(t, opt)
					for seed := range uint64(3) {
						o := opt
						o.Seed = &seed
						check(t, o)
					}
				})
			}
		}
	}
}

func TestResultDoesNotDependOnHowTheJobIsRun(t *testing.T) {
	const n = 2000
	var want []string
	for i := int64(0); i < n; i++ {
		if i%3 != 0 {
			want = append(want, fmt.Sprint(i+1, "a"), fmt.Sprint(i+1, "b"))
		}
	}
	slices.Sort(want)
	everyWay(t, func(t *testing.T, opt millrace.RunOptions) {
		out := &collect[string]{}
		err := millrace.RunWith(t.Context(), "pipeline", opt, func(job *millrace.Job) {
			s := job.From("numbers", numbers{n: n, splits: 3}).
				Filter(func(i int64) bool { return i%3 != 0 }).
				Rebalance().
				Update(func(i *int64) { *i++ })
			s.Union(s.Shuffle().Filter(func(int64) bool { return false })).
				FlatMap(func(i int64, emit func(string)) {
					emit(fmt.Sprint(i, "a"))
					emit(fmt.Sprint(i, "b"))
				}).
				Rescale().
				MapTo(func(in, out *string) { *out = *in }).
				To("out", out)
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(out.recs)
		if !slices.Equal(out.recs, want) {
			t.Fatalf("%d records, want %d", len(out.recs), len(want))
		}
	})
}

func TestEveryKeyMeetsInOneSubtask(t *testing.T) {
	type seen struct {
		key, count int64
		subtask    string
	}
	everyWay(t, func(t *testing.T, opt millrace.RunOptions) {
		out := &collect[seen]{}
		err := millrace.RunWith(t.Context(), "keys", opt, func(job *millrace.Job) {
			job.From("numbers", numbers{n: 1500, splits: 2}).
				KeyBy(func(i int64) int64 { return i % 50 }).
				Process("count", func(op *millrace.Op[int64, int64, seen]) {
					count := op.Value[int64]("count")
					op.OnRecord(func(i int64) error {
						count.Set(count.Get() + 1)
						if i%50 != op.Key() {
							return fmt.Errorf("record %d under key %d", i, op.Key())
						}
						op.Emit(seen{key: op.Key(), count: count.Get()})
						return nil
					})
				}).
				To("out", out)
		})
		if err != nil {
			t.Fatal(err)
		}
		last := map[int64]int64{}
		for _, s := range out.recs {
			last[s.key] = max(last[s.key], s.count)
		}
		if len(last) != 50 || len(out.recs) != 1500 {
			t.Fatalf("%d keys, %d results", len(last), len(out.recs))
		}
		for k, n := range last {
			if n != 30 {
				t.Errorf("key %d counted to %d, want 30", k, n)
			}
		}
	})
}

func TestTimersFireAtTheirTimeInOrder(t *testing.T) {
	everyWay(t, func(t *testing.T, opt millrace.RunOptions) {
		out := &collect[string]{}
		err := millrace.RunWith(t.Context(), "timers", opt, func(job *millrace.Job) {
			job.From("numbers", numbers{n: 100, splits: 2}).
				KeyBy(func(i int64) int64 { return i % 2 }).
				Process("timers", func(op *millrace.Op[int64, int64, string]) {
					op.OnRecord(func(i int64) error {
						op.SetTimer(time.UnixMilli(i/10*10 + 9)) // many records, one timer
						return nil
					})
					op.OnTimer(func(at time.Time) error {
						op.Emit(fmt.Sprintf("%d@%02d", op.Key(), at.UnixMilli()))
						return nil
					})
				}).
				To("out", out)
		})
		if err != nil {
			t.Fatal(err)
		}
		for key := range 2 {
			var got []string
			for _, s := range out.recs {
				if strings.HasPrefix(s, fmt.Sprint(key, "@")) {
					got = append(got, s)
				}
			}
			if len(got) != 10 || !slices.IsSorted(got) {
				t.Fatalf("key %d fired %v", key, got)
			}
		}
	})
}

func TestSeedReplaysExactly(t *testing.T) {
	for seed := range uint64(20) {
		var runs [2][]int64
		for i := range runs {
			out := &collect[int64]{}
			err := millrace.RunWith(t.Context(), "replay", millrace.RunOptions{Parallelism: 3, BatchSize: 7, Seed: &seed}, func(job *millrace.Job) {
				job.From("numbers", numbers{n: 500, splits: 5}).Shuffle().Map(func(i int64) int64 { return i }).
					KeyBy(func(i int64) int64 { return i % 11 }).
					Process("pass", func(op *millrace.Op[int64, int64, int64]) {
						op.OnRecord(func(i int64) error { op.Emit(i); return nil })
					}).To("out", out)
			})
			if err != nil {
				t.Fatal(err)
			}
			runs[i] = out.recs
		}
		if !slices.Equal(runs[0], runs[1]) {
			t.Fatalf("seed %d gave two orders", seed)
		}
	}
}

func TestErrorNamesOperatorAndRecord(t *testing.T) {
	boom := errors.New("no such user")
	for _, tt := range []struct {
		name  string
		build func(*millrace.Job)
		want  []string
	}{
		{"a map that fails", func(job *millrace.Job) {
			job.From("numbers", numbers{n: 1000}).TryMap(func(i int64) (int64, error) {
				if i == 700 {
					return 0, boom
				}
				return i, nil
			}).Named("lookup").To("out", discard[int64]{})
		}, []string{"operator lookup", "record 701", "no such user", "1970-01-01T00:00:00.7Z"}},
		{"a map that panics", func(job *millrace.Job) {
			job.From("numbers", numbers{n: 1000}).Map(func(i int64) int64 { return 10 / (i - 300) }).Named("divide").To("out", discard[int64]{})
		}, []string{"operator divide (run_test.go:", "record 301", "divide by zero", "run_test.go"}},
		{"a handler that panics", func(job *millrace.Job) {
			job.From("numbers", numbers{n: 1000}).KeyBy(func(i int64) int64 { return 0 }).
				Process("handle", func(op *millrace.Op[int64, int64, int64]) {
					op.OnRecord(func(i int64) error {
						if i == 42 {
							panic("not this one")
						}
						return nil
					})
				}).To("out", discard[int64]{})
		}, []string{"operator handle", "record 43", "not this one"}},
		{"a timer that fails", func(job *millrace.Job) {
			job.From("numbers", numbers{n: 10}).KeyBy(func(i int64) int64 { return 7 }).
				Process("alarm", func(op *millrace.Op[int64, int64, int64]) {
					op.OnRecord(func(i int64) error { op.SetTimer(time.UnixMilli(5000)); return nil })
					op.OnTimer(func(time.Time) error { return boom })
				}).To("out", discard[int64]{})
		}, []string{"operator alarm", "timer at 1970-01-01T00:00:05Z of key 7", "no such user"}},
		{"a source that fails", func(job *millrace.Job) {
			job.From("numbers", numbers{n: 1000, fail: 500}).To("out", discard[int64]{})
		}, []string{"numbers", "split 0", "the disk is on fire"}},
		{"a bad record nobody wants", func(job *millrace.Job) {
			job.From("numbers", numbers{n: 1000, bad: 500}).To("out", discard[int64]{})
		}, []string{"split 0: number 500: unlucky"}},
		{"a partitioner out of range", func(job *millrace.Job) {
			job.From("numbers", numbers{n: 1000}).PartitionCustom(func(int64, int) int { return 99 }).Map(func(i int64) int64 { return i }).To("out", discard[int64]{})
		}, []string{"subtask 99 of"}},
		{"a key that is NaN", func(job *millrace.Job) {
			job.From("numbers", numbers{n: 10}).KeyBy(func(i int64) float64 { z := 0.0; return z / z }).
				Process("p", func(op *millrace.Op[float64, int64, int64]) { op.OnRecord(func(int64) error { return nil }) }).To("out", discard[int64]{})
		}, []string{"NaN"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, opt := range []millrace.RunOptions{{Parallelism: 1}, {Parallelism: 1, Seed: new(uint64)}} {
				err := millrace.RunWith(t.Context(), "failing", opt, tt.build)
				if err == nil {
					t.Fatal("no error")
				}
				for _, w := range tt.want {
					if !strings.Contains(err.Error(), w) {
						t.Errorf("error %q does not say %q", err, w)
					}
				}
			}
		})
	}
}

func TestOneJobFailsAndAnotherInTheProcessLives(t *testing.T) {
	var wg sync.WaitGroup
	var bad, good error
	out := &collect[int64]{}
	wg.Go(func() {
		bad = millrace.Run(t.Context(), "bad", func(job *millrace.Job) {
			job.From("numbers", numbers{n: 1000}).Map(func(i int64) int64 { panic("no") }).To("out", discard[int64]{})
		})
	})
	wg.Go(func() {
		good = millrace.Run(t.Context(), "good", func(job *millrace.Job) {
			job.From("numbers", numbers{n: 100000}).Rebalance().Map(func(i int64) int64 { return i }).To("out", out)
		})
	})
	wg.Wait()
	if bad == nil || good != nil || len(out.recs) != 100000 {
		t.Fatalf("bad: %v, good: %v, %d records", bad, good, len(out.recs))
	}
}

func TestBadRecordsGoWhereTheyAreAskedFor(t *testing.T) {
	everyWay(t, func(t *testing.T, opt millrace.RunOptions) {
		good, bad := &collect[int64]{}, &collect[millrace.BadRecord]{}
		err := millrace.RunWith(t.Context(), "bad", opt, func(job *millrace.Job) {
			s := job.From("numbers", numbers{n: 100, bad: 50})
			s.To("good", good)
			s.BadRecords().To("bad", bad)
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(good.recs) != 99 || len(bad.recs) != 1 || bad.recs[0].Reason != "unlucky" {
			t.Fatalf("%d good, bad %+v", len(good.recs), bad.recs)
		}
	})
}

func TestDeadLettersKeepTheRecordAndTheReason(t *testing.T) {
	good, dead := &collect[int64]{}, &collect[millrace.DeadLetter[int64]]{}
	err := millrace.Run(t.Context(), "dead", func(job *millrace.Job) {
		ok, bad := job.From("numbers", numbers{n: 100}).MapOrDead(func(i int64) (int64, error) {
			if i%10 == 0 {
				return 0, errors.New("round")
			}
			return i, nil
		}, millrace.DeadLetterOf)
		ok.To("good", good)
		bad.To("dead", dead)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(good.recs) != 90 || len(dead.recs) != 10 || dead.recs[0].Reason != "round" {
		t.Fatalf("%d good, dead %+v", len(good.recs), dead.recs)
	}
}

func TestMistakesInBuildingNameFileAndLine(t *testing.T) {
	for _, tt := range []struct {
		name  string
		build func(*millrace.Job)
		want  []string
	}{
		{"an id used twice", func(job *millrace.Job) {
			job.From("numbers", numbers{}).To("numbers", discard[int64]{})
		}, []string{`operator id "numbers" is taken`, "run_test.go:"}},
		{"a malformed id", func(job *millrace.Job) {
			job.From("My Source", numbers{}).To("out", discard[int64]{})
		}, []string{`operator id "My Source"`, "lower-case"}},
		{"a pointer key", func(job *millrace.Job) {
			job.From("numbers", numbers{}).KeyBy(func(i int64) *int64 { return &i }).
				Process("p", func(op *millrace.Op[*int64, int64, int64]) {}).To("out", discard[int64]{})
		}, []string{"KeyBy", "*int64", "run_test.go:"}},
		{"parallelism zero", func(job *millrace.Job) {
			job.From("numbers", numbers{}).Parallelism(0).To("out", discard[int64]{})
		}, []string{"parallelism 0"}},
		{"a negative delay", func(job *millrace.Job) {
			job.From("numbers", numbers{}).EventTime(func(int64) time.Time { return time.Time{} }, -1).To("out", discard[int64]{})
		}, []string{"MaxDelay -1ns is negative"}},
		{"bad records of a map", func(job *millrace.Job) {
			job.From("numbers", numbers{}).Map(func(i int64) int64 { return i }).BadRecords().To("out", discard[millrace.BadRecord]{})
		}, []string{"BadRecords"}},
		{"nothing at all", func(job *millrace.Job) {}, []string{"job.From"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := millrace.Run(t.Context(), "wrong", tt.build)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
		})
	}
}

func TestCancelledJobLeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for _, block := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		started := make(chan struct{})
		var once sync.Once
		go func() { <-started; cancel() }()
		err := millrace.Run(ctx, "endless", func(job *millrace.Job) {
			job.From("numbers", numbers{n: 1 << 60, splits: 4, block: block}).Rebalance().Map(func(i int64) int64 {
				once.Do(func() { close(started) })
				return i
			}).To("out", discard[int64]{})
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want it cancelled", err)
		}
	}
	goleak.VerifyNone(t, before)
}

func TestReadersThatWaitAreReadAhead(t *testing.T) {
	out := &collect[int64]{}
	err := millrace.Run(t.Context(), "ahead", func(job *millrace.Job) {
		job.From("numbers", numbers{n: 10000, splits: 3, block: true}).Map(func(i int64) int64 { return i }).To("out", out)
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out.recs)
	for i, v := range out.recs {
		if int64(i) != v {
			t.Fatalf("record %d is %d", i, v)
		}
	}
	if len(out.recs) != 10000 {
		t.Fatalf("%d records", len(out.recs))
	}
}

func TestRecordPathDoesNotAllocate(t *testing.T) {
	type wide struct {
		a, b, c, d, e int64
		s, t          string
	}
	mallocs := func(n int64) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := millrace.RunWith(t.Context(), "allocations", millrace.RunOptions{Parallelism: 2}, func(job *millrace.Job) {
			job.From("numbers", numbers{n: n, splits: 2}).
				MapTo(func(in *int64, out *wide) { *out = wide{a: *in, s: "x"} }).
				FilterRef(func(w *wide) bool { return w.a%10 != 0 }).
				Rebalance().
				Map(func(w wide) wide { w.b = w.a; return w }).
				KeyByRef(func(w *wide) int64 { return w.a % 1000 }).
				Process("count", func(op *millrace.Op[int64, wide, int64]) {
					count := op.Value[int64]("count")
					op.OnRecordRef(func(w *wide) error {
						c := count.Ref()
						*c++
						op.Emit(*c)
						return nil
					})
				}).To("out", discard[int64]{})
		})
		if err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return after.Mallocs - before.Mallocs
	}
	mallocs(1000)
	few, many := mallocs(100_000), mallocs(600_000)
	if extra := int64(many) - int64(few); extra > 2000 {
		t.Errorf("500,000 more records made %d more allocations", extra)
	}
}

// Split i goes to subtask i first. A subtask that began early used to take its
// neighbour's split when its own was short, and everything in it was late.
func TestSplitsMeantForSubtasksSideBySideAreNeverLate(t *testing.T) {
	for seed := range uint64(200) {
		err := millrace.RunWith(t.Context(), "side-by-side", millrace.RunOptions{Parallelism: 3, BatchSize: 16, Seed: &seed}, func(job *millrace.Job) {
			job.From("numbers", numbers{n: 60, splits: 3}).KeyBy(func(i int64) int64 { return i % 5 }).
				Process("late", func(op *millrace.Op[int64, int64, int64]) {
					op.OnRecord(func(i int64) error {
						if w := op.Watermark().UnixMilli(); i <= w {
							return fmt.Errorf("record %d came after watermark %d", i, w)
						}
						return nil
					})
				}).To("out", discard[int64]{})
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func TestGlobalRunsWhateverFollows(t *testing.T) {
	for _, p := range []int{1, 2, 4} {
		for _, build := range []func(s millrace.Stream[int64], out millrace.Sink[int64]){
			func(s millrace.Stream[int64], out millrace.Sink[int64]) { s.Global().To("out", out) },
			func(s millrace.Stream[int64], out millrace.Sink[int64]) { s.Global().To("out", out).Parallelism(3) },
			func(s millrace.Stream[int64], out millrace.Sink[int64]) {
				s.Global().Map(func(i int64) int64 { return i }).Parallelism(2).KeyBy(func(i int64) int64 { return i }).
					Connect(s.Global().KeyBy(func(i int64) int64 { return i })).
					Process("both", func(op *millrace.Op2[int64, int64, int64, int64]) {
						op.OnLeft(func(i int64) error { op.Emit(i); return nil })
						op.OnRight(func(i int64) error { return nil })
					}).To("out", out)
			},
		} {
			out := &collect[int64]{}
			err := millrace.RunWith(t.Context(), "global", millrace.RunOptions{Parallelism: p}, func(job *millrace.Job) {
				build(job.From("numbers", numbers{n: 100, splits: 2}), out)
			})
			if err != nil || len(out.recs) != 100 {
				t.Fatalf("p=%d: %v, %d records", p, err, len(out.recs))
			}
		}
	}
}

// single is a sink that can have one writer.
type single struct{ *collect[int64] }

func (single) SingleWriter() bool { return true }
func (s single) OpenWriter(ctx context.Context, sub millrace.Subtask) (millrace.Writer[int64], error) {
	if sub.Of != 1 {
		return nil, fmt.Errorf("%d writers", sub.Of)
	}
	return s.collect, nil
}

func TestSinkThatCanHaveOneWriterGetsOne(t *testing.T) {
	out := single{&collect[int64]{}}
	err := millrace.RunWith(t.Context(), "single", millrace.RunOptions{Parallelism: 3}, func(job *millrace.Job) {
		job.From("numbers", numbers{n: 100, splits: 3}).Map(func(i int64) int64 { return i }).To("out", out)
	})
	if err != nil || len(out.recs) != 100 {
		t.Fatalf("%v, %d records", err, len(out.recs))
	}
}

func TestBadRecordNamesItsSourceOnce(t *testing.T) {
	bad := &collect[millrace.BadRecord]{}
	err := millrace.Run(t.Context(), "bad", func(job *millrace.Job) {
		s := job.From("numbers", numbers{n: 100, bad: 50})
		s.To("good", discard[int64]{})
		s.BadRecords().To("bad", bad)
	})
	if err != nil || len(bad.recs) != 1 || bad.recs[0].Source != "numbers" {
		t.Errorf("%v, %+v", err, bad.recs)
	}
	err = millrace.Run(t.Context(), "bad", func(job *millrace.Job) {
		job.From("numbers", numbers{n: 100, bad: 50}).To("good", discard[int64]{})
	})
	if want := "job bad: operator numbers: split 0: number 50: unlucky"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Deduplicate passes its input's batch on. Swapped into another exchange whole,
// it came home without keys and ended the job.
func TestBatchOfAKeyedExchangeMayBePassedOnToAnother(t *testing.T) {
	for _, p := range []int{1, 2} {
		out := &collect[int64]{}
		err := millrace.RunWith(t.Context(), "dedup", millrace.RunOptions{Parallelism: p}, func(job *millrace.Job) {
			job.From("numbers", numbers{n: 20000, splits: 3}).KeyBy(func(i int64) int64 { return i }).
				Deduplicate("dedup", millrace.DedupOptions{}).Rebalance().Map(func(i int64) int64 { return i }).To("out", out)
		})
		if err != nil || len(out.recs) != 20000 {
			t.Fatalf("p=%d: %v, %d records", p, err, len(out.recs))
		}
	}
}

func TestEventTimeIsAskedOfLiveRecordsOnly(t *testing.T) {
	err := millrace.Run(t.Context(), "live", func(job *millrace.Job) {
		job.From("numbers", numbers{n: 100}).Filter(func(i int64) bool { return i%2 == 1 }).
			EventTimeMillis(func(i *int64) int64 {
				if *i%2 == 0 {
					panic("asked of a record that is filtered out")
				}
				return *i
			}, 0).To("out", discard[int64]{})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Windows at the ends of the number range used to go round for ever.
func TestEventTimeOutOfBoundsEndsTheJob(t *testing.T) {
	for _, at := range []int64{1<<63 - 1, 1<<63 - 2, -1<<63 + 1, 1 << 60} {
		for _, filtered := range []bool{false, true} {
			err := millrace.Run(t.Context(), "far", func(job *millrace.Job) {
				s := job.From("numbers", numbers{n: 10})
				if filtered {
					s = s.Filter(func(i int64) bool { return i == 7 })
				}
				s.EventTimeMillis(func(*int64) int64 { return at }, 0).KeyBy(func(i int64) int64 { return i }).
					Window(millrace.Tumbling(time.Second)).Count("count").To("out", discard[millrace.Result[int64, int64]]{})
			})
			if err == nil || !strings.Contains(err.Error(), "milliseconds") {
				t.Errorf("time %d: got %v", at, err)
			}
		}
	}
}

func TestPanicAfterAFlushIsStillTheUsers(t *testing.T) {
	err := millrace.RunWith(t.Context(), "flush", millrace.RunOptions{Parallelism: 1}, func(job *millrace.Job) {
		job.From("numbers", numbers{n: 10}).FlatMap(func(i int64, emit func(int64)) {
			for range 1000 {
				emit(i)
			}
			panic("after many")
		}).Map(func(i int64) int64 { return i }).To("out", discard[int64]{})
	})
	if err == nil || !strings.Contains(err.Error(), "operator FlatMap") || !strings.Contains(err.Error(), "record 1 ") {
		t.Errorf("got %v", err)
	}
}

func TestCancellationIsHeededInsideAFiring(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := millrace.RunWith(ctx, "endless", millrace.RunOptions{Parallelism: 1}, func(job *millrace.Job) {
		job.From("numbers", numbers{n: 1}).KeyBy(func(i int64) int64 { return i }).
			Process("endless", func(op *millrace.Op[int64, int64, int64]) {
				n := 0
				op.OnRecord(func(int64) error { op.SetTimerMillis(1); return nil })
				op.OnTimerMillis(func(at int64) error {
					if n++; n == 1000 {
						cancel()
					}
					op.SetTimerMillis(at + 1)
					return nil
				})
			}).To("out", discard[int64]{})
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestWideJobsStartAtOnce(t *testing.T) {
	out := &collect[int64]{}
	err := millrace.RunWith(t.Context(), "wide", millrace.RunOptions{Parallelism: 300}, func(job *millrace.Job) {
		job.From("numbers", numbers{n: 1000}).Rebalance().Map(func(i int64) int64 { return i }).
			Rescale().Map(func(i int64) int64 { return i }).Parallelism(7).
			Rescale().Map(func(i int64) int64 { return i }).Parallelism(20).To("out", out)
	})
	if err != nil || len(out.recs) != 1000 {
		t.Fatalf("%v, %d records", err, len(out.recs))
	}
}
