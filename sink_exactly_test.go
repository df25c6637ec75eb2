package millrace_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/proof"
	"github.com/millrace/millrace/runtime/clock"
	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/record"
)

// ledger is an outside that knows transactions: what is open or prepared is
// invisible, and a transaction is committed once however often it is asked to.
type ledger struct {
	hidden  map[string][]int
	visible map[string][]int
	good    int // calls until it fails; < 0 never
	bad     int
	failed  bool
}

func newLedger() *ledger {
	return &ledger{hidden: map[string][]int{}, visible: map[string][]int{}, good: -1}
}

func (l *ledger) call() error {
	switch {
	case l.good < 0:
		return nil
	case l.good > 0:
		l.good--
		return nil
	case l.bad == 0:
		l.good = -1
		return nil
	}
	l.bad--
	l.failed = true
	return io.ErrClosedPipe
}

func (l *ledger) OpenWriter(_ context.Context, sub millrace.Subtask) (millrace.Writer[int], error) {
	return &ledgerWriter{l: l, sub: sub}, l.call()
}

type ledgerWriter struct {
	l    *ledger
	sub  millrace.Subtask
	recs []int
	n    int
}

func (w *ledgerWriter) Write(_ context.Context, recs []int) error {
	w.recs = append(w.recs, recs...)
	return w.l.call()
}

func (w *ledgerWriter) Flush(context.Context) error { panic("flushed in a job that takes checkpoints") }
func (w *ledgerWriter) Close() error                { return nil }

func (w *ledgerWriter) Prepare(context.Context) ([]byte, error) {
	if err := w.l.call(); err != nil || len(w.recs) == 0 {
		return nil, err
	}
	id := fmt.Sprintf("%s|%d|%d|%s|%d", w.sub.Run, w.sub.Index, w.sub.Attempt, w.sub.Unique, w.n)
	w.n++
	w.l.hidden[id], w.recs = w.recs, nil
	return []byte(id), nil
}

func (w *ledgerWriter) Commit(_ context.Context, token []byte) error {
	id := string(token)
	if recs, ok := w.l.hidden[id]; ok {
		w.l.visible[id] = recs
		delete(w.l.hidden, id)
	} else if _, ok := w.l.visible[id]; !ok {
		return fmt.Errorf("transaction %s is lost", id)
	}
	return w.l.call() // after the fact: what failed may have been done
}

func (w *ledgerWriter) Clean(context.Context) error {
	for id := range w.l.hidden {
		var run string
		var index int
		var attempt int64
		f := strings.Split(id, "|")
		run = f[0]
		fmt.Sscan(f[1], &index)
		fmt.Sscan(f[2], &attempt)
		if run == w.sub.Run && attempt < w.sub.Attempt && index%w.sub.Of == w.sub.Index {
			delete(w.l.hidden, id)
		}
	}
	return nil
}

// driven drives the sink operator as a task does.
type driven[T any] struct {
	op  *operator.Sink[T]
	seq int
}

func openSink[T any](sink millrace.Sink[T], sub millrace.Subtask, restored []any) (proof.Subtask[T], error) {
	op := &operator.Sink[T]{OpenWriter: func(ctx context.Context, env *operator.Env) (operator.RecordWriter[T], error) {
		return sink.OpenWriter(ctx, sub)
	}}
	env := &operator.Env{
		Ctx: context.Background(), Job: sub.Job, Name: sub.Operator, UID: sub.Operator,
		Index: sub.Index, Parallelism: sub.Of, Checkpointed: sub.Checkpointed, Run: sub.Run, Attempt: sub.Attempt,
		Clock: new(clock.Manual), Cursor: &operator.Cursor{},
	}
	if err := op.Open(env); err != nil {
		return nil, err
	}
	var pieces []operator.Piece
	for _, r := range restored {
		pieces = append(pieces, r.([]operator.Piece)...)
	}
	if len(pieces) > 0 {
		if err := op.Restore(pieces); err != nil {
			return nil, err
		}
	}
	return &driven[T]{op: op}, nil
}

func (d *driven[T]) Write(recs []T) error {
	b := record.New[T](len(recs) + 1)
	for _, r := range recs {
		b.Append(r, record.NoTime)
	}
	return d.op.Receive(b)
}

