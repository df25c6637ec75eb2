package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"slices"
	"time"
)

//go:embed report.html
var reportPage string

// reportTemplate lays out the page; what is drawn on it comes from this file.
var reportTemplate = template.Must(template.New("report.html").Funcs(template.FuncMap{
	"minutes": minutes, "lateness": lateness, "percent": percent, "thousands": thousands,
	"count": func(n int) string { return thousands(int64(n)) },
	"inc":   func(i int) int { return i + 1 },
	"date":  func(t time.Time) string { return t.Format("2 January 2006") },
	"when":  func(t time.Time) string { return t.Format("Mon 2 Jan, 15:04") },
	"bar":   func(v, of float64) template.CSS { return template.CSS(fmt.Sprintf("width:%.1f%%", 100*v/of)) },
}).Parse(reportPage))

// report draws the findings as one page that needs nothing else.
func report(f *Findings) ([]byte, error) {
	r := newReportData(f)
	var b bytes.Buffer
	if err := reportTemplate.Execute(&b, r); err != nil {
		return nil, fmt.Errorf("draw the report: %w", err)
	}
	return b.Bytes(), nil
}

// reportData is what the page shows.
type reportData struct {
	*Findings
	From, To             time.Time
	Departures           int64
	MeanDelay, LateShare float64
	Windows              int
	Best, Worst          HourOfDay
	Often                []oftenWorst
	Busiest              []busyAirport
	Longest              []Spell
	LongestHours         float64
	LateShareMax         float64
	WorstDay             nationalDay

	HoursChart, WorstChart, MapChart, SpellsChart template.HTML

	LateMinutes, VeryLateMinutes, DeparturesMin int
}

// busyAirport is a row of the table of busiest airports.
type busyAirport struct {
	AirportTotal
	WorstWindows int // in which it was among the worst ten
	Spells       int
}

// nationalDay is one day over all airports.
type nationalDay struct {
	Start      time.Time
	Departures int64
	LateShare  float64
}

func newReportData(f *Findings) *reportData {
	r := &reportData{Findings: f, Windows: f.windows(), Often: f.oftenWorst(), Longest: f.longest(12),
		LateMinutes: lateMinutes, VeryLateMinutes: veryLateMinutes, DeparturesMin: departuresMin}
	r.Departures, r.MeanDelay, r.LateShare = f.all()
	r.Best, r.Worst = f.extremes()
	days := f.days()
	if len(days) > 0 {
		r.From, r.To = days[0], days[len(days)-1]
	}
	if len(r.Longest) > 0 {
		r.LongestHours = r.Longest[0].Duration().Hours()
	}

	worst, spells := map[string]int{}, map[string]int{}
	for _, o := range r.Often {
		worst[o.Airport] = o.Windows
	}
	for _, s := range f.Spells {
		spells[s.Airport]++
	}
	for _, a := range f.busiest(15) {
		r.Busiest = append(r.Busiest, busyAirport{a, worst[a.Airport], spells[a.Airport]})
		r.LateShareMax = max(r.LateShareMax, a.LateShare)
	}

	national := f.national(days)
	for _, d := range national {
		if d.LateShare > r.WorstDay.LateShare {
			r.WorstDay = d
		}
	}
	r.HoursChart = hoursChart(f.Hours)
	r.WorstChart = worstChart(days, national, r.Often[:min(20, len(r.Often))], f.Days)
	r.MapChart = mapChart(f)
	r.SpellsChart = spellsChart(days, r.Longest)
	return r
}

// national sums up each day over all airports.
func (f *Findings) national(days []time.Time) []nationalDay {
	out := make([]nationalDay, len(days))
	late := make([]float64, len(days))
	for _, w := range f.Days {
		i, shown := slices.BinarySearchFunc(days, w.Start, time.Time.Compare)
		if !shown {
			continue
		}
		out[i].Start = w.Start
		out[i].Departures += w.Departures
		late[i] += w.LateShare * float64(w.Departures)
	}
	for i := range out {
		out[i].LateShare = late[i] / float64(max(out[i].Departures, 1))
	}
	return out
}

