package millrace

import (
	"iter"
	"time"

	"github.com/millrace/millrace/runtime/operator"
)

// WindowOp is one subtask of a window function with state, as its code sees it.
// The setup function declares state and sets OnWindow, which is then called for
// each firing, with a key and a window in effect. Calls come one at a time.
type WindowOp[K comparable, In, Out any] struct {
	scope    *operator.Scope[K]
	env      *operator.Env
	emit     func(Out)
	addSide  func(port int, s operator.WindowSide)
	onWindow func(recs iter.Seq[In]) error
	onClear  func() error
}

// Process runs a window function with state over all records of each window,
// in the order in which they came. setup is called once in each subtask.
func (w WindowedStream[K, T]) Process[Out any](id string, setup func(*WindowOp[K, T, Out])) Stream[Out] {
	checkStored[T](w.k.s.job, "records")
	return Stream[Out]{job: w.k.s.job, node: w.node(id, func() operator.Operator {
		x := &WindowOp[K, T, Out]{}
		o := recordsOperator(w, func(o *general[K, T, []operator.Elem[T], Out], recs []operator.Elem[T]) {
			o.Fail(x.onWindow(values(recs)))
		})
		bind(x, o, setup)
		return o
	})}
}

// AggregateProcess is [WindowedStream.Process] over the one result of an
// aggregate, so that the records need not be kept.
func (w WindowedStream[K, T]) AggregateProcess[Acc, V, Out any](id string, a Aggregator[T, Acc, V], setup func(*WindowOp[K, V, Out])) Stream[Out] {
	agg, finish, err := a.engine()
	if err != nil {
		w.fail("aggregate %q: %w", id, err)
	}
	checkStored[Acc](w.k.s.job, "accumulator")
	if w.w.a.Kind == operator.SessionWindows && agg.Merge == nil {
		w.fail("an aggregate over sessions needs Merge: sessions merge")
	}
	one := func(v V) iter.Seq[V] { return func(yield func(V) bool) { yield(v) } }
	return Stream[Out]{job: w.k.s.job, node: w.node(id, func() operator.Operator {
		x := &WindowOp[K, V, Out]{}
		if w.evictor != nil {
			o := recordsOperator(w, func(o *general[K, T, []operator.Elem[T], Out], recs []operator.Elem[T]) {
				var acc Acc
				var v V
				for i := range recs {
					agg.Add(&acc, &recs[i].Value)
				}
				finish(&v, &acc)
				o.Fail(x.onWindow(one(v)))
			})
			bind(x, o, setup)
			return o
		}
		o := &general[K, T, Acc, Out]{Windows: w.w.a, GapOf: w.gapOf(), Trigger: w.trigger, Lateness: w.lateness,
			Add: func(acc *Acc, in *T, _ int64) { agg.Add(acc, in) }, Merge: agg.Merge,
			Fire: func(o *general[K, T, Acc, Out], acc *Acc) bool {
				var v V
				finish(&v, acc)
				o.Fail(x.onWindow(one(v)))
				return false
			}}
		bind(x, o, setup)
		return o
	})}
}

// bind makes x the view of o that setup and its handlers have.
func bind[K comparable, T, Acc, In, Out any](x *WindowOp[K, In, Out], o *general[K, T, Acc, Out], setup func(*WindowOp[K, In, Out])) {
	o.Setup = func(o *general[K, T, Acc, Out]) {
		x.scope, x.env, x.emit, x.addSide = &o.Scope, o.Env(), o.Emit, o.AddSide
		setup(x)
		if x.onWindow == nil {
			panic("setup set no window handler")
		}
	}
	o.Cleared = func(o *general[K, T, Acc, Out]) {
		if x.onClear != nil {
			o.Fail(x.onClear())
		}
	}
}

// OnWindow sets the handler of firings. recs must not be used after it has
// returned. An error ends the job.
func (o *WindowOp[K, In, Out]) OnWindow(f func(recs iter.Seq[In]) error) { o.onWindow = f }

// OnClear sets a function called before the state of a window is cleared for
// good.
func (o *WindowOp[K, In, Out]) OnClear(f func() error) { o.onClear = f }

// Emit sends a record on, with the last millisecond of the window as its event
// time.
func (o *WindowOp[K, In, Out]) Emit(out Out) { o.emit(out) }

// Key returns the key in effect.
func (o *WindowOp[K, In, Out]) Key() K { return o.scope.Global.Key }

// Window returns the window in effect.
func (o *WindowOp[K, In, Out]) Window() Window { return o.scope.Window }

// Firing tells how often the window has fired before for this key.
func (o *WindowOp[K, In, Out]) Firing() int { return int(o.scope.Firing) }

// Watermark returns the event time of the operator.
func (o *WindowOp[K, In, Out]) Watermark() time.Time {
	return time.UnixMilli(o.scope.Watermark).UTC()
}

// Now returns the processing time.
func (o *WindowOp[K, In, Out]) Now() time.Time { return time.Unix(0, o.env.Clock.Now()).UTC() }

// WindowValue declares a value for each key and window, cleared with the
// window. It is called by the setup function. Windows that merge keep the value
// of the first.
func (o *WindowOp[K, In, Out]) WindowValue[V any](name string) *WindowValue[V] {
	return &WindowValue[V]{operator.NewWindowValue[K, V](o.scope, name)}
}

// SideOutput declares a side output that records of V go to; the setup function
// calls it. Others read it with [Stream.SideOutput].
func (o *WindowOp[K, In, Out]) SideOutput[V any](tag SideOutput[V]) *WindowSide[V] {
	e := &operator.WindowEmitter[V]{Name: tag.Name()}
	o.addSide(tag.port(), e)
	return &WindowSide[V]{e, func() int64 { return o.scope.Window.MaxTimestamp() }}
}

// WindowSide sends records of a window function to a side output.
type WindowSide[V any] struct {
	e  *operator.WindowEmitter[V]
	at func() int64
}

// Emit sends v, with the last millisecond of the window as its event time.
func (s *WindowSide[V]) Emit(v V) { s.e.Emit(v, s.at()) }

// WindowValue is one value for each key and window.
type WindowValue[V any] struct{ s windowValue[V] }

type windowValue[V any] interface {
	Load() (V, bool)
	Set(V)
	Ref() *V
	Clear()
}

// Get returns the value, or the zero V if none is set.
func (v *WindowValue[V]) Get() V {
	x, _ := v.s.Load()
	return x
}

// Load returns the value and whether one is set.
func (v *WindowValue[V]) Load() (V, bool) { return v.s.Load() }

// Set replaces the value. What it points to must not be changed afterwards.
func (v *WindowValue[V]) Set(x V) { v.s.Set(x) }

// Ref returns the value to be changed in place; it is zero, and set from then
// on, if there was none. The pointer is good until the next use of state.
func (v *WindowValue[V]) Ref() *V { return v.s.Ref() }

// Clear removes the value.
func (v *WindowValue[V]) Clear() { v.s.Clear() }
