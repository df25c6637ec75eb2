package watermark

import (
	"fmt"
	"slices"
	"time"
)

// DefaultIdleTimeout is how long a split may be silent before it no longer
// holds back event time, unless the user says otherwise.
const DefaultIdleTimeout = 30 * time.Second

// Idleness says when a silent split is idle. The zero value switches the
// detection off.
type Idleness struct {
	// Timeout is how long a split must be silent, counted from the first tick
	// that finds it silent. Time under back pressure or in a pause does not
	// count. 0 means never.
	Timeout time.Duration
	// AfterFirstData delays the detection until some split has had an event or
	// [Splits.Arm] is called, so that a slow start is not taken for silence. It
	// is for the default timeout; one that the user asked for counts at once.
	AfterFirstData bool
}

// DefaultIdleness is the detection in force when the user says nothing.
func DefaultIdleness() Idleness {
	return Idleness{Timeout: DefaultIdleTimeout, AfterFirstData: true}
}

// Splits makes the watermark and the status of a source subtask out of those of
// its splits. The output is the minimum over active splits. With no active
// split the subtask is idle, with or without idle ones: whatever is downstream
// must not wait for a subtask that has nothing to read. It is finished when no
// split is left and none will come.
type Splits struct {
	strategy Strategy
	idleness Idleness
	splits   []*Split // live ones, in the order they were added
	combined combined
	armed    bool // silence counts
	blocked  bool // the subtask is back-pressured
	noMore   bool // no split will be added
}

// A Split is one split of a [Splits], from [Splits.Add] to [Split.Finish].
type Split struct {
	id        string
	set       *Splits
	largest   int64 // largest timestamp seen
	watermark int64
	finished  bool
	paused    bool // by alignment

	// Idle detection, on a clock that stands still while the split cannot be
	// read.
	idle    bool
	touched bool          // an event came since the last tick
	silent  bool          // a tick has found no event since the last one; at is set
	ran     time.Duration // what the clock shows, up to since
	since   time.Time     // when the clock was started, if it runs
	at      time.Duration // what the clock showed when the silence began
}

// NewSplits returns the machine of a subtask without splits, which is idle from
// the start: the caller sends that status before anything else.
func NewSplits(s Strategy, i Idleness) *Splits {
	return &Splits{
		strategy: s,
		idleness: i,
		combined: combined{out: None, status: Idle},
		armed:    !i.AfterFirstData,
	}
}

// Add takes up a split, active and without watermark. It panics if a live split
// has the same id or [Splits.NoMoreSplits] was called.
func (s *Splits) Add(id string, now time.Time) (*Split, Change) {
	if s.noMore {
		panic(fmt.Sprintf("watermark: split %s added after the last", id))
	}
	if s.Split(id) != nil {
		panic(fmt.Sprintf("watermark: split %s added twice", id))
	}
	sp := &Split{id: id, set: s, largest: s.strategy.start(), watermark: None, since: now}
	s.splits = append(s.splits, sp)
	return sp, s.update()
}

// Split returns the live split of that id, or nil.
func (s *Splits) Split(id string) *Split {
	for _, sp := range s.splits {
		if sp.id == id {
			return sp
		}
	}
	return nil
}

// NoMoreSplits records that no split will be added. When the last live split
// finishes, or at once if there is none, the subtask is finished.
func (s *Splits) NoMoreSplits() Change {
	s.noMore = true
	return s.update()
}

// Arm starts the idle detection of a subtask that waits for its first data,
// because another subtask of the source has had some.
func (s *Splits) Arm() { s.armed = true }

// Armed reports whether silence counts.
func (s *Splits) Armed() bool { return s.armed }

// Block records that the subtask is held up by back pressure from now on:
// blocked is not idle. Unblock ends it. Repeating either changes nothing.
func (s *Splits) Block(now time.Time) {
	if s.blocked {
		return
	}
	for _, sp := range s.splits {
		sp.stopClock(now)
	}
	s.blocked = true
}

// Unblock records that the subtask can send again.
func (s *Splits) Unblock(now time.Time) {
	if !s.blocked {
		return
	}
	s.blocked = false
	for _, sp := range s.splits {
		sp.startClock(now)
	}
}

// Tick is the periodic emission: it brings the watermarks of all splits up to
// what they have seen and finds the idle ones. now must not go back. A custom
// generator's OnPeriodic goes to [Split.Advance] before the tick.
func (s *Splits) Tick(now time.Time) Change {
	for _, sp := range s.splits {
		sp.watermark = max(sp.watermark, s.strategy.watermark(sp.largest))
		if !sp.idle && s.armed && s.idleness.Timeout > 0 {
			sp.detect(now, s.idleness.Timeout)
		}
		sp.touched = false
	}
	return s.update()
}

