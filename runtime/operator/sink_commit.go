package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/millrace/millrace/runtime/codec"
)

// A Committer is an operator with effects outside that must not show before
// the checkpoint they belong to is complete. The task's driver calls it like
// the other methods of an [Operator], one call at a time:
//
//   - Prepare right before the Snapshot of a checkpoint, with ids that grow;
//   - Notify when a checkpoint is known to be complete, at any time after: late,
//     more than once, or never, for a later one says the same and more;
//   - Restore, on a fresh instance, with what snapshots of complete checkpoints
//     held.
//
// What belongs to a checkpoint that never completes is shown with the next one
// that does, or thrown away with the attempt.
type Committer interface {
	Stateful
	// Prepare ends what is open and makes it ready to be shown, so that
	// nothing but the outside's loss can prevent it. An error ends the attempt.
	Prepare(checkpoint int64) error
	// Notify tells that checkpoint is complete. What was prepared up to it and
	// is not shown yet is shown, in the order of checkpoints. After an error
	// what was not shown stays pending: the next Notify tries again, and if the
	// attempt ends the Restore of the next one does.
	Notify(checkpoint int64) error
	// Pending reports that something waits to be prepared or notified: once the
	// operator has finished, the job is not at its end before another
	// checkpoint.
	Pending() bool
}

// A Transaction is the side of a [RecordWriter] that makes a [Sink] deliver
// exactly once.
type Transaction interface {
	Prepare(ctx context.Context) (token []byte, err error)
	Commit(ctx context.Context, token []byte) error
}

// A Cleaner is a [Transaction] that removes what earlier attempts left behind.
type Cleaner interface {
	Clean(ctx context.Context) error
}

// An Ender is a [Transaction] that is told of the end: what the next Prepare
// ends is the last.
type Ender interface {
	End(ctx context.Context) error
}

// commits are the transactions of one sink.
type commits struct {
	env      *Env
	tx       Transaction // nil when the sink flushes
	codec    *codec.Codec[prepared]
	prepared []prepared // not yet committed, by checkpoint
	dirty    bool       // something may have been written since the last Prepare
	first    int64      // the first checkpoint prepared here; 0 before
	last     int64      // the last one
	told     int64      // the last one known to be complete
	cleaned  bool
}

// prepared is a transaction that waits for its checkpoint. It is what
// snapshots hold.
type prepared struct {
	Checkpoint int64
	Token      []byte
}

// commitsState is the name under which transactions are kept.
const commitsState = "commits"

func (c *commits) open(env *Env, w any) {
	c.env = env
	c.codec = codecOf[prepared](commitsState)
	if env.Checkpointed {
		c.tx, _ = w.(Transaction)
	}
	// An attempt that writes nothing has its say at the end, too.
	c.dirty = true
}

// end tells the writer that no more records will come.
func (c *commits) end() error {
	e, ok := c.tx.(Ender)
	if !ok {
		return nil
	}
	return c.env.aside("end", func() error { return e.End(c.env.Ctx) })
}

func (c *commits) prepare(checkpoint int64) error {
	if n := len(c.prepared); n > 0 && c.prepared[n-1].Checkpoint >= checkpoint {
		return fmt.Errorf("prepare checkpoint %d after checkpoint %d", checkpoint, c.prepared[n-1].Checkpoint)
	}
	return c.env.aside(fmt.Sprintf("prepare checkpoint %d", checkpoint), func() error {
		token, err := c.tx.Prepare(c.env.Ctx)
		if err != nil {
			return fmt.Errorf("prepare checkpoint %d: %w", checkpoint, err)
		}
		if token != nil {
			c.prepared = append(c.prepared, prepared{checkpoint, token})
		}
		c.dirty, c.last = false, checkpoint
		if c.first == 0 {
			c.first = checkpoint
		}
		return nil
	})
}

func (c *commits) notify(checkpoint int64) error {
	n := 0
	for n < len(c.prepared) && c.prepared[n].Checkpoint <= checkpoint {
		n++
	}
	done, err := c.commit(c.prepared[:n])
	c.prepared = slices.Delete(c.prepared, 0, done)
	if err != nil {
		return err
	}
	c.told = max(c.told, checkpoint)
	if c.first == 0 || checkpoint < c.first {
		return nil
	}
	// A checkpoint of this attempt is complete: every subtask of it has been
	// restored and has committed what it was given. What is still left of
	// earlier attempts belongs to nobody.
	c.clean()
	return nil
}

