package nexmark

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/benchmarks/jobs"
)

// delay is how far the watermark is behind the newest event. The reference's
// watermark is the newest time less 4 s, and nothing at or before a watermark
// is expected; Timestamps takes off a millisecond by itself.
const delay = 4*time.Second - time.Millisecond

// bids returns the stream of bids with event times and watermarks.
func (p *plan) bids() millrace.Stream[Bid] {
	if p.gen == nil {
		return p.file().FilterRef(func(e *Event) bool { return e.Kind == KindBid }).
			MapTo(func(e *Event, b *Bid) { *b = e.Bid })
	}
	return generate(p, p.gen.Bids, func(rows []Bid, times []int64) {
		for i := range rows {
			times[i] = rows[i].DateTime
		}
	})
}

// events returns the stream of the events of the kinds from first to last,
// with event times and watermarks.
func (p *plan) events(first, last Kind) millrace.Stream[Event] {
	if p.gen == nil {
		if first == KindPerson && last == KindBid {
			return p.file()
		}
		return p.file().FilterRef(func(e *Event) bool { return e.Kind >= first && e.Kind <= last })
	}
	open := func(s Split) (*Cursor[Event], error) { return p.gen.EventsOf(s, first, last) }
	return generate(p, open, eventTimes)
}

func eventTimes(rows []Event, times []int64) {
	for i := range rows {
		times[i] = rows[i].Millis()
	}
}

// generate returns the stream of what the cursors that open makes hold.
func generate[T any](p *plan, open func(Split) (*Cursor[T], error), stamp func(rows []T, times []int64)) millrace.Stream[T] {
	g := &generated[T]{open: open, stamp: stamp, rate: p.setup.Rate, events: p.gen.opts.Events, read: p.feed}
	return timed(p.job.From("events", g))
}

// file returns the stream of all events of the input. It is one split: what
// comes first in the file comes first in the stream.
func (p *plan) file() millrace.Stream[Event] {
	return timed(p.job.From("events", &inputFile{path: p.setup.Input, read: p.feed}))
}

// timed adds watermarks to records whose source has stamped them. No split is
// ever taken to be idle: results must not depend on how fast a run is.
func timed[T any](s millrace.Stream[T]) millrace.Stream[T] {
	return s.Timestamps(millrace.Timestamps[T]{MaxDelay: delay, Idle: -1})
}

// generated is a source of the events of a generator.
type generated[T any] struct {
	open   func(Split) (*Cursor[T], error)
	stamp  func(rows []T, times []int64)
	rate   int64 // events of all kinds a second; 0 for as fast as can be
	events int64
	read   *jobs.Tally
}

// Bounded implements [millrace.Source]. The splits do end, but must be read
// side by side: a subtask that took another's split after its own would find
// everything in it late.
func (*generated[T]) Bounded() bool { return false }

// Splits implements [millrace.Source].
func (g *generated[T]) Splits(_ context.Context, parallelism int) ([]millrace.Split, error) {
	var splits []millrace.Split
	for i := range parallelism {
		data := binary.LittleEndian.AppendUint32(nil, uint32(i))
		data = binary.LittleEndian.AppendUint32(data, uint32(parallelism))
		splits = append(splits, millrace.Split{ID: strconv.Itoa(i), Data: data})
	}
	return splits, nil
}

// Open implements [millrace.Source].
func (g *generated[T]) Open(_ context.Context, s millrace.Split, at millrace.Position) (millrace.Reader[T], error) {
	if len(s.Data) != 8 || at != nil && len(at) != 8 {
		return nil, fmt.Errorf("split %s: not one of this source", s.ID)
	}
	c, err := g.open(Split{Index: int(binary.LittleEndian.Uint32(s.Data)), Count: int(binary.LittleEndian.Uint32(s.Data[4:]))})
	if err != nil {
		return nil, err
	}
	if at != nil {
		c.MoveTo(int64(binary.LittleEndian.Uint64(at)))
	}
	return &generatedReader[T]{generated: g, cursor: c}, nil
}

type generatedReader[T any] struct {
	*generated[T]
	cursor  *Cursor[T]
	scratch []T       // where the order is shuffled
	begun   time.Time // if there is a rate
}

// ReadsInline implements [millrace.InlineReader].
func (*generatedReader[T]) ReadsInline() {}

