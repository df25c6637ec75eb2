// Package task runs the chain of one subtask. A [Task] is an object that is
// stepped: [Task.Step] takes one thing that is to be done (a message, due
// timers, a finished asynchronous call, a read of the source), does it to the
// end and returns. It never waits and has no goroutine; [Task.Run] is the
// goroutine that drives it in production, and a simulation drives many from
// one seeded loop.
package task

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/runtime/exchange"
	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
)

// A Task is one subtask's chain of operators with its inputs and outputs. Only
// its driver touches it, but for the fields said to be for everybody.
type Task struct {
	snapshots

	// Set by New, never written again.
	name   string
	env    *operator.Env // of the head; the others' differ in name and id
	nodes  []node
	source operator.Poller // the head if it is a source, else nil
	inputs []input
	inbox  *exchange.Inbox
	wake   chan struct{} // one token: something may be there to be done

	// Owned by the driver.
	marks    *watermark.Inputs // nil for a source task
	wm       int64             // event time of the task's input
	idle     bool              // what the outputs have been told
	idleNext bool              // what they are to be told
	ended    bool              // no input will come any more
	firing   bool              // a pass over the chain stopped in between
	ticking  int               // index of the node whose OnTime stopped in between, or -1
	now      int64
	queue    []exchange.Message // taken from the inbox, not yet handled
	next     int
	held     [][]exchange.Message // by channel: messages an operator did not want yet
	holding  int
	channels []channel
	finished bool
	closed   bool

	// For everybody.
	posted  atomic.Bool
	records atomic.Int64
	mark    atomic.Int64
}

// node is one operator of the chain, in an order in which every operator comes
// after the one that feeds it.
type node struct {
	op     operator.Operator
	env    *operator.Env
	parent int // index of the operator that feeds it, -1 for the head
	outs   []out

	in, out  int64 // last event time given to Advance, and what it returned
	opened   bool
	finished bool

	ticker operator.Ticker
	poster operator.Poster
	keeper operator.Timekeeper
	ender  operator.InputEnder
	gate   operator.Gated
	late   operator.LateDropper

	dropped *atomic.Int64 // what late said last, for everybody

	restore []operator.Piece // for Open
}

type out struct {
	exchange.Output
	sent int64 // last watermark sent
}

// input is one logical input of the head.
type input struct {
	receive func(batch any) (int, error)
	live    int // channels that have not ended
}

type channel struct {
	input, index int  // index among the input's channels
	ended        bool // nothing more comes
	reached      bool // the barrier of the snapshot under way has come
	blocked      bool // and what came behind it has to wait for the others
}

// Spec says what a task is made of.
type Spec struct {
	// Name is how logs and errors call the task.
	Name string
	// Nodes in an order in which every operator comes after its parent; the
	// first is the head.
	Nodes []NodeSpec
	// Inputs of the head; none for a source.
	Inputs []InputSpec
}

// NodeSpec is one operator of a chain.
type NodeSpec struct {
	Op     operator.Operator
	Env    *operator.Env
	Parent int // -1 for the head
	// Outs are the exchanges fed by the operator's port OutPorts[i].
	Outs []exchange.Output
}

// InputSpec is one logical input of the head: how many channels feed it, and
// how a batch gets to the operator. Channels are numbered input by input.
type InputSpec struct {
	Channels int
	// Receive handles a *record.Batch of the input's type, returns it to its
	// home and says how many records it held.
	Receive func(batch any) (int, error)
}

// Entry makes the Receive function of an input: it passes the batch to r and
// then back to where it came from.
func Entry[T any](r operator.Receiver[T]) func(batch any) (int, error) {
	return func(batch any) (int, error) {
		b := batch.(*record.Batch[T])
		n := b.Len()
		err := r.Receive(b)
		if b.Home != nil {
			b.Home.Return(b)
		}
		return n, err
	}
}