// commit commits ps in order and returns how many it has.
func (c *commits) commit(ps []prepared) (done int, err error) {
	for _, p := range ps {
		err := c.env.aside(fmt.Sprintf("commit checkpoint %d", p.Checkpoint), func() error { return c.tx.Commit(c.env.Ctx, p.Token) })
		if err != nil {
			return done, fmt.Errorf("commit checkpoint %d: %w", p.Checkpoint, err)
		}
		done++
	}
	return done, nil
}

// clean removes what earlier attempts left. That it fails does no harm but to
// the space it takes.
func (c *commits) clean() {
	cl, ok := c.tx.(Cleaner)
	if !ok || c.cleaned {
		return
	}
	c.cleaned = true
	err := c.env.aside("clean up", func() error { return cl.Clean(c.env.Ctx) })
	if err == nil {
		return
	}
	c.env.Cursor.Op = ""
	if c.env.Ctx.Err() == nil && c.env.Log != nil {
		c.env.Log.Warn("sink could not remove what earlier attempts left", slog.Any("error", err))
	}
}

func (c *commits) snapshot() []Piece {
	if len(c.prepared) == 0 {
		return nil
	}
	ps := slices.Clone(c.prepared)
	return []Piece{{State: commitsState, Group: OperatorGroup, Schema: schemas(c.codec.Schema()), Encode: func(dst []byte) (_ []byte, err error) {
		defer encodeError(&err)
		for i := range ps {
			dst = c.codec.Append(dst, &ps[i])
		}
		return dst, nil
	}}}
}

// restored reads the transactions of all pieces, by checkpoint.
func (c *commits) restored(pieces []Piece) (ps []prepared, err error) {
	for _, p := range pieces {
		if p.State != commitsState {
			return nil, fmt.Errorf("state %s: %w", p.State, ErrUndeclared)
		}
		written, err := splitSchemas(p.Schema, 1)
		if err != nil {
			return nil, fmt.Errorf("state %s: %w", p.State, err)
		}
		d, err := under(c.codec, written[0])
		if err != nil {
			return nil, fmt.Errorf("state %s: %w", p.State, err)
		}
		for src := p.Data; len(src) > 0; {
			var q prepared
			if src, err = d.decode(src, &q); err != nil {
				return nil, fmt.Errorf("state %s: %w", p.State, err)
			}
			ps = append(ps, q)
		}
	}
	slices.SortStableFunc(ps, func(a, b prepared) int { return cmp.Compare(a.Checkpoint, b.Checkpoint) })
	return ps, nil
}

// errNoTransaction is the error of a sink that has to commit what an earlier
// program prepared, and cannot.
var errNoTransaction = errors.New("the snapshot holds transactions to commit, and the sink's writer has none now: what they hold would be lost")

// Prepare implements [Committer].
func (s *Sink[T]) Prepare(checkpoint int64) error {
	if s.commits.tx == nil {
		return s.flush()
	}
	return s.commits.prepare(checkpoint)
}

// Notify implements [Committer].
func (s *Sink[T]) Notify(checkpoint int64) error {
	if s.commits.tx == nil {
		return nil
	}
	return s.commits.notify(checkpoint)
}

// Pending implements [Committer].
func (s *Sink[T]) Pending() bool {
	c := &s.commits
	return c.tx != nil && (c.dirty || c.told < c.last)
}

// Snapshot implements [Stateful]: the transactions that are prepared and not
// yet committed.
func (s *Sink[T]) Snapshot() ([]Piece, error) { return s.commits.snapshot(), nil }

// Restore implements [Stateful]: it commits what the snapshot held, for its
// checkpoint is complete. Some of it may have been committed before.
func (s *Sink[T]) Restore(pieces []Piece) error {
	ps, err := s.commits.restored(pieces)
	if err != nil || len(ps) == 0 {
		return err
	}
	tx, _ := s.w.(Transaction)
	if tx == nil {
		return errNoTransaction
	}
	c := s.commits
	c.tx = tx // also where no checkpoints are taken any more
	_, err = c.commit(ps)
	return err
}
