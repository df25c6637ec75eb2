// Package checkpoint decides when the checkpoints and savepoints of a job
// start, when they are complete, what is kept of them and what a failed job
// goes back to. It writes nothing and sends nothing: a [Coordinator] is told
// what happened and answers with what to do. A driver carries that out, in one
// process, over a network, or in a simulation.
//
// # What a checkpoint is
//
// A checkpoint is one cut through a running job: for every task its state after
// exactly the records before a mark in its inputs, the barrier. Sources put
// barriers into what they send; a task that has received the barrier from all
// its inputs takes its state and sends the barrier on. Nothing stands still for
// it. The protocol is that of Apache Flink, after Chandy and Lamport, and so
// are the names of its settings, its defaults except for a few ([Default]
// lists them) and its statistics; Flink's documentation describes it under
// "Checkpointing" and "Savepoints".
//
// # The life of a checkpoint
//
//  1. Trigger. Every [Config.Interval] the next id is taken and the sources are
//     told. Ids grow, and none is used twice, not even by the process after a
//     crash: [Reserve] sees to that. Not more than [Config.MaxConcurrent] are
//     under way, and [Config.MinPause] lies between the completion of one
//     snapshot and the periodic start of the next.
//  2. Acknowledge. Each task writes its state and sends an [Ack] with a handle
//     to it. If one declines, fails or is not in time ([Config.Timeout]), the
//     checkpoint is given up: tasks are told ([Abort]), what was written is
//     deleted ([Discard], and [DiscardLate] for what comes later).
//  3. Publish. With the last Ack the manifest is written in one atomic step.
//     From this moment the checkpoint exists; not before.
//  4. Notify. Only now are tasks told, and sinks make visible what they have
//     prepared. The message may be lost: a later one stands for it, and so does
//     a restore, after which sinks commit what the restored checkpoint holds.
//  5. Subsume. Older checkpoints under way are given up, and of the complete
//     ones all but the newest [Config.NumRetained] are dropped.
//
// # When a message does not come
//
// Messages from tasks may be late, doubled, lost or from an attempt that is
// over. Each names its checkpoint, task and attempt, and whatever does not fit
// is ignored and counted. What matters and is lost is replaced by a timeout:
// an Ack by the checkpoint's, a trigger or barrier by the same, a notification
// by the next one; where there is none, because the job ends, it is repeated.
// So is [Abort], which a task may miss: a newer trigger or barrier implies it.
// Only if no acknowledgement can be waiting for them are files deleted: those
// of a doubled Ack may be in use.
//
// The store is different, for a manifest that appears late is a danger. Say
// checkpoint 7 has been acknowledged, the store does not answer, tasks fail and
// the job goes back to 6: sinks throw away what they had prepared for 7. If the
// manifest of 7 appeared now, the next restart would find it the newest, and go
// on behind records that were never committed. So a publication of unknown
// result is asked after ([Confirm]), and if the answer does not come in time
// the checkpoint is given up with [Discard.Manifest] set: the driver must make
// the manifest impossible and say when it has. A restart waits for that
// ([Restore] comes after it). The other way round, a checkpoint that was
// published before the failure is always restored, for it may have been
// committed already.
//
// # Failures
//
// A failed task gives up whatever it had not acknowledged, since its attempt
// will not; that is no failure of the checkpoint. Those that are (a timeout, a
// part that could not be written, a manifest that could not) are counted, each
// checkpoint once; more than [Config.TolerableFailures] in a row fail the job,
// which is then restarted or not as its restart strategy says. The driver stops
// what is to be restarted and sends [Recover]; [Restore] lists what it may
// restore, newest first, and [Restored] says what it did. If the newest is
// damaged an older one will do: the newer ones are then deleted, for the job
// has gone another way since.
//
// # Savepoints
//
// A savepoint is a checkpoint that belongs to the user. It starts when asked
// for, even beside a checkpoint, is always aligned, and is not deleted, not
// restored from and not counted. It commits nothing, because the job would go
// back behind it. [Stop] and [Drain] end the job with one: tasks stand still
// behind their barrier until it completes, sinks commit it, the tasks finish,
// and the request is answered. If one of them fails before it has finished,
// that savepoint is what is restored, because it has been committed. If a task
// declines, the job is failed, because others may stand still for good.
//
// # Tasks that finish
//
// A bounded input ends while others go on. A task that has finished takes part
// in later snapshots by its absence: its part is to have finished, and those
// that read from it no longer wait for its barrier. Tasks all of whose inputs
// have finished are triggered like sources. Sinks commit on completion, so a
// task that has come to the end of its data waits for one more checkpoint
// before it finishes; when all that are left wait, that checkpoint starts at
// once and is tried until it completes.
//
// # What is not decided here
//
// How tasks align barriers, how state is written and manifests are formed, and
// whether and when a failed job runs again: package restart decides that.
package checkpoint
