package operator

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
)

// Func is what operators made of user handlers have in common: outputs, the
// time of what is being handled, the functions called in the course of the
// operator's life, and state that belongs to no key.
type Func[Out any] struct {
	// Out is the main output, At the event time of the record or timer being
	// handled.
	Out Emitter[Out]
	At  int64

	// Handlers, set by Setup; nil means nothing is called. No key is in effect
	// in any of them.
	//
	// OnFinish is called when all input has ended and all event-time timers
	// have fired, and may emit; OnClose when the operator ends, in error or
	// not. OnSnapshot is called before a snapshot is taken, OnRestore after a
	// snapshot was restored.
	OnFinish, OnClose, OnSnapshot, OnRestore func() error

	env      *Env
	mark     int64
	count    int64 // records handled
	sides    []side
	parked   []parked // receivers that came before Setup declared their port
	setup    bool     // Setup is over
	counters []*Counter
	own      ownStates
}

// side is a declared side output.
type side struct {
	name string
	port int
	sideEmitter
}

type sideEmitter interface {
	flush() error
	connect(r any) error
	pending() int
}

type parked struct {
	port int
	name string // of the side output that is meant, once known
	r    any
}

// Env is where the operator runs.
func (f *Func[Out]) Env() *Env { return f.env }

// Watermark is the operator's event time in milliseconds.
func (f *Func[Out]) WatermarkMillis() int64 { return f.mark }

// Connect implements [Operator]. Outputs are connected once Setup is over: what
// a setup function emits must not get anywhere.
func (f *Func[Out]) Connect(port int, r any) {
	f.parked = append(f.parked, parked{port: port, r: r})
}

// ReadsSide tells, before Open, the name of the side output behind port, for
// errors. Reading one that Setup does not declare makes Open fail.
func (f *Func[Out]) ReadsSide(port int, name string) {
	f.parked = append(f.parked, parked{port: port, name: name})
}

// Declaring panics once Setup is over: what can only be declared there.
func (f *Func[Out]) Declaring(what string) {
	if f.setup {
		panic(fmt.Errorf("%s can only be called by the setup function", what))
	}
}

// open runs setup and connects the outputs.
func (f *Func[Out]) open(env *Env, setup func()) error {
	f.env, f.mark, f.At = env, watermark.None, record.NoTime
	f.Out.Open(env)
	env.Cursor.Aside(env.Name, "setup")
	setup()
	env.Cursor.Op = ""
	f.setup = true
	if f.Out.Pending() > 0 {
		return errors.New("setup emitted a record: only handlers can")
	}
	for _, s := range f.sides {
		if s.pending() > 0 {
			return fmt.Errorf("setup emitted a record to side output %q: only handlers can", s.name)
		}
	}
	for _, p := range f.parked {
		if p.port == 0 {
			f.Out.Connect(p.r)
			continue
		}
		i := slices.IndexFunc(f.sides, func(s side) bool { return s.port == p.port })
		switch {
		case i < 0 && p.name == "":
			// Its name comes with another of the parked.
		case i < 0:
			return fmt.Errorf("side output %q is read but setup does not declare it", p.name)
		case p.r != nil:
			if err := f.sides[i].connect(p.r); err != nil {
				return fmt.Errorf("side output %q: %w", f.sides[i].name, err)
			}
		}
	}
	f.parked = nil
	return nil
}

// Emit sends v on with the event time of the record or timer handled.
func (f *Func[Out]) Emit(v Out) {
	b := f.Out.batch
	if len(b.Rows) == cap(b.Rows) {
		f.Out.flush()
	}
	b.Rows = append(b.Rows, v)
	b.Times = append(b.Times, f.At)
}

// Next is Emit by reference: it returns the new record to be filled in place,
// before the next call of any kind. It holds what an earlier one left there.
func (f *Func[Out]) Next() *Out {
	b := f.Out.batch
	if len(b.Rows) == cap(b.Rows) {
		f.Out.flush()
	}
	return b.Next(f.At)
}

// enter points the cursor at the operator's user code.
func (f *Func[Out]) enter(times []int64) *Cursor {
	cur := f.env.Cursor
	cur.Op, cur.Base, cur.Row, cur.Times = f.env.Name, f.count, 0, times
	return cur
}

// leave ends the handling of n records and sends what they made.
func (f *Func[Out]) leave(n int) error {
	f.count += int64(n)
	f.env.Cursor.Op = ""
	err := f.Out.Flush()
	for _, s := range f.sides {
		if e := s.flush(); err == nil {
			err = e
		}
	}
	return err
}

