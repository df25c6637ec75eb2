package nexmark

import (
	"github.com/millrace/millrace"
)

// The queries that join auctions with their sellers and bids. None has a
// window: as in the reference, both sides are kept for good, and either may
// come first. No id is taken to be unique.

// localSeller is a row of q3.
type localSeller struct {
	Name, City, State string
	ID                int64 // of the auction
}

// localParty is who and what q3 knows of one seller.
type localParty struct {
	People   []localSeller // ID is not used
	Auctions []int64
}

func localSellers(p *plan) {
	rows := p.events(KindPerson, KindAuction).
		FilterRef(func(e *Event) bool {
			if e.Kind == KindAuction {
				return e.Auction.Category == 10
			}
			s := e.Person.State
			return s == "OR" || s == "ID" || s == "CA"
		}).
		KeyByRef(personOf).
		Process("sellers", func(op *millrace.Op[int64, Event, localSeller]) {
			party := op.Value[localParty]("party")
			op.OnRecordRef(func(e *Event) error {
				known := party.Ref()
				if e.Kind == KindAuction {
					known.Auctions = append(known.Auctions, e.Auction.ID)
					for _, seller := range known.People {
						seller.ID = e.Auction.ID
						op.Emit(seller)
					}
					return nil
				}
				seller := localSeller{Name: e.Person.Name, City: e.Person.City, State: e.Person.State}
				known.People = append(known.People, seller)
				for _, seller.ID = range known.Auctions {
					op.Emit(seller)
				}
				return nil
			})
		})
	emit(p, rows, func(dst []byte, r *localSeller) []byte {
		dst = appendString(dst, `{"name":`, r.Name)
		dst = appendString(dst, `,"city":`, r.City)
		dst = appendString(dst, `,"state":`, r.State)
		return append(appendInt(dst, `,"id":`, r.ID), '}')
	})
}

// personOf returns the person an event is about: who joins, sells or bids.
func personOf(e *Event) int64 {
	switch e.Kind {
	case KindPerson:
		return e.Person.ID
	case KindAuction:
		return e.Auction.Seller
	}
	return e.Bid.Bidder
}

// auctionOf returns the auction that an event opens or bids on.
func auctionOf(e *Event) int64 {
	if e.Kind == KindAuction {
		return e.Auction.ID
	}
	return e.Bid.Auction
}

// move is what q4 needs of an auction or a bid.
type move struct {
	Kind     Kind
	Auction  int64
	DateTime int64
	Expires  int64 // of an auction
	Category int64 // of an auction
	Price    int64 // of a bid
}

// lot is what q4 knows of one auction.
type lot struct {
	Auctions []move
	Bids     []pricedBid
	Best     []categoryPrice // one for each category of Auctions with a valid bid
}

type pricedBid struct{ Price, DateTime int64 }

type categoryPrice struct{ Category, Price int64 }

// priceChange says how a winning price changes the sum and number of those of
// its category.
type priceChange struct{ Category, Sum, Count int64 }

// categoryAverage is a row of q4.
type categoryAverage struct{ ID, Final int64 }

func categoryAverages(p *plan) {
	rows := p.events(KindAuction, KindBid).
		MapTo(func(e *Event, m *move) {
			if e.Kind == KindBid {
				*m = move{Kind: KindBid, Auction: e.Bid.Auction, DateTime: e.Bid.DateTime, Price: e.Bid.Price}
				return
			}
			a := e.Auction
			*m = move{Kind: KindAuction, Auction: a.ID, DateTime: a.DateTime, Expires: a.Expires, Category: a.Category}
		}).
		KeyByRef(func(m *move) int64 { return m.Auction }).
		Process("winning-prices", winningPrices).
		KeyByRef(func(c *priceChange) int64 { return c.Category }).
		Process("averages", func(op *millrace.Op[int64, priceChange, categoryAverage]) {
			total := op.Value[priceChange]("total")
			op.OnRecordRef(func(c *priceChange) error {
				t := total.Ref()
				t.Sum += c.Sum
				t.Count += c.Count
				op.Emit(categoryAverage{c.Category, t.Sum / t.Count})
				return nil
			})
		})
	emitFinal(p, rows, func(r *categoryAverage) int64 { return r.ID }, func(dst []byte, r *categoryAverage) []byte {
		dst = appendInt(dst, `{"id":`, r.ID)
		return append(appendInt(dst, `,"final":`, r.Final), '}')
	})
}

