package nexmark

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

// fixtures are the files of events in testdata and the folders of the rows
// that the oracle expects of each query over them. The two files of random
// events hold the same events in two orders and give the same rows.
var fixtures = []struct{ events, expected string }{
	{"testdata/ordered.json.gz", "testdata/expected/random"},
	{"testdata/disorder.json.gz", "testdata/expected/random"},
	{"testdata/edges.json", "testdata/expected/edges"},
}

const fixtureQueries = 22 // q0 to q23 without q6 and q12

// fixtureEvents reads a file of events.
func fixtureEvents(t testing.TB, path string) []Event {
	t.Helper()
	r, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return readAll(t, r, 256)
}

// expectedRows reads the rows that the oracle expects of a query: one object
// of JSON each, sorted as text.
func expectedRows(t testing.TB, folder, query string) []string {
	t.Helper()
	f, err := os.Open(filepath.Join(folder, query+".jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return sortedLines(t, z)
}

func sortedLines(t testing.TB, r io.Reader) []string {
	t.Helper()
	rows := []string{}
	for lines := bufio.NewScanner(r); ; {
		if !lines.Scan() {
			if err := lines.Err(); err != nil {
				t.Fatal(err)
			}
			slices.Sort(rows)
			return rows
		}
		rows = append(rows, lines.Text())
	}
}

// A house holds the events of a fixture apart.
type house struct {
	people   []Person
	auctions []Auction
	bids     []Bid
}

func houseOf(events []Event) house {
	var h house
	for _, e := range events {
		switch e.Kind {
		case KindPerson:
			h.people = append(h.people, *e.Person)
		case KindAuction:
			h.auctions = append(h.auctions, *e.Auction)
		case KindBid:
			h.bids = append(h.bids, e.Bid)
		}
	}
	return h
}

func stamp(millis int64) string { return string(AppendMillis(nil, millis)) }

// The windowed and ranked queries once more, as simply as can be said in Go,
// so that a mistake in the SQL of the oracle does not go unseen.
var bruteForce = map[string]func(h house, emit func(format string, args ...any)){
	"q4": func(h house, emit func(string, ...any)) {
		sum, count := map[int64]int64{}, map[int64]int64{}
		for _, a := range h.auctions {
			best := int64(-1)
			for _, b := range h.bids {
				if b.Auction == a.ID && b.DateTime >= a.DateTime && b.DateTime <= a.Expires {
					best = max(best, b.Price)
				}
			}
			if best >= 0 {
				sum[a.Category] += best
				count[a.Category]++
			}
		}
		for c := range sum {
			emit(`{"id":%d,"final":%d}`, c, sum[c]/count[c])
		}
	},
	"q5": func(h house, emit func(string, ...any)) {
		counts := map[int64]map[int64]int64{} // by end of window and auction
		for _, b := range h.bids {
			end := b.DateTime/2000*2000 + 2000
			for range 5 {
				if counts[end] == nil {
					counts[end] = map[int64]int64{}
				}
				counts[end][b.Auction]++
				end += 2000
			}
		}
		for _, window := range counts {
			var most int64
			for _, n := range window {
				most = max(most, n)
			}
			for auction, n := range window {
				if n == most {
					emit(`{"auction":%d,"num":%d}`, auction, n)
				}
			}
		}
	},
	"q7": func(h house, emit func(string, ...any)) {
		most := map[int64]int64{} // by start of window
		for _, b := range h.bids {
			start := b.DateTime / 10000 * 10000
			most[start] = max(most[start], b.Price)
		}
		for start, price := range most {
			for _, b := range h.bids {
				if b.Price == price && b.DateTime >= start && b.DateTime <= start+10000 {
					emit(`{"auction":%d,"bidder":%d,"price":%d,"dateTime":"%s","extra":"%s"}`,
						b.Auction, b.Price, b.Bidder, stamp(b.DateTime), b.Extra)
				}
			}
		}
	},
	"q8": func(h house, emit func(string, ...any)) {
		for _, p := range h.people {
			start := p.DateTime / 10000 * 10000
			for _, a := range h.auctions {
				if a.Seller == p.ID && a.DateTime/10000*10000 == start {
					emit(`{"id":%d,"name":"%s","stime":"%s"}`, p.ID, p.Name, stamp(start))
					break
				}
			}
		}
	},
	"q11": func(h house, emit func(string, ...any)) {
		times := map[int64][]int64{}
		for _, b := range h.bids {
			times[b.Bidder] = append(times[b.Bidder], b.DateTime)
		}
		for bidder, at := range times {
			slices.Sort(at)
			for len(at) > 0 {
				n := 1
				for n < len(at) && at[n] <= at[n-1]+10000 {
					n++
				}
				emit(`{"bidder":%d,"bid_count":%d,"starttime":"%s","endtime":"%s"}`,
					bidder, n, stamp(at[0]), stamp(at[n-1]+10000))
				at = at[n:]
			}
		}
	},
	"q18": func(h house, emit func(string, ...any)) {
		last := map[[2]int64]Bid{}
		for _, b := range h.bids {
			key := [2]int64{b.Bidder, b.Auction}
			if was, ok := last[key]; !ok || b.DateTime >= was.DateTime {
				last[key] = b
			}
		}
		for _, b := range last {
			emit(`%s`, appendBid(nil, &Bid{b.Auction, b.Bidder, b.Price, b.Channel, b.URL, b.DateTime, b.Extra}))
		}
	},
	"q19": func(h house, emit func(string, ...any)) {
		by := map[int64][]Bid{}
		for _, b := range h.bids {
			by[b.Auction] = append(by[b.Auction], b)
		}
		for _, bids := range by {
			slices.SortStableFunc(bids, func(a, b Bid) int { return int(b.Price - a.Price) })
			for i, b := range bids[:min(10, len(bids))] {
				row := appendBid(nil, &b)
				emit(`%s,"rank_number":%d}`, row[:len(row)-1], i+1)
			}
		}
	},
}

func TestOracleAgreesWithBruteForce(t *testing.T) {
	for _, fixture := range fixtures {
		h := houseOf(fixtureEvents(t, fixture.events))
		for query, run := range bruteForce {
			got := []string{}
			run(h, func(format string, args ...any) { got = append(got, fmt.Sprintf(format, args...)) })
			slices.Sort(got)
			if want := expectedRows(t, fixture.expected, query); !slices.Equal(got, want) {
				t.Errorf("%s, %s: %d rows differ from the %d expected", fixture.events, query, len(got), len(want))
			}
		}
	}
}

// The bids of a fixture, written as the sink of q0 prints them, are the rows
// of q0: reader, writer and oracle read and print alike.
func TestOraclePrintsValuesAsTheWriterDoes(t *testing.T) {
	for _, fixture := range fixtures {
		got := []string{}
		for _, b := range houseOf(fixtureEvents(t, fixture.events)).bids {
			row := appendInt(nil, `{"auction":`, b.Auction)
			row = appendInt(row, `,"bidder":`, b.Bidder)
			row = appendInt(row, `,"price":`, b.Price)
			row = appendTime(row, `,"dateTime":`, b.DateTime)
			got = append(got, string(append(appendString(row, `,"extra":`, b.Extra), '}')))
		}
		slices.Sort(got)
		if want := expectedRows(t, fixture.expected, "q0"); !slices.Equal(got, want) {
			t.Errorf("%s: the bids are not the rows of q0", fixture.events)
		}
	}
}

// The random fixtures are what the generator makes of the options that
// oracle/README.md gives.
func TestFixturesComeFromTheGenerator(t *testing.T) {
	opts := Options{
		Events: 8000, Rate: 100, Start: 1795391955000, MatchBidders: true,
		AverageBidBytes: 44, AverageAuctionBytes: 130, AveragePersonBytes: 110,
	}
	sameEvents(t, fixtureEvents(t, "testdata/ordered.json.gz"), allEvents(t, newGenerator(t, opts), Split{}, 256))
	opts.Disorder = 3 * time.Second
	sameEvents(t, fixtureEvents(t, "testdata/disorder.json.gz"), allEvents(t, newGenerator(t, opts), Split{}, 256))
}

// needDuckDB skips the test where the oracle cannot run.
func needDuckDB(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("needs python3: ", err)
	}
	if out, err := exec.Command("python3", "-c", "import duckdb").CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Skip("needs the Python package duckdb (pip install duckdb): ", lines[len(lines)-1])
	}
}

