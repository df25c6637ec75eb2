package main

import (
	"cmp"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
)

// This file computes what the job computes, in plain Go: one pass over the
// rows, every flight added to every window it is in, and no engine. Tests hold
// the two against each other.

const flightsFile, airportsFile = "data/flights-3m.parquet", "data/airports.csv"

// readFlights reads the first n flights of the file, all if n is 0.
func readFlights(t testing.TB, n int) []Flight {
	t.Helper()
	f, err := os.Open(flightsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parquet.OpenFile(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		Date   *int64  `parquet:"date"`
		Delay  *int64  `parquet:"delay"`
		Origin *string `parquet:"origin"`
	}
	rd := parquet.NewGenericReader[row](file)
	defer rd.Close()
	var flights []Flight
	rows := make([]row, 4096)
	origins := map[string]string{}
	for n == 0 || len(flights) < n {
		k, err := rd.Read(rows)
		for _, r := range rows[:k] {
			if r.Date == nil || r.Delay == nil || r.Origin == nil {
				t.Fatalf("flight %d has a null", len(flights))
			}
			if _, seen := origins[*r.Origin]; !seen {
				o := string(append([]byte(nil), *r.Origin...))
				origins[o] = o
			}
			flights = append(flights, Flight{time.UnixMicro(*r.Date).UTC(), *r.Delay, origins[*r.Origin]})
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n > 0 && len(flights) > n {
		flights = flights[:n]
	}
	return flights
}

// readPlaces reads the airports file.
func readPlaces(t testing.TB) []AirportRow {
	t.Helper()
	f, err := os.Open(airportsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var places []AirportRow
	for _, r := range rows[1:] {
		latitude, err1 := strconv.ParseFloat(r[5], 64)
		longitude, err2 := strconv.ParseFloat(r[6], 64)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		places = append(places, AirportRow{r[0], r[1], r[2], r[3], latitude, longitude})
	}
	return places
}

// reference is every window, and the findings made of them.
type reference struct {
	Findings
	Windows []AirportWindow // in order of end and airport
}

// tally is one airport's sums in one window.
type tally struct{ n, late, delay int64 }

func (s *tally) add(delay int64) {
	s.n++
	s.delay += delay
	if delay > 15 {
		s.late++
	}
}

func (s tally) mean() float64  { return float64(s.delay) / float64(s.n) }
func (s tally) share() float64 { return float64(s.late) / float64(s.n) }

// compute is the reference of some flights, which are in order of time.
func compute(flights []Flight, places []AirportRow) *reference {
	ref := &reference{}
	ref.Places = places
	byCode := map[string]AirportRow{}
	for _, p := range places {
		byCode[p.Code] = p
	}
	hourOf := func(t time.Time) int64 { return t.Unix() / 3600 }
	first := hourOf(flights[0].Scheduled)
	hours := int(hourOf(flights[len(flights)-1].Scheduled)-first) + 24

	windows := map[string][]tally{} // by airport; the i-th ends at hour first+i+1
	totals := map[string]*tally{}
	var byHour [24]tally
	open := map[string]*Spell{}
	sums := map[*Spell]int64{}
	var spells []*Spell
	for _, f := range flights {
		ws := windows[f.Origin]
		if ws == nil {
			ws = make([]tally, hours)
			windows[f.Origin] = ws
			totals[f.Origin] = &tally{}
		}
		h := int(hourOf(f.Scheduled) - first)
		for i := h; i < h+24; i++ {
			ws[i].add(f.Delay)
		}
		totals[f.Origin].add(f.Delay)
		byHour[f.Scheduled.Hour()].add(f.Delay)

		if f.Delay <= 60 {
			continue
		}
		s := open[f.Origin]
		if s == nil || f.Scheduled.Sub(s.Last) > 6*time.Hour {
			p := byCode[f.Origin]
			s = &Spell{Airport: p.Code, Name: p.Name, City: p.City, First: f.Scheduled, MaxDelay: f.Delay}
			open[f.Origin] = s
			spells = append(spells, s)
		}
		s.Last = f.Scheduled
		s.Flights++
		sums[s] += f.Delay
		s.MaxDelay = max(s.MaxDelay, f.Delay)
	}
	for _, s := range spells {
		s.MeanDelay = float64(sums[s]) / float64(s.Flights)
		ref.Spells = append(ref.Spells, *s)
	}
	slices.SortFunc(ref.Spells, func(a, b Spell) int {
		return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.Airport, b.Airport))
	})
	for h, s := range byHour {
		if s.n > 0 {
			ref.Hours = append(ref.Hours, HourOfDay{h, s.n, s.mean(), s.share()})
		}
	}
	var codes []string
	for code := range totals {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	for _, code := range codes {
		p, s := byCode[code], totals[code]
		ref.Airports = append(ref.Airports, AirportTotal{code, p.Name, p.City, s.n, s.mean(), s.share()})
	}
	for i := range hours {
		end := time.Unix((first+int64(i)+1)*3600, 0).UTC()
		from := len(ref.Windows)
		for _, code := range codes {
			s := windows[code][i]
			if s.n == 0 {
				continue
			}
			p := byCode[code]
			ref.Windows = append(ref.Windows, AirportWindow{Start: end.Add(-24 * time.Hour), End: end,
				Airport: code, Name: p.Name, City: p.City, Departures: s.n, MeanDelay: s.mean(), LateShare: s.share()})
		}
		ranked(ref.Windows[from:])
	}
	for _, w := range ref.Windows {
		if w.Start.Hour() == 0 {
			ref.Days = append(ref.Days, w)
		}
		if w.Rank >= 1 && w.Rank <= 10 {
			ref.Worst = append(ref.Worst, w)
		}
	}
	return ref
}

// ranked gives airports their ranks by counting, for each, those before it.
func ranked(airports []AirportWindow) {
	for i := range airports {
		a := &airports[i]
		if a.Departures < 20 {
			continue
		}
		a.Rank = 1
		for _, b := range airports {
			before := b.LateShare > a.LateShare ||
				b.LateShare == a.LateShare && b.MeanDelay > a.MeanDelay ||
				b.LateShare == a.LateShare && b.MeanDelay == a.MeanDelay && b.Airport < a.Airport
			if b.Departures >= 20 && before {
				a.Rank++
			}
		}
	}
}
