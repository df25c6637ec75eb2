package millrace_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace"
)

func TestReadFirstThatCouldNeverEndIsRefused(t *testing.T) {
	const n = 100_000 // more than fits into the queues
	pass := func(i int64) int64 { return i }
	key := func(i int64) int64 { return i % 10 }
	from := func(job *millrace.Job, id string) millrace.Stream[int64] { return job.From(id, numbers{n: n}) }
	table := func(s millrace.Stream[int64]) millrace.BroadcastState[int64, int64] {
		return s.BroadcastState("table", key).ReadFirst()
	}
	look := func(s millrace.Stream[int64], b millrace.BroadcastState[int64, int64], id string) millrace.Stream[int64] {
		return s.With(b).Process(id, func(op *millrace.PlainOp[int64, int64], _ millrace.View[int64, int64]) {
			op.OnRecord(func(i int64) error { op.Emit(i); return nil })
		})
	}
	lookKeyed := func(s millrace.Stream[int64], b millrace.BroadcastState[int64, int64], id string) millrace.Stream[int64] {
		return s.KeyBy(key).With(b).Process(id, func(op *millrace.Op[int64, int64, int64], _ millrace.View[int64, int64]) {
			op.OnRecord(func(i int64) error { op.Emit(i); return nil })
		})
	}
	connect := func(s, b millrace.Stream[int64], id string) millrace.Stream[int64] {
		return s.ConnectBroadcast(b).Process(id, func(op *millrace.PlainBroadcastOp[int64, int64, int64]) {
			op.ReadFirst()
			op.OnRecord(func(i int64) error { op.Emit(i); return nil })
			op.OnBroadcast(func(int64) error { return nil })
		})
	}
	connectKeyed := func(s, b millrace.Stream[int64], id string) millrace.Stream[int64] {
		return s.KeyBy(key).ConnectBroadcast(b).Process(id, func(op *millrace.BroadcastOp[int64, int64, int64, int64]) {
			op.ReadFirst()
			op.OnRecord(func(i int64) error { op.Emit(i); return nil })
			op.OnBroadcast(func(int64) error { return nil })
		})
	}
	aligned := func(s millrace.Stream[int64]) millrace.Stream[int64] {
		return s.Timestamps(millrace.Timestamps[int64]{AtMillis: func(i *int64) int64 { return *i }, AlignGroup: "together", MaxDrift: time.Millisecond})
	}
	const cure = "read what comes first from a source of its own"
	for _, tt := range []struct {
		name  string
		build func(job *millrace.Job) []millrace.Stream[int64]
		want  []string // none: the job ends
	}{
		{"one source", func(job *millrace.Job) []millrace.Stream[int64] {
			s := from(job, "a")
			return []millrace.Stream[int64]{look(s, table(s), "look")}
		}, []string{"readfirst_test.go:", "operator look would wait for ever", "both of its inputs come from source a", cure}},
		{"one source, by key", func(job *millrace.Job) []millrace.Stream[int64] {
			s := from(job, "a")
			return []millrace.Stream[int64]{lookKeyed(s, table(s), "look")}
		}, []string{"operator look would wait for ever", "both of its inputs come from source a"}},
		{"one source on the way to both", func(job *millrace.Job) []millrace.Stream[int64] {
			a, b := from(job, "a"), from(job, "b")
			both := a.Map(pass).Union(b.Rebalance().Map(pass))
			return []millrace.Stream[int64]{look(both.Filter(func(i int64) bool { return true }), table(b.Map(pass)), "look")}
		}, []string{"operator look would wait for ever", "both of its inputs come from source b"}},
		{"one source, said by setup", func(job *millrace.Job) []millrace.Stream[int64] {
			s := from(job, "a")
			return []millrace.Stream[int64]{connect(s, s.Map(pass), "look")}
		}, []string{"operator look", "would wait for ever", "both of its inputs come from source a", cure}},
		{"one source, by key, said by setup", func(job *millrace.Job) []millrace.Stream[int64] {
			s := from(job, "a")
			return []millrace.Stream[int64]{connectKeyed(s, s.Map(pass), "look")}
		}, []string{"operator look", "would wait for ever", "both of its inputs come from source a", cure}},
		{"two that wait for each other", func(job *millrace.Job) []millrace.Stream[int64] {
			a, b := from(job, "a"), from(job, "b")
			return []millrace.Stream[int64]{look(a, table(b), "one"), look(b, table(a), "two")}
		}, []string{"operator one would wait for ever", "holds back what comes from source a", "operator two holds back source b until source a has ended", cure}},
		{"two that wait for each other, said by setup", func(job *millrace.Job) []millrace.Stream[int64] {
			a, b := from(job, "a"), from(job, "b")
			return []millrace.Stream[int64]{connect(a, b, "one"), connect(b, a, "two")}
		}, []string{"would wait for ever", "holds back source", cure}},
		{"three in a ring", func(job *millrace.Job) []millrace.Stream[int64] {
			a, b, c := from(job, "a"), from(job, "b"), from(job, "c")
			return []millrace.Stream[int64]{look(a, table(b), "one"), look(b, table(c), "two"), look(c, table(a), "three")}
		}, []string{"operator one would wait for ever", "operator two holds back source b until source c has ended, and operator three holds back source c until source a has ended"}},
		{"sources that stay together", func(job *millrace.Job) []millrace.Stream[int64] {
			return []millrace.Stream[int64]{look(aligned(from(job, "a")), table(aligned(from(job, "b"))), "look")}
		}, []string{"operator look would wait for ever", `source b is not read further than source a, of align group "together"`}},
		{"one after the other", func(job *millrace.Job) []millrace.Stream[int64] {
			a, b, c := from(job, "a"), from(job, "b"), from(job, "c")
			return []millrace.Stream[int64]{look(look(a, table(b), "one"), table(c), "two"), connect(b, c, "three")}
		}, nil},
		{"one table for two", func(job *millrace.Job) []millrace.Stream[int64] {
			a, b := from(job, "a"), table(from(job, "b"))
			return []millrace.Stream[int64]{look(a, b, "one"), lookKeyed(a, b, "two")}
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, p := range []int{1, 2} {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				err := millrace.RunWith(ctx, "job", millrace.RunOptions{Parallelism: p}, func(job *millrace.Job) {
					for i, s := range tt.build(job) {
						s.To(fmt.Sprint("out-", i), discard[int64]{})
					}
				})
				if (err != nil) != (len(tt.want) > 0) {
					t.Fatalf("got %v", err)
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
