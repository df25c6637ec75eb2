package jobs

import (
	"context"

	"github.com/millrace/millrace"
)

// Pair is a key with a number.
type Pair struct{ Key, Value int64 }

// uniformPairs makes pairs of keys spread evenly over 0 to keys-1.
func uniformPairs(keys int64) Fill[Pair] {
	return func(rows []Pair, times []int64, seq, step int64) {
		untimed(times)
		for i := range rows {
			rows[i] = Pair{uniformKey(seq, keys), 1}
			seq += step
		}
	}
}

// uniformKey is one of keys, from 0.
func uniformKey(seq, keys int64) int64 { return int64(Mix(seq) >> 1 % uint64(keys)) }

func count() Job {
	return Job{
		Name:  "count",
		Short: "running count of a million keys",
		Long: `Pairs of numbers with evenly spread keys are counted by key; every record sends
its key's new count on to a sink that forgets it: what keyed state costs when
it does not fit the cache.`,
		Unit:     "events",
		Defaults: Params{Events: 100_000_000, Keys: 1_000_000},
		Flags:    []string{"keys"},
		New: func(p Params) (*Run, error) {
			fill := uniformPairs(p.Keys)
			r := &Run{Results: &Tally{}, SourceTally: &Tally{}, Events: fixed(p.Events)}
			source := func(n int64) millrace.Source[Pair] { return newGenerated(n, p.Rate, fill) }
			r.Build = func(j *millrace.Job) {
				j.From("pairs", source(p.Events)).
					KeyByRef(func(p *Pair) int64 { return p.Key }).
					Count("count").
					To("discard", discard[millrace.KeyCount[int64]]{r.Results})
			}
			r.Source = sourceOnly(source, r.SourceTally)
			r.Plain = func(ctx context.Context) error {
				counts := newFlatCounts()
				out := make([]Pair, plainBatch)
				err := plainLoop(ctx, p.Events, fill, func(rows []Pair, _ []int64) {
					counts.addBatch(rows, out)
					r.Results.rows.Add(int64(len(rows)))
				})
				return err
			}
			return r, nil
		},
	}
}
