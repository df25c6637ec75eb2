package nexmark

import (
	"github.com/millrace/millrace"
)

// The queries that keep figures, or the best bids, of groups without windows.
// A bid changes its group's figures at once, and every change is sent on.

// rank is the class of a price: 1, 2 or 3.
func rank(price int64) int {
	switch {
	case price < 10_000:
		return 1
	case price < 1_000_000:
		return 2
	}
	return 3
}

// figures counts something in all and by the rank of its bids.
type figures [4]int64

func (f *figures) add(rank int) {
	f[0]++
	f[rank]++
}

// ranksSeen is a set of ranks; bit 0 says that there are any.
type ranksSeen uint8

// add adds a rank and returns what is new: bit 0 and that of the rank.
func (s *ranksSeen) add(rank int) (fresh ranksSeen) {
	fresh = (1 | 1<<rank) &^ *s
	*s |= fresh
	return fresh
}

// count adds one for each bit of fresh.
func (f *figures) count(fresh ranksSeen) {
	for i := range f {
		f[i] += int64(fresh >> i & 1)
	}
}

// statistics is a row of q15, and what is not the key of one of q16.
type statistics struct {
	Day                     Day
	Minute                  Minute // greatest seen; not in q15
	Bids, Bidders, Auctions figures
}

func appendStatistics(dst []byte, s *statistics) []byte {
	for _, part := range [...]struct {
		keys [4]string
		f    *figures
	}{
		{[...]string{`,"total_bids":`, `,"rank1_bids":`, `,"rank2_bids":`, `,"rank3_bids":`}, &s.Bids},
		{[...]string{`,"total_bidders":`, `,"rank1_bidders":`, `,"rank2_bidders":`, `,"rank3_bidders":`}, &s.Bidders},
		{[...]string{`,"total_auctions":`, `,"rank1_auctions":`, `,"rank2_auctions":`, `,"rank3_auctions":`}, &s.Auctions},
	} {
		for i, key := range part.keys {
			dst = appendInt(dst, key, part.f[i])
		}
	}
	return dst
}

// sighting says that a bidder, or an auction, had a bid of a rank on a day.
type sighting struct {
	who
	Rank uint8
}

// who is the key of a sighting. Days have few bidders and auctions in common,
// so that keying by both spreads a day over all subtasks.
type who struct {
	ID      int64
	Day     Day
	Auction bool // ID is that of an auction
}

// news is what a sighting adds to its day's figures.
type news struct {
	Day     Day
	Auction bool
	Rank    uint8
	Fresh   ranksSeen
}

func dayStatistics(p *plan) {
	rows := p.bids().
		FlatMapRef(func(b *Bid, send func(sighting)) {
			day, rank := dayOf(b.DateTime), uint8(rank(b.Price))
			send(sighting{who{b.Bidder, day, false}, rank})
			send(sighting{who{b.Auction, day, true}, rank})
		}).
		KeyByRef(func(s *sighting) who { return s.who }).
		Process("seen", func(op *millrace.Op[who, sighting, news]) {
			seen := op.Value[ranksSeen]("ranks")
			op.OnRecordRef(func(s *sighting) error {
				fresh := seen.Ref().add(int(s.Rank))
				if fresh != 0 || !s.Auction { // bids are counted with their bidders
					op.Emit(news{s.Day, s.Auction, s.Rank, fresh})
				}
				return nil
			})
		}).
		KeyByRef(func(n *news) Day { return n.Day }).
		Process("days", func(op *millrace.Op[Day, news, statistics]) {
			days := op.Value[statistics]("statistics")
			op.OnRecordRef(func(n *news) error {
				s := days.Ref()
				s.Day = n.Day
				if n.Auction {
					s.Auctions.count(n.Fresh)
				} else {
					s.Bids.add(int(n.Rank))
					s.Bidders.count(n.Fresh)
				}
				*op.Next() = *s
				return nil
			})
		})
	emitFinal(p, rows, func(r *statistics) Day { return r.Day }, func(dst []byte, r *statistics) []byte {
		dst = appendDay(dst, `{"day":`, r.Day)
		return append(appendStatistics(dst, r), '}')
	})
}

// channelDay is the key of q16.
type channelDay struct {
	Channel string
	Day     Day
}

// channelBid is what q16 needs of a bid.
type channelBid struct {
	channelDay
	Minute          Minute
	Rank            uint8
	Bidder, Auction int64
}

// channelFigures is a row of q16.
type channelFigures struct {
	Channel string
	statistics
}

func channelStatistics(p *plan) {
	rows := p.bids().
		MapTo(func(b *Bid, r *channelBid) {
			*r = channelBid{channelDay{b.Channel, dayOf(b.DateTime)}, minuteOf(b.DateTime), uint8(rank(b.Price)), b.Bidder, b.Auction}
		}).
		KeyByRef(func(b *channelBid) channelDay { return b.channelDay }).
		Process("channels", func(op *millrace.Op[channelDay, channelBid, channelFigures]) {
			channels := op.Value[statistics]("statistics")
			bidders := op.Map[int64, ranksSeen]("bidders")
			auctions := op.Map[int64, ranksSeen]("auctions")
			op.OnRecordRef(func(b *channelBid) error {
				rank := int(b.Rank)
				bidder := bidders.Ref(b.Bidder).add(rank)
				auction := auctions.Ref(b.Auction).add(rank)
				s := channels.Ref()
				s.Day = b.Day
				s.Minute = max(s.Minute, b.Minute)
				s.Bids.add(rank)
				s.Bidders.count(bidder)
				s.Auctions.count(auction)
				*op.Next() = channelFigures{b.Channel, *s}
				return nil
			})
		})
	emitFinal(p, rows, func(r *channelFigures) channelDay { return channelDay{r.Channel, r.Day} }, func(dst []byte, r *channelFigures) []byte {
		dst = appendString(dst, `{"channel":`, r.Channel)
		dst = appendDay(dst, `,"day":`, r.Day)
		dst = appendMinute(dst, `,"minute":`, r.Minute)
		return append(appendStatistics(dst, &r.statistics), '}')
	})
}

