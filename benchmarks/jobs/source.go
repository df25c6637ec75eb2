package jobs

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/runtime/record"
)

// Mix is the number behind record seq: splitmix64, so that any split can make
// any record without the ones before it.
func Mix(seq int64) uint64 {
	x := (uint64(seq) + 1) * 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// A Fill makes the records seq, seq+step, seq+2*step, … in place.
type Fill[T any] func(rows []T, times []int64, seq, step int64)

// untimed gives records no event time.
func untimed(times []int64) {
	for i := range times {
		times[i] = record.NoTime
	}
}

// generated is a source of n records made by fill. Split s of S makes the
// records s, s+S, s+2S, …
type generated[T any] struct {
	n    int64
	fill Fill[T]
	pace *Pace // nil for as fast as can be
}

// newGenerated returns a source of n records, rate of them due each second, or
// all at once if rate is 0.
func newGenerated[T any](n, rate int64, fill Fill[T]) *generated[T] {
	g := &generated[T]{n: n, fill: fill}
	if rate > 0 {
		g.pace = NewPace(rate)
	}
	return g
}

// Bounded implements [millrace.Source].
func (*generated[T]) Bounded() bool { return true }

// Splits implements [millrace.Source].
func (g *generated[T]) Splits(_ context.Context, parallelism int) ([]millrace.Split, error) {
	if g.pace != nil {
		g.pace.Start()
	}
	var splits []millrace.Split
	for i := range parallelism {
		data := binary.LittleEndian.AppendUint64(nil, uint64(i))
		data = binary.LittleEndian.AppendUint64(data, uint64(parallelism))
		splits = append(splits, millrace.Split{ID: strconv.Itoa(i), Data: data})
	}
	return splits, nil
}

// Open implements [millrace.Source].
func (g *generated[T]) Open(_ context.Context, s millrace.Split, at millrace.Position) (millrace.Reader[T], error) {
	if len(s.Data) != 16 || at != nil && len(at) != 8 {
		return nil, fmt.Errorf("split %s: not one of this source", s.ID)
	}
	r := &generator[T]{generated: g,
		next: int64(binary.LittleEndian.Uint64(s.Data)), step: int64(binary.LittleEndian.Uint64(s.Data[8:]))}
	if at != nil {
		r.next = int64(binary.LittleEndian.Uint64(at))
	}
	if g.pace == nil {
		return inlineGenerator[T]{r}, nil
	}
	alarm, err := newAlarm()
	if err != nil {
		return nil, fmt.Errorf("split %s: %w", s.ID, err)
	}
	return &pacedGenerator[T]{generator: r, alarm: alarm}, nil
}

// generator reads one split.
type generator[T any] struct {
	*generated[T]
	next, step int64
}

// fillTo makes the records before number end, as far as there is room.
func (g *generator[T]) fillTo(end int64, out *millrace.Rows[T]) error {
	if left := end - g.next; left > 0 {
		k := min(int64(out.Room()), (left+g.step-1)/g.step)
		rows, times := out.Fill(int(k))
		g.fill(rows, times, g.next, g.step)
		g.next += k * g.step
	}
	if g.next >= g.n {
		return io.EOF
	}
	return nil
}

// Position implements [millrace.Reader].
func (g *generator[T]) Position() millrace.Position {
	return binary.LittleEndian.AppendUint64(nil, uint64(g.next))
}

// inlineGenerator reads a split as fast as it is asked to.
type inlineGenerator[T any] struct{ *generator[T] }

// ReadsInline implements [millrace.InlineReader].
func (inlineGenerator[T]) ReadsInline() {}

// Read implements [millrace.Reader].
func (g inlineGenerator[T]) Read(_ context.Context, out *millrace.Rows[T]) error {
	return g.fillTo(g.n, out)
}

// Close implements [millrace.Reader].
func (inlineGenerator[T]) Close() error { return nil }

// pacedGenerator reads a split as its records become due, and waits for them in
// Read as a reader of an outside system would.
type pacedGenerator[T any] struct {
	*generator[T]
	alarm *alarm
}

// Read implements [millrace.Reader].
func (g *pacedGenerator[T]) Read(ctx context.Context, out *millrace.Rows[T]) error {
	due, err := g.pace.await(ctx, g.next, g.alarm)
	if err != nil {
		return err
	}
	return g.fillTo(min(due, g.n), out)
}

// Close implements [millrace.Reader].
func (g *pacedGenerator[T]) Close() error { return g.alarm.close() }

// A Pace says when records are due: record seq at seq/rate seconds after the
// start, whether or not anybody is ready for it then.
type Pace struct {
	rate  int64
	base  time.Time
	start atomic.Int64 // nanoseconds after base, 0 before the start
}

// NewPace returns a pace of rate records a second that has not started.
func NewPace(rate int64) *Pace { return &Pace{rate: rate, base: time.Now()} }

// Start starts the clock, unless it runs.
func (p *Pace) Start() { p.start.CompareAndSwap(0, max(1, int64(time.Since(p.base)))) }

// Now is the time since the start in nanoseconds.
func (p *Pace) Now() int64 { return int64(time.Since(p.base)) - p.start.Load() }

// Due is when record seq is due, in nanoseconds since the start.
func (p *Pace) Due(seq int64) int64 {
	hi, lo := bits.Mul64(uint64(seq), uint64(time.Second))
	q, _ := bits.Div64(hi, lo, uint64(p.rate))
	return int64(q)
}

// DueBy is the number of records due at time now.
func (p *Pace) DueBy(now int64) int64 {
	hi, lo := bits.Mul64(uint64(now), uint64(p.rate))
	q, _ := bits.Div64(hi, lo, uint64(time.Second))
	return int64(q) + 1
}

// napMin and napMax bound a wait for the next record. A shorter one would cost
// more than it gains: some records are then due together. A longer one would
// leave an interrupted run waiting.
const (
	napMin = 50 * time.Microsecond
	napMax = 100 * time.Millisecond
)

// await returns the number of records due once seq is.
func (p *Pace) await(ctx context.Context, seq int64, a *alarm) (due int64, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		now := p.Now()
		if due := p.DueBy(now); due > seq {
			return due, nil
		}
		d := time.Duration(p.Due(seq) - now)
		if err := a.sleep(min(max(d, napMin), napMax)); err != nil {
			return 0, err
		}
	}
}