// Align records that the alignment group allows watermarks up to maxAllowed,
// and returns the splits that are to be paused and resumed because of it. Call
// it after every tick and whenever maxAllowed changes. End allows everything.
func (s *Splits) Align(maxAllowed int64, now time.Time) (pause, resume []*Split) {
	for _, sp := range s.splits {
		ahead := Paused(sp, maxAllowed)
		switch {
		case ahead && !sp.paused:
			sp.stopClock(now)
			sp.paused = true
			pause = append(pause, sp)
		case !ahead && sp.paused:
			sp.paused = false
			sp.startClock(now)
			resume = append(resume, sp)
		}
	}
	return pause, resume
}

// Paused reports whether an alignment limit of maxAllowed forbids reading sp.
func Paused(sp *Split, maxAllowed int64) bool { return sp.watermark > maxAllowed }

// Report returns what the subtask tells its alignment group: its watermark, or
// End while it is idle or finished and does not count.
func (s *Splits) Report() int64 {
	if s.combined.status != Active {
		return End
	}
	return s.combined.out
}

// Current returns the output watermark and status.
func (s *Splits) Current() (int64, Status) { return s.combined.out, s.combined.status }

// All returns the live splits in the order they were added. The slice is the
// machine's own and valid until a split is added or finishes.
func (s *Splits) All() []*Split { return s.splits }

func (s *Splits) update() Change {
	low, active := End, false
	for _, sp := range s.splits {
		if !sp.idle {
			active = true
			low = min(low, sp.watermark)
		}
	}
	return s.combined.update(low, active, len(s.splits) > 0 || !s.noMore)
}

// ID returns the id given to [Splits.Add].
func (sp *Split) ID() string { return sp.id }

// Watermark returns the watermark of the split as of the last tick, or None.
func (sp *Split) Watermark() int64 { return sp.watermark }

// Idle reports whether the split is idle.
func (sp *Split) Idle() bool { return sp.idle }

// Paused reports whether alignment has paused the split.
func (sp *Split) Paused() bool { return sp.paused }

// Observe records that the split has had events, the latest of them at
// timestamp. It is called once a batch. An idle split is active at once; the
// watermark follows at the next tick. Pass None for events without timestamp.
func (sp *Split) Observe(timestamp int64) Change {
	if timestamp > sp.largest {
		sp.largest = timestamp
	}
	sp.touched = true
	if !sp.idle && sp.set.armed {
		return Change{}
	}
	return sp.wake()
}

// Advance records that a custom generator has emitted watermark t, which is
// sent at once if it moves the output. A watermark that is not above the last
// one is ignored. End is taken for the time just before it, since only the end
// of input may be called the end.
func (sp *Split) Advance(t int64) Change {
	if t = min(t, End-1); t <= sp.watermark || sp.finished {
		return Change{}
	}
	sp.watermark = t
	return sp.set.update()
}

// Finish removes the split; it no longer holds anything back. A second call
// does nothing.
func (sp *Split) Finish() Change {
	if sp.finished {
		return Change{}
	}
	sp.finished = true
	s := sp.set
	i := slices.Index(s.splits, sp)
	s.splits = slices.Delete(s.splits, i, i+1)
	return s.update()
}

func (sp *Split) wake() Change {
	if sp.finished {
		return Change{}
	}
	sp.set.armed = true
	sp.silent = false
	if !sp.idle {
		return Change{}
	}
	sp.idle = false
	return sp.set.update()
}

// detect marks the split idle if it has been silent for longer than timeout.
func (sp *Split) detect(now time.Time, timeout time.Duration) {
	clock := sp.clock(now)
	switch {
	case sp.touched:
		sp.silent = false
	case !sp.silent:
		sp.silent = true
		sp.at = clock
	case clock-sp.at > timeout:
		sp.idle = true
	}
}

func (sp *Split) clock(now time.Time) time.Duration {
	if sp.stopped() {
		return sp.ran
	}
	return sp.ran + now.Sub(sp.since)
}

func (sp *Split) stopped() bool { return sp.paused || sp.set.blocked }

// stopClock is called before the flag that stops the clock is set.
func (sp *Split) stopClock(now time.Time) { sp.ran = sp.clock(now) }

// startClock is called after a flag is cleared; another may still be set.
func (sp *Split) startClock(now time.Time) { sp.since = now }
