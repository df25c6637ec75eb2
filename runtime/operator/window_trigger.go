package operator

// TriggerResult is what a trigger wants done with a window: bits.
type TriggerResult uint8

// What a trigger can want.
const (
	Continue     TriggerResult = 0
	Fire         TriggerResult = 1
	Purge        TriggerResult = 2
	FireAndPurge               = Fire | Purge
)

// MaxTriggerCells is how many numbers a trigger, with those inside it, can keep
// for each key and window.
const MaxTriggerCells = 6

// A Trigger decides when a window's function is called with what the window
// holds so far, and when the contents are thrown away. It is shared by all keys
// and windows: what it remembers of one of them it keeps in cells.
//
// Its methods are called by the operator's task alone, with the key in effect.
type Trigger interface {
	// OnElement is called for each record, a pointer to one, after it was
	// added to window w.
	OnElement(c *TriggerContext, rec any, at int64, w Window) TriggerResult
	// OnEventTime and OnProcessingTime are called for each timer of the
	// window, also those that somebody else set: compare at.
	OnEventTime(c *TriggerContext, at int64, w Window) TriggerResult
	OnProcessingTime(c *TriggerContext, at int64, w Window) TriggerResult
	// OnMerge is called when windows have been merged into w, with w's cells
	// in effect, which are zero; those of the others are in c.Merged.
	OnMerge(c *TriggerContext, w Window)
	// Clear deletes timers that are still set. Cells are cleared by the
	// operator.
	Clear(c *TriggerContext, w Window)
	// Needs says what the trigger keeps.
	Needs() TriggerNeeds
}

// TriggerNeeds says what a trigger keeps for each key and window.
type TriggerNeeds struct {
	// Cells is the number of numbers, Records the number of records.
	Cells, Records int
	// Merges reports whether windows with this trigger can merge.
	Merges bool
	// Name is how error messages call the trigger.
	Name string
}

// TriggerContext is what a trigger works with. It is borrowed for the call.
type TriggerContext struct {
	cells     [MaxTriggerCells]int64
	base      int // first cell of the trigger that is called
	record    int // first record
	merged    [][MaxTriggerCells]int64
	Watermark int64 // event time of the operator, milliseconds
	Now       int64 // processing time, milliseconds
	host      triggerHost
}

// triggerHost is the operator behind a context.
type triggerHost interface {
	setTimer(processing bool, at int64)
	deleteTimer(processing bool, at int64)
	keep(i int, rec any)
	kept(i int) any
	forget(i int)
}

// Cell is number i of the trigger for this key and window, to be read and
// written; 0 at first.
func (c *TriggerContext) Cell(i int) *int64 { return &c.cells[c.base+i] }

// Merged calls f with number i of each window that is being merged.
func (c *TriggerContext) Merged(i int, f func(int64)) {
	for _, m := range c.merged {
		f(m[c.base+i])
	}
}

// SetTimer asks for OnEventTime at event time at, for this key and window.
func (c *TriggerContext) SetTimer(at int64) { c.host.setTimer(false, at) }

// DeleteTimer takes back a SetTimer.
func (c *TriggerContext) DeleteTimer(at int64) { c.host.deleteTimer(false, at) }

// SetProcessingTimer asks for OnProcessingTime at processing time at.
func (c *TriggerContext) SetProcessingTimer(at int64) { c.host.setTimer(true, at) }

// DeleteProcessingTimer takes back a SetProcessingTimer.
func (c *TriggerContext) DeleteProcessingTimer(at int64) { c.host.deleteTimer(true, at) }

// Keep stores a copy of a record, a pointer as OnElement is given, as record i
// of this key and window.
func (c *TriggerContext) Keep(i int, rec any) { c.host.keep(c.record+i, rec) }

// Kept is a pointer to record i, or nil. It must not be written to.
func (c *TriggerContext) Kept(i int) any { return c.host.kept(c.record + i) }

// reset makes the trigger behind before one that has seen nothing.
func (c *TriggerContext) reset(before TriggerNeeds, t Trigger, w Window) {
	c.Within(before, func() TriggerResult {
		t.Clear(c, w)
		n := t.Needs()
		clear(c.cells[c.base : c.base+n.Cells])
		for i := range n.Records {
			c.host.forget(c.record + i)
		}
		return Continue
	})
}

