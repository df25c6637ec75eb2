package checkpoint

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// The protocol, told as stories: see the files in testdata. A line of step is a
// time, since the story began, and an event; below it stand the actions.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := story{t: t}
		datadriven.RunTest(t, path, s.command)
	})
}

type story struct {
	t       *testing.T
	c       *Coordinator
	attempt map[string]Attempt
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (s *story) command(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "new":
		return s.create(d)
	case "step":
		var b strings.Builder
		for line := range strings.Lines(d.Input) {
			f := strings.Fields(line)
			at, err := time.ParseDuration(f[0])
			if err != nil {
				d.Fatalf(t, "%s: %v", line, err)
			}
			fmt.Fprintf(&b, "%s", line)
			if !strings.HasSuffix(line, "\n") {
				b.WriteByte('\n')
			}
			for _, a := range s.c.Step(epoch.Add(at), s.event(d, f[1:])) {
				fmt.Fprintf(&b, "  %s\n", s.show(a))
			}
		}
		return b.String()
	case "retained":
		var b strings.Builder
		for _, r := range s.c.Retained() {
			fmt.Fprintf(&b, "%d %s\n", r.ID, r.Kind)
		}
		return b.String()
	case "ignored":
		return fmt.Sprintf("%+v", s.c.Ignored())
	case "history":
		return s.history()
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

// create makes a coordinator with the settings of the arguments; each line of
// input is a task and those that send to it.
func (s *story) create(d *datadriven.TestData) string {
	settings := map[string]string{}
	o := Options{First: 1}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "first":
			n, _ := strconv.Atoi(a.Vals[0])
			o.First = ID(n)
		case "reserve":
			o.ReserveBlock, _ = strconv.Atoi(a.Vals[0])
		case "retained":
			for _, v := range a.Vals {
				n, _ := strconv.Atoi(strings.TrimPrefix(v, "savepoint-"))
				r := Completed{ID: ID(n), Owned: !strings.HasPrefix(v, "savepoint-"), Path: v}
				if !r.Owned {
					r.Kind = Savepoint
				}
				o.Retained = append(o.Retained, r)
			}
		default:
			settings[prefix+a.Key] = a.Vals[0]
		}
	}
	var err error
	if o.Config, _, err = Parse(settings); err != nil {
		return err.Error()
	}
	s.attempt = map[string]Attempt{}
	var names []string
	for line := range strings.Lines(d.Input) {
		f := strings.Fields(line)
		t := TaskInfo{Vertex: f[0][:strings.LastIndex(f[0], "-")]}
		for _, in := range f[1:] {
			t.Inputs = append(t.Inputs, Task(slices.Index(names, in)))
		}
		names = append(names, f[0])
		o.Topology.Tasks = append(o.Topology.Tasks, t)
	}
	s.c = New(o)
	return ""
}

// event reads one: src-0 is the current attempt of a task, src-0@1 an older one.
func (s *story) event(d *datadriven.TestData, f []string) Event {
	id := func(i int) ID {
		n, err := strconv.Atoi(f[i])
		if err != nil {
			d.Fatalf(s.t, "%v: %v", f, err)
		}
		return ID(n)
	}
	task := func(i int) (Task, Attempt) {
		name, a, old := strings.Cut(f[i], "@")
		t := Task(slices.Index(s.c.names, name))
		if old {
			n, _ := strconv.Atoi(a)
			return t, Attempt(n)
		}
		return t, s.attempt[name]
	}
	has := func(w string) bool { return slices.Contains(f, w) }
	cause := errors.New(strings.Join(f[min(2, len(f)):], " ")) // of those that have one
	switch f[0] {
	case "tick":
		return Tick{}
	case "request":
		r := Request{ID: RequestID(id(1)), Full: has("full"), Target: "/save"}
		r.Kind = Kind(slices.Index([]string{"checkpoint", "savepoint", "stop", "drain"}, f[2]))
		return r
	case "running":
		t, a := task(1)
		return Running{t, a}
	case "backlog":
		t, a := task(1)
		return Backlog{t, a, int(id(2)), has("on")}
	case "end-of-data":
		t, a := task(1)
		return EndOfData{t, a}
	case "finished":
		t, a := task(1)
		return Finished{t, a, id(3)}
	case "failed":
		t, a := task(1)
		return Failed{t, a, cause}
	case "ack":
		t, a := task(2)
		ack := Ack{Checkpoint: id(1), Task: t, Attempt: a, Handle: f[2], Finished: has("finished")}
		ack.Metrics = Metrics{Sync: time.Millisecond, Async: 2 * time.Second, CheckpointedBytes: 100, StateBytes: 1000}
		return ack
	case "decline":
		t, a := task(2)
		r := slices.Index(declineNames[:], strings.Join(f[3:], " "))
		return Decline{id(1), t, a, DeclineReason(max(r, 0)), nil}
	case "trigger-failed":
		return TriggerFailed{id(1), cause}
	case "published":
		return Published{id(1), "/chk-" + f[1]}
	case "publish-failed":
		return PublishFailed{id(1), cause}
	case "publish-unknown":
		return PublishUnknown{id(1), cause}
	case "discarded":
		if len(f) > 2 {
			return Discarded{id(1), cause}
		}
		return Discarded{id(1), nil}
	case "reserved":
		return Reserved{id(1)}
	case "recover":
		return Recover{}
	case "restored":
		ev := Restored{Checkpoint: id(1), Attempt: Attempt(id(2))}
		for i, n := range s.c.names {
			if len(f) == 3 || slices.Contains(f[3:], n) {
				s.attempt[n] = ev.Attempt
				ev.Tasks = append(ev.Tasks, Task(i))
			}
		}
		return ev
	case "job":
		return JobEnded{End(slices.Index(endNames[:], f[1]))}
	}
	d.Fatalf(s.t, "unknown event %v", f)
	return nil
}