// run calls a handler that belongs to no record.
func (f *Func[Out]) run(name string, h func() error) error {
	if h == nil {
		return nil
	}
	f.env.Cursor.Aside(f.env.Name, name)
	f.At = record.NoTime
	if err := h(); err != nil {
		return err
	}
	return f.leave(0)
}

// Advance implements [Operator].
func (f *Func[Out]) Advance(wm int64) (int64, bool, error) {
	f.mark = wm
	return wm, true, nil
}

// Finish implements [Operator].
func (f *Func[Out]) Finish() (bool, error) { return true, f.run("OnFinish", f.OnFinish) }

// Close implements [Operator].
func (f *Func[Out]) Close() error {
	if f.OnClose == nil || f.env == nil {
		return nil
	}
	return f.env.aside("OnClose", f.OnClose)
}

// Snapshot implements [Stateful] for the state that belongs to no key.
func (f *Func[Out]) Snapshot() ([]Piece, error) {
	if f.OnSnapshot != nil {
		if err := f.env.aside("OnSnapshot", f.OnSnapshot); err != nil {
			return nil, err
		}
	}
	return f.own.snapshot(f.env.Index), nil
}

// Restore implements [Stateful] for the state that belongs to no key.
func (f *Func[Out]) Restore(pieces []Piece) error {
	for _, p := range pieces {
		if err := f.own.restore(p); err != nil {
			return fmt.Errorf("state %s: %w", p.State, err)
		}
	}
	if f.OnRestore != nil {
		return f.env.aside("OnRestore", f.OnRestore)
	}
	return nil
}

// A Counter is a number that user code adds to and anybody reads.
type Counter struct {
	name string
	n    atomic.Int64
}

// Name returns the counter's name.
func (c *Counter) Name() string { return c.name }

// Add adds n, from the operator's handlers.
func (c *Counter) Add(n int64) { c.n.Add(n) }

// Value returns the sum. Safe from any goroutine.
func (c *Counter) Value() int64 { return c.n.Load() }

// Counter returns the counter of this name, made on the first call.
func (f *Func[Out]) Counter(name string) *Counter {
	for _, c := range f.counters {
		if c.name == name {
			return c
		}
	}
	f.Declaring("Counter")
	c := &Counter{name: name}
	f.counters = append(f.counters, c)
	return c
}

// Counters returns the counters that Setup made. Safe from any goroutine after
// Open.
func (f *Func[Out]) Counters() []*Counter { return f.counters }

// Side is a side output of a Func.
type Side[V any] struct {
	out Emitter[V]
	on  bool   // somebody reads it
	at  *int64 // the Func's At
}

// AddSide declares a side output: Setup calls it. Ports are told apart by
// their number, which outsiders know as well; they begin with 1.
func AddSide[V, Out any](f *Func[Out], name string, port int) *Side[V] {
	f.Declaring("SideOutput")
	for _, s := range f.sides {
		if s.port == port {
			panic(fmt.Errorf("side output %q is declared twice", name))
		}
	}
	s := &Side[V]{at: &f.At}
	s.out.Open(f.env)
	f.sides = append(f.sides, side{name, port, s})
	return s
}

// Emit sends v to the side output with the event time of the record or timer
// handled. It costs nothing if nobody reads it.
func (s *Side[V]) Emit(v V) {
	if s.on {
		s.out.Emit(v, *s.at)
	}
}

func (s *Side[V]) flush() error { return s.out.Flush() }
func (s *Side[V]) pending() int { return s.out.Pending() }

func (s *Side[V]) connect(r any) error {
	if _, ok := r.(Receiver[V]); !ok {
		return fmt.Errorf("it is declared as one of %T by setup and read as another type", *new(V))
	}
	s.out.Connect(r)
	s.on = true
	return nil
}

// PlainProcess is an operator made of user handlers on a stream without keys.
type PlainProcess[In, Out any] struct {
	// Setup sets the handlers below and those of Func. It is called once, by
	// Open.
	Setup func(*PlainProcess[In, Out])

	// One of OnRecord and OnRecordRef is set.
	OnRecord    func(In) error
	OnRecordRef func(*In) error

	Func[Out]
}

// Open implements [Operator].
func (p *PlainProcess[In, Out]) Open(env *Env) error {
	if err := p.open(env, func() { p.Setup(p) }); err != nil {
		return err
	}
	return oneHandler("OnRecord", p.OnRecord != nil, p.OnRecordRef != nil)
}

