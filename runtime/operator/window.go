package operator

import (
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/millrace/millrace/runtime/record"
)

// Window is the half-open span [StartMillis, EndMillis) of time, both in
// milliseconds since the epoch. Two integers and not two time.Time: a result
// carries its window, and 16 bytes are copied where 48 would be. The window of
// everything reaches from the least to the greatest integer.
type Window struct{ StartMillis, EndMillis int64 }

// Everything is the only window of an assigner that does not look at time.
var Everything = Window{math.MinInt64, math.MaxInt64}

// Start is the first instant in the window.
func (w Window) Start() time.Time { return time.UnixMilli(w.StartMillis).UTC() }

// End is the first instant behind the window.
func (w Window) End() time.Time { return time.UnixMilli(w.EndMillis).UTC() }

// MaxTimestamp is the last millisecond in the window, the event time of its
// results.
func (w Window) MaxTimestamp() int64 {
	if w.EndMillis == math.MaxInt64 {
		return math.MaxInt64
	}
	return w.EndMillis - 1
}

// String prints the window with its bounds in UTC.
func (w Window) String() string {
	if w == Everything {
		return "[everything]"
	}
	return "[" + FormatMillis(w.StartMillis) + ", " + FormatMillis(w.EndMillis) + ")"
}

// WindowKind says how records get their windows.
type WindowKind uint8

const (
	// SlidingWindows start every Slide and are Size long; tumbling windows are
	// those with Slide equal to Size.
	SlidingWindows WindowKind = iota
	// CumulativeWindows start every Size and end at each further Slide, up to
	// Size.
	CumulativeWindows
	// SessionWindows reach from a record to Gap after it and merge where they
	// meet.
	SessionWindows
	// GlobalWindows put everything in one window.
	GlobalWindows
)

// Assigner says which windows a record belongs to. Lengths are milliseconds.
type Assigner struct {
	Kind        WindowKind
	Size, Slide int64
	Offset      int64
	Gap         int64
	Processing  bool // by processing time
	EndsWithJob bool // a global window that fires when all input has ended
}

// floor is the largest multiple of step, moved by offset, that is not above
// ts.
func floor(ts, offset, step int64) int64 {
	r := (ts - offset) % step
	if r < 0 {
		r += step
	}
	return ts - r
}

// slice returns the slice that ts lies in: the longest span around ts that no
// window of a begins or ends within. ok false means that no window holds ts.
func (a *Assigner) slice(ts int64) (start, end int64, ok bool) {
	switch a.Kind {
	case GlobalWindows:
		return math.MinInt64, math.MaxInt64, true
	case CumulativeWindows:
		s := floor(ts, a.Offset, a.Slide)
		return s, s + a.Slide, true
	}
	s := floor(ts, a.Offset, a.Slide)
	cut := s + a.Size%a.Slide // windows that began earlier end here
	switch {
	case cut == s:
		return s, s + a.Slide, true
	case ts < cut:
		return s, cut, true
	case a.Size < a.Slide:
		return 0, 0, false
	}
	return cut, s + a.Slide, true
}

// single reports whether every window is one slice.
func (a *Assigner) single() bool {
	return a.Kind == GlobalWindows || a.Slide >= a.Size
}

// endFrom is the first end of a window that is not before the slice end.
func (a *Assigner) endFrom(end int64) int64 {
	if a.Kind == GlobalWindows {
		return math.MaxInt64
	}
	at := a.Offset
	if a.Kind == SlidingWindows {
		at += a.Size
	}
	return floor(end+a.Slide-1, at, a.Slide)
}

// lastEnd is the end of the last window that holds the slice [start, end).
func (a *Assigner) lastEnd(start, end int64) int64 {
	switch a.Kind {
	case GlobalWindows:
		return math.MaxInt64
	case CumulativeWindows:
		return floor(start, a.Offset, a.Size) + a.Size
	}
	return floor(start, a.Offset, a.Slide) + a.Size
}

// startOf is the start of the window that ends at end.
func (a *Assigner) startOf(end int64) int64 {
	switch a.Kind {
	case GlobalWindows:
		return math.MinInt64
	case CumulativeWindows:
		return floor(end-1, a.Offset, a.Size)
	}
	return end - a.Size
}

// keepFrom is the start of the window that ends next after the one that ends
// at end: what lies before it is no longer needed.
func (a *Assigner) keepFrom(end int64) int64 {
	switch a.Kind {
	case GlobalWindows:
		return math.MaxInt64
	case CumulativeWindows:
		return a.startOf(end + a.Slide)
	}
	return end + a.Slide - a.Size
}

// assign appends the windows of a record at ts to dst.
func (a *Assigner) assign(dst []Window, ts int64) []Window {
	switch a.Kind {
	case GlobalWindows:
		return append(dst, Everything)
	case SessionWindows:
		return append(dst, Window{ts, ts + a.Gap})
	case CumulativeWindows:
		s := floor(ts, a.Offset, a.Size)
		for e := floor(ts, a.Offset, a.Slide) + a.Slide; e <= s+a.Size; e += a.Slide {
			dst = append(dst, Window{s, e})
		}
		return dst
	}
	for s := floor(ts, a.Offset, a.Slide); s > ts-a.Size; s -= a.Slide {
		dst = append(dst, Window{s, s + a.Size})
	}
	return dst
}

// Aggregate folds records of In into an Acc, which starts out as the zero Acc.
type Aggregate[In, Acc any] struct {
	// Add takes a record in.
	Add func(*Acc, *In)
	// AddEach, if not nil, is Add for many: rows[live[i]] into accs[i]. The
	// same accumulator may come more than once.
	AddEach func(accs []*Acc, rows []In, live []int32)
	// Merge takes the records of from into into. It does not change from, nor
	// keep what from points to.
	Merge func(into, from *Acc)
	// Subtract undoes a Merge, exactly. Optional.
	Subtract func(from, what *Acc)
}

// mutable reports whether values of t point to memory that code given such a
// value could change: anything but what strings point to.
func mutable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128, reflect.String:
		return false
	case reflect.Array:
		return t.Len() > 0 && mutable(t.Elem())
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return false // points to its zone, which nobody changes
		}
		for f := range t.Fields() {
			if mutable(f.Type) {
				return true
			}
		}
		return false
	}
	return true
}

// errNoTime is the error for a record without event time in a window of event
// time.
func errNoTime(a *Assigner) error {
	return fmt.Errorf("window: the record has no event time: give the stream one with EventTime, or use windows of processing time")
}

// lateness decides whether a record behind all its windows is sent on or
// counted.
type lateOutput[In any] struct {
	out     Emitter[In]
	dropped int64
}

func (l *lateOutput[In]) late(v *In, at int64) {
	if l.out.Connected() {
		*l.out.Next(at) = *v
		return
	}
	l.dropped++
}

// hasTime reports whether at is an event time.
func hasTime(at int64) bool { return at != record.NoTime }

// Elem is a record with its event time, as windows that keep their records
// store it.
type Elem[T any] struct {
	Value T
	At    int64
}
