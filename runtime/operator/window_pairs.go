package operator

import "github.com/millrace/millrace/runtime/record"

// Either is a record of one of two inputs, borrowed: one of the pointers is
// nil.
type Either[L, R any] struct {
	Left  *L
	Right *R
}

// Both is what a window over two inputs holds.
type Both[L, R any] struct {
	Lefts  []L
	Rights []R
}

// Add copies the record in.
func (b *Both[L, R]) Add(e *Either[L, R]) {
	if e.Left != nil {
		b.Lefts = append(b.Lefts, *e.Left)
	} else {
		b.Rights = append(b.Rights, *e.Right)
	}
}

// Merge takes the records of o in.
func (b *Both[L, R]) Merge(o *Both[L, R]) {
	b.Lefts = append(b.Lefts[:len(b.Lefts):len(b.Lefts)], o.Lefts...)
	b.Rights = append(b.Rights[:len(b.Rights):len(b.Rights)], o.Rights...)
}

// Paired gives a window operator two inputs, keyed alike: it is Op, a *Windowed
// or *Slices of Either[L, R].
type Paired[L, R any] struct {
	statefulOperator
	left, right pairInput[L, R]
}

type statefulOperator interface {
	Operator
	Stateful
}

// NewPaired returns op with two inputs.
func NewPaired[L, R any](op statefulOperator) *Paired[L, R] {
	p := &Paired[L, R]{statefulOperator: op}
	to := op.Input(0).(Receiver[Either[L, R]])
	p.left.to, p.right.to = to, to
	return p
}

// Input implements [Operator].
func (p *Paired[L, R]) Input(i int) any {
	if i == 0 {
		return leftInput[L, R]{&p.left}
	}
	return rightInput[L, R]{&p.right}
}

// Due implements [Ticker].
func (p *Paired[L, R]) Due() (int64, bool) {
	if t, ok := p.statefulOperator.(Ticker); ok {
		return t.Due()
	}
	return 0, false
}

// OnTime implements [Ticker].
func (p *Paired[L, R]) OnTime(now int64) (bool, error) {
	return p.statefulOperator.(Ticker).OnTime(now)
}

// pairInput passes batches of one side on as batches of Either, without
// copying records.
type pairInput[L, R any] struct {
	to    Receiver[Either[L, R]]
	batch record.Batch[Either[L, R]]
}

// begin makes the batch like one of n rows.
func (p *pairInput[L, R]) begin(n int, times []int64, sel []int32, words []uint64, keys any) []Either[L, R] {
	b := &p.batch
	if cap(b.Rows) < n {
		b.Rows = make([]Either[L, R], n)
	}
	b.Rows, b.Times, b.Sel, b.Words, b.Keys = b.Rows[:n], times, sel, words, keys
	b.Shared = true
	return b.Rows
}

// send passes the batch on and forgets what it pointed to.
func (p *pairInput[L, R]) send() error {
	err := p.to.Receive(&p.batch)
	clear(p.batch.Rows)
	p.batch.Times, p.batch.Sel, p.batch.Words, p.batch.Keys = nil, nil, nil, nil
	return err
}

type leftInput[L, R any] struct{ *pairInput[L, R] }

// Receive implements [Receiver].
func (p leftInput[L, R]) Receive(b *record.Batch[L]) error {
	rows := p.begin(len(b.Rows), b.Times, b.Sel, b.Words, b.Keys)
	for _, i := range b.Live() {
		rows[i].Left = &b.Rows[i]
	}
	return p.send()
}

type rightInput[L, R any] struct{ *pairInput[L, R] }

// Receive implements [Receiver].
func (p rightInput[L, R]) Receive(b *record.Batch[R]) error {
	rows := p.begin(len(b.Rows), b.Times, b.Sel, b.Words, b.Keys)
	for _, i := range b.Live() {
		rows[i].Right = &b.Rows[i]
	}
	return p.send()
}
