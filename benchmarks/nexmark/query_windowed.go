package nexmark

import (
	"slices"
	"time"

	"github.com/millrace/millrace"
)

// The queries with windows. A bid that comes after the watermark has closed
// its windows is not in their results.

// counted is what a window of q5, q11 or q12 has counted for one id.
type counted = millrace.Result[int64, int64]

// busiest holds the auctions with the most bids in one window.
type busiest struct {
	Bids     int64
	Auctions []int64
}

func (b *busiest) add(auction, bids int64) {
	if bids > b.Bids {
		b.Bids, b.Auctions = bids, b.Auctions[:0]
	}
	if bids == b.Bids {
		b.Auctions = append(b.Auctions, auction)
	}
}

// hotAuction is a row of q5.
type hotAuction struct{ Auction, Bids int64 }

func hotAuctions(p *plan) {
	const slide = 2 * time.Second
	rows := p.bids().
		MapTo(func(b *Bid, auction *int64) { *auction = b.Auction }).
		KeyByRef(func(auction *int64) int64 { return *auction }).
		Window(millrace.Sliding(10*time.Second, slide)).
		Count("bids").
		// All counts of one window have its end as their time.
		KeyByRef(func(c *counted) int64 { return c.Window.EndMillis }).
		Window(millrace.Tumbling(slide)).
		AggregateApply("most", millrace.Aggregator[counted, busiest, busiest]{
			AddRef: func(b *busiest, c *counted) { b.add(c.Key, c.Value) },
		}, func(_ int64, _ millrace.Window, b busiest, send func(hotAuction)) {
			for _, auction := range b.Auctions {
				send(hotAuction{auction, b.Bids})
			}
		})
	emit(p, rows, func(dst []byte, r *hotAuction) []byte {
		dst = appendInt(dst, `{"auction":`, r.Auction)
		return append(appendInt(dst, `,"num":`, r.Bids), '}')
	})
}

// turn is the length of the windows of q7, q8 and q12 in milliseconds.
const turn = 10_000

// turnStart is the start of the window that a time is in.
func turnStart(millis int64) int64 { return floorDiv(millis, turn) * turn }

// bidInTurn is a bid and a window of q7 whose highest price it may have.
type bidInTurn struct {
	passed
	Turn int64 // start of the window
	// Counts says that the bid's price counts for the window. That of a bid at
	// the very end of the window does not, but the bid is a row if it has the
	// highest price.
	Counts bool
}

// share is a part of a window of q7: bids are shared out by their prices, so
// that all subtasks have something to do even while there is only one window.
type share struct {
	Turn int64
	Part uint8
}

const turnParts = 64

// highest is what q7 knows of a window or of a part of it.
type highest struct {
	Any   bool  // there was a price that counts
	Price int64 // the highest of them
	Bids  []passed
}

// note takes in a bid's price, if it counts, and keeps the bid if it may turn
// out to have the highest price.
func (h *highest) note(b *passed, counts bool) {
	if h.Any && b.Price < h.Price {
		return
	}
	if counts && (!h.Any || b.Price > h.Price) {
		h.Any, h.Price = true, b.Price
		var bids []passed // what state points to is not changed in place
		for _, kept := range h.Bids {
			if kept.Price >= b.Price {
				bids = append(bids, kept)
			}
		}
		h.Bids = bids
	}
	h.Bids = append(h.Bids, *b)
}

func highestBids(p *plan) {
	rows := p.bids().
		FlatMapRef(func(b *Bid, send func(bidInTurn)) {
			r := bidInTurn{passed{b.Auction, b.Bidder, b.Price, b.DateTime, b.Extra}, turnStart(b.DateTime), true}
			send(r)
			if b.DateTime == r.Turn {
				r.Turn, r.Counts = r.Turn-turn, false
				send(r)
			}
		}).
		KeyByRef(func(b *bidInTurn) share { return share{b.Turn, uint8(b.Price) % turnParts} }).
		Process("highest-by-price", highestOfShare).
		KeyByRef(func(b *bidInTurn) int64 { return b.Turn }).
		Process("highest", highestOfTurn)
	emit(p, rows, func(dst []byte, r *passed) []byte {
		swapped := *r // by the positions of the reference's columns
		swapped.Bidder, swapped.Price = r.Price, r.Bidder
		return appendPassed(dst, &swapped)
	})
}

// highestOfShare passes on the highest bids of a share when its window closes,
// and then at once those that come later: they do not count any more but may
// have the price.
func highestOfShare(op *millrace.Op[share, bidInTurn, bidInTurn]) {
	shares := op.Value[highest]("highest")
	op.OnRecordRef(func(b *bidInTurn) error {
		closes := b.Turn + turn - 1
		if closes <= op.WatermarkMillis() {
			late := op.Next()
			*late = *b
			late.Counts = false
			return nil
		}
		h := shares.Ref()
		if !h.Any && len(h.Bids) == 0 {
			op.SetTimerMillis(closes)
		}
		h.note(&b.passed, b.Counts)
		return nil
	})
	op.OnTimerMillis(func(int64) error {
		h := shares.Get()
		shares.Clear()
		for _, b := range h.Bids {
			// A bid that does not count is passed on as such, even at the price of
			// one that does: that one is here too.
			*op.Next() = bidInTurn{b, op.Key().Turn, turnStart(b.DateTime) == op.Key().Turn}
		}
		return nil
	})
}

