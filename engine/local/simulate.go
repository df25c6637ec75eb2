package local

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/engine/graph"
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
	x, err := New(ctx, g, opts, false)
	if err != nil {
		return err
	}
	return x.drive(ctx, clk, rng)
}

func (x *Execution) drive(ctx context.Context, clk *clock.Manual, rng *rand.Rand) (err error) {
	defer func() {
		errs := []error{err}
		for _, t := range x.tasks {
			errs = append(errs, t.Close())
		}
		x.background.Wait()
		x.tellLate()
		err = errors.Join(errs...)
	}()
	for _, t := range x.tasks {
		if err := t.Open(); err != nil {
			return err
		}
	}
	if err := x.settle(); err != nil {
		return err
	}
	type standing struct {
		until int64
		done  bool
	}
	states := make([]standing, len(x.tasks))
	left := len(x.tasks)
	quiet := 0 // steps in a row in which nothing happened
	for left > 0 {
		if err := ctx.Err(); err != nil {
			return err
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
			t.Flush()
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
		for k, t := range x.tasks {
			if states[k].done {
				continue
			}
			st, err := t.Step()
			if err != nil {
				return err
			}
			if st.Finished {
				t.Flush()
				states[k].done = true
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
		if busy || left == 0 {
			continue
		}
		if next == 0 {
			// Only work on other goroutines can move the job on.
			time.Sleep(100 * time.Microsecond)
			continue
		}
		clk.Set(next)
	}
	return nil
}
