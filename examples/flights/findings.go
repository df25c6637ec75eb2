package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/millrace/millrace/connectors/memory"
)

// Findings is what the job found, as far as the table and the page show it.
type Findings struct {
	Hours    []HourOfDay     // in order; hours without a departure are left out
	Airports []AirportTotal  // in any order
	Days     []AirportWindow // the windows from midnight to midnight
	Worst    []AirportWindow // those of rank 1 to 10 in each window
	Spells   []Spell         // in any order
	Places   []AirportRow    // where airports are; more than have flights
}

// results is where the job leaves what it found.
type results struct {
	hours    memory.Collect[HourOfDay]
	airports memory.Collect[AirportTotal]
	days     memory.Collect[AirportWindow]
	worst    memory.Collect[AirportWindow]
	spells   memory.Collect[Spell]
	places   memory.Collect[AirportRow]
}

func (r *results) findings() *Findings {
	return &Findings{Hours: r.hours.Records(), Airports: r.airports.Records(), Days: r.days.Records(),
		Worst: r.worst.Records(), Spells: r.spells.Records(), Places: r.places.Records()}
}

// publish draws the page into the output folder and prints the table.
func (f *Findings) publish(out string) error {
	page, err := report(f)
	if err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(out, "report.html"), page); err != nil {
		return err
	}
	where, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	return f.print(os.Stdout, where)
}

// all is the punctuality of all flights together.
func (f *Findings) all() (departures int64, meanDelay, lateShare float64) {
	for _, a := range f.Airports {
		departures += a.Departures
		meanDelay += a.MeanDelay * float64(a.Departures)
		lateShare += a.LateShare * float64(a.Departures)
	}
	n := float64(max(departures, 1))
	return departures, meanDelay / n, lateShare / n
}

// windows counts the windows that have airports in them.
func (f *Findings) windows() int {
	ends := map[time.Time]bool{}
	for _, w := range f.Worst {
		ends[w.End] = true
	}
	return len(ends)
}

// days returns the days on which some airport had departures enough to be
// ranked, in order.
func (f *Findings) days() []time.Time {
	seen := map[time.Time]bool{}
	for _, d := range f.Days {
		if d.Rank > 0 {
			seen[d.Start] = true
		}
	}
	return slices.SortedFunc(maps.Keys(seen), time.Time.Compare)
}

// busiest returns the n airports with the most departures.
func (f *Findings) busiest(n int) []AirportTotal {
	as := slices.Clone(f.Airports)
	slices.SortFunc(as, func(a, b AirportTotal) int {
		return cmp.Or(cmp.Compare(b.Departures, a.Departures), cmp.Compare(a.Airport, b.Airport))
	})
	return as[:min(n, len(as))]
}

// longest returns the n longest spells.
func (f *Findings) longest(n int) []Spell {
	ss := slices.Clone(f.Spells)
	slices.SortFunc(ss, func(a, b Spell) int {
		return cmp.Or(cmp.Compare(b.Duration(), a.Duration()), cmp.Compare(b.Flights, a.Flights),
			a.First.Compare(b.First), cmp.Compare(a.Airport, b.Airport))
	})
	return ss[:min(n, len(ss))]
}

// oftenWorst is an airport and in how many windows it was one of the worst ten.
type oftenWorst struct {
	AirportTotal
	Windows int
}

// oftenWorst returns the airports by how often they were among the worst ten.
func (f *Findings) oftenWorst() []oftenWorst {
	windows := map[string]int{}
	for _, w := range f.Worst {
		windows[w.Airport]++
	}
	var out []oftenWorst
	for _, a := range f.Airports {
		if n := windows[a.Airport]; n > 0 {
			out = append(out, oftenWorst{a, n})
		}
	}
	slices.SortFunc(out, func(a, b oftenWorst) int {
		return cmp.Or(cmp.Compare(b.Windows, a.Windows), cmp.Compare(a.Airport, b.Airport))
	})
	return out
}

// extremes returns the hours with the smallest and the largest mean delay
// among those with at least a hundredth of all departures: at night so few
// flights leave that one of them decides.
func (f *Findings) extremes() (best, worst HourOfDay) {
	departures, _, _ := f.all()
	first := true
	for _, h := range f.Hours {
		if h.Departures*100 < departures {
			continue
		}
		if first || h.MeanDelay < best.MeanDelay {
			best = h
		}
		if first || h.MeanDelay > worst.MeanDelay {
			worst = h
		}
		first = false
	}
	return best, worst
}

// print writes the findings as a short table; where is the output folder.
func (f *Findings) print(w io.Writer, where string) error {
	departures, meanDelay, lateShare := f.all()
	fmt.Fprintf(w, "%s flights from %d airports arrived %s on average, %s of them more than %d minutes late.\n",
		thousands(departures), len(f.Airports), lateness(meanDelay), percent(lateShare), lateMinutes)
	if best, worst := f.extremes(); worst.Departures > 0 {
		fmt.Fprintf(w, "Best hour to leave: %s (%s). Worst: %s (%s).\n", best.span(), lateness(best.MeanDelay), worst.span(), lateness(worst.MeanDelay))
	}

	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nMOST OFTEN AMONG THE TEN WORST\tWINDOWS\tDEPARTURES\tMEAN DELAY\tLATE\n")
	often := f.oftenWorst()
	for _, a := range often[:min(10, len(often))] {
		fmt.Fprintf(t, "%s  %s\t%7s\t%10s\t%10s\t%6s\n", a.Airport, short(a.Name, 34), thousands(int64(a.Windows)), thousands(a.Departures), minutes(a.MeanDelay), percent(a.LateShare))
	}
	fmt.Fprintf(t, "\nLONGEST SPELLS OF TROUBLE\tFROM\tHOURS\tFLIGHTS\tMEAN DELAY\n")
	for _, s := range f.longest(5) {
		fmt.Fprintf(t, "%s  %s\t%s\t%5.0f\t%7d\t%10s\n", s.Airport, short(s.Name, 34), s.First.Format("2 Jan 15:04"), s.Duration().Hours(), s.Flights, minutes(s.MeanDelay))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s windows and %s spells of trouble are in %s\nThe charts are on %s\n",
		thousands(int64(f.windows())), thousands(int64(len(f.Spells))), where, filepath.Join(where, "report.html"))
	return err
}

// span is the hour as "17:00-17:59".
func (h HourOfDay) span() string { return fmt.Sprintf("%02d:00-%02d:59", h.Hour, h.Hour) }

// lateness says a delay in words.
func lateness(m float64) string {
	if m < 0 {
		return minutes(-m) + " early"
	}
	return minutes(m) + " late"
}

func minutes(m float64) string     { return fmt.Sprintf("%.1f min", m) }
func percent(share float64) string { return fmt.Sprintf("%.1f%%", share*100) }

// thousands prints n with its thousands set off.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// short cuts s to n characters.
func short(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return strings.TrimSpace(string(r[:n-1])) + "…"
	}
	return s
}
