package operator

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
	"github.com/millrace/millrace/state/keygroup"
	"github.com/millrace/millrace/state/table"
)

// Windowed is the window operator for every assigner, trigger and lateness. It
// keeps state and timers for each key and window, as Flink's does; [Slices] and
// [Sessions] are faster at what they can do. Port 0 is the main output, port 1
// takes late records, ports 2 and up are side outputs.
type Windowed[K comparable, In, Acc, R any] struct {
	Windows Assigner
	// GapOf, if not nil, is the gap of a session after a record, in
	// milliseconds.
	GapOf func(*In) int64
	// Trigger is the default of Windows if nil.
	Trigger Trigger
	// Lateness is how long, in milliseconds, a window stays after its end.
	Lateness int64
	// Add takes a record with event time at into what a window holds.
	Add func(acc *Acc, in *In, at int64)
	// Merge takes what from holds into into; for sessions only.
	Merge func(into, from *Acc)
	// Setup, if not nil, is called once by Open, before anything is restored.
	Setup func(*Windowed[K, In, Acc, R])
	// Fire is called with what a window holds, which it may change: what is
	// left is what the window goes on with. empty says that nothing is left.
	Fire func(o *Windowed[K, In, Acc, R], acc *Acc) (empty bool)
	// Cleared, if not nil, is called before the state of the window in effect
	// is cleared for good.
	Cleared func(o *Windowed[K, In, Acc, R])

	// Out is the main output.
	Out Emitter[R]
	Scope[K]

	env    *Env
	late   lateOutput[In]
	sides  []declaredSide
	failed error
	parked []windowParked
	accs   *codec.Codec[Acc]
	needs  TriggerNeeds
	ctx    TriggerContext
	count  int64

	rows     *table.Table[winKey[K], winRow[Acc]]
	marks    *table.Table[keptKey[K], In] // records kept by the trigger; nil if it needs none
	markCode *codec.Codec[In]
	spans    *table.Table[K, []span] // windows that can merge, by start; never changed in place
	event    *windowTimers[K]
	proc     *windowTimers[K]

	key winKey[K] // in effect: of the timers
	buf []Window
	now int64 // processing time of this call
}

// A WindowSide is a side output of a window function.
type WindowSide interface {
	Flush() error
	// Accept connects a receiver, if it is one of the right type.
	Accept(r any) error
	Open(env *Env)
}

type declaredSide struct {
	port int
	WindowSide
}

// WindowEmitter is a WindowSide for records of V.
type WindowEmitter[V any] struct {
	Emitter[V]
	Name string
}

// Accept implements [WindowSide].
func (e *WindowEmitter[V]) Accept(r any) error {
	if _, ok := r.(Receiver[V]); !ok {
		return fmt.Errorf("side output %q: setup declares it as one of %T and it is read as another type", e.Name, *new(V))
	}
	e.Connect(r)
	return nil
}

// windowParked is a receiver that came before Setup declared its port.
type windowParked struct {
	port int
	name string
	r    any // nil in one that only tells the name
}

// Scope is the key and the window that the code of a window operator is called
// for, with the state that belongs to them.
type Scope[K comparable] struct {
	// Global is the state of keys over all their windows, and the key in
	// effect.
	Global *Keyed[K]
	// Window is the window in effect, Firing how often it has fired before.
	Window Window
	Firing int32
	// Watermark is the operator's event time, milliseconds.
	Watermark int64

	namespace Window           // whose state is that of Window
	local     []windowState[K] // user state for each key and window
	groups    keygroup.Range
	hasher    *keygroup.Hasher[K]
	keys      *codec.Codec[K]
}

// winRow is the state of one key in one window.
type winRow[Acc any] struct {
	acc    Acc
	has    bool // the window has contents
	firing int32
	cells  [MaxTriggerCells]int64
}

// keptKey is where a trigger's record i is kept.
type keptKey[K comparable] struct {
	winKey[K]
	I int
}

// A span is a window that can merge, and the window whose name its state lies
// under.
type span struct {
	Window
	home Window
}

// windowState is user state for each key and window.
type windowState[K comparable] interface {
	clear(word uint64, k winKey[K])
	snapshot() ([]Piece, error)
	restore(p Piece) error
	state() string
}

