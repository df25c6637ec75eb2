package checkpoint

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	firstSeed = flag.Uint64("seed", 1, "first seed of random schedules")
	seeds     = flag.Int("seeds", 10_000, "number of random schedules")
)

// perform does what the coordinator says, and checks that it may say so.
func (w *world) perform(a Action) {
	switch a := a.(type) {
	case Trigger:
		w.trigger(a)
	case Publish:
		w.check(w.life[a.Checkpoint] == "open" && w.store[a.Checkpoint] == nil, "%d published twice, or not triggered", a.Checkpoint)
		for i, k := range a.Acks {
			w.check(k.Task == Task(i) && k.Checkpoint == a.Checkpoint && (k.Finished || k.Handle != nil), "manifest %d without task %d: %+v", a.Checkpoint, i, k)
			w.check(w.cuts[cutOf{a.Checkpoint, k.Task}] == (k.Handle != nil), "manifest %d has another part of task %d than the task: %+v", a.Checkpoint, i, k)
		}
		o := &object{kind: a.Kind, acks: a.Acks}
		w.store[a.Checkpoint] = o
		w.publish(a.Checkpoint, o)
	case Confirm:
		o := w.store[a.Checkpoint]
		w.check(o != nil && w.life[a.Checkpoint] == "open", "confirm %d, which is not being published", a.Checkpoint)
		w.after(w.soon(), func() {
			switch {
			case o.landed:
				w.step(Published{Checkpoint: a.Checkpoint, Path: "found"})
			case o.barred || w.calm:
				o.barred = true
				w.step(PublishFailed{a.Checkpoint, errors.New("not there")})
			default:
				w.step(PublishUnknown{a.Checkpoint, errors.New("still no answer")})
			}
		})
	case Notify:
		w.notifyAll(a)
	case Abort:
		w.check(w.life[a.Checkpoint] == "open" || w.life[a.Checkpoint] == "aborted", "%d aborted after it was %s", a.Checkpoint, w.life[a.Checkpoint])
		w.life[a.Checkpoint] = "aborted"
		for _, t := range a.Tasks {
			if w.tasks[t].blocked == a.Checkpoint && !w.fault() {
				w.later(t, func() {
					if w.tasks[t].blocked == a.Checkpoint {
						w.fail(t)
					}
				})
			}
		}
	case Discard:
		w.discard(a)
	case DiscardLate:
		w.check(w.life[a.Ack.Checkpoint] == "aborted", "files of %d deleted, which is %s", a.Ack.Checkpoint, w.life[a.Ack.Checkpoint])
	case Drop:
		w.drop(a)
	case Restore:
		w.restore(a)
	case FailJob:
		w.check(a.Cause != nil, "job failed without cause")
		for i := range w.tasks {
			w.tasks[i].up = false
		}
		w.restart()
	case Answer:
		k, ok := w.requests[a.Request]
		w.check(ok, "request %d answered twice", a.Request)
		if a.Path != "" && w.life[a.Checkpoint] == "open" { // no task is told of it
			w.check(k == Savepoint && w.store[a.Checkpoint].landed, "savepoint %d is answered, which is %s", a.Checkpoint, w.life[a.Checkpoint])
			w.life[a.Checkpoint], w.completed = "complete", w.now
		}
		w.check(a.Err != nil || w.life[a.Checkpoint] == "complete" && w.kinds[a.Checkpoint] == k, "request %d for %s answered with %d", a.Request, k, a.Checkpoint)
		delete(w.requests, a.Request)
	case Reserve:
		w.check(a.Below > w.reached, "%d reserved again", a.Below)
		w.after(w.soon(), func() { w.reached = a.Below; w.step(Reserved(a)) })
	case WakeAt:
		w.check(a.At.IsZero() || a.At.After(w.now), "to be woken at %v, which is over", a.At)
		w.wake++
		if n := w.wake; !a.At.IsZero() {
			w.after(a.At.Sub(w.now), func() {
				if n == w.wake {
					w.step(Tick{})
				}
			})
		}
	}
}

