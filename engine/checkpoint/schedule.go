package checkpoint

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// queueMost requests may wait, as in Flink.
	queueMost = 1000
	// renotifyPause is the time after which tasks that can end only once they
	// have heard of a snapshot's completion are told again.
	renotifyPause = 10 * time.Second
	// finalPause is the time after which the last checkpoint is tried again.
	finalPause = time.Second
)

// schedule is when the next snapshots start, and of which last one the tasks
// have been told.
type schedule struct {
	// due is when the next periodic checkpoint starts; zero if none does. If it
	// is over, the checkpoint waits for others to end.
	due time.Time
	// on says that all tasks have run since the last failure.
	on bool
	// completed is when a snapshot last completed.
	completed time.Time
	queue     []Request

	// committed is the newest snapshot that sinks are to commit, subsumed the
	// newest one dropped.
	committed, subsumed ID
	renotifyAt          time.Time

	// final is not 0 when all tasks wait for a last checkpoint: one with this
	// id or a later one. finalDone says that it has completed.
	final     ID
	finalDone bool
}

func (s *schedule) stop() { s.on = false }

// unready says why no snapshot can be taken now; nil if one can.
func (c *Coordinator) unready() error {
	by := &c.tasks.byState
	switch {
	case c.recover.restoring:
		return errors.New("the job is being restored")
	case c.ending != nil:
		return fmt.Errorf("the job is ending with savepoint %d", c.ending.id)
	case by[finished] == len(c.tasks.all):
		return errors.New("all tasks have finished")
	case by[finished] > 0 && !c.cfg.AfterTasksFinish:
		return errors.New("some tasks have finished, and checkpoints after that are switched off")
	case by[deploying]+by[lost] > 0:
		var ts []Task
		for i := range c.tasks.all {
			if s := c.tasks.all[i].state; s == deploying || s == lost {
				ts = append(ts, Task(i))
			}
		}
		return fmt.Errorf("not all required tasks are running: %s", c.list(ts))
	}
	return nil
}

// begin starts the periodic checkpoints after all tasks have begun to run. One
// that was due later than now before a failure stays due.
func (c *Coordinator) begin() {
	if c.clock.on {
		return
	}
	c.clock.on = true
	period := c.cfg.interval(c.tasks.backlogs > 0)
	if period == 0 {
		c.clock.due = time.Time{}
		return
	}
	delay := c.cfg.MinPause
	if spread := period - c.cfg.MinPause; spread > 0 && c.rng != nil {
		delay += time.Duration(c.rng.Int64N(int64(spread) + 1))
	}
	first := c.now.Add(delay)
	if !c.clock.due.After(c.now) || first.Before(c.clock.due) {
		c.clock.due = first
	}
}

// pace adapts the next start to the interval that holds now.
func (c *Coordinator) pace() {
	if !c.clock.on || c.clock.final != 0 {
		return
	}
	period := c.cfg.interval(c.tasks.backlogs > 0)
	switch next := c.now.Add(period); {
	case period == 0:
		c.clock.due = time.Time{}
	case c.clock.due.IsZero() || next.Before(c.clock.due):
		c.clock.due = next
	}
}

// wantFinal starts the last checkpoint as soon as all tasks wait for it.
func (c *Coordinator) wantFinal() {
	if c.clock.final == 0 && c.cfg.Final() && c.tasks.atEnd() {
		c.clock.final = c.ids.next
		c.clock.due = c.now
	}
}

// retryFinal has the last checkpoint tried again if it was p, which is given up.
func (c *Coordinator) retryFinal(p *pending) {
	if c.clock.final == 0 || c.clock.finalDone || p.id < c.clock.final {
		return
	}
	if at := c.now.Add(max(finalPause, c.cfg.MinPause)); c.clock.due.IsZero() || at.Before(c.clock.due) {
		c.clock.due = at
	}
}

