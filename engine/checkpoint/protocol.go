package checkpoint

import (
	"fmt"
	"time"
)

// An ID numbers the checkpoints and savepoints of a job from 1 in the order in
// which they are started. No id is used twice, whatever becomes of the first
// use. 0 is no checkpoint.
type ID int64

// A Task is a subtask of the job: its index in the [Topology].
type Task int

// An Attempt numbers the tries of one task; it grows with every restart.
type Attempt int

// A RequestID names a [Request] in its [Answer]. The caller chooses it.
type RequestID int64

// Kind says what a snapshot is for.
type Kind uint8

const (
	// Checkpoint is for recovery; the engine owns it and deletes it.
	Checkpoint Kind = iota
	// Savepoint is the user's. It is always aligned, never subsumed, never
	// deleted, not used for recovery, and commits nothing.
	Savepoint
	// Stop is a savepoint after which the job ends. Tasks block behind their
	// barrier until it completes, sinks commit it.
	Stop
	// Drain is a Stop before which all windows and timers fire, as at the end
	// of the input.
	Drain
)

var kindNames = [...]string{"checkpoint", "savepoint", "stop with savepoint", "drain with savepoint"}

// String returns the kind in words.
func (k Kind) String() string { return kindNames[k] }

// Savepoint reports whether the snapshot is the user's.
func (k Kind) Savepoint() bool { return k != Checkpoint }

// Ends reports whether the job ends after the snapshot. Its tasks block
// between their part of it and its completion.
func (k Kind) Ends() bool { return k == Stop || k == Drain }

// commits reports whether sinks commit when a snapshot of the kind completes.
func (k Kind) commits() bool { return k != Savepoint }

// Format says how a savepoint is written. The coordinator only passes it on.
type Format uint8

const (
	// Canonical is independent of the state backend.
	Canonical Format = iota
	// Native is the backend's own, and faster.
	Native
)

var formatNames = [...]string{"CANONICAL", "NATIVE"}

// String returns the format as Flink's REST interface spells it.
func (f Format) String() string { return formatNames[f] }

// A Topology is the tasks of a job and how barriers get from one to the next.
type Topology struct {
	Tasks []TaskInfo
}

// TaskInfo describes one task.
type TaskInfo struct {
	// Vertex is the chain of operators that the task is one of the subtasks
	// of. The subtasks of a vertex stand together, in order.
	Vertex string
	// Inputs are the tasks that send to it; none for a source. Tasks of one
	// vertex may share the slice.
	Inputs []Task
}

// Metrics of one task's part in a snapshot. Durations and sizes are as Flink
// defines them.
type Metrics struct {
	StartDelay time.Duration // from the trigger to the first barrier
	Alignment  time.Duration // from the first barrier to the last
	Sync       time.Duration // in which the task stood still
	Async      time.Duration // in the background after it
	// CheckpointedBytes were written for this snapshot, StateBytes belong to
	// it: without incremental snapshots the two are equal.
	CheckpointedBytes int64
	StateBytes        int64
	// ProcessedBytes were processed during the alignment, PersistedBytes of
	// records on their way were written because the barrier overtook them.
	ProcessedBytes int64
	PersistedBytes int64
	Unaligned      bool
}

// Event is something that happened to a job; see the types that implement it.
// Those that come from tasks ([Ack], [Decline], [Running], [EndOfData],
// [Finished], [Backlog]) may be late, doubled or lost. The others come from
// the driver itself, which tells each once.
type Event interface{ event() }

