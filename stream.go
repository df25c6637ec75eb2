package millrace

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/millrace/millrace/engine/graph"
	"github.com/millrace/millrace/runtime/exchange"
	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
)

// Stream is an unbounded or bounded sequence of records of type T, split over
// parallel subtasks. A Stream is a value: methods return new streams and one
// stream can feed any number of operators.
//
// Records are passed along without being copied where they can be, and are
// immutable once emitted: a function must not change what a record it was
// given points to.
//
// Methods whose function takes a pointer (MapTo, FilterRef, KeyByRef, …) are
// the same as their twins without; they save the copy of the record, which for
// records of more than about four words is most of the cost of a simple
// operator.
type Stream[T any] struct {
	job     *Job
	node    *graph.Node
	port    int
	route   graph.Route
	connect func(exchange.Wiring) (exchange.Output, error) // nil for the routes that only count
	source  *sourceStep[T]                                 // set if node is a source and port is 0
}

// edge returns the way from s into an input of a new node.
func (s Stream[T]) edge(input int) graph.Edge {
	e := graph.Edge{From: s.node.ID, Port: s.port, Input: input, Route: s.route, Connect: s.connect, Entry: entry[T](input)}
	if e.Connect == nil {
		e.Connect = rebalance[T]
	}
	return e
}

// then adds an operator that takes s as its only input.
func (s Stream[T]) then(name, uid string, op func() operator.Operator) *graph.Node {
	if uid != "" {
		name = uid
	}
	return s.job.g.Add(graph.Node{UID: uid, Name: name, Location: caller(), Inputs: []graph.Edge{s.edge(0)},
		Parallelism: s.follow(), Prepare: always(op)})
}

// follow is the parallelism that an operator behind s starts out with: that of
// s where rows stay in their subtask, so that the two can be chained.
func (s Stream[T]) follow() int {
	switch s.route {
	case graph.Forward:
		return s.node.Parallelism
	case graph.Global:
		return 1
	}
	return 0
}

// Named sets the name by which metrics, logs and errors call the operator that
// produced s.
func (s Stream[T]) Named(name string) Stream[T] {
	s.node.Name = name
	return s
}

// Parallelism sets how many subtasks run the operator that produced s, and
// those that follow it without an exchange.
func (s Stream[T]) Parallelism(n int) Stream[T] {
	if n < 1 {
		s.job.g.Fail(caller(), "parallelism %d: must be at least 1", n)
		return s
	}
	s.node.Parallelism = n
	return s
}

// StartNewChain gives the operator that produced s, and those that follow it, a
// task of their own.
func (s Stream[T]) StartNewChain() Stream[T] {
	s.node.Chaining = max(s.node.Chaining, graph.ChainHead)
	return s
}

// DisableChaining gives the operator that produced s a task that it shares with
// no other.
func (s Stream[T]) DisableChaining() Stream[T] {
	s.node.Chaining = graph.ChainNever
	return s
}

// Map turns each record into one record.
func (s Stream[T]) Map[U any](f func(T) U) Stream[U] {
	return Stream[U]{job: s.job, node: s.then("Map", "", func() operator.Operator { return &operator.Map[T, U]{F: f} })}
}

// MapTo is [Stream.Map] by reference: f fills out, which holds what an earlier
// record left there, so it must set every field.
func (s Stream[T]) MapTo[U any](f func(in *T, out *U)) Stream[U] {
	return Stream[U]{job: s.job, node: s.then("Map", "", func() operator.Operator { return &operator.Map[T, U]{To: f} })}
}

// Update changes each record in place. The engine passes a copy if somebody
// else reads the same record.
func (s Stream[T]) Update(f func(*T)) Stream[T] {
	return Stream[T]{job: s.job, node: s.then("Update", "", func() operator.Operator { return &operator.Update[T]{F: f} })}
}

// Filter keeps the records for which keep returns true.
func (s Stream[T]) Filter(keep func(T) bool) Stream[T] {
	return Stream[T]{job: s.job, node: s.then("Filter", "", func() operator.Operator { return &operator.Filter[T]{F: keep} })}
}

// FilterRef is [Stream.Filter] by reference; keep must not change the record.
func (s Stream[T]) FilterRef(keep func(*T) bool) Stream[T] {
	return Stream[T]{job: s.job, node: s.then("Filter", "", func() operator.Operator { return &operator.Filter[T]{Ref: keep} })}
}

// FlatMap turns each record into any number of records, passed to emit. emit
// must not be called after f has returned.
func (s Stream[T]) FlatMap[U any](f func(rec T, emit func(U))) Stream[U] {
	return Stream[U]{job: s.job, node: s.then("FlatMap", "", func() operator.Operator { return &operator.FlatMap[T, U]{F: f} })}
}

