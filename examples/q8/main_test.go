package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millrace/millrace/examples/internal/auctions"
	"github.com/millrace/millrace/examples/internal/exampletest"
)

func TestPrintsEveryAuctionOpenedInTheWindowOfJoining(t *testing.T) {
	const n, size = 50_000, 10_000
	people, err := auctions.All(auctions.Persons(n))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := auctions.All(auctions.Auctions(n))
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, p := range people {
		for _, a := range opened {
			if a.Seller == p.ID && a.DateTime/size == p.DateTime/size {
				fmt.Fprintf(&want, "{ID:%d Auction:%d Name:%s}\n", p.ID, a.ID, p.Name)
			}
		}
	}
	exampletest.Prints(t, q8, map[string]string{"events": fmt.Sprint(n)}, want.String())
}
