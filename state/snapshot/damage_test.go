package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/millrace/millrace/state/blob"
)

// small is a store with two checkpoints of a small job, of which the second
// refers to files of the first.
func small(t *testing.T) (*blob.Memory, *Folder, *job) {
	t.Helper()
	store := &blob.Memory{}
	f := NewFolder(store, "job")
	j := newJob(6)
	j.size, j.coldBytes = 30, 1
	m, err := j.checkpoint(t.Context(), f, 1, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	j.touch(3)
	if _, err := j.checkpoint(t.Context(), f, 2, 1, m); err != nil {
		t.Fatal(err)
	}
	return store, f, j
}

// found checks that checkpoint 2 is found damaged, that the error names the
// file, and that a restart falls back to the first if that is whole.
func found(t *testing.T, what string, store *blob.Memory, file string) {
	t.Helper()
	f := NewFolder(store, "job")
	s, err := Open(t.Context(), store, "job/chk-2")
	if err == nil {
		err = s.Verify(t.Context())
	}
	var d *DamageError
	if !errors.Is(err, ErrDamaged) || !errors.As(err, &d) || d.File != file || !strings.HasPrefix(err.Error(), file) {
		t.Fatalf("%s: error %v, want one about %s", what, err, file)
	}
	if s != nil && d.Of == "" {
		t.Fatalf("%s: error %v does not say whose it is", what, err)
	}
	n, skipped, err := f.Newest(t.Context(), true)
	if err != nil {
		t.Fatalf("%s: newest: %v", what, err)
	}
	if len(skipped) == 0 || skipped[0].Checkpoint != 2 || !errors.Is(skipped[0].Why, ErrDamaged) {
		t.Fatalf("%s: skipped %v", what, skipped)
	}
	if n != nil && n.Manifest.Checkpoint != 1 || n == nil && len(skipped) != 2 {
		t.Fatalf("%s: went back to %v, skipped %v", what, n, skipped)
	}
}

// filesOfTwo are the files that checkpoint 2 needs.
func filesOfTwo(t *testing.T, store *blob.Memory) []string {
	t.Helper()
	names := []string{"job/chk-2/_metadata"}
	s := mustOpen(t, store, "job/chk-2")
	old := false
	for _, f := range s.Manifest.Files {
		names = append(names, s.path(f.Name))
		old = old || f.Checkpoint == 1
	}
	if !old || len(names) < 5 {
		t.Fatalf("not the case that is meant: %q", names)
	}
	return names
}

func TestEveryFlippedByteIsFoundAndNamed(t *testing.T) {
	store, _, _ := small(t)
	for _, name := range filesOfTwo(t, store) {
		data := content(t, store, name)
		for i := 0; i < len(data); i += scale {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << (i % 8)
			broken := store.Clone()
			replace(t, broken, name, bad)
			found(t, fmt.Sprintf("%s: byte %d of %d flipped", name, i, len(data)), broken, name)
		}
	}
}

// The manifest is small enough to flip all of its bits.
func TestEveryFlippedBitOfAManifestIsFound(t *testing.T) {
	store, _, _ := small(t)
	data := content(t, store, "job/chk-2/_metadata")
	for i := range data {
		for b := range 8 {
			data[i] ^= 1 << b
			if _, err := Decode("m", data); !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d, bit %d: %v", i, b, err)
			}
			data[i] ^= 1 << b
		}
	}
}

func TestFilesThatAreMissingCutShortOrTooLongAreFoundAndNamed(t *testing.T) {
	store, _, _ := small(t)
	for _, name := range filesOfTwo(t, store) {
		data := content(t, store, name)
		if name != "job/chk-2/_metadata" {
			broken := store.Clone()
			if err := broken.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			found(t, name+": deleted", broken, name)
		}
		for n := 0; n < len(data); n += scale + n/40 {
			broken := store.Clone()
			replace(t, broken, name, data[:n])
			found(t, fmt.Sprintf("%s: cut to %d of %d bytes", name, n, len(data)), broken, name)
		}
		broken := store.Clone()
		replace(t, broken, name, append(bytes.Clone(data), 0))
		found(t, name+": with a byte more", broken, name)
	}
}

func TestAFileInTheWrongPlaceIsFound(t *testing.T) {
	store, _, _ := small(t)
	names := filesOfTwo(t, store)
	for _, a := range names[1:] {
		for _, b := range names[1:] {
			if a != b {
				broken := store.Clone()
				replace(t, broken, a, content(t, store, b))
				found(t, fmt.Sprintf("%s in place of %s", b, a), broken, a)
			}
		}
	}
	broken := store.Clone()
	replace(t, broken, "job/chk-2/_metadata", content(t, store, "job/chk-1/_metadata"))
	_, skipped, err := NewFolder(broken, "job").Newest(t.Context(), false)
	if err != nil || len(skipped) != 1 || !strings.Contains(skipped[0].Why.Error(), "job/chk-2/_metadata: is the manifest of checkpoint 1") {
		t.Errorf("%v, %v", skipped, err)
	}
}

