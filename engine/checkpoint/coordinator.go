package checkpoint

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Options are what a [Coordinator] is made of.
type Options struct {
	Config   Config
	Topology Topology
	// Rand spreads the first checkpoints of jobs that start together.
	Rand *rand.Rand
	// First is the first id to use; 0 takes 1. It must be above every id that
	// was ever in use, which [Reserve] helps to know.
	First ID
	// ReserveBlock is how many ids are reserved at a time; 0 reserves none,
	// for a driver that knows without.
	ReserveBlock int
	// Retained is what the job can be restored from, oldest first: the
	// checkpoints that the store has, and a savepoint to start from. If there
	// are any, the driver begins with [Recover].
	Retained []Completed
	// Attempt of every task to begin with.
	Attempt Attempt
}

// Coordinator decides when checkpoints and savepoints of one job start, when
// they are complete, and what is kept. It is a state machine: Step is its only
// way in and the returned actions its only way out. It starts no goroutine,
// reads no clock and does no I/O, so one seed replays one run exactly. It is
// not safe for concurrent use.
type Coordinator struct {
	cfg     Config
	topo    Topology
	rng     *rand.Rand
	names   []string // of tasks
	outputs [][]Task // by task: those it sends to

	now     time.Time
	out     []Action
	ended   bool
	wakeAt  time.Time // what the driver has been told
	tasks   tasks
	ids     ids
	pending []*pending // by id
	clock   schedule
	kept    kept
	recover recovery
	ending  *ending // a Stop or Drain that is complete, until the tasks have finished
	// failures in a row that count.
	failures int
	// aborted are the last ids given up, whose acks lead to files to delete.
	aborted []ID
	history history
	ignored Ignored
}

// ids hands out ids.
type ids struct {
	next     ID
	block    ID
	reserved ID // ids below may be used; meaningless if block is 0
	asked    bool
}

// New returns a coordinator of a job whose tasks are being deployed; or, if
// there is something to restore them from, wait for that. It panics if the
// configuration is not valid or the topology names tasks that do not exist.
func New(o Options) *Coordinator {
	if err := o.Config.Validate(); err != nil {
		panic(err)
	}
	n := len(o.Topology.Tasks)
	c := &Coordinator{
		cfg: o.Config, topo: o.Topology, rng: o.Rand,
		names: make([]string, n), outputs: make([][]Task, n),
		ids:     ids{next: max(o.First, 1), block: ID(o.ReserveBlock), reserved: max(o.First, 1)},
		tasks:   newTasks(n, o.Attempt),
		history: newHistory(o.Config.History, o.Topology),
	}
	subtask := 0
	for i, t := range o.Topology.Tasks {
		if i > 0 && o.Topology.Tasks[i-1].Vertex == t.Vertex {
			subtask++
		} else {
			subtask = 0
		}
		c.names[i] = fmt.Sprintf("%s-%d", t.Vertex, subtask)
		for _, in := range t.Inputs {
			c.outputs[in] = append(c.outputs[in], Task(i))
		}
	}
	c.tasks.countInputs(c.topo)
	for _, r := range o.Retained {
		if r.ID >= c.ids.next {
			panic(fmt.Sprintf("checkpoint: first id %d is not above retained %s %d", c.ids.next, r.Kind, r.ID))
		}
		c.kept.add(r)
	}
	if len(o.Retained) > 0 {
		c.recover.restoring = true
		c.tasks.loseAll()
	}
	return c
}

// Step applies ev, which happened at now, and returns what the driver must do,
// in order. now never goes back. The slice is the caller's.
func (c *Coordinator) Step(now time.Time, ev Event) []Action {
	if now.After(c.now) {
		c.now = now
	}
	c.out = nil
	if c.ended {
		if _, ok := ev.(Discarded); !ok {
			c.ignored.Late++
		}
		return nil
	}
	c.apply(ev)
	if !c.ended {
		c.expire()
		c.confirm()
		c.clean()
		c.answerRecover()
		c.renotify()
		c.start()
	}
	if w := c.nextWake(); !w.Equal(c.wakeAt) {
		c.wakeAt = w
		c.do(WakeAt{At: w})
	}
	return c.out
}

func (c *Coordinator) apply(ev Event) {
	switch ev := ev.(type) {
	case Tick:
	case Request:
		c.request(ev)
	case Running:
		c.running(ev)
	case Backlog:
		c.backlog(ev)
	case EndOfData:
		if t := c.task(ev.Task, ev.Attempt); t != nil {
			c.endOfData(t)
		}
	case Finished:
		c.finished(ev)
	case Ack:
		c.ack(ev)
	case Decline:
		c.decline(ev)
	case Failed:
		c.failed(ev)
	case TriggerFailed:
		if p := c.collecting(ev.Checkpoint); p != nil {
			c.abort(p, &AbortError{Reason: TriggerError, Cause: ev.Cause})
		}
	case Published:
		c.published(ev)
	case PublishFailed:
		if p := c.publishing(ev.Checkpoint); p != nil {
			p.certain = true
			c.abort(p, &AbortError{Reason: PublishError, Cause: ev.Cause})
		}
	case PublishUnknown:
		c.publishUnknown(ev)
	case Discarded:
		c.discarded(ev)
	case Reserved:
		c.ids.reserved, c.ids.asked = max(c.ids.reserved, ev.Below), false
	case Recover:
		c.recovering()
	case Restored:
		c.restored(ev)
	case JobEnded:
		c.jobEnded(ev.How)
	default:
		panic(fmt.Sprintf("checkpoint: unknown event %T", ev))
	}
}

func (c *Coordinator) do(a Action) { c.out = append(c.out, a) }

// Pending returns the ids of the snapshots under way, oldest first.
func (c *Coordinator) Pending() []ID {
	var is []ID
	for _, p := range c.pending {
		is = append(is, p.id)
	}
	return is
}

// Retained returns what the job could be restored from now, oldest first.
func (c *Coordinator) Retained() []Completed { return slices.Clone(c.kept.all) }

// Ignored returns how many messages changed nothing, and why.
func (c *Coordinator) Ignored() Ignored { return c.ignored }

// History returns the statistics of the job's snapshots.
func (c *Coordinator) History() History { return c.history.report(len(c.pending)) }

// nextWake is the next time at which something happens by itself; zero if
// nothing does. It is after now.
func (c *Coordinator) nextWake() time.Time {
	if c.ended {
		return time.Time{}
	}
	var w time.Time
	at := func(t time.Time) {
		if t.After(c.now) && (w.IsZero() || t.Before(w)) {
			w = t
		}
	}
	at(c.clock.due)
	for _, p := range c.pending {
		at(p.deadline)
		at(p.confirmAt)
	}
	for i := range c.kept.cleaning {
		at(c.kept.cleaning[i].deadline)
		at(c.kept.cleaning[i].retryAt)
	}
	if c.recover.asked {
		at(c.recover.deadline)
	}
	at(c.clock.renotifyAt)
	return w
}

// list names tasks, the first few of them.
func (c *Coordinator) list(ts []Task) string {
	const most = 5
	var b strings.Builder
	for i, t := range ts {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(ts)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(c.names[t])
	}
	return b.String()
}
