package millrace

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

type trip struct{ Key, V, At int64 }

// trips is a bounded source of one split for each slice.
type trips [][]trip

func (trips) Bounded() bool { return true }
func (s trips) Splits(context.Context, int) (out []Split, err error) {
	for i := range s {
		out = append(out, Split{ID: fmt.Sprint(i), Data: []byte{byte(i)}})
	}
	return out, nil
}
func (s trips) Open(_ context.Context, sp Split, _ Position) (Reader[trip], error) {
	return &tripReader{left: s[sp.Data[0]]}, nil
}

type tripReader struct{ left []trip }

func (r *tripReader) ReadsInline() {}
func (r *tripReader) Read(_ context.Context, out *Rows[trip]) error {
	n := min(out.Room(), len(r.left))
	for _, t := range r.left[:n] {
		out.AppendAt(t, t.At)
	}
	r.left = r.left[n:]
	if len(r.left) == 0 {
		return io.EOF
	}
	return nil
}
func (r *tripReader) Position() Position { return nil }
func (r *tripReader) Close() error       { return nil }

// lines collects records as text, whatever subtask they come from.
type lines[T any] struct {
	mu  *sync.Mutex
	got *[]string
}

func newLines[T any]() lines[T] { return lines[T]{&sync.Mutex{}, &[]string{}} }

func (l lines[T]) OpenWriter(context.Context, Subtask) (Writer[T], error) { return l, nil }
func (l lines[T]) Write(_ context.Context, recs []T) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range recs {
		*l.got = append(*l.got, fmt.Sprint(r))
	}
	return nil
}
func (l lines[T]) Flush(context.Context) error { return nil }
func (l lines[T]) Close() error                { return nil }

func (l lines[T]) sorted() string {
	slices.Sort(*l.got)
	return strings.Join(*l.got, "\n")
}

func someTrips(seed uint64, splits, n int) (s trips) {
	rng := rand.New(rand.NewPCG(seed, 5))
	for range splits {
		var ts []trip
		at := int64(0)
		for range n {
			at += rng.Int64N(20)
			ts = append(ts, trip{rng.Int64N(9), rng.Int64N(100), at - rng.Int64N(50)})
		}
		s = append(s, ts)
	}
	return s
}

// windowJobs are jobs over windows, each with all it uses.
var windowJobs = map[string]func(Stream[trip], func(string) lines[string]){
	"tumbling count": func(s Stream[trip], to func(string) lines[string]) {
		text(keyed(s).Window(Tumbling(100*ms)).Count("w")).To("out", to("out"))
	},
	"sliding sum": func(s Stream[trip], to func(string) lines[string]) {
		text(keyed(s).Window(Sliding(100*ms, 30*ms)).Aggregate("w", Sum(value))).To("out", to("out"))
	},
	"sliding max": func(s Stream[trip], to func(string) lines[string]) {
		text(keyed(s).Window(Sliding(100*ms, 10*ms)).Aggregate("w", Max(value))).To("out", to("out"))
	},
	"cumulative average": func(s Stream[trip], to func(string) lines[string]) {
		text(keyed(s).Window(Cumulative(100*ms, 20*ms)).Aggregate("w", Avg(value))).To("out", to("out"))
	},
	"session reduce": func(s Stream[trip], to func(string) lines[string]) {
		text(keyed(s).Window(Session(40*ms)).Reduce("w", func(a, b trip) trip {
			return trip{a.Key, a.V + b.V, max(a.At, b.At)}
		})).To("out", to("out"))
	},
	"apply": func(s Stream[trip], to func(string) lines[string]) {
		text(keyed(s).Window(Sliding(100*ms, 50*ms)).Apply("w", func(k int64, w Window, recs iter.Seq[trip], emit func(string)) {
			n, v := 0, int64(0)
			for r := range recs {
				n++
				v += r.V
			}
			emit(fmt.Sprint(k, w, n, v))
		})).To("out", to("out"))
	},
	"all, twice": func(s Stream[trip], to func(string) lines[string]) {
		counts := keyed(s).Window(Sliding(100*ms, 20*ms)).Count("w")
		text(counts.WindowAll(Tumbling(20*ms)).Aggregate("top", Max(func(r Result[int64, int64]) int64 { return r.Value }))).To("out", to("out"))
	},
	"join": func(s Stream[trip], to func(string) lines[string]) {
		left := s.Filter(func(t trip) bool { return t.V%3 == 0 })
		right := s.Filter(func(t trip) bool { return t.V%5 == 0 })
		j := keyed(left).WindowJoin(keyed(right), Tumbling(100*ms))
		text(j.Inner("inner", func(a, b trip) string { return fmt.Sprint("inner", a, b) })).To("out", to("out"))
		text(j.Full("full", func(a, b *trip) string {
			if a != nil && b != nil {
				return "both"
			}
			return fmt.Sprint("one", a != nil, b != nil)
		})).To("out2", to("out2"))
	},
	"session co-group": func(s Stream[trip], to func(string) lines[string]) {
		j := keyed(s.Filter(func(t trip) bool { return t.V < 50 })).WindowJoin(keyed(s.Filter(func(t trip) bool { return t.V >= 50 })), Session(30*ms))
		j.CoGroup("co", func(k int64, w Window, l, r iter.Seq[trip], emit func(string)) {
			emit(fmt.Sprint(k, w, len(slices.Collect(l)), len(slices.Collect(r))))
		}).To("out", to("out"))
	},
	"process with state": func(s Stream[trip], to func(string) lines[string]) {
		odd := NewSideOutput[int64]("odd")
		p := keyed(s).Window(Tumbling(100*ms)).AggregateProcess("w", Counts[trip](), func(o *WindowOp[int64, int64, string]) {
			side := o.SideOutput(odd)
			seen := o.WindowValue[int64]("seen")
			o.OnWindow(func(recs iter.Seq[int64]) error {
				for n := range recs {
					*seen.Ref() += n
					if n%2 == 1 {
						side.Emit(n)
					}
					o.Emit(fmt.Sprint(o.Key(), o.Window(), n, seen.Get()))
				}
				return nil
			})
		})
		p.To("out", to("out"))
		text(p.SideOutput(odd)).To("odd", to("odd"))
	},
}

