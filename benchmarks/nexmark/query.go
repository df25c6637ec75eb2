package nexmark

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/benchmarks/jobs"
)

// A Query is one of the benchmark's queries as a streaming job.
//
// The jobs mean what the reference's SQL means; oracle/README.md spells that
// out. The watermark is 4 s behind the newest event of a split, of any kind
// the split holds.
type Query struct {
	// Name is q0, q1, …
	Name string
	// About says in a line what the query answers.
	About string

	// read builds the source alone, with everything the query reads.
	read func(p *plan)
	// build builds the job.
	build func(p *plan)
}

// Queries returns the queries in the order of their numbers. There is no q6:
// the reference does not have it either, since Flink's SQL cannot say it.
func Queries() []Query {
	return []Query{
		{"q0", "every bid, passed through", readBids, passBids},
		{"q1", "every bid with its price in another currency", readBids, convertPrices},
		{"q2", "bids on every 123rd auction", readBids, selectAuctions},
		{"q3", "who sells in category 10 in three states", readHouse, localSellers},
		{"q4", "average winning price of each category", readMarket, categoryAverages},
		{"q5", "auctions with the most bids in the last 10 s, every 2 s", readBids, hotAuctions},
		{"q7", "highest bids of every 10 s", readBids, highestBids},
		{"q8", "people who joined and sold something within the same 10 s", readHouse, newSellers},
		{"q9", "winning bid of each auction", readMarket, winningBids},
		{"q10", "every bid, logged to files by the minute", readBids, logBids},
		{"q11", "bids of each bidder by session", readBids, bidderSessions},
		{"q12", "bids of each bidder every 10 s of processing time", readBids, bidderTurns},
		{"q13", "bids with a value from a table in a file", readBids, enrichBids},
		{"q14", "bids of a price range with what can be computed of them", readBids, calculate},
		{"q15", "bids, bidders and auctions of each day, by price", readBids, dayStatistics},
		{"q16", "bids, bidders and auctions of each channel and day, by price", readBids, channelStatistics},
		{"q17", "bids and prices of each auction and day", readBids, auctionStatistics},
		{"q18", "last bid of each bidder on each auction", readBids, lastBids},
		{"q19", "ten highest bids of each auction", readBids, topBids},
		{"q20", "bids with their auctions, if of category 10", readMarket, expandBids},
		{"q21", "bids with the id of their channel", readBids, channelIDs},
		{"q22", "bids with the directories of their URLs", readBids, urlDirectories},
		{"q23", "bids with their bidders and what these sell", readEverything, bidderProfiles},
	}
}

// QueryNamed returns the query with a name, or an error that lists the names.
func QueryNamed(name string) (Query, error) {
	all := Queries()
	var names []string
	for _, q := range all {
		if q.Name == name {
			return q, nil
		}
		names = append(names, q.Name)
	}
	if name == "q6" {
		return Query{}, errors.New("there is no q6: the reference does not have it either")
	}
	return Query{}, fmt.Errorf("there is no query %q; queries are %s", name, strings.Join(names, ", "))
}

// Setup says what a query reads and where its result goes.
type Setup struct {
	// Events are the options of the generator; their Events must not be 0. They
	// are not used if there is an Input.
	Events Options
	// Rate, if not 0, is how many events of all kinds become due each second;
	// the generator then runs as far behind the wall clock as that says.
	Rate int64
	// Input is a file of events, one object of JSON a line, possibly
	// compressed with gzip.
	Input string
	// Output is a folder in which the result becomes a file NAME.jsonl, one
	// object of JSON a line. Of an updating query it holds the last row of
	// every key. Without it the rows are counted and thrown away.
	Output string
	// SideInput is the table that q13 joins with: a line "key,value" for each
	// row, as [WriteSideInput] makes it. Other queries ignore it.
	SideInput string
	// Files is the folder for the partitioned files of q10; files in a
	// subfolder bid of Output if empty. Other queries ignore it.
	Files string
}

// A Run is one execution of a query: it is built into one job.
type Run struct {
	query Query
	setup Setup
	gen   *Generator // nil if there is an input
	side  *sideInput // of q13
	sink  *jobs.Tally
	feed  *jobs.Tally // of events read
}

// NewRun checks a setup. Rows that reach the end of the job are counted in
// results; for updating queries these are all rows sent, one for each update.
func (q Query) NewRun(s Setup, results *jobs.Tally) (*Run, error) {
	r := &Run{query: q, setup: s, sink: results, feed: &jobs.Tally{}}
	if s.Input == "" {
		if s.Events.Events == 0 {
			return nil, fmt.Errorf("%s: no number of events given", q.Name)
		}
		var err error
		if r.gen, err = New(s.Events); err != nil {
			return nil, fmt.Errorf("%s: %w", q.Name, err)
		}
	}
	if q.Name == "q13" {
		if s.SideInput == "" {
			return nil, fmt.Errorf("%s: no side input given", q.Name)
		}
		var err error
		if r.side, err = readSideInput(s.SideInput); err != nil {
			return nil, fmt.Errorf("%s: %w", q.Name, err)
		}
	}
	if q.Name == "q10" && s.Files == "" {
		if s.Output == "" {
			return nil, fmt.Errorf("%s: no folder given for its files", q.Name)
		}
		r.setup.Files = filepath.Join(s.Output, "bid")
	}
	return r, nil
}

// Build adds the query's operators to j.
func (r *Run) Build(j *millrace.Job) { r.query.build(&plan{Run: r, job: j}) }

// BuildSource adds only the query's source, with a sink that counts the
// records in results and throws them away: what reading alone costs.
func (r *Run) BuildSource(j *millrace.Job, results *jobs.Tally) {
	only := *r
	only.sink = results
	only.setup.Output = ""
	r.query.read(&plan{Run: &only, job: j})
}

// Events returns how many events of all kinds were read, or passed over by a
// source that makes only some kinds. It is complete when the job has ended.
func (r *Run) Events() int64 { return r.feed.Rows() }

// A plan is a query on its way into a job.
type plan struct {
	*Run
	job *millrace.Job
}

// The sources of the queries by what these read.

func readBids(p *plan)       { discardRows(p, p.bids()) }
func readHouse(p *plan)      { discardRows(p, p.events(KindPerson, KindAuction)) }
func readMarket(p *plan)     { discardRows(p, p.events(KindAuction, KindBid)) }
func readEverything(p *plan) { discardRows(p, p.events(KindPerson, KindBid)) }
