package millrace

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/millrace/millrace/engine/graph"
	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/record"
)

// OpContext is what every operator made of handlers sees of the world around
// it: its output, the time of what it handles, and the place it runs in. It is
// part of [Op], [Op2], [PlainOp] and the others.
//
// The setup function is called once in each subtask; it declares state and
// side outputs and sets handlers. The handlers then run one at a time, never
// concurrently. Only handlers may emit.
type OpContext[Out any] struct {
	f *operator.Func[Out]
}

// Emit sends a record on, with the event time of the record or timer handled.
func (o *OpContext[Out]) Emit(out Out) { o.f.Emit(out) }

// Next is [OpContext.Emit] by reference: it returns a new record to be filled
// in place, before the handler does anything else. It holds what an earlier
// record left there, so every field must be set.
func (o *OpContext[Out]) Next() *Out { return o.f.Next() }

// Time returns the event time of the record or timer being handled.
func (o *OpContext[Out]) Time() time.Time { return time.UnixMilli(o.f.At).UTC() }

// NoTime is the event time in milliseconds of a record that has none.
const NoTime = record.NoTime

// TimeMillis is [OpContext.Time] in milliseconds since the epoch; [NoTime] if
// there is none, as in handlers of processing-time timers.
func (o *OpContext[Out]) TimeMillis() int64 { return o.f.At }

// Watermark returns the event time of the operator: no record at or before it
// is expected.
func (o *OpContext[Out]) Watermark() time.Time { return time.UnixMilli(o.f.WatermarkMillis()).UTC() }

// WatermarkMillis is [OpContext.Watermark] in milliseconds since the epoch;
// [NoWatermark] before the first. After a restart it begins anew: watermarks
// are not part of checkpoints.
func (o *OpContext[Out]) WatermarkMillis() int64 { return o.f.WatermarkMillis() }

// Now returns the processing time.
func (o *OpContext[Out]) Now() time.Time { return time.Unix(0, o.f.Env().Clock.Now()).UTC() }

// Context ends when the job is cancelled or fails. Handlers that wait for
// something outside pass it on.
func (o *OpContext[Out]) Context() context.Context { return o.f.Env().Ctx }

// Subtask says which of the parallel instances of the operator this is.
func (o *OpContext[Out]) Subtask() Subtask {
	e := o.f.Env()
	return Subtask{Job: e.Job, Operator: e.UID, Index: e.Index, Of: e.Parallelism}
}

// Counter is a number that handlers add to; see [OpContext.Counter].
type Counter = operator.Counter

// Counter makes a metric of the operator, or returns the one of that name. The
// setup function calls it.
func (o *OpContext[Out]) Counter(name string) *Counter { return o.f.Counter(name) }

// OnFinish sets a function called when all input has ended and all event-time
// timers have fired; it may still emit. No key is in effect.
func (o *OpContext[Out]) OnFinish(f func() error) {
	o.f.Declaring("OnFinish")
	o.f.OnFinish = f
}

// OnClose sets a function called when the subtask ends, in error or not.
func (o *OpContext[Out]) OnClose(f func() error) {
	o.f.Declaring("OnClose")
	o.f.OnClose = f
}

// OnSnapshot sets a function called before each checkpoint of the subtask: the
// place to bring operator state up to date (see [OpContext.ListState]). No key
// is in effect.
func (o *OpContext[Out]) OnSnapshot(f func() error) {
	o.f.Declaring("OnSnapshot")
	o.f.OnSnapshot = f
}

// OnRestore sets a function called after the subtask's state was restored from
// a checkpoint, before any record. No key is in effect.
func (o *OpContext[Out]) OnRestore(f func() error) {
	o.f.Declaring("OnRestore")
	o.f.OnRestore = f
}

// SideOutput declares a side output that records of V go to; the setup
// function calls it. Others read it with [Stream.SideOutput].
func (o *OpContext[Out]) SideOutput[V any](tag SideOutput[V]) *SideEmitter[V] {
	return operator.AddSide[V](o.f, tag.name, tag.port())
}