// auctionDay is the key of q17.
type auctionDay struct {
	Auction int64
	Day     Day
}

// priced is what q17 needs of a bid.
type priced struct {
	auctionDay
	Price int64
}

// auctionFigures is a row of q17.
type auctionFigures struct {
	auctionDay
	Bids                    figures
	Least, Greatest, Prices int64 // Prices is their sum
}

func auctionStatistics(p *plan) {
	rows := p.bids().
		MapTo(func(b *Bid, r *priced) { *r = priced{auctionDay{b.Auction, dayOf(b.DateTime)}, b.Price} }).
		KeyByRef(func(r *priced) auctionDay { return r.auctionDay }).
		Process("auctions", func(op *millrace.Op[auctionDay, priced, auctionFigures]) {
			auctions := op.Value[auctionFigures]("figures")
			op.OnRecordRef(func(r *priced) error {
				f := auctions.Ref()
				if f.Bids[0] == 0 {
					*f = auctionFigures{auctionDay: r.auctionDay, Least: r.Price, Greatest: r.Price}
				}
				f.Bids.add(rank(r.Price))
				f.Least = min(f.Least, r.Price)
				f.Greatest = max(f.Greatest, r.Price)
				f.Prices += r.Price
				*op.Next() = *f
				return nil
			})
		})
	emitFinal(p, rows, func(r *auctionFigures) auctionDay { return r.auctionDay }, func(dst []byte, r *auctionFigures) []byte {
		dst = appendInt(dst, `{"auction":`, r.Auction)
		dst = appendDay(dst, `,"day":`, r.Day)
		dst = appendInt(dst, `,"total_bids":`, r.Bids[0])
		dst = appendInt(dst, `,"rank1_bids":`, r.Bids[1])
		dst = appendInt(dst, `,"rank2_bids":`, r.Bids[2])
		dst = appendInt(dst, `,"rank3_bids":`, r.Bids[3])
		dst = appendInt(dst, `,"min_price":`, r.Least)
		dst = appendInt(dst, `,"max_price":`, r.Greatest)
		dst = appendInt(dst, `,"avg_price":`, r.Prices/r.Bids[0])
		return append(appendInt(dst, `,"sum_price":`, r.Prices), '}')
	})
}

// pair is the key of q18.
type pair struct{ Bidder, Auction int64 }

// lastBid is the state of q18: what the key does not say of a bid.
type lastBid struct {
	At                  uint64 // the bid's time, moved so that zero is before any
	Price               int64
	Channel, URL, Extra string
}

func lastBids(p *plan) {
	rows := p.bids().
		KeyByRef(func(b *Bid) pair { return pair{b.Bidder, b.Auction} }).
		Process("last-bids", func(op *millrace.Op[pair, Bid, Bid]) {
			last := op.Value[lastBid]("last")
			op.OnRecordRef(func(b *Bid) error {
				at := uint64(b.DateTime) ^ 1<<63
				if l := last.Ref(); at >= l.At {
					*l = lastBid{at, b.Price, b.Channel, b.URL, b.Extra}
					*op.Next() = *b
				}
				return nil
			})
		})
	emitFinal(p, rows, func(r *Bid) pair { return pair{r.Bidder, r.Auction} }, appendBid)
}

const topCount = 10

// top is the state of q19: the N best bids, best first.
type top struct {
	N    int
	Bids [topCount]Bid
}

// ranked is a row of q19.
type ranked struct {
	Bid  Bid
	Rank int // from 1
}

// slot is the key of the result of q19.
type slot struct {
	Auction int64
	Rank    int
}

func topBids(p *plan) {
	rows := p.bids().KeyByRef(func(b *Bid) int64 { return b.Auction }).
		Process("top-bids", func(op *millrace.Op[int64, Bid, ranked]) {
			tops := op.Value[top]("top")
			op.OnRecordRef(func(b *Bid) error {
				t := tops.Ref()
				at := t.N
				for at > 0 && t.Bids[at-1].Price < b.Price {
					at--
				}
				if at == topCount {
					return nil
				}
				t.N = min(t.N+1, topCount)
				copy(t.Bids[at+1:t.N], t.Bids[at:])
				t.Bids[at] = *b
				for i := at; i < t.N; i++ { // all that have moved down as well
					*op.Next() = ranked{t.Bids[i], i + 1}
				}
				return nil
			})
		})
	emitFinal(p, rows, func(r *ranked) slot { return slot{r.Bid.Auction, r.Rank} }, func(dst []byte, r *ranked) []byte {
		dst = appendBid(dst, &r.Bid)
		return append(appendInt(dst[:len(dst)-1], `,"rank_number":`, int64(r.Rank)), '}')
	})
}
