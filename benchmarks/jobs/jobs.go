// Package jobs holds the plain benchmark jobs: small programs against the
// public API of millrace that each measure one thing the engine does, and for
// each the same work as a plain loop on one goroutine.
//
// It decides what the records are and what a job does with them. Flags,
// measuring and printing are the command's (see the package above), which
// knows a job only as a [Job].
package jobs

import (
	"context"
	"time"

	"github.com/millrace/millrace"
)

// Params is what the command line says about a run. A job reads those it names
// in Job.Flags, and the first three.
type Params struct {
	// Events is the number of records the source makes.
	Events int64
	// Parallelism is the number of subtasks of every operator.
	Parallelism int
	// Rate is how many records a second become due; 0 for as fast as can be.
	Rate int64

	// Input is a file or directory to read; Output a directory to write
	// results to. Empty for none.
	Input, Output string
	// SideInput is the table that a Nexmark query joins with.
	SideInput string
	// Bytes is how much text to make.
	Bytes int64
	// Size and Slide are those of a sliding window.
	Size, Slide time.Duration
	// Keys is the number of different keys.
	Keys int64
	// Warmup is how long results are not counted yet.
	Warmup time.Duration
}

// A Job is one benchmark.
type Job struct {
	// Name is the word that selects the job.
	Name string
	// Short is a line, Long a paragraph of help.
	Short, Long string
	// Unit is what is counted as an event.
	Unit string
	// Defaults are the values of the flags that the user does not give.
	Defaults Params
	// Flags names the flags the job takes beside those all jobs take: input,
	// output, bytes, size, slide, keys, warmup.
	Flags []string
	// New checks p, with the defaults filled in, and makes a run of it.
	New func(p Params) (*Run, error)
}

// A Run is one execution of a job.
type Run struct {
	// Prepare makes the input, before anything is measured; nil if there is
	// nothing to make. It calls progress now and then.
	Prepare func(ctx context.Context, progress func(done, total int64)) error
	// Build builds the job.
	Build func(j *millrace.Job)
	// Source builds the same source straight into a discard in one chain,
	// with n records at most.
	Source func(j *millrace.Job, n int64)
	// SourceTally counts what the discard of Source got; may be nil.
	SourceTally *Tally
	// SourceEvents is how many events there were in the records that the
	// source of Source made, in the job's unit, asked for after both have run.
	SourceEvents func() int64
	// Plain does the work of Build in a loop on the calling goroutine.
	Plain func(ctx context.Context) error
	// Events returns how many events there were, asked for after the run.
	Events func() int64
	// Results counts what reached the sink.
	Results *Tally
	// Latency is how late records reached the sink, for jobs that measure it.
	Latency *Histogram
	// Close removes what Prepare made for this run alone; may be nil.
	Close func() error
}

// All returns the jobs in the order in which help lists them.
func All() []Job {
	return []Job{passthrough(), count(), shuffle(), wordcount(), sliding(), latency()}
}

// plainBatch is how many records the plain loops make at a time. As in the
// engine, making and using them alternate while they lie in the cache.
const plainBatch = 256

// plainLoop makes n records with fill and gives them to use, a batch at a time.
func plainLoop[T any](ctx context.Context, n int64, fill Fill[T], use func(rows []T, times []int64)) error {
	rows, times := make([]T, plainBatch), make([]int64, plainBatch)
	for seq, turn := int64(0), 0; seq < n; turn++ {
		if turn%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		k := int(min(n-seq, plainBatch))
		fill(rows[:k], times[:k], seq, 1)
		use(rows[:k], times[:k])
		seq += int64(k)
	}
	return nil
}
