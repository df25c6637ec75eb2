// Fares by zone and hour over all trips, from Parquet to Parquet.
//
//	go run ./fares --trips fares/testdata/trips.parquet --out out/fares
package main

import (
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/files"
	"github.com/millrace/millrace/connectors/format/parquet"
	"github.com/millrace/millrace/connectors/stdio"
)

type Trip struct {
	Zone   int32     `parquet:"pickup_zone"`
	Fare   float64   `parquet:"total_amount"`
	Pickup time.Time `parquet:"pickup_at"`
}

type zoneHour struct {
	Zone int32
	Hour int64 // since 1970
}

type Fares struct {
	Zone  int32     `parquet:"zone"`
	Hour  time.Time `parquet:"hour"`
	Total float64   `parquet:"total"`
}

func main() { millrace.Main("fares", fares) }

func fares(job *millrace.Job) {
	totals := job.From("trips", files.Read(job.Param("trips", "fares/testdata/trips.parquet", "trips to add up"), parquet.Of[Trip]())).
		Filter(func(t Trip) bool { return t.Fare > 0 }).
		KeyBy(func(t Trip) zoneHour { return zoneHour{t.Zone, t.Pickup.Unix() / 3600} }).
		Window(millrace.Global()).
		Aggregate("fares", millrace.Sum(func(t Trip) float64 { return t.Fare })).
		Map(func(r millrace.Result[zoneHour, float64]) Fares {
			return Fares{Zone: r.Key.Zone, Hour: time.Unix(r.Key.Hour*3600, 0).UTC(), Total: r.Value}
		})
	totals.To("files", files.Write(job.Param("out", "out/fares", "folder to write to"), parquet.Of[Fares]()))
	totals.To("out", stdio.Print[Fares](stdio.Options{JSON: true}))
}
