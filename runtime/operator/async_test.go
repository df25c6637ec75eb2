package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/runtime/clock"
	"github.com/millrace/millrace/runtime/record"
)

// asyncRig drives an Async as its task would, in real goroutines but on the
// test's clock (see testing/synctest).
type asyncRig struct {
	t      *testing.T
	op     *Async[int, int, string]
	env    *Env
	cancel context.CancelFunc
	posted chan struct{}
	jobs   sync.WaitGroup
	out    trace
	dead   trace
	err    error
	ended  bool
}

// trace is what an output has sent, with the watermarks that the operators
// behind it may believe in between.
type trace struct {
	all []string
	wm  func() int64
}

func (t *trace) note(s string, at int64) { t.all = append(t.all, s) }

type intReceiver struct{ *trace }

func (r intReceiver) Receive(b *record.Batch[int]) error {
	for _, i := range b.Live() {
		r.note(fmt.Sprintf("%d@%d", b.Rows[i], b.Times[i]), b.Times[i])
	}
	return nil
}

type stringReceiver struct{ *trace }

func (r stringReceiver) Receive(b *record.Batch[string]) error {
	for _, i := range b.Live() {
		r.note(b.Rows[i], b.Times[i])
	}
	return nil
}

// spec is an AsyncSpec with what the API would fill in.
func spec(call func(context.Context, int) (int, error)) AsyncSpec[int, int, string] {
	return AsyncSpec[int, int, string]{InFlight: 4, Timeout: 10 * time.Second, Attempts: 1, Multiplier: 1, MaxBackoff: time.Hour, Group: 1,
		Retry: func(error) bool { return true },
		Call: func(ctx context.Context, in []int) ([]int, error) {
			v, err := call(ctx, in[0])
			return []int{v}, err
		}}
}

func newAsyncRig(t *testing.T, s AsyncSpec[int, int, string]) *asyncRig {
	r := &asyncRig{t: t, op: &Async[int, int, string]{Spec: s}, posted: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.env = &Env{Ctx: ctx, Name: "ask", BatchSize: 16, MaxParallelism: 1, Parallelism: 1, Clock: clock.System{}, Cursor: &Cursor{},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Yield: func() bool { return false },
		Blocking: true, Go: func(f func()) { r.jobs.Go(f) },
		Post: func() {
			select {
			case r.posted <- struct{}{}:
			default:
			}
		}}
	r.op.Connect(0, intReceiver{&r.out})
	r.op.Connect(1, stringReceiver{&r.dead})
	if err := r.op.Open(r.env); err != nil {
		t.Fatal(err)
	}
	return r
}

// settle does what the operator asks for until only time can move it.
func (r *asyncRig) settle() {
	for {
		synctest.Wait()
		if at, ok := r.op.Due(); ok && at <= r.env.NowMillis() {
			_, err := r.op.OnTime(r.env.NowMillis())
			r.note(err)
			continue
		}
		select {
		case <-r.posted:
			before := r.op.EventTime()
			r.note(r.op.OnPost())
			if wm := r.op.EventTime(); wm > before {
				r.out.all = append(r.out.all, fmt.Sprint("wm", wm))
			}
			continue
		default:
			return
		}
	}
}

func (r *asyncRig) note(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *asyncRig) give(in ...int) {
	b := record.New[int](len(in))
	for _, v := range in {
		b.Append(v, int64(v))
	}
	r.note(r.op.Receive(b))
	r.settle()
}

func (r *asyncRig) advance(wm int64) {
	before := r.op.EventTime()
	_, _, err := r.op.Advance(wm)
	r.note(err)
	if now := r.op.EventTime(); now > before {
		r.out.all = append(r.out.all, fmt.Sprint("wm", now))
	}
	r.settle()
}

// pass lets time pass, millisecond by millisecond.
func (r *asyncRig) pass(d time.Duration) {
	for ; d > 0; d -= time.Millisecond {
		time.Sleep(time.Millisecond) // the bubble's clock
		r.settle()
	}
}

// end closes the operator as the end of the job does, and fails if it leaves a
// goroutine.
func (r *asyncRig) end() {
	if err := r.op.Close(); err != nil {
		r.t.Error(err)
	}
	r.cancel()
	r.jobs.Wait()
}

func (r *asyncRig) want(what string, want ...string) {
	r.t.Helper()
	if !slices.Equal(r.out.all, want) {
		r.t.Errorf("%s: got %v, want %v", what, r.out.all, want)
	}
}

// slow answers v after v milliseconds.
func slow(ctx context.Context, v int) (int, error) {
	select {
	case <-time.After(time.Duration(v) * time.Millisecond):
		return v, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func TestAsyncKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAsyncRig(t, spec(slow))
		r.give(30, 10, 20)
		r.advance(5)
		r.pass(25 * time.Millisecond)
		r.want("before the first answer")
		r.pass(5 * time.Millisecond)
		r.want("after it", "30@30", "10@10", "20@20", "wm5")
		r.end()
	})
}

