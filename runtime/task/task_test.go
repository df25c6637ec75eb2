package task

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/runtime/clock"
	"github.com/millrace/millrace/runtime/exchange"
	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/runtime/watermark"
)

// script is an operator that writes down what happens to it and can be told to
// stop in between.
type script struct {
	log     *[]string
	name    string
	out     operator.Output[int]
	pauses  int  // Advance returns done=false so often
	refuses bool // input 0
	fail    error
	due     int64
}

func (s *script) say(format string, args ...any) {
	*s.log = append(*s.log, s.name+" "+fmt.Sprintf(format, args...))
}
func (s *script) Open(*operator.Env) error { s.say("open"); return nil }
func (s *script) Input(i int) any          { return scriptInput{s, i} }
func (s *script) Connect(_ int, r any)     { s.out.Connect(r) }
func (s *script) Finish() (bool, error)    { s.say("finish"); return true, nil }
func (s *script) Close() error             { s.say("close"); return nil }
func (s *script) EndInput(i int) error     { s.say("end of input %d", i); return nil }
func (s *script) Wants(i int) bool         { return !s.refuses || i != 0 }
func (s *script) Due() (int64, bool)       { return s.due, s.due != 0 }
func (s *script) OnTime(n int64) (bool, error) {
	s.say("time %d", n)
	s.due = 0
	return true, nil
}
func (s *script) OnPost() error { s.say("post"); return nil }
func (s *script) Advance(wm int64) (int64, bool, error) {
	if s.pauses > 0 {
		s.pauses--
		s.say("watermark %s, not done", watermark.Format(wm))
		return 0, false, nil
	}
	s.say("watermark %s", watermark.Format(wm))
	return wm, true, s.fail
}

type scriptInput struct {
	*script
	input int
}

func (s scriptInput) Receive(b *record.Batch[int]) error {
	s.say("input %d: %v", s.input, b.Rows)
	if s.out.Connected() {
		return s.out.Send(b)
	}
	return nil
}

// sink is an exchange output that writes down what it is told.
type sinkOutput struct{ log *[]string }

func (o sinkOutput) Control(k exchange.Kind, v int64) {
	names := []string{"data", "watermark", "status", "end"}
	*o.log = append(*o.log, fmt.Sprintf("out %s %s", names[k], watermark.Format(v)))
}
func (o sinkOutput) Flush(bool)        {}
func (o sinkOutput) Blocked() bool     { return false }
func (o sinkOutput) AwaitCredit() bool { return false }
func (o sinkOutput) Receive(b *record.Batch[int]) error {
	*o.log = append(*o.log, fmt.Sprint("out ", b.Rows))
	return nil
}

type rig struct {
	task       *Task
	inbox      *exchange.Inbox
	head, tail *script
	log        []string
	clock      clock.Manual
}

// newRig makes a task of two operators, the head with the given inputs.
func newRig(channels ...int) *rig {
	r := &rig{}
	r.head = &script{log: &r.log, name: "head"}
	r.tail = &script{log: &r.log, name: "tail"}
	r.head.Connect(0, r.tail.Input(0))
	o := sinkOutput{&r.log}
	r.tail.Connect(0, o)
	env := &operator.Env{Name: "op", Clock: &r.clock, Cursor: &operator.Cursor{}}
	spec := Spec{Name: "rig", Nodes: []NodeSpec{
		{Op: r.head, Env: env, Parent: -1},
		{Op: r.tail, Env: env, Parent: 0, Outs: []exchange.Output{o}},
	}}
	for i, n := range channels {
		in := r.head.Input(i).(operator.Receiver[int])
		spec.Inputs = append(spec.Inputs, InputSpec{Channels: n, Receive: Entry(in)})
	}
	wake := make(chan struct{}, 1)
	r.inbox = exchange.NewInbox(Waker(wake))
	r.task = New(spec, r.inbox, wake)
	return r
}

func (r *rig) put(channel int, kind exchange.Kind, value int64, rows ...int) {
	m := exchange.Message{Channel: int32(channel), Kind: kind, Value: value}
	if kind == exchange.Data {
		b := record.New[int](8)
		for _, v := range rows {
			b.Append(v, 0)
		}
		m.Batch = b
	}
	r.inbox.Put(m)
}

