package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
)

// A Poller is a source: an operator without inputs that makes records when it
// is asked to.
type Poller interface {
	Operator
	// Poll reads and sends at most one batch.
	Poll() (Polled, error)
	// Change returns what has happened to the source's watermark and status
	// since the last call.
	Change() watermark.Change
	// Progress is the number of records read so far.
	Progress() int64
	// Whole reports whether all that was read has been sent, so that a snapshot
	// can be taken.
	Whole() bool
	// Held tells that the task cannot send (or can again): held up is not
	// idle.
	Held(held bool)
}

// A Sharer is a source that is shared out among subtasks before any of them
// begins.
type Sharer interface {
	// Shares reports whether subtask index may get a part of it.
	Shares(index int) bool
}

// Polled says what came of a Poll.
type Polled struct {
	// Ended: nothing will come any more.
	Ended bool
	// Read: something was done; poll again at once.
	Read bool
	// Wait is how long there will be nothing; 0 with neither Ended nor Read
	// means until Post is called.
	Wait time.Duration
}

// A Split is one part of a source.
type Split struct {
	ID   string
	Data []byte
	// At is the position to start at, nil for the beginning.
	At []byte
}

// A SplitReader reads one split; B is what it calls a bad record.
type SplitReader[T, B any] interface {
	// Read appends at most the batch's room of records to out and bad ones to
	// bad. io.EOF ends the split. wait is how long there will be nothing.
	Read(ctx context.Context, out *record.Batch[T], bad []B) (rest []B, wait time.Duration, err error)
	// Position is the place after the last record appended.
	Position() []byte
	Close() error
	// Inline reports that Read never waits for long.
	Inline() bool
}

// splitState is a split in a snapshot.
type splitState struct {
	ID   string `json:"id"`
	Data []byte `json:"data,omitempty"`
	At   []byte `json:"at,omitempty"`
	Max  int64  `json:"max"` // largest event time, or largest watermark of a generator
	Done bool   `json:"done,omitempty"`
	// Old says that this is what an earlier snapshot told: it holds if nobody
	// has opened the split since.
	Old bool `json:"old,omitempty"`
}

// An Enumerator shares out the splits of one source to its subtasks. It is safe
// for concurrent use.
type Enumerator struct {
	mu      sync.Mutex
	first   []Split // split i is subtask i's
	pending []Split
	bounded bool
	total   []Split
	subs    int
	was     map[string]splitState // restored

	begun atomic.Bool // some subtask has had a record: silence now counts
}

// NewEnumerator returns an enumerator of splits. Those of a bounded source are
// handed out one at a time: subtask i begins with split i, which is kept for it,
// so that splits that are meant to be read side by side are; the others go to
// whoever asks first, in order. Those of an unbounded source are all read side
// by side, split i by subtask i modulo the parallelism.
func NewEnumerator(splits []Split, bounded bool, parallelism int) *Enumerator {
	e := &Enumerator{bounded: bounded, total: splits, subs: parallelism}
	e.share()
	return e
}

// share makes first and pending of the splits that have not been read.
func (e *Enumerator) share() {
	var left []Split
	for _, s := range e.total {
		was, known := e.was[s.ID]
		if known && was.Done {
			continue
		}
		if known {
			s.At = was.At
		}
		left = append(left, s)
	}
	n := min(e.subs, len(left))
	e.first, e.pending = left[:n:n], left[n:]
}

// restore goes on from what subtasks have said in a snapshot. A split that the
// source no longer lists is read to its end all the same. Only the first call
// does something: each subtask is given the state of all.
func (e *Enumerator) restore(states []splitState) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.was != nil {
		return
	}
	e.was = map[string]splitState{}
	listed := map[string]bool{}
	for _, s := range e.total {
		listed[s.ID] = true
	}
	for _, s := range states {
		if was, ok := e.was[s.ID]; !ok || was.Old && !s.Old {
			e.was[s.ID] = s
		}
		if !s.Done && !listed[s.ID] {
			listed[s.ID] = true
			e.total = append(slices.Clip(e.total), Split{ID: s.ID, Data: s.Data})
		}
	}
	e.share()
}

// restored returns what a snapshot told of a split.
func (e *Enumerator) restored(id string) (splitState, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.was[id]
	return s, ok
}