// New returns a task. The inbox must have been made with t.Wake, so the caller
// makes the inbox first by [NewInbox] and passes both.
func New(spec Spec, inbox *exchange.Inbox, wake chan struct{}) *Task {
	t := &Task{name: spec.Name, inbox: inbox, wake: wake, wm: watermark.None, ticking: -1}
	t.mark.Store(watermark.None)
	for _, n := range spec.Nodes {
		nd := node{op: n.Op, env: n.Env, parent: n.Parent, in: watermark.None, out: watermark.None}
		nd.ticker, _ = n.Op.(operator.Ticker)
		nd.poster, _ = n.Op.(operator.Poster)
		nd.keeper, _ = n.Op.(operator.Timekeeper)
		nd.ender, _ = n.Op.(operator.InputEnder)
		nd.gate, _ = n.Op.(operator.Gated)
		if nd.late, _ = n.Op.(operator.LateDropper); nd.late != nil {
			nd.dropped = new(atomic.Int64)
		}
		for _, o := range n.Outs {
			nd.outs = append(nd.outs, out{Output: o, sent: watermark.None})
		}
		t.nodes = append(t.nodes, nd)
	}
	t.env = t.nodes[0].env
	var counts []int
	for i, in := range spec.Inputs {
		t.inputs = append(t.inputs, input{receive: in.Receive, live: in.Channels})
		counts = append(counts, in.Channels)
		for c := range in.Channels {
			t.channels = append(t.channels, channel{input: i, index: c})
		}
	}
	if len(counts) > 0 {
		t.marks = watermark.NewInputs(counts...)
		t.held = make([][]exchange.Message, len(t.channels))
	} else {
		t.source = spec.Nodes[0].Op.(operator.Poller)
	}
	return t
}