// Within calls f as for a trigger inside the one that is called, whose cells
// and records lie behind those of before.
func (c *TriggerContext) Within(before TriggerNeeds, f func() TriggerResult) TriggerResult {
	c.base += before.Cells
	c.record += before.Records
	r := f()
	c.base -= before.Cells
	c.record -= before.Records
	return r
}

// EventTimeTrigger fires when event time passes the end of the window, and for
// each record that comes later than that.
type EventTimeTrigger struct{}

// OnElement implements [Trigger].
func (EventTimeTrigger) OnElement(c *TriggerContext, _ any, _ int64, w Window) TriggerResult {
	if w.MaxTimestamp() <= c.Watermark {
		return Fire
	}
	c.SetTimer(w.MaxTimestamp())
	return Continue
}

// OnEventTime implements [Trigger].
func (EventTimeTrigger) OnEventTime(_ *TriggerContext, at int64, w Window) TriggerResult {
	if at == w.MaxTimestamp() {
		return Fire
	}
	return Continue
}

// OnProcessingTime implements [Trigger].
func (EventTimeTrigger) OnProcessingTime(*TriggerContext, int64, Window) TriggerResult {
	return Continue
}

// OnMerge implements [Trigger].
func (EventTimeTrigger) OnMerge(c *TriggerContext, w Window) {
	if w.MaxTimestamp() > c.Watermark {
		c.SetTimer(w.MaxTimestamp())
	}
}

// Clear implements [Trigger].
func (EventTimeTrigger) Clear(c *TriggerContext, w Window) { c.DeleteTimer(w.MaxTimestamp()) }

// Needs implements [Trigger].
func (EventTimeTrigger) Needs() TriggerNeeds { return TriggerNeeds{Merges: true, Name: "event time"} }

// ProcessingTimeTrigger fires when processing time passes the end of the
// window.
type ProcessingTimeTrigger struct{}

// OnElement implements [Trigger].
func (ProcessingTimeTrigger) OnElement(c *TriggerContext, _ any, _ int64, w Window) TriggerResult {
	c.SetProcessingTimer(w.MaxTimestamp())
	return Continue
}

// OnEventTime implements [Trigger].
func (ProcessingTimeTrigger) OnEventTime(*TriggerContext, int64, Window) TriggerResult {
	return Continue
}

// OnProcessingTime implements [Trigger].
func (ProcessingTimeTrigger) OnProcessingTime(_ *TriggerContext, at int64, w Window) TriggerResult {
	if at == w.MaxTimestamp() {
		return Fire
	}
	return Continue
}

// OnMerge implements [Trigger].
func (ProcessingTimeTrigger) OnMerge(c *TriggerContext, w Window) {
	if w.MaxTimestamp() > c.Now {
		c.SetProcessingTimer(w.MaxTimestamp())
	}
}

// Clear implements [Trigger].
func (ProcessingTimeTrigger) Clear(c *TriggerContext, w Window) {
	c.DeleteProcessingTimer(w.MaxTimestamp())
}

// Needs implements [Trigger].
func (ProcessingTimeTrigger) Needs() TriggerNeeds {
	return TriggerNeeds{Merges: true, Name: "processing time"}
}

// NeverTrigger leaves a window alone.
type NeverTrigger struct{}

// OnElement implements [Trigger].
func (NeverTrigger) OnElement(*TriggerContext, any, int64, Window) TriggerResult { return Continue }

// OnEventTime implements [Trigger].
func (NeverTrigger) OnEventTime(*TriggerContext, int64, Window) TriggerResult { return Continue }

// OnProcessingTime implements [Trigger].
func (NeverTrigger) OnProcessingTime(*TriggerContext, int64, Window) TriggerResult { return Continue }

// OnMerge implements [Trigger].
func (NeverTrigger) OnMerge(*TriggerContext, Window) {}

// Clear implements [Trigger].
func (NeverTrigger) Clear(*TriggerContext, Window) {}

// Needs implements [Trigger].
func (NeverTrigger) Needs() TriggerNeeds { return TriggerNeeds{Merges: true, Name: "never"} }
