package optest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/runtime/operator"
)

// TB is what of testing.TB is used here.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// A Story is an operator and what happens to it.
type Story struct {
	// New makes the operator.
	New func() operator.Operator
	// Ports reads what it sends; made by [Port].
	Ports []PortReader
	// Calls are what happens, in order.
	Calls []Call
	// Options of the drivers; Parallelism is the one that is rescaled from.
	Options Options
	// Keyed says that all state belongs to keys and a record's effects do not
	// depend on other keys, so that the operator must do the same with any
	// number of subtasks.
	Keyed bool
}

// PortReader reads one port of an operator.
type PortReader func(d *Driver) func() []string

// Port reads a port that sends records of T. Records are compared as fmt's %+v
// prints them.
func Port[T any](number int) PortReader {
	return func(d *Driver) func() []string {
		c := Collect[T](d, number)
		return func() []string { return c.lines(number) }
	}
}

// A Call is one thing that happens to an operator.
type Call struct {
	name    string
	ordered bool // what it makes comes in a given order
	// do makes the call, record by record if single is set.
	do func(d *Driver, single bool) error
}

// Records is a call of [SendKeyed].
func Records[K comparable, T any](input int, rows ...Row[K, T]) Call {
	return Call{fmt.Sprintf("records %+v to input %d", rows, input), true, func(d *Driver, single bool) error {
		if !single {
			return SendKeyed(d, input, rows...)
		}
		for _, r := range rows {
			if err := SendKeyed(d, input, r); err != nil {
				return err
			}
		}
		return nil
	}}
}

// PlainRecords is a call of [Send].
func PlainRecords[T any](input int, rows ...Sent[T]) Call {
	return Call{fmt.Sprintf("records %+v to input %d", rows, input), true, func(d *Driver, single bool) error {
		if !single {
			return Send(d, input, rows...)
		}
		for _, r := range rows {
			if err := Send(d, input, r); err != nil {
				return err
			}
		}
		return nil
	}}
}

// BroadcastRecords is a call of [Broadcast].
func BroadcastRecords[T any](input int, rows ...Sent[T]) Call {
	return Call{fmt.Sprintf("broadcast %+v to input %d", rows, input), true, func(d *Driver, _ bool) error {
		return Broadcast(d, input, rows...)
	}}
}

// Advance is a call of [Driver.Advance].
func Advance(wm int64) Call {
	return Call{"watermark " + operator.FormatMillis(wm), false, func(d *Driver, _ bool) error { return d.Advance(wm) }}
}

// ProcessingTime is a call of [Driver.ProcessingTime].
func ProcessingTime(now int64) Call {
	return Call{"clock " + operator.FormatMillis(now), false, func(d *Driver, _ bool) error { return d.ProcessingTime(now) }}
}

// EndInput is a call of [Driver.EndInput].
func EndInput(input int) Call {
	return Call{fmt.Sprintf("end of input %d", input), false, func(d *Driver, _ bool) error { return d.EndInput(input) }}
}

// Finish is a call of [Driver.Finish].
func Finish() Call {
	return Call{"finish", false, func(d *Driver, _ bool) error { return d.Finish() }}
}

// Conform plays a story in several ways: in whole batches and record by record,
// with the subtasks replaced by restored ones after each call, with firings
// interrupted, and, if it is Keyed, with more and fewer subtasks. It fails t
// where one does not send the same in each call as the first does. What timers
// send may come in any order.
func Conform(t TB, s Story) {
	t.Helper()
	want := play(t, s, "in batches", false, func(*Options) {}, nil)
	if want == nil {
		return
	}
	same := func(way string, single, ordered bool, adjust func(*Options), scales []int) {
		t.Helper()
		got := play(t, s, way, single, adjust, scales)
		if got == nil {
			return
		}
		for i := range want {
			w, g := want[i], got[i]
			if !ordered || !s.Calls[i].ordered {
				w, g = sorted(w), sorted(g)
			}
			if !slices.Equal(w, g) {
				t.Errorf("%s: call %d, %s: sent\n\t%s\nwant, as in batches\n\t%s", way, i, s.Calls[i].name, strings.Join(g, "\n\t"), strings.Join(w, "\n\t"))
				return
			}
		}
	}
	one := s.Options.Parallelism <= 1
	same("record by record", true, one, func(*Options) {}, nil)
	same("restored after each call", false, one, func(o *Options) { o.RestoreEach = true }, nil)
	same("restored after each record", true, one, func(o *Options) { o.RestoreEach = true }, nil)
	same("interrupted", false, one, func(o *Options) { o.Interrupt = true }, nil)
	same("in small batches", false, one, func(o *Options) { o.BatchSize = 2 }, nil)
	if s.Keyed {
		same("rescaled", false, false, func(*Options) {}, []int{3, 2, 1, 5})
		same("rescaled, record by record", true, false, func(*Options) {}, []int{2, 7, 1})
	}
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

// play returns what was sent in each call, or nil if t has failed.
func play(t TB, s Story, way string, single bool, adjust func(*Options), scales []int) [][]string {
	t.Helper()
	opt := s.Options
	opt.Clock = nil
	adjust(&opt)
	d := New(s.New, opt)
	var reads []func() []string
	for _, p := range s.Ports {
		reads = append(reads, p(d))
	}
	if err := d.Start(); err != nil {
		t.Fatalf("%s: %v", way, err)
		return nil
	}
	var sent [][]string
	for i, c := range s.Calls {
		if len(scales) > 0 {
			if err := d.Restart(scales[i%len(scales)]); err != nil {
				t.Fatalf("%s: before call %d: %v", way, i, err)
				return nil
			}
		}
		if err := c.do(d, single); err != nil {
			t.Fatalf("%s: call %d, %s: %v", way, i, c.name, err)
			return nil
		}
		var lines []string
		for _, r := range reads {
			lines = append(lines, r()...)
		}
		sent = append(sent, lines)
	}
	if err := d.Close(); err != nil {
		t.Fatalf("%s: close: %v", way, err)
		return nil
	}
	return sent
}