func (d *driven[T]) End() error {
	_, err := d.op.Finish()
	return err
}

func (d *driven[T]) Prepare(checkpoint int64) error { return d.op.Prepare(checkpoint) }
func (d *driven[T]) Notify(checkpoint int64) error  { return d.op.Notify(checkpoint) }
func (d *driven[T]) Pending() bool                  { return d.op.Pending() }
func (d *driven[T]) Close() error                   { return d.op.Close() }

// Snapshot encodes at once; that it may be later is proven of all operators.
func (d *driven[T]) Snapshot() (any, error) {
	pieces, err := d.op.Snapshot()
	if err != nil || len(pieces) == 0 {
		return nil, err
	}
	for i, p := range pieces {
		if p.Group != operator.OperatorGroup || p.State != "commits" {
			return nil, fmt.Errorf("piece %q of group %d", p.State, p.Group)
		}
		data, err := p.Encode(nil)
		if err != nil {
			return nil, err
		}
		pieces[i] = operator.Piece{State: p.State, Group: p.Group, Schema: p.Schema, Data: data}
	}
	return pieces, nil
}

func TestSinksCommitWhatCheckpointsHoldOnceAndInOrder(t *testing.T) {
	proof.Check(t, 1, 2000, func(uint64) proof.Sink[int] {
		l := newLedger()
		return proof.Sink[int]{
			Sink:   l,
			Record: func(n int) int { return n },
			Visible: func() (all []int, err error) {
				for _, recs := range l.visible {
					all = append(all, recs...)
				}
				return all, nil
			},
			Left: func() (ids []string, err error) {
				for id := range l.hidden {
					ids = append(ids, id)
				}
				slices.Sort(ids)
				return ids, nil
			},
			Break:  func(good, bad int) { l.good, l.bad = good, bad },
			Broken: func() bool { was := l.failed; l.failed = false; return was },
			Crash:  func(*rand.Rand, bool) { l.good, l.failed = -1, false },
			Open: func(_ context.Context, sub millrace.Subtask, restored []any) (proof.Subtask[int], error) {
				return openSink(l, sub, restored)
			},
		}
	})
}

// flushed counts the flushes of a writer that has no transactions.
type flushed struct{ n int }

func (f *flushed) OpenWriter(context.Context, millrace.Subtask) (millrace.Writer[int], error) {
	return f, nil
}
func (f *flushed) Write(context.Context, []int) error { return nil }
func (f *flushed) Flush(context.Context) error        { f.n++; return nil }
func (f *flushed) Close() error                       { return nil }

func TestAWriterWithoutTransactionsIsFlushedAtEachCheckpoint(t *testing.T) {
	f := &flushed{}
	d, err := openSink(f, millrace.Subtask{Of: 1, Checkpointed: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for id := int64(1); id <= 3; id++ {
		if err := d.Prepare(id); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.End(); err != nil || f.n != 4 || d.Pending() {
		t.Errorf("%d flushes, pending %t, %v", f.n, d.Pending(), err)
	}
	if s, err := d.Snapshot(); s != nil || err != nil {
		t.Errorf("snapshot %v, %v", s, err)
	}
}

func TestTransactionsThatNobodyCanCommitAreAnError(t *testing.T) {
	d, err := openSink(newLedger(), millrace.Subtask{Of: 1, Checkpointed: true, Unique: "u"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write([]int{1}); err != nil {
		t.Fatal(err)
	}
	if err := d.Prepare(7); err != nil || !d.Pending() {
		t.Fatal(err, d.Pending())
	}
	state, err := d.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openSink(&flushed{}, millrace.Subtask{Of: 1, Checkpointed: true}, []any{state}); err == nil || !strings.Contains(err.Error(), "would be lost") {
		t.Errorf("restored into a writer without transactions: %v", err)
	}
	if _, err := openSink(newLedger(), millrace.Subtask{Of: 1}, []any{state}); err == nil || !strings.Contains(err.Error(), "commit checkpoint 7: transaction ") {
		t.Errorf("restored where the transaction is not known: %v", err)
	}
}
