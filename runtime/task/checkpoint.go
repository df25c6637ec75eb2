package task

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/runtime/exchange"
	"github.com/millrace/millrace/runtime/operator"
)

// A Part is who is told of a task's part in snapshots. Its methods are called
// by the task's driver, in a step.
type Part interface {
	// Taken gives the state of the task's operators as it is at the barrier of
	// a checkpoint. Their pieces encode themselves, at any time and on any
	// goroutine.
	Taken(checkpoint int64, nodes []NodeState)
	// Declined tells that the task takes no part in a checkpoint.
	Declined(checkpoint int64, why error)
	// EndOfData tells that the task has come to the end of all its inputs, and
	// finishes when a checkpoint is complete that it takes part in from now on.
	EndOfData()
	// Ended tells that the task has finished, with the state it leaves: of a
	// source, what has been read.
	Ended(nodes []NodeState) error
}

// NodeState is the state of operator Node of a task.
type NodeState struct {
	Node   int
	Pieces []operator.Piece
}

// snapshots is a task's side of the checkpoint protocol.
type snapshots struct {
	part       Part // nil if no checkpoints are taken
	committers bool // some operator is a Committer

	mailMu sync.Mutex
	mail   []letter
	mailed atomic.Bool

	trigger  int64 // id of a checkpoint that the task is to begin; 0 for none
	aligning int64 // id of the checkpoint of which some barriers have come; 0 for none
	seen     int64 // ids up to this one are over for this task
	last     int64 // id of the last snapshot taken behind the end of all inputs
	released bool  // nothing is left to be committed
	tellEnd  bool  // it had finished when it was restored, and has to say so
}

type letter struct {
	kind letterKind
	id   int64
}

type letterKind uint8

const (
	triggered letterKind = iota
	completed
	aborted
)

// Checkpointed makes the task take part in checkpoints. Called before Open.
func (t *Task) Checkpointed(p Part) {
	t.part = p
	for i := range t.nodes {
		if _, ok := t.nodes[i].op.(operator.Committer); ok {
			t.committers = true
		}
	}
}

// Restore gives operator i of the task the pieces that are its own in a
// snapshot. Called before Open.
func (t *Task) Restore(i int, pieces []operator.Piece) { t.nodes[i].restore = pieces }

// RestoreFinished makes the task one that had finished when the snapshot was
// taken: it only tells its consumers so. Called before Open.
func (t *Task) RestoreFinished() {
	for i := range t.nodes {
		t.nodes[i].finished = true
	}
	t.finished, t.released, t.tellEnd = true, true, true
}

// Trigger makes a source put the barrier of a checkpoint into what it sends; a
// task that has inputs takes its snapshot when all of them have ended. Safe from
// any goroutine, like the next two.
func (t *Task) Trigger(checkpoint int64) { t.post(letter{triggered, checkpoint}) }

// Complete tells that a checkpoint is durable.
func (t *Task) Complete(checkpoint int64) { t.post(letter{completed, checkpoint}) }

// Abort tells that a checkpoint is given up.
func (t *Task) Abort(checkpoint int64) { t.post(letter{aborted, checkpoint}) }