const chartWidth = 1040

// hoursChart shows mean delay and share of late flights by hour of the day.
func hoursChart(hours []HourOfDay) template.HTML {
	const panel, left, gap, top = 170, 56, 56, 24
	d := draw("hours", "Delay by hour of the day",
		"Two line charts over the hour of scheduled departure: the mean delay in minutes, and the share of flights more than 15 minutes late in percent.",
		chartWidth, 2*panel+gap+top+44)
	hoursPanel(d, hours, top, panel, left, "Mean delay on arrival, minutes", 1,
		func(h HourOfDay) float64 { return h.MeanDelay },
		func(v float64) string { return fmt.Sprintf("%.0f", v) })
	hoursPanel(d, hours, top+panel+gap, panel, left, "Flights more than 15 minutes late, percent", 2,
		func(h HourOfDay) float64 { return 100 * h.LateShare },
		func(v float64) string { return fmt.Sprintf("%.0f%%", v) })
	d.text("axis", "middle", left+(chartWidth-left)/2, 2*panel+gap+top+40, "hour of scheduled departure, local time of the airport")
	return d.end()
}

// dayStart is the hour at which a day of flying starts; the few flights of the
// small hours belong to the evening before.
const dayStart = 5

func hoursPanel(d *drawing, hours []HourOfDay, top, height, left float64, title string, series int, of func(HourOfDay) float64, label func(float64) string) {
	var most int64
	for _, h := range hours {
		most = max(most, h.Departures)
	}
	// Hours with few flights are marked but do not set the scale.
	few := func(h HourOfDay) bool { return h.Departures*100 < most }
	lo, hi := 0.0, 1.0
	for _, h := range hours {
		if !few(h) {
			lo, hi = min(lo, of(h)), max(hi, of(h))
		}
	}
	y := scale{lo, hi * 1.08, top + height, top}
	x := func(hour int) float64 {
		return left + (float64((hour-dayStart+24)%24)+0.5)*(chartWidth-left-12)/24
	}
	d.text("panel", "start", left, top-10, title)
	for _, v := range ticks(lo, hi, 5) {
		d.line("grid", left, y.at(v), chartWidth-12, y.at(v))
		d.text("tick", "end", left-8, y.at(v)+4, label(v))
	}
	d.line("zero", left, y.at(0), chartWidth-12, y.at(0))
	class := fmt.Sprintf("series s%d", series)
	var line []point
	for i := range 24 {
		hour := (dayStart + i) % 24
		d.text("tick", "middle", x(hour), top+height+18, fmt.Sprintf("%02d", hour))
		at := slices.IndexFunc(hours, func(h HourOfDay) bool { return h.Hour == hour })
		if at < 0 || few(hours[at]) {
			d.path(class, line)
			line = nil
			continue
		}
		line = append(line, point{x(hour), y.at(of(hours[at]))})
	}
	d.path(class, line)
	for _, h := range hours {
		mark, v := fmt.Sprintf("mark s%d", series), of(h)
		if few(h) {
			mark += " few"
			if v > y.hi {
				d.text("tick", "middle", x(h.Hour), top+18, "↑ "+label(v))
				v = y.hi
			}
		}
		d.circle(mark, fmt.Sprintf("%s: mean delay %s, %s late, %s flights", h.span(), minutes(h.MeanDelay), percent(h.LateShare), thousands(h.Departures)),
			x(h.Hour), y.at(v), 4)
	}
}

// shareLimits are where the colours of the days change: shares of late flights.
var shareLimits = []float64{0.10, 0.20, 0.30, 0.40, 0.50, 0.65}

