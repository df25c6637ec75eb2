package millrace

import (
	"time"

	"github.com/millrace/millrace/runtime/operator"
)

// Op is one subtask of a stateful operator, as its code sees it. The setup
// function declares state and sets handlers; the handlers then run one at a
// time, never concurrently, with the current record's key in effect.
//
// State accessors return no errors. A failing state backend ends the subtask's
// attempt and the job recovers from its last checkpoint.
type Op[K comparable, In, Out any] struct {
	p *operator.Process[K, In, Out]
}

// Process runs a stateful operator; setup is called once in each subtask. Its
// state is kept in checkpoints under id.
func (k KeyedStream[K, T]) Process[Out any](id string, setup func(*Op[K, T, Out])) Stream[Out] {
	n := k.then(id, func() operator.Operator {
		return &operator.Process[K, T, Out]{Setup: func(p *operator.Process[K, T, Out]) { setup(&Op[K, T, Out]{p: p}) }}
	})
	return Stream[Out]{job: k.s.job, node: n}
}

// OnRecord sets the handler of input records. An error ends the job.
func (o *Op[K, In, Out]) OnRecord(f func(In) error) { o.p.OnRecord = f }

// OnRecordRef is [Op.OnRecord] by reference; f must not change the record.
func (o *Op[K, In, Out]) OnRecordRef(f func(*In) error) { o.p.OnRecordRef = f }

// OnTimer sets the handler of event-time timers; at is the time set.
func (o *Op[K, In, Out]) OnTimer(f func(at time.Time) error) {
	o.p.OnTimer = func(at int64) error { return f(time.UnixMilli(at).UTC()) }
}

// OnProcessingTimer sets the handler of processing-time timers.
func (o *Op[K, In, Out]) OnProcessingTimer(f func(at time.Time) error) {
	o.p.OnProcTimer = func(at int64) error { return f(time.UnixMilli(at).UTC()) }
}

// OnFinish sets a function called when all input has ended and all event-time
// timers have fired; it may still emit. No key is in effect.
func (o *Op[K, In, Out]) OnFinish(f func() error) { o.p.OnFinish = f }

// OnClose sets a function called when the subtask ends, in error or not.
func (o *Op[K, In, Out]) OnClose(f func() error) { o.p.OnClose = f }

// Emit sends a record on, with the event time of the record or timer handled.
func (o *Op[K, In, Out]) Emit(out Out) { o.p.Out.Emit(out, o.p.At) }

// Key returns the key of the record or timer being handled.
func (o *Op[K, In, Out]) Key() K { return o.p.Key }

// Time returns the event time of the record or timer being handled.
func (o *Op[K, In, Out]) Time() time.Time { return time.UnixMilli(o.p.At).UTC() }

// TimeMillis is [Op.Time] in milliseconds since the epoch.
func (o *Op[K, In, Out]) TimeMillis() int64 { return o.p.At }

// Watermark returns the event time of the operator: no record at or before it
// is expected.
func (o *Op[K, In, Out]) Watermark() time.Time { return time.UnixMilli(o.p.Keyed.Watermark).UTC() }

// Now returns the processing time.
func (o *Op[K, In, Out]) Now() time.Time { return time.Unix(0, o.p.Env().Clock.Now()).UTC() }

// SetTimer asks for OnTimer at event time t for the current key. Setting it
// twice is the same as setting it once. A timer that is due already fires when
// event time moves next. Times are kept to the millisecond, rounded down.
func (o *Op[K, In, Out]) SetTimer(t time.Time) {
	o.p.EventTimers().Set(o.p.Word, o.p.Key, t.UnixMilli())
}

// ClearTimer takes back a SetTimer.
func (o *Op[K, In, Out]) ClearTimer(t time.Time) {
	o.p.EventTimers().Delete(o.p.Word, o.p.Key, t.UnixMilli())
}

// SetProcessingTimer asks for OnProcessingTimer at processing time t for the
// current key.
func (o *Op[K, In, Out]) SetProcessingTimer(t time.Time) {
	o.p.ProcTimers().Set(o.p.Word, o.p.Key, t.UnixMilli())
}

// ClearProcessingTimer takes back a SetProcessingTimer.
func (o *Op[K, In, Out]) ClearProcessingTimer(t time.Time) {
	o.p.ProcTimers().Delete(o.p.Word, o.p.Key, t.UnixMilli())
}

// Value declares a single value per key, kept in checkpoints under name. It is
// called by the setup function.
func (o *Op[K, In, Out]) Value[V any](name string) *Value[V] {
	return &Value[V]{operator.NewValue[K, V](o.p.Keyed, name)}
}

// Value is one value for each key.
type Value[V any] struct{ s operator.ValueState[V] }

// Get returns the value, or the zero V if none is set.
func (v *Value[V]) Get() V {
	x, _ := v.s.Load()
	return x
}

// Load returns the value and whether one is set.
func (v *Value[V]) Load() (V, bool) { return v.s.Load() }

// Set replaces the value. What it points to must not be changed afterwards.
func (v *Value[V]) Set(x V) { v.s.Set(x) }

// Ref returns the value to be changed in place; it is zero, and set from then
// on, if there was none. The pointer is good until the next use of any state of
// this operator.
func (v *Value[V]) Ref() *V { return v.s.Ref() }

// Clear removes the value.
func (v *Value[V]) Clear() { v.s.Clear() }
