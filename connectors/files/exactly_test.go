package files_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/files"
	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/avro"
	"github.com/millrace/millrace/connectors/format/csv"
	"github.com/millrace/millrace/connectors/format/json"
	"github.com/millrace/millrace/connectors/format/parquet"
	"github.com/millrace/millrace/connectors/format/text"
	"github.com/millrace/millrace/connectors/proof"
)

// numbered is the proof of a sink of files on a disk. The sink is made by
// make, on the file system given.
func numbered[T any](d files.FileSystem, location string, f format.Format[T], o files.WriteOptions, single bool, bucket func(T) string, record func(int) T, number func(T) int) proof.Sink[T] {
	broken := &faulty{FileSystem: d}
	o.FS = broken
	below := location
	if single {
		below = filepath.Dir(location)
	}
	var lastKey string
	var last []int
	p := proof.Sink[T]{
		Record: record, Whole: single,
		Visible: func() (ns []int, err error) {
			// What has not changed is not read again.
			key, err := shown(d, below)
			if err != nil || key == lastKey && lastKey != "" {
				return slices.Clone(last), err
			}
			defer func() { lastKey, last = key, slices.Clone(ns) }()
			rs, err := readVisible(d, location, f)
			for _, r := range rs {
				ns = append(ns, number(r))
			}
			return ns, err
		},
		Left: func() ([]string, error) {
			return hiddenBelow(d, below)
		},
		Break: broken.arm, Broken: broken.broken,
		Crash: func(rng *rand.Rand, power bool) {
			broken.armed, broken.failed = false, false
			if m, ok := d.(*disk); ok && power {
				m.cut(rng)
			}
		},
	}
	switch {
	case single:
		p.Sink = files.WriteFile(location, f, o)
	case bucket != nil:
		p.Sink = files.Write(location, f, o).BucketBy(bucket)
	default:
		p.Sink = files.Write(location, f, o)
	}
	return p
}

// readVisible reads a location as a reader does that ignores hidden names.
func readVisible[T any](d files.FileSystem, location string, f format.Format[T]) (out []T, err error) {
	src := files.Read(location, f, files.ReadOptions{FS: d})
	splits, err := src.Splits(ctx, 1)
	if err != nil && (errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "there is no file")) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, s := range splits {
		r, err := src.Open(ctx, s, nil)
		if err != nil {
			return nil, err
		}
		rows := millrace.NewRows[T](64)
		for err == nil {
			rows.Reset()
			err = r.Read(ctx, rows)
			if len(rows.BadRecords()) > 0 {
				return nil, rows.BadRecords()[0]
			}
			out = append(out, rows.Records()...)
		}
		if cerr := r.Close(); cerr != nil || err != io.EOF {
			return nil, errors.Join(err, cerr)
		}
	}
	return out, nil
}

// shown is what a reader sees of the files below a directory without opening
// them.
func shown(d files.FileSystem, dir string) (string, error) {
	es, err := d.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	var all strings.Builder
	for _, e := range es {
		if e.Name[0] == '.' {
			continue
		}
		fmt.Fprintf(&all, "%s/%s %d\n", dir, e.Name, e.Size)
		if e.Dir {
			in, err := shown(d, dir+"/"+e.Name)
			if err != nil {
				return "", err
			}
			all.WriteString(in)
		}
	}
	return all.String(), err
}

// hiddenBelow lists hidden files, and hidden folders that are empty.
func hiddenBelow(d files.FileSystem, dir string) (out []string, err error) {
	es, err := d.List(dir)
	for _, e := range es {
		name := dir + "/" + e.Name
		if e.Dir {
			in, err := hiddenBelow(d, name)
			if err != nil {
				return nil, err
			}
			out = append(out, in...)
		} else if e.Name[0] == '.' {
			out = append(out, name)
		}
	}
	return out, err
}

type item struct {
	N    int64  `avro:"n" parquet:"n"`
	Name string `avro:"name" parquet:"name"`
}

func makeItem(n int) item      { return item{int64(n), "record " + strconv.Itoa(n)} }
func itemNumber(i item) int    { return int(i.N) }
func itemBucket(i item) string { return fmt.Sprintf("day=%d/hour=%d", i.N%2, i.N%3) }

func TestLinesAreDeliveredExactlyOnce(t *testing.T) {
	number := func(s string) int { n, _ := strconv.Atoi(s); return n }
	proof.Check(t, 1, 2000, func(seed uint64) proof.Sink[string] {
		var bucket func(string) string
		if seed%2 == 0 {
			bucket = func(s string) string { return "last=" + s[len(s)-1:] }
		}
		o := files.WriteOptions{RollRecords: int64(seed % 5), OpenFileMax: 3}
		return numbered(newDisk(), "/out", text.Lines(), o, false, bucket, strconv.Itoa, number)
	})
}

