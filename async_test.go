package millrace_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace"
)

func TestAsyncGivesEachRecordOneResultHoweverTheJobIsRun(t *testing.T) {
	for _, unordered := range []bool{false, true} {
		everyWay(t, func(t *testing.T, opt millrace.RunOptions) {
			out, batched := &collect[int64]{}, &collect[int64]{}
			dead := &collect[millrace.DeadLetter[int64]]{}
			o := millrace.AsyncOptions{InFlight: 5, Unordered: unordered, Attempts: 2, BatchWait: time.Millisecond, BatchSize: 4}
			var mu sync.Mutex
			tries := map[int64]int{}
			err := millrace.RunWith(t.Context(), "ask", opt, func(job *millrace.Job) {
				s := job.From("numbers", numbers{n: 100, splits: 2})
				ok, bad := s.AsyncOrDead("ask", o, func(_ context.Context, i int64) (int64, error) {
					mu.Lock()
					defer mu.Unlock()
					tries[i]++
					switch {
					case i%10 == 3:
						return 0, errors.New("no such number")
					case i%10 == 4 && tries[i] == 1:
						return 0, errors.New("busy")
					}
					return i * 2, nil
				}, millrace.DeadLetterOf)
				ok.To("out", out)
				bad.To("dead", dead)
				s.AsyncBatch("ask-many", o, func(_ context.Context, in []int64) ([]int64, error) {
					return slices.Clone(in), nil
				}).To("batched", batched)
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(out.recs)
			slices.Sort(batched.recs)
			if len(out.recs) != 90 || len(slices.Compact(out.recs)) != 90 || len(dead.recs) != 10 || dead.recs[0].Reason != "no such number" {
				t.Errorf("%d results, %d dead letters", len(out.recs), len(dead.recs))
			}
			if len(batched.recs) != 100 || len(slices.Compact(batched.recs)) != 100 {
				t.Errorf("%d results of batches", len(batched.recs))
			}
		})
	}
}

// Event time waits for answers: a timer behind a service never fires before the
// results of the records before it have come.
func TestWatermarksWaitForAnswers(t *testing.T) {
	for _, unordered := range []bool{false, true} {
		for seed := range uint64(60) {
			out := &collect[string]{}
			err := millrace.RunWith(t.Context(), "fences", millrace.RunOptions{Parallelism: 1 + int(seed%3), BatchSize: 3, Seed: &seed}, func(job *millrace.Job) {
				job.From("numbers", numbers{n: 60}).Rebalance().
					Async("ask", millrace.AsyncOptions{InFlight: 4, Unordered: unordered}, func(_ context.Context, i int64) (int64, error) { return i, nil }).
					KeyBy(func(i int64) int64 { return i % 2 }).
					Process("late", func(op *millrace.Op[int64, int64, string]) {
						op.OnRecord(func(i int64) error {
							if op.TimeMillis() <= op.Watermark().UnixMilli() {
								return fmt.Errorf("record %d at watermark %v", i, op.Watermark())
							}
							op.SetTimer(op.Time())
							return nil
						})
						op.OnTimer(func(at time.Time) error {
							op.Emit(fmt.Sprint(at.UnixMilli()))
							return nil
						})
					}).To("out", out)
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(out.recs) != 60 {
				t.Fatalf("seed %d: %d timers fired, want 60", seed, len(out.recs))
			}
		}
	}
}

// While a service hangs, input stays where it is: the source does not run ahead.
func TestSlowServiceHoldsTheSourceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var read, open atomic.Int64
		done := make(chan error)
		go func() {
			done <- millrace.RunWith(ctx, "hang", millrace.RunOptions{Parallelism: 1, BatchSize: 16}, func(job *millrace.Job) {
				job.From("numbers", numbers{n: 1 << 40}).
					Map(func(i int64) int64 { read.Add(1); return i }).
					Async("ask", millrace.AsyncOptions{InFlight: 7, Timeout: time.Hour}, func(ctx context.Context, i int64) (int64, error) {
						open.Add(1)
						<-ctx.Done()
						return 0, ctx.Err()
					}).To("out", discard[int64]{})
			})
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		was := read.Load()
		time.Sleep(time.Minute)
		synctest.Wait()
		if open.Load() != 7 || read.Load() != was || was > 16*100 {
			t.Errorf("%d calls open, want 7; %d records read, then %d", open.Load(), was, read.Load())
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// A failing call ends the job with its record's position and leaves nothing
// behind.
func TestFailedCallEndsTheJob(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, c := range []struct {
		name string
		f    func(context.Context, int64) (int64, error)
		want string
	}{
		{"error", func(ctx context.Context, i int64) (int64, error) {
			if i == 17 {
				return 0, errors.New("boom")
			}
			if i > 17 {
				<-ctx.Done()
			}
			return i, ctx.Err()
		}, "operator ask: record 18 (event time 1970-01-01T00:00:00.017Z): boom"},
		{"panic", func(ctx context.Context, i int64) (int64, error) {
			if i == 17 {
				panic("oh no")
			}
			return i, nil
		}, "operator ask: record 18 (event time 1970-01-01T00:00:00.017Z): panic: oh no"},
	} {
		for seed := range uint64(3) {
			opt := millrace.RunOptions{Parallelism: 1}
			if seed > 0 && c.name == "panic" {
				opt.Seed = &seed
			}
			err := millrace.RunWith(t.Context(), c.name, opt, func(job *millrace.Job) {
				job.From("numbers", numbers{n: 1000}).Async("ask", millrace.AsyncOptions{}, c.f).To("out", discard[int64]{})
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want %s", c.name, err, c.want)
			}
		}
	}
	for range 1000 { // exited goroutines are counted for a moment
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

func TestAsyncMistakesNameFileAndLine(t *testing.T) {
	err := millrace.Run(t.Context(), "bad", func(job *millrace.Job) {
		s := job.From("numbers", numbers{n: 1})
		f := func(_ context.Context, in []int64) ([]int64, error) { return in, nil }
		s.AsyncBatch("negative", millrace.AsyncOptions{InFlight: -1, Attempts: -1, Backoff: -1, Multiplier: 0.5}, f).To("a", discard[int64]{})
		s.AsyncBatch("large", millrace.AsyncOptions{InFlight: 5, BatchSize: 6}, f).To("b", discard[int64]{})
		s.Map(func(int64) chan int { return nil }).
			Async("chan", millrace.AsyncOptions{}, func(context.Context, chan int) (int64, error) { return 0, nil }).To("c", discard[int64]{})
	})
	wantMistakes(t, err, "async_test.go", "async negative: ", "InFlight is negative", "Attempts is negative", "Multiplier is less than 1",
		"async large: BatchSize 6 is more than InFlight 5", "async chan: records in flight are part of checkpoints")
}

// wantMistakes fails unless err is of this file and says all of parts.
func wantMistakes(t *testing.T, err error, file string, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("the job was run")
	}
	for _, p := range append(parts, file+":") {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q is not in:\n%v", p, err)
		}
	}
}
