// Command events writes a file of Nexmark events, one object of JSON a line.
//
//	go run ./benchmarks/nexmark/events -events 1000000 -disorder 2s events.json.gz
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/millrace/millrace/benchmarks/nexmark"
)

func main() {
	var opts nexmark.Options
	flag.Int64Var(&opts.Events, "events", 1_000_000, "how many events, of all kinds together")
	flag.Int64Var(&opts.Rate, "rate", 0, "events per second of event time (default: a tenth of -events)")
	flag.Uint64Var(&opts.Seed, "seed", 0, "another seed gives other events")
	flag.DurationVar(&opts.Disorder, "disorder", 0, "let events come up to this much event time late")
	flag.BoolVar(&opts.MatchBidders, "match-bidders", false, "give bids to people who have joined, unlike the reference")
	flag.IntVar(&opts.AveragePersonBytes, "person-bytes", 0, "average size of a person (default 200)")
	flag.IntVar(&opts.AverageAuctionBytes, "auction-bytes", 0, "average size of an auction (default 500)")
	flag.IntVar(&opts.AverageBidBytes, "bid-bytes", 0, "average size of a bid (default 100)")
	start := flag.String("start", "", "event time of the first event, like 2015-07-15T00:00:00")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: events [flags] FILE")
		fmt.Fprintln(flag.CommandLine.Output(), "Writes Nexmark events to FILE, compressed if its name ends in .gz.")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	began := time.Now()
	if err := write(flag.Arg(0), *start, opts); err != nil {
		fmt.Fprintln(os.Stderr, "events:", err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "%s: %d events in %v\n", flag.Arg(0), opts.Events, time.Since(began).Round(time.Millisecond))
}

func write(path, start string, opts nexmark.Options) error {
	if start != "" {
		millis, err := nexmark.ParseMillis(start)
		if err != nil {
			return fmt.Errorf("-start: %w", err)
		}
		opts.Start = millis
	}
	return nexmark.WriteFile(path, opts)
}