// winningPrices tells how the winning prices of auctions change.
func winningPrices(op *millrace.Op[int64, move, priceChange]) {
	lots := op.Value[lot]("lot")
	op.OnRecordRef(func(m *move) error {
		l := lots.Ref()
		if m.Kind == KindBid {
			l.Bids = append(l.Bids, pricedBid{m.Price, m.DateTime})
			for i := range l.Auctions {
				if a := &l.Auctions[i]; m.DateTime >= a.DateTime && m.DateTime <= a.Expires {
					if c, ok := l.raise(a.Category, m.Price); ok {
						op.Emit(c)
					}
				}
			}
			return nil
		}
		l.Auctions = append(l.Auctions, *m)
		best, valid := int64(0), false
		for _, b := range l.Bids {
			if b.DateTime >= m.DateTime && b.DateTime <= m.Expires && (!valid || b.Price > best) {
				best, valid = b.Price, true
			}
		}
		if valid {
			if c, ok := l.raise(m.Category, best); ok {
				op.Emit(c)
			}
		}
		return nil
	})
}

// raise notes a valid price and reports how the winning one has changed.
func (l *lot) raise(category, price int64) (c priceChange, changed bool) {
	for i, b := range l.Best {
		if b.Category == category {
			if price <= b.Price {
				return c, false
			}
			best := make([]categoryPrice, len(l.Best)) // what state points to is not changed in place
			copy(best, l.Best)
			best[i].Price = price
			l.Best = best
			return priceChange{category, price - b.Price, 0}, true
		}
	}
	l.Best = append(l.Best, categoryPrice{category, price})
	return priceChange{category, price, 1}, true
}

// contest is what q9 knows of the auctions with one id.
type contest struct {
	Auctions []*Auction
	Bids     []contender
	Won      bool
	Winner   winning
}

// contender is what q9 keeps of a bid.
type contender struct {
	Bidder, Price, DateTime int64
	Extra                   string
}

// winning is a row of q9.
type winning struct {
	Auction *Auction
	Bid     contender
}

func winningBids(p *plan) {
	rows := p.events(KindAuction, KindBid).KeyByRef(auctionOf).
		Process("winning-bids", func(op *millrace.Op[int64, Event, winning]) {
			contests := op.Value[contest]("contest")
			op.OnRecordRef(func(e *Event) error {
				c := contests.Ref()
				if e.Kind == KindBid {
					b := contender{e.Bid.Bidder, e.Bid.Price, e.Bid.DateTime, e.Bid.Extra}
					c.Bids = append(c.Bids, b)
					for _, a := range c.Auctions {
						if c.take(a, &b) {
							*op.Next() = c.Winner
						}
					}
					return nil
				}
				c.Auctions = append(c.Auctions, e.Auction)
				won := false
				for i := range c.Bids {
					won = c.take(e.Auction, &c.Bids[i]) || won
				}
				if won {
					*op.Next() = c.Winner
				}
				return nil
			})
		})
	emitFinal(p, rows, func(r *winning) int64 { return r.Auction.ID }, func(dst []byte, r *winning) []byte {
		a := r.Auction
		dst = appendInt(dst, `{"id":`, a.ID)
		dst = appendString(dst, `,"itemName":`, a.ItemName)
		dst = appendString(dst, `,"description":`, a.Description)
		dst = appendInt(dst, `,"initialBid":`, a.InitialBid)
		dst = appendInt(dst, `,"reserve":`, a.Reserve)
		dst = appendTime(dst, `,"dateTime":`, a.DateTime)
		dst = appendTime(dst, `,"expires":`, a.Expires)
		dst = appendInt(dst, `,"seller":`, a.Seller)
		dst = appendInt(dst, `,"category":`, a.Category)
		dst = appendString(dst, `,"extra":`, a.Extra)
		dst = appendInt(dst, `,"auction":`, a.ID)
		dst = appendInt(dst, `,"bidder":`, r.Bid.Bidder)
		dst = appendInt(dst, `,"price":`, r.Bid.Price)
		dst = appendTime(dst, `,"bid_dateTime":`, r.Bid.DateTime)
		return append(appendString(dst, `,"bid_extra":`, r.Bid.Extra), '}')
	})
}

// take makes b the winner if it is valid for a and beats the winner: by its
// price, or at the same price by its time.
func (c *contest) take(a *Auction, b *contender) bool {
	if b.DateTime < a.DateTime || b.DateTime > a.Expires {
		return false
	}
	if w := &c.Winner.Bid; c.Won && (b.Price < w.Price || b.Price == w.Price && b.DateTime >= w.DateTime) {
		return false
	}
	c.Won, c.Winner = true, winning{a, *b}
	return true
}

// expanded is a row of q20.
type expanded struct {
	Bid     Bid
	Auction *Auction
}

// listing is what q20 knows of the auctions with one id.
type listing struct {
	Auctions []*Auction
	Bids     []Bid
}

