package pebble

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// A gate lets no compaction begin before the database is open: Pebble's Open
// ends with a look for files that nobody needs, and waits for the compactions
// that it has started itself. Without the gate a restore took as long as the
// first of them, seconds where the image had something to compact.
//
// The scheduler under it is the one without a timer: a timer would grant
// compactions past the gate.
type gate struct {
	*pebble.ConcurrencyLimitScheduler
	opened atomic.Bool
}

func newGate() *gate {
	return &gate{ConcurrencyLimitScheduler: pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()}
}

// open lets compactions begin. One that was refused waits to be granted, and
// others behind it: the end of a compaction that never was grants it.
func (g *gate) open() {
	g.opened.Store(true)
	if ok, none := g.ConcurrencyLimitScheduler.TrySchedule(); ok {
		none.Done()
	}
}

func (g *gate) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !g.opened.Load() {
		return false, nil
	}
	return g.ConcurrencyLimitScheduler.TrySchedule()
}
