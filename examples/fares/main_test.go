package main

import (
	"context"
	"encoding/json/v2"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/files"
	"github.com/millrace/millrace/connectors/format/parquet"
	"github.com/millrace/millrace/connectors/memory"
	"github.com/millrace/millrace/examples/internal/exampletest"
)

var rewrite = flag.Bool("rewrite", false, "write the sample data anew")

// row is a row of the sample data, which has a column that the program does
// not read.
type row struct {
	Zone       int32     `parquet:"pickup_zone"`
	Passengers int32     `parquet:"passengers"`
	Fare       float64   `parquet:"total_amount"`
	Pickup     time.Time `parquet:"pickup_at"`
}

// sample is the rows of testdata/trips.parquet. Fares are quarters, which add
// up to the same in any order.
func sample() (rows []row) {
	day := time.Date(2025, 3, 1, 0, 0, 0, 0, time.UTC)
	for i := range 240 {
		fare := float64(8+i%29) + 0.25*float64(i%4)
		if i%40 == 0 {
			fare = -fare // refunded
		}
		rows = append(rows, row{Zone: int32(100 + i%3), Passengers: int32(1 + i%4), Fare: fare,
			Pickup: day.Add(8*time.Hour + time.Duration(i)*47*time.Second)})
	}
	return rows
}

func TestFaresAreAddedUpByZoneAndHour(t *testing.T) {
	const trips = "testdata/trips.parquet"
	if *rewrite {
		err := millrace.Run(t.Context(), "sample", func(job *millrace.Job) {
			job.Parallelism(1)
			job.From("rows", memory.Of(1, sample()...)).To("file", files.WriteFile(trips, parquet.Of[row]()))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	totals := map[Fares]float64{}
	for _, r := range sample() {
		if r.Fare > 0 {
			totals[Fares{Zone: r.Zone, Hour: r.Pickup.Truncate(time.Hour)}] += r.Fare
		}
	}
	var want strings.Builder
	for f, total := range totals {
		f.Total = total
		line, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&want, "%s\n", line)
	}
	out := t.TempDir()
	exampletest.EveryWay(t, func(t *testing.T, opt millrace.RunOptions) {
		dir := filepath.Join(out, filepath.Base(t.Name()))
		opt.Params = map[string]string{"trips": trips, "out": dir}
		exampletest.Same(t, exampletest.Output(t, opt, fares), want.String())
		// What was printed is in the files too.
		exampletest.Same(t, printed(t, dir), want.String())
	})
}

// printed reads the files of a folder and returns their rows as lines of JSON.
func printed(t *testing.T, dir string) string {
	t.Helper()
	var out memory.Collect[Fares]
	err := millrace.Run(context.Background(), "read", func(job *millrace.Job) {
		job.From("fares", files.Read(dir, parquet.Of[Fares]())).To("rows", &out)
	})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range out.Records() {
		line, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "%s\n", line)
	}
	return text.String()
}
