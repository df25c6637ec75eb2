package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millrace/millrace/benchmarks/nexmark"
	"github.com/millrace/millrace/examples/internal/auctions"
	"github.com/millrace/millrace/examples/internal/exampletest"
)

func TestPrintsTheAuctionsWithMostBidsOfEveryWindow(t *testing.T) {
	bids, err := auctions.All(auctions.Bids(50_000))
	if err != nil {
		t.Fatal(err)
	}
	exampletest.Prints(t, q5, map[string]string{"events": "50000"}, hottest(bids))
}

// hottest answers the query by looking at every bid for every window.
func hottest(bids []nexmark.Bid) string {
	const size, slide = 10_000, 2_000
	var out strings.Builder
	first, last := bids[0].DateTime, bids[len(bids)-1].DateTime
	for end := first - first%slide + slide; end-size <= last; end += slide {
		counts := map[int64]int64{}
		var most int64
		for _, b := range bids {
			if b.DateTime >= end-size && b.DateTime < end {
				counts[b.Auction]++
				most = max(most, counts[b.Auction])
			}
		}
		for auction, n := range counts {
			if n == most {
				fmt.Fprintf(&out, "{Auction:%d Bids:%d}\n", auction, n)
			}
		}
	}
	return out.String()
}
