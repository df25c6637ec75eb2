package millrace

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/millrace/millrace/engine/graph"
	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/record"
)

// Window is the half-open span [Start, End) of time that a window covers. It
// holds milliseconds since the epoch, StartMillis and EndMillis; Start and End
// give them as time.Time. The one window of [Global] reaches from the least to
// the greatest integer. As JSON a window is {"Start": …, "End": …} in RFC 3339.
type Window = operator.Window

// Result is one window's value for one key. Its event time is the last
// millisecond of the window, so results can be windowed again: windows of the
// same length group the results of one window.
type Result[K comparable, V any] struct {
	Key    K
	Window Window
	Value  V
}

// Windows says which windows a record belongs to. It is made by [Tumbling],
// [Sliding], [Session] and the others. Lengths are whole milliseconds. A length
// that makes no sense is reported when the job is started, with the place of
// the call that used it.
type Windows struct {
	a     operator.Assigner
	gapOf any // func(*T) int64, for SessionBy
	count int64
	every int64
	bad   string
}

// Tumbling windows have a fixed size and do not overlap. They are aligned to
// the epoch; see [Windows.Offset].
func Tumbling(size time.Duration) Windows {
	w := Windows{a: operator.Assigner{Kind: operator.SlidingWindows}}
	w.a.Size = w.length("size", size)
	w.a.Slide = w.a.Size
	return w
}

// Sliding windows have a fixed size and start every slide. A record is in about
// size/slide of them; a slide greater than size leaves gaps, whose records are
// in none.
func Sliding(size, slide time.Duration) Windows {
	w := Windows{a: operator.Assigner{Kind: operator.SlidingWindows}}
	w.a.Size, w.a.Slide = w.length("size", size), w.length("slide", slide)
	return w
}

// Cumulative windows start every size, as tumbling ones do, and there is one
// for each step in between: it reaches from the start to the end of the step.
// size must be a multiple of step.
func Cumulative(size, step time.Duration) Windows {
	w := Windows{a: operator.Assigner{Kind: operator.CumulativeWindows}}
	w.a.Size, w.a.Slide = w.length("size", size), w.length("step", step)
	if w.bad == "" && w.a.Size%w.a.Slide != 0 {
		w.bad = fmt.Sprintf("size %v is not a multiple of step %v", size, step)
	}
	return w
}

// Session windows reach from a record to gap after it, and merge where they
// overlap or touch: a session ends when no record has come for gap.
func Session(gap time.Duration) Windows {
	w := Windows{a: operator.Assigner{Kind: operator.SessionWindows}}
	w.a.Gap = w.length("gap", gap)
	return w
}

// SessionBy is [Session] with a gap of its own after each record. The job fails
// at a record whose gap is less than a millisecond.
func SessionBy[T any](gap func(T) time.Duration) Windows {
	return Windows{a: operator.Assigner{Kind: operator.SessionWindows, Gap: 1},
		gapOf: func(v *T) int64 { return gap(*v).Milliseconds() }}
}

// Global is one window of all records, which fires when the input ends. For
// unbounded input give it a trigger.
func Global() Windows {
	return Windows{a: operator.Assigner{Kind: operator.GlobalWindows, EndsWithJob: true}}
}

// CountWindow is a window of n records: it fires with each n-th record of a key
// and starts anew. What is left when the input ends is not fired.
func CountWindow(n int) Windows {
	w := Windows{a: operator.Assigner{Kind: operator.GlobalWindows}, count: int64(n)}
	if n < 1 {
		w.bad = fmt.Sprintf("count %d is not greater than 0", n)
	}
	return w
}

// CountSliding fires with each every-th record of a key, with its last n
// records.
func CountSliding(n, every int) Windows {
	w := Windows{a: operator.Assigner{Kind: operator.GlobalWindows}, count: int64(n), every: int64(every)}
	if n < 1 || every < 1 {
		w.bad = fmt.Sprintf("count %d and slide %d must be greater than 0", n, every)
	}
	return w
}

// length is d in milliseconds; what is wrong with it is kept.
func (w *Windows) length(what string, d time.Duration) int64 {
	switch {
	case w.bad != "":
	case d <= 0:
		w.bad = fmt.Sprintf("%s %v is not greater than 0", what, d)
	case d%time.Millisecond != 0:
		w.bad = fmt.Sprintf("%s %v is not a whole number of milliseconds", what, d)
	}
	return max(d.Milliseconds(), 1)
}

