package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// small is findings of two airports, two hours and one spell. One name would
// be markup if it were not escaped.
func small() *Findings {
	day := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	f := &Findings{
		Hours: []HourOfDay{{6, 900, -2, 0.05}, {17, 1100, 9.5, 0.25}, {3, 2, 100, 1}},
		Airports: []AirportTotal{
			{"AAA", "<b>Alpha</b> & Sons", "Springfield", 1500, 3.25, 0.2},
			{"BBB", "Beta Field", "Shelbyville", 502, 8, 0.1},
		},
		Spells: []Spell{{"AAA", "<b>Alpha</b> & Sons", "Springfield", day.Add(20 * time.Hour), day.Add(33 * time.Hour), 12, 90.5, 200}},
		Places: []AirportRow{{"AAA", "", "", "", 40, -90}, {"BBB", "", "", "", 61, -150}},
	}
	for i := range 3 {
		start := day.AddDate(0, 0, i)
		for rank, code := range []string{"AAA", "BBB"} {
			w := AirportWindow{Start: start, End: start.AddDate(0, 0, 1), Airport: code, Departures: 500, MeanDelay: 3, LateShare: 0.4 - 0.1*float64(rank), Rank: int32(rank + 1)}
			f.Days = append(f.Days, w)
			f.Worst = append(f.Worst, w)
		}
	}
	return f
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := small().print(&b, "/results"); err != nil {
		t.Fatal(err)
	}
	want := `2,002 flights from 2 airports arrived 4.4 min late on average, 17.5% of them more than 15 minutes late.
Best hour to leave: 06:00-06:59 (2.0 min early). Worst: 17:00-17:59 (9.5 min late).

MOST OFTEN AMONG THE TEN WORST  WINDOWS  DEPARTURES  MEAN DELAY  LATE
AAA  <b>Alpha</b> & Sons              3       1,500     3.2 min   20.0%
BBB  Beta Field                       3         502     8.0 min   10.0%

LONGEST SPELLS OF TROUBLE  FROM         HOURS  FLIGHTS  MEAN DELAY
AAA  <b>Alpha</b> & Sons   1 Jan 20:00     13       12    90.5 min

3 windows and 1 spells of trouble are in /results
The charts are on /results/report.html
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestPageNeedsNothingElse(t *testing.T) {
	page, err := report(small())
	if err != nil {
		t.Fatal(err)
	}
	for _, outside := range []string{"http://", "https://", "src=", "<link", "@import", "url(", "<script"} {
		if bytes.Contains(page, []byte(outside)) {
			t.Errorf("the page has %s", outside)
		}
	}
	if bytes.Contains(page, []byte("<b>Alpha")) {
		t.Error("a name is markup on the page")
	}
}

// Charts are well-formed, and each says what it shows.
func TestChartsAreWellFormed(t *testing.T) {
	for name, f := range map[string]*Findings{"small": small(), "nothing found": {}} {
		page, err := report(f)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		charts := 0
		for rest := string(page); ; charts++ {
			from := strings.Index(rest, "<svg")
			if from < 0 {
				break
			}
			to := strings.Index(rest, "</svg>") + len("</svg>")
			chart := rest[from:to]
			rest = rest[to:]
			for d := xml.NewDecoder(strings.NewReader(chart)); ; {
				_, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%s: chart %d: %v", name, charts, err)
				}
			}
			if !strings.Contains(chart, `role="img"`) || !strings.Contains(chart, "<desc") {
				t.Errorf("%s: chart %d does not say what it shows", name, charts)
			}
			if strings.Contains(chart, "NaN") || strings.Contains(chart, "Inf") {
				t.Errorf("%s: chart %d has a place that is no number", name, charts)
			}
		}
		if charts != 4 {
			t.Errorf("%s: %d charts, want 4", name, charts)
		}
	}
}

func TestRankNeedsDeparturesAndBreaksTies(t *testing.T) {
	window := func(code string, departures int64, share, delay float64) AirportWindow {
		return AirportWindow{Airport: code, Departures: departures, LateShare: share, MeanDelay: delay}
	}
	var got []string
	for _, w := range rank([]AirportWindow{
		window("FEW", departuresMin-1, 1, 99),
		window("LOW", 100, 0.1, 50),
		window("TIE", 100, 0.5, 10),
		window("TOP", departuresMin, 0.5, 20),
		window("ALF", 100, 0.5, 10),
	}) {
		got = append(got, w.Airport+" "+string('0'+rune(w.Rank)))
	}
	if want := []string{"ALF 2", "FEW 0", "LOW 4", "TIE 3", "TOP 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTicksAreRound(t *testing.T) {
	for _, tt := range []struct {
		lo, hi float64
		n      int
		want   []float64
	}{
		{0, 1, 5, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}},
		{-4, 43, 5, []float64{0, 10, 20, 30, 40}},
		{0, 0, 5, []float64{0}},
		{0, 970, 4, []float64{0, 500}},
	} {
		got := ticks(tt.lo, tt.hi, tt.n)
		if !slices.EqualFunc(got, tt.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
			t.Errorf("ticks(%v, %v, %d) = %v, want %v", tt.lo, tt.hi, tt.n, got, tt.want)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -123456: "-123,456", 3_000_000: "3,000,000"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %s, want %s", n, got, want)
		}
	}
}