func (w *world) trigger(a Trigger) {
	if w.life[a.Checkpoint] == "" {
		w.check(a.Checkpoint > w.newest, "id %d after %d", a.Checkpoint, w.newest)
		w.newest = a.Checkpoint
		w.life[a.Checkpoint], w.kinds[a.Checkpoint] = "open", a.Kind
		asked, ended := false, true
		for _, k := range w.requests {
			asked = asked || k == a.Kind
		}
		for i := range w.tasks {
			ended = ended && w.tasks[i].ended
		}
		if !asked && !ended && !w.completed.IsZero() {
			w.check(!w.now.Before(w.completed.Add(w.cfg.MinPause)), "%d triggered within the pause", a.Checkpoint)
		}
	}
	w.check(w.life[a.Checkpoint] == "open", "%d triggered, which is %s", a.Checkpoint, w.life[a.Checkpoint])
	for _, t := range a.Tasks {
		for _, in := range w.topo.Tasks[t].Inputs {
			w.check(w.tasks[in].finished, "task %d triggered while task %d sends to it", t, in)
		}
		if !w.fault() {
			w.later(t, func() { w.cut(t, a.Checkpoint) })
		}
	}
}

func (w *world) notifyAll(a Notify) {
	o := w.store[a.Checkpoint]
	w.check(o != nil && o.landed, "commit of %d, which is not published", a.Checkpoint)
	w.check(a.Checkpoint >= w.committed, "commit of %d after %d", a.Checkpoint, w.committed)
	w.check(o.kind.commits(), "commit of a %s", o.kind)
	w.check(w.life[a.Checkpoint] == "complete" || w.life[a.Checkpoint] == "forgotten", "commit of %d, which is %s", a.Checkpoint, w.life[a.Checkpoint])
	w.committed = a.Checkpoint
	for _, t := range a.Tasks {
		if w.fault() {
			continue
		}
		w.later(t, func() {
			x := &w.tasks[t]
			if x.blocked != 0 && x.blocked <= a.Checkpoint || x.ended && x.cutWhileEnded[a.Checkpoint] {
				w.finish(t)
			}
		})
	}
}

func (w *world) discard(a Discard) {
	id := a.Checkpoint
	if w.life[id] == "open" { // nobody was alive to be told
		w.life[id] = "aborted"
	}
	w.check(w.life[id] == "aborted" || w.life[id] == "damaged", "%d discarded, which is %s", id, w.life[id])
	o := w.store[id]
	w.check(o == nil || o.barred || a.Manifest, "%d discarded without its manifest", id)
	w.after(w.soon(), func() {
		if w.fault() {
			w.step(Discarded{id, errors.New("busy")})
			return
		}
		if o != nil {
			o.landed, o.barred = false, true
		}
		w.step(Discarded{id, nil})
	})
}

func (w *world) drop(a Drop) {
	newer := false
	for _, d := range w.c.Retained() {
		newer = newer || d.ID > a.Checkpoint && w.store[d.ID].landed
	}
	w.check(newer || w.jobDone, "the last whole checkpoint %d dropped", a.Checkpoint)
	w.after(w.soon(), func() {
		w.store[a.Checkpoint].landed = false
		w.step(Discarded{a.Checkpoint, nil})
	})
}

func (w *world) restore(a Restore) {
	var from ID
	var kept []Completed
	for i, d := range a.Candidates {
		w.check(i == 0 || d.ID < a.Candidates[i-1].ID, "candidates out of order")
		w.check(w.store[d.ID].landed, "candidate %d is not in the store", d.ID)
	}
	if len(a.Candidates) > 0 {
		from = a.Candidates[0].ID
	}
	w.check(from >= w.committed, "restored from %d though %d was committed", from, w.committed)
	for id, o := range w.store {
		w.check(id <= from || !o.kind.commits() || o.barred, "restored from %d while %d may appear", from, id)
	}
	kept = a.Candidates
	for len(kept) > 1 && w.fault() { // damaged
		kept = kept[1:]
		from = kept[0].ID
	}
	n := w.asked
	w.after(w.soon(), func() {
		if n != w.restarting {
			return // another restart will look at them again
		}
		for _, d := range a.Candidates {
			if d.ID > from {
				w.life[d.ID] = "damaged"
			}
		}
		attempt := w.tasks[0].attempt + 1
		for i := range w.tasks {
			attempt = max(attempt, w.tasks[i].attempt+1)
		}
		w.committed = from
		done := make([]bool, len(w.tasks))
		if from != 0 {
			for i, k := range w.store[from].acks {
				done[i] = k.Finished
			}
		}
		for i := range w.tasks {
			w.startTask(Task(i), attempt, done[i])
		}
		for id, o := range w.store {
			if id > from && o.kind.Ends() { // damaged and the user's, who deletes it
				o.landed, o.barred = false, true
			}
		}
		w.step(Restored{Checkpoint: from, Attempt: attempt})
	})
}

