package files_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/files"
	"github.com/millrace/millrace/connectors/format/csv"
	"github.com/millrace/millrace/connectors/format/json"
	"github.com/millrace/millrace/connectors/format/text"
)

var ctx = context.Background()

func openWriter[T any](t testing.TB, s millrace.Sink[T], index, of int) millrace.Writer[T] {
	t.Helper()
	w, err := s.OpenWriter(ctx, millrace.Subtask{Index: index, Of: of})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func write[T any](t testing.TB, w millrace.Writer[T], recs ...T) {
	t.Helper()
	if err := w.Write(ctx, recs); err != nil {
		t.Fatal(err)
	}
}

func finish[T any](t testing.TB, w millrace.Writer[T]) {
	t.Helper()
	if err := errors.Join(w.Flush(ctx), w.Close()); err != nil {
		t.Fatal(err)
	}
}

// names lists the files below dir whose names pass keep.
func names(t testing.TB, dir string, keep func(name string) bool) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && keep(d.Name()) {
			rel, _ := filepath.Rel(dir, name)
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func visible(t testing.TB, dir string) []string {
	return names(t, dir, func(n string) bool { return n[0] != '.' })
}

func all(t testing.TB, dir string) []string {
	return names(t, dir, func(string) bool { return true })
}

func content(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNobodySeesAFileBeforeItIsFlushed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	w := openWriter(t, files.Write(dir, text.Lines()), 3, 8)
	write(t, w, "a", "b")
	if v := visible(t, dir); len(v) > 0 {
		t.Errorf("visible before the flush: %v", v)
	}
	if err := w.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if got := content(t, filepath.Join(dir, "part-3-0.txt")); got != "a\nb\n" {
		t.Errorf("file holds %q", got)
	}
	write(t, w, "c")
	finish(t, w)
	if v := strings.Join(all(t, dir), " "); v != "part-3-0.txt part-3-1.txt" {
		t.Errorf("files: %s", v)
	}
}

func TestCloseWithoutFlushLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, files.Write(dir, text.Lines(), files.WriteOptions{RollRecords: 2}), 0, 1)
	write(t, w, "a", "b", "c")
	if v := len(all(t, dir)); v != 2 {
		t.Errorf("%d files before closing", v)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if v := all(t, dir); len(v) > 0 {
		t.Errorf("left: %v", v)
	}
}

func TestFilesRollBySizeAndByRecords(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, files.Write(dir, text.Lines(), files.WriteOptions{RollRecords: 3, Prefix: "out_", Suffix: ".log"}), 0, 1)
	write(t, w, "1", "2", "3", "4", "5", "6", "7")
	finish(t, w)
	if v := strings.Join(all(t, dir), " "); v != "out_0-0.log out_0-1.log out_0-2.log" {
		t.Errorf("files: %s", v)
	}
	dir = t.TempDir()
	w = openWriter(t, files.Write(dir, text.Lines(), files.WriteOptions{RollBytes: 10}), 0, 1)
	for range 6 {
		write(t, w, "1234")
	}
	finish(t, w)
	if v := len(all(t, dir)); v != 3 {
		t.Errorf("%d files of 30 bytes rolled at 10", v)
	}
}

func TestRecordsGoToTheirBuckets(t *testing.T) {
	dir := t.TempDir()
	sink := files.Write(dir, csv.Of[trip](), files.WriteOptions{OpenFileMax: 3}).BucketBy(func(r trip) string { return r.Zone })
	w := openWriter[trip](t, sink, 0, 1)
	want := trips(100)
	for c := range slices.Chunk(want, 9) {
		write(t, w, c...)
	}
	finish(t, w)
	got := readAll(t, files.Read(dir, csv.Of[trip]()), 1)
	slices.SortFunc(got, func(a, b trip) int { return int(a.ID - b.ID) })
	if !slices.Equal(got, want) {
		t.Errorf("read %d of %d", len(got), len(want))
	}
	for z := range 7 {
		zone := fmt.Sprintf("zone %d", z)
		for _, r := range readAll(t, files.Read(filepath.Join(dir, zone), csv.Of[trip]()), 1) {
			if r.Zone != zone {
				t.Errorf("%v in bucket %s", r, zone)
			}
		}
	}
	// A bucket cannot leave the location.
	w = openWriter[trip](t, files.Write(dir, csv.Of[trip]()).BucketBy(func(trip) string { return "../../up" }), 0, 1)
	write(t, w, trip{})
	finish(t, w)
	if _, err := os.Stat(filepath.Join(dir, "up", "part-0-0.csv")); err != nil {
		t.Error(err)
	}
}

func TestARestartedSubtaskTakesNewNames(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		w := openWriter(t, files.Write(dir, text.Lines()), 0, 1)
		write(t, w, fmt.Sprint(i))
		finish(t, w)
	}
	// A killed attempt leaves its hidden file: its number is not used again.
	w := openWriter(t, files.Write(dir, text.Lines()), 0, 1)
	write(t, w, "lost")
	w = openWriter(t, files.Write(dir, text.Lines()), 0, 1)
	write(t, w, "after")
	finish(t, w)
	if v := strings.Join(visible(t, dir), " "); v != "part-0-0.txt part-0-1.txt part-0-2.txt part-0-4.txt" {
		t.Errorf("files: %s", v)
	}
}

