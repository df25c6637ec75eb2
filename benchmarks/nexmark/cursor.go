package nexmark

import (
	"fmt"
	"math"
)

// A Split is a part of the stream: of the positions From to To-1, taken in
// blocks of one round of the proportions (50 events by default), those blocks
// whose number is Index modulo Count. The zero Split is the whole stream.
//
// Sources that run in parallel should share one range and differ in Index:
// their event times then advance together.
type Split struct {
	Index, Count int   // Count 0 means 1
	From, To     int64 // To 0 means the end of the stream
}

// A Cursor goes through a split of the stream and makes the events of one
// kind, or of all. It is not safe for concurrent use; any number of cursors
// may share a generator.
type Cursor[T any] struct {
	g     *Generator
	split Split

	// fill makes the events that start at offset off of a round; there are
	// len(dst) of them, all of T's kind and of that round.
	fill   func(dst []T, round, off int64)
	lo, hi int64 // offsets in a round that are of T's kind

	position int64
	start    int64 // first position of the split
	end      int64
}

// Events returns a cursor over all events of the split. People and auctions
// are allocated 32 at a time; a program that keeps one keeps its neighbours.
func (g *Generator) Events(s Split) (*Cursor[Event], error) {
	var f eventFiller
	f.g = g
	return newCursor(g, s, 0, g.total, f.fill)
}

// EventsOf returns a cursor over the events of the kinds from first to last of
// the split: people and auctions, auctions and bids, or all. It passes over
// the others as Bids does.
func (g *Generator) EventsOf(s Split, first, last Kind) (*Cursor[Event], error) {
	if first > last || last > KindBid {
		return nil, fmt.Errorf("nexmark events: no kinds from %d to %d", first, last)
	}
	bounds := [...]int64{0, g.person, g.person + g.auction, g.total}
	var f eventFiller
	f.g = g
	return newCursor(g, s, bounds[first], bounds[last+1], f.fill)
}

// Bids returns a cursor over the bids of the split. It allocates nothing and
// passes over the other events at no cost, but counts them in Passed.
func (g *Generator) Bids(s Split) (*Cursor[Bid], error) {
	return newCursor(g, s, g.person+g.auction, g.total, g.fillBids)
}

// Persons returns a cursor over the people of the split, like Bids.
func (g *Generator) Persons(s Split) (*Cursor[Person], error) {
	return newCursor(g, s, 0, g.person, g.fillPersons)
}

// Auctions returns a cursor over the auctions of the split, like Bids.
func (g *Generator) Auctions(s Split) (*Cursor[Auction], error) {
	return newCursor(g, s, g.person, g.person+g.auction, g.fillAuctions)
}

func newCursor[T any](g *Generator, s Split, lo, hi int64, fill func(dst []T, round, off int64)) (*Cursor[T], error) {
	s.Count = max(s.Count, 1)
	end := s.To
	if end == 0 {
		end = g.opts.Events
		if end == 0 {
			end = math.MaxInt64 / 4
		}
	}
	switch {
	case s.Index < 0 || s.Index >= s.Count:
		return nil, fmt.Errorf("nexmark split: index %d of %d", s.Index, s.Count)
	case s.From < 0 || s.From > end:
		return nil, fmt.Errorf("nexmark split: range %d to %d", s.From, end)
	case g.opts.Events > 0 && end > g.opts.Events:
		return nil, fmt.Errorf("nexmark split: end %d is beyond the %d events", end, g.opts.Events)
	}
	c := &Cursor[T]{g: g, split: s, fill: fill, lo: lo, hi: hi, end: end}
	c.start = c.owned(s.From)
	c.position = c.start
	return c, nil
}

// Next makes up to len(dst) further events in dst, overwriting all of each,
// and returns how many. It returns 0 when the split is exhausted (or dst is
// empty). The strings of an event are the caller's to keep.
func (c *Cursor[T]) Next(dst []T) int {
	if c.g.groups.size > 1 {
		return c.nextShuffled(dst)
	}
	n := 0
	for n < len(dst) && c.position < c.end {
		round := c.position / c.g.total
		base := round * c.g.total
		lo := max(c.position-base, c.lo)
		hi := min(c.hi, c.end-base, lo+int64(len(dst)-n))
		if lo < hi {
			c.fill(dst[n:n+int(hi-lo)], round, lo)
			n += int(hi - lo)
			c.position = base + hi
		}
		if hi >= c.hi || lo >= c.hi || base+hi >= c.end {
			c.position = c.owned(base + c.g.total)
		}
	}
	return n
}

// nextShuffled is Next where the events of a round are anywhere.
func (c *Cursor[T]) nextShuffled(dst []T) int {
	n := 0
	for n < len(dst) && c.position < c.end {
		number := c.g.Number(c.position)
		round, off := number/c.g.total, number%c.g.total
		if off >= c.lo && off < c.hi {
			c.fill(dst[n:n+1], round, off)
			n++
		}
		c.position = c.owned(c.position + 1)
	}
	return n
}

// owned returns the first position from p on that is the split's, or the end.
func (c *Cursor[T]) owned(p int64) int64 {
	if count := int64(c.split.Count); count > 1 {
		block := p / c.g.total
		if ahead := (int64(c.split.Index) - block%count + count) % count; ahead > 0 {
			p = (block + ahead) * c.g.total
		}
	}
	return min(p, c.end)
}

// Position returns where the cursor is: the position from which Next goes on.
func (c *Cursor[T]) Position() int64 { return c.position }

// MoveTo moves the cursor to a position, or to the next one that belongs to the
// split. With a value of Position it goes on as that cursor would have.
func (c *Cursor[T]) MoveTo(position int64) {
	c.position = c.owned(max(position, c.start))
}

// Passed returns how many events of all kinds of the split lie behind the
// cursor, made or passed over. It is what the rates of the reference count.
func (c *Cursor[T]) Passed() int64 { return c.before(c.position) - c.before(c.start) }

// Left returns how many events Next has still to make, or -1 if that is not
// known because the order is shuffled.
func (c *Cursor[T]) Left() int64 {
	if c.g.groups.size > 1 {
		return -1
	}
	return c.wanted(c.end) - c.wanted(c.position)
}

// wanted returns how many events of T's kind are below position p in the
// blocks of the split, if the order is not shuffled.
func (c *Cursor[T]) wanted(p int64) int64 {
	count, index := int64(max(c.split.Count, 1)), int64(c.split.Index)
	block := p / c.g.total
	var n int64 // blocks of the split wholly below p
	if block >= index {
		n = (block - index + count - 1) / count
	}
	n *= c.hi - c.lo
	if block%count == index {
		n += min(max(p%c.g.total-c.lo, 0), c.hi-c.lo)
	}
	return n
}

// before returns how many positions below p are in the blocks of the split.
func (c *Cursor[T]) before(p int64) int64 {
	count, index := int64(c.split.Count), int64(c.split.Index)
	block := p / c.g.total
	n := (block - index + count - 1) / count // blocks of the split wholly below p
	if block < index {
		n = 0
	}
	n *= c.g.total
	if block%count == index {
		n += p % c.g.total
	}
	return n
}