type (
	// Tick says that time has passed. The driver sends one when it has been
	// asked to by [WakeAt]; more do no harm.
	Tick struct{}

	// Request asks for a snapshot now. It is answered by one [Answer].
	Request struct {
		ID   RequestID
		Kind Kind
		// Full asks for a checkpoint that depends on no earlier one.
		Full bool
		// Format and Target, the directory, of a savepoint.
		Format Format
		Target string
	}

	// Running says that a task has restored its state and processes records.
	Running struct {
		Task    Task
		Attempt Attempt
	}

	// Backlog says whether a source works on old records, for which
	// [Config.BacklogInterval] holds. Of two the one with the greater Seq is
	// true, whichever comes last. As one may be lost, sources repeat it.
	Backlog struct {
		Task    Task
		Attempt Attempt
		Seq     int // from 1
		On      bool
	}

	// EndOfData says that a task has come to the end of all its inputs and now
	// waits for a checkpoint to complete before it finishes.
	EndOfData struct {
		Task    Task
		Attempt Attempt
	}

	// Finished says that a task has ended well. Whatever it sent has been
	// processed by those it sent it to.
	Finished struct {
		Task    Task
		Attempt Attempt
		// Last is the newest snapshot that the task took part in. Its part in
		// those after is to have finished.
		Last ID
	}

	// Ack says that a task's part of a snapshot is durable.
	Ack struct {
		Checkpoint ID
		Task       Task
		Attempt    Attempt
		// Handle leads to what was written. The coordinator only passes it on.
		Handle any
		// Finished says that the task had processed all of its input before
		// the barrier and will not run again when restored.
		Finished bool
		Metrics  Metrics
	}

	// Decline says that a task will not acknowledge a snapshot.
	Decline struct {
		Checkpoint ID
		Task       Task
		Attempt    Attempt
		Reason     DeclineReason
		Cause      error
	}

	// Failed says that an attempt is lost, whatever the reason.
	Failed struct {
		Task    Task
		Attempt Attempt
		Cause   error
	}

	// TriggerFailed says that a [Trigger] could not be carried out: no place
	// to write to, no connection to a source.
	TriggerFailed struct {
		Checkpoint ID
		Cause      error
	}

	// Published says that the manifest of a snapshot is durable and whole.
	Published struct {
		Checkpoint ID
		// Path leads users to the snapshot.
		Path string
	}

	// PublishFailed says that a manifest is not there and never will be.
	PublishFailed struct {
		Checkpoint ID
		Cause      error
	}

	// PublishUnknown says that nobody knows whether a manifest is there: the
	// store did not answer, or with an error that may mean both.
	PublishUnknown struct {
		Checkpoint ID
		Cause      error
	}

	// Discarded says that a [Discard] or [Drop] is over. After a Cause, files
	// may be left.
	Discarded struct {
		Checkpoint ID
		Cause      error
	}

	// Reserved answers [Reserve].
	Reserved struct{ Below ID }

	// Recover says that tasks have failed and others were stopped with them,
	// and asks which snapshot to restore them from. [Restore] is the answer;
	// after another failure the driver may ask again.
	Recover struct{}

	// Restored says that tasks are about to run again from a snapshot.
	Restored struct {
		// Checkpoint is one of those that [Restore] gave; 0, to begin anew, is
		// allowed only if it gave none. If it is not the newest of them, all
		// tasks must be restored, for the newer ones, which were found
		// damaged, are given up.
		Checkpoint ID
		// Tasks that were restored; nil for all.
		Tasks []Task
		// Attempt of these tasks from now on, greater than any they had.
		Attempt Attempt
	}

	// JobEnded says how the job ended. It is the last event, except that
	// [Discarded] may follow.
	JobEnded struct{ How End }
)

func (Tick) event()           {}
func (Request) event()        {}
func (Running) event()        {}
func (Backlog) event()        {}
func (EndOfData) event()      {}
func (Finished) event()       {}
func (Ack) event()            {}
func (Decline) event()        {}
func (Failed) event()         {}
func (TriggerFailed) event()  {}
func (Published) event()      {}
func (PublishFailed) event()  {}
func (PublishUnknown) event() {}
func (Discarded) event()      {}
func (Reserved) event()       {}
func (Recover) event()        {}
func (Restored) event()       {}
func (JobEnded) event()       {}

// DeclineReason says why a task will not acknowledge.
type DeclineReason uint8

