package checkpoint

import (
	"fmt"
	"slices"
	"time"
)

// confirmPause is the time between two questions to the store about a manifest
// whose publication had an unknown result.
const confirmPause = time.Second

// abortedKept is how many ids given up are remembered, so that the files of
// acknowledgements that come later can be deleted. Those of even later ones
// are left to whoever cleans up the store.
const abortedKept = 256

// A pending snapshot collects acknowledgements until it has all, and is then
// being published.
//
// Invariant: missing is the number of tasks that are not in acked; while it is
// not zero, every task that is not in acked is alive and of the attempt that it
// had when the snapshot was triggered.
type pending struct {
	id        ID
	kind      Kind
	request   *Request // nil if periodic
	full      bool
	triggered time.Time
	deadline  time.Time
	acks      []Ack // by task
	acked     []bool
	told      []bool // by task: has been sent a trigger
	missing   int

	publishing bool
	certain    bool      // the manifest is not there and never will be
	confirmAt  time.Time // when to ask the store again; zero if it is at work
	confirms   int
}

// open returns the snapshots that wait for acknowledgements. The slice is the
// caller's, the list may change under it.
func (c *Coordinator) open() []*pending {
	var ps []*pending
	for _, p := range c.pending {
		if !p.publishing {
			ps = append(ps, p)
		}
	}
	return ps
}

func (c *Coordinator) find(id ID) *pending {
	for _, p := range c.pending {
		if p.id == id {
			return p
		}
	}
	return nil
}

// collecting returns the snapshot that a message is about, if it still waits
// for acknowledgements; else it counts the message as ignored.
func (c *Coordinator) collecting(id ID) *pending {
	p := c.find(id)
	switch {
	case p != nil && !p.publishing:
		return p
	case id <= 0 || id >= c.ids.next:
		c.ignored.Unknown++
	default:
		c.ignored.Late++
	}
	return nil
}

// publishing is the same for snapshots that are being published.
func (c *Coordinator) publishing(id ID) *pending {
	p := c.find(id)
	switch {
	case p != nil && p.publishing:
		return p
	case id <= 0 || id >= c.ids.next || p != nil:
		c.ignored.Unknown++
	default:
		c.ignored.Late++
	}
	return nil
}

// launch starts a snapshot with the next id.
func (c *Coordinator) launch(kind Kind, r *Request) {
	p := &pending{
		id: c.ids.next, kind: kind, request: r,
		full:      c.kept.full || r != nil && r.Full,
		triggered: c.now, deadline: c.now.Add(c.cfg.Timeout),
		acks:  make([]Ack, len(c.tasks.all)),
		acked: make([]bool, len(c.tasks.all)),
		told:  make([]bool, len(c.tasks.all)),
	}
	c.ids.next++
	for i := range c.tasks.all {
		t := &c.tasks.all[i]
		if t.state == finished {
			p.acks[i] = Ack{Checkpoint: p.id, Task: Task(i), Attempt: t.attempt, Finished: true}
			p.acked[i] = true
		} else {
			p.missing++
		}
	}
	c.pending = append(c.pending, p)
	c.history.started(p, c.cfg)
	c.trigger(p)
}

// trigger tells those tasks that no barrier will reach: sources, and tasks
// whose inputs have all finished.
func (c *Coordinator) trigger(p *pending) {
	var roots []Task
	for i := range c.tasks.all {
		if t := &c.tasks.all[i]; t.open == 0 && !p.acked[i] && !p.told[i] {
			p.told[i] = true
			roots = append(roots, Task(i))
		}
	}
	if len(roots) == 0 {
		return
	}
	a := Trigger{Checkpoint: p.id, Kind: p.kind, Tasks: roots, At: p.triggered, Mode: c.cfg.Mode, Full: p.full}
	if p.kind == Checkpoint && c.cfg.Unaligned {
		a.Unaligned, a.AlignedTimeout = true, c.cfg.AlignedTimeout
	}
	if p.request != nil {
		a.Format, a.Target = p.request.Format, p.request.Target
	}
	c.do(a)
}