func TestOneFileIsDeliveredExactlyOnce(t *testing.T) {
	number := func(s string) int { n, _ := strconv.Atoi(s); return n }
	proof.Check(t, 1, 500, func(seed uint64) proof.Sink[string] {
		return numbered(newDisk(), "/out/all.txt", text.Lines(), files.WriteOptions{}, true, nil, strconv.Itoa, number)
	})
}

func TestEveryFormatIsDeliveredExactlyOnce(t *testing.T) {
	for _, f := range []struct {
		name   string
		format format.Format[item]
		suffix string
	}{
		{"csv", csv.Of[item](), ""},
		{"json", json.Of[item](), ""},
		{"gzip", csv.Of[item](), ".csv.gz"},
		{"zstd", json.Of[item](), ".json.zst"},
		{"avro", avro.Of[item](), ""},
		{"parquet", parquet.Of[item](), ""},
	} {
		for _, single := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/single=%t", f.name, single), func(t *testing.T) {
				proof.Check(t, 1, 25, func(seed uint64) proof.Sink[item] {
					bucket := itemBucket
					if single || seed%2 == 0 {
						bucket = nil
					}
					location := "/out"
					if single {
						location = "/out/all" + f.suffix
						if f.suffix == "" {
							location += f.format.Extension()
						}
					}
					return numbered(newDisk(), location, f.format, files.WriteOptions{Suffix: f.suffix}, single, bucket, makeItem, itemNumber)
				})
			})
		}
	}
}

// hasty is the local disk without the waits for it.
type hasty struct{ files.Local }

func (hasty) SyncDir(dir string) error { _, err := os.Stat(dir); return err }

func (hasty) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o777) }

func (h hasty) Create(name string) (files.FileWriter, error) {
	f, err := h.Local.Create(name)
	return hastyFile{f}, err
}

type hastyFile struct{ files.FileWriter }

func (hastyFile) Sync() error { return nil }

func TestExactlyOnceOnARealFolder(t *testing.T) {
	dir := t.TempDir()
	number := func(s string) int { n, _ := strconv.Atoi(s); return n }
	proof.Check(t, 1, 100, func(seed uint64) proof.Sink[string] {
		location := filepath.Join(dir, fmt.Sprint(seed))
		if seed%3 == 0 {
			location = filepath.Join(location, "all.txt")
		}
		return numbered(hasty{}, location, text.Lines(), files.WriteOptions{RollRecords: 3}, seed%3 == 0, nil, strconv.Itoa, number)
	})
}

func TestASingleFileDoesNotRoll(t *testing.T) {
	name := filepath.Join(t.TempDir(), "all.txt")
	w := openWriter(t, files.WriteFile(name, text.Lines(), files.WriteOptions{RollRecords: 1, RollBytes: 1}), 0, 1)
	write(t, w, "a", "b")
	write(t, w, "c")
	finish(t, w)
	if got := content(t, name); got != "a\nb\nc\n" {
		t.Errorf("it holds %q", got)
	}
}

// checkpointed opens a writer of a job that takes checkpoints.
func checkpointed[T any](t testing.TB, s millrace.Sink[T], attempt int64) millrace.Writer[T] {
	t.Helper()
	w, err := s.OpenWriter(ctx, millrace.Subtask{Job: "j", Operator: "o", Of: 1, Checkpointed: true, Run: "r", Attempt: attempt, Unique: fmt.Sprintf("u%d", attempt)})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func prepare[T any](t testing.TB, w millrace.Writer[T]) []byte {
	t.Helper()
	token, err := w.(millrace.Transaction).Prepare(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestAPendingFileThatIsNotWhatItWasIsNeverCommitted(t *testing.T) {
	for _, tt := range []struct {
		name string
		harm func(hidden string) error
		want string
	}{
		{"gone", os.Remove, "its 8 bytes are lost: there is neither the file nor "},
		{"cut short", func(n string) error { return os.Truncate(n, 5) }, "is damaged: it has 5 bytes and had 8"},
		{"flipped", func(n string) error { return os.WriteFile(n, []byte("one\ntwx\n"), 0o666) }, "is damaged: its 8 bytes have the checksum"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			sink := files.Write(dir, text.Lines())
			w := checkpointed(t, sink, 1)
			write(t, w, "one", "two")
			token := prepare(t, w)
			if v := visible(t, dir); len(v) > 0 {
				t.Errorf("visible: %v", v)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			left := all(t, dir)
			if len(left) != 1 {
				t.Fatalf("left: %v", left)
			}
			if err := tt.harm(filepath.Join(dir, left[0])); err != nil {
				t.Fatal(err)
			}
			err := checkpointed(t, sink, 2).(millrace.Transaction).Commit(ctx, token)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), filepath.Join(dir, "part-0-u1-0.txt")) {
				t.Errorf("%v", err)
			}
			if v := visible(t, dir); len(v) > 0 {
				t.Errorf("visible: %v", v)
			}
		})
	}
}

func TestAFullDiskDuringPrepareEndsTheAttemptAndTheNextOneDelivers(t *testing.T) {
	dir := t.TempDir()
	room := 12
	sink := files.Write(dir, csv.Of[item](), files.WriteOptions{FS: fullDisk{room: &room}, Suffix: ".csv.gz"})
	w := checkpointed(t, sink, 1)
	write(t, w, makeItem(1)) // stays in the encoder's buffer
	_, err := w.(millrace.Transaction).Prepare(ctx)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), ".0.1.part-0-u1-0.csv.gz.inprogress") {
		t.Errorf("prepare: %v", err)
	}
	room = 1000
	if _, again := w.(millrace.Transaction).Prepare(ctx); again == nil {
		t.Error("a file with a hole was prepared")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if v := all(t, dir); len(v) > 0 {
		t.Errorf("left: %v", v)
	}
	w = checkpointed(t, sink, 2)
	write(t, w, makeItem(1))
	if err := w.(millrace.Transaction).Commit(ctx, prepare(t, w)); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, files.Read(dir, csv.Of[item]()), 1); len(got) != 1 {
		t.Errorf("read %v", got)
	}
}