const (
	// DeclinedFailed: its state could not be taken or written. The only one of
	// these reasons that counts as a failed checkpoint.
	DeclinedFailed DeclineReason = iota
	// DeclinedNotReady: it has not finished restoring its state.
	DeclinedNotReady
	// DeclinedClosing: it is being stopped.
	DeclinedClosing
	// DeclinedCancelled: it was told that the snapshot is given up.
	DeclinedCancelled
	// DeclinedSubsumed: the barrier of a newer one came first.
	DeclinedSubsumed
	// DeclinedInputEnded: an input ended in the middle of it.
	DeclinedInputEnded
)

var declineNames = [...]string{"snapshot failed", "not ready", "closing", "cancelled", "subsumed", "input ended"}

// String returns the reason in words.
func (r DeclineReason) String() string { return declineNames[r] }

// End says how a job ended.
type End uint8

const (
	// JobFinished: all tasks have finished.
	JobFinished End = iota
	// JobCancelled: the user stopped it.
	JobCancelled
	// JobFailed: it failed and is not restarted.
	JobFailed
	// JobSuspended: this coordinator stops, another will go on with the job.
	JobSuspended
)

var endNames = [...]string{"finished", "cancelled", "failed", "suspended"}

// String returns the end in words.
func (e End) String() string { return endNames[e] }

// Action is something that the driver must now do, in the order returned; see
// the types that implement it.
type Action interface{ action() }

type (
	// Trigger starts a snapshot: the driver tells the tasks, which put its
	// barrier into what they send. A task ignores a trigger that is not newer
	// than all it has seen. A task that has inputs is triggered when all of
	// them have finished, and takes the barrier behind all that they sent.
	//
	// A second Trigger of one id tells tasks whose inputs have finished in the
	// meantime.
	Trigger struct {
		Checkpoint ID
		Kind       Kind
		Tasks      []Task
		At         time.Time // of the first trigger of this id
		Mode       Mode
		// Unaligned lets the barrier overtake after AlignedTimeout.
		Unaligned      bool
		AlignedTimeout time.Duration
		// Full: depend on no earlier snapshot.
		Full   bool
		Format Format
		Target string
	}

	// Publish makes a snapshot durable by writing its manifest in one atomic
	// step. Answered by [Published], [PublishFailed] or [PublishUnknown].
	Publish struct{ Manifest }

	// Confirm asks the store whether a manifest is there whose publication had
	// an unknown result. Answered like [Publish].
	Confirm struct{ Checkpoint ID }

	// Notify tells tasks that a snapshot is complete: sinks commit it and all
	// before it, local copies of older ones may go. It may be lost or come
	// twice; a later one implies it, and so does restoring from it.
	Notify struct {
		Checkpoint ID
		Tasks      []Task
		// Subsumed is the newest snapshot that is no longer needed; 0 if none.
		Subsumed ID
	}

	// Abort tells tasks that a snapshot is given up. Sinks keep what they have
	// prepared for it: it is committed with the next one.
	Abort struct {
		Checkpoint ID
		Tasks      []Task
		Err        *AbortError
	}

	// Discard deletes what was written for a snapshot that is given up, or
	// that was found damaged. If Manifest is set, its manifest may exist or be
	// about to: the driver first makes sure that it does not and never will,
	// such as by putting a mark in its place that only the first writer of a
	// name can write. Answered by [Discarded].
	Discard struct {
		Checkpoint ID
		Manifest   bool
		// Acks that were received, in task order.
		Acks []Ack
	}

	// DiscardLate deletes what a task has written for a snapshot that had been
	// given up before. It is not answered.
	DiscardLate struct{ Ack Ack }

	// Drop deletes a complete checkpoint that is no longer retained, its
	// manifest first, except what others share. Answered by [Discarded].
	Drop struct {
		Checkpoint ID
		Path       string
	}

	// Restore answers [Recover]: restore from the first of the candidates that
	// is whole, or from the beginning if there are none.
	Restore struct{ Candidates []Completed }

	// FailJob stops all tasks; what follows is for the restart strategy to
	// decide. The coordinator takes all attempts for lost.
	FailJob struct{ Cause error }

	// Answer ends a [Request]. Err and Path may both be set: the savepoint
	// exists but the job did not end as it should have.
	Answer struct {
		Request    RequestID
		Checkpoint ID
		Path       string
		Err        error
	}

	// Reserve records durably that all ids below Below may be in use; whoever
	// goes on with the job after a crash begins there. Answered by [Reserved].
	Reserve struct{ Below ID }

	// WakeAt asks for a [Tick] at At instead of at any time asked for before;
	// never, if At is zero.
	WakeAt struct{ At time.Time }
)

