package millrace

import (
	"fmt"
	"time"

	"github.com/millrace/millrace/runtime/operator"
)

// Trigger decides when a window fires: when its function is called with what
// the window holds so far, and when the contents are thrown away. Write your
// own by implementing it; OnElement is given a pointer to the record.
type Trigger = operator.Trigger

// TriggerContext is what a [Trigger] works with: times, timers, and numbers kept
// for each key and window.
type TriggerContext = operator.TriggerContext

// TriggerNeeds says what a [Trigger] keeps.
type TriggerNeeds = operator.TriggerNeeds

// TriggerResult is what a [Trigger] wants done.
type TriggerResult = operator.TriggerResult

// What a [Trigger] can want.
const (
	Continue     = operator.Continue
	Fire         = operator.Fire
	Purge        = operator.Purge
	FireAndPurge = operator.FireAndPurge
)

// checkedTrigger is a trigger for records of one type only.
type checkedTrigger interface{ check(rec any) error }

// invalidTrigger stands for a trigger that cannot be.
type invalidTrigger struct {
	operator.NeverTrigger
	reason string
}

// EventTimeTrigger fires when event time passes the end of the window, and for
// each record that is later than that but within the allowed lateness: the
// default of windows of event time.
func EventTimeTrigger() Trigger { return operator.EventTimeTrigger{} }

// ProcessingTimeTrigger fires when processing time passes the end of the
// window: the default of windows of processing time.
func ProcessingTimeTrigger() Trigger { return operator.ProcessingTimeTrigger{} }

// NeverTrigger never fires.
func NeverTrigger() Trigger { return operator.NeverTrigger{} }

// CountTrigger fires whenever n more records have been added.
func CountTrigger(n int) Trigger {
	if n < 1 {
		return invalidTrigger{reason: fmt.Sprintf("count trigger: %d is not greater than 0", n)}
	}
	return operator.CountTrigger{N: int64(n)}
}

// ContinuousEventTimeTrigger fires as EventTimeTrigger does, and at every
// multiple of interval of event time before.
func ContinuousEventTimeTrigger(interval time.Duration) Trigger {
	if interval < time.Millisecond {
		return invalidTrigger{reason: fmt.Sprintf("continuous trigger: interval %v is less than a millisecond", interval)}
	}
	return operator.ContinuousTrigger{Interval: interval.Milliseconds()}
}

// ContinuousProcessingTimeTrigger fires at every multiple of interval of
// processing time, up to the end of the window.
func ContinuousProcessingTimeTrigger(interval time.Duration) Trigger {
	if interval < time.Millisecond {
		return invalidTrigger{reason: fmt.Sprintf("continuous trigger: interval %v is less than a millisecond", interval)}
	}
	return operator.ContinuousTrigger{Interval: interval.Milliseconds(), Processing: true}
}

// PurgingTrigger throws the contents away whenever inner fires.
func PurgingTrigger(inner Trigger) Trigger {
	if b, ok := inner.(invalidTrigger); ok {
		return b
	}
	return operator.PurgingTrigger{Inner: inner}
}

// ProcessingTimeoutTrigger fires when inner does, and when timeout has passed
// in processing time since the first record, or with resetOnElement since the
// last. clearOnTimeout makes a timeout clear what inner has counted so far.
func ProcessingTimeoutTrigger(inner Trigger, timeout time.Duration, resetOnElement, clearOnTimeout bool) Trigger {
	if b, ok := inner.(invalidTrigger); ok {
		return b
	}
	if timeout < time.Millisecond {
		return invalidTrigger{reason: fmt.Sprintf("timeout trigger: timeout %v is less than a millisecond", timeout)}
	}
	return operator.TimeoutTrigger{Inner: inner, Timeout: timeout.Milliseconds(), Reset: resetOnElement, ClearInner: clearOnTimeout}
}

// DeltaTrigger fires for a record for which delta, given the record that fired
// last and this one, is greater than threshold. The first record of a window
// is only remembered.
func DeltaTrigger[T any](threshold float64, delta func(last, rec T) float64) Trigger {
	return deltaTrigger[T]{operator.DeltaTrigger{Threshold: threshold, Delta: func(last, rec any) float64 {
		return delta(*last.(*T), *rec.(*T))
	}}}
}

type deltaTrigger[T any] struct{ operator.DeltaTrigger }

func (deltaTrigger[T]) check(rec any) error {
	if _, ok := rec.(*T); !ok {
		return fmt.Errorf("the delta trigger is for records of %T, the stream is of %T", (*T)(nil), rec)
	}
	return nil
}

// AnyTrigger fires whenever one of triggers does.
func AnyTrigger(triggers ...Trigger) Trigger { return composite(false, triggers) }

// AllTrigger fires once each of triggers has fired since the last time it
// fired.
func AllTrigger(triggers ...Trigger) Trigger { return composite(true, triggers) }

func composite(all bool, triggers []Trigger) Trigger {
	for _, t := range triggers {
		if b, ok := t.(invalidTrigger); ok {
			return b
		}
	}
	if len(triggers) == 0 || len(triggers) > 60 {
		return invalidTrigger{reason: fmt.Sprintf("a trigger of %d triggers: between 1 and 60 are possible", len(triggers))}
	}
	return operator.CompositeTrigger{All: all, Of: triggers}
}
