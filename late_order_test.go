package millrace_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace"
)

// events is a source of one split: keys with event times in milliseconds, in
// the order in which they come.
type events []struct{ Key, At int64 }

func (events) Bounded() bool { return true }
func (e events) Splits(context.Context, int) ([]millrace.Split, error) {
	return []millrace.Split{{ID: "events"}}, nil
}
func (e events) Open(context.Context, millrace.Split, millrace.Position) (millrace.Reader[int64], error) {
	return &eventReader{e, 0}, nil
}

type eventReader struct {
	events
	next int
}

func (r *eventReader) Read(_ context.Context, out *millrace.Rows[int64]) error {
	for out.Room() > 0 {
		if r.next == len(r.events) {
			return io.EOF
		}
		out.AppendAt(r.events[r.next].Key, r.events[r.next].At)
		r.next++
	}
	return nil
}
func (r *eventReader) Position() millrace.Position { return nil }
func (r *eventReader) Close() error                { return nil }

// punctual makes a watermark three seconds behind each record.
type punctual struct{ wm int64 }

func (p *punctual) OnEvent(_ *int64, at int64) int64 { p.wm = max(p.wm, at-3001); return p.wm }
func (p *punctual) OnPeriodic() int64                { return p.wm }

// Which records are late, and which sessions touch, follows from the order of
// the input alone, one record after the other: not from batches, nor from when
// subtasks without input say so.
func TestWhatIsLateDoesNotDependOnHowTheJobIsRun(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	var in events
	for at := int64(0); len(in) < 1500; at += rng.Int64N(300) {
		late := rng.Int64N(2500)
		if rng.IntN(8) == 0 {
			late = 2900 + rng.Int64N(6000)
		}
		in = append(in, struct{ Key, At int64 }{rng.Int64N(4), at - late})
	}
	// The model: windows and sessions by the definition, watermark after each record.
	var want []string
	wm := int64(-1 << 62)
	tumbling := map[[2]int64]int{}
	sessions := map[int64][][3]int64{} // by key: start, end, records
	fire := func(to int64) {
		for w, n := range tumbling {
			if w[1]+1000-1 <= to {
				want = append(want, fmt.Sprint("window ", w[0], " ", w[1], " ", n))
				delete(tumbling, w)
			}
		}
		for k, ss := range sessions {
			sessions[k] = slices.DeleteFunc(ss, func(s [3]int64) bool {
				if s[1]-1 > to {
					return false
				}
				want = append(want, fmt.Sprint("session ", k, " ", s[0], " ", s[1], " ", s[2]))
				return true
			})
		}
		wm = to
	}
	late := 0
	for _, e := range in {
		if start := e.At - ((e.At%1000)+1000)%1000; start+1000-1 > wm {
			tumbling[[2]int64{e.Key, start}]++
		} else {
			late++
		}
		s, rest := [3]int64{e.At, e.At + 700, 1}, [][3]int64{}
		for _, o := range sessions[e.Key] {
			if o[0] <= s[1] && s[0] <= o[1] {
				s = [3]int64{min(s[0], o[0]), max(s[1], o[1]), s[2] + o[2]}
				continue
			}
			rest = append(rest, o)
		}
		if s[1]-1 > wm {
			rest = append(rest, s)
		}
		sessions[e.Key] = rest
		fire(max(wm, e.At-3000-1))
	}
	fire(1 << 62)
	slices.Sort(want)
	if late < 30 {
		t.Fatalf("only %d records are late", late)
	}
	for name, stamps := range map[string]millrace.Timestamps[int64]{
		"bounded":   {MaxDelay: 3 * time.Second},
		"generator": {Generator: func() millrace.WatermarkGenerator[int64] { return &punctual{-1 << 62} }},
	} {
		t.Run(name, func(t *testing.T) { checkLate(t, in, stamps, want) })
	}
}

func checkLate(t *testing.T, in events, stamps millrace.Timestamps[int64], want []string) {
	everyWay(t, func(t *testing.T, opt millrace.RunOptions) {
		out := &collect[string]{}
		err := millrace.RunWith(t.Context(), "late", opt, func(job *millrace.Job) {
			keyed := job.From("events", in).Timestamps(stamps).KeyBy(func(k int64) int64 { return k })
			windows := keyed.Window(millrace.Tumbling(time.Second)).Count("windows")
			windows.Map(func(r millrace.Result[int64, int64]) string {
				return fmt.Sprint("window ", r.Key, " ", r.Window.StartMillis, " ", r.Value)
			}).To("windows-out", out)
			keyed.Window(millrace.Session(700*time.Millisecond)).Count("sessions").Map(func(r millrace.Result[int64, int64]) string {
				return fmt.Sprint("session ", r.Key, " ", r.Window.StartMillis, " ", r.Window.EndMillis, " ", r.Value)
			}).To("sessions-out", out)
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(out.recs)
		if !slices.Equal(out.recs, want) {
			for _, w := range want {
				if i := slices.Index(out.recs, w); i >= 0 {
					out.recs = slices.Delete(out.recs, i, i+1)
					continue
				}
				t.Errorf("missing: %s", w)
			}
			t.Fatalf("too many: %v", out.recs)
		}
	})
}