func (s *story) show(a Action) string {
	names := func(ts []Task) string {
		var b strings.Builder
		for _, t := range ts {
			b.WriteByte(' ')
			b.WriteString(s.c.names[t])
		}
		return b.String()
	}
	acks := func(as []Ack) string {
		var b strings.Builder
		for _, k := range as {
			fmt.Fprintf(&b, " %s", s.c.names[k.Task])
			if k.Finished {
				b.WriteString("(finished)")
			}
		}
		return b.String()
	}
	switch a := a.(type) {
	case Trigger:
		how := ""
		if a.Full {
			how += " full"
		}
		if a.Unaligned {
			how += fmt.Sprintf(" unaligned after %v", a.AlignedTimeout)
		}
		return fmt.Sprintf("trigger %s %d%s:%s", a.Kind, a.Checkpoint, how, names(a.Tasks))
	case Publish:
		return fmt.Sprintf("publish %s %d:%s; finished: %v", a.Kind, a.Checkpoint, acks(a.Acks), a.FinishedVertices)
	case Confirm:
		return fmt.Sprintf("confirm %d", a.Checkpoint)
	case Notify:
		return fmt.Sprintf("notify %d, %d is gone:%s", a.Checkpoint, a.Subsumed, names(a.Tasks))
	case Abort:
		return fmt.Sprintf("abort %d:%s: %v", a.Checkpoint, names(a.Tasks), a.Err)
	case Discard:
		with := ""
		if a.Manifest {
			with = " and its manifest"
		}
		return fmt.Sprintf("discard %d%s:%s", a.Checkpoint, with, acks(a.Acks))
	case DiscardLate:
		return fmt.Sprintf("discard late %d: %s", a.Ack.Checkpoint, s.c.names[a.Ack.Task])
	case Drop:
		return fmt.Sprintf("drop %d", a.Checkpoint)
	case Restore:
		is := ""
		for _, d := range a.Candidates {
			is += fmt.Sprintf(" %d", d.ID)
		}
		return "restore one of:" + is
	case FailJob:
		return fmt.Sprintf("fail job: %v", a.Cause)
	case Answer:
		return fmt.Sprintf("answer %d: %d %s %v", a.Request, a.Checkpoint, a.Path, a.Err)
	case Reserve:
		return fmt.Sprintf("reserve below %d", a.Below)
	case WakeAt:
		if a.At.IsZero() {
			return "do not wake"
		}
		return fmt.Sprintf("wake at %v", a.At.Sub(epoch))
	}
	return fmt.Sprintf("%T", a)
}

func (s *story) history() string {
	h := s.c.History()
	var b strings.Builder
	fmt.Fprintf(&b, "%+v\nend to end %+v\ncheckpointed %+v\n", h.Counts, h.Summary.EndToEnd, h.Summary.Checkpointed)
	for _, e := range h.Recent {
		fmt.Fprintf(&b, "%s %d %s after %v, %d of %d, %d bytes", e.Kind, e.ID, e.Status, e.Duration(), e.Acked, len(e.Subtasks), e.Total.StateBytes)
		if e.Dropped {
			b.WriteString(", dropped")
		}
		if e.Err != nil {
			fmt.Fprintf(&b, ": %v", e.Err)
		}
		b.WriteByte('\n')
		for _, v := range e.Vertices() {
			fmt.Fprintf(&b, "  %s: %d of %d, sync %+v, async %+v\n", v.Vertex, v.Acked, v.Subtasks, v.Sync, v.Async)
		}
	}
	return b.String()
}
