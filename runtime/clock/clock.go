// Package clock is the only way the engine learns what time it is, so that
// tests and simulations can say it instead.
package clock

import (
	"sync/atomic"
	"time"
)

// A Clock tells the time. Now never goes back for one Clock.
type Clock interface {
	// Now is the time in nanoseconds since the Unix epoch.
	Now() int64
}

// System is the machine's clock.
type System struct{}

// Now implements [Clock].
func (System) Now() int64 { return time.Now().UnixNano() }

// Millis is the processing time of c in milliseconds since the Unix epoch.
func Millis(c Clock) int64 { return c.Now() / int64(time.Millisecond) }

// Manual is a clock that a test moves. The zero Manual stands at the epoch. It
// is safe for concurrent use.
type Manual struct{ now atomic.Int64 }

// Now implements [Clock].
func (m *Manual) Now() int64 { return m.now.Load() }

// Set moves the clock to t nanoseconds since the epoch; an earlier time is
// ignored.
func (m *Manual) Set(t int64) {
	for {
		was := m.now.Load()
		if t <= was || m.now.CompareAndSwap(was, t) {
			return
		}
	}
}
