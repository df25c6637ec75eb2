package nexmark

import "math/bits"

// gamma and mix are splitmix64: mix(x+gamma), mix(x+2*gamma) … are independent
// random words for the seed x.
const (
	gamma  = 0x9E3779B97F4A7C15
	gamma2 = 2 * gamma & (1<<64 - 1)
)

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// below16 and below32 map 16 or 32 random bits to 0 … n-1.
func below16(r, n uint64) int64 { return int64((r & 0xffff) * n >> 16) }
func below32(r, n uint64) int64 { return int64((r & 0xffffffff) * n >> 32) }

// below maps 64 random bits to 0 … n-1.
func below(r, n uint64) int64 {
	hi, _ := bits.Mul64(r, n)
	return int64(hi)
}

// unlessZero returns a, or b if n is 0; n is not negative.
func unlessZero(n, a, b int64) int64 { return a ^ (a^b)&((n-1)>>63) }

// state returns the seed from which the fields of event number are drawn.
func (g *Generator) state(number int64) uint64 {
	return g.seed + uint64(number)*0xD1B54A32D192ED03
}

// An extent gives lengths that are within a fifth of their average.
type extent struct{ least, spread int }

func extentFor(average int) extent {
	if average <= 0 {
		return extent{}
	}
	delta := (average + 2) / 5
	return extent{average - delta, 2 * delta}
}

// anyPerson returns the index of a person among the active ones, or of one of
// the next few to join; last is that of the newest.
func (g *Generator) anyPerson(last int64, r uint64) int64 {
	people := last + 1
	active := min(people, int64(g.opts.ActivePeople))
	return people - active + below32(r, uint64(active+idLead))
}

func (g *Generator) fillBids(dst []Bid, round, off int64) {
	h := g.hotIn(round)
	number := round*g.total + off
	for i := range dst {
		g.bid(&dst[i], number+int64(i), &h)
	}
}

// hot is what the bids of a round have in common.
type hot struct {
	auction, bidder       int64 // hot ids
	auctionLow            int64 // id of the oldest auction in flight
	auctions              uint64
	bidderLow             int64 // id of the oldest active person, as a bidder
	bidders               uint64
	ratioAuction, ratioBy uint64
}

func (g *Generator) hotIn(round int64) hot {
	lastAuction := round*g.auction + g.auction - 1
	lastPerson := round*g.person + g.person - 1
	low := max(lastAuction-int64(g.opts.InFlightAuctions), 0)
	active := min(lastPerson+1, int64(g.opts.ActivePeople))
	return hot{
		auction:      FirstAuctionID + lastAuction/hotAuctionStep*hotAuctionStep,
		auctionLow:   FirstAuctionID + low,
		auctions:     uint64(lastAuction - low + 1 + idLead),
		bidder:       g.bidderBase + lastPerson/hotBidderStep*hotBidderStep + 1,
		bidderLow:    g.bidderBase + lastPerson + 1 - active,
		bidders:      uint64(active + idLead),
		ratioAuction: uint64(g.opts.HotAuctionRatio),
		ratioBy:      uint64(g.opts.HotBidderRatio),
	}
}

// bid makes the bid with a number whose round has h in common. It is the hot
// loop of the generator.
func (g *Generator) bid(b *Bid, number int64, h *hot) {
	s := g.state(number)
	r0, r1, r2 := mix(s), mix(s+gamma), mix(s+gamma2)
	t := g.t

	// What is hot is a toss that no branch predictor can learn: both outcomes
	// are computed and one is chosen without a branch, which took a bid from
	// 27 to 18 ns.
	auction := unlessZero(below16(r0, h.ratioAuction), h.auction, h.auctionLow+below32(r0>>32, h.auctions))
	bidder := unlessZero(below16(r0>>16, h.ratioBy), h.bidder, h.bidderLow+below32(r1, h.bidders))
	at := unlessZero(int64(r2&1), channelCount+int64(r2>>1)&3, below16(r2>>1, channelCount))
	ch := &t.channels[at]
	b.Auction, b.Bidder = auction, bidder
	b.Price = t.price(uint32(r1 >> 32))
	b.Channel, b.URL = ch.name, ch.url
	b.DateTime = g.Millis(number)
	b.Extra = t.text(r2>>17, g.bidExtra)
}