// next returns the splits that subtask index of n starts now; more says to ask
// again when they are done. A subtask asks for the first time with begun false.
func (e *Enumerator) next(index, n int, begun bool) (splits []Split, more bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !begun && index < len(e.first) {
		splits = e.first[index : index+1 : index+1]
	}
	if !e.bounded {
		for i, s := range e.pending {
			if (len(e.first)+i)%n == index {
				splits = append(splits, s)
			}
		}
		return splits, false
	}
	if len(splits) == 0 && len(e.pending) > 0 {
		splits = e.pending[:1:1]
		e.pending = e.pending[1:]
	}
	return splits, len(e.pending) > 0
}

// shares reports whether subtask index may get a split.
func (e *Enumerator) shares(index int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return index < len(e.first) || e.bounded && len(e.pending) > 0
}

// Stamping says where records get their event time and how watermarks follow.
type Stamping[T any] struct {
	// Stamp overwrites times with the event times of rows and keeps cur at the
	// row it asks the user for; nil keeps what the source said.
	Stamp func(cur *Cursor, rows []T, times []int64)
	// Strategy makes watermarks out of times.
	Strategy watermark.Strategy
	// Generator, if set, makes a generator for each split instead.
	Generator func() watermark.Generator[T]
	Idleness  watermark.Idleness
	// Align, if set, keeps the source from running ahead of others.
	Align *Alignment
}

// An Alignment keeps the sources of one group together in event time: a split
// that is ahead of the slowest subtask by more than a given drift is not read.
// It is shared by the subtasks of its sources and safe for concurrent use.
type Alignment struct {
	mu      sync.Mutex
	group   *watermark.Group[member]
	allowed int64
	wake    map[member]func()
}

type member struct {
	source  string
	subtask int
}

// NewAlignment returns a group in which no split is read that is more than
// maxDrift ahead of the slowest subtask.
func NewAlignment(maxDrift time.Duration) *Alignment {
	return &Alignment{group: watermark.NewGroup[member](maxDrift), allowed: watermark.End, wake: map[member]func(){}}
}

// report tells how far m has come and returns how far any may go. Members that
// may have been waiting for m are woken.
func (a *Alignment) report(m member, wm int64) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.group.Report(m, wm)
	if now := a.group.MaxAllowed(); now != a.allowed {
		further := now > a.allowed
		a.allowed = now
		if further {
			for other, wake := range a.wake { // waking has no order
				if other != m {
					wake()
				}
			}
		}
	}
	return a.allowed
}

func (a *Alignment) join(m member, wake func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wake[m] = wake
}

func (a *Alignment) leave(m member) {
	a.mu.Lock()
	delete(a.wake, m)
	a.mu.Unlock()
	a.report(m, watermark.End)
}

// Source reads the splits of one subtask. Port 0 is the records, port 1 the bad
// ones; without a receiver on port 1 a bad record ends the job.
type Source[T, B any] struct {
	// Set before Open.
	Open_      func(ctx context.Context, s Split) (SplitReader[T, B], error)
	Enumerator *Enumerator
	Stamping   Stamping[T]

	env    *Env
	out    Output[T]
	bad    Emitter[B]
	batch  *record.Batch[T]
	bads   []B
	splits *watermark.Splits
	open   []*openSplit[T, B]
	turn   int
	more   bool // the enumerator may have more
	begun  bool
	change watermark.Change
	done   []splitState // splits read to the end
	read   int64        // records read so far
	ahead  int          // open splits that alignment holds back
}

type openSplit[T, B any] struct {
	Split
	reader SplitReader[T, B]
	mark   *watermark.Split
	gen    watermark.Generator[T]
	ahead  *readAhead[T, B] // nil if read inline
	at     []byte           // position of the last batch taken from ahead
	until  int64            // nothing to read before this time, in nanoseconds
	count  int64
	max    int64 // largest event time observed, or largest watermark of gen
	where  func() string
	read   string // says that the split is being read
	closed bool   // reader.Close has been called

	// What has been read and not been sent, if rest.batch is set: the rows from
	// sent on, cut where a watermark belongs in between.
	rest portion[T, B]
	sent int
	cuts []cut
}

// portion is the result of one read.
type portion[T, B any] struct {
	batch *record.Batch[T]
	from  *aheadBatch[T, B] // what batch is part of, if it was read ahead
	wait  time.Duration
	ended bool
}

// cut says that a watermark comes before a row: the split's after an event of
// time largest, or one that a generator made.
type cut struct {
	row                int
	largest, watermark int64
}

