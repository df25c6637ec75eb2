package streamtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace"
)

// Timed is a record with its event time; made by [At].
type Timed[T any] struct {
	Time   time.Time
	Record T
}

// At gives a record an event time, for [TimedRecords].
func At[T any](t time.Time, rec T) Timed[T] { return Timed[T]{t, rec} }

// Records is a bounded source of the given records, dealt out in turn to n
// splits. They have no event time; see [TimedRecords] and Stream.EventTime.
func Records[T any](n int, recs ...T) millrace.Source[T] {
	s := records[T]{splits: max(n, 1)}
	for _, r := range recs {
		s.rows = append(s.rows, row[T]{r, millrace.NoTime})
	}
	return s
}

// TimedRecords is [Records] with event times. Every split is taken to be in the
// order of time unless the program says otherwise with Stream.EventTime.
func TimedRecords[T any](n int, recs ...Timed[T]) millrace.Source[T] {
	s := records[T]{splits: max(n, 1)}
	for _, r := range recs {
		s.rows = append(s.rows, row[T]{r.Record, r.Time.UnixMilli()})
	}
	return s
}

type records[T any] struct {
	splits int
	rows   []row[T]
}

type row[T any] struct {
	rec T
	at  int64
}

func (s records[T]) Bounded() bool { return true }

func (s records[T]) Splits(context.Context, int) (out []millrace.Split, err error) {
	for i := range s.splits {
		out = append(out, millrace.Split{ID: strconv.Itoa(i)})
	}
	return out, nil
}

func (s records[T]) Open(_ context.Context, sp millrace.Split, at millrace.Position) (millrace.Reader[T], error) {
	next, err := strconv.Atoi(sp.ID)
	if err != nil {
		return nil, fmt.Errorf("split %s: %w", sp.ID, err)
	}
	if at != nil {
		next = int(binary.LittleEndian.Uint64(at))
	}
	return &recordReader[T]{s, next}, nil
}

// recordReader reads a few records at a time, so that tests see the places
// between them.
type recordReader[T any] struct {
	records[T]
	next int
}

func (r *recordReader[T]) ReadsInline() {}

func (r *recordReader[T]) Read(_ context.Context, out *millrace.Rows[T]) error {
	for range min(4, out.Room()) {
		if r.next >= len(r.rows) {
			return io.EOF
		}
		out.AppendAt(r.rows[r.next].rec, r.rows[r.next].at)
		r.next += r.splits
	}
	return nil
}

func (r *recordReader[T]) Position() millrace.Position {
	return binary.LittleEndian.AppendUint64(nil, uint64(r.next))
}

func (r *recordReader[T]) Close() error { return nil }

// Collect is a sink that keeps what is written to it. The zero Collect is empty
// and ready; it is safe for concurrent use.
type Collect[T any] struct {
	mu   sync.Mutex
	recs []T
	open int
}

// OpenWriter implements millrace.Sink.
func (c *Collect[T]) OpenWriter(context.Context, millrace.Subtask) (millrace.Writer[T], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	return collectWriter[T]{c}, nil
}

// Records returns what has been written, in the order of writing, which over
// several subtasks is any.
func (c *Collect[T]) Records() []T {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.recs)
}

// Sorted returns what has been written in an order that does not depend on that
// of writing: that of the records as fmt prints them.
func (c *Collect[T]) Sorted() []T {
	type printed struct {
		rec  T
		text string
	}
	var ps []printed
	for _, r := range c.Records() {
		ps = append(ps, printed{r, fmt.Sprintf("%+v", r)})
	}
	slices.SortStableFunc(ps, func(a, b printed) int { return strings.Compare(a.text, b.text) })
	var out []T
	for _, p := range ps {
		out = append(out, p.rec)
	}
	return out
}

// Writers is the number of writers that are open.
func (c *Collect[T]) Writers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

type collectWriter[T any] struct{ c *Collect[T] }

func (w collectWriter[T]) Write(_ context.Context, recs []T) error {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	w.c.recs = append(w.c.recs, recs...)
	return nil
}

func (w collectWriter[T]) Flush(context.Context) error { return nil }

func (w collectWriter[T]) Close() error {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	w.c.open--
	return nil
}

// RunOptions says how [Run] runs a program. Zero fields take the defaults
// given.
type RunOptions struct {
	// Seeds is the number of orders in which the program is run; 20.
	Seeds int
	// First is the first seed; 0. To repeat a failure, set it to the seed that
	// was reported and Seeds to 1.
	First uint64
	// Parallelism of operators that do not say; 2.
	Parallelism int
	// BatchSize is the number of records that travel together; 4, for there
	// to be many different orders.
	BatchSize int
	// Chained lets operators share tasks as they do in production. Without it
	// every operator has a task of its own.
	Chained bool
}

// Run runs a program from one loop on the test's goroutine, once for each seed;
// the seed decides in which order its tasks take their steps. program is called
// for every run with a new job. It builds the job and returns a function that
// is called when the job has ended and tells what is wrong with the outcome;
// nil if nothing can be.
//
//	streamtest.Run(t, streamtest.RunOptions{}, func(job *millrace.Job) func() error {
//		var out streamtest.Collect[int]
//		job.From("in", streamtest.Records(2, 1, 2, 3)).Map(double).To("out", &out)
//		return func() error { … out.Sorted() … }
//	})
//
// The test fails with the first seed whose run fails or whose outcome is wrong.
func Run(t testing.TB, opt RunOptions, program func(job *millrace.Job) func() error) {
	t.Helper()
	if opt.Seeds == 0 {
		opt.Seeds = 20
	}
	if opt.Parallelism == 0 {
		opt.Parallelism = 2
	}
	if opt.BatchSize == 0 {
		opt.BatchSize = 4
	}
	for i := range opt.Seeds {
		seed := opt.First + uint64(i)
		var check func() error
		err := millrace.RunWith(t.Context(), "test", millrace.RunOptions{
			Parallelism: opt.Parallelism, BatchSize: opt.BatchSize, NoChaining: !opt.Chained, Seed: &seed,
		}, func(j *millrace.Job) { check = program(j) })
		if err == nil && check != nil {
			err = check()
		}
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// NoLeaks fails the test if, when it is over, goroutines are left that were not
// there before and are in the project's code. Call it first.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := goroutines()
	t.Cleanup(func() {
		var left []string
		// A goroutine that has told others it is done may need a moment more.
		for range 1000 {
			left = left[:0]
			for id, stack := range goroutines() {
				if _, ok := before[id]; !ok {
					left = append(left, stack)
				}
			}
			if len(left) == 0 {
				return
			}
			runtime.Gosched()
		}
		slices.Sort(left)
		t.Errorf("%d goroutines are left:\n\n%s", len(left), strings.Join(left, "\n\n"))
	})
}

// goroutines returns the stacks, by their id, of the goroutines in the
// project's code.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	all := map[string]string{}
	for i, g := range strings.Split(string(buf), "\n\n") {
		id, _, _ := strings.Cut(g, " [")
		if i > 0 && strings.Contains(g, "github.com/millrace/millrace") {
			all[id] = g
		}
	}
	return all
}
