package checkpoint

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A world runs a coordinator with a driver, tasks and a store that are as
// unreliable as its seed wants, and checks what must hold at every step. A
// violation is a panic of type violation.
type world struct {
	rng    *rand.Rand
	cfg    Config
	topo   Topology
	c      *Coordinator
	now    time.Time
	agenda agenda
	seq    int
	epoch  int // of the process; what was scheduled before a crash is void
	calm   bool
	log    []string

	tasks   []worldTask
	bounded bool
	store   map[ID]*object
	block   int // of ids reserved at a time
	reached ID  // ids below were reserved

	restarting int // counts restarts; the newest counts
	asked      int // the restart that the coordinator was last asked about
	wake       int
	requests   map[RequestID]Kind
	nextReq    RequestID

	cuts      map[cutOf]bool
	life      map[ID]string // what became of each id that was triggered
	kinds     map[ID]Kind
	newest    ID // triggered
	committed ID // newest that tasks were told of since the last restore
	completed time.Time
	done      int // checkpoints completed
	jobDone   bool
	faults    float64
}

type worldTask struct {
	attempt       Attempt
	up            bool
	ended         bool
	finished      bool
	seen          ID
	blocked       ID
	backlog       bool
	said          int
	consumers     []Task
	cutWhileEnded map[ID]bool
}

// cutOf is the part of a task in a snapshot.
type cutOf struct {
	id ID
	t  Task
}

// An object is a snapshot in the store.
type object struct {
	kind   Kind
	acks   []Ack
	landed bool
	barred bool // will never land
}

type violation string

func (w *world) check(ok bool, format string, args ...any) {
	if !ok {
		panic(violation(fmt.Sprintf(format, args...)))
	}
}

type item struct {
	at  time.Time
	seq int
	do  func()
}

type agenda []item

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at.Before(a[j].at) || a[i].at.Equal(a[j].at) && a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(item)) }
func (a *agenda) Pop() any {
	x := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return x
}

func newWorld(seed uint64) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_000_000, 0), store: map[ID]*object{},
		requests: map[RequestID]Kind{}, cuts: map[cutOf]bool{}, life: map[ID]string{}, kinds: map[ID]Kind{}, reached: 1,
	}
	r := w.rng
	w.faults = []float64{0, 0.02, 0.1, 0.3}[r.IntN(4)]
	w.cfg = Default()
	w.cfg.Interval = []time.Duration{time.Second, 5 * time.Second, time.Minute}[r.IntN(3)]
	w.cfg.Timeout = []time.Duration{3 * time.Second, 20 * time.Second}[r.IntN(2)]
	w.cfg.MinPause = []time.Duration{0, 0, 2 * time.Second, 90 * time.Second}[r.IntN(4)]
	w.cfg.BacklogInterval = []time.Duration{0, Never, 10 * time.Second}[r.IntN(3)]
	w.cfg.TolerableFailures = []int{0, 1, 3, Unlimited}[r.IntN(4)]
	w.cfg.NumRetained = 1 + r.IntN(3)
	w.cfg.Retention = Retention(r.IntN(3))
	if r.IntN(3) == 0 {
		w.cfg.MaxConcurrent, w.cfg.Unaligned = 3, false
	}
	w.bounded = r.IntN(2) == 0
	w.block = []int{0, 1, 7}[r.IntN(3)]
	n := 1 + r.IntN(6)
	w.tasks = make([]worldTask, n)
	for i := range n {
		t := TaskInfo{Vertex: fmt.Sprintf("v%d", i/2)}
		for in := range i {
			if r.IntN(3) == 0 {
				t.Inputs = append(t.Inputs, Task(in))
				w.tasks[in].consumers = append(w.tasks[in].consumers, Task(i))
			}
		}
		w.topo.Tasks = append(w.topo.Tasks, t)
	}
	w.boot(nil)
	for i := range w.tasks {
		w.startTask(Task(i), 0, false)
	}
	w.chaos()
	return w
}

func (w *world) boot(retained []Completed) {
	if w.block == 0 {
		w.reached = max(w.reached, w.newest+1)
	}
	var a Attempt
	for i := range w.tasks {
		a = max(a, w.tasks[i].attempt)
	}
	if w.epoch > 0 {
		a++
	}
	w.c = New(Options{
		Config: w.cfg, Topology: w.topo, Rand: rand.New(rand.NewPCG(w.rng.Uint64(), 2)),
		First: w.reached, ReserveBlock: w.block, Retained: retained, Attempt: a,
	})
	for i := range w.tasks {
		w.tasks[i].attempt = a
	}
}

// after schedules do; a crash voids it.
func (w *world) after(d time.Duration, do func()) {
	w.seq++
	epoch := w.epoch
	heap.Push(&w.agenda, item{w.now.Add(d), w.seq, func() {
		if epoch == w.epoch {
			do()
		}
	}})
}

// soon is a delay: mostly short, sometimes longer than every timeout.
func (w *world) soon() time.Duration {
	if w.fault() {
		return time.Duration(w.rng.Int64N(int64(60 * time.Second)))
	}
	return time.Duration(w.rng.Int64N(int64(50 * time.Millisecond)))
}

