package operator

import "math"

// CountTrigger fires with each N-th record.
type CountTrigger struct {
	passive
	N int64
}

// passive is what triggers without timers do about timers.
type passive struct{}

// OnEventTime implements [Trigger].
func (passive) OnEventTime(*TriggerContext, int64, Window) TriggerResult { return Continue }

// OnProcessingTime implements [Trigger].
func (passive) OnProcessingTime(*TriggerContext, int64, Window) TriggerResult { return Continue }

// OnMerge implements [Trigger].
func (passive) OnMerge(*TriggerContext, Window) {}

// Clear implements [Trigger].
func (passive) Clear(*TriggerContext, Window) {}

// OnElement implements [Trigger].
func (t CountTrigger) OnElement(c *TriggerContext, _ any, _ int64, _ Window) TriggerResult {
	n := c.Cell(0)
	*n++
	if *n < t.N {
		return Continue
	}
	*n = 0
	return Fire
}

// OnMerge implements [Trigger].
func (t CountTrigger) OnMerge(c *TriggerContext, _ Window) {
	c.Merged(0, func(n int64) { *c.Cell(0) += n })
}

// Needs implements [Trigger].
func (CountTrigger) Needs() TriggerNeeds { return TriggerNeeds{Cells: 1, Merges: true, Name: "count"} }

// ContinuousTrigger fires at every multiple of Interval milliseconds and at the
// end of the window.
type ContinuousTrigger struct {
	Interval   int64
	Processing bool
}

// The next firing stands in cell 0; cell 1 says that there is one.

func (t ContinuousTrigger) set(c *TriggerContext, at int64) {
	if t.Processing {
		c.SetProcessingTimer(at)
	} else {
		c.SetTimer(at)
	}
}

// next arms the firing behind at.
func (t ContinuousTrigger) next(c *TriggerContext, at int64, w Window) {
	r := at % t.Interval
	next := min(at-r+t.Interval, w.MaxTimestamp())
	if !t.Processing && c.Watermark == math.MaxInt64 && w.EndMillis == math.MaxInt64 {
		next = math.MaxInt64 // event time is over: there is no multiple of it to come
	}
	*c.Cell(0), *c.Cell(1) = next, 1
	t.set(c, next)
}

// OnElement implements [Trigger].
func (t ContinuousTrigger) OnElement(c *TriggerContext, _ any, at int64, w Window) TriggerResult {
	if t.Processing {
		at = c.Now
	} else {
		if w.MaxTimestamp() <= c.Watermark {
			return Fire
		}
		c.SetTimer(w.MaxTimestamp())
	}
	if *c.Cell(1) == 0 {
		t.next(c, at, w)
	}
	return Continue
}

// OnEventTime implements [Trigger].
func (t ContinuousTrigger) OnEventTime(c *TriggerContext, at int64, w Window) TriggerResult {
	if t.Processing {
		return Continue
	}
	if at == w.MaxTimestamp() {
		*c.Cell(0), *c.Cell(1) = 0, 0
		return Fire
	}
	return t.fired(c, at, w)
}

// OnProcessingTime implements [Trigger].
func (t ContinuousTrigger) OnProcessingTime(c *TriggerContext, at int64, w Window) TriggerResult {
	if !t.Processing {
		return Continue
	}
	return t.fired(c, at, w)
}

func (t ContinuousTrigger) fired(c *TriggerContext, at int64, w Window) TriggerResult {
	if *c.Cell(1) == 0 || *c.Cell(0) != at {
		return Continue
	}
	*c.Cell(0), *c.Cell(1) = 0, 0
	if at < w.MaxTimestamp() {
		t.next(c, at, w)
	}
	return Fire
}

// OnMerge implements [Trigger].
func (t ContinuousTrigger) OnMerge(c *TriggerContext, w Window) {
	first, any := int64(math.MaxInt64), false
	var nexts []int64
	c.Merged(0, func(n int64) { nexts = append(nexts, n) })
	i := 0
	c.Merged(1, func(set int64) {
		if set != 0 {
			first, any = min(first, nexts[i]), true
		}
		i++
	})
	if any {
		*c.Cell(0), *c.Cell(1) = first, 1
		t.set(c, first)
	}
	if !t.Processing && w.MaxTimestamp() > c.Watermark {
		c.SetTimer(w.MaxTimestamp())
	}
}

