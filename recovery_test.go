package millrace_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/state/blob"
)

// numbered is a source of n numbers in a few splits, read from where a
// checkpoint says.
type numbered struct{ n, splits int64 }

func (numbered) Bounded() bool { return true }
func (s numbered) Splits(context.Context, int) (out []millrace.Split, err error) {
	for i := range s.splits {
		out = append(out, millrace.Split{ID: strconv.FormatInt(i, 10)})
	}
	return out, nil
}
func (s numbered) Open(_ context.Context, sp millrace.Split, at millrace.Position) (millrace.Reader[int64], error) {
	next, err := strconv.ParseInt(sp.ID, 10, 64)
	if at != nil {
		next = int64(binary.BigEndian.Uint64(at))
	}
	return &numberedReader{s, next}, err
}

type numberedReader struct {
	numbered
	next int64
}

func (*numberedReader) ReadsInline() {}
func (r *numberedReader) Read(_ context.Context, out *millrace.Rows[int64]) error {
	for out.Room() > 0 {
		if r.next >= r.n {
			return io.EOF
		}
		out.AppendAt(r.next, r.next)
		r.next += r.splits
	}
	return nil
}
func (r *numberedReader) Position() millrace.Position {
	return binary.BigEndian.AppendUint64(nil, uint64(r.next))
}
func (r *numberedReader) Close() error { return nil }

var errCrash = errors.New("the machine is gone")

// crashes makes a Fault that kills attempts at random, at most max times.
func crashes(rng *rand.Rand, max int) func(int) error {
	left := 1 + rng.IntN(400)
	return func(attempt int) error {
		if attempt > max {
			return nil
		}
		if left--; left > 0 {
			return nil
		}
		left = 1 + rng.IntN(400)
		return errCrash
	}
}

// checkpointed are the settings of jobs in simulations: checkpoints as often as
// can be, and restarts without end.
func checkpointed(opt millrace.RunOptions) millrace.RunOptions {
	opt.Settings = map[string]string{
		"execution.checkpointing.interval":      "10ms",
		"restart-strategy.type":                 "fixed-delay",
		"restart-strategy.fixed-delay.attempts": "1000",
		"restart-strategy.fixed-delay.delay":    "1ms",
	}
	opt.Store = &blob.Memory{}
	return opt
}

// Whenever an attempt dies, the state that the next one goes on with has seen
// each record once.
func TestStateSeesEachRecordOnceWhateverDies(t *testing.T) {
	const n, keys = 3000, 7
	want := map[int64]int64{}
	for i := range int64(n) {
		want[i%keys]++
	}
	attempts := 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 4))
		opt := checkpointed(millrace.RunOptions{Parallelism: 1 + rng.IntN(3), BatchSize: 1 + rng.IntN(20), NoChaining: rng.IntN(2) == 0, Seed: &seed})
		fault := crashes(rng, 6)
		opt.Fault = func(attempt int) error {
			attempts = max(attempts, attempt)
			return fault(attempt)
		}
		type total struct{ Key, Count int64 }
		out := &collect[total]{}
		windows := &collect[string]{}
		err := millrace.RunWith(t.Context(), "count", opt, func(job *millrace.Job) {
			numbers := job.From("numbers", numbered{n, int64(1 + rng.IntN(opt.Parallelism))}).Timestamps(millrace.Timestamps[int64]{MaxDelay: 400 * time.Millisecond})
			keyed := numbers.KeyBy(func(i int64) int64 { return i % keys })
			keyed.Process("count", func(op *millrace.Op[int64, int64, total]) {
				count := op.Value[int64]("count")
				op.OnRecord(func(i int64) error {
					count.Set(count.Get() + 1)
					op.Emit(total{op.Key(), count.Get()})
					return nil
				})
			}).To("out", out)
			keyed.Window(millrace.Sliding(100*time.Millisecond, 20*time.Millisecond)).Count("windows").
				Map(func(r millrace.Result[int64, int64]) string {
					return fmt.Sprint(r.Key, " ", r.Window.StartMillis, " ", r.Value)
				}).To("windows-out", windows)
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		got := map[int64]int64{}
		for _, r := range out.recs {
			got[r.Key] = max(got[r.Key], r.Count)
		}
		for k, c := range want {
			if got[k] != c {
				t.Fatalf("seed %d: key %d was counted %d times, want %d", seed, k, got[k], c)
			}
		}
		seen := map[string]bool{}
		for _, w := range windows.recs {
			seen[w] = true
		}
		model := map[string]bool{}
		for k := range int64(keys) {
			for start := int64(-80); start < n; start += 20 {
				c := 0
				for i := max(start, 0); i < min(start+100, n); i++ {
					if i%keys == k {
						c++
					}
				}
				if c > 0 {
					model[fmt.Sprint(k, " ", start, " ", c)] = true
				}
			}
		}
		for w := range model {
			if !seen[w] {
				t.Fatalf("seed %d: window %s is missing", seed, w)
			}
		}
		for w := range seen {
			if !model[w] {
				t.Fatalf("seed %d: window %s is wrong", seed, w)
			}
		}
	}
	if attempts < 3 {
		t.Errorf("only %d attempts: nothing was proven", attempts)
	}
}