// Waker returns the function that wakes the driver of the task that has wake.
func Waker(wake chan struct{}) func() {
	return func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// Post makes the next step call OnPost of the task's operators. Safe from any
// goroutine.
func (t *Task) Post() {
	t.posted.Store(true)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Name returns the task's name.
func (t *Task) Name() string { return t.name }

// Records returns how many records the task's head has handled. For everybody.
func (t *Task) Records() int64 { return t.records.Load() }

// LateDropped returns how many records the task's operator i has dropped for
// being late. For everybody.
func (t *Task) LateDropped(i int) int64 {
	if d := t.nodes[i].dropped; d != nil {
		return d.Load()
	}
	return 0
}

// Watermark returns the event time of the task. For everybody.
func (t *Task) Watermark() int64 { return t.mark.Load() }

// Source reports whether the task reads a source.
func (t *Task) Source() bool { return t.source != nil }

// Vacant reports whether the task reads a source of which it will never have
// any part.
func (t *Task) Vacant() bool {
	s, ok := t.source.(operator.Sharer)
	return ok && !s.Shares(t.env.Index)
}

// Open opens the operators, unless that has been done.
func (t *Task) Open() (err error) {
	for i := range t.nodes {
		n := &t.nodes[i]
		if n.opened {
			continue
		}
		if n.finished {
			if _, ok := n.op.(operator.Committer); !ok {
				continue // it had finished when the snapshot was taken
			}
		}
		n.opened = true
		if err := t.guard(func() error { return n.op.Open(n.env) }); err != nil {
			return t.failIn(i, "open", err)
		}
		if len(n.restore) == 0 {
			continue
		}
		s, ok := n.op.(operator.Stateful)
		if !ok {
			return t.failIn(i, "restore", errors.New("the snapshot has state of it, but it keeps none"))
		}
		if err := t.guard(func() error { return s.Restore(n.restore) }); err != nil {
			return t.failIn(i, "restore", err)
		}
		n.restore = nil
	}
	if t.tellEnd {
		t.tellEnd = false
		for i := range t.nodes {
			for j := range t.nodes[i].outs {
				t.nodes[i].outs[j].Control(exchange.Watermark, watermark.End)
				t.nodes[i].outs[j].Control(exchange.End, 0)
			}
		}
	}
	return nil
}

// Close closes the operators that were opened, the head first.
func (t *Task) Close() error {
	if t.closed {
		return nil
	}
	t.closed = true
	var errs []error
	for i := range t.nodes {
		n := &t.nodes[i]
		if !n.opened {
			continue
		}
		if n.late != nil {
			n.dropped.Store(n.late.LateDropped())
		}
		if err := t.guard(n.op.Close); err != nil {
			errs = append(errs, t.failIn(i, "close", err))
		}
	}
	return errors.Join(errs...)
}

// State says what a task can do next.
type State struct {
	// Ran: something was done.
	Ran bool
	// Blocked: an output has no credit.
	Blocked bool
	// Until, if not 0, is the time in nanoseconds at which there will be
	// something to do even if nobody wakes the task.
	Until int64
	// Finished: the task has nothing to do any more and can be closed.
	Finished bool
}

// Step does one thing and returns. It does nothing while an output is without
// credit.
func (t *Task) Step() (st State, err error) {
	if t.finished && !t.lingers() {
		return State{Finished: true}, nil
	}
	if t.mailed.Load() && !t.firing && t.ticking < 0 {
		// Not held up by outputs without credit: a barrier needs none.
		if err := t.guard(t.readMail); err != nil {
			return State{Ran: true}, err
		}
	}
	if t.finished {
		if !t.lingers() {
			return State{Finished: true}, nil
		}
		// Nothing comes any more but barriers of producers that linger, too.
		err = t.guard(func() (err error) {
			st.Ran, err = t.message()
			return err
		})
		return st, err
	}
	if t.Blocked() {
		return State{Blocked: true}, nil
	}
	err = t.guard(func() error {
		var e error
		st, e = t.step()
		return e
	})
	if st.Ran {
		t.flush(false)
	}
	return st, err
}

// Blocked reports whether an output has no credit.
func (t *Task) Blocked() bool {
	for i := range t.nodes {
		for j := range t.nodes[i].outs {
			if t.nodes[i].outs[j].Blocked() {
				return true
			}
		}
	}
	return false
}

// AwaitCredit arranges for a wake-up when credit comes back, and reports
// whether there is still none.
func (t *Task) AwaitCredit() bool {
	blocked := false
	for i := range t.nodes {
		for j := range t.nodes[i].outs {
			if t.nodes[i].outs[j].AwaitCredit() {
				blocked = true
			}
		}
	}
	return blocked
}

// Flush sends every batch that is not full: what a driver does before it waits.
func (t *Task) Flush() { t.flush(true) }

func (t *Task) flush(all bool) {
	for i := range t.nodes {
		for j := range t.nodes[i].outs {
			t.nodes[i].outs[j].Flush(all)
		}
	}
}

func (t *Task) step() (State, error) {
	ran := State{Ran: true}
	if t.firing {
		return ran, t.pass()
	}
	until := int64(0)
	if t.posted.Load() && t.posted.CompareAndSwap(true, false) {
		posted := false
		for i := range t.nodes {
			if p := t.nodes[i].poster; p != nil {
				posted = true
				t.aside("")
				if err := p.OnPost(); err != nil {
					return ran, t.fail(i, err)
				}
			}
		}
		if posted {
			return ran, t.keep()
		}
	}
	for i := range t.nodes {
		n := &t.nodes[i]
		if n.ticker == nil || n.finished {
			continue
		}
		if t.ticking >= 0 && t.ticking != i {
			continue
		}
		due, ok := n.ticker.Due()
		if !ok {
			continue
		}
		if t.ticking < 0 {
			t.now = t.env.Clock.Now() / int64(time.Millisecond)
		}
		if due > t.now {
			if at := due * int64(time.Millisecond); until == 0 || at < until {
				until = at
			}
			continue
		}
		t.aside("as processing time moved")
		done, err := n.ticker.OnTime(t.now)
		if err != nil {
			return ran, t.fail(i, err)
		}
		t.ticking = -1
		if !done {
			t.ticking = i
		}
		return ran, t.keep()
	}
	if did, err := t.message(); did || err != nil {
		return ran, err
	}
	if t.source != nil && !t.ended {
		p, err := t.source.Poll()
		if err != nil {
			return ran, t.fail(0, err)
		}
		t.records.Store(t.source.Progress())
		t.change(t.source.Change())
		if p.Ended {
			t.ended = true
			t.wm = watermark.End
		}
		if p.Read || p.Ended {
			return ran, t.pass()
		}
		if err := t.pass(); err != nil {
			return ran, err
		}
		if p.Wait > 0 {
			if at := t.env.Clock.Now() + int64(p.Wait); until == 0 || at < until {
				until = at
			}
		}
		return State{Until: until}, nil
	}
	if t.ended && !t.finished {
		// Something in the chain is not done yet and waits for a post or a
		// timer.
		before := t.progressed()
		if err := t.pass(); err != nil {
			return ran, err
		}
		if t.finished {
			return State{Ran: true, Finished: true}, nil
		}
		if t.progressed() != before {
			return ran, nil
		}
		t.firing = false
	}
	return State{Until: until}, nil
}

// progressed counts the finished operators.
func (t *Task) progressed() (n int) {
	for i := range t.nodes {
		if t.nodes[i].finished {
			n++
		}
	}
	return n
}

// message handles one message, if there is one that may be handled.
func (t *Task) message() (bool, error) {
	if t.inputs == nil {
		return false, nil
	}
	if t.holding > 0 {
		for c := range t.held {
			if len(t.held[c]) > 0 && !t.channels[c].blocked && t.wants(t.channels[c].input) {
				m := t.held[c][0]
				t.held[c] = t.held[c][1:]
				t.holding--
				return true, t.handle(m)
			}
		}
	}
	for {
		if t.next == len(t.queue) {
			t.queue, t.next = t.inbox.Take(t.queue), 0
			if len(t.queue) == 0 {
				return false, nil
			}
		}
		m := t.queue[t.next]
		t.queue[t.next] = exchange.Message{}
		t.next++
		if c := &t.channels[m.Channel]; len(t.held[m.Channel]) > 0 || c.blocked || !t.wants(c.input) {
			t.held[m.Channel] = append(t.held[m.Channel], m)
			t.holding++
			continue
		}
		return true, t.handle(m)
	}
}

func (t *Task) wants(input int) bool {
	g := t.nodes[0].gate
	return g == nil || g.Wants(input)
}

func (t *Task) handle(m exchange.Message) error {
	ch := &t.channels[m.Channel]
	in := &t.inputs[ch.input]
	defer t.inbox.Done(1)
	switch m.Kind {
	case exchange.Data:
		n, err := in.receive(m.Batch)
		if err != nil {
			return t.fail(0, err)
		}
		t.records.Add(int64(n))
		return t.keep()
	case exchange.Watermark:
		t.change(t.marks.Watermark(ch.input, ch.index, m.Value))
	case exchange.Status:
		s := watermark.Active
		if m.Value == 1 {
			s = watermark.Idle
		}
		t.change(t.marks.Status(ch.input, ch.index, s))
	case exchange.Barrier:
		return t.barrier(ch, m.Value)
	case exchange.End:
		ch.ended = true
		t.change(t.marks.Status(ch.input, ch.index, watermark.Finished))
		in.live--
		if in.live == 0 {
			if e := t.nodes[0].ender; e != nil {
				if err := e.EndInput(ch.input); err != nil {
					return t.fail(0, err)
				}
			}
			t.ended = true
			for i := range t.inputs {
				if t.inputs[i].live > 0 {
					t.ended = false
				}
			}
			if t.ended {
				t.wm = watermark.End
			}
		}
		if err := t.pass(); err != nil {
			return err
		}
		return t.aligned() // what was waited for may be the end of this channel
	}
	return t.pass()
}

// change takes over what a watermark machine says of the task's input.
func (t *Task) change(c watermark.Change) {
	if c.Advanced && c.Watermark > t.wm {
		t.wm = c.Watermark
		t.mark.Store(t.wm)
	}
	if c.Switched && c.Status != watermark.Finished {
		t.idleNext = c.Status == watermark.Idle
		if !t.idleNext {
			t.tellStatus() // before records and watermarks; idle comes after them
		}
	}
}

// tellStatus tells the outputs whether the task is idle, if that has changed.
func (t *Task) tellStatus() {
	if t.idle == t.idleNext {
		return
	}
	t.idle = t.idleNext
	v := int64(0)
	if t.idle {
		v = 1
	}
	for i := range t.nodes {
		for j := range t.nodes[i].outs {
			t.nodes[i].outs[j].Control(exchange.Status, v)
		}
	}
}

// keep passes on event time that operators have moved by themselves.
func (t *Task) keep() error {
	for i := range t.nodes {
		if t.nodes[i].keeper != nil {
			return t.pass()
		}
	}
	if t.ended {
		return t.pass()
	}
	return nil
}

// pass brings every operator up to the event time of the one before it, in the
// order of the chain, and finishes those whose input has ended. An operator
// that stops in between leaves firing set; the next step goes on there.
func (t *Task) pass() error {
	t.firing = false
	all := true
	for i := range t.nodes {
		n := &t.nodes[i]
		if n.finished {
			continue
		}
		in, over := t.wm, t.ended
		if n.parent >= 0 {
			p := &t.nodes[n.parent]
			in, over = p.out, p.finished
		}
		if in > n.in {
			t.aside("as event time moved")
			wm, done, err := n.op.Advance(in)
			if err != nil {
				return t.fail(i, err)
			}
			if !done {
				t.firing = true
				return nil
			}
			n.in = in
			if wm > n.out && n.keeper == nil {
				n.out = wm
			}
		}
		if n.keeper != nil {
			n.out = max(n.out, n.keeper.EventTime())
		}
		if n.late != nil {
			n.dropped.Store(n.late.LateDropped())
		}
		if over && n.in == watermark.End {
			t.aside("at the end of input")
			done, err := n.op.Finish()
			if err != nil {
				return t.fail(i, err)
			}
			if n.keeper != nil {
				n.out = max(n.out, n.keeper.EventTime())
			}
			if done {
				n.finished = true
				n.out = watermark.End
			}
		}
		if !n.finished {
			all = false
		}
		for j := range n.outs {
			o := &n.outs[j]
			if n.out > o.sent {
				o.sent = n.out
				o.Control(exchange.Watermark, n.out)
			}
			if n.finished {
				o.Control(exchange.End, 0)
			}
		}
	}
	t.tellStatus()
	if all {
		t.finished = true
		if t.lingers() {
			t.part.EndOfData()
		}
	} else if t.ended {
		// Not done: ask again unless the operator waits for a post.
		for i := range t.nodes {
			n := &t.nodes[i]
			if !n.finished {
				t.firing = n.poster == nil
				break
			}
		}
	}
	return nil
}

// aside says what goes on while no record is handled, for operators that then
// call user code.
func (t *Task) aside(doing string) { t.env.Cursor.Aside("", doing) }

// fail says which operator an error comes from, unless user code already has.
func (t *Task) fail(i int, err error) error {
	c := t.env.Cursor
	if _, ok := errors.AsType[*UserError](err); ok {
		return err
	}
	if c.Op != "" {
		e := &UserError{Operator: c.Op, Position: c.Position(), Err: err}
		c.Op = ""
		return e
	}
	return fmt.Errorf("operator %s: %w", t.nodes[i].env.Name, err)
}

// failIn is fail for an error that did not happen to a record.
func (t *Task) failIn(i int, doing string, err error) error {
	if _, ok := errors.AsType[*UserError](err); !ok && t.env.Cursor.Op == "" {
		err = fmt.Errorf("%s: %w", doing, err)
	}
	return t.fail(i, err)
}

// UserError is an error or panic of user code, with the place it happened at.
type UserError struct {
	// Operator is the name of the operator whose function failed.
	Operator string
	// Position says which record it was handling, or what else it was called
	// for; it may be empty.
	Position string
	// Err is what the function returned, or the panic.
	Err error
	// Stack is the stack of a panic, else empty.
	Stack string
}

// Error implements error.
func (e *UserError) Error() string {
	s := "operator " + e.Operator + ": "
	if e.Position != "" {
		s += e.Position + ": "
	}
	s += e.Err.Error()
	if e.Stack != "" {
		s += "\n" + e.Stack
	}
	return s
}

// Unwrap returns the cause.
func (e *UserError) Unwrap() error { return e.Err }

// guard turns a panic into an error: of user code with the operator and the
// record, of the engine with the task's name. Either ends the job, for state
// that cannot be trusted must not be used.
func (t *Task) guard(f func() error) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		c := t.env.Cursor
		if c.Op == "" {
			err = fmt.Errorf("task %s: panic in the engine: %v\n%s", t.name, p, debug.Stack())
			return
		}
		cause, ok := p.(error)
		if !ok {
			cause = fmt.Errorf("%v", p)
		}
		err = &UserError{Operator: c.Op, Position: c.Position(), Err: fmt.Errorf("panic: %w", cause), Stack: string(debug.Stack())}
		c.Op = ""
	}()
	return f()
}
