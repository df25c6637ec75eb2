package operator

import (
	"errors"
	"fmt"

	"github.com/millrace/millrace/runtime/record"
)

// Process is a stateful operator on a keyed stream: handlers of the user with
// state and timers. Port 0 is the main output, ports 1 and up are side outputs.
type Process[K comparable, In, Out any] struct {
	// Setup declares states and sets the handlers below. It is called once, by
	// Open.
	Setup func(*Process[K, In, Out])

	// Handlers, set by Setup. One of OnRecord and OnRecordRef is set.
	OnRecord    func(In) error
	OnRecordRef func(*In) error
	OnTimer     func(at int64) error
	OnProcTimer func(at int64) error
	OnFinish    func() error
	OnClose     func() error

	// Keyed is the state; there from Setup on.
	*Keyed[K]
	// Out is the main output, At the event time of the record or timer being
	// handled.
	Out Emitter[Out]
	At  int64

	env    *Env
	count  int64
	fired  int
	sides  []flusher
	parked []parked // receivers connected before Setup declared their port
	setup  bool
	failed error
}

type flusher interface {
	Flush() error
	Connect(r any)
	Open(env *Env)
}

type parked struct {
	port int
	r    any
}

// Env is where the operator runs.
func (p *Process[K, In, Out]) Env() *Env { return p.env }

// Open implements [Operator].
func (p *Process[K, In, Out]) Open(env *Env) (err error) {
	p.env = env
	if p.Keyed, err = NewKeyed[K](env); err != nil {
		return err
	}
	p.Out.Open(env)
	cur := env.Cursor
	cur.Op, cur.Base, cur.Row, cur.Times = env.Name, 0, 0, nil
	p.Setup(p)
	cur.Op = ""
	p.setup = true
	if p.OnRecord == nil && p.OnRecordRef == nil {
		return errors.New("setup set no record handler")
	}
	for _, c := range p.parked {
		if c.port > len(p.sides) {
			return fmt.Errorf("side output %d is read but setup did not declare it", c.port)
		}
		p.sides[c.port-1].Connect(c.r)
	}
	return nil
}

// AddSide declares the next side output and returns its port.
func (p *Process[K, In, Out]) AddSide(s flusher) int {
	s.Open(p.env)
	p.sides = append(p.sides, s)
	return len(p.sides)
}

// Input implements [Operator].
func (p *Process[K, In, Out]) Input(int) any { return p }

// Connect implements [Operator].
func (p *Process[K, In, Out]) Connect(port int, r any) {
	if port == 0 {
		p.Out.Connect(r)
		return
	}
	p.parked = append(p.parked, parked{port, r})
}

// Receive implements [Receiver].
func (p *Process[K, In, Out]) Receive(b *record.Batch[In]) error {
	live := b.Live()
	keys := *b.Keys.(*[]K)
	k := p.Keyed
	k.Touch(b.Words)
	cur := p.env.Cursor
	cur.Op, cur.Base, cur.Times = p.env.Name, p.count, b.Times
	k.Active = true
	if f := p.OnRecordRef; f != nil {
		for _, i := range live {
			cur.Row = i
			k.Key, k.Word, p.At = keys[i], b.Words[i], b.Times[i]
			if err := f(&b.Rows[i]); err != nil {
				return err
			}
		}
	} else {
		f := p.OnRecord
		for _, i := range live {
			cur.Row = i
			k.Key, k.Word, p.At = keys[i], b.Words[i], b.Times[i]
			if err := f(b.Rows[i]); err != nil {
				return err
			}
		}
	}
	k.Active = false
	p.count += int64(len(live))
	cur.Op = ""
	return p.flush()
}

func (p *Process[K, In, Out]) flush() error {
	err := p.Out.Flush()
	for _, s := range p.sides {
		if e := s.Flush(); err == nil {
			err = e
		}
	}
	return err
}

// yieldEvery is how many timers fire before the operator looks whether it
// should let others go first.
const yieldEvery = 256

// Advance implements [Operator].
func (p *Process[K, In, Out]) Advance(wm int64) (int64, bool, error) {
	k := p.Keyed
	k.Watermark = wm
	if k.event == nil {
		return wm, true, nil
	}
	if p.OnTimer == nil {
		return wm, false, errors.New("a timer is set but there is no OnTimer handler")
	}
	done, err := p.fire(k.event.Advance, wm, p.OnTimer, true)
	return wm, done, err
}

// Due implements [Ticker].
func (p *Process[K, In, Out]) Due() (int64, bool) {
	if p.Keyed == nil || p.proc == nil {
		return 0, false
	}
	return p.proc.Next()
}

// OnTime implements [Ticker].
func (p *Process[K, In, Out]) OnTime(now int64) (bool, error) {
	if p.OnProcTimer == nil {
		return false, errors.New("a processing-time timer is set but there is no OnProcessingTimer handler")
	}
	return p.fire(p.proc.Advance, now, p.OnProcTimer, false)
}

// fire runs the timers of one service up to and including to.
func (p *Process[K, In, Out]) fire(advance func(int64, func(uint64, K, int64) bool) bool, to int64, f func(int64) error, event bool) (bool, error) {
	k, cur := p.Keyed, p.env.Cursor
	var ferr error
	cur.Op, cur.Times = p.env.Name, nil
	k.Active = true
	n := 0
	done := advance(to, func(word uint64, key K, at int64) bool {
		k.Key, k.Word = key, word
		p.At = record.NoTime
		if event {
			p.At = at
		}
		if ferr = f(at); ferr != nil {
			ferr = fmt.Errorf("timer at %s of key %v: %w", FormatMillis(at), key, ferr)
			return false
		}
		n++
		return n%yieldEvery != 0 || !p.env.Yield()
	})
	if ferr != nil {
		return false, ferr
	}
	k.Active = false
	cur.Op = ""
	return done, p.flush()
}

// Finish implements [Operator].
func (p *Process[K, In, Out]) Finish() (bool, error) {
	if p.OnFinish != nil {
		cur := p.env.Cursor
		cur.Op, cur.Times = p.env.Name, nil
		if err := p.OnFinish(); err != nil {
			return false, err
		}
		cur.Op = ""
	}
	return true, p.flush()
}

// Close implements [Operator].
func (p *Process[K, In, Out]) Close() error {
	if p.OnClose != nil && p.setup {
		return p.OnClose()
	}
	return nil
}

// Snapshot implements [Stateful].
func (p *Process[K, In, Out]) Snapshot() ([]Piece, error) { return p.Keyed.Snapshot() }

// Restore implements [Stateful].
func (p *Process[K, In, Out]) Restore(pieces []Piece) error { return p.Keyed.Restore(pieces) }
