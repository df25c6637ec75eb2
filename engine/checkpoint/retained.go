package checkpoint

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// recoverGrace is how long a restart waits for the store to say whether a
	// checkpoint exists that all tasks had acknowledged before the failure.
	recoverGrace = 10 * time.Second
	// cleanPause is the time after which a manifest that could not be ruled
	// out is tried again.
	cleanPause = time.Second
)

// kept is what the job can be restored from, and what is being deleted.
//
// Invariant: all is ordered by id. Its last element leaves only when the job
// ends, or when it was found damaged and another was restored.
type kept struct {
	all      []Completed
	full     bool // the next checkpoint may not depend on what is not owned
	cleaning []cleaning
}

// cleaning is a deletion under way.
type cleaning struct {
	discard Discard // or a Drop, of which only the id matters
	// deadline is when the driver's answer is no longer waited for. Where a
	// manifest must be ruled out there is none: without an answer the job
	// could be restored from the wrong place.
	deadline time.Time
	retryAt  time.Time // zero if the driver is at work
}

func (k *kept) add(d Completed) {
	i, _ := slices.BinarySearchFunc(k.all, d.ID, func(o Completed, id ID) int { return int(o.ID - id) })
	k.all = slices.Insert(k.all, i, d)
}

// retain removes what the newest checkpoint makes superfluous and returns what
// is to be dropped: owned ones beyond the n newest. Others that are older than
// those are the user's and only forgotten.
func (k *kept) retain(n int) (drop []Completed) {
	var rest []Completed
	for i := len(k.all) - 1; i >= 0; i-- {
		switch o := k.all[i]; {
		case n > 0:
			rest = append(rest, o)
			if o.Owned {
				n--
			}
		case o.Owned:
			drop = append(drop, o)
		}
	}
	slices.Reverse(rest)
	slices.Reverse(drop)
	k.all = rest
	return drop
}

func (k *kept) discard(d Discard, deadline time.Time) {
	if d.Manifest {
		deadline = time.Time{}
	}
	k.cleaning = append(k.cleaning, cleaning{discard: d, deadline: deadline})
}

func (c *Coordinator) drop(d Completed) {
	c.kept.cleaning = append(c.kept.cleaning, cleaning{
		discard:  Discard{Checkpoint: d.ID},
		deadline: c.now.Add(c.cfg.Timeout),
	})
	c.history.dropped(d.ID)
	c.do(Drop{Checkpoint: d.ID, Path: d.Path})
}

func (c *Coordinator) discarded(ev Discarded) {
	i := slices.IndexFunc(c.kept.cleaning, func(o cleaning) bool { return o.discard.Checkpoint == ev.Checkpoint })
	switch {
	case i < 0:
		c.ignored.Late++
	case ev.Cause != nil && c.kept.cleaning[i].discard.Manifest:
		c.kept.cleaning[i].retryAt = c.now.Add(cleanPause)
	default:
		c.kept.cleaning = slices.Delete(c.kept.cleaning, i, i+1)
	}
}

// clean repeats what must succeed and forgets what has taken too long.
func (c *Coordinator) clean() {
	c.kept.cleaning = slices.DeleteFunc(c.kept.cleaning, func(o cleaning) bool {
		return !o.deadline.IsZero() && !o.deadline.After(c.now)
	})
	for i := range c.kept.cleaning {
		o := &c.kept.cleaning[i]
		if !o.retryAt.IsZero() && !o.retryAt.After(c.now) {
			o.retryAt = time.Time{}
			c.do(o.discard)
		}
	}
}

// recovery is the state of a restart.
type recovery struct {
	// restoring lasts from Recover to Restored, asked from there to Restore.
	restoring, asked bool
	deadline         time.Time
}

func (c *Coordinator) recovering() {
	c.suspend(JobRestarting, "", nil)
	c.recover = recovery{restoring: true, asked: true, deadline: c.now.Add(recoverGrace)}
}

