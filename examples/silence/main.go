// One alert when a device that was seen goes silent for ten minutes.
//
//	go run ./silence --readings silence/testdata/readings.json
package main

import (
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/files"
	"github.com/millrace/millrace/connectors/format/json"
	"github.com/millrace/millrace/connectors/stdio"
)

type Reading struct {
	Device string
	Temp   float64
	At     time.Time
}
type Silent struct {
	Device string
	Last   Reading
}

func main() { millrace.Main("silence", silence) }

func silence(job *millrace.Job) {
	job.From("readings", files.Read(job.Param("readings", "silence/testdata/readings.json", "readings of devices"), json.Of[Reading]())).
		EventTime(func(r Reading) time.Time { return r.At }, 30*time.Second).
		KeyBy(device).
		SortByEventTime("in-order").
		KeyBy(device).
		Process("silence", silentFor(job.ParamDuration("limit", 10*time.Minute, "silence to report"))).
		To("out", stdio.Print[Silent](stdio.Options{JSON: true}))
}

func device(r Reading) string { return r.Device }

// silentFor expects the readings of a device in the order of their times.
func silentFor(limit time.Duration) func(*millrace.Op[string, Reading, Silent]) {
	return func(op *millrace.Op[string, Reading, Silent]) {
		last := op.Value[Reading]("last-reading", millrace.TTL(24*time.Hour))
		op.OnRecord(func(r Reading) error {
			if prev, ok := last.Load(); ok {
				op.ClearTimer(prev.At.Add(limit))
				if r.At.Sub(prev.At) >= limit { // records may be ahead of the timers
					op.Emit(Silent{Device: op.Key(), Last: prev})
				}
			}
			last.Set(r)
			op.SetTimer(r.At.Add(limit))
			return nil
		})
		op.OnTimer(func(time.Time) error {
			if prev, ok := last.Load(); ok { // else forgotten after a day
				op.Emit(Silent{Device: op.Key(), Last: prev})
				last.Clear()
			}
			return nil
		})
	}
}