// SideOutput names a second output of an operator and says what is sent there.
// It is usually a package variable, used by the operator and by whoever reads:
//
//	var late = millrace.NewSideOutput[Trip]("late")
type SideOutput[V any] struct{ name string }

// NewSideOutput makes the tag of a side output. Names differ within an
// operator.
func NewSideOutput[V any](name string) SideOutput[V] { return SideOutput[V]{name} }

// Name returns the tag's name.
func (s SideOutput[V]) Name() string { return s.name }

// port is the number of the side output on its operator. It is made of the
// name, so that both ends know it without having met.
func (s SideOutput[V]) port() int {
	h := fnv.New32a()
	h.Write([]byte(s.name))
	return int(h.Sum32()&(1<<30-1) | 1<<30)
}

// SideEmitter sends records to a side output. Emitting to one that nobody
// reads costs nothing.
type SideEmitter[V any] = operator.Side[V]

// SideOutput returns what the operator that produced s sends to the side output
// tag. An operator that does not declare it, or declares it for another type,
// makes the job fail when it starts.
func (s Stream[T]) SideOutput[V any](tag SideOutput[V]) Stream[V] {
	prepare := s.node.Prepare
	s.node.Prepare = func(ctx context.Context, parallelism int) (func() operator.Operator, error) {
		make, err := prepare(ctx, parallelism)
		if err != nil {
			return nil, err
		}
		return func() operator.Operator {
			op := make()
			if r, ok := op.(interface{ ReadsSide(port int, name string) }); ok {
				r.ReadsSide(tag.port(), tag.name)
				return op
			}
			return &noSides{op, tag.name}
		}, nil
	}
	return Stream[V]{job: s.job, node: s.node, port: tag.port()}
}

// noSides is an operator that has no side outputs although one is read.
type noSides struct {
	operator.Operator
	name string
}

func (n *noSides) Open(*operator.Env) error {
	return fmt.Errorf("side output %q is read but the operator is not a process function and has none", n.name)
}

func (n *noSides) Connect(int, any) {}
func (n *noSides) Close() error     { return nil }

// KeyedContext is what operators on keyed streams have beside [OpContext]: the
// key in effect, state and timers. In every handler of a record or timer, the
// key of that record or timer is in effect; state and timers are those of this
// key. Using them elsewhere, in the setup function or in OnFinish, ends the
// job.
//
// State accessors return no errors. A failing state backend ends the subtask's
// attempt and the job recovers from its last checkpoint.
type KeyedContext[K comparable, Out any] struct {
	OpContext[Out]
	k *operator.KeyedFunc[K, Out]
}

func keyedContext[K comparable, Out any](k *operator.KeyedFunc[K, Out]) KeyedContext[K, Out] {
	return KeyedContext[K, Out]{OpContext[Out]{&k.Func}, k}
}

// Key returns the key of the record or timer being handled.
func (o *KeyedContext[K, Out]) Key() K { return o.k.Key }

// OnTimer sets the handler of event-time timers; at is the time set.
func (o *KeyedContext[K, Out]) OnTimer(f func(at time.Time) error) {
	o.k.Declaring("OnTimer")
	o.k.OnTimer = func(at int64) error { return f(time.UnixMilli(at).UTC()) }
}

// OnTimerMillis is [KeyedContext.OnTimer] with the time in milliseconds since
// the epoch.
func (o *KeyedContext[K, Out]) OnTimerMillis(f func(at int64) error) {
	o.k.Declaring("OnTimerMillis")
	o.k.OnTimer = f
}

// OnProcessingTimer sets the handler of processing-time timers.
func (o *KeyedContext[K, Out]) OnProcessingTimer(f func(at time.Time) error) {
	o.k.Declaring("OnProcessingTimer")
	o.k.OnProcTimer = func(at int64) error { return f(time.UnixMilli(at).UTC()) }
}

// SetTimer asks for OnTimer at event time t for the current key. Setting it
// twice is the same as setting it once. A timer that is due already fires when
// event time moves next; all that are set fire when the input ends. Times are
// kept to the millisecond, rounded down.
func (o *KeyedContext[K, Out]) SetTimer(t time.Time) { o.k.SetTimer(t.UnixMilli()) }

