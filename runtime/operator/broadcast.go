package operator

import "github.com/millrace/millrace/runtime/record"

// Broadcasts is the broadcast side of an operator whose input 1 reaches every
// subtask in full. It is embedded in [BroadcastProcess] and
// [PlainBroadcastProcess].
type Broadcasts[B any] struct {
	// OnBroadcast handles a broadcast record, set before or by Setup. It alone
	// may change broadcast tables. No key is in effect; see Keyed.ForEachKey.
	OnBroadcast func(*B) error
	// OnBroadcastEnd, if set, is called when the broadcast side has ended; again
	// after a restore, for the end comes again.
	OnBroadcastEnd func() error
	// ReadFirst holds back input 0 until the broadcast side has ended.
	ReadFirst bool
	// AskFirst, if set, is asked by Open whether the operator may do so.
	AskFirst func() error

	tables []interface{ write(bool) }
	ended  bool
}

// DeclareTable makes a broadcast table that OnBroadcast may change; Setup calls
// it, or the engine before.
func DeclareTable[K comparable, V, B, Out any](b *Broadcasts[B], f *Func[Out], name string) *BroadcastTable[K, V] {
	f.Declaring("BroadcastTable")
	t := NewBroadcastTable[K, V](f, name)
	b.tables = append(b.tables, t)
	return t
}

// check looks at what Setup has set.
func (b *Broadcasts[B]) check() error {
	if b.ReadFirst && b.AskFirst != nil {
		if err := b.AskFirst(); err != nil {
			return err
		}
	}
	return oneHandler("OnBroadcast", b.OnBroadcast != nil, false)
}

// Wants implements [Gated].
func (b *Broadcasts[B]) Wants(input int) bool { return input == 1 || b.ended || !b.ReadFirst }

// receiveBroadcast hands a batch of the broadcast side to its handler.
func receiveBroadcast[B, Out any](b *Broadcasts[B], f *Func[Out], batch *record.Batch[B]) error {
	live := batch.Live()
	cur := f.enter(batch.Times)
	for _, t := range b.tables {
		t.write(true)
	}
	for _, i := range live {
		cur.Row, f.At = i, batch.Times[i]
		if err := b.OnBroadcast(&batch.Rows[i]); err != nil {
			return err
		}
	}
	for _, t := range b.tables {
		t.write(false)
	}
	return f.leave(len(live))
}

// endBroadcast handles the end of an input.
func endBroadcast[B, Out any](b *Broadcasts[B], f *Func[Out], input int) error {
	if input != 1 {
		return nil
	}
	b.ended = true
	for _, t := range b.tables {
		t.write(true)
	}
	defer func() {
		for _, t := range b.tables {
			t.write(false)
		}
	}()
	return f.run("OnBroadcastEnd", b.OnBroadcastEnd)
}

// BroadcastProcess is a [Process] that has a broadcast side as well: input 0 is
// the keyed one, input 1 the broadcast one.
type BroadcastProcess[K comparable, In, B, Out any] struct {
	// SetupBroadcast declares states and sets the handlers. It is called once,
	// by Open.
	SetupBroadcast func(*BroadcastProcess[K, In, B, Out])

	Broadcasts[B]
	Process[K, In, Out]
}

// Open implements [Operator].
func (p *BroadcastProcess[K, In, B, Out]) Open(env *Env) error {
	p.Setup = func(*Process[K, In, Out]) { p.SetupBroadcast(p) }
	if err := p.Process.Open(env); err != nil {
		return err
	}
	return p.Broadcasts.check()
}

// Input implements [Operator].
func (p *BroadcastProcess[K, In, B, Out]) Input(i int) any {
	if i == 0 {
		return &p.Process
	}
	return receiver[B](func(b *record.Batch[B]) error {
		if p.ttl.states != nil {
			p.ttl.now = p.Env().NowMillis() // for ForEachKey
		}
		return receiveBroadcast(&p.Broadcasts, &p.Func, b)
	})
}

// EndInput implements [InputEnder].
func (p *BroadcastProcess[K, In, B, Out]) EndInput(i int) error {
	return endBroadcast(&p.Broadcasts, &p.Func, i)
}

// PlainBroadcastProcess is a [PlainProcess] that has a broadcast side as well:
// input 0 is the stream's, input 1 the broadcast one.
type PlainBroadcastProcess[In, B, Out any] struct {
	// SetupBroadcast sets the handlers. It is called once, by Open.
	SetupBroadcast func(*PlainBroadcastProcess[In, B, Out])

	Broadcasts[B]
	PlainProcess[In, Out]
}

// Open implements [Operator].
func (p *PlainBroadcastProcess[In, B, Out]) Open(env *Env) error {
	p.Setup = func(*PlainProcess[In, Out]) { p.SetupBroadcast(p) }
	if err := p.PlainProcess.Open(env); err != nil {
		return err
	}
	return p.Broadcasts.check()
}

// Input implements [Operator].
func (p *PlainBroadcastProcess[In, B, Out]) Input(i int) any {
	if i == 0 {
		return &p.PlainProcess
	}
	return receiver[B](func(b *record.Batch[B]) error { return receiveBroadcast(&p.Broadcasts, &p.Func, b) })
}

// EndInput implements [InputEnder].
func (p *PlainBroadcastProcess[In, B, Out]) EndInput(i int) error {
	return endBroadcast(&p.Broadcasts, &p.Func, i)
}

// KeepLatest makes OnBroadcast put each record into a table under its key.
func KeepLatest[K comparable, B any](t *BroadcastTable[K, B], key func(*B) K) func(*B) error {
	return func(b *B) error {
		t.Set(key(b), *b)
		return nil
	}
}