// answerRecover says what to restore from once that is certain: no manifest may
// appear later that is newer than the one restored, for its sinks' part would
// by then have been thrown away.
func (c *Coordinator) answerRecover() {
	if !c.recover.asked {
		return
	}
	wait := false
	for _, p := range slices.Clone(c.pending) {
		switch {
		case !p.kind.commits():
		case c.recover.deadline.After(c.now):
			wait = true
		default:
			c.abort(p, &AbortError{Reason: JobRestarting, Detail: fmt.Sprintf("the store has not said in %v whether it is there", recoverGrace)})
		}
	}
	for i := range c.kept.cleaning {
		wait = wait || c.kept.cleaning[i].discard.Manifest
	}
	if wait {
		return
	}
	c.recover.asked = false
	candidates := slices.Clone(c.kept.all)
	slices.Reverse(candidates)
	c.do(Restore{Candidates: candidates})
}

func (c *Coordinator) restored(ev Restored) {
	if !c.recover.restoring || c.recover.asked {
		panic("checkpoint: restored without having been told from what")
	}
	c.recover = recovery{}
	i := slices.IndexFunc(c.kept.all, func(o Completed) bool { return o.ID == ev.Checkpoint })
	if i < 0 && (ev.Checkpoint != 0 || len(c.kept.all) > 0) {
		panic(fmt.Sprintf("checkpoint: restored from %d, which is not a candidate", ev.Checkpoint))
	}
	for _, newer := range c.kept.all[i+1:] {
		if newer.Owned {
			d := Discard{Checkpoint: newer.ID, Manifest: true}
			c.kept.discard(d, time.Time{})
			c.history.dropped(newer.ID)
			c.do(d)
		}
	}
	c.kept.all = c.kept.all[:i+1]
	if i >= 0 {
		from := c.kept.all[i]
		c.kept.full = !from.Owned
		c.history.restoredFrom(from, c.now)
	}
	ts := ev.Tasks
	if ts == nil {
		for i := range c.tasks.all {
			ts = append(ts, Task(i))
		}
	}
	for _, t := range ts {
		e := &c.tasks.all[t]
		if ev.Attempt <= e.attempt {
			panic(fmt.Sprintf("checkpoint: %s restored as attempt %d after attempt %d", c.names[t], ev.Attempt, e.attempt))
		}
		e.attempt, e.said = ev.Attempt, 0
		c.tasks.set(e, deploying)
	}
	c.tasks.countInputs(c.topo)
	c.clock.committed = ev.Checkpoint
	c.clock.final, c.clock.finalDone = 0, false
}

// ending is a Stop or Drain that has completed while its tasks have not yet
// finished.
type ending struct {
	id      ID
	kind    Kind
	request RequestID
	path    string
}

// end waits for the tasks to finish after the snapshot they are to end with.
func (c *Coordinator) end(p *pending, path string) {
	c.ending = &ending{p.id, p.kind, p.request.ID, path}
	by := &c.tasks.byState
	switch {
	case by[lost]+by[deploying] > 0:
		c.endDone(errors.New("the savepoint is complete but the job did not end with it: a task had failed"))
	case by[finished] == len(c.tasks.all):
		c.endDone(nil)
	}
}

func (c *Coordinator) endDone(err error) {
	e := c.ending
	c.ending = nil
	c.do(Answer{Request: e.request, Checkpoint: e.id, Path: e.path, Err: err})
}

// jobEnded gives up what is under way and keeps of the checkpoints what is to
// be kept after this end.
func (c *Coordinator) jobEnded(how End) {
	if c.ending != nil && how == JobFinished {
		c.endDone(nil)
	}
	c.suspend(Shutdown, how.String(), nil)
	for _, p := range slices.Clone(c.pending) {
		if how != JobSuspended {
			c.abort(p, &AbortError{Reason: Shutdown, Detail: how.String()})
		} else if p.request != nil {
			// The next coordinator finds out whether it exists.
			c.do(Answer{Request: p.request.ID, Checkpoint: p.id, Err: errors.New("the coordinator stopped before the store had said whether it is published")})
		}
	}
	keep := how == JobSuspended ||
		how == JobFailed && c.cfg.Retention != NoneExternalized ||
		how == JobCancelled && c.cfg.Retention == RetainOnCancellation
	if !keep {
		for _, d := range c.kept.all {
			if d.Owned {
				c.drop(d)
			}
		}
		c.kept.all = slices.DeleteFunc(c.kept.all, func(d Completed) bool { return d.Owned })
	}
	c.ended = true
}