// Open implements [Operator].
func (o *Windowed[K, In, Acc, R]) Open(env *Env) (err error) {
	o.env = env
	if o.Global, err = NewKeyed[K](env); err != nil {
		return err
	}
	o.groups, o.hasher, o.keys = o.Global.groups, o.Global.hasher, o.Global.keys
	if o.accs, err = codec.Of[Acc](); err != nil {
		return fmt.Errorf("window contents: %w", err)
	}
	if o.Trigger == nil {
		o.Trigger = DefaultTrigger(&o.Windows)
	}
	o.needs = o.Trigger.Needs()
	if o.needs.Records > 0 {
		if o.markCode, err = codec.Of[In](); err != nil {
			return fmt.Errorf("records kept by the trigger: %w", err)
		}
		o.marks = table.New[keptKey[K], In](o.groups, table.Options{})
	}
	o.rows = table.New[winKey[K], winRow[Acc]](o.groups, table.Options{})
	o.spans = table.New[K, []span](o.groups, table.Options{})
	o.event, o.proc = newWindowTimers(o.groups, o.keys), newWindowTimers(o.groups, o.keys)
	o.Watermark = watermark.None
	o.ctx.host = o
	o.Out.Open(env)
	o.late.out.Open(env)
	if o.Setup != nil {
		cur := env.Cursor
		cur.Op, cur.Base, cur.Row, cur.Times = env.Name, 0, 0, nil
		o.Setup(o)
		cur.Op = ""
	}
	return o.connectSides()
}

// DefaultTrigger is the trigger of windows whose user chose none.
func DefaultTrigger(a *Assigner) Trigger {
	switch {
	case a.Processing:
		return ProcessingTimeTrigger{}
	case a.Kind == GlobalWindows && !a.EndsWithJob:
		return NeverTrigger{}
	}
	return EventTimeTrigger{}
}

// Env is where the operator runs.
func (o *Windowed[K, In, Acc, R]) Env() *Env { return o.env }

// AddSide declares a side output. Ports are told apart by their number, which
// outsiders know as well; they begin with 2.
func (o *Windowed[K, In, Acc, R]) AddSide(port int, s WindowSide) {
	for _, d := range o.sides {
		if d.port == port {
			panic("a side output is declared twice")
		}
	}
	s.Open(o.env)
	o.sides = append(o.sides, declaredSide{port, s})
}

// ReadsSide tells, before Open, the name of the side output behind port, for
// errors. Reading one that Setup does not declare makes Open fail.
func (o *Windowed[K, In, Acc, R]) ReadsSide(port int, name string) {
	o.parked = append(o.parked, windowParked{port: port, name: name})
}

// connectSides connects the receivers of side outputs.
func (o *Windowed[K, In, Acc, R]) connectSides() error {
	for _, c := range o.parked {
		i := slices.IndexFunc(o.sides, func(d declaredSide) bool { return d.port == c.port })
		switch {
		case i < 0 && c.r == nil:
			return fmt.Errorf("side output %q is read but setup did not declare it", c.name)
		case i < 0:
		case c.r != nil:
			if err := o.sides[i].Accept(c.r); err != nil {
				return err
			}
		}
	}
	return nil
}

// Fail makes the operator end with err once the record or timer is handled.
func (o *Windowed[K, In, Acc, R]) Fail(err error) {
	if o.failed == nil {
		o.failed = err
	}
}

// Emit sends a result of the window in effect.
func (o *Windowed[K, In, Acc, R]) Emit(v R) { o.Out.Emit(v, o.Window.MaxTimestamp()) }

// LateDropped is the number of late records that nobody took.
func (o *Windowed[K, In, Acc, R]) LateDropped() int64 { return o.late.dropped }

// Input implements [Operator].
func (o *Windowed[K, In, Acc, R]) Input(int) any { return o }

// Connect implements [Operator].
func (o *Windowed[K, In, Acc, R]) Connect(port int, r any) {
	switch port {
	case 0:
		o.Out.Connect(r)
	case 1:
		o.late.out.Connect(r)
	default:
		o.parked = append(o.parked, windowParked{port: port, r: r})
	}
}

// Close implements [Operator].
func (o *Windowed[K, In, Acc, R]) Close() error { return nil }

// Finish implements [Operator].
func (o *Windowed[K, In, Acc, R]) Finish() (bool, error) { return true, nil }