func TestAsyncUnorderedStaysBehindNoWatermark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := spec(slow)
		s.Unordered = true
		r := newAsyncRig(t, s)
		r.give(30, 10)
		r.advance(5)
		r.give(1, 2) // answered at once, but a watermark is before them
		r.pass(20 * time.Millisecond)
		r.want("one of two answered", "10@10")
		r.advance(6)
		r.pass(10 * time.Millisecond)
		r.want("all answered", "10@10", "30@30", "wm5", "1@1", "2@2", "wm6")
		r.end()
	})
}

// At most InFlight records are asked for or wait for their turn; the rest stays
// in the queue.
func TestAsyncRespectsInFlight(t *testing.T) {
	for _, unordered := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var open, most atomic.Int64
			s := spec(func(ctx context.Context, v int) (int, error) {
				n := open.Add(1)
				defer open.Add(-1)
				most.Store(max(most.Load(), n))
				return slow(ctx, v)
			})
			s.Unordered, s.InFlight = unordered, 3
			r := newAsyncRig(t, s)
			if !r.op.Wants(0) {
				t.Error("an idle operator takes no input")
			}
			r.give(9, 1, 1, 1, 1, 5, 1, 1)
			if r.op.Wants(0) {
				t.Error("it takes input though it is full")
			}
			if n := open.Load(); n != 3 {
				t.Errorf("%d calls open, want 3", n)
			}
			r.pass(50 * time.Millisecond)
			if most.Load() != 3 {
				t.Errorf("%d calls were open at once, want 3", most.Load())
			}
			if len(r.out.all) != 8 || !r.op.Wants(0) {
				t.Errorf("%v sent, wants more: %v", r.out.all, r.op.Wants(0))
			}
			r.give(4, 4, 4)
			if r.op.Wants(0) {
				t.Error("it takes input though it is exactly full")
			}
			r.pass(4 * time.Millisecond)
			r.end()
			if r.err != nil {
				t.Error(r.err)
			}
		})
	}
}

