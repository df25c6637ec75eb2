// Package operator holds the operators of a chain: what one subtask of a map,
// window, join or process function does with the batches that reach it.
//
// An operator knows its typed receivers and nothing of who drives it, where
// its input comes from or whether the next operator is a call, a queue or a
// socket away. Records travel down a chain by [Receiver.Receive], a whole
// batch a call. Watermarks and the end of input do not travel inside the
// chain: the task visits its operators in order (see package runtime/task), so
// that a long firing can be interrupted between two operators.
package operator

import (
	"context"
	"log/slog"

	"github.com/millrace/millrace/runtime/clock"
	"github.com/millrace/millrace/runtime/record"
)

// A Receiver takes batches of T. The batch is borrowed for the call (see
// [record.Batch]). An error ends the attempt.
type Receiver[T any] interface {
	Receive(b *record.Batch[T]) error
}

// An Operator is one node of a chain in one subtask. Its task's driver is the
// only caller; no method is called concurrently with another, nor with the
// Receive of its inputs.
//
// The order of calls is Open, then any of the others, then Finish once all
// inputs have ended, then Close, always and last.
type Operator interface {
	// Open prepares the operator. Its outputs are connected already.
	Open(env *Env) error
	// Input returns the Receiver of input i (a Receiver[T] for that input's T).
	Input(i int) any
	// Connect makes r receive what the operator sends to output port. r is a
	// Receiver of the port's type; port 0 is the main output. A port without
	// a receiver costs nothing.
	Connect(port int, r any)
	// Advance tells that event time is wm (milliseconds): no record at or
	// before it will come. The operator fires what is due. done false means it
	// stopped in between and wants to be called again with the same wm before
	// anything else; then out has no meaning. out is the event time the
	// operators behind it may believe, usually wm.
	Advance(wm int64) (out int64, done bool, err error)
	// Finish tells that all inputs have ended and the last watermark has been
	// handled. It may send records. done false means call again.
	Finish() (done bool, err error)
	// Close releases what the operator holds; after a failure, too.
	Close() error
}

// A Ticker is an operator that acts on processing time.
type Ticker interface {
	// Due is the processing time in milliseconds at which OnTime wants to be
	// called next; ok false means never.
	Due() (at int64, ok bool)
	// OnTime is called when processing time now has reached Due. done false
	// means call again before anything else.
	OnTime(now int64) (done bool, err error)
}

// A Poster is an operator that gets news from goroutines of its own: they call
// Env.Post, and the task calls OnPost soon after.
type Poster interface{ OnPost() error }

// A Timekeeper is an operator whose event time moves by itself, not only when
// its input's does: one that assigns timestamps, or holds watermarks back
// while records are under way. The task asks after each step.
type Timekeeper interface {
	// Event returns the event time the operators behind it may believe now.
	EventTime() int64
}

// An InputEnder is an operator with several inputs that wants to know when one
// of them has ended (bounded side inputs, joins).
type InputEnder interface{ EndInput(i int) error }

// A Gated operator may refuse records of one of its inputs for a while; the
// task then keeps them in the queue. It is asked before each batch.
type Gated interface{ Wants(input int) bool }

// A LateDropper is an operator that drops records which come too late, unless
// somebody reads them.
type LateDropper interface {
	// LateDropped is how many it has dropped since Open.
	LateDropped() int64
}

// Stateful operators can be snapshotted between any two calls and restored
// after Open of a fresh instance, before anything else.
type Stateful interface {
	// Snapshot returns the operator's state at this instant. It takes time
	// independent of the state's size; the pieces encode themselves later,
	// possibly on another goroutine while the operator works on.
	Snapshot() ([]Piece, error)
	// Restore adds pieces that belong to this subtask: those of its key
	// groups, and the operator state assigned to it.
	Restore(pieces []Piece) error
}

// OperatorGroup is the Group of a Piece that belongs to no key group.
const OperatorGroup = -1

// UnionGroup is the Group of operator state that every subtask gets a copy of
// when restored.
const UnionGroup = -2

// BroadcastGroup is the Group of broadcast state: identical in every subtask,
// written once.
const BroadcastGroup = -3

// A Piece is a part of an operator's snapshot: one named state's entries in
// one key group, or operator state.
type Piece struct {
	// State is the state's name within the operator.
	State string
	// Group is the key group, or OperatorGroup, UnionGroup, BroadcastGroup.
	Group int
	// Schema describes the bytes, so that a changed type can read them.
	Schema []byte
	// Data is set in a piece that is to be restored.
	Data []byte
	// Encode appends the piece's bytes; set in a piece just snapshotted. It
	// may be called from any goroutine, once.
	Encode func(dst []byte) ([]byte, error)
}

// Env is what an operator is given about the place it runs in.
type Env struct {
	// Ctx ends when the attempt is cancelled.
	Ctx context.Context
	// Job is the job's name, Name the operator's, UID its id in snapshots.
	Job, Name, UID string
	// Index of Parallelism subtasks.
	Index, Parallelism int
	// MaxParallelism is the number of key groups.
	MaxParallelism int
	// BatchSize is the capacity of the batches the operator makes.
	BatchSize int
	// Clock tells processing time.
	Clock clock.Clock
	// Log has job, operator and subtask on it.
	Log *slog.Logger
	// Checkpointed says that the job takes checkpoints: sinks wait for them
	// before they show what they have written.
	Checkpointed bool
	// Run names this run of the job: it stays the same when the job is
	// restarted after a failure and goes on from its own checkpoints, and no
	// other running job has it. Empty where nobody can promise that.
	Run string
	// Attempt grows with every restart within a Run, after a restart of the
	// process too.
	Attempt int64
	// Post wakes the task so that it calls OnPost. Safe from any goroutine.
	Post func()
	// Cursor is where the task's user code is; see [Cursor].
	Cursor *Cursor
	// Yield reports whether a long firing should stop in between and return
	// done false.
	Yield func() bool
	// Blocking lets sources read ahead on goroutines of their own. Off in
	// simulations, where everything happens on one goroutine.
	Blocking bool
	// Go runs f on a goroutine that the job waits for before it ends. Not to
	// be used unless Blocking.
	Go func(f func())
	// Rand picks a number below n. Set in simulations only, where it stands in
	// for whatever the outside would have decided.
	Rand func(n int) int
}

// NowMillis is the processing time in milliseconds.
func (e *Env) NowMillis() int64 { return clock.Millis(e.Clock) }

// aside calls user code that belongs to no record; doing says what is called.
// When it fails the cursor stays where it is.
func (e *Env) aside(doing string, f func() error) error {
	e.Cursor.Aside(e.Name, doing)
	if err := f(); err != nil {
		return err
	}
	e.Cursor.Op = ""
	return nil
}

// A Cursor says which user code a task is in; the tasks' way to tell what
// failed. See [record.Cursor].
type Cursor = record.Cursor