// Offset moves the windows by d against the epoch: daily windows that begin at
// midnight in a zone eight hours ahead of UTC have the offset -8h. It must be
// less than the size.
func (w Windows) Offset(d time.Duration) Windows {
	limit := w.a.Size
	if w.a.Kind == operator.SlidingWindows {
		limit = w.a.Slide
	}
	switch {
	case w.bad != "":
	case w.a.Kind != operator.SlidingWindows && w.a.Kind != operator.CumulativeWindows:
		w.bad = "only tumbling, sliding and cumulative windows have an offset"
	case d%time.Millisecond != 0:
		w.bad = fmt.Sprintf("offset %v is not a whole number of milliseconds", d)
	case max(d.Milliseconds(), -d.Milliseconds()) >= limit:
		w.bad = fmt.Sprintf("offset %v is not less than %v", d, time.Duration(limit)*time.Millisecond)
	}
	w.a.Offset = d.Milliseconds()
	return w
}

// ProcessingTime makes the windows those of the time at which records are
// handled. Lateness has no meaning then, and windows that are open when the
// input ends are not fired.
func (w Windows) ProcessingTime() Windows {
	if w.a.Kind == operator.GlobalWindows && w.bad == "" {
		w.bad = "a window without time has no kind of time"
	}
	w.a.Processing = true
	return w
}

// WindowedStream is a keyed stream whose records have been assigned to windows.
// Its methods say when windows fire and, last, what is made of them. Methods
// return changed copies.
type WindowedStream[K comparable, T any] struct {
	k        KeyedStream[K, T]
	w        Windows
	trigger  Trigger
	evictor  *Evictor[T]
	lateness int64
	late     []func(Stream[T])
	all      bool // one subtask
}

// Window assigns each record to the windows of w, key by key.
func (k KeyedStream[K, T]) Window[_ lazy](w Windows) WindowedStream[K, T] {
	x := WindowedStream[K, T]{k: k, w: w}
	if w.bad != "" {
		x.fail("%s", w.bad)
	}
	if w.gapOf != nil {
		if _, ok := w.gapOf.(func(*T) int64); !ok {
			x.fail("SessionBy was given a function for another type of record than %T", *new(T))
			x.w.gapOf = nil
		}
	}
	if w.count > 0 {
		switch {
		case w.every == 0:
			x.trigger = PurgingTrigger(CountTrigger(int(w.count)))
		case w.every > 0:
			x.trigger = CountTrigger(int(w.every))
			e := EvictCount[T](int(w.count))
			x.evictor = &e
		}
	}
	return x
}

// WindowAll assigns windows over the whole stream, in a single subtask.
func (s Stream[T]) WindowAll[_ lazy](w Windows) WindowedStream[struct{}, T] {
	x := keyBy(s, func(_ *record.Cursor, _ *record.Batch[T], live []int32, dst []struct{}) []struct{} {
		return append(dst, make([]struct{}, len(live))...)
	}).Window(w)
	x.all = true
	return x
}

func (w WindowedStream[K, T]) fail(format string, args ...any) {
	w.k.s.job.g.Fail(caller(), "window: "+format, args...)
}

// Trigger sets when windows fire, in place of the default.
func (w WindowedStream[K, T]) Trigger(t Trigger) WindowedStream[K, T] {
	w.trigger = t
	n := t.Needs()
	if b, ok := t.(invalidTrigger); ok {
		w.fail("%s", b.reason)
		w.trigger = NeverTrigger()
		return w
	}
	if n.Cells > operator.MaxTriggerCells {
		w.fail("trigger %s keeps %d numbers for each key and window; %d is the most", n.Name, n.Cells, operator.MaxTriggerCells)
	}
	if w.w.a.Kind == operator.SessionWindows && !n.Merges {
		w.fail("trigger %s cannot be used with sessions: it cannot follow windows that merge", n.Name)
	}
	if c, ok := t.(checkedTrigger); ok {
		if err := c.check(new(T)); err != nil {
			w.fail("%w", err)
		}
	}
	return w
}