func TestAsyncTriesAgain(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name                string
		attempts            int
		backoff, most       time.Duration
		multiplier          float64
		timeout             time.Duration
		retry               func(error) bool
		wantCalls           int
		wantAfter           time.Duration
		wantErr             string
		succeedsAt, panicAt int
	}{
		{name: "fixed pause", attempts: 3, backoff: 10 * time.Millisecond, multiplier: 1, most: time.Hour, timeout: time.Minute, wantCalls: 3, wantAfter: 20 * time.Millisecond, wantErr: "boom"},
		{name: "growing pause", attempts: 5, backoff: 10 * time.Millisecond, multiplier: 2, most: 30 * time.Millisecond, timeout: time.Minute, wantCalls: 5, wantAfter: 90 * time.Millisecond, wantErr: "boom"},
		{name: "until it works", attempts: 5, backoff: 5 * time.Millisecond, multiplier: 1, most: time.Hour, timeout: time.Minute, succeedsAt: 2, wantCalls: 2, wantAfter: 5 * time.Millisecond},
		{name: "not worth it", attempts: 5, backoff: 5 * time.Millisecond, multiplier: 1, most: time.Hour, timeout: time.Minute, retry: func(err error) bool { return err != boom }, wantCalls: 1, wantErr: "boom"},
		{name: "out of time", attempts: 100, backoff: 10 * time.Millisecond, multiplier: 1, most: time.Hour, timeout: 35 * time.Millisecond, wantCalls: 4, wantAfter: 35 * time.Millisecond, wantErr: "no answer within 35ms: boom"},
		{name: "huge multiplier", attempts: 4, backoff: time.Millisecond, multiplier: 1e300, most: 3 * time.Millisecond, timeout: time.Minute, wantCalls: 4, wantAfter: 7 * time.Millisecond, wantErr: "boom"},
		{name: "panic", attempts: 4, panicAt: 1, multiplier: 1, most: time.Hour, timeout: time.Minute, wantCalls: 1, wantErr: "panic: oh no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				s := spec(func(context.Context, int) (int, error) {
					switch calls++; calls {
					case c.panicAt:
						panic("oh no")
					case c.succeedsAt:
						return 1, nil
					}
					return 0, boom
				})
				s.Attempts, s.Backoff, s.MaxBackoff, s.Multiplier, s.Timeout = c.attempts, c.backoff, c.most, c.multiplier, c.timeout
				if c.retry != nil {
					s.Retry = c.retry
				}
				s.Dead = func(in int, err error) string { return err.Error() }
				r := newAsyncRig(t, s)
				start := time.Now()
				r.give(1)
				for len(r.out.all)+len(r.dead.all) == 0 && time.Since(start) < time.Minute {
					r.pass(time.Millisecond)
				}
				if calls != c.wantCalls || time.Since(start) != c.wantAfter {
					t.Errorf("%d calls in %v, want %d in %v", calls, time.Since(start), c.wantCalls, c.wantAfter)
				}
				got := strings.Join(r.dead.all, "")
				if c.wantErr == "" && got != "" || !strings.HasPrefix(got, c.wantErr) {
					t.Errorf("dead letter %q, want %q", got, c.wantErr)
				}
				r.end()
			})
		})
	}
}

// A call that ends in an error ends the job with the record's position, if there
// is nowhere for dead letters to go.
func TestAsyncFailureNamesTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAsyncRig(t, spec(func(_ context.Context, v int) (int, error) {
			if v == 12 {
				return 0, errors.New("boom")
			}
			return v, nil
		}))
		r.give(10, 11)
		r.give(12)
		if r.err == nil || r.err.Error() != "boom" {
			t.Fatalf("got %v", r.err)
		}
		if cur := r.env.Cursor; cur.Op != "ask" || !strings.HasPrefix(cur.Position(), "record 3 (event time 1970-01-01T00:00:00.012Z)") {
			t.Errorf("got %s, %s", cur.Op, cur.Position())
		}
		r.end()
	})
}

// A function that heeds its context is stopped by the timeout, and by the end of
// the job.
func TestAsyncStopsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := spec(slow)
		s.Timeout = 20 * time.Millisecond
		s.Dead = func(in int, err error) string { return fmt.Sprint(in, ": ", err) }
		r := newAsyncRig(t, s)
		r.give(1000)
		r.pass(20 * time.Millisecond)
		if want := []string{"1000: no answer within 20ms: context deadline exceeded"}; !slices.Equal(r.dead.all, want) {
			t.Errorf("got %v, want %v", r.dead.all, want)
		}
		r.give(2000)
		start := time.Now()
		r.end() // the test fails if a goroutine is left
		if d := time.Since(start); d > 0 {
			t.Errorf("ended after %v", d)
		}
	})
}

