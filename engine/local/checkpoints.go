package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/engine/checkpoint"
	"github.com/millrace/millrace/engine/restart"
	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/task"
	"github.com/millrace/millrace/state/blob"
	"github.com/millrace/millrace/state/keygroup"
	"github.com/millrace/millrace/state/snapshot"
)

// Checkpoints says how a job's state is kept and what happens when the job
// fails.
type Checkpoints struct {
	Config  checkpoint.Config
	Restart restart.Config
	// Store and Dir are where the job's checkpoints are.
	Store blob.Store
	Dir   string
	// From is the snapshot to begin with, unless the folder has newer
	// checkpoints of the job; nil for none.
	From *snapshot.Snapshot
	// AllowNonRestored leaves out state of operators that the job no longer
	// has. Without it such state is an error.
	AllowNonRestored bool
}

// keeper carries out what a checkpoint.Coordinator decides for the tasks of one
// attempt after the other: it passes barriers and news on, writes what tasks
// hand over, and publishes.
//
// Events come from anywhere by post; everything else happens in step, which one
// goroutine calls. Storage is slow, so each of its jobs runs by async, on a
// goroutine of its own or, in a simulation, at once.
type keeper struct {
	opts   *Options
	c      *Checkpoints
	folder *snapshot.Folder
	coord  *checkpoint.Coordinator
	number uint64 // of this run of the job among all, see snapshot.Folder.Claim
	async  func(func())
	now    func() time.Time

	mu     sync.Mutex
	events []checkpoint.Event
	wake   chan struct{}

	x       *Execution // the attempt under way
	attempt checkpoint.Attempt
	wakeAt  time.Time
	failed  error // why the coordinator wants the attempt stopped
	restore *checkpoint.Restore

	writeMu sync.Mutex
	writing map[checkpoint.ID]*writing
	base    *snapshot.Manifest // of the newest complete checkpoint
	finals  map[int][]*part    // by task: its operators' state since it has finished
	last    map[int]checkpoint.ID
}

// writing is a snapshot that is being written.
type writing struct {
	w *snapshot.Writer
	// partials by task.
	partials map[int][]*snapshot.Partial
	manifest *snapshot.Manifest
	busy     sync.WaitGroup // publication
}

// part is the state of one operator in one subtask.
type part struct {
	node   int // in the graph
	sub    int
	pieces []snapshot.Piece
}

// newKeeper takes over the folder, and finds what there is to restore.
func newKeeper(ctx context.Context, opts *Options) (*keeper, error) {
	c := opts.Checkpoints
	k := &keeper{opts: opts, c: c, folder: snapshot.NewFolder(c.Store, c.Dir), wake: make(chan struct{}, 1),
		async: func(f func()) { go f() }, attempt: 1,
		now:     func() time.Time { return time.Unix(0, opts.Clock.Now()) },
		writing: map[checkpoint.ID]*writing{}, last: map[int]checkpoint.ID{}, finals: map[int][]*part{}}
	var err error
	if k.number, err = k.folder.Claim(ctx); err != nil {
		return nil, fmt.Errorf("checkpoints in %s: %w", k.folder, err)
	}
	opts.run, opts.attempt = k.folder.String(), int64(k.number)<<24
	return k, nil
}

// begin makes the coordinator, once the tasks are known.
func (k *keeper) begin(ctx context.Context, x *Execution) error {
	ids, last, err := k.folder.Checkpoints(ctx)
	if err != nil {
		return fmt.Errorf("checkpoints in %s: %w", k.folder, err)
	}
	o := checkpoint.Options{Config: k.c.Config, Topology: x.topology(), First: checkpoint.ID(last) + 1, Attempt: k.attempt,
		Rand: rand.New(rand.NewPCG(k.number, last))}
	if k.opts.rand != nil {
		o.Rand = rand.New(rand.NewPCG(uint64(k.opts.rand(1<<30)), last))
	}
	if f := k.c.From; f != nil {
		id := checkpoint.ID(f.Manifest.Checkpoint)
		o.First = max(o.First, id+1)
		if len(ids) == 0 {
			o.Retained = append(o.Retained, checkpoint.Completed{ID: id, Kind: checkpoint.Savepoint, Path: f.String()})
		}
	}
	for _, id := range slices.Backward(ids) {
		o.Retained = append(o.Retained, checkpoint.Completed{ID: checkpoint.ID(id), Kind: checkpoint.Checkpoint, Owned: true,
			Path: k.folder.CheckpointDir(id)})
	}
	k.coord = checkpoint.New(o)
	return nil
}

