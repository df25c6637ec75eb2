package checkpoint

import (
	"errors"
	"fmt"
)

// taskState is where an attempt of a task is in its life.
//
//	deploying → running → ended → finished
//	                ↘──────────↗
//
// From every state but finished it may become lost, and from every state the
// next attempt begins as deploying.
type taskState uint8

const (
	deploying taskState = iota // not yet to be triggered
	running
	ended // has processed all input, waits for a last checkpoint
	finished
	lost
)

var taskStateNames = [...]string{"being deployed", "running", "at the end of its data", "finished", "lost"}

// String returns the state in words.
func (s taskState) String() string { return taskStateNames[s] }

// tasks is what the coordinator knows of the job's tasks.
//
// Invariant: byState counts the tasks in each state, backlogs those whose
// backlog is set, and open of a task is the number of its inputs that have not
// finished.
type tasks struct {
	all      []task
	byState  [lost + 1]int
	backlogs int
}

type task struct {
	attempt Attempt
	state   taskState
	backlog bool
	said    int // Seq of the last Backlog
	open    int
}

func newTasks(n int, a Attempt) tasks {
	ts := tasks{all: make([]task, n)}
	for i := range ts.all {
		ts.all[i].attempt = a
	}
	ts.byState[deploying] = n
	return ts
}

func (ts *tasks) set(t *task, s taskState) {
	ts.byState[t.state]--
	ts.byState[s]++
	t.state = s
	if t.backlog && s != running {
		t.backlog = false
		ts.backlogs--
	}
}

func (ts *tasks) loseAll() {
	for i := range ts.all {
		if ts.all[i].state != finished {
			ts.set(&ts.all[i], lost)
		}
	}
}

// countInputs sets open of all tasks.
func (ts *tasks) countInputs(topo Topology) {
	for i := range ts.all {
		open := 0
		for _, in := range topo.Tasks[i].Inputs {
			if ts.all[in].state != finished {
				open++
			}
		}
		ts.all[i].open = open
	}
}

// alive reports whether a task can be sent messages.
func (t *task) alive() bool { return t.state == running || t.state == ended }

// atEnd reports whether all tasks have processed their input and some wait for
// a last checkpoint.
func (ts *tasks) atEnd() bool {
	return ts.byState[ended] > 0 && ts.byState[ended]+ts.byState[finished] == len(ts.all)
}

// task returns the task that a message of an attempt is about, or nil, having
// counted the message as ignored.
func (c *Coordinator) task(t Task, a Attempt) *task {
	switch {
	case t < 0 || int(t) >= len(c.tasks.all) || a > c.tasks.all[t].attempt:
		c.ignored.Unknown++
		return nil
	case a < c.tasks.all[t].attempt || c.tasks.all[t].state == lost:
		c.ignored.Stale++
		return nil
	}
	return &c.tasks.all[t]
}

func (c *Coordinator) running(ev Running) {
	t := c.task(ev.Task, ev.Attempt)
	if t == nil {
		return
	}
	if t.state != deploying {
		c.ignored.Doubled++
		return
	}
	c.tasks.set(t, running)
	if c.unready() == nil {
		c.begin()
	}
}

func (c *Coordinator) backlog(ev Backlog) {
	t := c.task(ev.Task, ev.Attempt)
	if t == nil {
		return
	}
	if ev.Seq <= t.said || t.state != running {
		c.ignored.Late++
		return
	}
	t.said = ev.Seq
	if t.backlog == ev.On {
		return
	}
	t.backlog = ev.On
	if ev.On {
		c.tasks.backlogs++
	} else {
		c.tasks.backlogs--
	}
	c.pace()
}

func (c *Coordinator) endOfData(t *task) {
	if t.state != running {
		c.ignored.Doubled++
		return
	}
	c.tasks.set(t, ended)
	c.pace()
	c.wantFinal()
}

func (c *Coordinator) finished(ev Finished) {
	t := c.task(ev.Task, ev.Attempt)
	if t == nil {
		return
	}
	if t.state == finished {
		c.ignored.Doubled++
		return
	}
	was := t.state
	c.tasks.set(t, finished)
	for _, to := range c.outputs[ev.Task] {
		c.tasks.all[to].open--
	}
	// The snapshots that it has not seen before it ended have its end as its
	// part. Of those that it has seen, an acknowledgement is under way.
	for _, p := range c.open() {
		if !p.acked[ev.Task] && p.id > ev.Last {
			c.join(p, Ack{Checkpoint: p.id, Task: ev.Task, Attempt: ev.Attempt, Finished: true})
		}
	}
	for _, p := range c.open() {
		c.trigger(p)
	}
	if was == deploying && c.unready() == nil {
		c.begin()
	}
	c.pace()
	c.wantFinal()
	if err := c.unready(); err != nil && c.tasks.byState[deploying]+c.tasks.byState[lost] == 0 {
		c.rejectAll(err) // nothing will change that
	}
	if c.ending != nil && c.tasks.byState[finished] == len(c.tasks.all) {
		c.endDone(nil)
	}
}

func (c *Coordinator) failed(ev Failed) {
	t := c.task(ev.Task, ev.Attempt)
	if t == nil {
		return
	}
	if t.state == finished {
		c.ignored.Late++
		return
	}
	c.tasks.set(t, lost)
	cause := ev.Cause
	if cause == nil {
		cause = fmt.Errorf("attempt %d is lost", ev.Attempt)
	}
	c.suspend(TaskLost, c.names[ev.Task], cause)
}

// suspend gives up what the tasks have not acknowledged and what they have not
// been asked for, because some of them will start over. Snapshots that are
// being published need the tasks no more.
func (c *Coordinator) suspend(why Reason, detail string, cause error) {
	for _, p := range c.open() {
		c.abort(p, &AbortError{Reason: why, Detail: detail, Cause: cause})
	}
	c.clock.stop()
	c.rejectAll(errors.New(why.String()))
	if c.ending != nil {
		err := &AbortError{Checkpoint: c.ending.id, Kind: c.ending.kind, Reason: why, Detail: detail, Cause: cause}
		c.endDone(fmt.Errorf("the savepoint is complete but the job did not end with it: %w", err))
	}
}