// Clear implements [Trigger].
func (t ContinuousTrigger) Clear(c *TriggerContext, w Window) {
	if !t.Processing {
		c.DeleteTimer(w.MaxTimestamp())
	}
	if *c.Cell(1) != 0 {
		if t.Processing {
			c.DeleteProcessingTimer(*c.Cell(0))
		} else {
			c.DeleteTimer(*c.Cell(0))
		}
		*c.Cell(0), *c.Cell(1) = 0, 0
	}
}

// Needs implements [Trigger].
func (ContinuousTrigger) Needs() TriggerNeeds {
	return TriggerNeeds{Cells: 2, Merges: true, Name: "continuous"}
}

// PurgingTrigger makes every firing of Inner one that purges.
type PurgingTrigger struct{ Inner Trigger }

func purging(r TriggerResult) TriggerResult {
	if r&Fire != 0 {
		return FireAndPurge
	}
	return r
}

// OnElement implements [Trigger].
func (t PurgingTrigger) OnElement(c *TriggerContext, rec any, at int64, w Window) TriggerResult {
	return purging(t.Inner.OnElement(c, rec, at, w))
}

// OnEventTime implements [Trigger].
func (t PurgingTrigger) OnEventTime(c *TriggerContext, at int64, w Window) TriggerResult {
	return purging(t.Inner.OnEventTime(c, at, w))
}

// OnProcessingTime implements [Trigger].
func (t PurgingTrigger) OnProcessingTime(c *TriggerContext, at int64, w Window) TriggerResult {
	return purging(t.Inner.OnProcessingTime(c, at, w))
}

// OnMerge implements [Trigger].
func (t PurgingTrigger) OnMerge(c *TriggerContext, w Window) { t.Inner.OnMerge(c, w) }

// Clear implements [Trigger].
func (t PurgingTrigger) Clear(c *TriggerContext, w Window) { t.Inner.Clear(c, w) }

// Needs implements [Trigger].
func (t PurgingTrigger) Needs() TriggerNeeds {
	n := t.Inner.Needs()
	n.Name = "purging " + n.Name
	return n
}

// TimeoutTrigger fires as Inner does and after Timeout milliseconds of
// processing time.
type TimeoutTrigger struct {
	Inner   Trigger
	Timeout int64
	// Reset starts the time anew with each record, ClearInner clears Inner
	// when it is over.
	Reset, ClearInner bool
}

var timeoutCells = TriggerNeeds{Cells: 2} // the timer, and whether it is set

func (t TimeoutTrigger) disarm(c *TriggerContext) {
	if *c.Cell(1) != 0 {
		c.DeleteProcessingTimer(*c.Cell(0))
		*c.Cell(0), *c.Cell(1) = 0, 0
	}
}

// OnElement implements [Trigger].
func (t TimeoutTrigger) OnElement(c *TriggerContext, rec any, at int64, w Window) TriggerResult {
	r := c.Within(timeoutCells, func() TriggerResult { return t.Inner.OnElement(c, rec, at, w) })
	if r&Fire != 0 {
		t.startOver(c, w)
		return r
	}
	if *c.Cell(1) != 0 && t.Reset {
		t.disarm(c)
	}
	if *c.Cell(1) == 0 {
		*c.Cell(0), *c.Cell(1) = c.Now+t.Timeout, 1
		c.SetProcessingTimer(*c.Cell(0))
	}
	return r
}

// OnEventTime implements [Trigger].
func (t TimeoutTrigger) OnEventTime(c *TriggerContext, at int64, w Window) TriggerResult {
	r := c.Within(timeoutCells, func() TriggerResult { return t.Inner.OnEventTime(c, at, w) })
	if r&Fire != 0 {
		t.startOver(c, w)
	}
	return r
}

// OnProcessingTime implements [Trigger].
func (t TimeoutTrigger) OnProcessingTime(c *TriggerContext, at int64, w Window) TriggerResult {
	// The timer may be Inner's as well.
	r := c.Within(timeoutCells, func() TriggerResult { return t.Inner.OnProcessingTime(c, at, w) })
	over := *c.Cell(1) != 0 && *c.Cell(0) == at
	if over {
		*c.Cell(0), *c.Cell(1) = 0, 0
		if t.ClearInner {
			t.startOver(c, w)
		}
		return r | Fire
	}
	if r&Fire != 0 {
		t.startOver(c, w)
	}
	return r
}

// startOver makes the trigger one that has seen no record.
func (t TimeoutTrigger) startOver(c *TriggerContext, w Window) {
	t.disarm(c)
	c.reset(timeoutCells, t.Inner, w)
}

// OnMerge implements [Trigger].
func (TimeoutTrigger) OnMerge(*TriggerContext, Window) {}

