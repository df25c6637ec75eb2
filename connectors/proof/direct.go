package proof

import (
	"context"
	"errors"
	"slices"

	"github.com/millrace/millrace"
)

// direct opens a writer and drives it as the engine does.
func (s Sink[T]) direct(ctx context.Context, sub millrace.Subtask, restored []any) (Subtask[T], error) {
	w, err := s.Sink.OpenWriter(ctx, sub)
	if err != nil {
		return nil, err
	}
	d := &driven[T]{ctx: ctx, w: w, dirty: true}
	var ok bool
	if d.tx, ok = w.(millrace.Transaction); !ok {
		return nil, errors.New("the writer is not a millrace.Transaction")
	}
	var tokens []kept
	for _, r := range restored {
		tokens = append(tokens, r.([]kept)...)
	}
	slices.SortStableFunc(tokens, func(a, b kept) int { return int(a.checkpoint - b.checkpoint) })
	for _, t := range tokens {
		if err := d.tx.Commit(ctx, t.token); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	return d, nil
}

// kept is a token that waits for its checkpoint.
type kept struct {
	checkpoint int64
	token      []byte
}

type driven[T any] struct {
	ctx     context.Context
	w       millrace.Writer[T]
	tx      millrace.Transaction
	kept    []kept
	dirty   bool
	first   int64
	last    int64
	told    int64
	cleaned bool
}

func (d *driven[T]) Write(recs []T) error {
	d.dirty = true
	return d.w.Write(d.ctx, recs)
}

func (d *driven[T]) End() error {
	if e, ok := d.w.(millrace.Ender); ok {
		return e.End(d.ctx)
	}
	return nil
}

func (d *driven[T]) Prepare(checkpoint int64) error {
	token, err := d.tx.Prepare(d.ctx)
	if err != nil {
		return err
	}
	if token != nil {
		d.kept = append(d.kept, kept{checkpoint, slices.Clone(token)})
	}
	d.dirty, d.last = false, checkpoint
	if d.first == 0 {
		d.first = checkpoint
	}
	return nil
}

func (d *driven[T]) Snapshot() (any, error) {
	if len(d.kept) == 0 {
		return nil, nil
	}
	return slices.Clone(d.kept), nil
}

func (d *driven[T]) Notify(checkpoint int64) error {
	for len(d.kept) > 0 && d.kept[0].checkpoint <= checkpoint {
		if err := d.tx.Commit(d.ctx, d.kept[0].token); err != nil {
			return err
		}
		d.kept = d.kept[1:]
	}
	d.told = max(d.told, checkpoint)
	if c, ok := d.w.(millrace.Cleaner); ok && !d.cleaned && d.first > 0 && checkpoint >= d.first {
		d.cleaned = true
		_ = c.Clean(d.ctx) // what it cannot remove is found at the end
	}
	return nil
}

func (d *driven[T]) Pending() bool { return d.dirty || d.told < d.last }

func (d *driven[T]) Close() error { return d.w.Close() }
