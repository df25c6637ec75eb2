package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/benchmarks/jobs"
)

// Report is what a run prints with --json, as one object.
type Report struct {
	// Query is the name of the job or of the Nexmark query.
	Query string `json:"query"`
	// Events is the number of events the source made (words in wordcount).
	Events int64 `json:"events"`
	// Seconds is the time from the start of the job to its end.
	Seconds         float64 `json:"seconds"`
	EventsPerSecond float64 `json:"events_per_second"`
	// CPUSeconds is user and system time of the whole process in that time.
	CPUSeconds          float64 `json:"cpu_seconds"`
	EventsPerCoreSecond float64 `json:"events_per_core_second"`
	// PeakRSSBytes is the largest resident size of the process in that time.
	PeakRSSBytes int64 `json:"peak_rss_bytes"`
	// ResultRows is the number of records that reached the sink.
	ResultRows int64 `json:"result_rows"`
	// GeneratorOnly is events per CPU second of the source straight into a
	// discard in one chain, 0 in a baseline.
	GeneratorOnly float64 `json:"generator_only_events_per_core_second"`

	Parallelism int `json:"parallelism"`
	// FirstRecordSeconds is the time from the start of the process to the
	// first record in a sink, that of the generator-only run where there is
	// one, without the time spent making input.
	FirstRecordSeconds float64        `json:"first_record_seconds,omitempty"`
	Latency            *LatencyReport `json:"latency,omitempty"`
}

// LatencyReport is how late records reached the sink.
type LatencyReport struct {
	Rate     int64   `json:"rate"`
	Samples  int64   `json:"samples"`
	P50Ms    float64 `json:"p50_ms"`
	P90Ms    float64 `json:"p90_ms"`
	P99Ms    float64 `json:"p99_ms"`
	P999Ms   float64 `json:"p99_9_ms"`
	P9999Ms  float64 `json:"p99_99_ms"`
	MaxMs    float64 `json:"max_ms"`
	OverRate bool    `json:"fell_behind,omitempty"` // the job took over 5 % longer than the rate asks for
}

// request is one run to be measured.
type request struct {
	name       string
	unit       string
	params     jobs.Params
	run        *jobs.Run
	plain      bool // the baseline instead of the job
	cpuProfile string
	progress   *progress
}

// measure makes the input, measures the source alone, then the job.
func measure(ctx context.Context, q request) (rep Report, err error) {
	p, r := q.params, q.run
	if r.Close != nil {
		defer func() {
			if cerr := r.Close(); err == nil {
				err = cerr
			}
		}()
	}
	prepared := time.Now()
	if r.Prepare != nil {
		if err := r.Prepare(ctx, q.progress.bar("making input")); err != nil {
			return rep, err
		}
		q.progress.done()
	}
	preparing := time.Since(prepared)

	opt := millrace.RunOptions{Parallelism: p.Parallelism}
	var generator *usage
	var generated int64
	first := func() time.Time { return r.Results.First() }
	if !q.plain {
		generated = sourceEvents(p.Events)
		begun := begin()
		if err := millrace.RunWith(ctx, q.name+" source", opt, func(j *millrace.Job) { r.Source(j, generated) }); err != nil {
			return rep, err
		}
		u := begun.end()
		generator = &u
		if r.SourceTally != nil {
			first = r.SourceTally.First
		}
	}

	stop, err := profileTo(q.cpuProfile)
	if err != nil {
		return rep, err
	}
	defer stop()
	begun := begin()
	if q.plain {
		err = r.Plain(ctx)
	} else {
		opt.Status = q.progress.watch(p.Events, q.unit)
		err = millrace.RunWith(ctx, q.name, opt, r.Build)
	}
	u := begun.end()
	if perr := stop(); err == nil {
		err = perr
	}
	q.progress.done()
	if err != nil {
		return rep, err
	}

	n := r.Events()
	rep = Report{
		Query: q.name, Events: n, Seconds: u.wall.Seconds(), CPUSeconds: u.cpu.Seconds(),
		EventsPerSecond: per(n, u.wall), EventsPerCoreSecond: per(n, u.cpu),
		PeakRSSBytes: u.peak, ResultRows: r.Results.Rows(), Parallelism: p.Parallelism,
	}
	if generator != nil {
		if r.SourceEvents != nil {
			generated = r.SourceEvents()
		}
		rep.GeneratorOnly = per(generated, generator.cpu)
	}
	if at := first(); !at.IsZero() {
		rep.FirstRecordSeconds = (processAge() - time.Since(at) - preparing).Seconds()
	}
	if h := r.Latency; h != nil {
		ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
		rep.Latency = &LatencyReport{Rate: p.Rate, Samples: h.Count(), MaxMs: ms(h.Max()),
			P50Ms: ms(h.Quantile(.5)), P90Ms: ms(h.Quantile(.9)), P99Ms: ms(h.Quantile(.99)),
			P999Ms: ms(h.Quantile(.999)), P9999Ms: ms(h.Quantile(.9999)),
			OverRate: u.wall.Seconds() > 1.05*float64(n)/float64(p.Rate)}
	}
	if q.plain {
		rep.Parallelism = 1
	}
	return rep, nil
}

// sourceEvents is how long the run of the source alone is: a fraction of a
// second on any machine.
func sourceEvents(events int64) int64 { return min(events, 20_000_000) }

func per(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// usage is what the process used between two instants.
type usage struct {
	wall, cpu time.Duration
	peak      int64 // bytes
}

type instant struct {
	at  time.Time
	cpu time.Duration
}

// begin clears away what came before, so that it is not charged to what
// follows: garbage, free memory not yet given back, the memory peak.
func begin() instant {
	runtime.GC()
	debug.FreeOSMemory()
	// Linux resets VmHWM on this; where it may not be written, the peak is
	// that of the whole process.
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) //nolint:errcheck
	return instant{at: time.Now(), cpu: cpuTime()}
}

func (i instant) end() usage {
	return usage{wall: time.Since(i.at), cpu: cpuTime() - i.cpu, peak: peakRSS()}
}

// cpuTime is the user and system time of all threads of the process so far.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(fmt.Sprintf("getrusage: %v", err)) // it has no way to fail
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakRSS is VmHWM in bytes. ru_maxrss will not do: a process started by
// another (go run) inherits that one's.
func peakRSS() int64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close() //nolint:errcheck // only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(v, "kB")), 10, 64)
			return kb << 10
		}
	}
	return 0
}

// processAge is the time since the system started the process, to the
// hundredth of a second that it keeps.
func processAge() time.Duration {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0
	}
	// The name in parentheses may hold blanks; the start time is field 22.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const ticks = 100 // per second, a constant of the interface
	started, err := strconv.ParseInt(fields[22-3], 10, 64)
	if err != nil {
		return 0
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano()) - time.Duration(started)*(time.Second/ticks)
}
