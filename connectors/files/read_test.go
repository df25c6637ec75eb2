package files_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/files"
	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/csv"
	"github.com/millrace/millrace/connectors/format/json"
	"github.com/millrace/millrace/connectors/format/parquet"
	"github.com/millrace/millrace/connectors/format/text"
)

// put writes files below a new directory and returns it.
func put(t testing.TB, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// readSplit reads a split from a position to its end.
func readSplit[T any](t testing.TB, s millrace.Source[T], sp millrace.Split, at millrace.Position) (recs []T, bad []millrace.BadRecord) {
	t.Helper()
	rd, err := s.Open(context.Background(), sp, at)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := rd.(millrace.InlineReader); !ok {
		t.Fatal("a reader of local files is not inline")
	}
	out := millrace.NewRows[T](100)
	for err == nil {
		out.Reset()
		err = rd.Read(context.Background(), out)
		recs = append(recs, out.Records()...)
		bad = append(bad, out.BadRecords()...)
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	if err := rd.Close(); err != nil {
		t.Fatal(err)
	}
	return recs, bad
}

func readAll[T any](t testing.TB, s millrace.Source[T], parallelism int) (recs []T) {
	t.Helper()
	splits, err := s.Splits(context.Background(), parallelism)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, sp := range splits {
		if seen[sp.ID] {
			t.Fatalf("two splits have the id %s", sp.ID)
		}
		seen[sp.ID] = true
		got, bad := readSplit(t, s, sp, nil)
		if len(bad) > 0 {
			t.Fatal(bad[0])
		}
		recs = append(recs, got...)
	}
	return recs
}

func TestLocationsNameFilesDirectoriesAndPatterns(t *testing.T) {
	dir := put(t, map[string]string{
		"b.txt": "b", "a.txt": "a", "sub/c.txt": "c", "sub/deep/d.log": "d",
		".hidden": "x", "_SUCCESS": "x", "sub/.part.inprogress": "x", "_tmp/e.txt": "x",
	})
	for _, tt := range []struct {
		location string
		o        files.ReadOptions
		want     string
	}{
		{dir, files.ReadOptions{}, "a b c d"},
		{"file://" + dir, files.ReadOptions{}, "a b c d"},
		{dir + "/", files.ReadOptions{Flat: true}, "a b"},
		{dir, files.ReadOptions{Pattern: "*.txt"}, "a b c"},
		{dir + "/b.txt", files.ReadOptions{}, "b"},
		{dir + "/.hidden", files.ReadOptions{}, "x"},
		{dir + "/*.txt", files.ReadOptions{}, "a b"},
		{dir + "/s*", files.ReadOptions{}, "c d"},
		{dir + "/*/[a-c].txt", files.ReadOptions{}, "c"},
		{dir + "/_*/*", files.ReadOptions{}, "x"},
	} {
		got := readAll(t, files.Lines(tt.location, tt.o), 2)
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s %+v: read %q, want %q", tt.location, tt.o, s, tt.want)
		}
	}
	for location, want := range map[string]string{
		"":                "files: the location is empty",
		dir + "/none":     "no such file",
		dir + "/*.none":   "/*.none: there is no file",
		dir + "/[":        "syntax error in pattern",
		"s3://bucket/x":   "files: s3://bucket/x: there is no file system for s3://; file:// and plain paths are on this machine's disk",
		"file://relative": "file:///absolute/path",
	} {
		_, err := files.Lines(location).Splits(context.Background(), 1)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", location, err, want)
		}
	}
}

func TestBigFilesAreCutForEverySubtaskAndSmallOnesAreNot(t *testing.T) {
	var big strings.Builder
	var want []string
	for i := range 20_000 {
		s := fmt.Sprintf("line %d", i)
		want = append(want, s)
		big.WriteString(s + "\n")
	}
	dir := put(t, map[string]string{"big.txt": big.String(), "small.txt": "last"})
	want = append(want, "last")
	s := files.Lines(dir, files.ReadOptions{MinSplitBytes: 100})
	splits, err := s.Splits(context.Background(), 3)
	if err != nil || len(splits) < 12 || len(splits) > 14 {
		t.Errorf("%d splits, %v; want about 4 for each subtask", len(splits), err)
	}
	if got := readAll(t, s, 3); !slices.Equal(got, want) {
		t.Errorf("%d lines, want %d in order", len(got), len(want))
	}
	if splits, _ := files.Lines(dir).Splits(context.Background(), 3); len(splits) != 2 {
		t.Errorf("%d splits of two small files", len(splits))
	}
}

