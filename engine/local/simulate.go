package local

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/engine/graph"
	"github.com/millrace/millrace/engine/restart"
	"github.com/millrace/millrace/runtime/clock"
)

// Simulate runs a job to its end from one loop on the calling goroutine: again
// and again it picks one of the tasks that can do something and steps it. The
// seed decides the picks, and whether batches that are not full are sent on
// early, so the same seed gives the same run. When no task can do anything the
// clock moves to the next time that one waits for; opts.Clock must be a
// *clock.Manual or nil.
func Simulate(ctx context.Context, g *graph.Graph, opts Options, seed uint64) error {
	clk, ok := opts.Clock.(*clock.Manual)
	if opts.Clock == nil {
		clk, ok = &clock.Manual{}, true
		opts.Clock = clk
	}
	if !ok {
		return fmt.Errorf("simulate: clock is %T, want *clock.Manual", opts.Clock)
	}
	rng := rand.New(rand.NewPCG(seed, 0x6d696c6c))
	opts.rand = rng.IntN
	if err := opts.fill(); err != nil {
		return err
	}
	var k *keeper
	if opts.Checkpoints != nil {
		var err error
		if k, err = newKeeper(ctx, &opts); err != nil {
			return err
		}
		k.async = func(f func()) { f() }
	}
	x, err := New(ctx, g, opts, false)
	if err != nil {
		return err
	}
	if k == nil {
		return x.drive(clk, rng, nil, 1)
	}
	if err := k.begin(ctx, x); err != nil {
		return err
	}
	strategy := restart.New(opts.Checkpoints.Restart, rng)
	for attempt := 1; ; attempt++ {
		err := k.recover(ctx, x)
		if err == nil {
			err = x.drive(clk, rng, k, attempt)
		}
		if err == nil || ctx.Err() != nil {
			return k.end(ctx, err)
		}
		at, fatal := k.fail(strategy, err)
		if fatal != nil {
			return k.end(ctx, fatal)
		}
		clk.Set(max(at.UnixNano(), clk.Now()))
		opts.attempt++
		if x, err = New(ctx, g, opts, false); err != nil {
			return k.end(ctx, err)
		}
	}
}

// drive runs one attempt. k, if not nil, is stepped like a task.
func (x *Execution) drive(clk *clock.Manual, rng *rand.Rand, k *keeper, attempt int) (err error) {
	defer func() {
		errs := []error{err}
		for _, t := range x.tasks {
			errs = append(errs, t.Close())
		}
		x.stop(nil)
		x.background.Wait()
		x.tellLate()
		err = errors.Join(errs...)
	}()
	for _, t := range x.tasks {
		if err := t.Open(); err != nil {
			return err
		}
	}
	if err := x.settle(true); err != nil {
		return err
	}
	if k != nil {
		k.running(x)
	}
	type standing struct {
		until int64
		done  bool
	}
	states := make([]standing, len(x.tasks))
	left := len(x.tasks)
	quiet := 0 // steps in a row in which nothing happened
	for left > 0 {
		if x.ctx.Err() != nil {
			return context.Cause(x.ctx)
		}
		if x.opts.Fault != nil {
			if err := x.opts.Fault(attempt); err != nil {
				return err
			}
		}
		if k != nil {
			// Time passes, or no checkpoint would be due before the job is idle.
			clk.Set(clk.Now() + rng.Int64N(int64(time.Millisecond)))
			if rng.IntN(len(x.tasks)+1) == 0 && k.step(x.ctx) {
				quiet = 0
			}
		}
		i := rng.IntN(len(x.tasks))
		if states[i].done {
			continue
		}
		t := x.tasks[i]
		st, err := t.Step()
		if err != nil {
			return err
		}
		if st.Finished {
			if err := t.End(); err != nil {
				return err
			}
			states[i].done = true
			left--
			quiet = 0
			continue
		}
		if st.Ran {
			quiet = 0
			if rng.IntN(4) == 0 {
				t.Flush()
			}
			continue
		}
		t.Flush()
		states[i].until = st.Until
		if quiet++; quiet < 8*len(x.tasks) {
			continue
		}
		// Nobody has done anything for a while: make sure, then let time pass.
		next, busy := int64(0), false
		for n, t := range x.tasks {
			if states[n].done {
				continue
			}
			st, err := t.Step()
			if err != nil {
				return err
			}
			if st.Finished {
				if err := t.End(); err != nil {
					return err
				}
				states[n].done = true
				left--
				busy = true
			}
			busy = busy || st.Ran
			if st.Until > 0 && (next == 0 || st.Until < next) {
				next = st.Until
			}
			if !st.Ran && !st.Finished {
				t.Flush()
			}
		}
		quiet = 0
		if k != nil {
			busy = k.step(x.ctx) || busy
			if at := k.wakeAt.UnixNano(); !k.wakeAt.IsZero() && (next == 0 || at < next) {
				next = at
			}
		}
		if busy || left == 0 {
			continue
		}
		if next == 0 {
			// Only work on other goroutines can move the job on.
			time.Sleep(100 * time.Microsecond)
			continue
		}
		clk.Set(max(next, clk.Now()))
	}
	return nil
}
