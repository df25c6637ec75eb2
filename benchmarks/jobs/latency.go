package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/millrace/millrace"
)

func latency() Job {
	return Job{
		Name:  "latency",
		Short: "how long after it was due a record reaches the sink",
		Long: `Records become due at a fixed rate and are counted by key. The sink compares its
clock with the time at which each record was due, not with the time at which the
source came round to making it: what is held up anywhere counts as late.
--events, if not given, is ten seconds of --rate beyond the warm-up.`,
		Unit:     "events",
		Defaults: Params{Rate: 100_000, Keys: 100_000, Warmup: 3 * time.Second},
		Flags:    []string{"keys", "warmup"},
		New: func(p Params) (*Run, error) {
			if p.Rate <= 0 {
				return nil, errors.New("latency needs a rate of at least 1 record a second")
			}
			if p.Events == 0 {
				p.Events = p.Rate * int64((p.Warmup+10*time.Second)/time.Millisecond) / 1000
			}
			pace := NewPace(p.Rate)
			fill := func(rows []Pair, times []int64, seq, step int64) {
				untimed(times)
				for i := range rows {
					rows[i] = Pair{uniformKey(seq, p.Keys), pace.Due(seq)}
					seq += step
				}
			}
			r := &Run{Results: &Tally{}, SourceTally: &Tally{}, Latency: &Histogram{}, Events: fixed(p.Events)}
			r.Build = func(j *millrace.Job) {
				j.From("pairs", &generated[Pair]{n: p.Events, fill: fill, pace: pace}).
					KeyByRef(func(p *Pair) int64 { return p.Key }).
					Process("count", func(op *millrace.Op[int64, Pair, Pair]) {
						count := op.Value[int64]("count")
						op.OnRecordRef(func(p *Pair) error {
							*count.Ref()++
							op.Emit(*p)
							return nil
						})
					}).
					To("lateness", lateness{r.Results, r.Latency, pace, int64(p.Warmup)})
			}
			// Unpaced: what the records cost to make, not to wait for.
			r.Source = sourceOnly(func(n int64) millrace.Source[Pair] { return newGenerated(n, 0, fill) }, r.SourceTally)
			r.Plain = func(ctx context.Context) error {
				counts := newFlatCounts()
				sink := latenessWriter{lateness: lateness{r.Results, r.Latency, pace, int64(p.Warmup)}, own: &Histogram{}}
				rows, times := make([]Pair, plainBatch), make([]int64, plainBatch)
				pace.Start()
				alarm, err := newAlarm()
				if err != nil {
					return err
				}
				defer alarm.close() //nolint:errcheck // only read
				for seq := int64(0); seq < p.Events; {
					due, err := pace.await(ctx, seq, alarm)
					if err != nil {
						return err
					}
					k := int(min(min(due, p.Events)-seq, plainBatch))
					fill(rows[:k], times[:k], seq, 1)
					for i := range rows[:k] {
						counts.add(rows[i].Key, 1)
					}
					if err := sink.Write(ctx, rows[:k]); err != nil {
						return err
					}
					seq += int64(k)
				}
				return sink.Close()
			}
			return r, nil
		},
	}
}
