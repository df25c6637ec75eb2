package nexmark

import (
	"errors"
	"fmt"
	"time"
)

// Ids and categories start above zero, as in the reference.
const (
	FirstPersonID   = 1000
	FirstAuctionID  = 1000
	FirstCategoryID = 10
	Categories      = 5
)

const (
	idLead         = 10  // ids this far beyond the newest are used before they exist
	hotAuctionStep = 100 // one in so many auctions is hot while it is among the newest
	hotSellerStep  = 100
	hotBidderStep  = 100

	// The reference adds FirstPersonID to a bidder twice.
	referenceBidderShift = FirstPersonID
)

// Options says which events a [Generator] makes. Zero fields take the
// defaults given, which are the reference's.
type Options struct {
	Events int64  // how many events there are, of all kinds together; 0: no end
	Seed   uint64 // another seed gives other events of the same kind; 0

	// Start is the event time of event 0 in milliseconds since 1970 UTC;
	// 2015-07-15T00:00:00. The reference uses the wall clock.
	Start int64
	// Rate is the number of events per second of event time; Events/10, so
	// that a run spans ten seconds, or 10000 if there is no end.
	Rate int64
	// Disorder, if not zero, shuffles the order of events so that an event
	// comes at most this much event time after a younger one. Which events
	// there are does not change.
	Disorder time.Duration

	// Of PersonProportion+AuctionProportion+BidProportion consecutive events
	// the first are people, the next auctions and the rest bids; 1, 3 and 46.
	PersonProportion, AuctionProportion, BidProportion int

	HotAuctionRatio  int // all but 1 in so many bids go to the hot auction; 2
	HotBidderRatio   int // all but 1 in so many bids come from the hot bidder; 4
	HotSellerRatio   int // all but 1 in so many auctions come from the hot seller; 4
	InFlightAuctions int // other bids go to this many of the newest auctions; 100
	ActivePeople     int // others bid and sell from this many of the newest people; 1000

	// MatchBidders gives bids the ids of people who have joined. The reference
	// adds 1000 once too often, so that its bidders join a thousand people
	// later; joins of bids with people in short streams are then empty.
	MatchBidders bool

	// Average sizes of an event in bytes as the reference counts them (the
	// channel and URL of a bid do not count). Field Extra makes up for what
	// the other fields lack; 200, 500 and 100.
	AveragePersonBytes, AverageAuctionBytes, AverageBidBytes int
}

const averageBytesMax = 64 << 10 // an extra is then at most 1.2 times that and fits the text

func (o Options) withDefaults() Options {
	set := func(p *int, value int) {
		if *p == 0 {
			*p = value
		}
	}
	if o.Start == 0 {
		o.Start = 1436918400_000
	}
	if o.Rate == 0 {
		o.Rate = 10000
		if o.Events > 0 {
			o.Rate = max(1, o.Events/10)
		}
	}
	set(&o.PersonProportion, 1)
	set(&o.AuctionProportion, 3)
	set(&o.BidProportion, 46)
	set(&o.HotAuctionRatio, 2)
	set(&o.HotBidderRatio, 4)
	set(&o.HotSellerRatio, 4)
	set(&o.InFlightAuctions, 100)
	set(&o.ActivePeople, 1000)
	set(&o.AveragePersonBytes, 200)
	set(&o.AverageAuctionBytes, 500)
	set(&o.AverageBidBytes, 100)
	return o
}

func (o Options) validate() error {
	var problems []error
	check := func(name string, value, lo, hi int64) {
		if value < lo || value > hi {
			problems = append(problems, fmt.Errorf("%s is %d, want %d to %d", name, value, lo, hi))
		}
	}
	const many = 1 << 20
	check("Events", o.Events, 0, 1<<50)
	check("Rate", o.Rate, 1, 1_000_000_000)
	check("Start", o.Start, 0, 1<<47)
	check("Disorder", int64(o.Disorder), 0, int64(time.Hour))
	check("PersonProportion", int64(o.PersonProportion), 1, many)
	check("AuctionProportion", int64(o.AuctionProportion), 1, many)
	check("BidProportion", int64(o.BidProportion), 1, many)
	check("HotAuctionRatio", int64(o.HotAuctionRatio), 1, 1<<16)
	check("HotBidderRatio", int64(o.HotBidderRatio), 1, 1<<16)
	check("HotSellerRatio", int64(o.HotSellerRatio), 1, 1<<16)
	check("InFlightAuctions", int64(o.InFlightAuctions), 1, 1<<30)
	check("ActivePeople", int64(o.ActivePeople), 1, 1<<30)
	check("AveragePersonBytes", int64(o.AveragePersonBytes), 1, averageBytesMax)
	check("AverageAuctionBytes", int64(o.AverageAuctionBytes), 1, averageBytesMax)
	check("AverageBidBytes", int64(o.AverageBidBytes), 1, averageBytesMax)
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("nexmark generator: %w", err)
	}
	return nil
}

