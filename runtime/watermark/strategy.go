package watermark

import (
	"fmt"
	"time"
)

// A Strategy says how the watermarks of a split follow from the timestamps of
// its events. The zero Strategy is [NoWatermarks].
type Strategy struct {
	kind  kind
	delay int64 // milliseconds, for bounded
}

type kind uint8

const (
	never kind = iota
	bounded
	custom
)

// NoWatermarks never makes a watermark before the end of input. It is for jobs
// that do not look at event time.
func NoWatermarks() Strategy { return Strategy{} }

// Monotonous is for events whose timestamps never go back within a split. The
// watermark is the largest timestamp minus one millisecond, since events of
// that very timestamp may still come.
func Monotonous() Strategy { return Strategy{kind: bounded} }

// BoundedOutOfOrderness is for events that come at most d after a later one of
// the same split: the watermark is the largest timestamp minus d minus one
// millisecond. Parts of a millisecond are rounded up. It panics if d is
// negative.
func BoundedOutOfOrderness(d time.Duration) Strategy {
	return Strategy{kind: bounded, delay: millisUp("out-of-orderness", d)}
}

// Custom leaves the watermarks to a [Generator] that the caller runs; what it
// emits goes to [Split.Advance].
func Custom() Strategy { return Strategy{kind: custom} }

// String names the strategy.
func (s Strategy) String() string {
	switch {
	case s.kind == never:
		return "none"
	case s.kind == custom:
		return "custom"
	case s.delay == 0:
		return "monotonous"
	}
	return fmt.Sprintf("bounded %dms", s.delay)
}

// start is the largest timestamp to assume before the first event, chosen so
// that the watermark does not underflow.
func (s Strategy) start() int64 { return None + s.delay + 1 }

// watermark returns the watermark after largest, which is >= start().
func (s Strategy) watermark(largest int64) int64 {
	if s.kind != bounded {
		return None
	}
	return largest - s.delay - 1
}

// Lag is how far behind the largest timestamp an event has to be for what
// becomes of it to depend on the watermark after that timestamp: it is late, or
// next to the watermark and there is a bound that it exceeds. ok is false if the
// strategy does not say.
func (s Strategy) Lag() (millis int64, ok bool) {
	if s.delay > 0 {
		return s.delay, s.kind == bounded
	}
	return 1, s.kind == bounded
}

// A Generator makes the watermarks of one split in a way of the user's own. It
// returns the watermark it wants sent, or [None] to send nothing; one that is
// not above the last is ignored. Each split has a generator of its own, called
// by one goroutine.
type Generator[T any] interface {
	// OnEvent is called for every event. The event is lent for the call.
	OnEvent(event *T, timestamp int64) int64
	// OnPeriodic is called at every periodic tick.
	OnPeriodic() int64
}