func (o *Windowed[K, In, Acc, R]) flush() error {
	err := errors.Join(o.Out.Flush(), o.late.out.Flush())
	for _, s := range o.sides {
		err = errors.Join(err, s.Flush())
	}
	return err
}

// enter puts a key into effect.
func (o *Windowed[K, In, Acc, R]) enter(word uint64, k K) {
	o.Global.Key, o.Global.Word, o.Global.Active, o.Global.Watermark = k, word, true, o.Watermark
}

func (o *Windowed[K, In, Acc, R]) leave() {
	o.Global.Active = false
	o.env.Cursor.Op = ""
}

// Receive implements [Receiver].
func (o *Windowed[K, In, Acc, R]) Receive(b *record.Batch[In]) error {
	keys := *b.Keys.(*[]K)
	cur := o.env.Cursor
	cur.Op, cur.Base, cur.Times = o.env.Name, o.count, b.Times
	o.now = o.env.NowMillis()
	for _, i := range b.Live() {
		cur.Op, cur.Row = o.env.Name, i
		o.enter(b.Words[i], keys[i])
		if err := cmp.Or(o.record(&b.Rows[i], b.Times[i]), o.failed); err != nil {
			return err
		}
	}
	o.count += int64(b.Len())
	o.leave()
	return o.flush()
}

func (o *Windowed[K, In, Acc, R]) record(v *In, at int64) error {
	ts := at
	switch {
	case o.Windows.Processing:
		ts = o.now
	case !hasTime(at) && o.Windows.Kind != GlobalWindows:
		return errNoTime(&o.Windows)
	}
	if o.Windows.Kind == SessionWindows {
		gap := o.Windows.Gap
		if o.GapOf != nil {
			if gap = o.GapOf(v); gap <= 0 {
				return fmt.Errorf("window: the gap of a session is %d ms: it must be greater than 0", gap)
			}
		}
		return o.session(v, at, Window{ts, ts + gap})
	}
	o.buf = o.Windows.assign(o.buf[:0], ts)
	skipped := len(o.buf) > 0
	for _, w := range o.buf {
		if o.isLate(w) {
			continue
		}
		skipped = false
		o.element(v, at, w, w)
	}
	if skipped {
		o.late.late(v, at)
	}
	return nil
}

// cleanup is the time at which a window's state goes; MaxInt64 means never.
func (o *Windowed[K, In, Acc, R]) cleanup(w Window) int64 {
	at := w.MaxTimestamp()
	if o.Windows.Processing {
		return at
	}
	if at+o.Lateness < at {
		return math.MaxInt64
	}
	return at + o.Lateness
}

func (o *Windowed[K, In, Acc, R]) isLate(w Window) bool {
	return !o.Windows.Processing && o.cleanup(w) <= o.Watermark
}

// use puts window w, whose state lies under home, into effect.
func (o *Windowed[K, In, Acc, R]) use(w, home Window) (winKey[K], uint64) {
	o.Window, o.namespace = w, home
	o.key = winKey[K]{o.Global.Key, w.StartMillis, w.EndMillis}
	k := winKey[K]{o.Global.Key, home.StartMillis, home.EndMillis}
	return k, mix(o.Global.Word, k.Start, k.End)
}

// element adds a record to a window.
func (o *Windowed[K, In, Acc, R]) element(v *In, at int64, w, home Window) {
	k, word := o.use(w, home)
	row, _ := o.rows.Upsert(word, k)
	o.Add(&row.acc, v, at)
	row.has = true
	r := o.ask(row, func() TriggerResult { return o.Trigger.OnElement(&o.ctx, v, at, w) })
	o.act(r, row, word, k)
	if at := o.cleanup(w); at != math.MaxInt64 {
		o.timers(o.Windows.Processing).add(o.Global.Word, o.key, at)
	}
}

// ask calls the trigger with the cells of row.
func (o *Windowed[K, In, Acc, R]) ask(row *winRow[Acc], f func() TriggerResult) TriggerResult {
	o.ctx.Watermark, o.ctx.Now = o.Watermark, o.now
	if o.needs.Cells == 0 {
		return f()
	}
	o.ctx.cells = row.cells
	r := f()
	row.cells = o.ctx.cells
	return r
}