// A Generator makes events, each a function of the options and the event's
// number alone: any part of the stream can be made again, by anyone, in any
// order. A Generator is not changed by use and is safe for concurrent use.
//
// Events are numbered from 0 in the order of their event times. Positions
// count them in the order in which they come; the two differ only if there is
// disorder.
type Generator struct {
	opts Options
	t    *tables
	seed uint64

	person, auction, total int64   // proportions: of people, of auctions, of all
	microsPerEvent         float64 // of event time
	bidderBase             int64   // id of the bidder with index 0
	bidExtra               extent

	groups groups
}

// New returns a generator for the options, or an error that names every
// option out of its bounds.
func New(opts Options) (*Generator, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	g := &Generator{
		opts:           opts,
		t:              sharedTables(),
		seed:           mix(opts.Seed + gamma),
		person:         int64(opts.PersonProportion),
		auction:        int64(opts.AuctionProportion),
		total:          int64(opts.PersonProportion) + int64(opts.AuctionProportion) + int64(opts.BidProportion),
		microsPerEvent: 1e6 / float64(opts.Rate),
		bidderBase:     FirstPersonID + referenceBidderShift,
		bidExtra:       extentFor(opts.AverageBidBytes - 4*8),
	}
	if opts.MatchBidders {
		g.bidderBase = FirstPersonID
	}
	g.groups = groupsFor(opts)
	return g, nil
}

// Options returns the options with all defaults filled in.
func (g *Generator) Options() Options { return g.opts }

// Kind returns the kind of event number.
func (g *Generator) Kind(number int64) Kind {
	switch off := number % g.total; {
	case off < g.person:
		return KindPerson
	case off < g.person+g.auction:
		return KindAuction
	}
	return KindBid
}

// Millis returns the event time of event number, in milliseconds since 1970
// UTC. It never falls as number grows.
func (g *Generator) Millis(number int64) int64 {
	return g.opts.Start + int64(float64(number)*g.microsPerEvent)/1000
}

// Number returns the number of the event at a position.
func (g *Generator) Number(position int64) int64 { return g.groups.number(position) }

// groups shuffles positions within groups of consecutive ones, as the
// reference does: by steps of a size that shares no factor with the group's.
// A group spans no more event time than the disorder allowed, so neither does
// the delay of an event.
type groups struct {
	size, step         int64 // size 1: no disorder
	tailStart, tailLen int64 // the last group if the others do not fill the stream
	tailStep           int64
}

func groupsFor(o Options) groups {
	s := groups{size: max(1, int64(float64(o.Rate)*o.Disorder.Seconds())), tailStart: 1<<63 - 1}
	s.step = stepFor(s.size)
	if o.Events > 0 {
		s.tailStart = o.Events / s.size * s.size
		s.tailLen = max(1, o.Events-s.tailStart)
		s.tailStep = stepFor(s.tailLen)
	}
	return s
}

// stepFor returns a step through n places that comes by all of them, far from
// 1 so that neighbours part.
func stepFor(n int64) int64 {
	step := max(1, int64(float64(n)*0.6180339887))
	for gcd(step, n) != 1 {
		step++
	}
	return step
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func (s *groups) number(position int64) int64 {
	if s.size == 1 {
		return position
	}
	base, size, step := position/s.size*s.size, s.size, s.step
	if base >= s.tailStart {
		size, step = s.tailLen, s.tailStep
	}
	shift := int64(mix(uint64(base)) >> 40) // so that groups are shuffled differently
	return base + ((position-base)*step+shift)%size
}