// FlatMapRef is [Stream.FlatMap] by reference; f must not change the record.
func (s Stream[T]) FlatMapRef[U any](f func(rec *T, emit func(U))) Stream[U] {
	return Stream[U]{job: s.job, node: s.then("FlatMap", "", func() operator.Operator { return &operator.FlatMap[T, U]{Ref: f} })}
}

// TryMap turns each record into one record by a function that can fail. An
// error ends the job with the operator and the place of the record; to go on
// instead, use [Stream.MapOrDead].
func (s Stream[T]) TryMap[U any](f func(T) (U, error)) Stream[U] {
	return Stream[U]{job: s.job, node: s.then("TryMap", "", func() operator.Operator { return &operator.TryMap[T, U, struct{}]{F: f} })}
}

// MapOrDead is [Stream.TryMap] for jobs that go on: a record for which f fails
// becomes a dead letter, made by dead, on the second stream. [DeadLetterOf] is
// a ready-made dead for the common case.
func (s Stream[T]) MapOrDead[U, D any](f func(T) (U, error), dead func(in T, err error) D) (Stream[U], Stream[D]) {
	n := s.then("TryMap", "", func() operator.Operator { return &operator.TryMap[T, U, D]{F: f, Dead: dead} })
	return Stream[U]{job: s.job, node: n}, Stream[D]{job: s.job, node: n, port: 1}
}

// DeadLetter is a record that could not be handled, and why.
type DeadLetter[T any] struct {
	Record T
	Reason string
}

// DeadLetterOf makes the dead letter of a record; pass it to
// [Stream.MapOrDead].
func DeadLetterOf[T any](rec T, err error) DeadLetter[T] {
	return DeadLetter[T]{Record: rec, Reason: err.Error()}
}

// BadRecords returns the records of a source that could not be read, and lets
// the job go on where it would otherwise end. It may only be called on what
// [Job.From] returned.
func (s Stream[T]) BadRecords[_ lazy]() Stream[BadRecord] {
	if s.source == nil {
		s.job.g.Fail(caller(), "BadRecords: only the stream that job.From returned has bad records")
	}
	return Stream[BadRecord]{job: s.job, node: s.node, port: 1}
}

// Union merges streams of one type. There is no order between them, and event
// time follows the slowest.
func (s Stream[T]) Union(others ...Stream[T]) Stream[T] {
	edges := []graph.Edge{s.edge(0)}
	for _, o := range others {
		if o.job != s.job {
			s.job.g.Fail(caller(), "Union: a stream of another job")
			continue
		}
		edges = append(edges, o.edge(0))
	}
	n := s.job.g.Add(graph.Node{Name: "Union", Location: caller(), Inputs: edges,
		Prepare: always(func() operator.Operator { return &operator.Identity[T]{} })})
	return Stream[T]{job: s.job, node: n}
}

// routed returns s with another way to its consumers.
func (s Stream[T]) routed(r graph.Route, connect func(exchange.Wiring) (exchange.Output, error)) Stream[T] {
	s.route, s.connect, s.source = r, connect, nil
	return s
}

// Rebalance spreads the records evenly over all subtasks of what follows.
func (s Stream[T]) Rebalance() Stream[T] { return s.routed(graph.Rebalance, nil) }

// Rescale spreads the records evenly over the nearest subtasks of what
// follows, so that each subtask talks to few others.
func (s Stream[T]) Rescale() Stream[T] { return s.routed(graph.Rescale, nil) }

// Shuffle sends each record to a random subtask of what follows.
func (s Stream[T]) Shuffle() Stream[T] {
	return s.routed(graph.Shuffle, func(w exchange.Wiring) (exchange.Output, error) { return exchange.NewShuffle[T](w), nil })
}

// Broadcast sends every record to every subtask of what follows. For a table
// that every subtask can look things up in, see [Stream.BroadcastState].
func (s Stream[T]) Broadcast() Stream[T] {
	return s.routed(graph.Broadcast, func(w exchange.Wiring) (exchange.Output, error) { return exchange.NewBroadcast[T](w), nil })
}

// Forward keeps records in the subtask of the same index, which is what happens
// if no other way is chosen. What follows with another parallelism gets them
// evenly spread.
func (s Stream[T]) Forward() Stream[T] { return s.routed(graph.Forward, nil) }

// Global sends every record to the first subtask of what follows, which has a
// parallelism of 1 if nothing else is said. Not to be confused with the window
// of the same name, [Global].
func (s Stream[T]) Global() Stream[T] { return s.routed(graph.Global, nil) }

// PartitionCustom sends each record to the subtask that part names, from 0 to
// subtasks-1. Anything else ends the job.
func (s Stream[T]) PartitionCustom(part func(rec T, subtasks int) int) Stream[T] {
	return s.routed(graph.Custom, func(w exchange.Wiring) (exchange.Output, error) {
		return exchange.NewCustom(w, func(r *T, n int) int { return part(*r, n) }), nil
	})
}