// Open implements [Operator].
func (s *Source[T, B]) Open(env *Env) error {
	s.env = env
	s.batch = record.New[T](env.BatchSize)
	s.bad.Open(env)
	s.splits = watermark.NewSplits(s.Stamping.Strategy, s.Stamping.Idleness)
	s.more = true
	if a := s.Stamping.Align; a != nil {
		a.join(s.member(), env.Post)
	}
	return nil
}

func (s *Source[T, B]) member() member { return member{s.env.Name, s.env.Index} }

// align tells the group how far the subtask is and holds back or lets go
// splits. It reports whether one was let go.
func (s *Source[T, B]) align(now int64) bool {
	a := s.Stamping.Align
	if a == nil {
		return false
	}
	pause, resume := s.splits.Align(a.report(s.member(), s.splits.Report()), time.Unix(0, now))
	s.ahead += len(pause) - len(resume)
	return len(resume) > 0
}

// Input implements [Operator]; a source has none.
func (s *Source[T, B]) Input(int) any { return nil }

// Connect implements [Operator].
func (s *Source[T, B]) Connect(port int, r any) {
	if port == 1 {
		s.bad.Connect(r)
		return
	}
	s.out.Connect(r)
}

// Change implements [Poller].
func (s *Source[T, B]) Change() watermark.Change {
	c := s.change
	s.change = watermark.Change{}
	return c
}

func (s *Source[T, B]) note(c watermark.Change) {
	if c.Advanced {
		s.change.Advanced, s.change.Watermark = true, c.Watermark
	}
	if c.Switched {
		s.change.Switched, s.change.Status = true, c.Status
	}
}

// Whole implements [Poller].
func (s *Source[T, B]) Whole() bool {
	for _, o := range s.open {
		if o.rest.batch != nil {
			return false
		}
	}
	return true
}

const stateSplits = "splits"

// Snapshot implements [Stateful]: the splits that are being read, with the place
// in each, and those that have been.
func (s *Source[T, B]) Snapshot() ([]Piece, error) {
	states := slices.Clone(s.done)
	if s.env.Index == 0 {
		s.Enumerator.mu.Lock()
		for _, id := range slices.Sorted(maps.Keys(s.Enumerator.was)) {
			was := s.Enumerator.was[id]
			was.Old = true
			states = append(states, was)
		}
		s.Enumerator.mu.Unlock()
	}
	for _, o := range s.open {
		at := o.at
		if o.ahead == nil {
			if err := s.env.aside("position in split "+o.ID, func() error { at = o.reader.Position(); return nil }); err != nil {
				return nil, err
			}
		}
		states = append(states, splitState{ID: o.ID, Data: o.Data, At: slices.Clone(at), Max: o.max})
	}
	return []Piece{{State: stateSplits, Group: UnionGroup, Encode: func(dst []byte) ([]byte, error) {
		data, err := json.Marshal(states)
		return append(dst, data...), err
	}}}, nil
}

// Restore implements [Stateful].
func (s *Source[T, B]) Restore(pieces []Piece) error {
	var states []splitState
	for _, p := range pieces {
		if p.State != stateSplits {
			return fmt.Errorf("state %s is in the snapshot but not known to a source", p.State)
		}
		var some []splitState
		if err := json.Unmarshal(p.Data, &some); err != nil {
			return fmt.Errorf("state %s: %w: %v", p.State, codec.ErrCorrupt, err)
		}
		states = append(states, some...)
	}
	s.Enumerator.restore(states)
	return nil
}

// Held implements [Poller].
func (s *Source[T, B]) Held(held bool) {
	now := timeOf(s.env)
	if held {
		s.splits.Block(now)
	} else {
		s.splits.Unblock(now)
	}
}

// Shares implements [Sharer].
func (s *Source[T, B]) Shares(index int) bool {
	return s.Enumerator.shares(index)
}