// SetTimerMillis is [KeyedContext.SetTimer] with the time in milliseconds
// since the epoch.
func (o *KeyedContext[K, Out]) SetTimerMillis(t int64) { o.k.SetTimer(t) }

// ClearTimer takes back a SetTimer.
func (o *KeyedContext[K, Out]) ClearTimer(t time.Time) { o.k.ClearTimer(t.UnixMilli()) }

// SetProcessingTimer asks for OnProcessingTimer at processing time t for the
// current key. Timers that are not due when the input ends never fire.
func (o *KeyedContext[K, Out]) SetProcessingTimer(t time.Time) { o.k.SetProcTimer(t.UnixMilli()) }

// ClearProcessingTimer takes back a SetProcessingTimer.
func (o *KeyedContext[K, Out]) ClearProcessingTimer(t time.Time) { o.k.ClearProcTimer(t.UnixMilli()) }

// Op is one subtask of a stateful operator on a keyed stream, as its code sees
// it.
type Op[K comparable, In, Out any] struct {
	KeyedContext[K, Out]
	p *operator.Process[K, In, Out]
}

// Process runs a stateful operator; setup is called once in each subtask. Its
// state is kept in checkpoints under id.
func (k KeyedStream[K, T]) Process[Out any](id string, setup func(*Op[K, T, Out])) Stream[Out] {
	n := k.then(id, func() operator.Operator { return newProcess(setup) })
	return Stream[Out]{job: k.s.job, node: n}
}

func newProcess[K comparable, In, Out any](setup func(*Op[K, In, Out])) *operator.Process[K, In, Out] {
	return &operator.Process[K, In, Out]{Setup: func(p *operator.Process[K, In, Out]) {
		setup(&Op[K, In, Out]{keyedContext(&p.KeyedFunc), p})
	}}
}

// OnRecord sets the handler of input records. An error ends the job.
func (o *Op[K, In, Out]) OnRecord(f func(In) error) {
	o.p.Declaring("OnRecord")
	o.p.OnRecord = f
}

// OnRecordRef is [Op.OnRecord] by reference; f must not change the record.
func (o *Op[K, In, Out]) OnRecordRef(f func(*In) error) {
	o.p.Declaring("OnRecordRef")
	o.p.OnRecordRef = f
}

// PlainOp is one subtask of an operator on a stream without keys, as its code
// sees it.
type PlainOp[In, Out any] struct {
	OpContext[Out]
	p *operator.PlainProcess[In, Out]
}

// Process runs an operator made of handlers: one that has more than one output,
// needs something opened and closed, or keeps operator state. setup is called
// once in each subtask. For keyed state and timers, use [Stream.KeyBy] first.
func (s Stream[T]) Process[Out any](id string, setup func(*PlainOp[T, Out])) Stream[Out] {
	n := s.then("", id, func() operator.Operator { return newPlainProcess(setup) })
	return Stream[Out]{job: s.job, node: n}
}

func newPlainProcess[In, Out any](setup func(*PlainOp[In, Out])) *operator.PlainProcess[In, Out] {
	return &operator.PlainProcess[In, Out]{Setup: func(p *operator.PlainProcess[In, Out]) {
		setup(&PlainOp[In, Out]{OpContext[Out]{&p.Func}, p})
	}}
}

// OnRecord sets the handler of input records. An error ends the job.
func (o *PlainOp[In, Out]) OnRecord(f func(In) error) {
	o.p.Declaring("OnRecord")
	o.p.OnRecord = f
}

// OnRecordRef is [PlainOp.OnRecord] by reference; f must not change the record.
func (o *PlainOp[In, Out]) OnRecordRef(f func(*In) error) {
	o.p.Declaring("OnRecordRef")
	o.p.OnRecordRef = f
}

// two adds an operator with two inputs.
func two(j *Job, id, name, location string, left, right graph.Edge, op func() operator.Operator) *graph.Node {
	if id != "" {
		name = id
	}
	return j.g.Add(graph.Node{UID: id, Name: name, Location: location, Inputs: []graph.Edge{left, right}, Prepare: always(op)})
}
