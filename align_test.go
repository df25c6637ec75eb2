package millrace_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace"
)

// paced is numbers whose reader writes down how far it is and the furthest it
// has ever been ahead of the other.
type paced struct {
	numbers
	mine, other *int64
	lead        *int64
}

func (s paced) Open(ctx context.Context, sp millrace.Split, at millrace.Position) (millrace.Reader[int64], error) {
	r, err := s.numbers.Open(ctx, sp, at)
	return pacedReader{r, s}, err
}

type pacedReader struct {
	millrace.Reader[int64]
	s paced
}

func (pacedReader) ReadsInline() {}

func (r pacedReader) Read(ctx context.Context, out *millrace.Rows[int64]) error {
	err := r.Reader.Read(ctx, out)
	if n := out.Len(); n > 0 {
		*r.s.mine = out.Times()[n-1]
	}
	if *r.s.other > 0 && *r.s.other < r.s.n-1 {
		*r.s.lead = max(*r.s.lead, *r.s.mine-*r.s.other)
	}
	return err
}

func TestAlignedSourcesStayTogether(t *testing.T) {
	const n, batch = 5000, 10
	lead := func(drift time.Duration, seed uint64) (most int64) {
		var a, b int64
		out := &collect[int64]{}
		err := millrace.RunWith(t.Context(), "aligned", millrace.RunOptions{Parallelism: 1, BatchSize: batch, Seed: &seed}, func(job *millrace.Job) {
			ts := millrace.Timestamps[int64]{}
			if drift > 0 {
				ts.AlignGroup, ts.MaxDrift = "both", drift
			}
			fast := job.From("fast", paced{numbers{n: n}, &a, &b, &most}).Timestamps(ts)
			slow := job.From("slow", paced{numbers{n: n}, &b, &a, &most}).Timestamps(ts)
			fast.Union(slow).To("out", out)
		})
		if err != nil || len(out.recs) != 2*n {
			t.Fatalf("seed %d: %v, %d records", seed, err, len(out.recs))
		}
		return most
	}
	furthest := int64(0)
	for seed := range uint64(30) {
		furthest = max(furthest, lead(0, seed))
		// One batch may be read beyond the limit, and one before it is known.
		if got := lead(50*time.Millisecond, seed); got > 50+2*batch {
			t.Errorf("seed %d: one source was %d ms ahead of the other", seed, got)
		}
	}
	if furthest < 100 {
		t.Errorf("without alignment the sources were never more than %d ms apart: the test shows nothing", furthest)
	}
}

func TestAlignmentMistakes(t *testing.T) {
	at := func(align string, drift time.Duration) millrace.Timestamps[int64] {
		return millrace.Timestamps[int64]{AlignGroup: align, MaxDrift: drift}
	}
	for _, tt := range []struct {
		name, want string
		build      func(*millrace.Job)
	}{
		{"no group", "without an AlignGroup", func(job *millrace.Job) {
			job.From("a", numbers{}).Timestamps(at("", time.Second)).To("out", discard[int64]{})
		}},
		{"no drift", "less than 1ms", func(job *millrace.Job) {
			job.From("a", numbers{}).Timestamps(at("g", 0)).To("out", discard[int64]{})
		}},
		{"not a source", "only for what job.From returned", func(job *millrace.Job) {
			job.From("a", numbers{}).Map(func(i int64) int64 { return i }).Timestamps(at("g", time.Second)).To("out", discard[int64]{})
		}},
		{"two drifts", "is 1s elsewhere", func(job *millrace.Job) {
			job.From("a", numbers{}).Timestamps(at("g", time.Second)).To("out", discard[int64]{})
			job.From("b", numbers{}).Timestamps(at("g", time.Minute)).To("out-b", discard[int64]{})
		}},
		{"another reader", "nothing else may read", func(job *millrace.Job) {
			a := job.From("a", numbers{})
			a.Timestamps(at("g", time.Second)).To("out", discard[int64]{})
			a.To("raw", discard[int64]{})
		}},
		{"a mistake of the program's own", "from must be before to", func(job *millrace.Job) {
			job.From("a", numbers{}).To("out", discard[int64]{})
			job.Fail("from must be before to")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := millrace.Run(t.Context(), "wrong", tt.build)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "align_test.go:") {
				t.Errorf("got %v, want %q with its line", err, tt.want)
			}
		})
	}
}
