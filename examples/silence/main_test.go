package main

import (
	"testing"
	"time"

	"github.com/millrace/millrace/engine/streamtest"
	"github.com/millrace/millrace/examples/internal/exampletest"
)

// All devices are silent in the end, d2 once before.
func TestDevicesThatFallSilentAreReported(t *testing.T) {
	exampletest.Prints(t, silence, map[string]string{"readings": "testdata/readings.json"}, `
		{"Device":"d2","Last":{"Device":"d2","Temp":19,"At":"2026-01-01T00:01:00Z"}}
		{"Device":"d1","Last":{"Device":"d1","Temp":21,"At":"2026-01-01T00:16:10Z"}}
		{"Device":"d2","Last":{"Device":"d2","Temp":18,"At":"2026-01-01T00:20:00Z"}}
		{"Device":"d3","Last":{"Device":"d3","Temp":-3,"At":"2026-01-01T00:25:00Z"}}`)
}

func TestSilentDeviceIsReportedOnce(t *testing.T) {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	step := streamtest.NewStep(t, silentFor(10*time.Minute))

	step.Send("d1", t0, Reading{Device: "d1", At: t0})
	step.Watermark(t0.Add(10*time.Minute - time.Millisecond))
	if out := step.Output(); len(out) != 0 {
		t.Fatalf("reported before the limit: %v", out)
	}
	step.Watermark(t0.Add(10 * time.Minute))
	if out := step.Output(); len(out) != 1 || out[0].Device != "d1" {
		t.Fatalf("at the limit: got %v, want one report of d1", out)
	}
	step.Watermark(t0.Add(time.Hour))
	if out := step.Output(); len(out) != 0 {
		t.Fatalf("reported again: %v", out)
	}
}

// The second reading is there before event time has passed the limit, as in a
// file that is read at once.
func TestSilenceBetweenReadingsIsReportedWithTheSecond(t *testing.T) {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	step := streamtest.NewStep(t, silentFor(10*time.Minute))

	for _, at := range []time.Time{t0, t0.Add(10*time.Minute - 1), t0.Add(20 * time.Minute)} {
		step.Send("d1", at, Reading{Device: "d1", At: at})
	}
	if out := step.Output(); len(out) != 1 || !out[0].Last.At.Equal(t0.Add(10*time.Minute-1)) {
		t.Fatalf("got %v, want a report of the second reading", out)
	}
	step.Watermark(t0.Add(20 * time.Minute))
	if out := step.Output(); len(out) != 0 {
		t.Fatalf("reported again: %v", out)
	}
}

// Readings that are remembered for a day are forgotten after it, even if event
// time stands still: the timer then has no reading to report.
func TestReadingIsForgottenAfterADay(t *testing.T) {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	step := streamtest.NewStep(t, silentFor(10*time.Minute), streamtest.Start(t0))

	step.Send("d1", t0, Reading{Device: "d1", Temp: 20, At: t0})
	step.ProcessingTime(t0.Add(25 * time.Hour))
	step.Watermark(t0.Add(10 * time.Minute))
	if out := step.Output(); len(out) != 0 {
		t.Fatalf("got %v, want no report of a reading that is forgotten", out)
	}
}
