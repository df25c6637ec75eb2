// Nexmark query 8: people who opened an auction within ten seconds of joining.
//
//	go run ./q8 --events 100000
package main

import (
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/benchmarks/nexmark"
	"github.com/millrace/millrace/connectors/stdio"
	"github.com/millrace/millrace/examples/internal/auctions"
)

type newSeller struct {
	ID, Auction int64
	Name        string
}

func main() { millrace.Main("q8", q8) }

func q8(job *millrace.Job) {
	events := job.ParamInt("events", 100_000, "events to generate, of all kinds")
	people := job.From("people", auctions.Persons(events)).
		EventTime(nexmark.Person.Time, 4*time.Second)
	opened := job.From("auctions", auctions.Auctions(events)).
		EventTime(nexmark.Auction.Time, 4*time.Second)

	people.KeyBy(nexmark.Person.PersonID).
		WindowJoin(opened.KeyBy(nexmark.Auction.SellerID), millrace.Tumbling(10*time.Second)).
		Inner("new-sellers", func(p nexmark.Person, a nexmark.Auction) newSeller {
			return newSeller{ID: p.ID, Name: p.Name, Auction: a.ID}
		}).
		To("out", stdio.Print[newSeller]())
}