// steps steps the task until it has nothing to do and returns what happened.
func (r *rig) steps(t *testing.T) []string {
	t.Helper()
	r.log = r.log[:0]
	for range 100 {
		st, err := r.task.Step()
		if err != nil {
			t.Fatal(err)
		}
		if !st.Ran || st.Finished {
			break
		}
	}
	return slices.Clone(r.log)
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestLifeOfATask(t *testing.T) {
	r := newRig(2)
	if err := r.task.Open(); err != nil {
		t.Fatal(err)
	}
	expect(t, r.log, "head open", "tail open")
	r.put(0, exchange.Data, 0, 1, 2)
	r.put(0, exchange.Watermark, 10)
	expect(t, r.steps(t), "head input 0: [1 2]", "tail input 0: [1 2]", "out [1 2]")
	r.put(1, exchange.Watermark, 7)
	expect(t, r.steps(t), "head watermark 7", "tail watermark 7", "out watermark 7")
	r.put(1, exchange.End, 0)
	expect(t, r.steps(t), "head watermark 10", "tail watermark 10", "out watermark 10")
	r.put(0, exchange.End, 0)
	expect(t, r.steps(t), "head end of input 0", "head watermark end", "head finish", "tail watermark end", "tail finish",
		"out watermark end", "out end 0")
	if st, _ := r.task.Step(); !st.Finished {
		t.Fatal("not finished")
	}
	r.log = nil
	r.task.Close()
	r.task.Close()
	expect(t, r.log, "head close", "tail close")
	if r.task.Records() != 2 {
		t.Errorf("%d records counted", r.task.Records())
	}
}

func TestFiringThatStopsInBetweenGoesOnBeforeAnythingElse(t *testing.T) {
	r := newRig(1)
	r.tail.pauses = 2
	r.put(0, exchange.Watermark, 5)
	r.put(0, exchange.Data, 0, 1)
	expect(t, r.steps(t), "head watermark 5", "tail watermark 5, not done", "tail watermark 5, not done", "tail watermark 5", "out watermark 5",
		"head input 0: [1]", "tail input 0: [1]", "out [1]")
}

func TestIdleIsToldAfterTheLastWatermarkAndActiveBeforeTheNext(t *testing.T) {
	r := newRig(2)
	r.put(0, exchange.Watermark, 5)
	r.put(1, exchange.Watermark, 9)
	r.put(0, exchange.Status, 1)
	expect(t, r.steps(t), "head watermark 5", "tail watermark 5", "out watermark 5", "head watermark 9", "tail watermark 9", "out watermark 9")
	r.put(1, exchange.Status, 1)
	expect(t, r.steps(t), "out status 1")
	r.put(1, exchange.Status, 0)
	r.put(1, exchange.Watermark, 12)
	expect(t, r.steps(t), "out status 0", "head watermark 12", "tail watermark 12", "out watermark 12")
}

func TestRefusedInputWaitsInOrderAndTheOtherGoesOn(t *testing.T) {
	r := newRig(1, 1)
	r.head.refuses = true
	r.put(0, exchange.Data, 0, 1)
	r.put(0, exchange.Data, 0, 2)
	r.put(1, exchange.Data, 0, 3)
	expect(t, r.steps(t), "head input 1: [3]", "tail input 0: [3]", "out [3]")
	r.head.refuses = false
	expect(t, r.steps(t), "head input 0: [1]", "tail input 0: [1]", "out [1]", "head input 0: [2]", "tail input 0: [2]", "out [2]")
}

func TestProcessingTimeAndPostsComeBeforeRecords(t *testing.T) {
	r := newRig(1)
	r.head.due = 50
	st, err := r.task.Step()
	if err != nil || st.Ran || st.Until != 50*int64(time.Millisecond) {
		t.Fatalf("before its time: %+v, %v", st, err)
	}
	r.clock.Set(60 * int64(time.Millisecond))
	r.put(0, exchange.Data, 0, 1)
	r.task.Post()
	expect(t, r.steps(t), "head post", "tail post", "head time 60", "head input 0: [1]", "tail input 0: [1]", "out [1]")
}

func TestEngineErrorsNameTheOperator(t *testing.T) {
	r := newRig(1)
	r.head.fail = errors.New("out of luck")
	r.put(0, exchange.Watermark, 5)
	if _, err := r.task.Step(); err == nil || err.Error() != "operator op: out of luck" {
		t.Errorf("got %v", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	r := newRig(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.task.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if !slices.Contains(r.log, "head close") {
		t.Error("not closed")
	}
}
