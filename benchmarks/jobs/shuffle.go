package jobs

import (
	"context"

	"github.com/millrace/millrace"
)

// Wide is a record of 100 bytes, which lie in 104.
type Wide struct {
	Key, Time int64
	Payload   [84]byte
}

// wideRecords makes records with keys spread evenly over 0 to keys-1.
func wideRecords(keys int64) Fill[Wide] {
	payloads := make([][84]byte, 1024)
	for i := range payloads {
		for j := range payloads[i] {
			payloads[i][j] = byte(Mix(int64(i*84 + j)))
		}
	}
	return func(rows []Wide, times []int64, seq, step int64) {
		untimed(times)
		for i := range rows {
			w := &rows[i]
			w.Key, w.Time = uniformKey(seq, keys), seq/1000
			w.Payload = payloads[seq&1023]
			seq += step
		}
	}
}

func shuffle() Job {
	return Job{
		Name:  "shuffle",
		Short: "records of 100 bytes to the subtask of their key",
		Long: `Records of 100 bytes go to the subtask that owns their key and are forgotten
there, one by one and without state: what it costs to take records apart by
key.`,
		Unit:     "events",
		Defaults: Params{Events: 100_000_000, Keys: 1_000_000},
		Flags:    []string{"keys"},
		New: func(p Params) (*Run, error) {
			fill := wideRecords(p.Keys)
			r := &Run{Results: &Tally{}, SourceTally: &Tally{}, Events: fixed(p.Events)}
			source := func(n int64) millrace.Source[Wide] { return newGenerated(n, p.Rate, fill) }
			r.Build = func(j *millrace.Job) {
				j.From("records", source(p.Events)).
					KeyByRef(func(w *Wide) int64 { return w.Key }).
					Process("discard", func(op *millrace.Op[int64, Wide, struct{}]) {
						rows := int64(0)
						op.OnRecordRef(func(*Wide) error {
							if rows == 0 {
								r.Results.Arrived()
							}
							rows++
							return nil
						})
						op.OnClose(func() error {
							r.Results.rows.Add(rows)
							return nil
						})
					})
			}
			r.Source = sourceOnly(source, r.SourceTally)
			r.Plain = func(ctx context.Context) error {
				return plainLoop(ctx, p.Events, fill, func(rows []Wide, _ []int64) { r.Results.rows.Add(int64(len(rows))) })
			}
			return r, nil
		},
	}
}