// topology tells the coordinator of the tasks.
func (x *Execution) topology() (t checkpoint.Topology) {
	for ci, c := range x.plan.Chains {
		for sub := range c.Parallelism {
			info := checkpoint.TaskInfo{Vertex: fmt.Sprintf("%d %s", ci, c.Name())}
			for _, p := range x.producers[x.bases[ci]+sub] {
				info.Inputs = append(info.Inputs, checkpoint.Task(p))
			}
			t.Tasks = append(t.Tasks, info)
		}
	}
	return t
}

// post tells the keeper of an event. Safe from any goroutine.
func (k *keeper) post(e checkpoint.Event) {
	k.mu.Lock()
	k.events = append(k.events, e)
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// step handles what has been posted, and time. It reports whether there was
// anything.
func (k *keeper) step(ctx context.Context) bool {
	k.mu.Lock()
	events := k.events
	k.events = nil
	k.mu.Unlock()
	now := k.now()
	if !k.wakeAt.IsZero() && !now.Before(k.wakeAt) {
		k.wakeAt = time.Time{}
		events = append(events, checkpoint.Tick{})
	}
	for _, e := range events {
		for _, a := range k.coord.Step(now, e) {
			k.do(ctx, a)
		}
	}
	return len(events) > 0
}

func (k *keeper) do(ctx context.Context, a checkpoint.Action) {
	switch a := a.(type) {
	case checkpoint.WakeAt:
		k.wakeAt = a.At
	case checkpoint.Reserve:
		k.post(checkpoint.Reserved(a))
	case checkpoint.Trigger:
		k.trigger(a)
	case checkpoint.Abort:
		k.opts.Log.Warn("a checkpoint was given up", "job", k.opts.Job, "error", a.Err)
		for _, t := range a.Tasks {
			k.x.tasks[t].Abort(int64(a.Checkpoint))
		}
	case checkpoint.Publish:
		k.publish(ctx, a.Manifest)
	case checkpoint.Confirm:
		k.async(func() { k.post(k.confirm(ctx, a.Checkpoint)) })
	case checkpoint.Notify:
		for _, t := range a.Tasks {
			k.x.tasks[t].Complete(int64(a.Checkpoint))
		}
	case checkpoint.Discard:
		k.discard(ctx, a)
	case checkpoint.DiscardLate:
		// Cleaning up finds it: no manifest refers to it.
	case checkpoint.Drop:
		k.clean(ctx, a.Checkpoint)
	case checkpoint.FailJob:
		k.failed = a.Cause
		k.x.stop(a.Cause)
	case checkpoint.Restore:
		k.restore = &a
	case checkpoint.Answer:
		// Nobody asks yet.
	}
}

// trigger opens what the snapshot is written to and tells the tasks.
func (k *keeper) trigger(a checkpoint.Trigger) {
	k.writeMu.Lock()
	if k.writing[a.Checkpoint] == nil {
		o := snapshot.WriterOptions{Checkpoint: uint64(a.Checkpoint), Attempt: k.number, Worker: "local"}
		if !a.Full && k.c.Config.Storage.Incremental {
			o.Base = k.base
		}
		w, err := k.folder.Writer(o)
		if err != nil {
			k.writeMu.Unlock()
			k.post(checkpoint.TriggerFailed{Checkpoint: a.Checkpoint, Cause: err})
			return
		}
		k.writing[a.Checkpoint] = &writing{w: w, partials: map[int][]*snapshot.Partial{}}
	}
	k.writeMu.Unlock()
	for _, t := range a.Tasks {
		k.x.tasks[t].Trigger(int64(a.Checkpoint))
	}
}

// partOf is who task ti of an attempt reports to.
type partOf struct {
	k       *keeper
	x       *Execution
	ti      int
	attempt checkpoint.Attempt
}

// Taken implements task.Part.
func (p *partOf) Taken(id int64, nodes []task.NodeState) {
	k, at := p.k, checkpoint.ID(id)
	parts := p.x.parts(p.ti, nodes)
	k.writeMu.Lock()
	w := k.writing[at]
	k.last[p.ti] = at
	k.writeMu.Unlock()
	if w == nil {
		drop(parts)
		return
	}
	taken := k.now()
	k.async(func() {
		partials, err := k.write(p.x, w, p.ti, parts, false)
		if err != nil {
			k.post(checkpoint.Decline{Checkpoint: at, Task: checkpoint.Task(p.ti), Attempt: p.attempt, Reason: checkpoint.DeclinedFailed, Cause: err})
			return
		}
		k.writeMu.Lock()
		w.partials[p.ti] = partials
		k.writeMu.Unlock()
		k.post(checkpoint.Ack{Checkpoint: at, Task: checkpoint.Task(p.ti), Attempt: p.attempt,
			Metrics: checkpoint.Metrics{Async: k.now().Sub(taken)}})
	})
}

// Declined implements task.Part.
func (p *partOf) Declined(id int64, why error) {
	p.k.post(checkpoint.Decline{Checkpoint: checkpoint.ID(id), Task: checkpoint.Task(p.ti), Attempt: p.attempt,
		Reason: checkpoint.DeclinedNotReady, Cause: why})
}

// EndOfData implements task.Part.
func (p *partOf) EndOfData() {
	p.k.post(checkpoint.EndOfData{Task: checkpoint.Task(p.ti), Attempt: p.attempt})
}

// Ended implements task.Part.
func (p *partOf) Ended(nodes []task.NodeState) error {
	k, parts := p.k, p.x.parts(p.ti, nodes)
	// It may be part of each snapshot to come.
	for _, p := range parts {
		for i := range p.pieces {
			data, err := p.pieces[i].Encode(nil)
			if err != nil {
				return err
			}
			p.pieces[i].Encode = func(dst []byte) ([]byte, error) { return append(dst, data...), nil }
			p.pieces[i].Drop = nil
		}
	}
	k.writeMu.Lock()
	if k.finals[p.ti] == nil { // else it had finished before the restore
		k.finals[p.ti] = parts
	}
	last := k.last[p.ti]
	k.writeMu.Unlock()
	k.post(checkpoint.Finished{Task: checkpoint.Task(p.ti), Attempt: p.attempt, Last: last})
	return nil
}

// parts makes parts of a snapshot of what the operators of a task gave.
func (x *Execution) parts(ti int, nodes []task.NodeState) []*part {
	ci, sub := x.chainOf(ti)
	c := x.plan.Chains[ci]
	var parts []*part
	for _, ns := range nodes {
		n := c.Nodes[ns.Node]
		if n.UID == "" {
			continue
		}
		p := &part{node: n.ID, sub: sub}
		for _, piece := range ns.Pieces {
			if piece.Group == operator.BroadcastGroup && sub > 0 {
				continue // the same in all
			}
			p.pieces = append(p.pieces, snapshot.Piece{State: piece.State, Group: piece.Group, Schema: piece.Schema, Encode: piece.Encode,
				Drop: func() { _, _ = piece.Encode(nil) }}) // lets go of what it has frozen
		}
		parts = append(parts, p)
	}
	return parts
}

// drop lets go of parts that nobody wants.
func drop(parts []*part) {
	for _, p := range parts {
		for _, piece := range p.pieces {
			if piece.Drop != nil {
				piece.Drop()
			}
		}
	}
}

// chainOf returns the chain and subtask of a task.
func (x *Execution) chainOf(ti int) (chain, sub int) {
	chain = len(x.bases) - 1
	for x.bases[chain] > ti {
		chain--
	}
	return chain, ti - x.bases[chain]
}

// write writes the parts of one task.
func (k *keeper) write(x *Execution, w *writing, ti int, parts []*part, finished bool) ([]*snapshot.Partial, error) {
	var partials []*snapshot.Partial
	ci, sub := x.chainOf(ti)
	c := x.plan.Chains[ci]
	for _, n := range c.Nodes {
		if n.UID == "" {
			continue
		}
		s := snapshot.Part{UID: n.UID, Name: n.Name, Parallelism: c.Parallelism, MaxParallelism: c.MaxParallelism, Subtask: sub, Finished: finished}
		for _, p := range parts {
			if p.node == n.ID {
				s.Pieces = p.pieces
			}
		}
		partial, err := w.w.Write(context.WithoutCancel(x.ctx), s)
		if err != nil {
			return nil, err
		}
		partials = append(partials, partial)
	}
	return partials, nil
}

// publish joins what has been written and makes it a checkpoint.
func (k *keeper) publish(ctx context.Context, m checkpoint.Manifest) {
	k.writeMu.Lock()
	w := k.writing[m.Checkpoint]
	k.writeMu.Unlock()
	if w == nil {
		k.post(checkpoint.PublishFailed{Checkpoint: m.Checkpoint, Cause: errors.New("nothing has been written")})
		return
	}
	x := k.x
	w.busy.Add(1)
	k.async(func() {
		defer w.busy.Done()
		err := k.assemble(ctx, x, w, m)
		switch {
		case err == nil:
			k.writeMu.Lock()
			k.base = w.manifest
			delete(k.writing, m.Checkpoint)
			k.writeMu.Unlock()
			k.post(checkpoint.Published{Checkpoint: m.Checkpoint, Path: k.folder.CheckpointDir(uint64(m.Checkpoint))})
		case errors.Is(err, snapshot.ErrUncertain):
			k.post(checkpoint.PublishUnknown{Checkpoint: m.Checkpoint, Cause: err})
		default:
			k.post(checkpoint.PublishFailed{Checkpoint: m.Checkpoint, Cause: err})
		}
	})
}

func (k *keeper) assemble(ctx context.Context, x *Execution, w *writing, m checkpoint.Manifest) error {
	var all []*snapshot.Partial
	for _, a := range m.Acks {
		ti := int(a.Task)
		k.writeMu.Lock()
		partials, final := w.partials[ti], k.finals[ti]
		k.writeMu.Unlock()
		if partials == nil { // it had finished before
			var err error
			if partials, err = k.write(x, w, ti, final, true); err != nil {
				return err
			}
		}
		all = append(all, partials...)
	}
	if err := w.w.Close(ctx); err != nil {
		return err
	}
	info := snapshot.Info{JobName: k.opts.Job, JobID: k.opts.Job, Attempt: k.number, Checkpoint: uint64(m.Checkpoint), Kind: snapshot.Checkpoint,
		TriggerMillis: m.Triggered.UnixMilli(), Engine: "millrace", MaxParallelism: x.plan.Chains[0].MaxParallelism}
	manifest, err := snapshot.Assemble(info, all)
	if err != nil {
		return err
	}
	w.manifest = manifest
	return k.folder.Publish(ctx, manifest)
}

// confirm answers whether a manifest is there.
func (k *keeper) confirm(ctx context.Context, id checkpoint.ID) checkpoint.Event {
	ids, _, err := k.folder.Checkpoints(ctx)
	switch {
	case err != nil:
		return checkpoint.PublishUnknown{Checkpoint: id, Cause: err}
	case slices.Contains(ids, uint64(id)):
		return checkpoint.Published{Checkpoint: id, Path: k.folder.CheckpointDir(uint64(id))}
	}
	return checkpoint.PublishFailed{Checkpoint: id, Cause: errors.New("its manifest is not there")}
}

// discard gives up what has been written for a snapshot.
func (k *keeper) discard(ctx context.Context, a checkpoint.Discard) {
	k.writeMu.Lock()
	w := k.writing[a.Checkpoint]
	delete(k.writing, a.Checkpoint)
	k.writeMu.Unlock()
	keep := k.keep()
	k.async(func() {
		var err error
		if w != nil {
			w.busy.Wait() // after this its manifest cannot appear any more
			err = w.w.Abort(context.WithoutCancel(ctx))
		}
		if a.Manifest {
			err = k.remove(ctx, keep)
		}
		k.post(checkpoint.Discarded{Checkpoint: a.Checkpoint, Cause: err})
	})
}

// clean deletes a checkpoint that is no longer retained, and what only it
// referred to.
func (k *keeper) clean(ctx context.Context, id checkpoint.ID) {
	keep := k.keep()
	k.async(func() {
		k.post(checkpoint.Discarded{Checkpoint: id, Cause: k.remove(ctx, keep)})
	})
}

// keep lists the checkpoints that must stay.
func (k *keeper) keep() (o snapshot.CleanOptions) {
	o.Attempt = k.number
	for _, c := range k.coord.Retained() {
		if c.Owned {
			o.Keep = append(o.Keep, uint64(c.ID))
		}
	}
	k.writeMu.Lock()
	defer k.writeMu.Unlock()
	if k.base != nil && !slices.Contains(o.Keep, k.base.Checkpoint) {
		k.base = nil // gone: the next checkpoint is a full one
	}
	o.Pending = 1 << 62
	for _, id := range k.coord.Pending() {
		o.Pending = min(o.Pending, uint64(id))
	}
	for id := range maps.Keys(k.writing) {
		o.Pending = min(o.Pending, uint64(id))
	}
	return o
}

func (k *keeper) remove(ctx context.Context, o snapshot.CleanOptions) error {
	_, err := k.folder.Clean(ctx, o)
	return err
}

// recover finds the snapshot to restore after a failure, or at the start, and
// gives the tasks of x their state.
func (k *keeper) recover(ctx context.Context, x *Execution) error {
	k.restore = nil
	k.failed = nil
	k.writeMu.Lock()
	clear(k.finals)
	clear(k.last)
	k.writeMu.Unlock()
	k.post(checkpoint.Recover{})
	for k.restore == nil {
		if !k.step(ctx) {
			select {
			case <-k.wake:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	k.attempt++
	from := checkpoint.ID(0)
	var errs []error
	for _, c := range k.restore.Candidates {
		s, err := k.open(ctx, c)
		if err == nil {
			err = k.restoreFrom(ctx, x, s)
		}
		if err == nil {
			from = c.ID
			k.opts.Log.Info("restored", "job", k.opts.Job, "checkpoint", c.ID, "path", c.Path)
			if c.Owned {
				k.base = s.Manifest
			}
			break
		}
		if !errors.Is(err, snapshot.ErrDamaged) && !errors.Is(err, blob.ErrNotExist) {
			return fmt.Errorf("restore from %s: %w", c.Path, err)
		}
		errs = append(errs, fmt.Errorf("restore from %s: %w", c.Path, err))
		k.opts.Log.Warn("a checkpoint cannot be restored, trying the one before", "job", k.opts.Job, "checkpoint", c.ID, "error", err)
	}
	if from == 0 && len(k.restore.Candidates) > 0 {
		return errors.Join(errs...)
	}
	k.x = x
	for i, t := range x.tasks {
		t.Checkpointed(&partOf{k, x, i, k.attempt})
	}
	now := k.now()
	for _, a := range k.coord.Step(now, checkpoint.Restored{Checkpoint: from, Attempt: k.attempt}) {
		k.do(ctx, a)
	}
	return nil
}

func (k *keeper) open(ctx context.Context, c checkpoint.Completed) (*snapshot.Snapshot, error) {
	if !c.Owned && k.c.From != nil && checkpoint.ID(k.c.From.Manifest.Checkpoint) == c.ID {
		return k.c.From, nil
	}
	return snapshot.Open(ctx, k.c.Store, k.folder.CheckpointDir(uint64(c.ID)))
}

// restoreFrom gives the tasks of x what a snapshot has of them.
func (k *keeper) restoreFrom(ctx context.Context, x *Execution, s *snapshot.Snapshot) error {
	own := make([]map[int][]snapshot.Piece, len(x.tasks)) // by task and node: what it gave itself
	finished := make([]int, len(x.tasks))                 // operators of the task that had finished
	pieces := make([]map[int][]operator.Piece, len(x.tasks))
	for i := range pieces {
		pieces[i] = map[int][]operator.Piece{}
	}
	for i := range s.Manifest.Operators {
		op := &s.Manifest.Operators[i]
		ci, at, ok := x.find(op.UID)
		if !ok {
			if !k.c.AllowNonRestored && len(op.States) > 0 {
				return fmt.Errorf("the snapshot has state of operator %s, which the job does not have: give the operator its id back, or allow that state to be left out", op.UID)
			}
			continue
		}
		c := x.plan.Chains[ci]
		if op.MaxParallelism != c.MaxParallelism {
			return fmt.Errorf("operator %s has %d key groups in the snapshot and %d in the job: set its max parallelism to %d", op.UID, op.MaxParallelism, c.MaxParallelism, op.MaxParallelism)
		}
		if op.Parallelism == c.Parallelism {
			for _, sub := range op.Subtasks {
				if sub.Finished && sub.Index < c.Parallelism {
					finished[x.bases[ci]+sub.Index]++
				}
			}
		}
		if err := x.share(ctx, s, op, ci, func(sub int, p operator.Piece) {
			m := pieces[x.bases[ci]+sub]
			m[at] = append(m[at], p)
		}, func(sub int, p snapshot.Piece) {
			if sub < c.Parallelism {
				ti := x.bases[ci] + sub
				if own[ti] == nil {
					own[ti] = map[int][]snapshot.Piece{}
				}
				own[ti][c.Nodes[at].ID] = append(own[ti][c.Nodes[at].ID], p)
			}
		}); err != nil {
			return err
		}
	}
	for ti, t := range x.tasks {
		ci, _ := x.chainOf(ti)
		known := 0
		for i, n := range x.plan.Chains[ci].Nodes {
			if n.UID != "" {
				known++
			}
			if ps := pieces[ti][i]; len(ps) > 0 {
				t.Restore(i, ps)
			}
		}
		if known > 0 && finished[ti] == known {
			t.RestoreFinished()
			_, sub := x.chainOf(ti)
			parts := []*part{}
			for _, n := range x.plan.Chains[ci].Nodes {
				if ps := own[ti][n.ID]; ps != nil {
					parts = append(parts, &part{node: n.ID, sub: sub, pieces: ps})
				}
			}
			k.finals[ti] = parts
		}
	}
	return nil
}

// share gives each subtask of chain ci the pieces of op that it is to have.
func (x *Execution) share(ctx context.Context, s *snapshot.Snapshot, op *snapshot.Operator, ci int, give func(sub int, p operator.Piece), wrote func(sub int, p snapshot.Piece)) error {
	c := x.plan.Chains[ci]
	var chunks []*snapshot.Chunk
	type place struct {
		st *snapshot.State
		e  *snapshot.Entry
		at int // among the state's entries
	}
	var places []place
	for i := range op.States {
		st := &op.States[i]
		for j := range st.Entries {
			chunks = append(chunks, &st.Entries[j].Chunk)
			places = append(places, place{st, &st.Entries[j], j})
		}
	}
	return s.Load(ctx, op, chunks, func(i int, data []byte) error {
		st, e := places[i].st, places[i].e
		p := operator.Piece{State: st.Name, Schema: st.Schemas[e.Schema], Data: slices.Clone(data)}
		if st.Kind != snapshot.Keyed {
			group := map[snapshot.StateKind]int{snapshot.OperatorState: snapshot.OperatorGroup, snapshot.Union: snapshot.UnionGroup, snapshot.Broadcast: snapshot.BroadcastGroup}[st.Kind]
			wrote(e.Subtask, snapshot.Piece{State: p.State, Group: group, Schema: p.Schema,
				Encode: func(dst []byte) ([]byte, error) { return append(dst, p.Data...), nil }})
		}
		switch st.Kind {
		case snapshot.Keyed:
			p.Group = e.Group
			give(keygroup.Owner(e.Group, c.Parallelism, c.MaxParallelism), p)
		case snapshot.OperatorState:
			p.Group = operator.OperatorGroup
			give(places[i].at%c.Parallelism, p)
		default:
			p.Group = operator.UnionGroup
			if st.Kind == snapshot.Broadcast {
				p.Group = operator.BroadcastGroup
			}
			for sub := range c.Parallelism {
				give(sub, p)
			}
		}
		return nil
	})
}

// find returns the chain of the operator with this id, and its place in it.
func (x *Execution) find(uid string) (chain, at int, ok bool) {
	for ci, c := range x.plan.Chains {
		for i, n := range c.Nodes {
			if n.UID == uid {
				return ci, i, true
			}
		}
	}
	return 0, 0, false
}

// attend runs an attempt and handles events beside it. It returns nil when all
// tasks have finished.
func (k *keeper) attend(x *Execution) error {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		k.serve(x.ctx, stop)
	}()
	err := x.run(func() { k.running(x) })
	close(stop)
	<-stopped
	return err
}

// running tells the coordinator that all tasks are open.
func (k *keeper) running(x *Execution) {
	for i := range x.tasks {
		k.post(checkpoint.Running{Task: checkpoint.Task(i), Attempt: k.attempt})
	}
}

// serve handles events until stop is closed.
func (k *keeper) serve(ctx context.Context, stop <-chan struct{}) {
	ctx = context.WithoutCancel(ctx)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		for k.step(ctx) {
		}
		wait := time.Hour
		if !k.wakeAt.IsZero() {
			wait = max(k.wakeAt.Sub(k.now()), time.Millisecond)
		}
		timer.Reset(wait)
		select {
		case <-k.wake:
		case <-timer.C:
		case <-stop:
			return
		}
	}
}

// fail tells the coordinator that all tasks of the attempt are gone, and
// decides when the next attempt is to begin, or that there is none.
func (k *keeper) fail(s *restart.Strategy, cause error) (at time.Time, fatal error) {
	k.opts.Log.Warn("the job failed", "job", k.opts.Job, "attempt", int(k.attempt), "error", cause)
	for i := range k.x.tasks {
		k.post(checkpoint.Failed{Task: checkpoint.Task(i), Attempt: k.attempt, Cause: cause})
	}
	d := s.Failed(k.now(), restart.Failure{Cause: cause})
	return d.At, d.Err
}

// end tells the coordinator how the job ended, lets it clean up and returns err.
func (k *keeper) end(ctx context.Context, err error) error {
	how := checkpoint.JobFinished
	switch {
	case err != nil && ctx.Err() != nil:
		how = checkpoint.JobCancelled
	case err != nil:
		how = checkpoint.JobFailed
	}
	k.post(checkpoint.JobEnded{How: how})
	var busy sync.WaitGroup
	async := k.async
	k.async = func(f func()) {
		busy.Add(1)
		async(func() { defer busy.Done(); f() })
	}
	ctx = context.WithoutCancel(ctx)
	for {
		for k.step(ctx) {
		}
		busy.Wait()
		k.mu.Lock()
		left := len(k.events)
		k.mu.Unlock()
		if left == 0 {
			return err
		}
	}
}
