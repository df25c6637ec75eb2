// Nexmark query 5: the auctions with the most bids in the last ten seconds,
// every two seconds.
//
//	go run ./q5 --events 100000
package main

import (
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/benchmarks/nexmark"
	"github.com/millrace/millrace/connectors/stdio"
	"github.com/millrace/millrace/examples/internal/auctions"
)

type hot struct{ Auction, Bids int64 }

type auctionCount = millrace.Result[int64, int64]

func main() { millrace.Main("q5", q5) }

func q5(job *millrace.Job) {
	counts := job.From("bids", auctions.Bids(job.ParamInt("events", 100_000, "events to generate, of all kinds"))).
		EventTime(nexmark.Bid.Time, 4*time.Second).
		KeyBy(nexmark.Bid.AuctionID).
		Window(millrace.Sliding(10*time.Second, 2*time.Second)).
		Count("bids-per-auction")

	counts.WindowAll(millrace.Tumbling(2*time.Second)).
		Aggregate("hottest", millrace.TopBy(func(c auctionCount) int64 { return c.Value })).
		FlatMap(func(top millrace.Result[struct{}, []auctionCount], emit func(hot)) {
			for _, c := range top.Value {
				emit(hot{Auction: c.Key, Bids: c.Value})
			}
		}).
		To("out", stdio.Print[hot]())
}