func (Trigger) action()     {}
func (Publish) action()     {}
func (Confirm) action()     {}
func (Notify) action()      {}
func (Abort) action()       {}
func (Discard) action()     {}
func (DiscardLate) action() {}
func (Drop) action()        {}
func (Restore) action()     {}
func (FailJob) action()     {}
func (Answer) action()      {}
func (Reserve) action()     {}
func (WakeAt) action()      {}

// A Manifest is what a store needs to know of a snapshot.
type Manifest struct {
	Checkpoint ID
	Kind       Kind
	Format     Format
	Target     string
	Triggered  time.Time
	// Acks of all tasks of the topology, in its order. A task that had
	// finished before has one without handle.
	Acks []Ack
	// FinishedVertices are those of which every subtask has finished.
	FinishedVertices []string
}

// Completed is a snapshot that a job can be restored from.
type Completed struct {
	ID   ID
	Kind Kind
	Path string
	// Owned snapshots are dropped when newer ones take their place. Those that
	// a user has made, or lends to the job to start from, are not owned.
	Owned bool
	// At is when it was completed, as far as known.
	At time.Time
}

// Reason says why a snapshot was given up.
type Reason uint8

const (
	// Expired: not all tasks acknowledged in time.
	Expired Reason = iota
	// SnapshotFailed: a task could not take or write its part.
	SnapshotFailed
	// Declined: a task would not take part, for a reason that is no failure.
	Declined
	// TriggerError: the snapshot could not be started.
	TriggerError
	// PublishError: the manifest could not be written, or not in time.
	PublishError
	// Subsumed: a newer one completed first.
	Subsumed
	// TaskLost: a task that took part failed.
	TaskLost
	// JobRestarting: the job is stopped for a restart.
	JobRestarting
	// Shutdown: the job has ended.
	Shutdown
)

// reasons says for each reason how it reads, and whether it counts against
// [Config.TolerableFailures]. The rest are consequences of something that is
// dealt with elsewhere.
var reasons = [...]struct {
	text    string
	counted bool
}{
	Expired:        {"expired", true},
	SnapshotFailed: {"snapshot failed", true},
	Declined:       {"declined", false},
	TriggerError:   {"could not be triggered", true},
	PublishError:   {"could not be published", true},
	Subsumed:       {"subsumed by a newer one", false},
	TaskLost:       {"task failed", false},
	JobRestarting:  {"job is restarting", false},
	Shutdown:       {"job has ended", false},
}

// String returns the reason in words.
func (r Reason) String() string { return reasons[r].text }

// AbortError says why a snapshot was given up.
type AbortError struct {
	Checkpoint ID
	Kind       Kind
	Reason     Reason
	// Detail names tasks, as far as they matter.
	Detail string
	Cause  error
}

// Error implements error.
func (e *AbortError) Error() string {
	s := fmt.Sprintf("%s %d: %s", e.Kind, e.Checkpoint, e.Reason)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *AbortError) Unwrap() error { return e.Cause }

// Ignored counts messages that changed nothing.
type Ignored struct {
	// Late ones are about a snapshot that is over, Doubled ones say what was
	// known, Stale ones come from an attempt that is over, and Unknown ones
	// name what does not exist.
	Late, Doubled, Stale, Unknown int
}
