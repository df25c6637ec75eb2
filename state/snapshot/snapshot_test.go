package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/state/blob"
	"github.com/millrace/millrace/state/keygroup"
)

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	for seed := range uint64(36 / min(scale, 3)) {
		j := newJob(seed)
		j.size = []int{1, 200, 5_000, 300}[seed%4]
		if seed == 3 || seed == 6 {
			j.size, j.max = 300_000, 3
			clear(j.counts)
		}
		j.inline = []int{-1, 0, 500}[seed%3]
		j.fileBytes = []int64{0, 1, 3000}[seed/2%3]
		j.coldBytes = []int64{0, 1, 250}[seed/3%3]
		j.workers = 1 + int(seed%3)
		j.versioned, j.concurrent = seed%2 == 0, seed%5 == 0
		j.random = seed%3 == 1
		for g := range j.max {
			j.touch(g)
		}
		if seed%7 == 0 { // larger than a block
			j.sst["big.sst"] = j.bytes(600_000)
		}
		store := &blob.Memory{}
		f := NewFolder(store, "jobs/1")
		var base *Manifest
		for id := uint64(1); id <= 4; id++ {
			m, err := j.checkpoint(t.Context(), f, id, 1, base)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			s := mustOpen(t, store, f.CheckpointDir(id))
			sameContent(t, fmt.Sprintf("seed %d: checkpoint %d", seed, id), mustLoad(t, s), j.content())
			if err := s.Verify(t.Context()); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if id%3 != 0 {
				base = m
			}
			if _, err := f.Clean(t.Context(), CleanOptions{Keep: []uint64{id, base.Checkpoint}, Attempt: 1, Pending: id + 1}); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			j.step()
		}
	}
}