func TestPreparedFilesAreCommittedOnceHoweverOften(t *testing.T) {
	dir := t.TempDir()
	sink := files.Write(dir, text.Lines(), files.WriteOptions{RollRecords: 1})
	w := openWriter(t, sink, 0, 1)
	write(t, w, "a", "b")
	token, err := w.(millrace.Transaction).Prepare(ctx)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, "not prepared")
	if err := w.Close(); err != nil { // the attempt ends between the two phases
		t.Fatal(err)
	}
	if v := visible(t, dir); len(v) > 0 {
		t.Errorf("visible before the commit: %v", v)
	}
	w = openWriter(t, sink, 0, 1)
	for range 2 {
		if err := w.(millrace.Transaction).Commit(ctx, token); err != nil {
			t.Fatal(err)
		}
	}
	write(t, w, "c")
	finish(t, w)
	if got := readAll(t, files.Lines(dir), 1); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("read %q", got)
	}
	os.Remove(filepath.Join(dir, "part-0-0.txt"))
	if err := w.(millrace.Transaction).Commit(ctx, token); err == nil || !strings.Contains(err.Error(), "part-0-0.txt") {
		t.Errorf("commit of a file that is gone: %v", err)
	}
}

func TestOneFileHoldsTheWholeOutput(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "out.json")
	os.WriteFile(name, []byte("old"), 0o666)
	os.WriteFile(filepath.Join(dir, ".out.json.inprogress"), []byte("of a killed attempt"), 0o666)
	sink := files.WriteFile(name, json.Of[trip]())
	if _, err := sink.OpenWriter(ctx, millrace.Subtask{Of: 2}); err == nil || !strings.Contains(err.Error(), "cannot be written by 2 subtasks") {
		t.Error(err)
	}
	w := openWriter(t, sink, 0, 1)
	write(t, w, trip{ID: 1}, trip{ID: 2})
	if got := content(t, name); got != "old" {
		t.Errorf("before the flush it holds %q", got)
	}
	if err := w.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(ctx, []trip{{}}); err == nil || !strings.Contains(err.Error(), "is complete") {
		t.Errorf("write after the flush: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, files.Read(name, json.Of[trip]()), 1); len(got) != 2 || got[1].ID != 2 {
		t.Errorf("read %v", got)
	}
	if v := all(t, dir); len(v) != 1 {
		t.Errorf("files: %v", v)
	}
	empty := openWriter(t, files.WriteFile(filepath.Join(dir, "empty.csv"), csv.Of[trip]()), 0, 1)
	finish(t, empty)
	if got := content(t, filepath.Join(dir, "empty.csv")); got != "id,zone,fare\n" {
		t.Errorf("without records: %q", got)
	}
}

// fullDisk is the local disk with room for so many bytes.
type fullDisk struct {
	files.Local
	room *int
}

type fullFile struct {
	files.FileWriter
	room *int
}

func (d fullDisk) Create(name string) (files.FileWriter, error) {
	f, err := d.Local.Create(name)
	return fullFile{f, d.room}, err
}

func (f fullFile) Write(p []byte) (int, error) {
	n, err := f.FileWriter.Write(p[:min(len(p), *f.room)])
	*f.room -= n
	if err == nil && n < len(p) {
		err = &fs.PathError{Op: "write", Path: "device", Err: syscall.ENOSPC}
	}
	return n, err
}

func TestAFullDiskIsAnErrorThatSaysWhatIsLeft(t *testing.T) {
	dir := t.TempDir()
	room := 12
	w := openWriter(t, files.Write(dir, text.Lines(), files.WriteOptions{FS: fullDisk{room: &room}, RollRecords: 2}), 0, 1)
	write(t, w, "abc", "def") // a whole file of 8 bytes
	if err := w.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	err := w.Write(ctx, []string{"ghijkl"})
	want := "files: write " + dir + "/.part-0-1.txt.inprogress: write device: no space left on device; 1 files under hidden names (4 bytes in those not ended) are left in " + dir + " until the writer is closed; files with their own names are whole"
	if err == nil || err.Error() != want || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	room = 1000 // too late: the file has a hole
	if err := w.Flush(ctx); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("flush after a failed write: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if v := strings.Join(all(t, dir), " "); v != "part-0-0.txt" {
		t.Errorf("left: %s", v)
	}
}

// A real device that is always full, where there is one.
type devFull struct{ files.Local }

func (d devFull) Create(name string) (files.FileWriter, error) {
	f, err := d.Local.Create(name)
	if err != nil {
		return nil, err
	}
	f.Close()
	return os.OpenFile("/dev/full", os.O_WRONLY, 0)
}

func TestEveryFormatReportsAFullDevice(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	for _, suffix := range []string{".csv", ".csv.gz", ".csv.zst"} {
		dir := t.TempDir()
		w := openWriter(t, files.Write(dir, csv.Of[trip](), files.WriteOptions{FS: devFull{}, Suffix: suffix}), 0, 1)
		err := w.Write(ctx, trips(10))
		if err == nil {
			err = w.Flush(ctx)
		}
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), ".part-0-0"+suffix+".inprogress") {
			t.Errorf("%s: %v", suffix, err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if v := all(t, dir); len(v) > 0 {
			t.Errorf("left: %v", v)
		}
	}
}

func TestNamesThatWouldHideFilesAreRefused(t *testing.T) {
	for _, o := range []files.WriteOptions{{Prefix: ".x"}, {Prefix: "_x"}, {Prefix: "a/b"}, {Suffix: "/"}} {
		if _, err := files.Write(t.TempDir(), text.Lines(), o).OpenWriter(ctx, millrace.Subtask{Of: 1}); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}