// A function that does not heed its context fails its record a second after the
// timeout, holds up neither the job nor its end, and is not asked any more when
// too many calls are stuck.
func TestAsyncLeavesDeafCallsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := spec(func(ctx context.Context, v int) (int, error) {
			if v >= 100 {
				<-release
			}
			return v, nil
		})
		s.InFlight, s.Timeout = 2, 50*time.Millisecond
		s.Dead = func(in int, err error) string { return fmt.Sprint(in, ": ", err) }
		r := newAsyncRig(t, s)
		r.give(100, 1, 101, 2)
		r.pass(1050 * time.Millisecond)
		r.pass(1050 * time.Millisecond)
		if want := "100: no answer within 50ms: the function does not heed its context"; len(r.dead.all) != 2 || r.dead.all[0] != want {
			t.Errorf("got %v, want %s", r.dead.all, want)
		}
		r.want("the others", "1@1", "2@2")
		if r.err != nil {
			t.Errorf("two of two left behind: %v", r.err)
		}
		r.give(102)
		r.pass(1050 * time.Millisecond)
		if r.err == nil || !strings.Contains(r.err.Error(), "3 calls still run") {
			t.Errorf("three left behind: %v", r.err)
		}
		start := time.Now()
		r.end()
		if d := time.Since(start); d != asyncGrace {
			t.Errorf("ended after %v, want %v", d, asyncGrace)
		}
		close(release)
	})
}

// A deaf call that returns after all makes room for others to be left behind.
func TestAsyncForgivesCallsThatReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := spec(func(ctx context.Context, v int) (int, error) {
			time.Sleep(1500 * time.Millisecond)
			return v, nil
		})
		s.InFlight, s.Timeout = 1, 10*time.Millisecond
		s.Dead = func(in int, err error) string { return fmt.Sprint(in) }
		r := newAsyncRig(t, s)
		r.give(1, 2, 3, 4, 5, 6)
		r.pass(6100 * time.Millisecond)
		if r.err != nil || len(r.dead.all) != 6 || len(r.out.all) != 0 {
			t.Errorf("%v; dead %v, sent %v", r.err, r.dead.all, r.out.all)
		}
		r.end()
		time.Sleep(2 * time.Second)
	})
}

// A call takes Group records, or what there is after Linger.
func TestAsyncGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var groups []string
		s := spec(nil)
		s.Group, s.Linger, s.InFlight = 3, 10*time.Millisecond, 6
		s.Call = func(ctx context.Context, in []int) ([]int, error) {
			groups = append(groups, fmt.Sprint(in))
			time.Sleep(time.Millisecond)
			return slices.Clone(in), nil
		}
		r := newAsyncRig(t, s)
		r.give(1)
		r.pass(4 * time.Millisecond)
		if !r.op.Wants(0) {
			t.Error("a group that is not full takes no more records")
		}
		r.give(2)
		r.advance(2) // does not part the group
		r.give(3, 4)
		r.pass(9 * time.Millisecond)
		if want := []string{"[1 2 3]"}; !slices.Equal(groups, want) {
			t.Errorf("got %v, want %v", groups, want)
		}
		r.pass(time.Millisecond)
		r.give(5, 6, 7, 8, 9, 10, 11)
		if n := r.op.flying; n > 6 {
			t.Errorf("%d in flight", n)
		}
		r.pass(20 * time.Millisecond)
		if want := []string{"[1 2 3]", "[4]", "[5 6 7]", "[8 9 10]", "[11]"}; !slices.Equal(groups, want) {
			t.Errorf("got %v, want %v", groups, want)
		}
		r.want("results", "1@1", "2@2", "3@3", "wm2", "4@4", "5@5", "6@6", "7@7", "8@8", "9@9", "10@10", "11@11")
		r.end()
	})
}

// A call that answers with too few results has failed.
func TestAsyncChecksTheNumberOfResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := spec(nil)
		s.Group = 2
		s.Call = func(ctx context.Context, in []int) ([]int, error) { return nil, nil }
		r := newAsyncRig(t, s)
		r.give(1, 2)
		if r.err == nil || r.err.Error() != "call for 2 records: the function returned 0 results for 2 records" {
			t.Errorf("got %v", r.err)
		}
		r.end()
	})
}