func TestACommitThatFailsIsDoneWhenItIsTriedAgain(t *testing.T) {
	d := newDisk()
	f := &faulty{FileSystem: d}
	sink := files.Write("/out", text.Lines(), files.WriteOptions{FS: f, RollRecords: 1}).BucketBy(func(s string) string { return s })
	w := checkpointed(t, sink, 1)
	write(t, w, "a", "b", "c")
	token := prepare(t, w)
	for n := 0; ; n++ {
		f.arm(n, 1)
		err := w.(millrace.Transaction).Commit(ctx, token)
		if !f.broken() {
			break
		}
		if !errors.Is(err, errFault) || !strings.Contains(err.Error(), "/out") {
			t.Fatalf("operation %d fails: %v", n, err)
		}
	}
	if got, err := readVisible(d, "/out", text.Lines()); err != nil || len(got) != 3 {
		t.Errorf("read %v, %v", got, err)
	}
}

func TestAReadOnlyFolderDelaysACommit(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root writes where it likes")
	}
	dir := t.TempDir()
	w := checkpointed(t, files.Write(dir, text.Lines()), 1)
	write(t, w, "a")
	token := prepare(t, w)
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	err := w.(millrace.Transaction).Commit(ctx, token)
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "part-0-u1-0.txt") {
		t.Errorf("%v", err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := w.(millrace.Transaction).Commit(ctx, token); err != nil {
		t.Fatal(err)
	}
	if v := visible(t, dir); len(v) != 1 {
		t.Errorf("visible: %v", v)
	}
}

func TestCleanTouchesOnlyWhatEarlierAttemptsOfItsShareLeft(t *testing.T) {
	dir := t.TempDir()
	sink := files.Write(dir, text.Lines())
	open := func(run string, attempt int64, index, of int) millrace.Writer[string] {
		w, err := sink.OpenWriter(ctx, millrace.Subtask{Job: "j", Operator: "o", Index: index, Of: of, Checkpointed: true, Run: run, Attempt: attempt, Unique: fmt.Sprintf("%s%d", run, attempt)})
		if err != nil {
			t.Fatal(err)
		}
		write(t, w, "x")
		return w
	}
	for i := range 3 {
		open("r", 1, i, 3)
	}
	open("other", 1, 0, 1)
	open("r", 3, 0, 2) // a later attempt
	clean := func(w millrace.Writer[string]) {
		if err := w.(millrace.Cleaner).Clean(ctx); err != nil {
			t.Fatal(err)
		}
	}
	left := func() string {
		var out []string
		for _, n := range all(t, dir) {
			n, _ = strings.CutSuffix(filepath.Base(n), "-0.txt.inprogress")
			out = append(out, n)
		}
		return strings.Join(out, " ")
	}
	before := strings.Fields(left())
	clean(open("r", 2, 0, 2))
	got := left()
	for _, n := range before {
		gone := n == ".0.1.part-0-r1" || n == ".2.1.part-2-r1"
		if strings.Contains(got, n) == gone {
			t.Errorf("after the first subtask has cleaned up: %s", got)
		}
	}
	clean(open("r", 2, 1, 2))
	if got := left(); strings.Contains(got, "-r1") || !strings.Contains(got, "-other1") || !strings.Contains(got, "-r3") {
		t.Errorf("after both have: %s", got)
	}
}

func TestTokensFromElsewhereAreErrors(t *testing.T) {
	w := checkpointed(t, files.Write(t.TempDir(), text.Lines()), 1)
	for _, token := range []string{"", "x", `{"Version":2}`, `[{"From":"a","To":"b"}]`} {
		if err := w.(millrace.Transaction).Commit(ctx, []byte(token)); err == nil {
			t.Errorf("%q was taken", token)
		}
	}
}
