package nexmark

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/benchmarks/jobs"
)

// manner is a way to run a job that must not change its result.
type manner struct {
	millrace.RunOptions
	name string
}

// manners returns the ways to run a job of a test: side by side and from one
// loop whose order of steps a seed decides.
func manners() []manner {
	m := []manner{
		{millrace.RunOptions{Parallelism: 1}, "p1"},
		{millrace.RunOptions{Parallelism: 2, BatchSize: 1}, "p2 batches of 1"},
		{millrace.RunOptions{Parallelism: 4, BatchSize: 7}, "p4 batches of 7"},
		{millrace.RunOptions{Parallelism: 7}, "p7"},
		{millrace.RunOptions{Parallelism: 2, NoChaining: true}, "p2 no chaining"},
	}
	for i := range uint64(3) {
		seed := i*7919 + 1
		m = append(m, manner{millrace.RunOptions{Parallelism: 1 + int(i)*2, BatchSize: 7 + 40*int(i), Seed: &seed}, fmt.Sprint("seed ", seed)})
	}
	return m
}

// sideInputFile returns a side input as the reference makes it.
func sideInputFile(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "side_input.txt")
	if err := WriteSideInput(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// runQuery runs a query and returns how many rows it sent.
func runQuery(t testing.TB, q Query, s Setup, opt millrace.RunOptions) int64 {
	t.Helper()
	rows, _, err := tryQuery(t, q, s, opt)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func tryQuery(t testing.TB, q Query, s Setup, opt millrace.RunOptions) (rows, events int64, err error) {
	t.Helper()
	var sent jobs.Tally
	r, err := q.NewRun(s, &sent)
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = millrace.RunWith(ctx, q.Name, opt, r.Build)
	return sent.Rows(), r.Events(), err
}

// resultRows returns the rows that a query wrote, sorted.
func resultRows(t testing.TB, folder string, q Query) []string {
	t.Helper()
	f, err := os.Open(filepath.Join(folder, q.Name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return sortedLines(t, f)
}

func TestQueriesGiveTheOraclesRows(t *testing.T) {
	side := sideInputFile(t)
	for _, q := range Queries() {
		if q.Name == "q12" { // its rows depend on the run
			continue
		}
		t.Run(q.Name, func(t *testing.T) {
			t.Parallel()
			for _, fixture := range fixtures {
				want := expectedRows(t, fixture.expected, q.Name)
				for _, m := range manners() {
					out := t.TempDir()
					runQuery(t, q, Setup{Input: fixture.events, Output: out, SideInput: side}, m.RunOptions)
					if got := resultRows(t, out, q); !slices.Equal(got, want) {
						t.Fatalf("%s, %s: %s", fixture.events, m.name, difference(got, want))
					}
				}
			}
		})
	}
}

// difference describes how two sorted lists of rows differ.
func difference(got, want []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d rows, want %d", len(got), len(want))
	shown := 0
	for len(got) > 0 || len(want) > 0 {
		switch {
		case len(got) > 0 && len(want) > 0 && got[0] == want[0]:
			got, want = got[1:], want[1:]
			continue
		case len(want) == 0 || len(got) > 0 && got[0] < want[0]:
			fmt.Fprintf(&b, "\n  not expected: %s", got[0])
			got = got[1:]
		default:
			fmt.Fprintf(&b, "\n  missing:      %s", want[0])
			want = want[1:]
		}
		if shown++; shown == 10 {
			b.WriteString("\n  and so on")
			break
		}
	}
	return b.String()
}

// Events made by parallel splits give the rows that the same events give when
// they are read from a file. The generator's first 2000 events have no ties.
func TestGeneratedEventsGiveTheRowsOfTheirFile(t *testing.T) {
	side := sideInputFile(t)
	opts := Options{Events: 2000, Rate: 60, MatchBidders: true, InFlightAuctions: 30}
	file := filepath.Join(t.TempDir(), "events.json")
	if err := WriteFile(file, opts); err != nil {
		t.Fatal(err)
	}
	shuffled := opts
	shuffled.Disorder = 3 * time.Second
	for _, q := range Queries() {
		if q.Name == "q12" {
			continue
		}
		t.Run(q.Name, func(t *testing.T) {
			t.Parallel()
			out := t.TempDir()
			runQuery(t, q, Setup{Input: file, Output: out, SideInput: side}, millrace.RunOptions{Parallelism: 1})
			want := resultRows(t, out, q)
			if len(want) == 0 {
				t.Fatal("no rows")
			}
			for _, opts := range []Options{opts, shuffled} {
				for _, p := range []int{1, 2, 5} {
					out := t.TempDir()
					sent, events, err := tryQuery(t, q, Setup{Events: opts, Output: out, SideInput: side}, millrace.RunOptions{Parallelism: p})
					if err != nil {
						t.Fatal(err)
					}
					if events != opts.Events {
						t.Errorf("parallelism %d: %d events, want %d", p, events, opts.Events)
					}
					if got := resultRows(t, out, q); !slices.Equal(got, want) {
						t.Fatalf("parallelism %d: %s", p, difference(got, want))
					}
					if int(sent) < len(want) {
						t.Errorf("parallelism %d: %d rows sent, and %d written", p, sent, len(want))
					}
				}
			}
		})
	}
}

// Without an output the same rows are counted.
func TestRowsAreCountedWhereNoneAreWritten(t *testing.T) {
	for _, q := range Queries() {
		s := Setup{Input: "testdata/ordered.json.gz", SideInput: sideInputFile(t), Files: t.TempDir()}
		got := runQuery(t, q, s, millrace.RunOptions{Parallelism: 1})
		s.Output = t.TempDir()
		if want := runQuery(t, q, s, millrace.RunOptions{Parallelism: 1}); got != want && q.Name != "q12" {
			t.Errorf("%s: %d rows counted, %d with an output", q.Name, got, want)
		}
	}
}

func TestSourcesAloneReadEveryEvent(t *testing.T) {
	for _, q := range Queries() {
		r, err := q.NewRun(Setup{Events: Options{Events: 1234}, SideInput: sideInputFile(t), Files: "none"}, &jobs.Tally{})
		if err != nil {
			t.Fatal(err)
		}
		var read jobs.Tally
		err = millrace.RunWith(t.Context(), q.Name, millrace.RunOptions{Parallelism: 3}, func(j *millrace.Job) { r.BuildSource(j, &read) })
		if err != nil {
			t.Fatal(err)
		}
		if r.Events() != 1234 || read.Rows() == 0 || read.Rows() > 1234 || read.First().IsZero() {
			t.Errorf("%s: %d events, %d of them read", q.Name, r.Events(), read.Rows())
		}
	}
}

func TestMistakesInASetupAreNamed(t *testing.T) {
	for _, c := range []struct {
		query, want string
		setup       Setup
	}{
		{"q0", "q0: no number of events", Setup{}},
		{"q0", "Rate is -1", Setup{Events: Options{Events: 1, Rate: -1}}},
		{"q13", "no side input", Setup{Input: "x"}},
		{"q10", "no folder", Setup{Input: "x"}},
		{"q0", "no such file", Setup{Input: "testdata/nothing"}},
	} {
		q, err := QueryNamed(c.query)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := tryQuery(t, q, c.setup, millrace.RunOptions{Parallelism: 1}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %+v: got %v, want …%s…", c.query, c.setup, err, c.want)
		}
	}
	if _, err := QueryNamed("q6"); err == nil || !strings.Contains(err.Error(), "reference does not have it") {
		t.Errorf("q6: got %v", err)
	}
	if _, err := QueryNamed("q99"); err == nil || !strings.Contains(err.Error(), "q22") {
		t.Errorf("q99: got %v", err)
	}
}

// A job that fails leaves no result behind that looks complete.
func TestResultsOfAFailedJobAreNotNamed(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "events.json")
	good := string(AppendEvent(nil, &Event{Kind: KindBid, Bid: Bid{Auction: 1}}))
	if err := os.WriteFile(bad, []byte(good+"\n{\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"q0", "q10"} {
		q, _ := QueryNamed(name)
		out := t.TempDir()
		if _, _, err := tryQuery(t, q, Setup{Input: bad, Output: out}, millrace.RunOptions{Parallelism: 2}); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: got %v", name, err)
		}
		filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error { //nolint:errcheck // nothing returns an error
			if !d.IsDir() {
				t.Errorf("%s: %s is left", name, path)
			}
			return nil
		})
	}
}

func TestBidsAreLoggedByTheMinute(t *testing.T) {
	q, _ := QueryNamed("q10")
	files := t.TempDir()
	runQuery(t, q, Setup{Input: "testdata/edges.json", Files: files}, millrace.RunOptions{Parallelism: 2})
	dir := filepath.Join(files, "dt=2026-03-01", "hm=00%3A03")
	if _, err := os.Stat(filepath.Join(dir, "_SUCCESS")); err != nil {
		t.Error(err)
	}
	parts, err := filepath.Glob(filepath.Join(dir, "part-*"))
	if err != nil || len(parts) != 1 {
		t.Fatal(parts, err)
	}
	got, err := os.ReadFile(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	if want := "1104,1000,42,\"2026-03-01 00:03:01\",cc\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	rows := 0
	filepath.WalkDir(files, func(path string, d fs.DirEntry, err error) error { //nolint:errcheck // nothing returns an error
		if strings.HasPrefix(d.Name(), ".") {
			t.Errorf("%s is left", path)
		}
		if strings.HasPrefix(d.Name(), "part-") {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
			}
			rows += strings.Count(string(b), "\n")
		}
		return nil
	})
	if want := len(expectedRows(t, "testdata/expected/edges", "q10")); rows != want {
		t.Errorf("%d rows in files, want %d", rows, want)
	}
}

func TestLoggedTextsAreQuotedAsTheyMustBe(t *testing.T) {
	for extra, want := range map[string]string{
		"":                          `1,2,3,"1970-01-01 00:00:00",`,
		"plain":                     `1,2,3,"1970-01-01 00:00:00",plain`,
		"a,b":                       `1,2,3,"1970-01-01 00:00:00","a,b"`,
		`say "a"`:                   `1,2,3,"1970-01-01 00:00:00","say ""a"""`,
		"line\nbreak":               "1,2,3,\"1970-01-01 00:00:00\",\"line\nbreak\"",
		"longerthantwentyfourbytes": `1,2,3,"1970-01-01 00:00:00","longerthantwentyfourbytes"`,
	} {
		if got := string(appendLogged(nil, &logged{Auction: 1, Bidder: 2, Price: 3, Extra: extra})); got != want+"\n" {
			t.Errorf("%q: got %q, want %q", extra, got, want)
		}
	}
}

func TestSideInputNamesTheLineItCannotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "side")
	for _, c := range []struct{ content, want string }{
		{"1,a\nb,c\n", "line 2"},
		{"1\n", "line 1"},
	} {
		if err := os.WriteFile(path, []byte(c.content), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := readSideInput(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v", c.content, err)
		}
	}
	if _, err := readSideInput(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(path, []byte("7,a,b\r\n-7,minus\n7,again\n10000,none\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	table, err := readSideInput(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := table.of(20007); !slices.Equal(got, []string{"a,b", "again"}) {
		t.Errorf("of 20007: %q", got)
	}
	if got := table.of(-10007); !slices.Equal(got, []string{"minus"}) {
		t.Errorf("of -10007: %q", got)
	}
	if got := table.of(10000); got != nil {
		t.Errorf("of 10000: %q", got)
	}
}

// eventsFile writes bids to a file of events.
func eventsFile(t testing.TB, bids ...Bid) string {
	var b []byte
	for i := range bids {
		b = append(AppendEvent(b, &Event{Kind: KindBid, Bid: bids[i]}), '\n')
	}
	path := filepath.Join(t.TempDir(), "events.json")
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// The oracle knows no late events, so this is said in numbers. An event 13.999
// s after the epoch brings the watermark to 9.999 s, which closes the windows
// that end at 10 s: not a millisecond earlier or later. (Where there are more
// subtasks, the watermark also waits until those without a file are known to
// have none, and an event may be late in one run and not in the next.)
func TestLateBids(t *testing.T) {
	first := Bid{Auction: 1, Bidder: 7, Price: 100, DateTime: 1000}
	for _, c := range []struct {
		query string
		bids  []Bid
		want  []string
	}{
		{"q5", []Bid{first, {Auction: 2, DateTime: 13_999}, {Auction: 1, DateTime: 1500}},
			append(slices.Repeat([]string{`{"auction":1,"num":1}`}, 5), slices.Repeat([]string{`{"auction":2,"num":1}`}, 5)...)},
		{"q5", []Bid{first, {Auction: 2, DateTime: 13_998}, {Auction: 1, DateTime: 1500}},
			append(append(slices.Repeat([]string{`{"auction":1,"num":1}`}, 4), `{"auction":1,"num":2}`), slices.Repeat([]string{`{"auction":2,"num":1}`}, 5)...)},
		// A late bid does not count but is a row if it has the price; one at
		// the end of the window is not late and counts for the next.
		{"q7", []Bid{first, {Auction: 2, Price: 50, DateTime: 13_999}, {Auction: 3, Price: 100, DateTime: 2000}, {Auction: 4, Price: 200, DateTime: 3000}, {Auction: 5, Price: 100, DateTime: 10_000}},
			[]string{
				`{"auction":1,"bidder":100,"price":7,"dateTime":"1970-01-01T00:00:01","extra":""}`,
				`{"auction":3,"bidder":100,"price":0,"dateTime":"1970-01-01T00:00:02","extra":""}`,
				`{"auction":5,"bidder":100,"price":0,"dateTime":"1970-01-01T00:00:10","extra":""}`,
				`{"auction":5,"bidder":100,"price":0,"dateTime":"1970-01-01T00:00:10","extra":""}`,
			}},
		// A session of 1 to 11 s is open until the watermark is at 10.999 s; a bid
		// that touches it is taken in, one behind it when it has closed is lost.
		{"q11", []Bid{{DateTime: 1000}, {Bidder: 1, DateTime: 14_998}, {DateTime: 11_000}, {Bidder: 1, DateTime: 40_000}, {DateTime: 12_000}},
			[]string{
				`{"bidder":0,"bid_count":2,"starttime":"1970-01-01T00:00:01","endtime":"1970-01-01T00:00:21"}`,
				`{"bidder":1,"bid_count":1,"starttime":"1970-01-01T00:00:14.998","endtime":"1970-01-01T00:00:24.998"}`,
				`{"bidder":1,"bid_count":1,"starttime":"1970-01-01T00:00:40","endtime":"1970-01-01T00:00:50"}`,
			}},
	} {
		q, _ := QueryNamed(c.query)
		seed := uint64(1)
		for _, s := range []*uint64{nil, &seed} {
			out := t.TempDir()
			runQuery(t, q, Setup{Input: eventsFile(t, c.bids...), Output: out}, millrace.RunOptions{Parallelism: 1, BatchSize: 1, Seed: s})
			if got := resultRows(t, out, q); !slices.Equal(got, c.want) {
				t.Errorf("%s: %s", c.query, difference(got, c.want))
			}
		}
	}
}

// A tickingClock goes on by a fixed time whenever it is read.
type tickingClock struct {
	now  atomic.Int64
	step time.Duration
}

func (c *tickingClock) Now() int64 { return c.now.Add(int64(c.step)) }

func TestBidsAreCountedByProcessingTime(t *testing.T) {
	q, _ := QueryNamed("q12")
	bids := fixtureEvents(t, "testdata/ordered.json.gz")
	all := map[int64]int64{}
	for _, e := range bids {
		if e.Kind == KindBid {
			all[e.Bid.Bidder]++
		}
	}
	out := t.TempDir()
	runQuery(t, q, Setup{Input: "testdata/ordered.json.gz", Output: out},
		millrace.RunOptions{Parallelism: 2, Clock: &tickingClock{step: 20 * time.Millisecond}})
	rows := resultRows(t, out, q)
	seen := map[string]bool{}
	var counted int64
	for _, row := range rows {
		var r struct {
			Bidder    int64  `json:"bidder"`
			BidCount  int64  `json:"bid_count"`
			StartTime string `json:"starttime"`
			EndTime   string `json:"endtime"`
		}
		if err := json.Unmarshal([]byte(row), &r); err != nil {
			t.Fatal(err)
		}
		start, err := ParseMillis(r.StartTime)
		if err != nil {
			t.Fatal(err)
		}
		end, err := ParseMillis(r.EndTime)
		if err != nil {
			t.Fatal(err)
		}
		window := fmt.Sprint(r.Bidder, start)
		if start%10_000 != 0 || end != start+10_000 || r.BidCount < 1 || seen[window] {
			t.Errorf("unexpected row %s", row)
		}
		seen[window] = true
		counted += r.BidCount
		if all[r.Bidder] -= r.BidCount; all[r.Bidder] < 0 {
			t.Errorf("bidder %d has more bids than there are", r.Bidder)
		}
	}
	if counted < 3000 { // of 7360; those of the last window are lost
		t.Errorf("%d bids counted", counted)
	}
}
