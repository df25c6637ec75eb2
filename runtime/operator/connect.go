package operator

import "github.com/millrace/millrace/runtime/record"

// Process2 is an operator made of user handlers on two keyed streams with keys
// of one type. Input 0 is the left one.
type Process2[K comparable, L, R, Out any] struct {
	// Setup declares states and sets the handlers below and those of Func and
	// KeyedFunc. It is called once, by Open.
	Setup func(*Process2[K, L, R, Out])

	// One of each pair is set.
	OnLeft     func(L) error
	OnLeftRef  func(*L) error
	OnRight    func(R) error
	OnRightRef func(*R) error
	// Called when an input has ended, without a key in effect.
	OnLeftEnd, OnRightEnd func() error

	KeyedFunc[K, Out]
}

// Open implements [Operator].
func (p *Process2[K, L, R, Out]) Open(env *Env) error {
	if err := p.open(env, func() { p.Setup(p) }); err != nil {
		return err
	}
	if err := oneHandler("OnLeft", p.OnLeft != nil, p.OnLeftRef != nil); err != nil {
		return err
	}
	return oneHandler("OnRight", p.OnRight != nil, p.OnRightRef != nil)
}

// Input implements [Operator].
func (p *Process2[K, L, R, Out]) Input(i int) any {
	if i == 0 {
		return receiver[L](func(b *record.Batch[L]) error {
			return receiveKeyed(&p.KeyedFunc, b, p.OnLeft, p.OnLeftRef)
		})
	}
	return receiver[R](func(b *record.Batch[R]) error {
		return receiveKeyed(&p.KeyedFunc, b, p.OnRight, p.OnRightRef)
	})
}

// EndInput implements [InputEnder].
func (p *Process2[K, L, R, Out]) EndInput(i int) error {
	if i == 0 {
		return p.run("OnLeftEnd", p.OnLeftEnd)
	}
	return p.run("OnRightEnd", p.OnRightEnd)
}

// receiver is a Receiver made of a function: one input of several.
type receiver[T any] func(*record.Batch[T]) error

// Receive implements [Receiver].
func (r receiver[T]) Receive(b *record.Batch[T]) error { return r(b) }

// PlainProcess2 is an operator made of user handlers on two streams without
// keys. Input 0 is the left one.
type PlainProcess2[L, R, Out any] struct {
	// Setup sets the handlers below and those of Func. It is called once, by
	// Open.
	Setup func(*PlainProcess2[L, R, Out])

	// One of each pair is set.
	OnLeft     func(L) error
	OnLeftRef  func(*L) error
	OnRight    func(R) error
	OnRightRef func(*R) error
	// Called when an input has ended.
	OnLeftEnd, OnRightEnd func() error

	Func[Out]
}

// Open implements [Operator].
func (p *PlainProcess2[L, R, Out]) Open(env *Env) error {
	if err := p.open(env, func() { p.Setup(p) }); err != nil {
		return err
	}
	if err := oneHandler("OnLeft", p.OnLeft != nil, p.OnLeftRef != nil); err != nil {
		return err
	}
	return oneHandler("OnRight", p.OnRight != nil, p.OnRightRef != nil)
}

// Input implements [Operator].
func (p *PlainProcess2[L, R, Out]) Input(i int) any {
	if i == 0 {
		return receiver[L](func(b *record.Batch[L]) error { return receivePlain(&p.Func, b, p.OnLeft, p.OnLeftRef) })
	}
	return receiver[R](func(b *record.Batch[R]) error { return receivePlain(&p.Func, b, p.OnRight, p.OnRightRef) })
}

// EndInput implements [InputEnder].
func (p *PlainProcess2[L, R, Out]) EndInput(i int) error {
	if i == 0 {
		return p.run("OnLeftEnd", p.OnLeftEnd)
	}
	return p.run("OnRightEnd", p.OnRightEnd)
}
