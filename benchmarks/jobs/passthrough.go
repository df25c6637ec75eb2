package jobs

import (
	"context"
	"fmt"

	"github.com/millrace/millrace"
)

// Bid is a record of 72 bytes: five numbers and two strings out of tables.
type Bid struct {
	Auction, Bidder, Price, Time int64
	Channel                      int64
	URL, Extra                   string
}

// bidTexts are the strings that bids share: 60 and 40 bytes each.
type bidTexts struct {
	urls   [10_004]string
	extras [1024]string
}

func newBidTexts() *bidTexts {
	t := &bidTexts{}
	for i := range t.urls {
		t.urls[i] = fmt.Sprintf("https://www.auction.example/%016x/item.htm?query=1", Mix(int64(i)))[:60]
	}
	for i := range t.extras {
		t.extras[i] = fmt.Sprintf("%016x%016x%08x", Mix(int64(i)), Mix(int64(i)+1<<32), i)
	}
	return t
}

// fill makes bids. Every other one is for the hottest auction of its time, the
// rest for one of the last hundred.
func (t *bidTexts) fill(rows []Bid, times []int64, seq, step int64) {
	untimed(times)
	for i := range rows {
		x := Mix(seq)
		b := &rows[i]
		b.Auction = auctionOf(seq, x)
		b.Bidder = int64(x >> 20 & 0xFFFFF)
		b.Price = 100 + int64(x>>40)
		b.Time = seq / 1000
		b.Channel = int64(x>>32) % 10_004
		b.URL = t.urls[b.Channel]
		b.Extra = t.extras[x>>8&1023]
		seq += step
	}
}

// auctionOf is the auction of bid seq, whose number is x.
func auctionOf(seq int64, x uint64) int64 {
	cur := seq * 3 / 46
	if x&1 == 0 {
		return cur / 100 * 100
	}
	return max(0, cur-int64(x>>33)%101)
}

func passthrough() Job {
	return Job{
		Name:  "passthrough",
		Short: "records of 72 bytes through one exchange",
		Long: `Bids of 72 bytes go from a source through one exchange that spreads them evenly
to a sink that forgets them: what it costs to hand records over.`,
		Unit:     "events",
		Defaults: Params{Events: 200_000_000},
		New: func(p Params) (*Run, error) {
			texts := newBidTexts()
			r := &Run{Results: &Tally{}, SourceTally: &Tally{}, Events: fixed(p.Events)}
			source := func(n int64) millrace.Source[Bid] { return newGenerated(n, p.Rate, texts.fill) }
			r.Build = func(j *millrace.Job) {
				j.From("bids", source(p.Events)).Rebalance().To("discard", discard[Bid]{r.Results})
			}
			r.Source = sourceOnly(source, r.SourceTally)
			r.Plain = func(ctx context.Context) error {
				return plainLoop(ctx, p.Events, texts.fill, func(rows []Bid, _ []int64) { r.Results.rows.Add(int64(len(rows))) })
			}
			return r, nil
		},
	}
}
