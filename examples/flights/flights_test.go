package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/millrace/millrace"
)

// prefix makes a data folder with the first n flights, and returns them too.
func prefix(t *testing.T, n int) (folder string, flights []Flight) {
	t.Helper()
	folder = t.TempDir()
	flights = readFlights(t, n)
	// Some row groups, so that there is something to be cut.
	f, err := os.Create(filepath.Join(folder, "flights-3m.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	w := parquet.NewGenericWriter[Flight](f, parquet.MaxRowsPerRowGroup(int64(n/4+1)))
	_, err = w.Write(flights)
	if err := errors.Join(err, w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	airports, err := os.ReadFile(airportsFile)
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "airports.csv"), airports, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	return folder, flights
}

// run runs the job and returns its output folder.
func run(t *testing.T, data string, parallelism int) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "results")
	err := millrace.RunWith(t.Context(), "flights", millrace.RunOptions{
		Parallelism: parallelism, Params: map[string]string{"data": data, "out": out},
	}, flights)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func readJSON[T any](t *testing.T, name string) (recs []T) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r T
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%s: line %d: %v", name, len(recs)+1, err)
		}
		recs = append(recs, r)
	}
	return recs
}

// compareRecords reports the first difference.
func compareRecords[T any](t *testing.T, what string, got, want []T) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("%s: record %d:\n got %+v\nwant %+v", what, i, got[i], want[i])
			return
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: got %d records, want %d", what, len(got), len(want))
	}
}

func compareWithPlain(t *testing.T, out string, flights []Flight) {
	t.Helper()
	want := compute(flights, readPlaces(t))
	windows, err := parquet.ReadFile[AirportWindow](filepath.Join(out, "windows.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range windows {
		windows[i].Start, windows[i].End = windows[i].Start.UTC(), windows[i].End.UTC()
	}
	compareRecords(t, "windows.parquet", windows, want.Windows)
	compareRecords(t, "worst.json", readJSON[AirportWindow](t, filepath.Join(out, "worst.json")), want.Worst)
	compareRecords(t, "hours.json", readJSON[HourOfDay](t, filepath.Join(out, "hours.json")), want.Hours)
	compareRecords(t, "airports.json", readJSON[AirportTotal](t, filepath.Join(out, "airports.json")), want.Airports)
	compareRecords(t, "spells.json", readJSON[Spell](t, filepath.Join(out, "spells.json")), want.Spells)

	page, err := report(&want.Findings)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(out, "report.html")); err != nil || !bytes.Equal(got, page) {
		t.Errorf("report.html is not the page of the findings computed plainly (%d and %d bytes, error %v)", len(got), len(page), err)
	}
}

// Every window, rank, spell and total is that of a computation without the
// engine, and no subtask more or less changes a byte of what is written.
func TestResultsAreThoseOfAPlainComputation(t *testing.T) {
	n := 150_000
	if raceDetector {
		n = 30_000
	}
	data, flights := prefix(t, n)
	first := run(t, data, 1)
	compareWithPlain(t, first, flights)
	for _, parallelism := range []int{2, 4, 7} {
		out := run(t, data, parallelism)
		for _, name := range []string{"windows.parquet", "worst.json", "hours.json", "airports.json", "spells.json", "report.html"} {
			a, err1 := os.ReadFile(filepath.Join(first, name))
			b, err2 := os.ReadFile(filepath.Join(out, name))
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a, b) {
				t.Errorf("parallelism %d: %s differs from that of parallelism 1", parallelism, name)
			}
		}
	}
}

// The same for all three million flights.
func TestWholeFileIsThatOfAPlainComputation(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("takes too long in short mode and under the race detector; the prefix is tested")
	}
	compareWithPlain(t, run(t, "data", 2), readFlights(t, 0))
}

func TestMistakesNameTheFolderAndTheParameter(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	for _, tt := range []struct {
		name, data, out string
		want            []string
	}{
		{"no data", missing, t.TempDir(), []string{missing, "--data"}},
		{"the output folder is a file", "data", file, []string{file, "--out"}},
		{"the output folder is below a file", "data", filepath.Join(file, "results"), []string{file, "--out"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := millrace.RunWith(t.Context(), "flights", millrace.RunOptions{
				Params: map[string]string{"data": tt.data, "out": tt.out}}, flights)
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want an error with %s", err, want)
				}
			}
		})
	}
}

func TestInterruptLeavesNoFiles(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := t.TempDir()
	err := millrace.RunWith(ctx, "flights", millrace.RunOptions{
		Params: map[string]string{"data": "data", "out": out},
		Status: func(r *millrace.Running) {
			for recordsRead(r) < 10_000 && ctx.Err() == nil {
				runtime.Gosched()
			}
			cancel()
		},
	}, flights)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that of a cancelled job", err)
	}
	left, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		t.Errorf("%s is left behind", f.Name())
	}
}

func recordsRead(r *millrace.Running) (n int64) {
	for _, o := range r.Operators() {
		if o.Source {
			n += o.Records
		}
	}
	return n
}
