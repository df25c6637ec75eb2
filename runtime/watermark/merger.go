package watermark

import "fmt"

// A Merger makes one watermark and one status out of those of n channels.
//
// The output is the minimum over the channels that are active and aligned. A
// channel that comes back from being idle is aligned once its own watermark is
// not below the output, so the output never goes back. When the last active
// channel leaves, the output jumps to the maximum of the idle ones, for nothing
// is left that could hold it. Finished channels count nowhere; only when all
// have finished does the output become [End].
//
// Invariant: the watermark of every aligned channel is >= out, and holders of
// them are == out; holders is 0 only if no channel is aligned.
type Merger struct {
	channels []channel
	out      int64
	status   Status
	active   int // channels by status; the rest have finished
	idle     int
	holders  int // aligned channels whose watermark is out
}

type channel struct {
	watermark int64
	status    Status
	aligned   bool // takes part in the minimum; implies active
}

// NewMerger returns a merger of n active channels without watermark. It panics
// if n < 1.
func NewMerger(n int) *Merger {
	m := newMerger(n)
	return &m
}

func newMerger(n int) Merger {
	if n < 1 {
		panic(fmt.Sprintf("watermark: merger of %d channels", n))
	}
	m := Merger{channels: make([]channel, n), out: None, active: n, holders: n}
	for i := range m.channels {
		m.channels[i] = channel{watermark: None, aligned: true}
	}
	return m
}

// Watermark records watermark t of channel ch. It is ignored if it is not above
// the last one of the channel or the channel is not active; [End] finishes the
// channel whatever its status. The call costs a few comparisons unless the
// channel was the last to hold the output back.
func (m *Merger) Watermark(ch int, t int64) Change {
	c := &m.channels[ch]
	if t == End {
		return m.Status(ch, Finished)
	}
	if c.status != Active || t <= c.watermark {
		return Change{}
	}
	before := c.watermark
	c.watermark = t
	if c.aligned {
		if before != m.out {
			return Change{}
		}
		m.holders--
	} else {
		if t < m.out {
			return Change{}
		}
		c.aligned = true
		if t == m.out {
			m.holders++
		}
	}
	return m.advance()
}

// Status records that channel ch now has status s. Repeating a status changes
// nothing, and a finished channel stays finished.
func (m *Merger) Status(ch int, s Status) Change {
	c := &m.channels[ch]
	if c.status == s || c.status == Finished {
		return Change{}
	}
	if s == Active {
		return m.wake(c)
	}
	held := c.aligned && c.watermark == m.out
	if held {
		m.holders--
	}
	if c.status == Active {
		m.active--
	} else {
		m.idle--
	}
	if s == Idle {
		m.idle++
	}
	c.status = s
	c.aligned = false

	switch {
	case m.active > 0:
		return m.advance()
	case m.idle > 0:
		if m.status == Idle {
			return Change{}
		}
		// A channel that had not yet caught up held nothing back; its going
		// idle is no news about the time of the others.
		var change Change
		if held || s == Finished {
			change = m.flush()
		}
		m.status = Idle
		change.Status, change.Switched = Idle, true
		return change
	default:
		change := Change{Watermark: End, Status: Finished, Advanced: true, Switched: true}
		m.out, m.status = End, Finished
		return change
	}
}

// wake makes an idle channel active again.
func (m *Merger) wake(c *channel) Change {
	m.idle--
	m.active++
	c.status = Active
	if c.watermark >= m.out {
		c.aligned = true
		if c.watermark == m.out {
			m.holders++
		}
	}
	change := m.advance()
	if m.status != Active {
		m.status = Active
		change.Status, change.Switched = Active, true
	}
	return change
}

// advance moves the output to the minimum over aligned channels if none of them
// holds it any more.
func (m *Merger) advance() Change {
	if m.holders > 0 {
		return Change{}
	}
	low, holders := End, 0
	for i := range m.channels {
		c := &m.channels[i]
		switch {
		case !c.aligned:
		case c.watermark < low:
			low, holders = c.watermark, 1
		case c.watermark == low:
			holders++
		}
	}
	if holders == 0 {
		return Change{}
	}
	m.out, m.holders = low, holders
	return Change{Watermark: low, Advanced: true}
}

// flush moves the output to the maximum over idle channels.
func (m *Merger) flush() Change {
	high := None
	for i := range m.channels {
		if c := &m.channels[i]; c.status == Idle && c.watermark > high {
			high = c.watermark
		}
	}
	if high <= m.out {
		return Change{}
	}
	m.out = high
	return Change{Watermark: high, Advanced: true}
}

// Current returns the output watermark and status: what all changes so far add
// up to.
func (m *Merger) Current() (int64, Status) { return m.out, m.status }

// Channel returns the last watermark and the status of channel ch. A finished
// channel keeps the watermark it had before it finished.
func (m *Merger) Channel(ch int) (int64, Status) {
	c := m.channels[ch]
	return c.watermark, c.status
}

// Inputs makes one watermark and one status for an operator with several
// logical inputs, each a [Merger] of its own channels. The output is the
// minimum over the active inputs; it is idle only if no input is active and
// some input is idle, and finished only if all inputs are. Unlike channels,
// inputs are never flushed: when all are idle the output stays where it is.
type Inputs struct {
	mergers  []Merger
	combined combined
}

// NewInputs returns the inputs with the given numbers of channels. It panics if
// there is no input or one has no channel.
func NewInputs(channels ...int) *Inputs {
	if len(channels) == 0 {
		panic("watermark: no inputs")
	}
	in := &Inputs{mergers: make([]Merger, len(channels)), combined: combined{out: None}}
	for i, n := range channels {
		in.mergers[i] = newMerger(n)
	}
	return in
}

// Watermark records watermark t of channel ch of the input, as
// [Merger.Watermark] does.
func (in *Inputs) Watermark(input, ch int, t int64) Change {
	if !in.mergers[input].Watermark(ch, t).Any() {
		return Change{}
	}
	return in.update()
}

// Status records status s of channel ch of the input, as [Merger.Status] does.
func (in *Inputs) Status(input, ch int, s Status) Change {
	if !in.mergers[input].Status(ch, s).Any() {
		return Change{}
	}
	return in.update()
}

func (in *Inputs) update() Change {
	low, active, idle := End, false, false
	for i := range in.mergers {
		switch m := &in.mergers[i]; m.status {
		case Active:
			active = true
			low = min(low, m.out)
		case Idle:
			idle = true
		}
	}
	return in.combined.update(low, active, idle)
}

// Current returns the output watermark and status.
func (in *Inputs) Current() (int64, Status) { return in.combined.out, in.combined.status }

// Input returns the watermark and status of one input.
func (in *Inputs) Input(input int) (int64, Status) { return in.mergers[input].Current() }
