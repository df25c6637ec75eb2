package operator

import (
	"context"
	"time"

	"github.com/millrace/millrace/runtime/record"
)

// A RecordWriter is the sink's side of one subtask. It may also be a
// [BatchWriter].
type RecordWriter[T any] interface {
	Write(ctx context.Context, recs []T) error
	Flush(ctx context.Context) error
	Close() error
}

// A BatchWriter is a writer that takes rows as they lie in a batch, with their
// event times, instead of a slice without gaps.
type BatchWriter[T any] interface {
	WriteBatch(ctx context.Context, rows []T, times []int64, live []int32) error
}

// Sink ends a stream in a writer. Without checkpoints what was written becomes
// visible at the end. With checkpoints a writer that is a [Transaction] shows
// what belongs to completed checkpoints, exactly once; any other writer is
// flushed at every checkpoint, which delivers at least once.
type Sink[T any] struct {
	Plain
	// OpenWriter is called by Open.
	OpenWriter func(ctx context.Context, env *Env) (RecordWriter[T], error)

	w       RecordWriter[T]
	bw      BatchWriter[T]
	dense   []T
	commits commits
}

// Open implements [Operator].
func (s *Sink[T]) Open(env *Env) (err error) {
	s.Plain.Open(env)
	err = env.aside("open writer", func() (err error) {
		s.w, err = s.OpenWriter(env.Ctx, env)
		return err
	})
	if err != nil {
		return err
	}
	s.bw, _ = s.w.(BatchWriter[T])
	s.commits.open(s.env, s.w)
	return nil
}

// Input implements [Operator].
func (s *Sink[T]) Input(int) any { return s }

// Connect implements [Operator]; a sink has no outputs.
func (s *Sink[T]) Connect(int, any) {}

// Receive implements [Receiver].
func (s *Sink[T]) Receive(b *record.Batch[T]) error {
	s.commits.dirty = true
	cur := s.enter(b.Times)
	cur.What = "write from"
	var err error
	switch {
	case s.bw != nil:
		err = s.bw.WriteBatch(s.env.Ctx, b.Rows, b.Times, b.Live())
	case b.Sel == nil:
		err = s.w.Write(s.env.Ctx, b.Rows)
	default:
		s.dense = s.dense[:0]
		for _, i := range b.Sel {
			s.dense = append(s.dense, b.Rows[i])
		}
		err = s.w.Write(s.env.Ctx, s.dense)
		clear(s.dense)
	}
	if err != nil {
		return err
	}
	cur.Op, cur.What = "", ""
	s.count += int64(b.Len())
	return nil
}

// Finish implements [Operator]: what was written becomes durable, or waits for
// the last checkpoint.
func (s *Sink[T]) Finish() (bool, error) {
	var err error
	if s.commits.tx != nil {
		err = s.commits.end()
	} else {
		err = s.flush()
	}
	return err == nil, err
}

func (s *Sink[T]) flush() error {
	return s.env.aside("flush", func() error { return s.w.Flush(s.env.Ctx) })
}

// Close implements [Operator].
func (s *Sink[T]) Close() error {
	if s.w == nil {
		return nil
	}
	return s.env.aside("close writer", s.w.Close)
}

// timeOf is processing time as the watermark machines want it.
func timeOf(env *Env) time.Time { return time.Unix(0, env.Clock.Now()) }