// Poll implements [Poller].
func (s *Source[T, B]) Poll() (Polled, error) {
	now := s.env.Clock.Now()
	for len(s.open) == 0 && s.more {
		if err := s.take(now); err != nil {
			return Polled{}, err
		}
	}
	if len(s.open) == 0 {
		s.note(s.splits.NoMoreSplits())
		s.align(now)
		return Polled{Ended: true}, nil
	}
	if s.ahead > 0 {
		s.align(now)
	}
	var wait time.Duration
	for range s.open {
		if s.turn >= len(s.open) {
			s.turn = 0
		}
		o := s.open[s.turn]
		if o.rest.batch == nil {
			if s.ahead > 0 && o.mark.Paused() {
				s.turn++
				continue
			}
			if o.until > now {
				s.turn++
				if d := time.Duration(o.until - now); wait == 0 || d < wait {
					wait = d
				}
				continue
			}
		}
		read, ended, err := s.readSplit(o, now)
		if err != nil {
			return Polled{}, err
		}
		s.note(s.splits.Tick(time.Unix(0, now)))
		s.align(now)
		if ended {
			s.open = slices.Delete(s.open, s.turn, s.turn+1)
			return Polled{Read: true}, nil
		}
		if o.rest.batch != nil {
			return Polled{Read: true}, nil
		}
		s.turn++
		if read {
			return Polled{Read: true}, nil
		}
		if d := time.Duration(o.until - now); o.until > now && (wait == 0 || d < wait) {
			wait = d
		}
	}
	if s.Enumerator.begun.Load() {
		s.splits.Arm() // this subtask may never have a record of its own
	}
	s.note(s.splits.Tick(time.Unix(0, now)))
	// Silence must be noticed even if nothing ever comes.
	if wait == 0 || wait > idleCheck {
		wait = idleCheck
	}
	return Polled{Wait: wait}, nil
}

// idleCheck is how often a silent source looks whether it is idle by now.
const idleCheck = time.Second

// take opens the next splits.
func (s *Source[T, B]) take(now int64) error {
	if s.begun && !s.Enumerator.bounded {
		s.more = false
		return nil
	}
	splits, more := s.Enumerator.next(s.env.Index, s.env.Parallelism, s.begun)
	s.begun, s.more = true, more
	cur := s.env.Cursor
	for _, sp := range splits {
		cur.Aside(s.env.Name, "open split "+sp.ID)
		r, err := s.Open_(s.env.Ctx, sp)
		if err != nil {
			return err
		}
		o := &openSplit[T, B]{Split: sp, reader: r, at: sp.At, max: watermark.None,
			where: func() string { return "split " + sp.ID }, read: "read split " + sp.ID}
		mark, ch := s.splits.Add(sp.ID, time.Unix(0, now))
		o.mark = mark
		s.note(ch)
		if was, ok := s.Enumerator.restored(sp.ID); ok && was.Max != watermark.None {
			o.max = was.Max
		}
		if s.Stamping.Generator != nil {
			o.gen = s.Stamping.Generator()
		}
		if s.env.Blocking && !r.Inline() {
			o.ahead = newReadAhead[T, B](s.env, r)
		}
		s.open = append(s.open, o)
		cur.Op = ""
	}
	return nil
}

// readSplit sends what is left of the last batch of o up to the next cut, or
// reads a batch first.
func (s *Source[T, B]) readSplit(o *openSplit[T, B], now int64) (read, ended bool, err error) {
	cur := s.env.Cursor
	if o.rest.batch == nil {
		if read, err = s.fetch(o); err != nil || o.rest.batch == nil {
			return read, false, err
		}
	} else {
		cur.Where = o.where
	}
	r := &o.rest
	if len(o.cuts) > 0 {
		c := o.cuts[0]
		if err := s.send(r.batch, o.sent, c.row, true); err != nil {
			return false, false, err
		}
		o.sent, o.cuts = c.row, o.cuts[1:]
		s.note(o.mark.Observe(c.largest))
		if o.gen != nil {
			s.note(o.mark.Advance(c.watermark))
		}
		return true, false, nil
	}
	if n := len(r.batch.Rows); n > 0 {
		if err := s.send(r.batch, o.sent, n, false); err != nil {
			return false, false, err
		}
		s.observe(o)
		o.count += int64(n)
		read = true
	}
	if r.wait > 0 {
		o.until = now + int64(r.wait)
	} else {
		o.until = 0
	}
	r.batch.Reset()
	if r.from != nil {
		o.ahead.giveBack(r.from)
	}
	ended = r.ended
	*r, o.sent = portion[T, B]{}, 0
	if ended {
		// The next split comes before the old one goes: a moment without any
		// would look idle and let event time run ahead of what is still unread.
		if s.Enumerator.bounded && len(s.open) == 1 {
			if s.more {
				if err := s.take(now); err != nil {
					return false, false, err
				}
			}
			if len(s.open) == 1 {
				s.note(s.splits.NoMoreSplits())
			}
		}
		s.note(o.mark.Finish())
		s.done = append(s.done, splitState{ID: o.ID, Max: watermark.None, Done: true})
		if o.ahead != nil {
			o.ahead.stop()
		}
		o.closed = true
		if err := s.env.aside("close split "+o.ID, o.reader.Close); err != nil {
			return false, false, err
		}
	}
	return read, ended, nil
}

