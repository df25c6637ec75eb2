package millrace_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace"
)

// backwards sends the numbers up to n, each tenth of which comes an hour late.
func backwards(job *millrace.Job, n int64) millrace.Stream[int64] {
	return job.From("in", numbers{n: n}).EventTimeMillis(func(i *int64) int64 {
		at := *i*1000 + int64(5*time.Hour/time.Millisecond)
		if *i%10 == 9 {
			at -= int64(2 * time.Hour / time.Millisecond)
		}
		return at
	}, 0)
}

func TestDroppedLateRecordsAreTold(t *testing.T) {
	key := func(i int64) int64 { return i % 3 }
	for _, seeded := range []bool{false, true} {
		t.Run(fmt.Sprint("seeded=", seeded), func(t *testing.T) {
			var log bytes.Buffer
			var r *millrace.Running
			opt := millrace.RunOptions{Parallelism: 2, BatchSize: 1, Log: slog.New(slog.NewTextHandler(&log, nil)),
				Status: func(running *millrace.Running) { r = running }}
			if seeded {
				opt.Seed = new(uint64)
			}
			err := millrace.RunWith(t.Context(), "job", opt, func(job *millrace.Job) {
				s := backwards(job, 1000)
				s.KeyBy(key).Window(millrace.Tumbling(time.Minute)).Count("hit").To("a", discard[millrace.Result[int64, int64]]{})
				s.KeyBy(key).Window(millrace.Tumbling(time.Minute)).LateTo("late", discard[int64]{}).Count("taken").To("b", discard[millrace.Result[int64, int64]]{})
				s.KeyBy(key).SortByEventTime("sorted").To("c", discard[int64]{})
				s.KeyBy(key).Window(millrace.Tumbling(24*time.Hour)).Count("patient").To("d", discard[millrace.Result[int64, int64]]{})
			})
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Count(log.String(), "late records were dropped")
			if lines != 2 || !strings.Contains(log.String(), "operator=hit records=100\n") || !strings.Contains(log.String(), "operator=sorted records=100\n") {
				t.Errorf("logged:\n%s", &log)
			}
			if seeded {
				return // has no Status
			}
			got := map[string]int64{}
			for _, o := range r.Operators() {
				for _, d := range o.LateDropped {
					got[d.Operator] += d.Records
				}
			}
			if len(got) != 2 || got["hit"] != 100 || got["sorted"] != 100 {
				t.Errorf("got %v", got)
			}
		})
	}
}