// Evictor removes records from a window before or after its function is called.
// The window then keeps all its records, also for aggregates.
func (w WindowedStream[K, T]) Evictor(e Evictor[T]) WindowedStream[K, T] {
	if e.bad != "" {
		w.fail("%s", e.bad)
		return w
	}
	w.evictor = &e
	return w
}

// AllowedLateness keeps a window's state for d after its end, and fires it
// again, with all it then holds, for each record that arrives meanwhile. The
// default is 0. Windows of processing time ignore it.
func (w WindowedStream[K, T]) AllowedLateness(d time.Duration) WindowedStream[K, T] {
	if d < 0 {
		w.fail("lateness %v is negative", d)
		d = 0
	}
	w.lateness = d.Milliseconds()
	return w
}

// LateTo sends records that are too late for all their windows to a sink.
// Without it, or Late, they are counted and dropped.
func (w WindowedStream[K, T]) LateTo[_ lazy](id string, sink Sink[T]) WindowedStream[K, T] {
	w.late = append(slices.Clip(w.late), func(s Stream[T]) { s.To(id, sink) })
	return w
}

// Late sets *into to the stream of records that are too late for all their
// windows, once the window's function is set by one of the methods below.
func (w WindowedStream[K, T]) Late(into *Stream[T]) WindowedStream[K, T] {
	w.late = append(slices.Clip(w.late), func(s Stream[T]) { *into = s })
	return w
}

// node adds the operator and connects late records.
func (w WindowedStream[K, T]) node(id string, op func() operator.Operator) *graph.Node {
	n := w.k.then(id, op)
	if w.all {
		n.Parallelism = 1
		n.MaxParallelism = 1
	}
	for _, f := range w.late {
		f(Stream[T]{job: w.k.s.job, node: n, port: 1})
	}
	return n
}

// plain reports whether windows are fired once, by event time alone.
func (w WindowedStream[K, T]) plain() bool {
	return w.trigger == nil && w.evictor == nil && !w.w.a.Processing && w.lateness == 0
}

// sliced reports whether the operator that works by slices can do it; merges
// says that contents can be merged.
func (w WindowedStream[K, T]) sliced(merges bool) bool {
	a := w.w.a
	if !w.plain() || a.Kind == operator.SessionWindows || a.Kind == operator.GlobalWindows && !a.EndsWithJob {
		return false
	}
	return merges || a.Kind == operator.GlobalWindows || a.Slide >= a.Size
}

func (w WindowedStream[K, T]) gapOf() func(*T) int64 {
	f, _ := w.w.gapOf.(func(*T) int64)
	return f
}

// checkStored reports a mistake if values of V cannot be kept in state.
func checkStored[V any](job *Job, what string) {
	if _, err := codec.Of[V](); err != nil {
		job.g.Fail(caller(), "window: %s: %w", what, err)
	}
}

// fold adds the operator of an aggregate; result fills out with the result of
// one key and window.
func fold[K comparable, T, Acc, R any](w WindowedStream[K, T], id string, agg operator.Aggregate[T, Acc], result func(out *R, key K, win Window, acc *Acc)) Stream[R] {
	checkStored[Acc](w.k.s.job, "accumulator")
	if w.w.a.Kind == operator.SessionWindows && agg.Merge == nil {
		w.fail("an aggregate over sessions needs Merge: sessions merge")
	}
	var op func() operator.Operator
	switch {
	case w.evictor != nil:
		return overRecords(w, id, func(o *general[K, T, []operator.Elem[T], R], recs []operator.Elem[T]) {
			var acc Acc
			for i := range recs {
				agg.Add(&acc, &recs[i].Value)
			}
			result(o.Out.Next(o.Window.MaxTimestamp()), o.Global.Key, o.Window, &acc)
		})
	case w.sliced(agg.Merge != nil):
		op = func() operator.Operator {
			return &operator.Slices[K, T, Acc, R]{Windows: w.w.a, Agg: agg, Result: result}
		}
	case w.plain() && w.w.a.Kind == operator.SessionWindows:
		op = func() operator.Operator {
			return &operator.Sessions[K, T, Acc, R]{Gap: w.w.a.Gap, GapOf: w.gapOf(), Agg: agg, Result: result}
		}
	default:
		op = func() operator.Operator {
			return &operator.Windowed[K, T, Acc, R]{Windows: w.w.a, GapOf: w.gapOf(), Trigger: w.trigger, Lateness: w.lateness,
				Add: func(acc *Acc, in *T, _ int64) { agg.Add(acc, in) }, Merge: agg.Merge,
				Fire: func(o *operator.Windowed[K, T, Acc, R], acc *Acc) bool {
					result(o.Out.Next(o.Window.MaxTimestamp()), o.Global.Key, o.Window, acc)
					return false
				}}
		}
	}
	return Stream[R]{job: w.k.s.job, node: w.node(id, op)}
}