func (c *Coordinator) ack(a Ack) {
	t := c.task(a.Task, a.Attempt)
	p := c.find(a.Checkpoint)
	switch {
	case p == nil && slices.Contains(c.aborted, a.Checkpoint):
		// Whichever attempt it is from, nobody will read what it wrote.
		if t != nil {
			c.ignored.Late++
		}
		if a.Handle != nil {
			c.do(DiscardLate{Ack: a})
		}
	case t == nil:
		// Counted. Its files, if it is not doubled, are in a snapshot that is
		// not known to be given up: deleting them would not be safe.
	case p == nil && a.Checkpoint > 0 && a.Checkpoint < c.ids.next:
		// Complete, so the message is a doubled one: its files are in use.
		c.ignored.Late++
	case p == nil:
		c.ignored.Unknown++
	case p.acked[a.Task]:
		c.ignored.Doubled++
	default:
		if a.Finished && t.state == running {
			c.endOfData(t)
		}
		c.join(p, a)
	}
}

// join adds a task's part to p. With the last one p is published.
func (c *Coordinator) join(p *pending, a Ack) {
	p.acks[a.Task], p.acked[a.Task] = a, true
	p.missing--
	c.history.acked(p, a, c.now)
	if p.missing > 0 {
		return
	}
	p.publishing = true
	p.deadline = c.now.Add(c.cfg.Timeout)
	m := Manifest{
		Checkpoint: p.id, Kind: p.kind, Triggered: p.triggered, Acks: p.acks,
		FinishedVertices: c.finishedVertices(p),
	}
	if p.request != nil {
		m.Format, m.Target = p.request.Format, p.request.Target
	}
	c.do(Publish{Manifest: m})
}

// finishedVertices are the vertices all of whose tasks had finished in p.
func (c *Coordinator) finishedVertices(p *pending) []string {
	var vs []string
	for i := 0; i < len(p.acks); {
		vertex, all := c.topo.Tasks[i].Vertex, true
		for ; i < len(p.acks) && c.topo.Tasks[i].Vertex == vertex; i++ {
			all = all && p.acks[i].Finished
		}
		if all {
			vs = append(vs, vertex)
		}
	}
	return vs
}

func (c *Coordinator) decline(d Decline) {
	if c.task(d.Task, d.Attempt) == nil {
		return
	}
	p := c.collecting(d.Checkpoint)
	if p == nil {
		return
	}
	if p.acked[d.Task] {
		c.ignored.Doubled++
		return
	}
	e := &AbortError{Reason: Declined, Detail: c.names[d.Task] + ": " + d.Reason.String(), Cause: d.Cause}
	if d.Reason == DeclinedFailed {
		e.Reason, e.Detail = SnapshotFailed, c.names[d.Task]
	}
	c.abort(p, e)
	if p.kind.Ends() {
		// Other tasks may stand behind their barrier for good.
		c.failJob(e)
	}
}

func (c *Coordinator) publishUnknown(ev PublishUnknown) {
	p := c.publishing(ev.Checkpoint)
	if p == nil {
		return
	}
	p.confirmAt = c.now
	if p.confirms > 0 {
		p.confirmAt = c.now.Add(confirmPause)
	}
}

// confirm asks the store about manifests in doubt when it is time to.
func (c *Coordinator) confirm() {
	for _, p := range c.pending {
		if !p.confirmAt.IsZero() && !p.confirmAt.After(c.now) {
			p.confirmAt = time.Time{}
			p.confirms++
			c.do(Confirm{Checkpoint: p.id})
		}
	}
}

// expire gives up snapshots whose time is over.
func (c *Coordinator) expire() {
	for _, p := range slices.Clone(c.pending) {
		if p.deadline.After(c.now) || c.find(p.id) == nil {
			continue
		}
		if p.publishing {
			c.abort(p, &AbortError{Reason: PublishError, Detail: fmt.Sprintf("the store has not said in %v that it is", c.cfg.Timeout)})
			continue
		}
		var missing []Task
		for i, ok := range p.acked {
			if !ok {
				missing = append(missing, Task(i))
			}
		}
		c.abort(p, &AbortError{Reason: Expired, Detail: fmt.Sprintf("after %v without %s", c.cfg.Timeout, c.list(missing))})
	}
}

