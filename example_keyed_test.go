package millrace_test

import (
	"fmt"
	"iter"
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/memory"
	"github.com/millrace/millrace/connectors/stdio"
)

type click struct {
	User string
	At   int64 // seconds
}

// Time is the event time of a click.
func (c click) Time() time.Time { return time.Unix(c.At, 0) }

// Who is the key of a click.
func (c click) Who() string { return c.User }

// clicks are in the order of their times but for the last.
func clicks() millrace.Source[click] {
	return memory.Of(1, click{"ann", 1}, click{"bo", 2}, click{"ann", 5}, click{"ann", 21}, click{"bo", 3})
}

func ExampleKeyedStream_Count() {
	run(func(job *millrace.Job) {
		job.From("clicks", clicks()).KeyBy(click.Who).
			Count("clicks-so-far").
			To("out", stdio.Print[millrace.KeyCount[string]]())
	})
	// Output:
	// {Key:ann Count:1}
	// {Key:bo Count:1}
	// {Key:ann Count:2}
	// {Key:ann Count:3}
	// {Key:bo Count:2}
}

// A session ends when a user has done nothing for ten seconds: a timer says so.
func ExampleKeyedStream_Process() {
	run(func(job *millrace.Job) {
		job.From("clicks", clicks()).
			EventTime(click.Time, 20*time.Second).
			KeyBy(click.Who).
			Process("last-seen", func(op *millrace.Op[string, click, string]) {
				last := op.Value[int64]("last", millrace.TTL(time.Hour))
				op.OnRecord(func(c click) error {
					if c.At > last.Get() {
						last.Set(c.At)
						op.SetTimer(c.Time().Add(10 * time.Second))
					}
					return nil
				})
				op.OnTimer(func(at time.Time) error {
					if at.Unix() == last.Get()+10 { // not moved on since
						op.Emit(fmt.Sprintf("%s was last seen at %d", op.Key(), last.Get()))
					}
					return nil
				})
			}).
			To("out", stdio.Print[string]())
	})
	// Unordered output:
	// bo was last seen at 3
	// ann was last seen at 21
}

func ExampleTumbling() {
	run(func(job *millrace.Job) {
		job.From("clicks", clicks()).
			EventTime(click.Time, 20*time.Second).
			KeyBy(click.Who).
			Window(millrace.Tumbling(10*time.Second)).
			Count("clicks-in-window").
			Map(func(r millrace.Result[string, int64]) string {
				return fmt.Sprintf("%s from %d to %d: %d", r.Key, r.Window.Start().Unix(), r.Window.End().Unix(), r.Value)
			}).
			To("out", stdio.Print[string]())
	})
	// Unordered output:
	// ann from 0 to 10: 2
	// bo from 0 to 10: 2
	// ann from 20 to 30: 1
}

func ExampleSession() {
	run(func(job *millrace.Job) {
		job.From("clicks", clicks()).
			EventTime(click.Time, 20*time.Second).
			KeyBy(click.Who).
			Window(millrace.Session(8*time.Second)).
			Apply("sessions", func(user string, w millrace.Window, clicks iter.Seq[click], emit func(string)) {
				n := 0
				for range clicks {
					n++
				}
				emit(fmt.Sprintf("%s from %d to %d: %d", user, w.Start().Unix(), w.End().Unix(), n))
			}).
			To("out", stdio.Print[string]())
	})
	// Unordered output:
	// bo from 2 to 11: 2
	// ann from 1 to 13: 2
	// ann from 21 to 29: 1
}

func ExampleWindowedStream_Aggregate() {
	run(func(job *millrace.Job) {
		job.From("clicks", clicks()).
			EventTime(click.Time, 20*time.Second).
			WindowAll(millrace.Sliding(20*time.Second, 10*time.Second)).
			Aggregate("latest", millrace.Max(func(c click) int64 { return c.At })).
			Map(func(r millrace.Result[struct{}, int64]) int64 { return r.Value }).
			To("out", stdio.Print[int64]())
	})
	// Output:
	// 5
	// 5
	// 21
	// 21
}

