package main

import (
	"cmp"
	"slices"
	"time"

	"github.com/millrace/millrace"
)

// A flight is late if it arrives more than lateMinutes behind its schedule, and
// part of a spell of trouble if it arrives more than veryLateMinutes behind it.
const (
	lateMinutes     = 15
	veryLateMinutes = 60
)

// departuresMin is how many departures an airport must have in a window to be
// ranked among the worst. With fewer, two late flights would do.
const departuresMin = 20

// Flight is a row of the flights file.
type Flight struct {
	// Scheduled is when the flight was to leave, in the time of its origin
	// (the file has no zones, so it reads as UTC).
	Scheduled time.Time `parquet:"date"`
	// Delay is how many minutes late the flight arrived; negative is early.
	Delay  int64  `parquet:"delay"`
	Origin string `parquet:"origin"`
}

// AirportRow is a row of the airports file.
type AirportRow struct {
	Code      string  `csv:"iata"`
	Name      string  `csv:"name"`
	City      string  `csv:"city"`
	State     string  `csv:"state"`
	Latitude  float64 `csv:"latitude"`
	Longitude float64 `csv:"longitude"`
}

// Airport is what the results say of an airport. It is a key too.
type Airport struct {
	Code string
	Name string
	City string
}

// Departure is a flight with the airport it left from.
type Departure struct {
	Airport Airport
	Hour    int   // of the day when it was to leave
	Delay   int64 // minutes
}

// Punctuality sums up any number of departures. Its sums are of whole numbers,
// so that they do not depend on the order in which departures are added.
type Punctuality struct {
	Departures   int64
	Late         int64 // departures more than 15 minutes late
	DelayMinutes int64 // sum
}

// punctuality is how departures make a Punctuality. Windows that overlap share
// the work: one that slides on by an hour adds the hour that came (Merge) and
// takes away the hour that went (Subtract).
func punctuality() millrace.Aggregator[Departure, Punctuality, Punctuality] {
	return millrace.Aggregator[Departure, Punctuality, Punctuality]{
		AddRef: func(p *Punctuality, d *Departure) {
			p.Departures++
			p.DelayMinutes += d.Delay
			if d.Delay > lateMinutes {
				p.Late++
			}
		},
		Merge: func(p, q Punctuality) Punctuality {
			return Punctuality{p.Departures + q.Departures, p.Late + q.Late, p.DelayMinutes + q.DelayMinutes}
		},
		Subtract: func(p, q Punctuality) Punctuality {
			return Punctuality{p.Departures - q.Departures, p.Late - q.Late, p.DelayMinutes - q.DelayMinutes}
		},
	}
}

// MeanDelay is in minutes.
func (p Punctuality) MeanDelay() float64 { return float64(p.DelayMinutes) / float64(p.Departures) }

// LateShare is the share of departures more than 15 minutes late, 0 to 1.
func (p Punctuality) LateShare() float64 { return float64(p.Late) / float64(p.Departures) }

// AirportWindow is one airport in one window of time.
type AirportWindow struct {
	Start      time.Time `parquet:"start" json:"start"`
	End        time.Time `parquet:"end" json:"end"` // not part of the window
	Airport    string    `parquet:"airport,dict" json:"airport"`
	Name       string    `parquet:"name,dict" json:"name"`
	City       string    `parquet:"city,dict" json:"city"`
	Departures int64     `parquet:"departures" json:"departures"`
	MeanDelay  float64   `parquet:"mean_delay_minutes" json:"mean_delay_minutes"`
	LateShare  float64   `parquet:"late_share" json:"late_share"`
	// Rank is the airport's place among all airports of the window with at
	// least 20 departures: 1 for the one with the largest share of late
	// flights, 0 for airports with fewer departures.
	Rank int32 `parquet:"rank" json:"rank"`
}

// rank gives the airports of one window their ranks and sorts them by their
// codes, in place.
func rank(airports []AirportWindow) []AirportWindow {
	slices.SortFunc(airports, worstFirst)
	next := int32(1)
	for i := range airports {
		if airports[i].Departures >= departuresMin {
			airports[i].Rank = next
			next++
		}
	}
	slices.SortFunc(airports, func(a, b AirportWindow) int { return cmp.Compare(a.Airport, b.Airport) })
	return airports
}

func worstFirst(a, b AirportWindow) int {
	return cmp.Or(
		cmp.Compare(b.LateShare, a.LateShare),
		cmp.Compare(b.MeanDelay, a.MeanDelay),
		cmp.Compare(a.Airport, b.Airport),
	)
}

// Trouble sums up departures that are very late.
type Trouble struct {
	Flights      int64
	DelayMinutes int64 // sum
	DelayMax     int64 // minutes
}

// trouble is how departures make a Trouble.
func trouble() millrace.Aggregator[Departure, Trouble, Trouble] {
	return millrace.Aggregator[Departure, Trouble, Trouble]{
		Add: func(t Trouble, d Departure) Trouble {
			return Trouble{t.Flights + 1, t.DelayMinutes + d.Delay, max(t.DelayMax, d.Delay)}
		},
		Merge: func(t, u Trouble) Trouble {
			return Trouble{t.Flights + u.Flights, t.DelayMinutes + u.DelayMinutes, max(t.DelayMax, u.DelayMax)}
		},
	}
}

// Spell is a time of trouble at an airport: departures more than an hour late
// with at most six hours between one and the next.
type Spell struct {
	Airport string `json:"airport"`
	Name    string `json:"name"`
	City    string `json:"city"`
	// First and Last are when the first and the last of its flights were to
	// leave.
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Flights   int64     `json:"flights"`
	MeanDelay float64   `json:"mean_delay_minutes"`
	MaxDelay  int64     `json:"max_delay_minutes"`
}

// Duration is from the first to the last flight.
func (s Spell) Duration() time.Duration { return s.Last.Sub(s.First) }

// HourOfDay is all departures scheduled in one hour of the day.
type HourOfDay struct {
	Hour       int     `json:"hour"`
	Departures int64   `json:"departures"`
	MeanDelay  float64 `json:"mean_delay_minutes"`
	LateShare  float64 `json:"late_share"`
}

// AirportTotal is all departures of one airport.
type AirportTotal struct {
	Airport    string  `json:"airport"`
	Name       string  `json:"name"`
	City       string  `json:"city"`
	Departures int64   `json:"departures"`
	MeanDelay  float64 `json:"mean_delay_minutes"`
	LateShare  float64 `json:"late_share"`
}