// abort gives p up; e says why, and is completed. If that counts as a failure
// and there were too many, it fails the job.
func (c *Coordinator) abort(p *pending, e *AbortError) {
	c.remove(p)
	e.Checkpoint, e.Kind = p.id, p.kind
	if len(c.aborted) == abortedKept {
		c.aborted = slices.Delete(c.aborted, 0, 1)
	}
	c.aborted = append(c.aborted, p.id)
	c.history.failed(p.id, c.now, e)
	var ts []Task
	for i := range c.tasks.all {
		if c.tasks.all[i].alive() {
			ts = append(ts, Task(i))
		}
	}
	if len(ts) > 0 {
		c.do(Abort{Checkpoint: p.id, Tasks: ts, Err: e})
	}
	d := Discard{Checkpoint: p.id, Manifest: p.publishing && !p.certain}
	for i, ok := range p.acked {
		if ok && p.acks[i].Handle != nil {
			d.Acks = append(d.Acks, p.acks[i])
		}
	}
	c.kept.discard(d, c.now.Add(c.cfg.Timeout))
	c.do(d)
	if p.request != nil {
		c.do(Answer{Request: p.request.ID, Checkpoint: p.id, Err: e})
	}
	c.retryFinal(p)
	if !reasons[e.Reason].counted || p.kind.Savepoint() {
		return
	}
	c.failures++
	tooMany := c.failures > c.cfg.TolerableFailures && c.cfg.TolerableFailures < Unlimited
	if tooMany && !c.recover.restoring && c.tasks.byState[lost] == 0 { // else it is restarted anyway
		c.failures = 0
		c.failJob(fmt.Errorf("Exceeded checkpoint tolerable failure threshold. Tolerated in a row: %d; the last: %w", c.cfg.TolerableFailures, e))
	}
}

func (c *Coordinator) remove(p *pending) {
	i := slices.Index(c.pending, p)
	c.pending = slices.Delete(c.pending, i, i+1)
}

// failJob has the driver restart or end the job.
func (c *Coordinator) failJob(cause error) {
	c.tasks.loseAll()
	c.do(FailJob{Cause: cause})
	c.suspend(JobRestarting, "", cause)
}

// published completes a snapshot.
func (c *Coordinator) published(ev Published) {
	p := c.publishing(ev.Checkpoint)
	if p == nil {
		return
	}
	c.remove(p)
	c.failures = 0
	c.clock.completed = c.now
	c.history.completed(p.id, c.now, ev.Path)
	done := Completed{ID: p.id, Kind: p.kind, Path: ev.Path, Owned: p.kind == Checkpoint, At: c.now}
	if p.kind.commits() {
		c.commit(p, done)
	}
	switch {
	case p.request == nil:
	case p.kind.Ends():
		c.end(p, ev.Path)
	default:
		c.do(Answer{Request: p.request.ID, Checkpoint: p.id, Path: ev.Path})
	}
}

// commit makes done the newest snapshot to restore from, and has sinks commit.
func (c *Coordinator) commit(p *pending, done Completed) {
	c.kept.add(done)
	var drop []Completed
	if done.Owned {
		c.kept.full = false
		drop = c.kept.retain(c.cfg.NumRetained)
	}
	c.clock.committed = done.ID
	if len(drop) > 0 {
		c.clock.subsumed = drop[len(drop)-1].ID
	}
	c.notify()
	for _, older := range slices.Clone(c.pending) {
		if older.id < p.id && !older.kind.Savepoint() {
			c.abort(older, &AbortError{Reason: Subsumed, Detail: fmt.Sprintf("%s %d", p.kind, p.id)})
		}
	}
	for _, d := range drop {
		c.drop(d)
	}
	if c.clock.final != 0 && p.id >= c.clock.final {
		c.clock.finalDone, c.clock.due = true, time.Time{}
	}
}

// notify tells all tasks of the newest snapshot that is to be committed.
func (c *Coordinator) notify() {
	var ts []Task
	for i := range c.tasks.all {
		if c.tasks.all[i].alive() {
			ts = append(ts, Task(i))
		}
	}
	if len(ts) > 0 {
		c.do(Notify{Checkpoint: c.clock.committed, Tasks: ts, Subsumed: c.clock.subsumed})
	}
	c.clock.renotifyAt = c.now.Add(renotifyPause)
}
