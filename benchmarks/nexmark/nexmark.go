// Package nexmark holds the Nexmark benchmark: an online auction house told as
// a stream of people who join, auctions they open and bids on those auctions.
//
// This part decides what the events are: the model, a generator that makes
// them, and their form as lines of JSON. It follows the meanings, proportions
// and distributions of the public reference (github.com/nexmark/nexmark), so
// that figures can be set beside those of other engines. It leaves to others
// how events become a stream: cursors and readers fill slices, and know
// nothing of watermarks, splits or checkpoints.
//
// The folder oracle answers every query with SQL, independently of this
// code; oracle/README.md says what each query means and how its rows print.
package nexmark

import "time"

// Kind says which of the three kinds an [Event] is. The values are those of
// event_type in the JSON form.
type Kind uint8

// The kinds of events.
const (
	KindPerson  Kind = 0
	KindAuction Kind = 1
	KindBid     Kind = 2
)

// String returns the name of the kind's field in the JSON form.
func (k Kind) String() string {
	switch k {
	case KindPerson:
		return "person"
	case KindAuction:
		return "auction"
	case KindBid:
		return "bid"
	}
	return "unknown"
}

// A Person joins the auction house.
type Person struct {
	ID           int64
	Name         string
	EmailAddress string
	CreditCard   string
	City         string
	State        string
	DateTime     int64 // event time, milliseconds since 1970 UTC
	Extra        string
}

// Time returns the event time.
func (p Person) Time() time.Time { return time.UnixMilli(p.DateTime).UTC() }

// PersonID returns the id, as a key.
func (p Person) PersonID() int64 { return p.ID }

// An Auction opens at DateTime and takes bids until Expires.
type Auction struct {
	ID          int64
	ItemName    string
	Description string
	InitialBid  int64 // cents
	Reserve     int64 // cents
	DateTime    int64 // event time, milliseconds since 1970 UTC
	Expires     int64 // milliseconds since 1970 UTC
	Seller      int64 // ID of a Person
	Category    int64
	Extra       string
}

// Time returns the event time.
func (a Auction) Time() time.Time { return time.UnixMilli(a.DateTime).UTC() }

// AuctionID returns the id, as a key.
func (a Auction) AuctionID() int64 { return a.ID }

// SellerID returns the seller, as a key.
func (a Auction) SellerID() int64 { return a.Seller }

// A Bid offers Price for an auction.
type Bid struct {
	Auction  int64 // ID of an Auction
	Bidder   int64 // ID of a Person
	Price    int64 // cents
	Channel  string
	URL      string
	DateTime int64 // event time, milliseconds since 1970 UTC
	Extra    string
}

// Time returns the event time.
func (b Bid) Time() time.Time { return time.UnixMilli(b.DateTime).UTC() }

// AuctionID returns the auction, as a key.
func (b Bid) AuctionID() int64 { return b.Auction }

// BidderID returns the bidder, as a key.
func (b Bid) BidderID() int64 { return b.Bidder }

// An Event is one event of the mixed stream. Bids are 46 of 50 events and lie
// inline; the others hang by a pointer, which keeps an Event at 104 bytes
// where a struct of all fields of all kinds would take 160. What the pointer
// refers to is never changed after the event was made, so events are copied
// freely.
type Event struct {
	Kind    Kind
	Bid     Bid      // zero unless Kind is KindBid
	Person  *Person  // nil unless Kind is KindPerson
	Auction *Auction // nil unless Kind is KindAuction
}

// Millis returns the event time in milliseconds since 1970 UTC.
func (e *Event) Millis() int64 {
	switch e.Kind {
	case KindPerson:
		return e.Person.DateTime
	case KindAuction:
		return e.Auction.DateTime
	}
	return e.Bid.DateTime
}

// Time returns the event time.
func (e Event) Time() time.Time { return time.UnixMilli(e.Millis()).UTC() }