// general is the operator for every kind of window.
type general[K comparable, T, Acc, R any] = operator.Windowed[K, T, Acc, R]

// overRecords adds the operator of a function over all records of a window,
// which are stored with their event times, and handles the evictor.
func overRecords[K comparable, T, R any](w WindowedStream[K, T], id string, f func(o *general[K, T, []operator.Elem[T], R], recs []operator.Elem[T])) Stream[R] {
	checkStored[T](w.k.s.job, "records")
	op := func() operator.Operator { return recordsOperator(w, f) }
	return Stream[R]{job: w.k.s.job, node: w.node(id, op)}
}

// recordsOperator makes the operator of overRecords.
func recordsOperator[K comparable, T, R any](w WindowedStream[K, T], f func(o *general[K, T, []operator.Elem[T], R], recs []operator.Elem[T])) *general[K, T, []operator.Elem[T], R] {
	type recs = []operator.Elem[T]
	ev := w.evictor
	return &operator.Windowed[K, T, recs, R]{Windows: w.w.a, GapOf: w.gapOf(), Trigger: w.trigger, Lateness: w.lateness,
		Add:   func(acc *recs, in *T, at int64) { *acc = append(*acc, operator.Elem[T]{Value: *in, At: at}) },
		Merge: func(into, from *recs) { *into = append(slices.Clip(*into), *from...) },
		Fire: func(o *operator.Windowed[K, T, recs, R], acc *recs) bool {
			if ev == nil {
				f(o, *acc)
				return false
			}
			*acc = ev.evict(*acc, o.Window, !ev.after)
			f(o, *acc)
			*acc = ev.evict(*acc, o.Window, ev.after)
			return len(*acc) == 0
		}}
}

// Count counts the records of each key and window.
func (w WindowedStream[K, T]) Count[_ lazy](id string) Stream[Result[K, int64]] {
	return fold(w, id, counting[T](), func(out *Result[K, int64], key K, win Window, acc *int64) {
		out.Key, out.Window, out.Value = key, win, *acc
	})
}

// Reduced is what Reduce keeps of a key and window.
type reduced[T any] struct {
	Value T
	Any   bool
}

// Reduce folds the records of each key and window two at a time. f must be
// associative: windows that overlap share parts of the work. It must not change
// what its arguments point to.
func (w WindowedStream[K, T]) Reduce[_ lazy](id string, f func(a, b T) T) Stream[T] {
	return w.ReduceRef(id, func(into, rec *T) { *into = f(*into, *rec) })
}

// ReduceRef is [WindowedStream.Reduce] by reference: f folds rec into into.
func (w WindowedStream[K, T]) ReduceRef[_ lazy](id string, f func(into, rec *T)) Stream[T] {
	agg := operator.Aggregate[T, reduced[T]]{
		Add: func(acc *reduced[T], in *T) {
			if !acc.Any {
				acc.Value, acc.Any = *in, true
				return
			}
			f(&acc.Value, in)
		},
		Merge: func(into, from *reduced[T]) {
			if !into.Any {
				*into = *from
				return
			}
			f(&into.Value, &from.Value)
		},
	}
	return fold(w, id, agg, func(out *T, _ K, _ Window, acc *reduced[T]) { *out = acc.Value })
}

// Aggregate folds the records of each key and window into an accumulator.
func (w WindowedStream[K, T]) Aggregate[Acc, Out any](id string, a Aggregator[T, Acc, Out]) Stream[Result[K, Out]] {
	agg, finish, err := a.engine()
	if err != nil {
		w.fail("aggregate %q: %w", id, err)
		return Stream[Result[K, Out]]{job: w.k.s.job, node: w.node(id, nil)}
	}
	return fold(w, id, agg, func(out *Result[K, Out], key K, win Window, acc *Acc) {
		out.Key, out.Window = key, win
		finish(&out.Value, acc)
	})
}

