// Package local runs a whole job inside one process: it makes the tasks of a
// plan, wires them to each other and drives them, each on a goroutine of its
// own or all of them from one seeded loop (see [Simulate]).
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/engine/graph"
	"github.com/millrace/millrace/engine/restart"
	"github.com/millrace/millrace/runtime/clock"
	"github.com/millrace/millrace/runtime/exchange"
	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/task"
	"github.com/millrace/millrace/runtime/watermark"
)

// Options says how a job is run. Zero fields take the defaults given.
type Options struct {
	// Job is the job's name.
	Job string
	graph.Options
	// BatchSize is the number of records in a batch; record.Size.
	BatchSize int
	// Clock tells processing time; the system's.
	Clock clock.Clock
	// Log; none.
	Log *slog.Logger

	// Checkpoints, if not nil, says how state is kept and that a job that
	// fails runs on from there.
	Checkpoints *Checkpoints
	// Fault is asked before each step of a simulation; an error ends the
	// attempt there, as a crash would. It gets the number of the attempt, from
	// 1.
	Fault func(attempt int) error

	rand func(n int) int // set by Simulate
	// Of a job that takes checkpoints: see operator.Env.
	run     string
	attempt int64
}

func (o *Options) fill() error {
	if o.BatchSize == 0 {
		o.BatchSize = record.Size
	}
	if o.BatchSize < 1 || o.BatchSize > record.SizeMax {
		return fmt.Errorf("batch size %d is not in 1..%d", o.BatchSize, record.SizeMax)
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return nil
}

// An Execution is one run of a job.
type Execution struct {
	plan  *graph.Plan
	opts  Options
	tasks []*task.Task // by chain, then subtask
	bases []int        // index of each chain's first task
	// producers of each task, in the order of its channels.
	producers [][]int
	ctx       context.Context
	stop      context.CancelCauseFunc

	background sync.WaitGroup // goroutines of operators
}

// New makes the tasks of a job. ctx ends them all. blocking lets sources and
// asynchronous operators use goroutines of their own.
func New(ctx context.Context, g *graph.Graph, opts Options, blocking bool) (*Execution, error) {
	if err := opts.fill(); err != nil {
		return nil, err
	}
	plan, err := graph.NewPlan(g, opts.Options)
	if err != nil {
		return nil, err
	}
	x := &Execution{plan: plan, opts: opts}
	x.ctx, x.stop = context.WithCancelCause(ctx)
	if err := x.build(x.ctx, blocking); err != nil {
		x.stop(err)
		return nil, err
	}
	return x, nil
}

func (x *Execution) build(ctx context.Context, blocking bool) error {
	news := make([]func() operator.Operator, len(x.plan.Graph.Nodes))
	for _, n := range x.plan.Graph.Nodes {
		f, err := n.Prepare(ctx, x.plan.ChainOf(n.ID).Parallelism)
		if err != nil {
			return fmt.Errorf("operator %s: %w", n.Name, err)
		}
		news[n.ID] = f
	}
	total := 0
	for _, c := range x.plan.Chains {
		x.bases = append(x.bases, total)
		total += c.Parallelism
	}
	x.tasks = make([]*task.Task, total)
	x.producers = make([][]int, total)
	inboxes := make([]*exchange.Inbox, total)
	wakes := make([]chan struct{}, total)
	for i := range total {
		wakes[i] = make(chan struct{}, 1) // one token, see task.Waker
		inboxes[i] = exchange.NewInbox(task.Waker(wakes[i]))
	}

	// Channels are numbered per consumer subtask: input by input, edge by edge,
	// producer by producer.
	type edgeKey struct{ consumer, edge int }
	first := map[edgeKey][]int{} // by consumer subtask: number of the edge's first channel
	inputs := make([][]int, len(x.plan.Chains))
	chanCount := make([][]map[int]int, len(x.plan.Chains)) // chain, subtask, input -> channels
	for ci, c := range x.plan.Chains {
		head := c.Nodes[0]
		nin := 0
		for _, e := range head.Inputs {
			nin = max(nin, e.Input+1)
		}
		inputs[ci] = make([]int, nin)
		chanCount[ci] = make([]map[int]int, c.Parallelism)
		for sub := range c.Parallelism {
			chanCount[ci][sub] = map[int]int{}
			next := 0
			for in := range nin {
				for ei, e := range head.Inputs {
					if e.Input != in {
						continue
					}
					from := x.plan.ChainOf(e.From)
					k := edgeKey{head.ID, ei}
					if first[k] == nil {
						first[k] = make([]int, c.Parallelism)
					}
					first[k][sub] = next
					n := e.Producers(sub, from.Parallelism, c.Parallelism)
					next += n
					chanCount[ci][sub][in] += n
				}
				if chanCount[ci][sub][in] == 0 {
					// Nobody sends here (a global edge and another subtask than
					// the first): the input has one channel, which has ended.
					inboxes[x.bases[ci]+sub].Put(exchange.Message{Channel: int32(next), Kind: exchange.End})
					chanCount[ci][sub][in] = 1
					next++
				}
			}
		}
	}

	// Consumers of each node outside its chain.
	type outEdge struct {
		consumer *graph.Node
		index    int
		edge     graph.Edge
	}
	outs := map[int][]outEdge{}
	for _, n := range x.plan.Graph.Nodes {
		for ei, e := range n.Inputs {
			if x.plan.ChainOf(n.ID) != x.plan.ChainOf(e.From) {
				outs[e.From] = append(outs[e.From], outEdge{n, ei, e})
			}
		}
	}

	for _, n := range x.plan.Graph.Nodes {
		if !n.Sink && !x.plan.Graph.Read(n) {
			x.opts.Log.Warn("nobody reads what an operator sends", "job", x.opts.Job, "operator", n.Name, "made at", n.Location)
		}
	}
	for ci, c := range x.plan.Chains {
		for sub := range c.Parallelism {
			ti := x.bases[ci] + sub
			cursor := &operator.Cursor{}
			spec := task.Spec{Name: fmt.Sprintf("%s (%d/%d)", c.Name(), sub+1, c.Parallelism)}
			var t *task.Task
			post := func() { t.Post() }
			at := map[int]int{} // node id -> index in the chain
			for _, n := range c.Nodes {
				op := news[n.ID]()
				ns := task.NodeSpec{Op: op, Parent: -1}
				if len(spec.Nodes) > 0 {
					e := n.Inputs[0]
					ns.Parent = at[e.From]
					spec.Nodes[ns.Parent].Op.Connect(e.Port, op.Input(e.Input))
				}
				ns.Env = &operator.Env{
					Ctx: ctx, Job: x.opts.Job, Name: n.Label(), UID: n.UID,
					Index: sub, Parallelism: c.Parallelism, MaxParallelism: c.MaxParallelism,
					BatchSize: x.opts.BatchSize, Clock: x.opts.Clock, Cursor: cursor, Post: post,
					Log:      x.opts.Log.With("job", x.opts.Job, "operator", n.Name, "subtask", sub),
					Yield:    func() bool { return t.Blocked() || ctx.Err() != nil },
					Blocking: blocking, Checkpointed: x.opts.Checkpoints != nil, Run: x.opts.run, Attempt: x.opts.attempt,
					Go:   func(f func()) { x.background.Go(f) },
					Rand: x.opts.rand,
				}
				for _, o := range outs[n.ID] {
					cc := x.plan.ChainOf(o.consumer.ID)
					w := exchange.Wiring{BatchSize: x.opts.BatchSize, Wake: task.Waker(wakes[ti]), Index: sub, MaxParallelism: cc.MaxParallelism,
						Cursor: cursor, Consumer: o.consumer.Label()}
					for _, to := range o.edge.Targets(sub, c.Parallelism, cc.Parallelism) {
						place := o.edge.Place(sub, to, c.Parallelism, cc.Parallelism)
						consumer := x.bases[cc.Index] + to
						if !slices.Contains(x.producers[consumer], ti) {
							x.producers[consumer] = append(x.producers[consumer], ti)
						}
						w.Targets = append(w.Targets, exchange.Target{
							Inbox:   inboxes[x.bases[cc.Index]+to],
							Channel: int32(first[edgeKey{o.consumer.ID, o.index}][to] + place),
						})
					}
					out, err := o.edge.Connect(w)
					if err != nil {
						return fmt.Errorf("operator %s: %w", n.Name, err)
					}
					op.Connect(o.edge.Port, out)
					ns.Outs = append(ns.Outs, out)
				}
				at[n.ID] = len(spec.Nodes)
				spec.Nodes = append(spec.Nodes, ns)
			}
			head := c.Nodes[0]
			for in := range inputs[ci] {
				var entry func(any) (int, error)
				for _, e := range head.Inputs {
					if e.Input == in {
						entry = e.Entry(spec.Nodes[0].Op)
						break
					}
				}
				spec.Inputs = append(spec.Inputs, task.InputSpec{Channels: chanCount[ci][sub][in], Receive: entry})
			}
			t = task.New(spec, inboxes[ti], wakes[ti])
			x.tasks[ti] = t
		}
	}
	return nil
}

// Run runs the job until its sources end (nil), ctx ends (its error) or a task
// fails (that task's error, the first in time). Nothing it started is left when
// it returns.
func Run(ctx context.Context, g *graph.Graph, opts Options) error {
	x, err := Start(ctx, g, opts)
	if err != nil {
		return err
	}
	return x.Wait()
}

// Running is a job under way.
type Running struct {
	opts    Options
	current atomic.Pointer[Execution]
	done    chan struct{}
	err     error
}

// Start begins to run a job. The caller calls Wait.
func Start(ctx context.Context, g *graph.Graph, opts Options) (*Running, error) {
	if err := opts.fill(); err != nil {
		return nil, err
	}
	var k *keeper
	var err error
	if opts.Checkpoints != nil {
		if k, err = newKeeper(ctx, &opts); err != nil {
			return nil, err
		}
	}
	x, err := New(ctx, g, opts, true)
	if err != nil {
		return nil, err
	}
	r := &Running{opts: opts, done: make(chan struct{})}
	r.current.Store(x)
	if k == nil {
		go func() {
			defer close(r.done)
			r.err = x.run(func() {})
		}()
		return r, nil
	}
	if err := k.begin(ctx, x); err != nil {
		x.stop(err)
		return nil, err
	}
	go func() {
		defer close(r.done)
		r.err = r.supervise(ctx, g, k, x)
	}()
	return r, nil
}

// run drives the tasks until all have finished or one has failed. running is
// called when all are open.
func (x *Execution) run(running func()) error {
	var failed error
	var once sync.Once
	fail := func(err error) {
		// What a task says once the job is being stopped is no news; but an
		// error that looks like a cancellation and comes before is one.
		if err != nil && x.ctx.Err() == nil {
			once.Do(func() {
				failed = err
				x.stop(err)
			})
		}
	}
	var opened, ended sync.WaitGroup
	settled := make(chan struct{})
	for _, t := range x.tasks {
		opened.Add(1)
		ended.Go(func() {
			err := func() error {
				defer opened.Done()
				return t.Open()
			}()
			fail(err)
			<-settled
			if err != nil {
				fail(t.Close())
				return
			}
			fail(t.Run(x.ctx))
		})
	}
	opened.Wait()
	if x.ctx.Err() == nil && slices.ContainsFunc(x.tasks, (*task.Task).Vacant) {
		fail(x.settle(false))
	}
	running()
	close(settled)
	ended.Wait()
	if failed == nil && x.ctx.Err() != nil {
		failed = context.Cause(x.ctx)
	}
	x.stop(nil)
	x.background.Wait()
	x.tellLate()
	return failed
}

// supervise runs attempts of the job until it ends.
func (r *Running) supervise(ctx context.Context, g *graph.Graph, k *keeper, x *Execution) error {
	strategy := restart.New(k.c.Restart, rand.New(rand.NewPCG(k.number, 7)))
	for {
		err := k.recover(ctx, x)
		if err == nil {
			r.current.Store(x)
			err = k.attend(x)
		} else {
			x.stop(err)
		}
		if err == nil || ctx.Err() != nil {
			return k.end(ctx, err)
		}
		at, fatal := k.fail(strategy, err)
		if fatal != nil {
			return k.end(ctx, fatal)
		}
		select {
		case <-time.After(at.Sub(k.now())):
		case <-ctx.Done():
			return k.end(ctx, ctx.Err())
		}
		r.opts.attempt++
		if x, err = New(ctx, g, r.opts, true); err != nil {
			return k.end(ctx, err)
		}
	}
}

// Status returns where every chain stands. Safe while the job runs.
func (r *Running) Status() []OperatorStatus { return r.current.Load().Status() }

// settle lets everybody know of the subtasks of sources that have nothing to
// read, before anything is read. Until then event time would be held back for
// them downstream, and how long that is must not decide which records are late.
// All tasks are open, and none is run by anybody else. Tasks are stepped side by
// side, unless one is told to do it alone: user code that flushes what is empty
// may take its time.
func (x *Execution) settle(alone bool) error {
	for again := true; again && x.ctx.Err() == nil; {
		var moved atomic.Bool
		var wg sync.WaitGroup
		errs := make([]error, len(x.tasks))
		for i, t := range x.tasks {
			if t.Source() && !t.Vacant() {
				continue
			}
			settle := func() {
				for x.ctx.Err() == nil {
					st, err := t.Step()
					if errs[i] = err; err != nil || !st.Ran {
						break
					}
					moved.Store(true)
				}
				t.Flush()
			}
			if alone {
				settle()
				continue
			}
			wg.Go(settle)
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		again = moved.Load()
	}
	return nil
}

// tellLate logs what has been dropped, which nobody would know otherwise.
func (x *Execution) tellLate() {
	for _, s := range x.Status() {
		for _, d := range s.LateDropped {
			x.opts.Log.Warn("late records were dropped", "job", x.opts.Job, "operator", d.Operator, "records", d.Records)
		}
	}
}

// Wait returns when the job has ended and nothing of it is left.
func (r *Running) Wait() error {
	<-r.done
	return r.err
}

// Done is closed when the job has ended.
func (r *Running) Done() <-chan struct{} { return r.done }

// OperatorStatus is where one chain of operators stands, over its subtasks.
type OperatorStatus struct {
	// Name of the chain, Head of its first operator.
	Name, Head string
	// Source says that the chain reads from outside.
	Source      bool
	Parallelism int
	// Records is the number of records that the head has handled.
	Records int64
	// Watermark is the least event time of the subtasks, in milliseconds.
	Watermark int64
	// LateDropped is how many records each of the chain's operators has dropped
	// because they came too late and nobody reads late ones. It lists those
	// that have dropped any, and follows behind a little while the job runs.
	LateDropped []LateDropped
}

// LateDropped is how many records an operator has dropped, over its subtasks.
type LateDropped struct {
	Operator string
	Records  int64
}

// Status returns where every chain stands. Safe while the job runs.
func (x *Execution) Status() []OperatorStatus {
	var out []OperatorStatus
	for ci, c := range x.plan.Chains {
		s := OperatorStatus{Name: c.Name(), Head: c.Nodes[0].Name, Source: c.Nodes[0].Source, Parallelism: c.Parallelism, Watermark: watermark.End}
		for sub := range c.Parallelism {
			t := x.tasks[x.bases[ci]+sub]
			s.Records += t.Records()
			s.Watermark = min(s.Watermark, t.Watermark())
		}
		for i, n := range c.Nodes {
			d := LateDropped{Operator: n.Label()}
			for sub := range c.Parallelism {
				d.Records += x.tasks[x.bases[ci]+sub].LateDropped(i)
			}
			if d.Records > 0 {
				s.LateDropped = append(s.LateDropped, d)
			}
		}
		out = append(out, s)
	}
	return out
}