func TestExpectedRowsAreTheOracles(t *testing.T) {
	needDuckDB(t)
	for _, fixture := range fixtures {
		dir := t.TempDir()
		if out, err := exec.Command("python3", "oracle/oracle.py", "--plain", fixture.events, dir).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", fixture.events, err, out)
		}
		files, err := filepath.Glob(filepath.Join(fixture.expected, "*.jsonl.gz"))
		if err != nil || len(files) != fixtureQueries {
			t.Fatalf("%s holds %d files, want %d (%v)", fixture.expected, len(files), fixtureQueries, err)
		}
		for _, file := range files {
			query := strings.TrimSuffix(filepath.Base(file), ".jsonl.gz")
			rows, err := os.ReadFile(filepath.Join(dir, query+".jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(sortedLines(t, bytes.NewReader(rows)), expectedRows(t, fixture.expected, query)) {
				t.Errorf("%s: rows of %s are not those expected", fixture.events, query)
			}
		}
	}
}

func TestOracleRefusesLateEvents(t *testing.T) {
	needDuckDB(t)
	path := filepath.Join(t.TempDir(), "late.json")
	if err := WriteFile(path, Options{Events: 2000, Rate: 100, Disorder: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("python3", "oracle/oracle.py", path, t.TempDir()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "would be late") {
		t.Errorf("got %v\n%s", err, out)
	}
}