func expandBids(p *plan) {
	rows := p.events(KindAuction, KindBid).
		FilterRef(func(e *Event) bool { return e.Kind == KindBid || e.Auction.Category == 10 }).
		KeyByRef(auctionOf).
		Process("auctions-and-bids", func(op *millrace.Op[int64, Event, expanded]) {
			listings := op.Value[listing]("listing")
			op.OnRecordRef(func(e *Event) error {
				l := listings.Ref()
				if e.Kind == KindBid {
					l.Bids = append(l.Bids, e.Bid)
					for _, a := range l.Auctions {
						*op.Next() = expanded{e.Bid, a}
					}
					return nil
				}
				l.Auctions = append(l.Auctions, e.Auction)
				for i := range l.Bids {
					*op.Next() = expanded{l.Bids[i], e.Auction}
				}
				return nil
			})
		})
	emit(p, rows, func(dst []byte, r *expanded) []byte {
		b, a := &r.Bid, r.Auction
		dst = appendInt(dst, `{"auction":`, b.Auction)
		dst = appendInt(dst, `,"bidder":`, b.Bidder)
		dst = appendInt(dst, `,"price":`, b.Price)
		dst = appendString(dst, `,"channel":`, b.Channel)
		dst = appendString(dst, `,"url":`, b.URL)
		dst = appendTime(dst, `,"bid_dateTime":`, b.DateTime)
		dst = appendString(dst, `,"bid_extra":`, b.Extra)
		return append(appendListing(dst, a), '}')
	})
}

// appendListing appends the columns of an auction as q20 and q23 call them.
func appendListing(dst []byte, a *Auction) []byte {
	dst = appendString(dst, `,"itemName":`, a.ItemName)
	dst = appendString(dst, `,"description":`, a.Description)
	dst = appendInt(dst, `,"initialBid":`, a.InitialBid)
	dst = appendInt(dst, `,"reserve":`, a.Reserve)
	dst = appendTime(dst, `,"auction_dateTime":`, a.DateTime)
	dst = appendTime(dst, `,"expires":`, a.Expires)
	dst = appendInt(dst, `,"seller":`, a.Seller)
	dst = appendInt(dst, `,"category":`, a.Category)
	return appendString(dst, `,"auction_extra":`, a.Extra)
}

// profiled is a row of q23.
type profiled struct {
	Bid     personBid
	Person  *Person
	Auction *Auction
}

// personBid is what q23 keeps of a bid; whose it is the key says.
type personBid struct {
	Price               int64
	Channel, URL, Extra string
}

// profile is what q23 knows of one person.
type profile struct {
	People   []*Person
	Auctions []*Auction // that the person sells
	Bids     []personBid
}

func bidderProfiles(p *plan) {
	rows := p.events(KindPerson, KindBid).KeyByRef(personOf).
		Process("profiles", func(op *millrace.Op[int64, Event, profiled]) {
			profiles := op.Value[profile]("profile")
			op.OnRecordRef(func(e *Event) error {
				known := profiles.Ref()
				// The new event with all that was known before.
				people, auctions, bids := known.People, known.Auctions, known.Bids
				switch e.Kind {
				case KindPerson:
					known.People = append(people, e.Person)
					people = known.People[len(people):]
				case KindAuction:
					known.Auctions = append(auctions, e.Auction)
					auctions = known.Auctions[len(auctions):]
				case KindBid:
					known.Bids = append(bids, personBid{e.Bid.Price, e.Bid.Channel, e.Bid.URL, e.Bid.Extra})
					bids = known.Bids[len(bids):]
				}
				for _, person := range people {
					for _, a := range auctions {
						for i := range bids {
							*op.Next() = profiled{bids[i], person, a}
						}
					}
				}
				return nil
			})
		})
	emit(p, rows, func(dst []byte, r *profiled) []byte {
		dst = appendInt(dst, `{"bidder":`, r.Person.ID)
		dst = appendInt(dst, `,"price":`, r.Bid.Price)
		dst = appendString(dst, `,"channel":`, r.Bid.Channel)
		dst = appendString(dst, `,"url":`, r.Bid.URL)
		dst = appendString(dst, `,"bid_extra":`, r.Bid.Extra)
		dst = appendInt(dst, `,"person_id":`, r.Person.ID)
		dst = appendString(dst, `,"name":`, r.Person.Name)
		dst = appendString(dst, `,"emailAddress":`, r.Person.EmailAddress)
		dst = appendString(dst, `,"creditCard":`, r.Person.CreditCard)
		dst = appendString(dst, `,"city":`, r.Person.City)
		dst = appendString(dst, `,"state":`, r.Person.State)
		dst = appendString(dst, `,"person_extra":`, r.Person.Extra)
		return append(appendListing(dst, r.Auction), '}')
	})
}
