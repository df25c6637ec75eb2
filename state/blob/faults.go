package blob

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Rates says how often what goes wrong; each is a probability from 0 to 1 for
// one operation.
type Rates struct {
	// Fail: not done, and an error that is ErrTransient.
	Fail float64
	// Lost: done, and an error that is ErrTransient. Writes only.
	Lost float64
	// Tear: some first bytes become visible. Puts of a Memory that is Torn only.
	Tear float64
	// Delay: takes up to DelayMax longer.
	Delay    float64
	DelayMax time.Duration
}

// Faults returns a hook for [Memory] that decides from seed. It is as
// deterministic as the order of the operations.
func Faults(seed uint64, r Rates) func(Op) Fault {
	rng := rand.New(rand.NewPCG(seed, 0xb10b))
	return func(op Op) Fault {
		// Always the same number of draws, so that one rate more does not
		// change what the others do.
		fail, lost, tear, delay := rng.Float64(), rng.Float64(), rng.Float64(), rng.Float64()
		share := rng.Float64()
		var f Fault
		if delay < r.Delay {
			f.Delay = time.Duration(share * float64(r.DelayMax))
		}
		put := op.Kind == OpPut || op.Kind == OpPutNew
		switch {
		case fail < r.Fail:
			f.Err = fmt.Errorf("%w: injected failure of operation %d", ErrTransient, op.N)
		case lost < r.Lost && op.Kind.Writes():
			f.Err = fmt.Errorf("%w: injected loss of the answer to operation %d", ErrTransient, op.N)
			f.Done = true
		case tear < r.Tear && put && op.Size > 0:
			f.Torn = 1 + int(share*float64(op.Size-1))
			f.Err = fmt.Errorf("%w: injected tear of operation %d after %d bytes", ErrTransient, op.N, f.Torn)
		}
		return f
	}
}

// Crash returns a hook for [Memory] under which the process dies at operation
// n: it and every later one fails with err. done says whether operation n itself
// was carried out; torn, if above 0, how much of a Put became visible.
func Crash(n int, err error, done bool, torn int) func(Op) Fault {
	return func(op Op) Fault {
		switch {
		case op.N < n:
			return Fault{}
		case op.N == n:
			return Fault{Err: err, Done: done, Torn: torn}
		default:
			return Fault{Err: err}
		}
	}
}