func oneHandler(name string, byValue, byRef bool) error {
	switch {
	case !byValue && !byRef:
		return fmt.Errorf("setup set no handler: call %s or %sRef", name, name)
	case byValue && byRef:
		return fmt.Errorf("setup set both %s and %sRef", name, name)
	}
	return nil
}

// Input implements [Operator].
func (p *PlainProcess[In, Out]) Input(int) any { return p }

// Receive implements [Receiver].
func (p *PlainProcess[In, Out]) Receive(b *record.Batch[In]) error {
	return receivePlain(&p.Func, b, p.OnRecord, p.OnRecordRef)
}

// receivePlain hands a batch to the handler of its input.
func receivePlain[In, Out any](f *Func[Out], b *record.Batch[In], byValue func(In) error, byRef func(*In) error) error {
	live := b.Live()
	cur := f.enter(b.Times)
	if byRef != nil {
		for _, i := range live {
			cur.Row, f.At = i, b.Times[i]
			if err := byRef(&b.Rows[i]); err != nil {
				return err
			}
		}
	} else {
		for _, i := range live {
			cur.Row, f.At = i, b.Times[i]
			if err := byValue(b.Rows[i]); err != nil {
				return err
			}
		}
	}
	return f.leave(len(live))
}

// KeyedFunc is a Func on streams with keys: it has keyed state and timers.
type KeyedFunc[K comparable, Out any] struct {
	Func[Out]
	// Keyed is the state; there from Setup on.
	*Keyed[K]

	// Handlers of timers, set by Setup; at is the time that was set.
	OnTimer     func(at int64) error
	OnProcTimer func(at int64) error
}

func (p *KeyedFunc[K, Out]) open(env *Env, setup func()) (err error) {
	if p.Keyed, err = NewKeyed[K](env); err != nil {
		return err
	}
	return p.Func.open(env, setup)
}

// SetTimer asks for OnTimer at event time at, for the key in effect.
func (p *KeyedFunc[K, Out]) SetTimer(at int64) {
	p.Check("SetTimer")
	if p.OnTimer == nil {
		panic(errors.New("SetTimer: setup has set no OnTimer handler"))
	}
	p.EventTimers().Set(p.Word, p.Key, at)
}

// ClearTimer takes back a SetTimer.
func (p *KeyedFunc[K, Out]) ClearTimer(at int64) {
	p.Check("ClearTimer")
	p.EventTimers().Delete(p.Word, p.Key, at)
}

// SetProcTimer asks for OnProcTimer at processing time at, for the key in
// effect.
func (p *KeyedFunc[K, Out]) SetProcTimer(at int64) {
	p.Check("SetProcessingTimer")
	if p.OnProcTimer == nil {
		panic(errors.New("SetProcessingTimer: setup has set no OnProcessingTimer handler"))
	}
	p.ProcTimers().Set(p.Word, p.Key, at)
}

// ClearProcTimer takes back a SetProcTimer.
func (p *KeyedFunc[K, Out]) ClearProcTimer(at int64) {
	p.Check("ClearProcessingTimer")
	p.ProcTimers().Delete(p.Word, p.Key, at)
}

// yieldEvery is how many timers fire before the operator looks whether it
// should let others go first.
const yieldEvery = 256

// Advance implements [Operator].
func (p *KeyedFunc[K, Out]) Advance(wm int64) (int64, bool, error) {
	k := p.Keyed
	k.Watermark, p.mark = wm, wm
	if k.event == nil {
		return wm, true, nil
	}
	done, err := p.fire(k.event.Advance, wm, p.OnTimer, true)
	return wm, done, err
}

// Due implements [Ticker].
func (p *KeyedFunc[K, Out]) Due() (int64, bool) {
	if p.Keyed == nil || p.proc == nil {
		return 0, false
	}
	return p.proc.Next()
}

// OnTime implements [Ticker].
func (p *KeyedFunc[K, Out]) OnTime(now int64) (bool, error) {
	return p.fire(p.proc.Advance, now, p.OnProcTimer, false)
}