// A job with the same files, of the same sizes, whole in themselves.
func TestAFileOfAnotherJobIsFound(t *testing.T) {
	store, _, _ := small(t)
	other := &blob.Memory{}
	j := newJob(7)
	j.size, j.coldBytes = 30, 1
	m, err := j.checkpoint(t.Context(), NewFolder(other, "job"), 1, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		name := "job/" + strings.TrimPrefix(f.Name, "../")
		if _, err := store.Stat(t.Context(), name); err != nil {
			continue
		}
		broken := store.Clone()
		replace(t, broken, name, content(t, other, name))
		found(t, name, broken, name)
	}
}

// What is not verified as a whole is still checked when it is read.
func TestLoadFindsFlippedBytes(t *testing.T) {
	store, _, _ := small(t)
	s := mustOpen(t, store, "job/chk-2")
	o := s.Manifest.Operator("count")
	for who, c := range o.chunks() {
		if c.File == "" {
			continue
		}
		name := s.path(c.File)
		data := content(t, store, name)
		for i := c.Offset; i < c.Offset+c.Stored; i += 1 + c.Stored/60 {
			bad := bytes.Clone(data)
			bad[i] ^= 0x10
			broken := store.Clone()
			replace(t, broken, name, bad)
			s := mustOpen(t, broken, "job/chk-2")
			for j, err := range []error{
				func() error { _, err := s.Read(t.Context(), o, c); return err }(),
				s.Copy(t.Context(), o, c, &bytes.Buffer{}),
			} {
				var d *DamageError
				if !errors.As(err, &d) || d.File != name || d.Offset < 0 || d.Of != who().String() {
					t.Fatalf("%d: %s: byte %d of %s: %v", j, who(), i, name, err)
				}
			}
		}
		for _, n := range []int64{0, c.Offset, c.Offset + 5, c.Offset + blockHeadBytes, c.Offset + c.Stored - 1} {
			broken := store.Clone()
			replace(t, broken, name, data[:n])
			s := mustOpen(t, broken, "job/chk-2")
			_, err := s.Read(t.Context(), o, c)
			cerr := s.Copy(t.Context(), o, c, &bytes.Buffer{})
			if !errors.Is(err, ErrDamaged) || !errors.Is(cerr, ErrDamaged) || !strings.Contains(err.Error(), "ends") {
				t.Fatalf("%s: %s cut to %d: %v, %v", who(), name, n, err, cerr)
			}
		}
		broken := store.Clone()
		if err := broken.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		gone := mustOpen(t, broken, "job/chk-2")
		if _, err := gone.Read(t.Context(), o, c); !errors.Is(err, ErrDamaged) || !errors.Is(err, blob.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func TestDamageIsToldWithItsPlaceAndOwner(t *testing.T) {
	store, _, _ := small(t)
	s := mustOpen(t, store, "job/chk-2")
	e := s.Manifest.Operator("count").State(Keyed, "sum").Entries[0]
	name := s.path(e.File)
	data := content(t, store, name)
	data[e.Offset+blockHeadBytes]++
	replace(t, store, name, data)
	_, err := s.Read(t.Context(), s.Manifest.Operator("count"), &s.Manifest.Operator("count").State(Keyed, "sum").Entries[0].Chunk)
	want := fmt.Sprintf(`%s at offset %d (operator "count", state "sum", key group 0): checksum of a block of `, name, e.Offset)
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v\nwant %s…", err, want)
	}
}

func TestANewerManifestIsToldFromADamagedOne(t *testing.T) {
	store, f, _ := small(t)
	data := content(t, store, "job/chk-2/_metadata")
	binary.LittleEndian.PutUint32(data[8:], 7)
	data = append(data[:manifestHeadBytes], "a message that only version 7 knows"...)
	data = binary.LittleEndian.AppendUint64(data, xxhash.Sum64(data))
	replace(t, store, "job/chk-2/_metadata", data)
	_, err := Open(t.Context(), store, "job/chk-2")
	if !errors.Is(err, ErrVersion) || errors.Is(err, ErrDamaged) || err.Error() != "job/chk-2/_metadata: format version too new: it has version 7, this engine reads up to 1" {
		t.Error(err)
	}
	// Whoever wrote it has committed what it holds: going back further would
	// repeat that.
	if s, skipped, err := f.Newest(t.Context(), false); !errors.Is(err, ErrVersion) || s != nil || len(skipped) > 0 {
		t.Errorf("%v, %v, %v", s, skipped, err)
	}
	if _, err := f.Clean(t.Context(), CleanOptions{Keep: []uint64{1, 2}, Attempt: 1, Pending: 3}); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
}

func TestAStoreThatDoesNotAnswerIsNotDamage(t *testing.T) {
	store, f, _ := small(t)
	for _, name := range filesOfTwo(t, store) {
		store.Hook = func(op blob.Op) blob.Fault {
			if op.Kind == blob.OpGet && op.Name == name {
				return blob.Fault{Err: blob.ErrTransient}
			}
			return blob.Fault{}
		}
		if s, skipped, err := f.Newest(t.Context(), true); !errors.Is(err, blob.ErrTransient) || errors.Is(err, ErrDamaged) || s != nil || len(skipped) > 0 {
			t.Errorf("%s: %v, %v, %v", name, s, skipped, err)
		}
	}
}

func TestNewestFallsBackOverSeveralAndSaysWhy(t *testing.T) {
	store := &blob.Memory{}
	f := NewFolder(store, "job")
	j := newJob(6)
	for id := uint64(1); id <= 4; id++ {
		if _, err := j.checkpoint(t.Context(), f, id, 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	replace(t, store, "job/chk-4/_metadata", nil)
	if err := store.Delete(t.Context(), "job/data/c3-a1-w1-1"); err != nil {
		t.Fatal(err)
	}
	for _, whole := range []bool{false, true} {
		s, skipped, err := f.Newest(t.Context(), whole)
		if err != nil || s == nil || s.Manifest.Checkpoint != 2 || len(skipped) != 2 || skipped[0].Checkpoint != 4 || skipped[1].Checkpoint != 3 ||
			!strings.Contains(skipped[0].Why.Error(), "job/chk-4/_metadata: 0 bytes") || !strings.Contains(skipped[1].Why.Error(), "job/data/c3-a1-w1-1") {
			t.Errorf("%v, %v, %v", s, skipped, err)
		}
	}
	if ids, last, err := f.Checkpoints(t.Context()); err != nil || fmt.Sprint(ids) != "[4 3 2 1]" || last != 4 {
		t.Errorf("%v, %d, %v", ids, last, err)
	}
	if s, skipped, err := NewFolder(store, "nothing").Newest(t.Context(), true); s != nil || skipped != nil || err != nil {
		t.Errorf("%v, %v, %v", s, skipped, err)
	}
}

func TestACheckpointWithAFileMissingIsNotPublished(t *testing.T) {
	store := &blob.Memory{}
	f := NewFolder(store, "job")
	j := newJob(6)
	m, err := j.write(t.Context(), j.info(1, 1), f.Writer, nil)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, store, "job/data/c1-a1-w0-1", []byte("short"))
	if err := f.Publish(t.Context(), m); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "publish checkpoint 1: job/data/c1-a1-w0-1") {
		t.Error(err)
	}
	if n := objects(t, store, "job/chk-"); len(n) > 0 {
		t.Error(n)
	}
}

func TestAFullDiskFailsTheCheckpointAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	disk := blob.NewFile(dir)
	f := NewFolder(disk, "job")
	j := newJob(6)
	m1, err := j.checkpoint(t.Context(), f, 1, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := j.content()
	j.step()
	for room := int64(0); room < 3000; room += 200 {
		full := NewFolder(&smallDisk{Store: disk, room: room}, "job")
		m, err := j.checkpoint(t.Context(), full, 2, 1, m1)
		if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrDamaged) || errors.Is(err, blob.ErrTransient) {
			t.Fatalf("with room for %d: %v, %v", room, m, err)
		}
		s, skipped, err := f.Newest(t.Context(), true)
		if err != nil || len(skipped) > 0 || s.Manifest.Checkpoint != 1 {
			t.Fatalf("with room for %d: %v, %v", room, skipped, err)
		}
		sameContent(t, "checkpoint 1", mustLoad(t, s), before)
		if _, err := f.Clean(t.Context(), CleanOptions{Keep: []uint64{1}, Attempt: 1, Pending: 3}); err != nil {
			t.Fatal(err)
		}
		if err := exact(t.Context(), disk, f, []uint64{1}, 1); err == nil {
			t.Fatal("an attempt that was never claimed")
		}
	}
	if _, err := j.checkpoint(t.Context(), f, 2, 1, m1); err != nil {
		t.Error(err)
	}
}

// A smallDisk is full after a number of bytes.
type smallDisk struct {
	blob.Store
	room int64
}

func (s *smallDisk) PutNew(ctx context.Context, name string, r io.Reader) error {
	return s.Store.PutNew(ctx, name, &roomReader{r, s})
}

type roomReader struct {
	r io.Reader
	s *smallDisk
}

func (r *roomReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if r.s.room -= int64(n); r.s.room < 0 {
		return 0, syscall.ENOSPC
	}
	return n, err
}

func TestAVanishedFolderIsAnErrorAndNoEmptyJob(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "checkpoints")
	f := NewFolder(blob.NewFile(dir), "job")
	j := newJob(6)
	m, err := j.checkpoint(t.Context(), f, 1, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	_, perr := j.checkpoint(t.Context(), f, 2, 1, m)
	_, _, nerr := f.Newest(t.Context(), true)
	_, cerr := f.Claim(t.Context())
	for i, err := range []error{perr, nerr, cerr} {
		if err == nil || !strings.Contains(err.Error(), "was there and is gone") {
			t.Errorf("%d: %v", i, err)
		}
	}
}