const ms = time.Millisecond

func value(t trip) int64 { return t.V }

func keyed(s Stream[trip]) KeyedStream[int64, trip] {
	return s.KeyBy(func(t trip) int64 { return t.Key })
}

func text[T any](s Stream[T]) Stream[string] { return s.Map(func(v T) string { return fmt.Sprint(v) }) }

func runWindows(t *testing.T, in trips, opt RunOptions, build func(Stream[trip], func(string) lines[string])) string {
	t.Helper()
	var outs []lines[string]
	err := RunWith(context.Background(), "windows", opt, func(j *Job) {
		s := j.From("trips", in).Timestamps(Timestamps[trip]{MaxDelay: 50 * ms, Idle: -1})
		build(s, func(string) lines[string] {
			outs = append(outs, newLines[string]())
			return outs[len(outs)-1]
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, o := range outs {
		all = append(all, o.sorted())
	}
	return strings.Join(all, "\n--\n")
}

// What windows give does not depend on parallelism, on how records are batched,
// on chaining, or on the order in which tasks take their steps.
func TestWindowsGiveTheSameWhereverTheyRun(t *testing.T) {
	in := someTrips(1, 1, 1000) // splits may be read one after the other: the later ones would be late
	for name, build := range windowJobs {
		t.Run(name, func(t *testing.T) {
			seed := uint64(0)
			want := runWindows(t, in, RunOptions{Parallelism: 1, Seed: &seed}, build)
			if len(want) < 100 {
				t.Fatalf("too little came out: %s", want)
			}
			check := func(opt RunOptions) {
				t.Helper()
				if got := runWindows(t, in, opt, build); got != want {
					t.Fatalf("%+v: got\n%.500s\nwant\n%.500s", opt, got, want)
				}
			}
			for _, p := range []int{1, 2, 4, 7} {
				for i, size := range []int{1, 7, 256} {
					check(RunOptions{Parallelism: p, BatchSize: size, NoChaining: i == 1})
				}
			}
			for seed := range uint64(40) {
				check(RunOptions{Parallelism: 1 + int(seed%3), BatchSize: 1 + int(seed*7%40), NoChaining: seed%2 == 0, Seed: &seed})
			}
		})
	}
}

// Mistakes in windows are told when the job starts, with the line at fault.
func TestMistakesInWindowsAreToldBeforeTheJobRuns(t *testing.T) {
	never := func(s Stream[trip]) KeyedStream[int64, trip] { return keyed(s) }
	for _, tt := range []struct {
		want  string
		build func(Stream[trip])
	}{
		{"size 0s is not greater than 0", func(s Stream[trip]) { never(s).Window(Tumbling(0)).Count("w") }},
		{"slide -1s is not greater", func(s Stream[trip]) { never(s).Window(Sliding(time.Second, -time.Second)).Count("w") }},
		{"offset 1s is not less than 1s", func(s Stream[trip]) { never(s).Window(Tumbling(time.Second).Offset(time.Second)).Count("w") }},
		{"size 1.5µs is not a whole", func(s Stream[trip]) { never(s).Window(Tumbling(1500)).Count("w") }},
		{"not a multiple", func(s Stream[trip]) { never(s).Window(Cumulative(10*ms, 3*ms)).Count("w") }},
		{"another type of record", func(s Stream[trip]) {
			never(s).Window(SessionBy(func(int) time.Duration { return 1 })).Count("w")
		}},
		{"cannot be used with sessions", func(s Stream[trip]) {
			never(s).Window(Session(ms)).Trigger(DeltaTrigger(1, func(a, b trip) float64 { return 1 })).Count("w")
		}},
		{"needs Merge", func(s Stream[trip]) {
			never(s).Window(Session(ms)).Aggregate("w", Aggregator[trip, int, int]{Add: func(a int, _ trip) int { return a }})
		}},
		{"accumulator", func(s Stream[trip]) {
			never(s).Window(Tumbling(ms)).Aggregate("w", Aggregator[trip, chan int, chan int]{Add: func(a chan int, _ trip) chan int { return a }})
		}},
		{"count trigger: 0", func(s Stream[trip]) { never(s).Window(Tumbling(ms)).Trigger(CountTrigger(0)).Count("w") }},
		{"lateness -1s", func(s Stream[trip]) { never(s).Window(Tumbling(ms)).AllowedLateness(-time.Second).Count("w") }},
	} {
		err := Run(context.Background(), "mistakes", func(j *Job) { tt.build(j.From("trips", trips{})) })
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "window_test.go:") {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

// Late records go to the side, and count windows, triggers and evictors work in
// a job.
func TestTriggersEvictorsAndLateRecordsInAJob(t *testing.T) {
	one := trips{{{1, 1, 10}, {1, 2, 20}, {1, 3, 300}, {1, 4, 15}, {1, 5, 310}, {1, 6, 320}}}
	run := func(build func(Stream[trip], lines[string])) string {
		l := newLines[string]()
		seed := uint64(1)
		if err := RunWith(context.Background(), "w", RunOptions{Parallelism: 1, BatchSize: 1, Seed: &seed}, func(j *Job) { build(j.From("trips", one), l) }); err != nil {
			t.Fatal(err)
		}
		return strings.Join(*l.got, ";")
	}
	for _, tt := range []struct {
		name, want string
		build      func(Stream[trip], lines[string])
	}{
		{"late", "{1 4 15}", func(s Stream[trip], to lines[string]) {
			var late Stream[trip]
			keyed(s).Window(Tumbling(100 * ms)).Late(&late).Count("w")
			text(late).To("out", to)
		}},
		{"lateness", "2;3;3", func(s Stream[trip], to lines[string]) {
			c := keyed(s).Window(Tumbling(100 * ms)).AllowedLateness(time.Second).Count("w")
			text(c.Map(func(r Result[int64, int64]) int64 { return r.Value })).To("out", to)
		}},
		{"count", "3;7;11", func(s Stream[trip], to lines[string]) {
			c := keyed(s).Window(CountWindow(2)).Aggregate("w", Sum(value))
			text(c.Map(func(r Result[int64, int64]) int64 { return r.Value })).To("out", to)
		}},
		{"count sliding", "3;9;15", func(s Stream[trip], to lines[string]) {
			c := keyed(s).Window(CountSliding(3, 2)).Aggregate("w", Sum(value))
			text(c.Map(func(r Result[int64, int64]) int64 { return r.Value })).To("out", to)
		}},
		{"delta", "6", func(s Stream[trip], to lines[string]) {
			c := keyed(s).Window(Global()).Trigger(DeltaTrigger(200, func(a, b trip) float64 { return float64(b.At - a.At) })).Aggregate("w", Sum(value))
			text(c.Map(func(r Result[int64, int64]) int64 { return r.Value })).To("out", to)
		}},
		{"global", "21", func(s Stream[trip], to lines[string]) {
			c := keyed(s).Window(Global()).Aggregate("w", Sum(value))
			text(c.Map(func(r Result[int64, int64]) int64 { return r.Value })).To("out", to)
		}},
	} {
		if got := run(tt.build); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}