// Clear implements [Trigger].
func (t TimeoutTrigger) Clear(c *TriggerContext, w Window) {
	t.disarm(c)
	c.Within(timeoutCells, func() TriggerResult { t.Inner.Clear(c, w); return Continue })
}

// Needs implements [Trigger].
func (t TimeoutTrigger) Needs() TriggerNeeds {
	n := t.Inner.Needs()
	return TriggerNeeds{Cells: n.Cells + 2, Records: n.Records, Name: "processing timeout of " + n.Name}
}

// DeltaTrigger fires for records that differ from the one that fired last by
// more than Threshold. Delta is given pointers to records.
type DeltaTrigger struct {
	passive
	Threshold float64
	Delta     func(last, rec any) float64
}

// OnElement implements [Trigger].
func (t DeltaTrigger) OnElement(c *TriggerContext, rec any, _ int64, _ Window) TriggerResult {
	last := c.Kept(0)
	if last == nil {
		c.Keep(0, rec)
		return Continue
	}
	if t.Delta(last, rec) > t.Threshold {
		c.Keep(0, rec)
		return Fire
	}
	return Continue
}

// Needs implements [Trigger].
func (DeltaTrigger) Needs() TriggerNeeds { return TriggerNeeds{Records: 1, Name: "delta"} }

// CompositeTrigger fires when one of its triggers does, or with All when each
// has since it fired last. It purges when one that fires does.
type CompositeTrigger struct {
	All bool
	Of  []Trigger
}

var compositeCells = TriggerNeeds{Cells: 2} // bits: who has fired, and whether one purged

func (t CompositeTrigger) each(c *TriggerContext, f func(Trigger) TriggerResult) (r TriggerResult) {
	before := compositeCells
	for i, x := range t.Of {
		one := c.Within(before, func() TriggerResult { return f(x) })
		n := x.Needs()
		before.Cells += n.Cells
		before.Records += n.Records
		switch {
		case !t.All || one == Purge:
			r |= one
		case one&Fire != 0:
			*c.Cell(0) |= 1 << i
			*c.Cell(1) |= int64(one & Purge)
		}
	}
	if t.All && *c.Cell(0) == 1<<len(t.Of)-1 {
		r |= Fire | TriggerResult(*c.Cell(1))
		*c.Cell(0), *c.Cell(1) = 0, 0
	}
	return r
}

// OnElement implements [Trigger].
func (t CompositeTrigger) OnElement(c *TriggerContext, rec any, at int64, w Window) TriggerResult {
	return t.each(c, func(x Trigger) TriggerResult { return x.OnElement(c, rec, at, w) })
}

// OnEventTime implements [Trigger].
func (t CompositeTrigger) OnEventTime(c *TriggerContext, at int64, w Window) TriggerResult {
	return t.each(c, func(x Trigger) TriggerResult { return x.OnEventTime(c, at, w) })
}

// OnProcessingTime implements [Trigger].
func (t CompositeTrigger) OnProcessingTime(c *TriggerContext, at int64, w Window) TriggerResult {
	return t.each(c, func(x Trigger) TriggerResult { return x.OnProcessingTime(c, at, w) })
}

// OnMerge implements [Trigger].
func (t CompositeTrigger) OnMerge(c *TriggerContext, w Window) {
	c.Merged(0, func(n int64) { *c.Cell(0) |= n })
	c.Merged(1, func(n int64) { *c.Cell(1) |= n })
	t.inside(c, func(x Trigger) { x.OnMerge(c, w) })
}

// Clear implements [Trigger].
func (t CompositeTrigger) Clear(c *TriggerContext, w Window) {
	t.inside(c, func(x Trigger) { x.Clear(c, w) })
}

// inside calls f for each of the triggers, whatever they have wanted before.
func (t CompositeTrigger) inside(c *TriggerContext, f func(Trigger)) {
	before := compositeCells
	for _, x := range t.Of {
		c.Within(before, func() TriggerResult { f(x); return Continue })
		n := x.Needs()
		before.Cells += n.Cells
		before.Records += n.Records
	}
}

// Needs implements [Trigger].
func (t CompositeTrigger) Needs() TriggerNeeds {
	n := compositeCells
	n.Merges, n.Name = true, "any"
	if t.All {
		n.Name = "all"
	}
	for _, x := range t.Of {
		m := x.Needs()
		n.Cells += m.Cells
		n.Records += m.Records
		n.Merges = n.Merges && m.Merges
	}
	return n
}