func (w *world) fault() bool { return !w.calm && w.rng.Float64() < w.faults }

// message sends an event of a task: late, doubled or lost.
func (w *world) message(ev Event) {
	if w.fault() {
		return
	}
	for range 1 + w.rng.IntN(5)/4 {
		w.after(w.soon(), func() { w.step(ev) })
	}
}

func (w *world) run(until time.Time, most int, stop func() bool) {
	for range most {
		if len(w.agenda) == 0 || w.agenda[0].at.After(until) || stop() {
			return
		}
		it := heap.Pop(&w.agenda).(item)
		w.now = it.at
		it.do()
	}
}

func (w *world) step(ev Event) {
	if w.jobDone {
		return
	}
	as := w.c.Step(w.now, ev)
	if w.log != nil {
		w.log = append(w.log, fmt.Sprintf("%v %T%+v", w.now.Sub(time.Unix(1_000_000, 0)), ev, ev))
		for _, a := range as {
			w.log = append(w.log, fmt.Sprintf("    %T%+v", a, a))
		}
	}
	for _, d := range w.c.kept.all {
		if w.life[d.ID] == "open" {
			w.check(w.store[d.ID] != nil && w.store[d.ID].landed, "%d retained, which is not published", d.ID)
			w.life[d.ID], w.completed = "complete", w.now
			w.done++
		}
	}
	for _, a := range as {
		w.perform(a)
	}
	n := 0
	for id := w.newest; id > 0 && id > w.newest-20; id-- {
		if w.life[id] == "open" && !w.kinds[id].Savepoint() {
			n++
		}
	}
	w.check(n <= w.cfg.MaxConcurrent, "%d checkpoints pending, at most %d allowed", n, w.cfg.MaxConcurrent)
}

// chaos schedules what goes wrong, and what users ask for.
func (w *world) chaos() {
	w.after(time.Duration(w.rng.Int64N(int64(20*time.Second))), func() {
		if w.calm {
			return
		}
		switch w.rng.IntN(8) {
		case 0:
			w.fail(Task(w.rng.IntN(len(w.tasks))))
		case 1:
			w.ask(Savepoint)
		case 2:
			w.ask(Checkpoint)
		case 3:
			if w.rng.IntN(3) == 0 {
				w.ask(Stop + Kind(w.rng.IntN(2)))
			}
		case 4:
			if t := Task(w.rng.IntN(len(w.tasks))); w.tasks[t].up {
				w.tasks[t].backlog = !w.tasks[t].backlog
				w.tasks[t].said++
				w.message(Backlog{t, w.tasks[t].attempt, w.tasks[t].said, w.tasks[t].backlog})
			}
		case 5:
			if w.bounded {
				w.endSource(Task(w.rng.IntN(len(w.tasks))))
			}
		case 6:
			if w.rng.IntN(4) == 0 {
				w.crash()
			}
		case 7:
			w.nonsense()
		}
		w.chaos()
	})
}

func (w *world) nonsense() {
	id := ID(w.rng.Int64N(int64(w.newest)+3)) - 1
	t := Task(w.rng.IntN(len(w.tasks)+2) - 1)
	a := Attempt(w.rng.IntN(9) - 1)
	switch w.rng.IntN(5) {
	case 0:
		if int(t) >= 0 && int(t) < len(w.tasks) && a == w.tasks[t].attempt {
			return // would be taken for true
		}
		w.step(Ack{Checkpoint: id, Task: t, Attempt: a})
	case 1:
		w.step(Tick{})
	case 2:
		if w.life[id] != "open" {
			w.step(Published{Checkpoint: id})
		}
	case 3:
		w.step(TriggerFailed{Checkpoint: id, Cause: errors.New("no connection")})
	case 4:
		if w.life[id] != "open" {
			w.step(PublishUnknown{Checkpoint: id})
		}
	}
}

func (w *world) ask(k Kind) {
	w.nextReq++
	w.requests[w.nextReq] = k
	w.step(Request{ID: w.nextReq, Kind: k, Full: w.rng.IntN(2) == 0})
}

// crash ends the process; the next finds out from the store what there is.
func (w *world) crash() {
	w.epoch++
	w.restarting++
	w.wake++
	clear(w.requests)
	var have []Completed
	for id, o := range w.store {
		o.barred = o.barred || !o.landed // its writer is dead
		if o.landed && o.kind.commits() {
			have = append(have, Completed{ID: id, Kind: o.kind, Owned: !o.kind.Savepoint()})
		}
	}
	for id, l := range w.life {
		if l == "open" {
			w.life[id] = "forgotten"
		}
	}
	slices.SortFunc(have, func(a, b Completed) int { return int(a.ID - b.ID) })
	w.boot(have)
	for i := range w.tasks {
		w.tasks[i].up = false
	}
	if len(have) > 0 {
		w.restart()
	} else {
		w.committed = 0
		for i := range w.tasks {
			w.startTask(Task(i), w.tasks[i].attempt, false)
		}
	}
	w.chaos()
}