func TestReadingResumesAtAPosition(t *testing.T) {
	dir := put(t, map[string]string{"a.txt": "1\n2\n3\n4\n"})
	s := files.Lines(dir)
	splits, err := s.Splits(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	rd, err := s.Open(context.Background(), splits[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	out := millrace.NewRows[string](3)
	if err := rd.Read(context.Background(), out); err != nil || out.Len() != 3 {
		t.Fatal(out.Len(), err)
	}
	at := rd.Position()
	rd.Close()
	if got, _ := readSplit(t, s, splits[0], at); !slices.Equal(got, []string{"4"}) {
		t.Errorf("after three lines: %q", got)
	}
}

func TestAFileThatShrankIsAnError(t *testing.T) {
	dir := put(t, map[string]string{"a.txt": "1\n2\n3\n4\n"})
	s := files.Lines(dir)
	splits, err := s.Splits(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "a.txt")
	if err := os.Truncate(name, 2); err != nil {
		t.Fatal(err)
	}
	_, err = s.Open(context.Background(), splits[0], nil)
	if want := "files: " + name + " has shrunk since the job listed it, from 8 to 2 bytes"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	for _, sp := range []millrace.Split{{ID: "x"}, {ID: "x", Data: []byte{1}}, {ID: "x", Data: []byte{2, 0, 0, 0, 'a'}}, {ID: "x", Data: []byte{1, 5, 0, 0, 'a'}}} {
		if _, err := s.Open(context.Background(), sp, nil); err == nil {
			t.Errorf("split %v was opened", sp)
		}
	}
}

type trip struct {
	ID   int64   `csv:"id" json:"id" parquet:"id" avro:"id"`
	Zone string  `csv:"zone" json:"zone" parquet:"zone" avro:"zone"`
	Fare float64 `csv:"fare" json:"fare" parquet:"fare" avro:"fare"`
}

func trips(n int) []trip {
	ts := make([]trip, n)
	for i := range ts {
		ts[i] = trip{int64(i), fmt.Sprintf("zone %d", i%7), float64(i) / 4}
	}
	return ts
}

func TestWhatIsWrittenIsReadInEveryFormatAndCompression(t *testing.T) {
	want := trips(3000)
	for _, tt := range []struct {
		f      format.Format[trip]
		suffix []string
	}{
		{csv.Of[trip](), []string{"", ".csv.gz", ".csv.zst"}},
		{json.Of[trip](), []string{"", ".json.gz", ".json.zst"}},
		{parquet.With[trip](parquet.Options{RowGroupRows: 500}), []string{""}},
	} {
		for _, suffix := range tt.suffix {
			dir := t.TempDir()
			w := openWriter(t, files.Write(dir, tt.f, files.WriteOptions{Suffix: suffix, RollRecords: 2000}), 0, 1)
			for c := range slices.Chunk(want, 256) {
				if err := w.Write(context.Background(), c); err != nil {
					t.Fatal(err)
				}
			}
			finish(t, w)
			names := visible(t, dir)
			if suffix == "" {
				suffix = tt.f.Extension()
			}
			if w := fmt.Sprintf("part-0-0%s part-0-1%s", suffix, suffix); strings.Join(names, " ") != w {
				t.Errorf("files %v, want %s", names, w)
			}
			got := readAll(t, files.Read(dir, tt.f, files.ReadOptions{MinSplitBytes: 1000}), 4)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %d records, want %d as written", suffix, len(got), len(want))
			}
		}
	}
}

func TestParquetIsNotReadFromACompressedFile(t *testing.T) {
	dir := put(t, map[string]string{"a.parquet.gz": "x"})
	s := files.Read(dir, parquet.Of[trip]())
	splits, err := s.Splits(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.Open(context.Background(), splits[0], nil); err == nil || !strings.Contains(err.Error(), "a.parquet.gz: Parquet cannot be read from a gzip file") {
		t.Error(err)
	}
}

func BenchmarkLines(b *testing.B) {
	dir := b.TempDir()
	name := filepath.Join(dir, "lines.txt")
	line := []byte("the quick brown fox jumps over the lazy dog and on it goes for a while\n")
	const n = 1_000_000
	if err := os.WriteFile(name, bytes.Repeat(line, n), 0o666); err != nil {
		b.Fatal(err)
	}
	s := files.Read(name, text.Lines())
	out := millrace.NewRows[string](256)
	b.SetBytes(int64(len(line)) * n)
	b.ReportAllocs()
	for b.Loop() {
		splits, err := s.Splits(context.Background(), 2)
		if err != nil {
			b.Fatal(err)
		}
		got := 0
		for _, sp := range splits {
			rd, err := s.Open(context.Background(), sp, nil)
			if err != nil {
				b.Fatal(err)
			}
			for err == nil {
				out.Reset()
				err = rd.Read(context.Background(), out)
				got += out.Len()
			}
			rd.Close()
		}
		if got != n {
			b.Fatal(got)
		}
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