// EventTime reads each record's event time with at, and lets records arrive up
// to maxDelay behind the latest one seen on their split. Right behind a source,
// event time follows each split by itself.
//
// A split that stays silent for 30 seconds no longer holds back event time;
// see [Timestamps] to change that.
func (s Stream[T]) EventTime(at func(T) time.Time, maxDelay time.Duration) Stream[T] {
	return s.Timestamps(Timestamps[T]{At: at, MaxDelay: maxDelay})
}

// EventTimeMillis is [Stream.EventTime] by reference, for event times that are
// milliseconds since the epoch already.
func (s Stream[T]) EventTimeMillis(at func(*T) int64, maxDelay time.Duration) Stream[T] {
	return s.Timestamps(Timestamps[T]{AtMillis: at, MaxDelay: maxDelay})
}

// Timestamps says where records get their event time from and how far event
// time has come. Zero fields take the defaults given.
type Timestamps[T any] struct {
	// At returns a record's event time. Set one of At and AtMillis, or neither
	// to keep the time that the source attached.
	At func(T) time.Time
	// AtMillis returns a record's event time in milliseconds since the epoch.
	AtMillis func(*T) int64
	// MaxDelay is how far behind the latest record of its split a record may
	// come; 0. The watermark is the latest time minus MaxDelay minus 1 ms, and
	// right behind a source it follows every record: which records are late
	// depends on their order alone.
	MaxDelay time.Duration
	// Generator makes watermarks in a way of its own, in place of MaxDelay. It
	// is called once for each split.
	Generator func() WatermarkGenerator[T]
	// Idle is how long a split may be silent before it no longer holds back
	// event time; 30s after the first record. Negative means never: windows
	// then wait for every split.
	Idle time.Duration
	// AlignGroup names a group of sources that are to stay together in event
	// time, so that what joins them need not keep what the faster has read
	// ahead. A split that is more than MaxDrift ahead of the slowest subtask of
	// the group is not read until the others have come closer; idle ones do not
	// count. Only right behind a source. Sources of one group give the same
	// MaxDrift.
	AlignGroup string
	// MaxDrift is how far ahead of the slowest a split of the AlignGroup may
	// be; at least 1ms.
	MaxDrift time.Duration
}

// A WatermarkGenerator makes the watermarks of one split. It returns the event
// time (milliseconds since the epoch) that no later record will be at or
// before, or [NoWatermark].
type WatermarkGenerator[T any] interface {
	// OnEvent is called for every record.
	OnEvent(rec *T, eventTime int64) int64
	// OnPeriodic is called after each batch of records.
	OnPeriodic() int64
}

// NoWatermark is what a [WatermarkGenerator] returns to say nothing.
const NoWatermark = watermark.None

// Timestamps gives records their event time; [Stream.EventTime] is the short
// form.
func (s Stream[T]) Timestamps(t Timestamps[T]) Stream[T] {
	loc := caller()
	if t.At != nil && t.AtMillis != nil {
		s.job.g.Fail(loc, "Timestamps: set At or AtMillis, not both")
	}
	if t.MaxDelay < 0 {
		s.job.g.Fail(loc, "Timestamps: MaxDelay %v is negative", t.MaxDelay)
		t.MaxDelay = 0
	}
	st := operator.Stamping[T]{Strategy: watermark.BoundedOutOfOrderness(t.MaxDelay), Idleness: watermark.DefaultIdleness()}
	switch {
	case t.At != nil:
		st.Stamp = func(cur *record.Cursor, rows []T, times []int64) {
			for i := range rows {
				cur.Row = int32(i)
				times[i] = t.At(rows[i]).UnixMilli()
			}
		}
	case t.AtMillis != nil:
		st.Stamp = func(cur *record.Cursor, rows []T, times []int64) {
			for i := range rows {
				cur.Row = int32(i)
				times[i] = t.AtMillis(&rows[i])
			}
		}
	}
	if t.Generator != nil {
		st.Strategy = watermark.Custom()
		st.Generator = func() watermark.Generator[T] { return t.Generator() }
	}
	switch {
	case t.Idle > 0:
		st.Idleness = watermark.Idleness{Timeout: t.Idle}
	case t.Idle < 0:
		st.Idleness = watermark.Idleness{}
	}
	if t.AlignGroup != "" || t.MaxDrift != 0 {
		switch was, ok := s.job.aligned[t.AlignGroup]; {
		case t.AlignGroup == "":
			s.job.g.Fail(loc, "Timestamps: MaxDrift %v without an AlignGroup", t.MaxDrift)
		case t.MaxDrift < time.Millisecond:
			s.job.g.Fail(loc, "Timestamps: MaxDrift %v of align group %q is less than 1ms", t.MaxDrift, t.AlignGroup)
		case s.source == nil:
			s.job.g.Fail(loc, "Timestamps: align group %q is only for what job.From returned", t.AlignGroup)
		case ok && was.drift != t.MaxDrift:
			s.job.g.Fail(loc, "Timestamps: MaxDrift %v of align group %q is %v elsewhere", t.MaxDrift, t.AlignGroup, was.drift)
		case !ok:
			if s.job.aligned == nil {
				s.job.aligned = map[string]alignGroup{}
			}
			s.job.aligned[t.AlignGroup] = alignGroup{t.MaxDrift, operator.NewAlignment(t.MaxDrift)}
		}
		st.Align = s.job.aligned[t.AlignGroup].group
		if s.source != nil {
			s.node.AlignGroup = t.AlignGroup
		}
	}
	folded := false
	n := s.then("Timestamps", "", func() operator.Operator {
		if folded {
			return &operator.Identity[T]{}
		}
		return &operator.Timestamps[T]{Stamping: st}
	})
	if src := s.source; src != nil {
		s.job.fuses = append(s.job.fuses, func() {
			if !folded && s.job.mainConsumers(s.node) == 1 {
				folded = true
				src.stamping = st
			} else if st.Align != nil {
				s.job.g.Fail(loc, "Timestamps: align group %q: nothing else may read what job.From returned, for it is the source that waits", t.AlignGroup)
			}
		})
	}
	return Stream[T]{job: s.job, node: n}
}

