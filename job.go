package millrace

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/millrace/millrace/engine/graph"
	"github.com/millrace/millrace/engine/local"
	"github.com/millrace/millrace/runtime/clock"
	"github.com/millrace/millrace/runtime/exchange"
	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/task"
	"github.com/millrace/millrace/runtime/watermark"
	"github.com/millrace/millrace/state/blob"
)

// Job collects the operators of one program. A Job is built by one goroutine.
// Mistakes found while building (a reused id, a key that cannot be hashed) are
// kept with the file and line of the call and reported together when the job
// is started.
type Job struct {
	name  string
	g     graph.Graph
	opts  local.Options
	fuses []func()

	params  params
	ended   []func() error
	aligned map[string]alignGroup
}

// alignGroup is a group of sources that stay together in event time.
type alignGroup struct {
	drift time.Duration
	group *operator.Alignment
}

// Name returns the name given to [Main] or [Run].
func (j *Job) Name() string { return j.name }

// Parallelism sets how many subtasks run each operator that does not say
// itself. The default is what the caller of the program asks for (the
// --parallelism flag of [Main]), else the number of processors.
func (j *Job) Parallelism(n int) { j.opts.Parallelism = n }

// MaxParallelism sets the number of key groups, the upper bound of the
// parallelism that the job's state can ever be rescaled to: 1 to 32768. 0, the
// default, derives it from each operator's parallelism (at least 128).
func (j *Job) MaxParallelism(n int) { j.opts.MaxParallelism = n }

// DisableChaining gives every operator a task of its own. It is for finding out
// which operator costs what; jobs are faster without it.
func (j *Job) DisableChaining() { j.opts.NoChaining = true }

// BatchSize sets how many records travel together, 1 to 4096. The default, 256,
// is right but for very large records.
func (j *Job) BatchSize(n int) { j.opts.BatchSize = n }

// From adds a source. Read positions are kept in checkpoints under id.
func (j *Job) From[T any](id string, src Source[T]) Stream[T] {
	st := &sourceStep[T]{id: id, src: src}
	st.stamping.Strategy = watermark.Monotonous()
	st.stamping.Idleness = watermark.DefaultIdleness()
	n := j.g.Add(graph.Node{UID: id, Name: id, Source: true, Location: caller(), Prepare: st.prepare})
	return Stream[T]{job: j, node: n, source: st}
}

// sourceStep is a source while the job is built and started.
type sourceStep[T any] struct {
	id       string
	src      Source[T]
	stamping operator.Stamping[T]
}

func (s *sourceStep[T]) prepare(ctx context.Context, parallelism int) (func() operator.Operator, error) {
	splits, bounded, err := s.list(ctx, parallelism)
	if err != nil {
		return nil, fmt.Errorf("list splits: %w", err)
	}
	var list []operator.Split
	seen := map[string]bool{}
	for _, sp := range splits {
		if seen[sp.ID] {
			return nil, fmt.Errorf("list splits: the source names split %q twice", sp.ID)
		}
		seen[sp.ID] = true
		list = append(list, operator.Split{ID: sp.ID, Data: sp.Data})
	}
	enum := operator.NewEnumerator(list, bounded, parallelism)
	return func() operator.Operator {
		return &operator.Source[T, BadRecord]{Enumerator: enum, Stamping: s.stamping,
			Open_: func(ctx context.Context, sp operator.Split) (operator.SplitReader[T, BadRecord], error) {
				r, err := s.src.Open(ctx, Split{ID: sp.ID, Data: sp.Data}, Position(sp.At))
				if err != nil {
					return nil, err
				}
				_, inline := r.(InlineReader)
				return &splitReader[T]{r: r, inline: inline, id: s.id}, nil
			}}
	}, nil
}

// list asks the source for its splits. No task runs yet that could make an error
// of a panic.
func (s *sourceStep[T]) list(ctx context.Context, parallelism int) (splits []Split, bounded bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	splits, err = s.src.Splits(ctx, parallelism)
	return splits, s.src.Bounded(), err
}

// splitReader makes a user's Reader one of the engine's.
type splitReader[T any] struct {
	r      Reader[T]
	rows   Rows[T]
	inline bool
	id     string // of the source
}

func (r *splitReader[T]) Read(ctx context.Context, out *record.Batch[T], bad []BadRecord) ([]BadRecord, time.Duration, error) {
	r.rows = Rows[T]{batch: out, bad: bad}
	err := r.r.Read(ctx, &r.rows)
	for i := range r.rows.bad {
		r.rows.bad[i].Source = r.id
	}
	return r.rows.bad, r.rows.wait, err
}

func (r *splitReader[T]) Position() []byte { return r.r.Position() }
func (r *splitReader[T]) Close() error     { return r.r.Close() }
func (r *splitReader[T]) Inline() bool     { return r.inline }

// finish brings the graph into the form that is run.
func (j *Job) finish() *graph.Graph {
	for _, f := range j.fuses {
		f()
	}
	j.fuses = nil
	return &j.g
}