// fetch reads one batch of o into o.rest, and sends the bad records in it.
func (s *Source[T, B]) fetch(o *openSplit[T, B]) (read bool, err error) {
	cur := s.env.Cursor
	cur.Aside(s.env.Name, o.read)
	cur.Where = o.where
	r := portion[T, B]{batch: s.batch}
	bads := s.bads[:0]
	if o.ahead != nil {
		r.from = o.ahead.take()
		if r.from == nil {
			o.until = 0
			cur.Op = ""
			return false, nil
		}
		r.batch, bads, r.wait, err = r.from.batch, r.from.bads, r.from.wait, r.from.err
		o.at = r.from.at
	} else {
		bads, r.wait, err = o.reader.Read(s.env.Ctx, r.batch, bads)
		s.bads = bads
	}
	r.ended = errors.Is(err, io.EOF)
	if err != nil && !r.ended {
		if errors.Is(err, context.Canceled) && s.env.Ctx.Err() != nil {
			return false, s.env.Ctx.Err()
		}
		cur.Op = ""
		return false, fmt.Errorf("read split %s: %w", o.ID, err)
	}
	cur.Base, cur.Row, cur.Times = o.count, 0, r.batch.Times
	for _, bad := range bads {
		if !s.bad.Connected() {
			cur.Op = "" // the bad record says where it is
			if e, ok := any(bad).(error); ok {
				return false, e
			}
			return false, fmt.Errorf("split %s: bad record %+v", o.ID, bad)
		}
		s.bad.Emit(bad, record.NoTime)
	}
	if len(bads) > 0 {
		if err := s.bad.Flush(); err != nil {
			return false, err
		}
	}
	if len(r.batch.Rows) > 0 {
		if err := s.stamp(o, r.batch); err != nil {
			return false, err
		}
		if s.read == 0 {
			s.Enumerator.begun.Store(true)
		}
	}
	cur.Op = ""
	o.rest = r
	return len(bads) > 0, nil
}

// send sends the rows of b from one on to before another. more says that others
// will follow.
func (s *Source[T, B]) send(b *record.Batch[T], from, to int, more bool) error {
	if from == to {
		return nil
	}
	b.Shared = more
	if from > 0 || more {
		sel := b.SelBuffer()
		for i := from; i < to; i++ {
			sel = append(sel, int32(i))
		}
		b.Sel = sel
	}
	s.read += int64(to - from)
	return s.out.Send(b)
}

// stamp gives the batch its event times and finds where it has to be cut: a
// record that is late by the watermark after those before it must not come
// before that watermark. What happens to it would else depend on how the input
// fell into batches. Nor must one that is next to the watermark, which would
// touch a session that has ended; but not so where events of the largest time
// are still to come: those are no exception then.
func (s *Source[T, B]) stamp(o *openSplit[T, B], b *record.Batch[T]) error {
	if s.Stamping.Stamp != nil {
		s.Stamping.Stamp(s.env.Cursor, b.Rows, b.Times)
	}
	if i := record.CheckTimes(b.Times); i >= 0 {
		s.env.Cursor.Row = int32(i)
		return timeError(b.Times[i])
	}
	o.cuts = o.cuts[:0]
	if o.gen != nil {
		s.generate(o, b)
		return nil
	}
	lag, ok := s.Stamping.Strategy.Lag()
	told, largest := o.max, o.max
	for i, t := range b.Times {
		if t > largest {
			largest = t
			continue
		}
		if ok && largest > told && t <= largest-lag && t != record.NoTime {
			o.cuts = append(o.cuts, cut{row: i, largest: largest})
			told = largest
		}
	}
	o.max = largest
	return nil
}

