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
	"slices"
	"sync"

	"github.com/millrace/millrace/engine/graph"
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

	rand func(n int) int // set by Simulate
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
	return x, x.build(ctx, blocking)
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
					Blocking: blocking,
					Go:       func(f func()) { x.background.Go(f) },
					Rand:     x.opts.rand,
				}
				for _, o := range outs[n.ID] {
					cc := x.plan.ChainOf(o.consumer.ID)
					w := exchange.Wiring{BatchSize: x.opts.BatchSize, Wake: task.Waker(wakes[ti]), Index: sub, MaxParallelism: cc.MaxParallelism,
						Cursor: cursor, Consumer: o.consumer.Label()}
					for _, to := range o.edge.Targets(sub, c.Parallelism, cc.Parallelism) {
						place := o.edge.Place(sub, to, c.Parallelism, cc.Parallelism)
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
	*Execution
	done chan struct{}
	err  error
}

// Start begins to run a job. The caller calls Wait.
func Start(ctx context.Context, g *graph.Graph, opts Options) (*Running, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	x, err := New(ctx, g, opts, true)
	if err != nil {
		cancel(err)
		return nil, err
	}
	r := &Running{Execution: x, done: make(chan struct{})}
	var wg sync.WaitGroup
	var once sync.Once
	fail := func(err error) {
		if err != nil && !errors.Is(err, context.Canceled) {
			once.Do(func() {
				r.err = err
				cancel(err)
			})
		}
	}
	var opened sync.WaitGroup
	settled := make(chan struct{})
	vacant := slices.ContainsFunc(x.tasks, (*task.Task).Vacant)
	for _, t := range x.tasks {
		opened.Add(1)
		wg.Go(func() {
			if vacant {
				err := t.Open()
				fail(err)
				opened.Done()
				<-settled
				if err != nil {
					fail(t.Close())
					return
				}
			}
			fail(t.Run(ctx))
		})
	}
	if vacant {
		go func() {
			opened.Wait()
			if ctx.Err() == nil {
				fail(x.settle())
			}
			close(settled)
		}()
	}
	go func() {
		wg.Wait()
		if r.err == nil && ctx.Err() != nil {
			r.err = ctx.Err()
		}
		cancel(nil)
		x.background.Wait()
		x.tellLate()
		close(r.done)
	}()
	return r, nil
}

// settle lets everybody know of the subtasks of sources that have nothing to
// read, before anything is read. Until then event time would be held back for
// them downstream, and how long that is must not decide which records are late.
// All tasks are open, and none is run by anybody else.
func (x *Execution) settle() error {
	for again := true; again; {
		again = false
		for _, t := range x.tasks {
			if t.Source() && !t.Vacant() {
				continue
			}
			for {
				st, err := t.Step()
				if err != nil {
					return err
				}
				if !st.Ran {
					break
				}
				again = true
			}
			t.Flush()
		}
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