func (w *world) startTask(t Task, a Attempt, done bool) {
	x := &w.tasks[t]
	*x = worldTask{attempt: a, consumers: x.consumers, cutWhileEnded: map[ID]bool{}}
	w.after(w.soon(), func() {
		if x.attempt != a || x.up {
			return
		}
		x.up = true
		w.step(Running{t, a})
		if done {
			w.endSource(t)
		}
	})
}

// endSource ends the input of t if all that it reads from has ended.
func (w *world) endSource(t Task) {
	x := &w.tasks[t]
	if !x.up || x.ended || x.finished || x.blocked != 0 {
		return
	}
	for _, in := range w.topo.Tasks[t].Inputs {
		if !w.tasks[in].ended {
			return
		}
	}
	x.ended = true
	if w.cfg.Final() {
		w.message(EndOfData{t, x.attempt})
	}
	for _, o := range x.consumers {
		w.later(o, func() { w.endSource(o) })
	}
}

// later does something with t soon, if it is still the same attempt.
func (w *world) later(t Task, do func()) {
	a := w.tasks[t].attempt
	w.after(w.soon(), func() {
		if w.tasks[t].attempt == a && w.tasks[t].up {
			do()
		}
	})
}

func (w *world) finish(t Task) {
	x := &w.tasks[t]
	if x.finished || !x.up {
		return
	}
	// Those before it must have finished: they will not send barriers.
	for _, in := range w.topo.Tasks[t].Inputs {
		if !w.tasks[in].finished {
			w.later(t, func() { w.finish(t) })
			return
		}
	}
	x.finished, x.ended = true, true
	ev := Finished{t, x.attempt, x.seen}
	w.after(w.soon(), func() { w.step(ev) })
	for _, o := range x.consumers {
		for id := ID(1); id <= w.newest; id++ {
			if w.life[id] == "open" {
				w.later(o, func() { w.barrier(o, id) })
			}
		}
	}
}

func (w *world) fail(t Task) {
	x := &w.tasks[t]
	if !x.up || x.finished {
		return
	}
	x.up = false
	w.step(Failed{t, x.attempt, errors.New("gone")})
	w.restart()
}

// restart has the driver stop all tasks and ask where to begin again.
func (w *world) restart() {
	w.restarting++
	n := w.restarting
	w.after(w.soon(), func() {
		if n != w.restarting {
			return
		}
		for i := range w.tasks {
			w.tasks[i].up = false
			w.tasks[i].attempt++ // nothing comes from the old one; messages under way do
		}
		w.asked = n
		w.step(Recover{})
	})
}

// barrier has t take its part in snapshot id once the barrier has come from
// all inputs that have not finished.
func (w *world) barrier(t Task, id ID) {
	x := &w.tasks[t]
	if !x.up || x.finished || x.seen >= id {
		return
	}
	any := false
	for _, in := range w.topo.Tasks[t].Inputs {
		switch i := &w.tasks[in]; {
		case i.seen > id && !i.finished:
			return // a newer one has overtaken it
		case i.seen == id:
			any = true
		case !i.finished:
			return
		}
	}
	if any {
		w.cut(t, id)
	}
}

func (w *world) cut(t Task, id ID) {
	x := &w.tasks[t]
	if !x.up || x.finished || x.seen >= id {
		return
	}
	if x.blocked != 0 {
		w.fail(t) // the snapshot that it stands behind is given up
		return
	}
	x.seen = id
	w.cuts[cutOf{id, t}] = true
	if x.ended {
		x.cutWhileEnded[id] = true
	}
	if w.kinds[id].Ends() {
		x.blocked = id
	}
	switch {
	case w.fault() && w.rng.IntN(2) == 0:
		w.message(Decline{id, t, x.attempt, DeclineReason(w.rng.IntN(6)), errors.New("disk")})
	default:
		w.message(Ack{Checkpoint: id, Task: t, Attempt: x.attempt, Handle: id, Finished: x.ended})
	}
	for _, o := range x.consumers {
		w.later(o, func() { w.barrier(o, id) })
	}
}

func (w *world) land(o *object) {
	if !o.barred {
		o.landed = true
	}
}

func (w *world) publish(id ID, o *object) {
	report := func(ev Event) { w.after(w.soon(), func() { w.step(ev) }) }
	d := w.soon()
	if !w.fault() {
		w.after(d, func() {
			w.land(o)
			if o.landed {
				report(Published{Checkpoint: id, Path: fmt.Sprint("chk-", id)})
			}
		})
		return
	}
	switch w.rng.IntN(4) {
	case 0:
		o.barred = true
		report(PublishFailed{id, errors.New("denied")})
	case 1: // lands whenever it likes
		w.after(4*d, func() { w.land(o) })
		report(PublishUnknown{id, errors.New("timeout")})
	case 2:
		report(PublishUnknown{id, errors.New("timeout")})
	case 3:
		w.after(d, func() { w.land(o) })
	}
}