// request puts r into the queue: savepoints first, then by time.
func (c *Coordinator) request(r Request) {
	if err := c.unready(); err != nil {
		c.reject(r, err)
		return
	}
	q := c.clock.queue
	i := len(q)
	if r.Kind.Savepoint() {
		i = slices.IndexFunc(q, func(o Request) bool { return !o.Kind.Savepoint() })
		if i < 0 {
			i = len(q)
		}
	}
	q = slices.Insert(q, i, r)
	if len(q) > queueMost {
		c.reject(q[queueMost], fmt.Errorf("%d requests wait before it", queueMost))
		q = q[:queueMost]
	}
	c.clock.queue = q
}

func (c *Coordinator) reject(r Request, err error) {
	c.do(Answer{Request: r.ID, Err: fmt.Errorf("%s: %w", r.Kind, err)})
}

func (c *Coordinator) rejectAll(err error) {
	for _, r := range c.clock.queue {
		c.reject(r, err)
	}
	c.clock.queue = nil
}

// start starts what may start now. One savepoint at a time, and no checkpoint
// beside it: a barrier that follows another one closely makes tasks give up the
// alignment of the first. A savepoint does not wait for a checkpoint, however.
func (c *Coordinator) start() {
	for c.unready() == nil && c.idFree() {
		r, ok := c.nextRequest()
		if ok {
			c.launch(r.Kind, &r)
			continue
		}
		if !c.periodicDue() {
			return
		}
		c.launch(Checkpoint, nil)
		c.reschedule()
	}
}

// nextRequest takes the next request that may start from the queue.
func (c *Coordinator) nextRequest() (Request, bool) {
	if len(c.clock.queue) == 0 {
		return Request{}, false
	}
	r := c.clock.queue[0]
	if r.Kind.Savepoint() && c.count(true) > 0 || !r.Kind.Savepoint() && !c.room() {
		return Request{}, false
	}
	c.clock.queue = slices.Delete(c.clock.queue, 0, 1)
	return r, true
}

// count returns the number of savepoints, or of checkpoints, under way.
func (c *Coordinator) count(savepoints bool) int {
	n := 0
	for _, p := range c.pending {
		if p.kind.Savepoint() == savepoints {
			n++
		}
	}
	return n
}

// room reports whether a checkpoint may start beside what is under way, and
// deletion keeps up.
func (c *Coordinator) room() bool {
	return c.count(true) == 0 && c.count(false) < c.cfg.MaxConcurrent && len(c.kept.cleaning) <= c.cfg.MaxConcurrent
}

// periodicDue reports whether a periodic checkpoint starts now. If it is too
// soon after the last snapshot it becomes due when it no longer is. The last
// checkpoint of the job does not wait.
func (c *Coordinator) periodicDue() bool {
	s := &c.clock
	if s.due.IsZero() || s.due.After(c.now) || !s.on || !c.room() {
		return false
	}
	if len(s.queue) > 0 {
		return false
	}
	if !s.completed.IsZero() && s.final == 0 {
		if pause := s.completed.Add(c.cfg.MinPause); pause.After(c.now) {
			s.due = pause
			return false
		}
	}
	return true
}

// reschedule sets the start after the one that happens now: on the grid of the
// period, unless that is already over.
func (c *Coordinator) reschedule() {
	period := c.cfg.interval(c.tasks.backlogs > 0)
	if period == 0 {
		c.clock.due = time.Time{}
		return
	}
	if c.clock.due = c.clock.due.Add(period); !c.clock.due.After(c.now) {
		c.clock.due = c.now.Add(period)
	}
}

// idFree reports whether the next id may be used, and asks for more if not and
// there is something to use it for.
func (c *Coordinator) idFree() bool {
	d := &c.ids
	if d.block == 0 || d.next < d.reserved {
		return true
	}
	wanted := len(c.clock.queue) > 0 || !c.clock.due.IsZero() && !c.clock.due.After(c.now)
	if wanted && !d.asked {
		d.asked = true
		c.do(Reserve{Below: d.next + d.block})
	}
	return false
}

// renotify tells tasks again what they cannot end without.
func (c *Coordinator) renotify() {
	if c.ending == nil && !c.clock.finalDone {
		c.clock.renotifyAt = time.Time{}
		return
	}
	if !c.clock.renotifyAt.IsZero() && !c.clock.renotifyAt.After(c.now) {
		c.notify()
	}
}