// journal is a transactional sink: what is prepared becomes visible by Commit.
type journal struct {
	mu        sync.Mutex
	committed map[string][]string // by token
}

type journalWriter struct {
	*journal
	sub  millrace.Subtask
	n    int
	open []string
}

type journalToken struct {
	ID   string
	Recs []string
}

func (l *journal) OpenWriter(_ context.Context, sub millrace.Subtask) (millrace.Writer[string], error) {
	return &journalWriter{journal: l, sub: sub}, nil
}
func (w *journalWriter) Write(_ context.Context, recs []string) error {
	w.open = append(w.open, recs...)
	return nil
}
func (w *journalWriter) Flush(context.Context) error {
	return errors.New("flushed, and not prepared")
}
func (w *journalWriter) Close() error { return nil }
func (w *journalWriter) Prepare(context.Context) ([]byte, error) {
	if len(w.open) == 0 {
		return nil, nil
	}
	w.n++
	token, err := json.Marshal(journalToken{fmt.Sprint(w.sub.Operator, " ", w.sub.Attempt, " ", w.sub.Index, " ", w.n), w.open})
	w.open = nil
	return token, err
}
func (w *journalWriter) Commit(_ context.Context, token []byte) error {
	var t journalToken
	if err := json.Unmarshal(token, &t); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.committed[t.ID] = t.Recs
	return nil
}

// everyWindow builds a job whose windows and numbers each go to the journal.
func everyWindow(l *journal, n, splits int64) func(*millrace.Job) {
	return func(job *millrace.Job) {
		numbers := job.From("numbers", numbered{n, splits}).Timestamps(millrace.Timestamps[int64]{MaxDelay: 300 * time.Millisecond})
		numbers.Filter(func(i int64) bool { return i%3 == 0 }).Map(func(i int64) string { return fmt.Sprint("number ", i) }).To("numbers-out", l)
		numbers.KeyBy(func(i int64) int64 { return i % 5 }).
			Window(millrace.Tumbling(50*time.Millisecond)).Count("windows").
			Map(func(r millrace.Result[int64, int64]) string {
				return fmt.Sprint("window ", r.Key, " ", r.Window.StartMillis, " ", r.Value)
			}).To("windows-out", l)
	}
}

func (l *journal) all() (all []string) {
	for _, recs := range l.committed {
		all = append(all, recs...)
	}
	slices.Sort(all)
	return all
}

// Whenever an attempt dies, and whatever the store does to what is written to
// it, a transactional sink shows in the end what a run without failures shows:
// each record once.
func TestSinksShowEachRecordOnceWhateverDies(t *testing.T) {
	const n = 1500
	seed := uint64(1)
	calm := &journal{committed: map[string][]string{}}
	if err := millrace.RunWith(t.Context(), "calm", checkpointed(millrace.RunOptions{Parallelism: 1, Seed: &seed}), everyWindow(calm, n, 1)); err != nil {
		t.Fatal(err)
	}
	want := calm.all()
	if len(want) != n/3+n/10 {
		t.Fatalf("%d records without failures, want %d", len(want), n/3+n/10)
	}
	runs := uint64(150)
	if testing.Short() {
		runs = 30
	}
	for seed := range runs {
		rng := rand.New(rand.NewPCG(seed, 11))
		opt := checkpointed(millrace.RunOptions{Parallelism: 1 + rng.IntN(3), BatchSize: 1 + rng.IntN(20), NoChaining: rng.IntN(2) == 0, Seed: &seed})
		opt.Settings["execution.checkpointing.tolerable-failed-checkpoints"] = "1000000"
		opt.Fault = crashes(rng, 8)
		if seed%3 == 0 {
			faults := blob.Faults(seed, blob.Rates{Fail: 0.02, Lost: 0.01})
			ops := 0
			opt.Store.(*blob.Memory).Hook = func(op blob.Op) blob.Fault {
				if ops++; ops < 10 { // a job that cannot look at its folder does not start
					return blob.Fault{}
				}
				return faults(op)
			}
		}
		l := &journal{committed: map[string][]string{}}
		err := millrace.RunWith(t.Context(), "journal", opt, everyWindow(l, n, int64(1+rng.IntN(opt.Parallelism))))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		got := l.all()
		if !slices.Equal(got, want) {
			i := 0
			for i < len(got) && i < len(want) && got[i] == want[i] {
				i++
			}
			t.Fatalf("seed %d: %d records, want %d: the %dth is %v, want %v", seed, len(got), len(want), i, at(got, i), at(want, i))
		}
	}
}

func at(recs []string, i int) string {
	if i < len(recs) {
		return recs[i]
	}
	return "missing"
}
