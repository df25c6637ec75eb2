package watermark

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var s story
		datadriven.RunTest(t, path, s.step)
	})
}

// A story holds the machines that the commands of one file drive.
type story struct {
	merger *Merger
	inputs *Inputs
	splits *Splits
	group  *Group[string]
	now    time.Time
	limit  int64
}

func (s *story) step(t *testing.T, d *datadriven.TestData) string {
	var ch, input int
	if d.HasArg("ch") {
		d.ScanArgs(t, "ch", &ch)
	}
	if d.HasArg("input") {
		d.ScanArgs(t, "input", &input)
	}
	switch d.Cmd {
	case "merger":
		var n int
		d.ScanArgs(t, "channels", &n)
		s.merger = NewMerger(n)
		return "ok"
	case "inputs":
		var a, b int
		d.ScanArgs(t, "channels", &a, &b)
		s.inputs = NewInputs(a, b)
		return "ok"
	case "watermark":
		if s.inputs != nil {
			return s.inputs.Watermark(input, ch, number(t, d, "t")).String()
		}
		return s.merger.Watermark(ch, number(t, d, "t")).String()
	case "active", "idle", "finished":
		status := map[string]Status{"active": Active, "idle": Idle, "finished": Finished}[d.Cmd]
		if s.inputs != nil {
			return s.inputs.Status(input, ch, status).String()
		}
		return s.merger.Status(ch, status).String()
	case "splits":
		return s.newSplits(t, d)
	case "group":
		s.group = NewGroup[string](duration(t, d, "drift"))
		return s.groupState()
	case "report":
		var who string
		d.ScanArgs(t, "subtask", &who)
		s.group.Report(who, number(t, d, "t"))
		return s.groupState()
	case "remove":
		var who string
		d.ScanArgs(t, "subtask", &who)
		s.group.Remove(who)
		return s.groupState()
	}
	return s.splitStep(t, d)
}

func (s *story) newSplits(t *testing.T, d *datadriven.TestData) string {
	strategy, idleness := NoWatermarks(), Idleness{}
	switch {
	case d.HasArg("bounded"):
		strategy = BoundedOutOfOrderness(duration(t, d, "bounded"))
	case d.HasArg("monotonous"):
		strategy = Monotonous()
	case d.HasArg("custom"):
		strategy = Custom()
	}
	if d.HasArg("idle") {
		idleness.Timeout = duration(t, d, "idle")
	}
	if d.HasArg("default-idleness") {
		idleness = DefaultIdleness()
	}
	s.splits = NewSplits(strategy, idleness)
	s.now = time.Unix(1000, 0)
	s.limit = End
	return s.splitState(Change{})
}

func (s *story) splitStep(t *testing.T, d *datadriven.TestData) string {
	var id string
	if d.HasArg("split") {
		d.ScanArgs(t, "split", &id)
	}
	var change Change
	switch d.Cmd {
	case "add":
		_, change = s.splits.Add(id, s.now)
	case "events":
		change = s.splits.Split(id).Observe(number(t, d, "t"))
	case "emit":
		change = s.splits.Split(id).Advance(number(t, d, "t"))
	case "finish":
		change = s.splits.Split(id).Finish()
	case "no-more-splits":
		change = s.splits.NoMoreSplits()
	case "block":
		s.splits.Block(s.now)
	case "unblock":
		s.splits.Unblock(s.now)
	case "arm":
		s.splits.Arm()
	case "wait":
		s.now = s.now.Add(duration(t, d, "for"))
	case "tick":
		if d.HasArg("after") {
			s.now = s.now.Add(duration(t, d, "after"))
		}
		change = s.splits.Tick(s.now)
	case "align":
		pause, resume := s.splits.Align(number(t, d, "max"), s.now)
		return fmt.Sprintf("pause:%s resume:%s\n", ids(pause), ids(resume)) + s.splitState(change)
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	return s.splitState(change)
}

func (s *story) splitState(change Change) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", change)
	for _, sp := range s.splits.All() {
		fmt.Fprintf(&b, "  %s at %s", sp.ID(), Format(sp.Watermark()))
		if sp.Idle() {
			b.WriteString(" idle")
		}
		if sp.Paused() {
			b.WriteString(" paused")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (s *story) groupState() string { return "up to " + Format(s.group.MaxAllowed()) }

func ids(splits []*Split) string {
	var b strings.Builder
	for _, sp := range splits {
		b.WriteString(" " + sp.ID())
	}
	return b.String()
}

func number(t *testing.T, d *datadriven.TestData, name string) int64 {
	var s string
	d.ScanArgs(t, name, &s)
	switch s {
	case "none":
		return None
	case "end":
		return End
	}
	var n int64
	if _, err := fmt.Sscan(s, &n); err != nil {
		d.Fatalf(t, "%s=%s: %v", name, s, err)
	}
	return n
}

func duration(t *testing.T, d *datadriven.TestData, name string) time.Duration {
	var s string
	d.ScanArgs(t, name, &s)
	v, err := time.ParseDuration(s)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return v
}