// RunOptions says how [RunWith] runs a job. Zero fields take the defaults given.
type RunOptions struct {
	// Parallelism of operators that do not say; the number of processors. It
	// gives way to [Job.Parallelism].
	Parallelism int
	// BatchSize is the number of records that travel together; 256.
	BatchSize int
	// NoChaining gives every operator a task of its own.
	NoChaining bool
	// Clock tells processing time; the system's.
	Clock clock.Clock
	// Log receives what happens to the job; nothing is logged without it.
	Log *slog.Logger
	// Params are the values of the job's parameters; see [Job.Param].
	Params map[string]string
	// Settings by Flink's keys: execution.checkpointing.interval and
	// execution.checkpointing.dir have the job take checkpoints, from which it
	// goes on after a failure (restart-strategy.*), and when it is started
	// again under the same name with the same folder. A job that ends well
	// deletes them; one that is cancelled or fails does not, unless
	// execution.checkpointing.externalized-checkpoint-retention says so.
	Settings map[string]string
	// Seed, if not nil, runs the whole job from one loop on the calling
	// goroutine, in an order of steps that the seed decides: the same seed,
	// the same order. For tests.
	Seed *uint64
	// Fault, with a Seed, is asked before each step; an error it returns ends
	// the attempt there, as the death of its process would, and the job is
	// restarted from its last checkpoint as its settings say. It is given the
	// number of the attempt, from 1.
	Fault func(attempt int) error
	// Store keeps the checkpoints in place of the folder that the settings
	// name: for tests, which take a *blob.Memory.
	Store blob.Store
	// Status, if not nil, is called with the job once it runs.
	Status func(*Running)
}

// Running is a job under way, for those who watch it.
type Running struct{ x *local.Running }

// OperatorStatus is where one chain of operators stands, over its subtasks.
type OperatorStatus = local.OperatorStatus

// LateDropped is how many records an operator has dropped because they came too
// late (Flink's numLateRecordsDropped). It is in [OperatorStatus], and logged as
// a warning when the job ends. [WindowedStream.LateTo] and its like take late
// records instead.
type LateDropped = local.LateDropped

// Operators returns where every chain of operators stands. It may be called
// from any goroutine while the job runs and after.
func (r *Running) Operators() []OperatorStatus { return r.x.Status() }

// Run builds and runs the program inside this process until its sources end
// (nil), ctx ends (its error) or an operator fails. It is what tests and local
// trials call. Nothing it started is left when it returns.
func Run(ctx context.Context, name string, build func(*Job)) error {
	return RunWith(ctx, name, RunOptions{}, build)
}

// RunWith is [Run] with options.
func RunWith(ctx context.Context, name string, opt RunOptions, build func(*Job)) error {
	j := &Job{name: name, params: params{given: opt.Params}}
	build(j)
	return j.run(ctx, opt)
}

// run runs a job that has been built.
func (j *Job) run(ctx context.Context, opt RunOptions) error {
	name := j.name
	if err := j.params.check(); err != nil {
		return fmt.Errorf("job %s: %w", name, err)
	}
	o := j.opts
	o.Job = name
	if o.Parallelism == 0 {
		o.Parallelism = opt.Parallelism
	}
	if o.Parallelism == 0 {
		o.Parallelism = runtime.GOMAXPROCS(0)
	}
	if o.BatchSize == 0 {
		o.BatchSize = opt.BatchSize
	}
	o.NoChaining = o.NoChaining || opt.NoChaining
	o.Clock, o.Log = opt.Clock, opt.Log
	var err error
	o.Fault = opt.Fault
	if o.Checkpoints, err = checkpoints(ctx, name, opt.Settings, opt.Store); err != nil {
		return fmt.Errorf("job %s: %w", name, err)
	}
	g := j.finish()
	if opt.Seed != nil {
		err = local.Simulate(ctx, g, o, *opt.Seed)
	} else {
		var r *local.Running
		r, err = local.Start(ctx, g, o)
		if err == nil {
			if opt.Status != nil {
				opt.Status(&Running{r})
			}
			err = r.Wait()
		}
	}
	if err != nil {
		return fmt.Errorf("job %s: %w", name, err)
	}
	for _, f := range j.ended {
		if err := f(); err != nil {
			return fmt.Errorf("job %s: after its end: %w", name, err)
		}
	}
	return nil
}

// Fail records a mistake of the program, such as parameters that do not go
// together. It is reported with the file and line of the call, beside all
// others, and the job does not start.
func (j *Job) Fail(format string, args ...any) { j.g.Fail(caller(), format, args...) }

// OnEnd has f called when the job has ended without an error, in the process
// that started it: the place to print what a bounded job found.
func (j *Job) OnEnd(f func() error) { j.ended = append(j.ended, f) }

// here is the folder of this package's source files, by which caller tells the
// user's frames from the API's own.
var here = func() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}()

// caller returns file:line of the innermost call that is not in this package.
func caller() string {
	pcs := make([]uintptr, 16)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		if f.File != "" && (filepath.Dir(f.File) != here || strings.HasSuffix(f.File, "_test.go")) {
			return fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if !more {
			return "unknown place"
		}
	}
}

// always makes a Prepare function of a constructor.
func always(f func() operator.Operator) func(context.Context, int) (func() operator.Operator, error) {
	return func(context.Context, int) (func() operator.Operator, error) { return f, nil }
}

// entry makes the Entry function of an edge into an input of records of T.
func entry[T any](input int) func(operator.Operator) func(any) (int, error) {
	return func(op operator.Operator) func(any) (int, error) {
		return task.Entry(op.Input(input).(operator.Receiver[T]))
	}
}

func rebalance[T any](w exchange.Wiring) (exchange.Output, error) {
	return exchange.NewRebalance[T](w), nil
}
