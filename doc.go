// Package millrace is the programming interface of the millrace stream
// processing engine: typed streams, event time, windows, keyed state, timers,
// joins and patterns, in the words of Apache Flink's DataStream API.
//
// # A program
//
// A program is a build function that describes a dataflow on a [Job], and a
// main function that hands it to [Main]:
//
//	func main() { millrace.Main("wordcount", wordcount) }
//
//	func wordcount(job *millrace.Job) {
//		job.From("text", files.Lines(job.Param("input", "plays/", "text to read"))).
//			FlatMap(words).
//			KeyBy(func(word string) string { return word }).
//			Window(millrace.Global()).
//			Count("counts").
//			To("out", stdio.Print[millrace.Result[string, int64]]())
//	}
//
//	func words(line string, emit func(string)) {
//		for w := range strings.FieldsSeq(strings.ToLower(line)) {
//			emit(w)
//		}
//	}
//
// The build function only describes; nothing runs before it has returned. It
// must describe the same job each time it is called with the same parameters.
// Mistakes in it, such as an operator id used twice, are collected and
// reported together with the file and line of each call.
//
// [Main] runs the job in its own process and takes the command line apart:
// --parallelism and the other options of every job, and the parameters that
// the program declares with [Job.Param]. [Run] and [RunWith] do the same from
// Go code, for tests and for programs with a main function of their own.
//
// # Streams
//
// [Job.From] turns a [Source] into a [Stream], and each method of a stream
// adds an operator and returns what can follow it. A stream can feed any
// number of operators, and [Stream.To] ends it in a [Sink].
//
//   - record by record: [Stream.Map], [Stream.Filter], [Stream.FlatMap], and
//     [Stream.MapOrDead] for functions that can fail;
//   - to and from other streams: [Stream.Union], and side outputs;
//   - over subtasks: [Stream.Rebalance], [Stream.Broadcast],
//     [Stream.PartitionCustom] and others;
//   - by key: [Stream.KeyBy] gives a [KeyedStream], which has windows, joins,
//     patterns, rolling aggregates and process functions.
//
// Functions that take values are the plain form. Those of larger records, in
// operators that are executed for every record of a busy stream, are faster
// by reference: [Stream.MapTo], [Stream.FilterRef], [Stream.KeyByRef] and the
// other twins are given a pointer, which is lent for the call.
//
// Some methods show a type parameter "_ lazy" in this documentation. It is never
// written in a call; it keeps the compiler from building what a program does
// not use.
//
// Records are immutable once emitted. An operator that wants to change them
// in place says so with [Stream.Update].
//
// # Identity
//
// Operators that keep something in checkpoints take their id as their first
// argument: sources, sinks and everything with state. Ids consist of
// lower-case letters, digits and hyphens and differ within a job; together
// with the names of states inside an operator they say what belongs to what
// when a changed program is started from an older checkpoint.
//
// # Event time
//
// [Stream.EventTime] says where a record's time comes from and how much later
// than others it may arrive. Right behind a source, every split keeps its own
// watermark, so that parts that are read at different speeds do not make each
// other's records late. Watermarks are the least of all inputs; an input that
// is silent for 30 seconds no longer counts until it speaks again (see
// [Timestamps]). Windows and timers fire when the watermark has passed them,
// and bounded input fires everything at its end.
//
// With more than one subtask, records of different splits come in no fixed
// order. Results do not depend on it as long as no record is later than its
// stream allows; which of those that are later than that count as late may
// differ from run to run, since watermarks go out with each batch that is read.
//
// Event times are kept in milliseconds since the Unix epoch. Methods that take
// or return [time.Time] have twins in milliseconds where it matters.
//
// # Windows
//
// [KeyedStream.Window] assigns each record to windows of event time
// ([Tumbling], [Sliding], [Cumulative], [Session]), of processing time
// ([Windows.ProcessingTime]), to a [Global] one, or by number ([CountWindow]);
// [Stream.WindowAll] does so without a key. What becomes of a window's records
// is said last: [WindowedStream.Count], [WindowedStream.Aggregate] with an
// [Aggregator], [WindowedStream.Reduce], [WindowedStream.Apply] with all
// records, or [WindowedStream.Process] with state. Results have the time of
// the last millisecond of their window, so that they can be windowed again.
//
// A record whose windows are all over is late: it is dropped and counted,
// unless [WindowedStream.Late] or [WindowedStream.LateTo] takes it.
// [WindowedStream.AllowedLateness] keeps windows longer and lets late records
// fire them again.
//
// # Joins and patterns
//
// [KeyedStream.WindowJoin] pairs records of two streams that share a key and a
// window, [KeyedStream.IntervalJoin] those whose times are not too far apart,
// and [Stream.BroadcastState] makes a stream a table that every subtask can
// look things up in. [KeyedStream.Connect] gives a process function two inputs.
// [KeyedStream.Detect] finds sequences of events that follow a [Pattern].
//
// # State and timers
//
// [KeyedStream.Process] is the general stateful operator. Its setup function
// is called once in each subtask; it declares state and sets handlers on an
// [Op]:
//
//	func(op *millrace.Op[string, Reading, Alert]) {
//		last := op.Value[Reading]("last-reading")
//		op.OnRecord(func(r Reading) error { … op.SetTimer(…) … })
//		op.OnTimer(func(at time.Time) error { … op.Emit(…) … })
//	}
//
// Timers fire when the watermark moves, which is not between two records of one
// batch: a record may be handled although a timer before its time has not
// fired yet, as in Flink. Handlers of one subtask never run at the same time, so they need no locks,
// and state accessors act on the key of the record or timer being handled.
// Any type made of booleans, numbers, strings, times, slices, maps, pointers
// and structs of these can be state; a type that cannot be stored is refused
// when the job starts, with the path of the field.
//
// # Failures
//
// A function that returns an error or panics ends the job with an error that
// names the operator and the record. Input that cannot be read ends the job
// too, unless the program takes it with [Stream.BadRecords]; likewise for
// [Stream.MapOrDead] and [Stream.AsyncOrDead].
//
// # Tests
//
// User functions are functions. Package engine/streamtest runs one operator on
// a clock that the test moves, taking and restoring a snapshot after each call,
// and whole programs in the test's process; with [RunOptions] Seed all tasks
// are driven by one loop whose order of steps the seed decides, so that a
// failure can be repeated exactly.
package millrace