// mainConsumers counts the edges that lead out of n's port 0.
func (j *Job) mainConsumers(n *graph.Node) (c int) {
	for _, m := range j.g.Nodes {
		for _, e := range m.Inputs {
			if e.From == n.ID && e.Port == 0 {
				c++
			}
		}
	}
	return c
}

// To ends the stream in a sink. Open transactions are kept under id. The sink
// has the parallelism of the operator that produced s; [StreamSink.Parallelism]
// of what To returns changes it. A [SingleWriter] has a parallelism of 1.
func (s Stream[T]) To(id string, sink Sink[T]) StreamSink {
	n := s.then("", id, func() operator.Operator {
		return &operator.Sink[T]{OpenWriter: func(ctx context.Context, env *operator.Env) (operator.RecordWriter[T], error) {
			return sink.OpenWriter(ctx, writing(env))
		}}
	})
	n.Sink = true
	if w, ok := sink.(SingleWriter); ok && w.SingleWriter() {
		n.Parallelism = 1
	}
	return StreamSink{s.job, n}
}

// writing is what a writer is told about its place.
func writing(env *operator.Env) Subtask {
	s := Subtask{
		Job: env.Job, Operator: env.UID, Index: env.Index, Of: env.Parallelism,
		Checkpointed: env.Checkpointed, Run: env.Run, Attempt: env.Attempt,
	}
	if s.Checkpointed {
		const words = 1 << 60
		n := rand.Int64N(words)
		if env.Rand != nil {
			n = int64(env.Rand(words))
		}
		s.Unique = strconv.FormatInt(n, 36)
	}
	return s
}

// StreamSink is the end of a stream, as returned by [Stream.To].
type StreamSink struct {
	job  *Job
	node *graph.Node
}

// Named sets the name by which metrics, logs and errors call the sink.
func (s StreamSink) Named(name string) StreamSink {
	s.node.Name = name
	return s
}

// Parallelism sets how many subtasks write, each with a [Writer] of its own.
func (s StreamSink) Parallelism(n int) StreamSink {
	if n < 1 {
		s.job.g.Fail(caller(), "parallelism %d: must be at least 1", n)
		return s
	}
	s.node.Parallelism = n
	return s
}

// DisableChaining gives the sink a task of its own.
func (s StreamSink) DisableChaining() StreamSink {
	s.node.Chaining = graph.ChainNever
	return s
}

// KeyBy groups records by key: all records of one key meet in one subtask of
// what follows. K must consist of booleans, numbers, strings, and arrays and
// structs of these.
func (s Stream[T]) KeyBy[K comparable](key func(T) K) KeyedStream[K, T] {
	return keyBy(s, func(cur *record.Cursor, b *record.Batch[T], live []int32, dst []K) []K {
		for _, i := range live {
			cur.Row = i
			dst = append(dst, key(b.Rows[i]))
		}
		return dst
	})
}

// KeyByRef is [Stream.KeyBy] by reference; key must not change the record.
func (s Stream[T]) KeyByRef[K comparable](key func(*T) K) KeyedStream[K, T] {
	return keyBy(s, func(cur *record.Cursor, b *record.Batch[T], live []int32, dst []K) []K {
		for _, i := range live {
			cur.Row = i
			dst = append(dst, key(&b.Rows[i]))
		}
		return dst
	})
}