func (g *Generator) fillPersons(dst []Person, round, off int64) {
	for i := range dst {
		g.makePerson(&dst[i], round, off+int64(i))
	}
}

func (g *Generator) makePerson(p *Person, round, off int64) {
	number := round*g.total + off
	s := g.state(number)
	r0, r1, r2 := mix(s), mix(s+gamma), mix(s+gamma2)
	t := g.t
	p.ID = FirstPersonID + round*g.person + off
	p.Name = t.names[below16(r0, uint64(len(t.names)))]
	p.City = cities[below16(r0>>16, uint64(len(cities)))]
	p.State = states[below16(r0>>32, uint64(len(states)))]
	p.EmailAddress = t.emails[below16(r0>>48, emailCount)]
	p.CreditCard = t.card(r1)
	p.DateTime = g.Millis(number)
	used := 8 + len(p.Name) + len(p.EmailAddress) + len(p.CreditCard) + len(p.City) + len(p.State)
	p.Extra = t.text(r2, extentFor(g.opts.AveragePersonBytes-used))
}

func (g *Generator) fillAuctions(dst []Auction, round, off int64) {
	for i := range dst {
		g.makeAuction(&dst[i], round, off+int64(i))
	}
}

func (g *Generator) makeAuction(a *Auction, round, off int64) {
	number := round*g.total + off
	s := g.state(number)
	r0, r1, r2 := mix(s), mix(s+gamma), mix(s+gamma2)
	r3 := mix(bits.RotateLeft64(s, 32) + gamma)
	t := g.t
	a.ID = FirstAuctionID + round*g.auction + off - g.person
	lastPerson := round*g.person + g.person - 1
	if below16(r0, uint64(g.opts.HotSellerRatio)) > 0 {
		a.Seller = FirstPersonID + lastPerson/hotSellerStep*hotSellerStep
	} else {
		a.Seller = FirstPersonID + g.anyPerson(lastPerson, r0>>32)
	}
	a.Category = FirstCategoryID + below16(r0>>16, Categories)
	a.InitialBid = t.price(uint32(r1))
	a.Reserve = a.InitialBid + t.price(uint32(r1>>32))
	a.DateTime = g.Millis(number)
	// An auction lasts on average until as many others have opened as are in
	// flight at a time.
	ahead := int64(g.opts.InFlightAuctions) * g.total / g.auction
	horizon := g.Millis(number+ahead) - a.DateTime
	a.Expires = a.DateTime + 1 + below(r3, uint64(max(horizon*2, 1)))
	a.ItemName = t.words(r2, 20)
	a.Description = t.words(r2>>32, 100)
	used := 8 + len(a.ItemName) + len(a.Description) + 5*8
	a.Extra = t.text(r3, extentFor(g.opts.AverageAuctionBytes-used))
}

// slab is how many people or auctions an eventFiller allocates at a time.
const slab = 32

// An eventFiller makes events of all kinds.
type eventFiller struct {
	g        *Generator
	people   []Person // allocated and not yet used
	auctions []Auction
}

func (f *eventFiller) fill(dst []Event, round, off int64) {
	g := f.g
	h := g.hotIn(round)
	for i := range dst {
		e := &dst[i]
		at := off + int64(i)
		if at >= g.person+g.auction {
			e.Kind, e.Person, e.Auction = KindBid, nil, nil
			g.bid(&e.Bid, round*g.total+at, &h)
			continue
		}
		*e = Event{}
		if at < g.person {
			e.Kind, e.Person = KindPerson, take(&f.people)
			g.makePerson(e.Person, round, at)
		} else {
			e.Kind, e.Auction = KindAuction, take(&f.auctions)
			g.makeAuction(e.Auction, round, at)
		}
	}
}

// take returns the next unused element of a slab and makes a new slab when
// there is none.
func take[T any](rest *[]T) *T {
	if len(*rest) == 0 {
		*rest = make([]T, slab)
	}
	first := &(*rest)[0]
	*rest = (*rest)[1:]
	return first
}