// AggregateApply is [WindowedStream.Aggregate] with a function that makes any
// number of records of each result.
func (w WindowedStream[K, T]) AggregateApply[Acc, V, Out any](id string, a Aggregator[T, Acc, V], f func(key K, win Window, value V, emit func(Out))) Stream[Out] {
	agg, finish, err := a.engine()
	if err != nil {
		w.fail("aggregate %q: %w", id, err)
		return Stream[Out]{job: w.k.s.job, node: w.node(id, nil)}
	}
	checkStored[Acc](w.k.s.job, "accumulator")
	if w.w.a.Kind == operator.SessionWindows && agg.Merge == nil {
		w.fail("an aggregate over sessions needs Merge: sessions merge")
	}
	if w.evictor != nil {
		return overRecords(w, id, func(o *general[K, T, []operator.Elem[T], Out], recs []operator.Elem[T]) {
			var acc Acc
			for i := range recs {
				agg.Add(&acc, &recs[i].Value)
			}
			var v V
			finish(&v, &acc)
			f(o.Global.Key, o.Window, v, o.Emit)
		})
	}
	if w.sliced(agg.Merge != nil) {
		return Stream[Out]{job: w.k.s.job, node: w.node(id, func() operator.Operator {
			return &operator.Slices[K, T, Acc, Out]{Windows: w.w.a, Agg: agg,
				Results: func(key K, win Window, acc *Acc, emit func(Out)) {
					var v V
					finish(&v, acc)
					f(key, win, v, emit)
				}}
		})}
	}
	if w.plain() && w.w.a.Kind == operator.SessionWindows {
		return Stream[Out]{job: w.k.s.job, node: w.node(id, func() operator.Operator {
			return &operator.Sessions[K, T, Acc, Out]{Gap: w.w.a.Gap, GapOf: w.gapOf(), Agg: agg,
				Results: func(key K, win Window, acc *Acc, emit func(Out)) {
					var v V
					finish(&v, acc)
					f(key, win, v, emit)
				}}
		})}
	}
	return Stream[Out]{job: w.k.s.job, node: w.node(id, func() operator.Operator {
		return &operator.Windowed[K, T, Acc, Out]{Windows: w.w.a, GapOf: w.gapOf(), Trigger: w.trigger, Lateness: w.lateness,
			Add: func(acc *Acc, in *T, _ int64) { agg.Add(acc, in) }, Merge: agg.Merge,
			Fire: func(o *operator.Windowed[K, T, Acc, Out], acc *Acc) bool {
				var v V
				finish(&v, acc)
				f(o.Global.Key, o.Window, v, o.Emit)
				return false
			}}
	})}
}

// Apply keeps all records of a window and hands them over when it fires, in the
// order in which they came. recs and emit must not be used after f returned.
func (w WindowedStream[K, T]) Apply[Out any](id string, f func(key K, win Window, recs iter.Seq[T], emit func(Out))) Stream[Out] {
	if w.sliced(false) {
		checkStored[T](w.k.s.job, "records")
		agg := operator.Aggregate[T, []T]{Add: func(acc *[]T, in *T) { *acc = append(*acc, *in) }}
		return Stream[Out]{job: w.k.s.job, node: w.node(id, func() operator.Operator {
			return &operator.Slices[K, T, []T, Out]{Windows: w.w.a, Agg: agg, Grows: true,
				Results: func(key K, win Window, acc *[]T, emit func(Out)) { f(key, win, slices.Values(*acc), emit) }}
		})}
	}
	return overRecords(w, id, func(o *general[K, T, []operator.Elem[T], Out], recs []operator.Elem[T]) {
		f(o.Global.Key, o.Window, values(recs), o.Emit)
	})
}

// values iterates over the records of elems.
func values[T any](elems []operator.Elem[T]) iter.Seq[T] {
	return func(yield func(T) bool) {
		for i := range elems {
			if !yield(elems[i].Value) {
				return
			}
		}
	}
}
