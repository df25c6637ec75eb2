package watermark

import "time"

// A Group is the coordinator of watermark alignment: it knows the last
// watermark that each source subtask of the group has reported and says how far
// any of them may go. K identifies a subtask among all sources of the group.
//
// The caller passes on the result of [Group.MaxAllowed] to every subtask at each
// update interval, and reports that come late or twice do no harm.
type Group[K comparable] struct {
	drift    int64
	reported map[K]int64
}

// NewGroup returns a group in which no subtask may be more than maxDrift ahead
// of the slowest. It panics if maxDrift is negative.
func NewGroup[K comparable](maxDrift time.Duration) *Group[K] {
	return &Group[K]{drift: millisUp("alignment drift", maxDrift), reported: make(map[K]int64)}
}

// Report records the watermark of a subtask, as [Splits.Report] returns it: End
// means that the subtask is idle or finished and does not count. None means
// that it has no watermark yet; it does not count either, for one subtask that
// waits for its first event would stop all others.
func (g *Group[K]) Report(subtask K, watermark int64) {
	if watermark == None || watermark == End {
		delete(g.reported, subtask)
		return
	}
	g.reported[subtask] = watermark
}

// Remove forgets a subtask that is gone.
func (g *Group[K]) Remove(subtask K) { delete(g.reported, subtask) }

// Low returns the smallest reported watermark, or End if none counts.
func (g *Group[K]) Low() int64 {
	low := End
	for _, t := range g.reported {
		low = min(low, t)
	}
	return low
}

// MaxAllowed returns the largest watermark a split may have and still be read:
// the smallest reported one plus the drift, or End if none counts.
func (g *Group[K]) MaxAllowed() int64 { return add(g.Low(), g.drift) }

// Drift returns how far, in milliseconds, own is ahead of the slowest subtask.
// It is 0 when there is nothing to compare.
func (g *Group[K]) Drift(own int64) int64 {
	low := g.Low()
	if low == End || own == None || own == End || own < low {
		return 0
	}
	if low < 0 && own > End+low {
		return End
	}
	return own - low
}