func ExampleWindowedStream_LateTo() {
	run(func(job *millrace.Job) {
		job.BatchSize(1) // so that event time moves after every record
		job.From("clicks", clicks()).
			EventTime(click.Time, 0).
			KeyBy(click.Who).
			Window(millrace.Tumbling(10*time.Second)).
			LateTo("late", stdio.Print[click]()).
			Reduce("first", func(a, b click) click { return a }).
			Map(click.Who).
			To("out", stdio.Print[string]())
	})
	// Unordered output:
	// ann
	// bo
	// {User:bo At:3}
	// ann
}

func ExampleKeyedStream_IntervalJoin() {
	type buy struct {
		User string
		At   int64
	}
	run(func(job *millrace.Job) {
		buys := job.From("buys", memory.Of(1, buy{"ann", 8}, buy{"bo", 30})).
			EventTime(func(b buy) time.Time { return time.Unix(b.At, 0) }, 0)
		job.From("clicks", clicks()).
			EventTime(click.Time, 20*time.Second).
			KeyBy(click.Who).
			IntervalJoin(buys.KeyBy(func(b buy) string { return b.User }), 0, 5*time.Second).
			Inner("led-to", func(c click, b buy) string {
				return fmt.Sprintf("%s clicked at %d and bought at %d", c.User, c.At, b.At)
			}).
			To("out", stdio.Print[string]())
	})
	// Output: ann clicked at 5 and bought at 8
}

func ExampleKeyedStream_Detect() {
	run(func(job *millrace.Job) {
		twice := millrace.Begin("first", func(click) bool { return true }).
			Next("second", func(click) bool { return true }).
			Within(5 * time.Second)
		job.From("clicks", clicks()).
			EventTime(click.Time, 20*time.Second).
			KeyBy(click.Who).
			Detect("twice", twice, func(user string, m millrace.Match[click]) string {
				return fmt.Sprintf("%s clicked at %d and %d", user, m.First("first").At, m.First("second").At)
			}).
			To("out", stdio.Print[string]())
	})
	// Unordered output:
	// bo clicked at 2 and 3
	// ann clicked at 1 and 5
}

func ExampleStream_BroadcastState() {
	type name struct{ Short, Full string }
	run(func(job *millrace.Job) {
		names := job.From("names", memory.Of(1, name{"ann", "Ann Lee"}, name{"bo", "Bo Kim"})).
			BroadcastState("names", func(n name) string { return n.Short }).
			ReadFirst()
		job.From("users", memory.Of(1, "bo", "ann", "cy")).
			With(names).
			Process("full-name", func(op *millrace.PlainOp[string, string], names millrace.View[string, name]) {
				op.OnRecord(func(user string) error {
					if n, ok := names.Load(user); ok {
						op.Emit(n.Full)
					}
					return nil
				})
			}).
			To("out", stdio.Print[string]())
	})
	// Output:
	// Bo Kim
	// Ann Lee
}

func ExampleKeyedStream_Deduplicate() {
	run(func(job *millrace.Job) {
		job.From("clicks", clicks()).KeyBy(click.Who).
			Deduplicate("users", millrace.DedupOptions{TTL: time.Hour}).
			Map(click.Who).
			To("out", stdio.Print[string]())
	})
	// Output:
	// ann
	// bo
}

func ExampleKeyedContext_OrderedMap() {
	run(func(job *millrace.Job) {
		job.From("clicks", clicks()).KeyBy(click.Who).
			Process("latest-two", func(op *millrace.Op[string, click, string]) {
				times := op.OrderedMap[int64, struct{}]("times")
				op.OnRecord(func(c click) error {
					times.Set(c.At, struct{}{})
					if times.Len() > 2 {
						first, _, _ := times.First()
						times.Delete(first)
						last, _, _ := times.Last()
						op.Emit(fmt.Sprintf("%s: %d is out, %d is the last", op.Key(), first, last))
					}
					return nil
				})
			}).
			To("out", stdio.Print[string]())
	})
	// Output: ann: 1 is out, 21 is the last
}
