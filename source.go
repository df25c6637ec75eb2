package millrace

import (
	"context"
	"time"

	"github.com/millrace/millrace/runtime/record"
)

// A Source is a set of splits and a way to read each one.
//
// Splits are shared out over the source's subtasks. Splits is called once when
// the job starts, for every source; a Source is therefore used by several
// goroutines and must not change after the job was built.
type Source[T any] interface {
	// Splits lists the independently readable parts. parallelism is the
	// number of subtasks that will read, for sources that can be cut anywhere;
	// the order is kept.
	Splits(ctx context.Context, parallelism int) ([]Split, error)
	// Open starts reading s at the position a Reader returned, or at the
	// split's start when at is nil.
	Open(ctx context.Context, s Split, at Position) (Reader[T], error)
	// Bounded reports whether the splits listed are all there will ever be
	// and each of them ends.
	Bounded() bool
}

// Split is one independently readable part of a source.
type Split struct {
	// ID is unique within the source and stable over restarts.
	ID string
	// Data is what Open needs; it is opaque to the engine.
	Data []byte
}

// Position is a reader's place in its split, opaque to the engine.
type Position []byte

// A Reader reads one split. It is used by one goroutine at a time.
type Reader[T any] interface {
	// Read appends records to out, at most out.Room() of them, and returns
	// io.EOF (with or without records) when the split has ended. It may block
	// until it has one or ctx ends, unless the reader is an [InlineReader].
	// Read appending nothing and returning nil means there is nothing now;
	// call out.Wait first to say when to ask again.
	Read(ctx context.Context, out *Rows[T]) error
	// Position is the place after the last record Read appended.
	Position() Position
	Close() error
}

// An InlineReader is a Reader whose Read never waits for anything slower than
// a local file. The engine calls it straight from the task; every other
// reader gets a goroutine that reads ahead.
type InlineReader interface{ ReadsInline() }

// Rows is where a [Reader] puts its records. It is borrowed for one call of
// Read.
type Rows[T any] struct {
	batch *record.Batch[T]
	wait  time.Duration
	bad   []BadRecord
}

// Room is the number of records that can still be appended.
func (r *Rows[T]) Room() int { return cap(r.batch.Rows) - len(r.batch.Rows) }

// Len is the number of records appended so far.
func (r *Rows[T]) Len() int { return len(r.batch.Rows) }

// Append adds a record without an event time. There must be room.
func (r *Rows[T]) Append(v T) { r.batch.Append(v, record.NoTime) }

// AppendAt adds a record whose event time is ms milliseconds since the epoch.
// There must be room.
func (r *Rows[T]) AppendAt(v T, ms int64) { r.batch.Append(v, ms) }

// Next adds a record and returns it to be filled in place, which saves a copy.
// It holds what an earlier use left there: overwrite every field. There must
// be room.
func (r *Rows[T]) Next() *T { return r.batch.Next(record.NoTime) }

// NextAt is Next for a record whose event time is ms milliseconds since the
// epoch.
func (r *Rows[T]) NextAt(ms int64) *T { return r.batch.Next(ms) }

// Fill adds n records at once and returns them, and their event times in
// milliseconds, to be filled in place: the fastest form. Rows hold what an
// earlier use left there, times hold garbage; n must not exceed Room.
func (r *Rows[T]) Fill(n int) (rows []T, times []int64) {
	b := r.batch
	m := len(b.Rows)
	b.Rows = b.Rows[:m+n]
	b.Times = b.Times[:m+n]
	return b.Rows[m:], b.Times[m:]
}

// Wait says that the split has nothing to read for d from now.
func (r *Rows[T]) Wait(d time.Duration) { r.wait = d }

// Bad reports a record that cannot be read. If the job has asked for the
// source's bad records (see [Stream.BadRecords]) they go there and reading
// goes on; otherwise the job fails with b as its error.
func (r *Rows[T]) Bad(b BadRecord) { r.bad = append(r.bad, b) }

// BadRecord is a piece of input that could not be turned into a record. As JSON
// its Raw is text wherever it can be.
type BadRecord struct {
	// Source is the operator id of the source that met it.
	Source string
	// Split is the split (for files: the path), Position the place in it in
	// words, such as "line 17" or "byte 4711".
	Split, Position string
	// Field names the field at fault; empty when the whole is.
	Field string
	// Reason says what is wrong.
	Reason string
	// Raw is the original bytes as far as they are known.
	Raw []byte
}

// Error makes a BadRecord usable as the error that ends a job.
func (b BadRecord) Error() string {
	s := b.Split
	if b.Position != "" {
		s += ": " + b.Position
	}
	if b.Field != "" {
		s += ": field " + b.Field
	}
	return s + ": " + b.Reason
}

// A Sink opens one Writer in each subtask.
type Sink[T any] interface {
	OpenWriter(ctx context.Context, sub Subtask) (Writer[T], error)
}