// generate runs the split's generator over the batch.
func (s *Source[T, B]) generate(o *openSplit[T, B], b *record.Batch[T]) {
	cur := s.env.Cursor
	told, largest := o.max, watermark.None
	for i, t := range b.Times {
		largest = max(largest, t)
		if o.max > told && (t <= o.max || t == o.max+1 && t < largest) && t != record.NoTime {
			o.cuts = append(o.cuts, cut{row: i, largest: watermark.None, watermark: o.max})
			told = o.max
		}
		cur.Row = int32(i)
		o.max = max(o.max, o.gen.OnEvent(&b.Rows[i], t))
	}
	cur.Aside(s.env.Name, "OnPeriodic")
	o.max = max(o.max, o.gen.OnPeriodic())
}

// observe tells the split's watermark after a whole batch.
func (s *Source[T, B]) observe(o *openSplit[T, B]) {
	if o.gen == nil {
		s.note(o.mark.Observe(o.max))
		return
	}
	s.note(o.mark.Observe(watermark.None)) // an idle split is active first
	if o.max != watermark.None {
		s.note(o.mark.Advance(o.max))
	}
}

// timeError says that t cannot be the event time of a record.
func timeError(t int64) error {
	return fmt.Errorf("event time %d is more than a million years from 1970: it is meant to be in milliseconds", t)
}

// Advance implements [Operator]: a source's event time is its own.
func (s *Source[T, B]) Advance(wm int64) (int64, bool, error) { return wm, true, nil }

// Finish implements [Operator].
func (s *Source[T, B]) Finish() (bool, error) { return true, nil }

// Close implements [Operator].
func (s *Source[T, B]) Close() error {
	if a := s.Stamping.Align; a != nil && s.env != nil {
		a.leave(s.member())
	}
	var errs []error
	for _, o := range s.open {
		if o.ahead != nil {
			o.ahead.stop()
		}
		if o.closed {
			continue
		}
		if err := guarded(o.reader.Close); err != nil {
			errs = append(errs, fmt.Errorf("split %s: %w", o.ID, err))
		}
	}
	s.open = nil
	return errors.Join(errs...)
}

// guarded makes a panic of f an error, where others are to be called whatever
// becomes of f, or there is no task to do it.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

// Progress returns how many records have been read.
func (s *Source[T, B]) Progress() int64 { return s.read }

// readAhead reads a split on a goroutine of its own, two batches ahead, so that
// a slow outside system never holds up the task.
type readAhead[T, B any] struct {
	ready chan *aheadBatch[T, B]
	free  chan *aheadBatch[T, B]
	ctx   context.Context
	end   context.CancelFunc
	done  chan struct{}
}

type aheadBatch[T, B any] struct {
	batch *record.Batch[T]
	bads  []B
	wait  time.Duration
	err   error
	at    []byte
}

func newReadAhead[T, B any](env *Env, r SplitReader[T, B]) *readAhead[T, B] {
	const depth = 2 // one being handled, one being read
	ctx, end := context.WithCancel(env.Ctx)
	a := &readAhead[T, B]{ready: make(chan *aheadBatch[T, B], depth), free: make(chan *aheadBatch[T, B], depth),
		ctx: ctx, end: end, done: make(chan struct{})}
	for range depth {
		a.free <- &aheadBatch[T, B]{batch: record.New[T](env.BatchSize)}
	}
	env.Go(func() {
		defer close(a.done)
		for {
			var b *aheadBatch[T, B]
			select {
			case b = <-a.free:
			case <-ctx.Done():
				return
			}
			b.batch.Reset()
			b.wait = 0
			b.err = guarded(func() (err error) {
				b.bads, b.wait, err = r.Read(ctx, b.batch, b.bads[:0])
				b.at = r.Position()
				return err
			})
			if b.err == nil && b.wait > 0 {
				t := time.NewTimer(b.wait)
				if len(b.batch.Rows) == 0 && len(b.bads) == 0 {
					select {
					case <-t.C:
					case <-ctx.Done():
					}
				}
				t.Stop()
				b.wait = 0
			}
			a.ready <- b // has room: there are only depth batches
			env.Post()
			if b.err != nil {
				return
			}
		}
	})
	return a
}

func (a *readAhead[T, B]) take() *aheadBatch[T, B] {
	select {
	case b := <-a.ready:
		return b
	default:
		return nil
	}
}

func (a *readAhead[T, B]) giveBack(b *aheadBatch[T, B]) { a.free <- b }

func (a *readAhead[T, B]) stop() {
	a.end()
	<-a.done
}
