package task

import (
	"context"
	"time"
)

// Run drives the task until it has finished (nil), ctx ends (its error) or an
// operator fails. It opens and closes the task, and starts no goroutine that
// outlives it.
func (t *Task) Run(ctx context.Context) (err error) {
	defer func() {
		if cerr := t.Close(); err == nil {
			err = cerr
		}
	}()
	if err := t.Open(); err != nil {
		return err
	}
	stop := ctx.Done()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for n := 0; ; n++ {
		if n&15 == 0 {
			select {
			case <-stop:
				return ctx.Err()
			default:
			}
		}
		st, err := t.Step()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		switch {
		case st.Finished:
			return t.End()
		case st.Ran:
			continue
		case st.Blocked:
			if !t.AwaitCredit() {
				continue
			}
			if t.source != nil {
				t.source.Held(true)
			}
			select {
			case <-t.wake:
			case <-stop:
				return ctx.Err()
			}
			if t.source != nil {
				t.source.Held(false)
			}
			continue
		}
		// Nothing to do: what is pending must not wait with us.
		t.Flush()
		var due <-chan time.Time
		if st.Until > 0 {
			d := time.Duration(st.Until - t.env.Clock.Now())
			if d <= 0 {
				continue
			}
			timer.Reset(d)
			due = timer.C
		}
		select {
		case <-t.wake:
		case <-due:
		case <-stop:
			return ctx.Err()
		}
		if due != nil && !timer.Stop() {
			select {
			case <-timer.C:
			default:
			}
		}
	}
}