// worstChart shows the share of late flights day by day: over all airports as
// a line, and below it for each of the airports given as a row of colours.
func worstChart(days []time.Time, national []nationalDay, airports []oftenWorst, windows []AirportWindow) template.HTML {
	const left, right, strip, top, row = 236, 12, 110, 26, 17
	rows := float64(len(airports)) * row
	rowsTop := float64(top + strip + 44)
	d := draw("worst", "The worst airports over time",
		"A line of the share of late flights of each day over all airports, and below it a row of colours for each of the airports that were most often among the worst ten.",
		chartWidth, rowsTop+rows+68)
	if len(days) == 0 {
		return d.end()
	}
	column := (chartWidth - left - right) / float64(len(days))
	x := func(day time.Time) float64 { return left + float64(day.Sub(days[0])/(24*time.Hour))*column }

	hi := 0.1
	for _, n := range national {
		hi = max(hi, n.LateShare)
	}
	y := scale{0, hi * 1.05, top + strip, top}
	d.text("panel", "start", left, top-10, "All airports: flights more than 15 minutes late")
	for _, v := range ticks(0, hi, 4) {
		d.line("grid", left, y.at(v), chartWidth-right, y.at(v))
		d.text("tick", "end", left-8, y.at(v)+4, fmt.Sprintf("%.0f%%", 100*v))
	}
	var line []point
	for _, n := range national {
		line = append(line, point{x(n.Start) + column/2, y.at(n.LateShare)})
	}
	d.path("series s2", line)
	for _, n := range national {
		d.rect("hover", fmt.Sprintf("%s: %s of %s flights late", n.Start.Format("Mon 2 Jan"), percent(n.LateShare), thousands(n.Departures)),
			x(n.Start), top, column, strip)
	}

	d.text("panel", "start", left, rowsTop-10, "By airport, most often among the worst ten first")
	tops := map[string]float64{} // of the airports' rows
	for i, a := range airports {
		ry := rowsTop + float64(i)*row
		tops[a.Airport] = ry
		d.text("row", "end", left-8, ry+row-5, short(a.Name, 30)+"  "+a.Airport)
		d.rect("none", "", left, ry, chartWidth-left-right, row-2)
	}
	for _, w := range windows {
		ry, shown := tops[w.Airport]
		if !shown || w.Rank == 0 {
			continue // the row's background says so
		}
		d.rect(colour(w.LateShare, shareLimits), fmt.Sprintf("%s, %s: %s of %d late, mean %s", w.Airport, w.Start.Format("Mon 2 Jan"), percent(w.LateShare), w.Departures, minutes(w.MeanDelay)),
			x(w.Start), ry, column, row-2)
	}
	months(d, days, x, rowsTop+rows, top, rowsTop+rows)

	ly := rowsTop + rows + 34
	d.text("tick", "end", left-8, ly+9, "share of late flights")
	d.legend(left, ly, shareLimits, func(v float64) string { return fmt.Sprintf("%.0f%%", 100*v) })
	d.rect("none", "", left+colours*44+24, ly, 22, 10)
	d.text("tick", "start", left+colours*44+52, ly+9, fmt.Sprintf("fewer than %d departures", departuresMin))
	return d.end()
}