func (t *Task) post(l letter) {
	t.mailMu.Lock()
	t.mail = append(t.mail, l)
	t.mailed.Store(true)
	t.mailMu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// readMail does what it was told to, and begins a checkpoint if it can.
func (t *Task) readMail() error {
	t.mailMu.Lock()
	mail := t.mail
	t.mail = nil
	t.mailed.Store(false)
	t.mailMu.Unlock()
	for _, l := range mail {
		switch l.kind {
		case triggered:
			if l.id > t.seen {
				t.trigger = max(t.trigger, l.id)
			}
		case completed:
			if err := t.commit(l.id); err != nil {
				return err
			}
		case aborted:
			t.seen = max(t.seen, l.id)
			if t.aligning != 0 && t.aligning <= l.id {
				t.unblock()
			}
			if t.trigger <= l.id {
				t.trigger = 0
			}
		}
	}
	if t.trigger == 0 {
		return nil
	}
	if t.source != nil && !t.ended && !t.source.Whole() || t.inputs != nil && !t.ended {
		t.mailed.Store(true) // look again after the next step
		return nil
	}
	id := t.trigger
	t.trigger = 0
	return t.snapshot(id)
}

// commit has sinks commit what they prepared for a checkpoint.
func (t *Task) commit(id int64) error {
	for i := range t.nodes {
		if c, ok := t.nodes[i].op.(operator.Committer); ok {
			if err := c.Notify(id); err != nil {
				return t.failIn(i, "commit", err)
			}
		}
	}
	if t.finished && t.last != 0 && id >= t.last {
		t.released = true
	}
	return nil
}

// lingers reports whether the task, which has finished, waits for a checkpoint
// to commit what it wrote last.
func (t *Task) lingers() bool { return t.part != nil && t.committers && !t.released }

// errGated declines a checkpoint.
var errGated = errors.New("an input is held back until another one has ended, and records wait there")

// barrier takes note of a barrier on channel c.
func (t *Task) barrier(c *channel, id int64) error {
	if id <= t.seen {
		return nil
	}
	if t.ended {
		// Of a producer that waits for a last checkpoint behind its end.
		return t.snapshot(id)
	}
	if t.aligning != 0 && t.aligning != id {
		if id < t.aligning {
			return nil
		}
		t.part.Declined(t.aligning, errors.New("the barrier of a newer checkpoint came first"))
		t.unblock()
	}
	for in := range t.inputs {
		if !t.wants(in) {
			// Its barrier waits behind those records, and what opens the gate
			// may be behind this one.
			t.seen = id
			t.part.Declined(id, errGated)
			return nil
		}
	}
	t.aligning = id
	c.reached, c.blocked = true, !c.ended
	return t.aligned()
}

// aligned takes the snapshot if all barriers have come.
func (t *Task) aligned() error {
	if t.aligning == 0 {
		return nil
	}
	for i := range t.channels {
		if c := &t.channels[i]; !c.reached && !c.ended {
			return nil
		}
	}
	id := t.aligning
	t.unblock()
	return t.snapshot(id)
}

func (t *Task) unblock() {
	t.aligning = 0
	for i := range t.channels {
		t.channels[i].reached, t.channels[i].blocked = false, false
	}
}

// snapshot takes the task's part in a checkpoint and sends the barrier on.
func (t *Task) snapshot(id int64) error {
	t.seen = id
	var nodes []NodeState
	for i := range t.nodes {
		n := &t.nodes[i]
		s, ok := n.op.(operator.Stateful)
		if !ok || !n.opened {
			continue
		}
		if c, ok := n.op.(operator.Committer); ok {
			if err := c.Prepare(id); err != nil {
				return t.failIn(i, "prepare to commit", err)
			}
		}
		pieces, err := s.Snapshot()
		if err != nil {
			return t.failIn(i, "snapshot", err)
		}
		nodes = append(nodes, NodeState{i, pieces})
	}
	for i := range t.nodes {
		for j := range t.nodes[i].outs {
			t.nodes[i].outs[j].Control(exchange.Barrier, id)
		}
	}
	if t.finished {
		t.last = id
	}
	t.part.Taken(id, nodes)
	return nil
}

// End is to be called when the task has finished, before it is closed.
func (t *Task) End() error {
	t.Flush()
	if t.part == nil {
		return nil
	}
	var nodes []NodeState
	for i := range t.nodes {
		if s, ok := t.nodes[i].op.(operator.Stateful); ok && t.nodes[i].opened {
			pieces, err := s.Snapshot()
			if err != nil {
				return t.failIn(i, "snapshot", err)
			}
			nodes = append(nodes, NodeState{i, pieces})
		}
	}
	return t.part.Ended(nodes)
}