// fire runs the timers of one service up to and including to, until the driver
// wants a turn.
func (p *KeyedFunc[K, Out]) fire(advance func(int64, func(uint64, K, int64) bool) bool, to int64, f func(int64) error, event bool) (bool, error) {
	k := p.Keyed
	var ferr error
	p.Func.env.Cursor.Op = p.Func.env.Name
	k.Begin(nil)
	n, firing := 0, false
	var at int64
	defer func() {
		if firing {
			if r := recover(); r != nil {
				panic(fmt.Errorf("timer at %s of key %v: %v", FormatMillis(at), k.Key, r))
			}
		}
	}()
	done := advance(to, func(word uint64, key K, t int64) bool {
		k.Key, k.Word, at = key, word, t
		p.At = record.NoTime
		if event {
			p.At = t
		}
		firing = true
		if ferr = f(t); ferr != nil {
			ferr = fmt.Errorf("timer at %s of key %v: %w", FormatMillis(t), key, ferr)
			return false
		}
		if k.Borrowed {
			k.Settle()
		}
		firing = false
		n++
		return n%yieldEvery != 0 || !p.Func.env.Yield()
	})
	if ferr != nil {
		firing = false
		return false, ferr
	}
	k.End(n)
	return done, p.leave(0)
}

// Finish implements [Operator].
func (p *KeyedFunc[K, Out]) Finish() (bool, error) { return p.Func.Finish() }

// Close implements [Operator].
func (p *KeyedFunc[K, Out]) Close() error {
	if p.Keyed != nil {
		p.Active = false // a handler may have failed with a key in effect
	}
	return p.Func.Close()
}

// Snapshot implements [Stateful].
func (p *KeyedFunc[K, Out]) Snapshot() ([]Piece, error) {
	own, err := p.Func.Snapshot()
	if err != nil {
		return nil, err
	}
	keyed, err := p.Keyed.Snapshot()
	return append(own, keyed...), err
}

// Restore implements [Stateful].
func (p *KeyedFunc[K, Out]) Restore(pieces []Piece) error {
	var own, keyed []Piece
	for _, piece := range pieces {
		if piece.Group >= 0 {
			keyed = append(keyed, piece)
		} else {
			own = append(own, piece)
		}
	}
	if err := p.Keyed.Restore(keyed); err != nil {
		return err
	}
	if p.event != nil && p.event.Len() > 0 && p.OnTimer == nil {
		return errors.New("the snapshot holds event-time timers but setup has set no OnTimer handler")
	}
	if p.proc != nil && p.proc.Len() > 0 && p.OnProcTimer == nil {
		return errors.New("the snapshot holds processing-time timers but setup has set no OnProcessingTimer handler")
	}
	return p.Func.Restore(own)
}

// Process is an operator made of user handlers on a keyed stream.
type Process[K comparable, In, Out any] struct {
	// Setup declares states and sets the handlers below and those of Func and
	// KeyedFunc. It is called once, by Open.
	Setup func(*Process[K, In, Out])

	// One of OnRecord and OnRecordRef is set.
	OnRecord    func(In) error
	OnRecordRef func(*In) error

	KeyedFunc[K, Out]
}

// Open implements [Operator].
func (p *Process[K, In, Out]) Open(env *Env) (err error) {
	if err := p.open(env, func() { p.Setup(p) }); err != nil {
		return err
	}
	return oneHandler("OnRecord", p.OnRecord != nil, p.OnRecordRef != nil)
}

// Input implements [Operator].
func (p *Process[K, In, Out]) Input(int) any { return p }

// Receive implements [Receiver].
func (p *Process[K, In, Out]) Receive(b *record.Batch[In]) error {
	return receiveKeyed(&p.KeyedFunc, b, p.OnRecord, p.OnRecordRef)
}

// receiveKeyed hands a batch that came over a keyed exchange to the handler of
// its input, with each record's key in effect.
func receiveKeyed[K comparable, In, Out any](p *KeyedFunc[K, Out], b *record.Batch[In], byValue func(In) error, byRef func(*In) error) error {
	live := b.Live()
	keys := *b.Keys.(*[]K)
	k := p.Keyed
	cur := p.enter(b.Times)
	k.Begin(b.Words)
	if byRef != nil {
		for _, i := range live {
			cur.Row = i
			k.Key, k.Word, p.At = keys[i], b.Words[i], b.Times[i]
			if err := byRef(&b.Rows[i]); err != nil {
				return err
			}
			if k.Borrowed {
				k.Settle()
			}
		}
	} else {
		for _, i := range live {
			cur.Row = i
			k.Key, k.Word, p.At = keys[i], b.Words[i], b.Times[i]
			if err := byValue(b.Rows[i]); err != nil {
				return err
			}
			if k.Borrowed {
				k.Settle()
			}
		}
	}
	k.End(len(live))
	return p.leave(len(live))
}
