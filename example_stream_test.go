package millrace_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/memory"
	"github.com/millrace/millrace/connectors/stdio"
)

// run runs a job with one subtask for each operator, so that what the examples
// print comes in order.
func run(build func(*millrace.Job)) {
	if err := millrace.RunWith(context.Background(), "example", millrace.RunOptions{Parallelism: 1}, build); err != nil {
		fmt.Println(err)
	}
}

func Example() {
	words := func(line string, emit func(string)) {
		for w := range strings.FieldsSeq(strings.ToLower(line)) {
			emit(w)
		}
	}
	run(func(job *millrace.Job) {
		job.From("text", memory.Of(1, "To be or", "not to be")).
			FlatMap(words).
			KeyBy(func(word string) string { return word }).
			Window(millrace.Global()).
			Count("counts").
			To("out", stdio.Print[millrace.Result[string, int64]]())
	})
	// Unordered output:
	// {Key:to Window:[everything] Value:2}
	// {Key:be Window:[everything] Value:2}
	// {Key:or Window:[everything] Value:1}
	// {Key:not Window:[everything] Value:1}
}

func ExampleRunWith() {
	seed := uint64(17) // the same order of steps whenever the example is run
	opt := millrace.RunOptions{Parallelism: 4, Seed: &seed, Params: map[string]string{"least": "3"}}
	var out memory.Collect[int]
	err := millrace.RunWith(context.Background(), "filter", opt, func(job *millrace.Job) {
		least := int(job.ParamInt("least", 0, "least number to keep"))
		job.From("numbers", memory.Of(2, 1, 2, 3, 4, 5)).
			Filter(func(n int) bool { return n >= least }).
			To("out", &out)
	})
	fmt.Println(len(out.Records()), err)
	// Output: 3 <nil>
}

func ExampleJob_OnEnd() {
	run(func(job *millrace.Job) {
		all := memory.Discard[int]()
		job.From("numbers", memory.Of(1, 1, 2, 3)).To("out", all)
		job.OnEnd(func() error {
			_, err := fmt.Println(all.Count(), "records")
			return err
		})
	})
	// Output: 3 records
}

func ExampleStream_MapOrDead() {
	run(func(job *millrace.Job) {
		numbers, dead := job.From("text", memory.Of(1, "1", "two", "3")).
			MapOrDead(strconv.Atoi, millrace.DeadLetterOf[string])
		numbers.To("numbers", stdio.Print[int]())
		dead.Map(func(d millrace.DeadLetter[string]) string { return d.Record + " is not a number" }).
			To("dead", stdio.Print[string]())
	})
	// Unordered output:
	// 1
	// two is not a number
	// 3
}

func ExampleStream_MapTo() {
	type point struct{ X, Y, Z float64 }
	run(func(job *millrace.Job) {
		job.From("points", memory.Of(1, point{1, 2, 3}, point{4, 5, 6})).
			FilterRef(func(p *point) bool { return p.X > 1 }).
			MapTo(func(p *point, sum *float64) { *sum = p.X + p.Y + p.Z }).
			To("out", stdio.Print[float64]())
	})
	// Output: 15
}

func ExampleStream_Update() {
	type account struct {
		Name  string
		Cents int64
	}
	run(func(job *millrace.Job) {
		job.From("accounts", memory.Of(1, account{"ann", 100}, account{"bo", 250})).
			Update(func(a *account) { a.Cents += a.Cents / 10 }).
			To("out", stdio.Print[account]())
	})
	// Output:
	// {Name:ann Cents:110}
	// {Name:bo Cents:275}
}

func ExampleStream_Union() {
	run(func(job *millrace.Job) {
		old := job.From("old", memory.Of(1, "a", "b"))
		new := job.From("new", memory.Of(1, "c"))
		old.Union(new).To("out", stdio.Print[string]())
	})
	// Unordered output:
	// a
	// b
	// c
}

func ExampleStream_Connect() {
	run(func(job *millrace.Job) {
		names := job.From("names", memory.Of(1, "one"))
		numbers := job.From("numbers", memory.Of(1, 2))
		names.Connect(numbers).
			Map(strings.ToUpper, func(n int) string { return fmt.Sprint("number ", n) }).
			To("out", stdio.Print[string]())
	})
	// Unordered output:
	// ONE
	// number 2
}

func ExampleStream_SideOutput() {
	odd := millrace.NewSideOutput[int]("odd")
	run(func(job *millrace.Job) {
		even := job.From("numbers", memory.Of(1, 1, 2, 3, 4)).
			Process("split", func(op *millrace.PlainOp[int, int]) {
				odds := op.SideOutput(odd)
				op.OnRecord(func(n int) error {
					if n%2 == 1 {
						odds.Emit(n)
					} else {
						op.Emit(n)
					}
					return nil
				})
			})
		even.Map(func(n int) string { return fmt.Sprint(n, " is even") }).To("even", stdio.Print[string]())
		even.SideOutput(odd).Map(func(n int) string { return fmt.Sprint(n, " is odd") }).To("odd", stdio.Print[string]())
	})
	// Unordered output:
	// 1 is odd
	// 2 is even
	// 3 is odd
	// 4 is even
}

func ExampleStream_Async() {
	ask := func(ctx context.Context, name string) (string, error) {
		return "hello " + name, nil // a call of a service
	}
	run(func(job *millrace.Job) {
		job.From("names", memory.Of(1, "ann", "bo")).
			Async("greet", millrace.AsyncOptions{InFlight: 50, Timeout: time.Second, Attempts: 3}, ask).
			To("out", stdio.Print[string]())
	})
	// Output:
	// hello ann
	// hello bo
}

func ExampleStream_AsyncBatch() {
	ask := func(ctx context.Context, names []string) ([]int, error) {
		var lengths []int // one answer for each question, in their order
		for _, n := range names {
			lengths = append(lengths, len(n))
		}
		return lengths, nil
	}
	run(func(job *millrace.Job) {
		job.From("names", memory.Of(1, "ann", "bo")).
			AsyncBatch("lengths", millrace.AsyncOptions{BatchSize: 2}, ask).
			To("out", stdio.Print[int]())
	})
	// Output:
	// 3
	// 2
}