// months writes the months below a chart whose x axis is days, with a line
// from top to bottom where each starts.
func months(d *drawing, days []time.Time, x func(time.Time) float64, y, top, bottom float64) {
	last := days[len(days)-1].AddDate(0, 0, 1)
	for at := days[0]; at.Before(last); at = time.Date(at.Year(), at.Month()+1, 1, 0, 0, 0, 0, time.UTC) {
		next := time.Date(at.Year(), at.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		if next.After(last) {
			next = last
		}
		if at.After(days[0]) {
			d.line("month", x(at), top, x(at), bottom)
		}
		if next.Sub(at) > 7*24*time.Hour {
			d.text("tick", "middle", (x(at)+x(next))/2, y+16, at.Format("January 2006"))
		}
	}
}

// mapChart shows where the airports are, how busy, and how late.
func mapChart(f *Findings) template.HTML {
	const height, side = 640, 940
	d := draw("map", "Where flights leave late",
		"A map of airports. A larger circle has more departures; a darker (on a dark page: brighter) one has a larger share of flights more than 15 minutes late.",
		chartWidth, height)
	places := map[string]AirportRow{}
	for _, p := range f.Places {
		places[p.Code] = p
	}
	limits := shareQuantiles(f.Airports)
	busiest := f.busiest(len(f.Airports))
	at := func(a AirportTotal) (point, bool) {
		p, ok := places[a.Airport]
		q := project(p.Latitude, p.Longitude)
		return point{50 + q.x*side, q.y * side}, ok
	}
	for _, part := range []struct {
		name       string
		x, y, w, h float64
	}{{"Alaska", 62, 478, 220, 140}, {"Hawaii", 290, 500, 130, 118}, {"Puerto Rico, Virgin Islands", 796, 530, 190, 88}} {
		d.rect("frame", "", part.x, part.y, part.w, part.h)
		d.text("tick", "start", part.x+8, part.y+16, part.name)
	}
	for _, a := range busiest { // large circles first, so that small ones lie on top
		if p, ok := at(a); ok {
			d.circle("place "+colour(a.LateShare, limits), fmt.Sprintf("%s %s, %s: %s late, mean %s, %s departures", a.Airport, a.Name, a.City, percent(a.LateShare), minutes(a.MeanDelay), thousands(a.Departures)),
				p.x, p.y, 3+math.Sqrt(float64(a.Departures)/float64(max(busiest[0].Departures, 1)))*17)
		}
	}
	for _, a := range busiest[:min(14, len(busiest))] {
		if p, ok := at(a); ok {
			d.text("label", "middle", p.x, p.y+4, a.Airport)
		}
	}
	if len(limits) == colours-1 {
		d.text("tick", "start", 450, 570, "share of late flights; each colour is a seventh")
		d.text("tick", "start", 450, 585, "of the airports")
		d.legend(450, 593, limits, func(v float64) string { return fmt.Sprintf("%.0f%%", 100*v) })
	}
	return d.end()
}

// shareQuantiles cuts the airports into groups of one size by share of late
// flights; nil if there are too few.
func shareQuantiles(airports []AirportTotal) []float64 {
	if len(airports) < colours {
		return nil
	}
	var shares []float64
	for _, a := range airports {
		shares = append(shares, a.LateShare)
	}
	slices.Sort(shares)
	var limits []float64
	for i := 1; i < colours; i++ {
		limits = append(limits, shares[i*len(shares)/colours])
	}
	return limits
}

// spellsChart shows when the longest spells were.
func spellsChart(days []time.Time, spells []Spell) template.HTML {
	const left, right, row, top = 236, 12, 20, 8
	height := float64(len(spells)) * row
	d := draw("spells", "When the longest spells of trouble were",
		"For each of the longest spells a bar from its first to its last flight.", chartWidth, top+height+30)
	if len(days) == 0 || len(spells) == 0 {
		return d.end()
	}
	span := days[len(days)-1].AddDate(0, 0, 1).Sub(days[0]).Hours()
	x := func(t time.Time) float64 {
		return left + t.Sub(days[0]).Hours()/span*(chartWidth-left-right)
	}
	months(d, days, x, top+height, top, top+height)
	for i, s := range spells {
		y := top + float64(i)*row
		d.text("row", "end", left-8, y+14, short(s.Name, 30)+"  "+s.Airport)
		d.line("grid", left, y+10, chartWidth-right, y+10)
		d.rect("spell", fmt.Sprintf("%s: %s to %s, %d flights, mean %s late", s.Airport, s.First.Format("2 Jan 15:04"), s.Last.Format("2 Jan 15:04"), s.Flights, minutes(s.MeanDelay)),
			x(s.First), y+3, max(x(s.Last)-x(s.First), 2), 14)
	}
	return d.end()
}