// The end of input waits for every call, and for the retries it still has.
func TestAsyncDrainsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := map[int]int{}
		var mu sync.Mutex
		s := spec(func(ctx context.Context, v int) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			if tries[v]++; tries[v] < 3 {
				return 0, errors.New("not yet")
			}
			return v, nil
		})
		s.Attempts, s.Backoff, s.InFlight = 3, 20*time.Millisecond, 2
		r := newAsyncRig(t, s)
		r.give(1, 2, 3)
		r.advance(math.MaxInt64)
		rounds := 0
		for done := false; !done && rounds < 200; rounds++ {
			var err error
			if done, err = r.op.Finish(); err != nil {
				t.Fatal(err)
			}
			if !done {
				r.pass(time.Millisecond)
			}
		}
		r.want("all", "1@1", "2@2", "3@3", fmt.Sprint("wm", int64(math.MaxInt64)))
		r.end()
	})
}

// Between any two calls the operator can be snapshotted and restored: each
// record's result is sent once, in order, though its call may be made again.
func TestAsyncRestoresWhatWasNotSent(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := spec(func(_ context.Context, v int) (int, error) { return v, nil })
		s.InFlight, s.Unordered = 1+rng.IntN(5), rng.IntN(2) == 0
		if rng.IntN(2) == 0 {
			s.Group = 1 + rng.IntN(s.InFlight)
			s.Call = func(_ context.Context, in []int) ([]int, error) { return slices.Clone(in), nil }
		}
		clk := &clock.Manual{}
		if s.Group > 1 {
			s.Linger = time.Duration(rng.IntN(3)) * time.Millisecond
		}
		var out trace
		start := func() *Async[int, int, string] {
			a := &Async[int, int, string]{Spec: s}
			a.Connect(0, intReceiver{&out})
			env := &Env{Ctx: context.Background(), BatchSize: 4, Clock: clk, Cursor: &Cursor{}, Post: func() {}, Rand: rng.IntN}
			if err := a.Open(env); err != nil {
				t.Fatal(err)
			}
			return a
		}
		a := start()
		next, calm := 0, false
		var marks []string
		seen := func() { // event time never passes a record that has not been sent
			if wm := a.EventTime(); wm > math.MinInt64 {
				marks = append(marks, fmt.Sprint(wm))
				sent := map[string]bool{}
				for _, s := range out.all {
					sent[s] = true
				}
				for v := 0; v < next && int64(v) <= wm; v++ {
					if !sent[fmt.Sprintf("%d@%d", v, v)] {
						t.Fatalf("seed %d: watermark %d before record %d", seed, wm, v)
					}
				}
			}
		}
		for range 80 {
			var err error
			switch rng.IntN(6) {
			case 0, 1:
				if a.Wants(0) {
					b := record.New[int](4)
					for range 1 + rng.IntN(4) {
						b.Append(next, int64(next))
						next++
					}
					err = a.Receive(b)
				}
			case 2:
				_, _, err = a.Advance(int64(next - 1))
			case 3:
				err = a.OnPost()
			case 4:
				clk.Set(clk.Now() + 1e6)
				if at, ok := a.Due(); ok && at <= clk.Now()/1e6 {
					_, err = a.OnTime(at)
				}
			case 5:
				pieces, serr := a.Snapshot()
				if serr != nil {
					t.Fatal(serr)
				}
				for i := range pieces {
					if pieces[i].Data, err = pieces[i].Encode(nil); err != nil {
						t.Fatal(err)
					}
				}
				a = start()
				err = a.Restore(pieces)
			}
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			seen()
		}
		if _, _, err := a.Advance(math.MaxInt64); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if done, err := a.Finish(); err != nil {
				t.Fatal(err)
			} else if done {
				calm = true
				break
			}
			if err := a.OnPost(); err != nil {
				t.Fatal(err)
			}
		}
		if !calm || a.EventTime() != math.MaxInt64 {
			t.Fatalf("seed %d: it does not come to an end", seed)
		}
		var want []string
		for v := range next {
			want = append(want, fmt.Sprintf("%d@%d", v, v))
		}
		got := out.all
		if s.Unordered {
			slices.Sort(got)
			slices.Sort(want)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: got %v, want %v", seed, got, want)
		}
	}
}