// A SingleWriter is a [Sink] that may be able to have one Writer only, such as
// one that writes a single file. If SingleWriter returns true, its operator has
// a parallelism of 1.
type SingleWriter interface{ SingleWriter() bool }

// Subtask says which of the parallel instances of an operator this is.
type Subtask struct {
	Job, Operator string
	// Index counts from 0 to Of-1.
	Index, Of int

	// Checkpointed says, to a [Sink], that the job takes checkpoints: the
	// methods of [Transaction] will be called and Flush will not.
	Checkpointed bool
	// Run names this run of the job: the same after each restart from its own
	// checkpoints, and not that of any other running job. Attempt grows with
	// each restart within it. Run is empty where nobody can promise that.
	Run     string
	Attempt int64
	// Unique is a word of letters and digits that no other opening of a writer
	// has, for names that must not meet. Set when Checkpointed is.
	Unique string
}

// A Writer writes records outside. It is used by one goroutine at a time.
type Writer[T any] interface {
	// Write takes records in order. The slice is borrowed: what the writer
	// keeps it copies. Strings in the records stay valid.
	Write(ctx context.Context, recs []T) error
	// Flush returns when everything written is durable outside. It is called
	// at the end of the input, and at each checkpoint of a job that takes them.
	Flush(ctx context.Context) error
	// Close releases what the writer holds. It is called once, after Flush
	// when the input ended, without it when the job failed: what was not
	// flushed may then be thrown away.
	Close() error
}

// Transaction is the two-phase side of a Writer, for sinks that deliver
// exactly once. In a job that takes checkpoints it takes the place of Flush.
// Its methods are called by the same goroutine as the Writer's.
//
//	Write … Write, Prepare          for each checkpoint
//	Commit                          when the checkpoint is known to be complete,
//	                                perhaps after more of Write and Prepare
//	Close                           at the end of the job, after a failure or a
//	                                cancellation, or not at all if the process died
//
// A writer opened after a failure gets the tokens of the checkpoint that the
// job goes on from, by Commit, before anything is written: those of this
// subtask or another one, of whatever number of subtasks there were, and
// committed already or not. What was prepared for later checkpoints is written
// again; its tokens do not come, and what they stand for must never become
// visible. Close must therefore leave alone what was prepared: whether its
// checkpoint has completed may not be known yet. See [Cleaner].
type Transaction interface {
	// Prepare ends the open transaction and makes durable what Commit needs,
	// so that it can be committed by any writer of the sink at any later time.
	// The token is kept in the checkpoint; nil says that there is nothing to
	// commit. After an error the job starts again from its last checkpoint.
	Prepare(ctx context.Context) (token []byte, err error)
	// Commit makes a prepared transaction visible, durably. Tokens of one
	// writer come in the order in which they were prepared. Commit of a token
	// that has been committed, wholly or in part, by this writer or by one
	// whose process has died since, succeeds and changes nothing that is
	// there. What is lost is an error, never nothing. After an error Commit
	// is called again with the same token, by this writer or the next.
	Commit(ctx context.Context, token []byte) error
}

// A Cleaner is a [Transaction] that can remove what earlier attempts left.
type Cleaner interface {
	// Clean removes what writers of this operator left open or prepared in
	// attempts of the same [Subtask] Run with a smaller Attempt, as far as it
	// is this subtask's: that of subtasks whose Index modulo Of is its own. It
	// is called once, after the first checkpoint of this attempt has completed
	// and been committed; by then every writer has committed the tokens it was
	// given, so that nothing that is left belongs to anybody. Must not be
	// touched: what is of this attempt or a later one, of another Run (whose
	// checkpoints may hold it), or visible. An error is logged, no more.
	Clean(ctx context.Context) error
}

// An Ender is a [Transaction] that wants to know the end of its input.
type Ender interface {
	// End is called after the last Write, before the last Prepare. It is
	// called again in an attempt that goes on from before that Prepare's
	// checkpoint, and not at all when the job is stopped to be continued.
	End(ctx context.Context) error
}

// NewRows returns a Rows for up to size records, for tests of readers and for
// sources that wrap others.
func NewRows[T any](size int) *Rows[T] { return &Rows[T]{batch: record.New[T](size)} }

// Records returns what was appended since the last Reset; borrowed.
func (r *Rows[T]) Records() []T { return r.batch.Rows }

// Times returns the event times of Records in milliseconds; borrowed.
func (r *Rows[T]) Times() []int64 { return r.batch.Times }

// BadRecords returns what was reported by Bad since the last Reset; borrowed.
func (r *Rows[T]) BadRecords() []BadRecord { return r.bad }

// WaitFor returns what Wait was last told since the last Reset.
func (r *Rows[T]) WaitFor() time.Duration { return r.wait }

// Reset empties r for its next use.
func (r *Rows[T]) Reset() {
	r.batch.Reset()
	r.bad = r.bad[:0]
	r.wait = 0
}