// act does what a trigger wants of the window in effect.
func (o *Windowed[K, In, Acc, R]) act(r TriggerResult, row *winRow[Acc], word uint64, k winKey[K]) {
	if r&Fire != 0 && row.has {
		o.env.Cursor.Op = o.env.Name
		o.Firing = row.firing
		row.firing++
		if o.Fire(o, &row.acc) {
			row.has = false
			row.acc = *new(Acc)
		}
	}
	if r&Purge != 0 {
		row.has = false
		row.acc = *new(Acc)
	}
	if !row.has && row.cells == [MaxTriggerCells]int64{} && o.Windows.Kind == GlobalWindows {
		o.rows.Delete(word, k) // nothing would ever clean it up
	}
}

func (o *Windowed[K, In, Acc, R]) timers(processing bool) *windowTimers[K] {
	if processing {
		return o.proc
	}
	return o.event
}

func (o *Windowed[K, In, Acc, R]) setTimer(processing bool, at int64) {
	o.timers(processing).add(o.Global.Word, o.key, at)
}

func (o *Windowed[K, In, Acc, R]) deleteTimer(processing bool, at int64) {
	if processing == o.Windows.Processing && at == o.cleanup(o.Window) && at != math.MaxInt64 {
		return // the window is cleaned up by it
	}
	o.timers(processing).remove(o.Global.Word, o.key, at)
}

func (o *Windowed[K, In, Acc, R]) keep(i int, rec any) {
	v, _ := o.marks.Upsert(mix(o.Global.Word, o.key.Start, o.key.End+int64(i)), keptKey[K]{o.key, i})
	*v = *rec.(*In)
}

func (o *Windowed[K, In, Acc, R]) kept(i int) any {
	if v := o.marks.Get(mix(o.Global.Word, o.key.Start, o.key.End+int64(i)), keptKey[K]{o.key, i}); v != nil {
		return v
	}
	return nil
}

func (o *Windowed[K, In, Acc, R]) forget(i int) {
	o.marks.Delete(mix(o.Global.Word, o.key.Start, o.key.End+int64(i)), keptKey[K]{o.key, i})
}

// clear removes everything kept for the window in effect.
func (o *Windowed[K, In, Acc, R]) clear(row *winRow[Acc], word uint64, k winKey[K]) {
	o.ask(row, func() TriggerResult { o.Trigger.Clear(&o.ctx, o.Window); return Continue })
	for i := range o.needs.Records {
		o.forget(i)
	}
	if o.Cleared != nil {
		o.env.Cursor.Op = o.env.Name
		o.Cleared(o)
	}
	for _, s := range o.local {
		s.clear(word, k)
	}
	o.rows.Delete(word, k)
}

// Advance implements [Operator].
func (o *Windowed[K, In, Acc, R]) Advance(wm int64) (int64, bool, error) {
	o.Watermark = max(o.Watermark, wm)
	done, err := o.fire(o.event, wm, false)
	return wm, done, err
}

// Due implements [Ticker].
func (o *Windowed[K, In, Acc, R]) Due() (int64, bool) {
	if o.proc == nil {
		return 0, false
	}
	at, ok := o.proc.next()
	if ok && at < math.MaxInt64 {
		at++ // a record of the same millisecond comes first
	}
	return at, ok
}

// OnTime implements [Ticker].
func (o *Windowed[K, In, Acc, R]) OnTime(now int64) (bool, error) {
	return o.fire(o.proc, now-1, true)
}

// fire runs the timers up to and including to.
func (o *Windowed[K, In, Acc, R]) fire(t *windowTimers[K], to int64, processing bool) (bool, error) {
	if len(t.heap) == 0 || t.heap[0].at > to {
		return true, nil
	}
	cur := o.env.Cursor
	cur.Times = nil
	o.now = o.env.NowMillis()
	done := true
	for n := 1; ; n++ {
		e, ok := t.take(to)
		if !ok {
			break
		}
		cur.Op = o.env.Name
		o.enter(e.word, e.key.Key)
		o.timer(e.key.window(), e.at, processing)
		if o.failed != nil {
			return false, fmt.Errorf("window %v of key %v: %w", o.Window, o.Global.Key, o.failed)
		}
		if n%yieldEvery == 0 && o.env.Yield() {
			done = false
			break
		}
	}
	o.leave()
	return done, o.flush()
}