// highestOfTurn tells the bids with the highest price of a window. That price
// is kept for good, as in the reference, whose join has no end: a bid that
// comes ever so late is a row if it has the price.
func highestOfTurn(op *millrace.Op[int64, bidInTurn, passed]) {
	turns := op.Value[highest]("highest")
	op.OnRecordRef(func(b *bidInTurn) error {
		h := turns.Ref()
		closes := b.Turn + turn - 1
		switch {
		case closes > op.WatermarkMillis():
			if !h.Any && len(h.Bids) == 0 {
				op.SetTimerMillis(closes)
			}
			h.note(&b.passed, b.Counts)
		case h.Any && b.Price == h.Price:
			*op.Next() = b.passed
		}
		return nil
	})
	op.OnTimerMillis(func(int64) error {
		h := turns.Ref()
		if h.Any {
			for _, b := range h.Bids {
				if b.Price == h.Price {
					*op.Next() = b
				}
			}
		}
		h.Bids = nil
		return nil
	})
}

// newcomer is what q8 knows of one person in one window.
type newcomer struct {
	Names []string // under which the person joined, each once
	Sells bool
}

// newSeller is a row of q8.
type newSeller struct {
	ID    int64
	Name  string
	Start int64 // of the window
}

func newSellers(p *plan) {
	rows := p.events(KindPerson, KindAuction).
		KeyByRef(personOf).
		Window(millrace.Tumbling(turn*time.Millisecond)).
		AggregateApply("newcomers", millrace.Aggregator[Event, newcomer, newcomer]{
			AddRef: func(n *newcomer, e *Event) {
				switch {
				case e.Kind == KindAuction:
					n.Sells = true
				case !slices.Contains(n.Names, e.Person.Name):
					n.Names = append(n.Names, e.Person.Name)
				}
			},
		}, func(id int64, w millrace.Window, n newcomer, send func(newSeller)) {
			if n.Sells {
				for _, name := range n.Names {
					send(newSeller{id, name, w.StartMillis})
				}
			}
		})
	emit(p, rows, func(dst []byte, r *newSeller) []byte {
		dst = appendInt(dst, `{"id":`, r.ID)
		dst = appendString(dst, `,"name":`, r.Name)
		return append(appendTime(dst, `,"stime":`, r.Start), '}')
	})
}

func bidderSessions(p *plan) {
	emit(p, bidders(p).Window(millrace.Session(10*time.Second)).Count("bids"), appendCounted)
}

// bidders returns the bidders of all bids, by themselves.
func bidders(p *plan) millrace.KeyedStream[int64, int64] {
	return p.bids().
		MapTo(func(b *Bid, bidder *int64) { *bidder = b.Bidder }).
		KeyByRef(func(bidder *int64) int64 { return *bidder })
}

func appendCounted(dst []byte, r *counted) []byte {
	dst = appendInt(dst, `{"bidder":`, r.Key)
	dst = appendInt(dst, `,"bid_count":`, r.Value)
	dst = appendTime(dst, `,"starttime":`, r.Window.StartMillis)
	return append(appendTime(dst, `,"endtime":`, r.Window.EndMillis), '}')
}

// turnCount is what q12 knows of one bidder: the bids in the window that is
// open. There is only one, since processing time does not go back.
type turnCount struct{ Start, Bids int64 }

// bidderTurns counts in windows of processing time. As in the reference those
// that are open at the end of the input are lost. A window of the API would
// do; this sets one timer for each bidder and window, not for each bid.
func bidderTurns(p *plan) {
	emit(p, bidders(p).Process("bids", func(op *millrace.Op[int64, int64, counted]) {
		counts := op.Value[turnCount]("count")
		closeTurn := func(c *turnCount) {
			*op.Next() = counted{Key: op.Key(), Window: millrace.Window{StartMillis: c.Start, EndMillis: c.Start + turn}, Value: c.Bids}
			*c = turnCount{}
		}
		op.OnRecordRef(func(*int64) error {
			start := turnStart(op.Now().UnixMilli())
			c := counts.Ref()
			if c.Start < start && c.Bids > 0 { // its timer is due and has not come yet
				closeTurn(c)
			}
			c.Bids++
			if c.Bids == 1 {
				c.Start = start
				op.SetProcessingTimer(time.UnixMilli(start + turn - 1))
			}
			return nil
		})
		op.OnProcessingTimer(func(at time.Time) error {
			if c := counts.Ref(); c.Bids > 0 && c.Start+turn-1 <= at.UnixMilli() {
				closeTurn(c)
			}
			return nil
		})
	}), appendCounted)
}