func TestAWorkerWritesOneFile(t *testing.T) {
	j := newJob(1)
	j.size = 50_000
	for g := range j.max {
		j.touch(g)
	}
	store := &blob.Memory{}
	f := NewFolder(store, "")
	m, err := j.checkpoint(t.Context(), f, 1, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(objects(t, store, "data/")); n != j.workers || len(m.Files) != n {
		t.Errorf("%d files of %d workers", n, j.workers)
	}
	if s := m.Sizes(); s.NewFiles != 2 || s.New != s.Stored || s.State < 400_000 || s.Stored > s.State/2 {
		t.Errorf("%+v", s)
	}
}

func TestSmallStateIsInTheManifest(t *testing.T) {
	j := newJob(1)
	j.inline = 0
	store := &blob.Memory{}
	f := NewFolder(store, "")
	var base *Manifest
	for id := uint64(1); id < 4; id++ {
		m, err := j.checkpoint(t.Context(), f, id, 1, base)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(objects(t, store, "data/")); n != 0 || m.Sizes().Inline != m.Sizes().State {
			t.Errorf("%d files", n)
		}
		sameContent(t, "checkpoint", mustLoad(t, mustOpen(t, store, f.CheckpointDir(id))), j.content())
		j.step()
		base = m
	}
}

func TestUnchangedPiecesAreReferredTo(t *testing.T) {
	for _, versioned := range []bool{false, true} {
		j := newJob(3)
		j.versioned = versioned
		store := &blob.Memory{}
		f := NewFolder(store, "j")
		m1, err := j.checkpoint(t.Context(), f, 1, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		j.encoded = 0
		j.touch(4)
		m2, err := j.checkpoint(t.Context(), f, 2, 1, m1)
		if err != nil {
			t.Fatal(err)
		}
		changed := 0
		o1, o2 := m1.Operator("count"), m2.Operator("count")
		for i, e := range o2.State(Keyed, "sum").Entries {
			if e.Chunk.File != o1.State(Keyed, "sum").Entries[i].File {
				changed++
				if e.Group != 4 {
					t.Errorf("key group %d was written again", e.Group)
				}
			}
		}
		if changed != 1 {
			t.Errorf("%d key groups written", changed)
		}
		for i := range o2.Cold {
			if o2.Cold[i].File != o1.Cold[i].File {
				t.Errorf("cold file %s was uploaded again", o2.Cold[i].Name)
			}
		}
		if want := len(j.counts) - 1; versioned && j.dropped != want || !versioned && j.dropped != 0 {
			t.Errorf("%d pieces not even encoded, want %d", j.dropped, want)
		}
		sameContent(t, "checkpoint 2", mustLoad(t, mustOpen(t, store, f.CheckpointDir(2))), j.content())
	}
}

func TestAVersionOfAnotherIncarnationSaysNothing(t *testing.T) {
	j := newJob(3)
	j.versioned = true
	store := &blob.Memory{}
	f := NewFolder(store, "j")
	m, err := j.checkpoint(t.Context(), f, 1, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	// A restart: the counters begin anew and reach the same numbers with other
	// content.
	j.incarnation++
	for g := range j.counts {
		j.counts[g] = j.bytes(20)
	}
	if _, err := j.checkpoint(t.Context(), f, 2, 1, m); err != nil {
		t.Fatal(err)
	}
	sameContent(t, "checkpoint 2", mustLoad(t, mustOpen(t, store, f.CheckpointDir(2))), j.content())
}

func TestAChangedSchemaIsWrittenAgain(t *testing.T) {
	store := &blob.Memory{}
	f := NewFolder(store, "")
	var base *Manifest
	for id, schema := range []string{1: "old", 2: "new"} {
		if id == 0 {
			continue
		}
		w, err := f.Writer(WriterOptions{Checkpoint: uint64(id), Attempt: 1, Worker: "w", Base: base, InlineBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		p, err := w.Write(t.Context(), Part{UID: "a", Parallelism: 1, MaxParallelism: 1, Incarnation: 1, Pieces: []Piece{{
			State: "s", Schema: []byte(schema), Version: 1, Encode: func(dst []byte) ([]byte, error) { return append(dst, "the same bytes"...), nil },
		}}})
		if err := errors.Join(err, w.Close(t.Context())); err != nil {
			t.Fatal(err)
		}
		if base, err = Assemble(newJob(1).info(uint64(id), 1), []*Partial{p}); err != nil {
			t.Fatal(err)
		}
		s := base.Operators[0].State(Keyed, "s")
		if string(s.Schemas[s.Entries[0].Schema]) != schema || base.Sizes().NewFiles != 1 {
			t.Errorf("%+v", s)
		}
	}
}

// With little of a file still needed, the rest moves, so that files do not pile
// up for a key group each.
func TestFilesOfWhichLittleIsNeededAreGivenUp(t *testing.T) {
	j := newJob(9)
	j.size = 3000
	store := &blob.Memory{}
	f := NewFolder(store, "")
	var base *Manifest
	for id := uint64(1); id <= 60; id++ {
		m, err := j.checkpoint(t.Context(), f, id, 1, base)
		if err != nil {
			t.Fatal(err)
		}
		base = m
		if _, err := f.Clean(t.Context(), CleanOptions{Keep: []uint64{id}, Attempt: 1, Pending: id + 1}); err != nil {
			t.Fatal(err)
		}
		j.step()
		for name := range j.sst { // compacted away
			delete(j.sst, name)
			break
		}
	}
	if s := base.Sizes(); s.Stored > 3*s.State || s.Files > 40 {
		t.Errorf("%+v", s)
	}
}

func TestEveryPieceIsEncodedOrDroppedOnce(t *testing.T) {
	bad := errors.New("no")
	for fail := range 8 {
		w, err := NewFolder(&blob.Memory{}, "").Writer(WriterOptions{Checkpoint: 1, Attempt: 1, Worker: "w"})
		if err != nil {
			t.Fatal(err)
		}
		j := newJob(1)
		p := j.part(0)
		used := 0
		for i := range p.Pieces {
			encode, drop := p.Pieces[i].Encode, p.Pieces[i].Drop
			p.Pieces[i].Encode = func(dst []byte) ([]byte, error) {
				used++
				if i == fail {
					return nil, bad
				}
				return encode(dst)
			}
			p.Pieces[i].Drop = func() { used++; drop() }
		}
		if _, err := w.Write(t.Context(), p); !errors.Is(err, bad) || !strings.Contains(err.Error(), `checkpoint 1: operator "count": subtask 0: state "`) {
			t.Error(err)
		}
		if used != len(p.Pieces) {
			t.Errorf("%d of %d", used, len(p.Pieces))
		}
		if err := w.Close(t.Context()); !errors.Is(err, bad) {
			t.Errorf("close: %v", err)
		}
		used = 0
		p = j.part(1)
		for i := range p.Pieces {
			p.Pieces[i].Drop = func() { used++ }
		}
		if _, err := w.Write(t.Context(), p); !errors.Is(err, bad) || used != len(p.Pieces) {
			t.Errorf("write after a failure: %v, %d dropped", err, used)
		}
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	store := &blob.Memory{}
	f := NewFolder(store, "x")
	w, err := f.Writer(WriterOptions{Checkpoint: 1, Attempt: 1, Worker: "w", InlineBytes: -1, FileBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(t.Context(), newJob(1).part(0)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(t.Context(), newJob(1).part(1)); err != nil {
		t.Fatal(err)
	}
	if len(objects(t, store, "")) == 0 {
		t.Error("nothing to delete")
	}
	if err := w.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := objects(t, store, ""); len(n) > 0 {
		t.Error(n)
	}
	if err := w.Close(t.Context()); err == nil {
		t.Error("closed after an abort")
	}
}

func TestAssembleFindsWhatIsMissingOrDouble(t *testing.T) {
	part := func(uid string, i int, groups ...int) *Partial {
		p := &Partial{Operator: Operator{UID: uid, Name: "n", Parallelism: 2, MaxParallelism: 4}}
		p.Operator.Subtasks = []Subtask{{Index: i}}
		s := State{Name: "s", Kind: Keyed, Schemas: [][]byte{nil}}
		for _, g := range groups {
			s.Entries = append(s.Entries, Entry{Group: g, Subtask: i, Chunk: Chunk{Hash: hashOf(nil)}})
		}
		p.Operator.States = []State{s}
		return p
	}
	other := part("a", 1)
	other.Operator.Parallelism = 3
	foreign := part("a", 1, 3)
	foreign.Operator.States[0].Entries[0].Chunk = Chunk{Bytes: 9, File: "../data/c1-a1-w-1", Offset: 16, Stored: 33}
	for _, tt := range []struct {
		name  string
		parts []*Partial
		want  string
	}{
		{"whole", []*Partial{part("a", 1, 2, 3), part("a", 0, 0, 1)}, ""},
		{"missing", []*Partial{part("a", 1)}, `operator "a": no part of subtask 0`},
		{"last missing", []*Partial{part("a", 0)}, `operator "a": no part of subtask 1`},
		{"twice", []*Partial{part("a", 1), part("a", 0), part("a", 1)}, `operator "a": two parts of subtask 1`},
		{"one twice, one missing", []*Partial{part("a", 0), part("a", 0)}, `operator "a": two parts of subtask 0`},
		{"a subtask too many", []*Partial{part("a", 0), part("a", 1), part("a", 2)}, `operator "a": 3 subtasks at parallelism 2`},
		{"a group twice", []*Partial{part("a", 1, 2), part("a", 0, 1, 2)}, `state "s": key group 2 is in subtasks 0 and 1`},
		{"a group that is not", []*Partial{part("a", 1, 4), part("a", 0)}, `state "s": key group 4 of 4`},
		{"other parallelism", []*Partial{part("a", 0), other}, `"n" with parallelism 2 of 4, and "n" with 3 of 4`},
		{"a file that is not listed", []*Partial{part("a", 0), foreign}, `key group 3: file "../data/c1-a1-w-1" is not in the list`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Assemble(newJob(1).info(7, 1), tt.parts)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "checkpoint 7: assemble: ")) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestAssembleDoesNotDependOnTheOrder(t *testing.T) {
	j := newJob(5)
	store := &blob.Memory{}
	var parts []*Partial
	w, err := NewFolder(store, "").Writer(WriterOptions{Checkpoint: 1, Attempt: 1, Worker: "w", InlineBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range j.parallelism {
		p, err := w.Write(t.Context(), j.part(i))
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var want []byte
	for range 6 {
		m, err := Assemble(j.info(1, 1), parts)
		if err != nil {
			t.Fatal(err)
		}
		data, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = data
		}
		if !bytes.Equal(data, want) {
			t.Error("another order, another manifest")
		}
		j.rng.Shuffle(len(parts), func(a, b int) { parts[a], parts[b] = parts[b], parts[a] })
	}
}

func TestASavepointMayBeMoved(t *testing.T) {
	root := t.TempDir()
	store := blob.NewFile(filepath.Join(root, "a"))
	j := newJob(2)
	info := j.info(9, 1)
	info.Kind = Savepoint
	m, err := j.write(t.Context(), info, func(o WriterOptions) (*Writer, error) { return SavepointWriter(store, "sp-1", o) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := PublishSavepoint(t.Context(), store, "sp-1", m); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(root, "b", "other name")
	if err := errors.Join(os.MkdirAll(filepath.Dir(moved), 0o777), os.Rename(filepath.Join(root, "a", "sp-1"), moved)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(root, "b"))
	for _, location := range []string{moved, moved + "/", moved + "/_metadata", "other name", "./other name/_metadata", "file://" + root + "/b/other%20name"} {
		store, dir, err := Locate("--from", location)
		if err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, store, dir)
		sameContent(t, location, mustLoad(t, s), j.content())
		if err := s.Verify(t.Context()); err != nil {
			t.Error(err)
		}
	}
	// The folder itself as the store.
	sameContent(t, "as store", mustLoad(t, mustOpen(t, blob.NewFile(moved), "")), j.content())
	if err := Drop(t.Context(), blob.NewFile(filepath.Dir(moved)), "other name"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(moved); !errors.Is(err, os.ErrNotExist) {
		t.Error("the folder is still there")
	}
}

func TestLocateSaysWhatItWants(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", "--from: not set"},
		{"s3://bucket/chk-1", `--from: "s3://bucket/": no store for s3:// in this program; it has file`},
		{"file://", `--from: "file://": want the folder of a checkpoint or savepoint, or the file _metadata in it`},
		{"/", "--from: "},
		{"..", `--from: "..": want the folder`},
	} {
		if _, _, err := Locate("--from", tt.in); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %s", tt.in, err, tt.want)
		}
	}
}

func TestTheFolderOfAJobMayBeMoved(t *testing.T) {
	store := &blob.Memory{}
	j := newJob(2)
	if _, err := j.checkpoint(t.Context(), NewFolder(store, "a/b"), 3, 1, nil); err != nil {
		t.Fatal(err)
	}
	to := &blob.Memory{}
	for _, name := range objects(t, store, "") {
		replace(t, to, strings.TrimPrefix(name, "a/b/"), content(t, store, name))
	}
	s, _, err := NewFolder(to, "").Newest(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	sameContent(t, "moved", mustLoad(t, s), j.content())
}

func TestKeyGroupsOfARangeAreFound(t *testing.T) {
	j := newJob(2)
	j.counts[5] = []byte("it has state by now")
	delete(j.counts, 6)
	m, err := j.checkpoint(t.Context(), NewFolder(&blob.Memory{}, ""), 1, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for s, e := range m.Operator("count").Keyed(keygroup.Range{Start: 4, End: 7}) {
		got = append(got, fmt.Sprint(s.Name, e.Group))
	}
	if want := "[sum4 sum5 sum7 timers4 timers5 timers7]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	for s, e := range m.Operator("count").Keyed(keygroup.Range{Start: 4, End: 3}) {
		t.Errorf("%s %d", s.Name, e.Group)
	}
	n := 0
	for range m.Operator("count").Keyed(keygroup.Whole(16)) {
		if n++; n == 3 {
			break
		}
	}
}

func TestAnErrorOfTheCallerEndsLoad(t *testing.T) {
	store := &blob.Memory{}
	f := NewFolder(store, "")
	if _, err := newJob(2).checkpoint(t.Context(), f, 1, 1, nil); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, store, f.CheckpointDir(1))
	o := s.Manifest.Operator("count")
	bad, calls := errors.New("enough"), 0
	err := s.Load(t.Context(), o, []*Chunk{&o.Cold[0].Chunk, &o.Commits[0].Chunk}, func(int, []byte) error { calls++; return bad })
	if err != bad || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
	data, err := s.Read(t.Context(), o, &o.Cold[0].Chunk)
	if err != nil || hashOf(data) != o.Cold[0].Hash {
		t.Errorf("read: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Read(ctx, o, &o.Cold[0].Chunk); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := s.Copy(t.Context(), o, &o.Cold[0].Chunk, failingWriter{}); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
}

type failingWriter struct{}

func (failingWriter) Write(p []byte) (int, error) { return 0, io.ErrShortWrite }

func TestManifestSurvivesItsEncoding(t *testing.T) {
	j := newJob(4)
	m, err := j.checkpoint(t.Context(), NewFolder(&blob.Memory{}, ""), 12, 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Decode("m", data)
	if err != nil {
		t.Fatal(err)
	}
	a, err := m.JSON()
	if err != nil {
		t.Fatal(err)
	}
	b, err := again.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("%s\n\n%s", a, b)
	}
	o := again.Operator("count")
	if o.Splits[1].Position != nil || !maps.Equal(again.Properties, m.Properties) || !slices.Equal(o.Subtasks[0].EndedInputs, []int{1}) ||
		!again.Operator("sink").Subtasks[2].Finished || again.Operator("none") != nil {
		t.Errorf("%+v", again)
	}
}

func TestDiffTellsWhatHasChanged(t *testing.T) {
	j := newJob(4)
	store := &blob.Memory{}
	f := NewFolder(store, "")
	a, err := j.checkpoint(t.Context(), f, 1, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := Compare(a, a); len(d.Operators) != 0 || d.Same != 2*15+3+3+1 {
		t.Errorf("with itself: %+v", d)
	}
	j.counts[2] = []byte("four")
	j.touch(5) // new
	delete(j.counts, 7)
	b, err := j.checkpoint(t.Context(), f, 2, 1, a)
	if err != nil {
		t.Fatal(err)
	}
	b.Operators[1].UID, b.Operators[1].Name = "to", "Renamed"
	b.Operators[0].States = slices.DeleteFunc(b.Operators[0].States, func(s State) bool { return s.Name == "rules" })
	d := Compare(a, b)
	var got strings.Builder
	for _, o := range d.Operators {
		fmt.Fprintf(&got, "%s %s %s %d->%d\n", o.Change, o.UID, o.Name, o.Old, o.New)
		for _, s := range o.States {
			fmt.Fprintf(&got, "  %s %s %s %t %d\n", s.Change, s.Kind, s.Name, s.Schema, s.NewBytes-s.OldBytes)
			for _, g := range s.Groups {
				fmt.Fprintf(&got, "    %s %d %d->%d\n", g.Change, g.Group, g.OldBytes, g.NewBytes)
			}
		}
	}
	size := func(m *Manifest, state string, g int) int64 {
		for _, e := range m.Operator("count").State(Keyed, state).Entries {
			if e.Group == g {
				return e.Bytes
			}
		}
		return 0
	}
	want := "changed count Count per user 3->3\n"
	for _, st := range []string{"sum", "timers"} {
		o2, n2, n5, o7 := size(a, st, 2), size(b, st, 2), size(b, st, 5), size(a, st, 7)
		want += fmt.Sprintf("  changed keyed %s false %d\n    changed 2 %d->%d\n    added 5 0->%d\n    removed 7 %d->0\n", st, n2-o2+n5-o7, o2, n2, n5, o7)
	}
	want += "  removed broadcast rules false -40\n    removed 0 40->0\nremoved sink Sink 3->0\nadded to Renamed 0->3\n"
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}