// timer handles one timer of window w and the key in effect.
func (o *Windowed[K, In, Acc, R]) timer(w Window, at int64, processing bool) {
	home := w
	if o.Windows.Kind == SessionWindows {
		var ok bool
		if home, ok = o.home(w); !ok {
			return // merged into another
		}
	}
	k, word := o.use(w, home)
	row, _ := o.rows.Upsert(word, k)
	r := o.ask(row, func() TriggerResult {
		if processing {
			return o.Trigger.OnProcessingTime(&o.ctx, at, w)
		}
		return o.Trigger.OnEventTime(&o.ctx, at, w)
	})
	o.act(r, row, word, k)
	if processing == o.Windows.Processing && at == o.cleanup(w) {
		row, _ = o.rows.Upsert(word, k)
		o.clear(row, word, k)
		if o.Windows.Kind == SessionWindows {
			o.retire(w)
		}
	}
}

// home is where the state of window w of the key in effect lies.
func (o *Windowed[K, In, Acc, R]) home(w Window) (Window, bool) {
	if s := o.spans.Get(o.Global.Word, o.Global.Key); s != nil {
		for _, x := range *s {
			if x.Window == w {
				return x.home, true
			}
		}
	}
	return Window{}, false
}

// retire forgets the span of window w.
func (o *Windowed[K, In, Acc, R]) retire(w Window) {
	s, _ := o.spans.Upsert(o.Global.Word, o.Global.Key)
	left := slices.DeleteFunc(slices.Clone(*s), func(x span) bool { return x.Window == w })
	if len(left) == 0 {
		o.spans.Delete(o.Global.Word, o.Global.Key)
		return
	}
	*s = left
}

// session adds a record to the session it belongs to, which may join several.
func (o *Windowed[K, In, Acc, R]) session(v *In, at int64, w Window) error {
	var old []span
	if s := o.spans.Get(o.Global.Word, o.Global.Key); s != nil {
		old = *s
	}
	merged, home := w, w
	var joined []span
	for _, x := range old {
		if x.StartMillis <= w.EndMillis && w.StartMillis <= x.EndMillis {
			merged.StartMillis = min(merged.StartMillis, x.StartMillis)
			merged.EndMillis = max(merged.EndMillis, x.EndMillis)
			joined = append(joined, x)
		}
	}
	if len(joined) == 0 && o.isLate(w) {
		o.late.late(v, at)
		return nil
	}
	if len(joined) > 0 {
		home = joined[0].home
	}
	if len(joined) != 1 || joined[0].Window != merged {
		s, _ := o.spans.Upsert(o.Global.Word, o.Global.Key)
		next := make([]span, 0, len(old)+1)
		for _, x := range old {
			if !slices.Contains(joined, x) {
				next = append(next, x)
			}
		}
		i := 0
		for i < len(next) && next[i].StartMillis < merged.StartMillis {
			i++
		}
		*s = slices.Insert(next, i, span{merged, home})
		if len(joined) > 0 {
			o.merge(merged, home, joined)
		}
	}
	o.element(v, at, merged, home)
	return nil
}

// merge brings the state of the joined windows together under home, which is
// that of the first.
func (o *Windowed[K, In, Acc, R]) merge(w, home Window, joined []span) {
	o.ctx.merged = o.ctx.merged[:0]
	var sum winRow[Acc]
	o.now = max(o.now, o.env.NowMillis())
	for _, x := range joined {
		k, word := o.use(x.Window, x.home)
		row, _ := o.rows.Upsert(word, k)
		o.ctx.merged = append(o.ctx.merged, row.cells)
		o.ask(row, func() TriggerResult { o.Trigger.Clear(&o.ctx, x.Window); return Continue })
		if at := o.cleanup(x.Window); at != math.MaxInt64 {
			o.timers(o.Windows.Processing).remove(o.Global.Word, o.key, at)
		}
		if row.has {
			if sum.has {
				o.Merge(&sum.acc, &row.acc)
			} else {
				sum.acc, sum.has = row.acc, true
			}
		}
		sum.firing = max(sum.firing, row.firing)
		if x.home != home {
			for _, s := range o.local {
				s.clear(word, k)
			}
			o.rows.Delete(word, k)
		}
	}
	k, word := o.use(w, home)
	row, _ := o.rows.Upsert(word, k)
	*row = sum
	o.ask(row, func() TriggerResult { o.Trigger.OnMerge(&o.ctx, w); return Continue })
	if at := o.cleanup(w); at != math.MaxInt64 {
		o.timers(o.Windows.Processing).add(o.Global.Word, o.key, at)
	}
}