// Read implements [millrace.Reader].
func (r *generatedReader[T]) Read(_ context.Context, out *millrace.Rows[T]) error {
	room := out.Room()
	if r.rate > 0 {
		due := r.due()
		if due <= 0 {
			const pause = 2 * time.Millisecond
			out.Wait(pause)
			return nil
		}
		room = int(min(int64(room), due))
	}
	n := 0
	if left := r.cursor.Left(); left >= 0 {
		n = int(min(left, int64(room)))
		rows, times := out.Fill(n)
		r.cursor.Next(rows)
		r.stamp(rows, times)
	} else {
		if r.scratch == nil {
			r.scratch = make([]T, out.Room())
		}
		n = r.cursor.Next(r.scratch[:room])
		rows, times := out.Fill(n)
		copy(rows, r.scratch)
		r.stamp(rows, times)
	}
	if n < room {
		return io.EOF
	}
	return nil
}

// due is how many events the split is behind the clock.
func (r *generatedReader[T]) due() int64 {
	now := time.Now()
	if r.begun.IsZero() {
		r.begun = now
	}
	due := int64(now.Sub(r.begun).Seconds() * float64(r.rate))
	return (due - r.cursor.position + int64(r.cursor.split.Count) - 1) / int64(r.cursor.split.Count)
}

// Position implements [millrace.Reader].
func (r *generatedReader[T]) Position() millrace.Position {
	return binary.LittleEndian.AppendUint64(nil, uint64(r.cursor.Position()))
}

// Close implements [millrace.Reader].
func (r *generatedReader[T]) Close() error {
	r.read.Add(r.cursor.Passed())
	return nil
}

// inputFile is a source of the events in a file.
type inputFile struct {
	path string
	read *jobs.Tally
}

// Bounded implements [millrace.Source].
func (*inputFile) Bounded() bool { return true }

// Splits implements [millrace.Source].
func (f *inputFile) Splits(context.Context, int) ([]millrace.Split, error) {
	return []millrace.Split{{ID: f.path}}, nil
}

// Open implements [millrace.Source]. A position is the number of events read.
func (f *inputFile) Open(_ context.Context, _ millrace.Split, at millrace.Position) (millrace.Reader[Event], error) {
	var skip int64
	if at != nil {
		if len(at) != 8 {
			return nil, fmt.Errorf("%s: position of %d bytes, want 8", f.path, len(at))
		}
		skip = int64(binary.LittleEndian.Uint64(at))
	}
	in, err := OpenFile(f.path)
	if err != nil {
		return nil, err
	}
	r := &fileReader{in: in, tally: f.read}
	for r.read < skip {
		n, err := in.Read(r.room(int(min(skip-r.read, 256))))
		if err != nil {
			return nil, fmt.Errorf("go to event %d: %w", skip, err)
		}
		r.read += int64(n)
	}
	return r, nil
}

type fileReader struct {
	in      *Reader
	scratch []Event
	read    int64
	tally   *jobs.Tally
}

// ReadsInline implements [millrace.InlineReader].
func (*fileReader) ReadsInline() {}

func (r *fileReader) room(n int) []Event {
	if len(r.scratch) < n {
		r.scratch = make([]Event, n)
	}
	return r.scratch[:n]
}

// Read implements [millrace.Reader].
func (r *fileReader) Read(_ context.Context, out *millrace.Rows[Event]) error {
	n, err := r.in.Read(r.room(out.Room()))
	rows, times := out.Fill(n)
	copy(rows, r.scratch)
	for i := range rows {
		own(&rows[i])
	}
	eventTimes(rows, times)
	r.read += int64(n)
	return err
}

// own gives people and auctions strings of their own. They are few and kept
// for long, and would each hold on to the block of the file they were read in.
func own(e *Event) {
	switch e.Kind {
	case KindPerson:
		for _, s := range []*string{&e.Person.Name, &e.Person.EmailAddress, &e.Person.CreditCard, &e.Person.City, &e.Person.State, &e.Person.Extra} {
			*s = strings.Clone(*s)
		}
	case KindAuction:
		for _, s := range []*string{&e.Auction.ItemName, &e.Auction.Description, &e.Auction.Extra} {
			*s = strings.Clone(*s)
		}
	}
}

// Position implements [millrace.Reader].
func (r *fileReader) Position() millrace.Position {
	return binary.LittleEndian.AppendUint64(nil, uint64(r.read))
}

// Close implements [millrace.Reader].
func (r *fileReader) Close() error {
	r.tally.Add(r.read)
	return r.in.Close()
}