// play runs a schedule to its end and panics with a violation if it finds one.
func (w *world) play() {
	start := w.now
	w.run(start.Add(5*time.Minute), 400, func() bool { return false })
	w.calm = true
	for i := range w.tasks {
		if x := &w.tasks[i]; x.up {
			x.backlog = false
			w.step(Backlog{Task(i), x.attempt, x.said + 1, false})
		}
	}
	// A stop or an end may be the last that happens; else checkpoints must go
	// on to complete.
	allDone := func() bool {
		for i := range w.tasks {
			if !w.tasks[i].finished {
				return false
			}
		}
		return true
	}
	want := w.done + 2
	w.run(w.now.Add(time.Hour), 5000, func() bool { return allDone() || w.done >= want })
	w.check(allDone() || w.done >= want, "an hour of calm and only %d of %d checkpoints completed", w.done, want)
	quiet := func() bool { return len(w.requests) == 0 }
	w.run(w.now.Add(time.Minute), 3000, quiet)
	w.check(quiet(), "requests without answer: %v", w.requests)

	how := End(w.rng.IntN(4))
	w.jobDone = true
	for _, a := range w.c.Step(w.now, JobEnded{how}) {
		w.perform(a)
	}
	w.run(w.now.Add(time.Hour), 10_000, func() bool { return false })
	for id, l := range w.life {
		w.check(l != "open" || how == JobSuspended || !w.kinds[id].commits(), "%s %d has no end", w.kinds[id], id)
	}
	var have, keep []ID
	for id, o := range w.store {
		if o.landed && !o.kind.Savepoint() {
			have = append(have, id)
		}
	}
	for _, d := range w.c.Retained() {
		if d.Owned {
			keep = append(keep, d.ID)
		}
	}
	slices.Sort(have)
	if how != JobSuspended {
		w.check(slices.Equal(have, keep), "after the end the store has %v, retained are %v", have, keep)
	}
	h := w.c.History()
	w.check(h.Counts.Total == h.Counts.Completed+h.Counts.Failed+h.Counts.InProgress, "counts do not add up: %+v", h.Counts)
}

func playSeed(seed uint64, log bool) (w *world, bad string) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case violation:
			bad = string(p)
		default:
			panic(fmt.Sprintf("seed %d: %v", seed, p))
		}
	}()
	w = newWorld(seed)
	if log {
		w.log = []string{}
	}
	w.play()
	return w, ""
}

// Whatever is late, lost, doubled, damaged, declined, unknown or down: a commit
// is never ordered before its manifest is published, no id is published or used
// twice, the last whole checkpoint is not dropped, no more checkpoints are under
// way than allowed and none starts within the pause, everything started ends in
// one way, a restart goes to the newest state that was or may have been
// committed, no file is left over; and when all is well again, checkpoints
// complete.
func TestPromisesHoldUnderRandomSchedules(t *testing.T) {
	n := *seeds
	if testing.Short() || raceOn {
		n /= 10
	}
	completed := 0
	for seed := *firstSeed; seed < *firstSeed+uint64(n); seed++ {
		w, bad := playSeed(seed, *seeds == 1)
		if bad != "" {
			var log string
			if *seeds == 1 {
				log = strings.Join(w.log, "\n") + "\n"
			}
			t.Fatalf("%sseed %d: %s\nreplay: go test ./engine/checkpoint -run RandomSchedules -seed %d -seeds 1", log, seed, bad, seed)
		}
		completed += w.done
	}
	t.Logf("%d schedules, %d checkpoints completed", n, completed)
}
