// Package watermark decides how far event time has come: at an operator with
// many input channels ([Merger], [Inputs]), in a source subtask with many
// splits ([Splits]), and over the sources of an alignment group ([Group]).
//
// Everything here is a pure machine. It is told what happened and answers with
// what to send on; it reads no clock, starts no goroutine and holds no records.
// When the periodic tick runs, how changes travel and what a timer does with a
// new watermark are the business of the caller. Each machine is owned by one
// goroutine and is not safe for concurrent use.
//
// Event time is an int64 of milliseconds since the epoch. Processing time is a
// [time.Time], so that the two cannot be mixed up.
package watermark

import (
	"fmt"
	"math"
	"time"
)

// Watermark t promises that no more events with a timestamp <= t will come.
const (
	// None is the watermark before the first one. It promises nothing. As a
	// timestamp it means that an event has none.
	None int64 = math.MinInt64
	// End is the watermark at the end of input. It stands for the end and for
	// nothing else: sending End is the same as sending the status [Finished].
	End int64 = math.MaxInt64
)

// Status says whether a channel, an input or a subtask takes part in event
// time.
type Status uint8

const (
	// Active means that watermarks are to be waited for. It is the status at
	// the start.
	Active Status = iota
	// Idle means that nothing is to be waited for at present.
	Idle
	// Finished means that nothing will come again. It is final.
	Finished
)

// String returns the status in lower case.
func (s Status) String() string {
	switch s {
	case Active:
		return "active"
	case Idle:
		return "idle"
	case Finished:
		return "finished"
	}
	return fmt.Sprintf("status(%d)", uint8(s))
}

// A Change is what a machine wants sent on. The zero Change asks for nothing.
//
// When both parts are set, a switch to [Active] goes before the watermark, and
// any other switch goes after it: a receiver ignores the watermarks of an idle
// channel.
type Change struct {
	Watermark int64  // the new output watermark, if Advanced
	Status    Status // the new output status, if Switched
	Advanced  bool   // the output watermark has grown
	Switched  bool   // the output status is another one
}

// Any reports whether there is anything to send.
func (c Change) Any() bool { return c.Advanced || c.Switched }

// String writes the change in the order in which it is to be sent.
func (c Change) String() string {
	advance := fmt.Sprintf("watermark %s", Format(c.Watermark))
	switch {
	case c.Advanced && c.Switched && c.Status == Active:
		return c.Status.String() + ", " + advance
	case c.Advanced && c.Switched:
		return advance + ", " + c.Status.String()
	case c.Advanced:
		return advance
	case c.Switched:
		return c.Status.String()
	}
	return "nothing"
}

// Format writes a watermark for people: the number, or "none" or "end".
func Format(t int64) string {
	switch t {
	case None:
		return "none"
	case End:
		return "end"
	}
	return fmt.Sprint(t)
}

// add returns t + d without running over either end. It never makes End out of
// another time.
func add(t, d int64) int64 {
	switch {
	case t == None || t == End:
		return t
	case d > 0 && t > End-1-d:
		return End - 1
	case d < 0 && t < None-d:
		return None
	}
	return t + d
}

// millisUp converts d to milliseconds and rounds up, so that what was promised
// in nanoseconds still holds. It panics if d is negative.
func millisUp(what string, d time.Duration) int64 {
	if d < 0 {
		panic(fmt.Sprintf("watermark: %s %v is negative", what, d))
	}
	return int64((d-1)/time.Millisecond) + min(1, int64(d))
}

// combined is the output of a minimum over parts that may be idle or finished.
type combined struct {
	out    int64
	status Status
}

// update takes the minimum over the active parts and whether there are active
// and idle parts at all. An output never goes back: a part that returns from
// being idle with an old watermark holds the output where it is.
func (c *combined) update(minimum int64, active, idle bool) Change {
	var ch Change
	status := Finished
	if active {
		status = Active
	} else if idle {
		status = Idle
	}
	if status == Finished {
		minimum = End
	}
	if status != Idle && minimum > c.out {
		c.out = minimum
		ch.Watermark, ch.Advanced = minimum, true
	}
	if status != c.status {
		c.status = status
		ch.Status, ch.Switched = status, true
	}
	return ch
}
