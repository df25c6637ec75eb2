// Flights reads three million real flights as a stream and finds out where and
// when they are late:
//
//   - the departures, mean delay and share of late flights of each airport in
//     windows of 24 hours, one window each hour;
//   - the ten worst airports of each window;
//   - each airport's spells of trouble: runs of very late flights;
//   - the same figures by hour of the day and by airport over the whole time.
//
// The results are written as Parquet and JSON, and drawn on one page,
// report.html. A table of the main findings is printed at the end.
package main

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/format/csv"
	"github.com/millrace/millrace/connectors/format/json"
	"github.com/millrace/millrace/connectors/format/parquet"
)

func main() { millrace.Main("flights", flights) }

// flights describes the job: what is read, how one stream is made of another,
// and what is written. Nothing runs before it has returned.
func flights(job *millrace.Job) {
	data := job.Param("data", dataFolder(), "folder with flights-3m.parquet and airports.csv")
	out := job.Param("out", "out/flights", "folder to write the results to")

	// The airports file is small: every subtask gets all of it, before the
	// first flight.
	airports := job.From("airports", read(data, "airports.csv", csv.Of[AirportRow]()))
	names := airports.
		BroadcastState("airport-names", func(a AirportRow) string { return a.Code }).
		ReadFirst()

	// Flights come in the order of their scheduled departure, which is the
	// event time of all that follows. One subtask reads them: several would
	// read several months at once, and the windows of the later months would
	// wait in memory for those of the earlier ones.
	departures := job.From("flights", read(data, "flights-3m.parquet", parquet.Of[Flight]())).
		Parallelism(1).
		EventTime(func(f Flight) time.Time { return f.Scheduled }, 0).
		With(names).
		Process("departures", withAirport)

	byAirport := departures.KeyBy(func(d Departure) Airport { return d.Airport })

	windows := byAirport.
		Window(millrace.Sliding(24*time.Hour, time.Hour)).
		Aggregate("windows-by-airport", punctuality()).
		Map(airportWindow)

	// The results of a window carry its end as their event time, so windows of
	// one hour hold the results of all airports for the same 24 hours.
	ranked := windows.
		WindowAll(millrace.Tumbling(time.Hour)).
		Apply("ranking", rankAirports)

	worst := ranked.Filter(func(w AirportWindow) bool { return w.Rank >= 1 && w.Rank <= 10 })

	spells := inOrder("spells-in-order", Spell.compare, departures.
		Filter(func(d Departure) bool { return d.Delay > veryLateMinutes }).
		KeyBy(func(d Departure) Airport { return d.Airport }).
		Window(millrace.Session(spellGap)).
		Aggregate("spells-by-airport", trouble()).
		Map(spell))

	hours := inOrder("hours-in-order", HourOfDay.compare, departures.
		KeyBy(func(d Departure) int { return d.Hour }).
		Window(millrace.Global()).
		Aggregate("totals-by-hour", punctuality()).
		Map(hourOfDay))

	totals := inOrder("airports-in-order", AirportTotal.compare, byAirport.
		Window(millrace.Global()).
		Aggregate("totals-by-airport", punctuality()).
		Map(airportTotal))

	ranked.To("windows", write(out, "windows.parquet", parquet.Of[AirportWindow]()))
	worst.To("worst", write(out, "worst.json", json.Of[AirportWindow]()))
	spells.To("spells", write(out, "spells.json", json.Of[Spell]()))
	hours.To("hours", write(out, "hours.json", json.Of[HourOfDay]()))
	totals.To("totals", write(out, "airports.json", json.Of[AirportTotal]()))

	// What the page and the table show is kept in memory as well.
	var r results
	ranked.Filter(fromMidnight).To("report-days", &r.days)
	worst.To("report-worst", &r.worst)
	spells.To("report-spells", &r.spells)
	hours.To("report-hours", &r.hours)
	totals.To("report-airports", &r.airports)
	airports.To("report-places", &r.places)
	job.OnEnd(func() error { return r.findings().publish(out) })
}

// withAirport gives each flight the name of the airport it left from.
func withAirport(op *millrace.PlainOp[Flight, Departure], names millrace.View[string, AirportRow]) {
	op.OnRecord(func(f Flight) error {
		airport := Airport{Code: f.Origin}
		if row, ok := names.Load(f.Origin); ok {
			airport = Airport{row.Code, row.Name, row.City}
		}
		op.Emit(Departure{Airport: airport, Hour: f.Scheduled.Hour(), Delay: f.Delay})
		return nil
	})
}

// airportWindow is a row of the results, yet without its rank.
func airportWindow(r millrace.Result[Airport, Punctuality]) AirportWindow {
	return AirportWindow{
		Start: r.Window.Start(), End: r.Window.End(),
		Airport: r.Key.Code, Name: r.Key.Name, City: r.Key.City,
		Departures: r.Value.Departures, MeanDelay: r.Value.MeanDelay(), LateShare: r.Value.LateShare(),
	}
}

// rankAirports ranks the airports of one window.
func rankAirports(_ struct{}, _ millrace.Window, airports iter.Seq[AirportWindow], emit func(AirportWindow)) {
	for _, a := range rank(slices.Collect(airports)) {
		emit(a)
	}
}

// spellGap is how long an airport must have no very late departure for a spell
// of trouble to end.
const spellGap = 6 * time.Hour

// spell reads the times of the first and the last flight off the window, which
// reaches from the first flight to one gap after the last.
func spell(r millrace.Result[Airport, Trouble]) Spell {
	return Spell{
		Airport: r.Key.Code, Name: r.Key.Name, City: r.Key.City,
		First: r.Window.Start(), Last: r.Window.End().Add(-spellGap), Flights: r.Value.Flights,
		MeanDelay: float64(r.Value.DelayMinutes) / float64(r.Value.Flights), MaxDelay: r.Value.DelayMax,
	}
}

func hourOfDay(r millrace.Result[int, Punctuality]) HourOfDay {
	return HourOfDay{Hour: r.Key, Departures: r.Value.Departures, MeanDelay: r.Value.MeanDelay(), LateShare: r.Value.LateShare()}
}

func airportTotal(r millrace.Result[Airport, Punctuality]) AirportTotal {
	return AirportTotal{Airport: r.Key.Code, Name: r.Key.Name, City: r.Key.City,
		Departures: r.Value.Departures, MeanDelay: r.Value.MeanDelay(), LateShare: r.Value.LateShare()}
}

// fromMidnight picks the windows that are days of the calendar.
func fromMidnight(w AirportWindow) bool { return w.Start.Hour() == 0 }

// inOrder sorts a stream that ends: results of parallel subtasks come in any
// order, files should not.
func inOrder[T any](id string, compare func(a, b T) int, s millrace.Stream[T]) millrace.Stream[T] {
	return s.WindowAll(millrace.Global()).
		Apply(id, func(_ struct{}, _ millrace.Window, recs iter.Seq[T], emit func(T)) {
			for _, r := range slices.SortedFunc(recs, compare) {
				emit(r)
			}
		})
}

func (s Spell) compare(t Spell) int {
	return cmp.Or(s.First.Compare(t.First), cmp.Compare(s.Airport, t.Airport))
}

func (h HourOfDay) compare(i HourOfDay) int { return cmp.Compare(h.Hour, i.Hour) }

func (a AirportTotal) compare(b AirportTotal) int { return cmp.Compare(a.Airport, b.Airport) }
