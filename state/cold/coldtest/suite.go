package coldtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/millrace/millrace/state/cold"
	"github.com/millrace/millrace/state/keygroup"
)

// Make makes a backend under test.
type Make func(cold.Config) (cold.Backend, error)

// Run tests everything that package cold promises of a backend.
func Run(t *testing.T, mk Make) {
	for _, c := range []struct {
		name string
		test func(*testing.T, cold.Backend)
	}{
		{"WhatIsWrittenIsFound", writtenIsFound},
		{"ABatchTakesEffectInOrder", batchInOrder},
		{"MergesAppendAcrossFlushesAndRuns", mergesAppend},
		{"ValuesOfAnySizeComeBack", anySize},
		{"ALargeBatchDoesNotKeepTheCallersBuffer", largeBatch},
		{"AScanSeesTheStoreAsItWas", scanIsFixed},
		{"ARunMustAscend", runAscends},
		{"ARunOfSeveralFilesIsOneChange", longRun},
		{"ADiscardedRunLeavesNothing", discarded},
		{"ExpiredEntriesVanish", expiry},
		{"AnExpiredValueDoesNotRevealAnOlderOne", noResurrection},
		{"RandomHistoriesMatchTheModel", histories},
		{"RescalingKeepsEveryEntry", rescale},
		{"AFileWithAnIdentityNeverChanges", identities},
		{"ImagesThatOverlapAreRefused", overlap},
		{"ATornImageIsNamed", torn},
		{"AFlippedBitIsNamed", flipped},
		{"ReadersRunBesideTheWriter", concurrent},
		{"AFolderInUseIsRefused", folderInUse},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := make1(t, mk, cold.Config{MemoryBytes: 16 << 20})
			c.test(t, b)
		})
	}
	t.Run("TheBudgetHolds", func(t *testing.T) { budget(t, mk) })
}

// make1 makes a backend that is closed with the test, after its stores.
func make1(t testing.TB, mk Make, c cold.Config) cold.Backend {
	t.Helper()
	b, err := mk(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// groups are those of stores under test, unless they say otherwise.
var groups = keygroup.Whole(16)

// kinds are the TTLs of stores under test: the third byte of a key tells.
var kinds = []cold.TTL{{Prefix: []byte{1}}, {Prefix: []byte{3}, Lists: true}}

func options() cold.Options { return cold.Options{TTL: kinds} }

// A subject is a store that closes itself and answers simple questions.
type subject struct {
	testing.TB
	cold.Store
}

func opened(t testing.TB, s cold.Store, err error) *subject {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	u := &subject{t, s}
	t.Cleanup(func() { u.close() })
	return u
}

// close closes the store once.
func (u *subject) close() {
	if u.Store == nil {
		return
	}
	if err := u.Store.Close(); err != nil {
		u.Error(err)
	}
	u.Store = nil
}

func create(t testing.TB, b cold.Backend) *subject {
	t.Helper()
	s, err := b.Create(filepath.Join(t.TempDir(), "db"), groups, options())
	return opened(t, s, err)
}

func (u *subject) write(fill func(b *cold.Batch)) {
	u.Helper()
	var b cold.Batch
	fill(&b)
	if err := u.Write(&b); err != nil {
		u.Fatal(err)
	}
}

func (u *subject) ingest(fill func(b *cold.Batch)) {
	u.Helper()
	var b cold.Batch
	fill(&b)
	r, err := u.NewRun()
	if err != nil {
		u.Fatal(err)
	}
	if err := errors.Join(r.Add(&b), r.Ingest()); err != nil {
		u.Fatal(err)
	}
}

// get is the value of key, or "-" where there is none.
func (u *subject) get(key []byte) string {
	u.Helper()
	var k cold.Keys
	var v cold.Values
	k.Add(key)
	if err := u.MultiGet(&k, &v); err != nil {
		u.Fatal(err)
	}
	value, ok := v.Value(0)
	if !ok {
		return "-"
	}
	return string(value)
}

func (u *subject) want(key []byte, want string) {
	u.Helper()
	if got := u.get(key); got != want {
		u.Fatalf("key %x: got %.60q, want %.60q", key, got, want)
	}
}

// all is everything in a range, by scanning.
func (u *subject) all(lower, upper []byte) map[string]string {
	u.Helper()
	m, err := drain(u.Store, lower, upper)
	if err != nil {
		u.Fatal(err)
	}
	return m
}

func drain(s cold.Store, lower, upper []byte) (_ map[string]string, err error) {
	scan, err := s.Scan(lower, upper)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, scan.Close()) }()
	got := map[string]string{}
	var b cold.Batch
	var last []byte
	for {
		more, err := scan.Next(&b)
		if err != nil || !more {
			return got, err
		}
		for op, e := range b.All() {
			if op != cold.Put || last != nil && bytes.Compare(e.Key, last) <= 0 {
				return nil, fmt.Errorf("scan: %v of %x after %x", op, e.Key, last)
			}
			last = append(last[:0], e.Key...)
			got[string(e.Key)] = string(e.Value)
		}
	}
}

func (u *subject) checkpoint(dir string) cold.Image {
	u.Helper()
	im, err := u.Checkpoint(dir)
	if err != nil {
		u.Fatal(err)
	}
	if err := im.Check(); err != nil {
		u.Fatal(err)
	}
	return im
}

// key is a key of a group and kind.
func key(group, kind, id int) []byte {
	return binary.BigEndian.AppendUint32(append(cold.GroupKey(group), byte(kind)), uint32(id))
}

// timed is a value that expires, and an element of a list that does.
func timed(time int64, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(time)), s...)
}

func elem(time int64, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(8+len(s))), timed(time, s)...)
}

func writtenIsFound(t *testing.T, b cold.Backend) {
	u := create(t, b)
	var w cold.Batch
	var k cold.Keys
	for i := range 3000 {
		w.Put(key(i%16, 0, i), fmt.Appendf(nil, "value %d", i))
		k.Add(key(i%16, 0, i))
		k.Add(key(i%16, 0, i+100000))
	}
	if err := u.Write(&w); err != nil {
		t.Fatal(err)
	}
	k.Add(key(3, 0, 3)) // once more
	var v cold.Values
	for range 2 { // into buffers of the right size, too
		if err := u.MultiGet(&k, &v); err != nil {
			t.Fatal(err)
		}
		for i := range 3000 {
			if got, ok := v.Value(2 * i); !ok || string(got) != fmt.Sprintf("value %d", i) {
				t.Fatalf("value %d: got %q, %v", i, got, ok)
			}
			if got, ok := v.Value(2*i + 1); ok || len(got) != 0 {
				t.Fatalf("key never written: got %q, %v", got, ok)
			}
		}
		if got, ok := v.Value(6000); !ok || string(got) != "value 3" {
			t.Fatalf("key asked for twice: got %q, %v", got, ok)
		}
	}
	if err := u.MultiGet(new(cold.Keys), &v); err != nil || v.Len() != 0 {
		t.Fatalf("no keys: %d values, %v", v.Len(), err)
	}
	if got := len(u.all(nil, nil)); got != 3000 {
		t.Fatalf("a scan finds %d entries, want 3000", got)
	}
	lower, upper := cold.Bounds(keygroup.Range{Start: 4, End: 5})
	for k := range u.all(lower, upper) {
		if g := binary.BigEndian.Uint16([]byte(k)); g != 4 && g != 5 {
			t.Fatalf("a scan of groups 4 and 5 finds one of %d", g)
		}
	}
}

func batchInOrder(t *testing.T, b cold.Backend) {
	u := create(t, b)
	k := func(i int) []byte { return key(i, 0, i) }
	u.write(func(b *cold.Batch) {})
	u.write(func(b *cold.Batch) {
		for i := range 10 {
			b.Put(k(i), []byte("old"))
		}
		b.Delete(k(0))
		b.Put(k(1), nil)
		b.DeleteRange(k(2), k(5))
		b.Put(k(3), []byte("new"))
		b.Merge(k(4), []byte("m"))
		b.Merge(k(5), []byte("er"))
	})
	for i, want := range []string{"-", "", "-", "new", "m", "older", "old"} {
		u.want(k(i), want)
	}
	// A range that ends within a key group, and one over several.
	u.write(func(b *cold.Batch) { b.DeleteRange(cold.GroupKey(5), key(8, 0, 8)) })
	u.want(k(5), "-")
	u.want(k(7), "-")
	u.want(k(8), "old")
}

func mergesAppend(t *testing.T, b cold.Backend) {
	u := create(t, b)
	dir := t.TempDir()
	k := key(7, 2, 1)
	want := ""
	for i := range 12 {
		s := fmt.Sprintf("[%d]", i)
		want += s
		if i%3 == 2 {
			u.ingest(func(b *cold.Batch) { b.Merge(k, []byte(s)) })
		} else {
			u.write(func(b *cold.Batch) { b.Merge(k, []byte(s)) })
		}
		if i%4 == 1 {
			u.checkpoint(filepath.Join(dir, fmt.Sprint(i)))
		}
		u.want(k, want)
	}
	if err := u.Compact(nil, nil); err != nil {
		t.Fatal(err)
	}
	u.want(k, want)
	if got := u.all(nil, nil)[string(k)]; got != want {
		t.Fatalf("a scan finds %q, want %q", got, want)
	}
	u.write(func(b *cold.Batch) { b.Delete(k); b.Merge(k, []byte("x")) })
	u.want(k, "x")
}

func anySize(t *testing.T, b cold.Backend) {
	u := create(t, b)
	rng := rand.New(rand.NewPCG(1, 1))
	sizes := []int{0, 1, 100, 4096, 65 << 10, 1 << 20, 3, 7 << 20}
	values := make([]string, len(sizes))
	var k cold.Keys
	for i, n := range sizes {
		v := make([]byte, n)
		for j := 0; j+8 <= n; j += 8 {
			binary.LittleEndian.PutUint64(v[j:], rng.Uint64())
		}
		values[i] = string(v)
		u.write(func(b *cold.Batch) { b.Put(key(i, 0, i), v) })
		k.Add(key(i, 0, i))
	}
	var v cold.Values
	if err := u.MultiGet(&k, &v); err != nil {
		t.Fatal(err)
	}
	got := u.all(nil, nil)
	for i := range sizes {
		if b, ok := v.Value(i); !ok || string(b) != values[i] {
			t.Errorf("value of %d bytes: got %d bytes, %v", sizes[i], len(b), ok)
		}
		if got[string(key(i, 0, i))] != values[i] {
			t.Errorf("scanned value of %d bytes differs", sizes[i])
		}
	}
	// The shortest key, and a long one.
	long := append(cold.GroupKey(9), bytes.Repeat([]byte{'k'}, 100<<10)...)
	u.write(func(b *cold.Batch) {
		b.Put(cold.GroupKey(9), []byte("short"))
		b.Put(long, []byte("long"))
	})
	u.want(cold.GroupKey(9), "short")
	u.want(long, "long")
}

func largeBatch(t *testing.T, b cold.Backend) {
	u := create(t, b)
	var w cold.Batch
	rounds := fewer(4)
	for round := range rounds {
		w.Reset()
		for i := range 20000 {
			w.Put(key(i%16, 0, round*20000+i), fmt.Appendf(nil, "%060d", round*20000+i))
		}
		if err := u.Write(&w); err != nil {
			t.Fatal(err)
		}
	}
	w.Reset()
	for range 200000 {
		w.Delete([]byte("overwritten")) // not written: it only fills the buffer
	}
	got := u.all(nil, nil)
	if len(got) != 20000*rounds {
		t.Fatalf("%d entries, want %d", len(got), 20000*rounds)
	}
	for i := range 20000 * rounds {
		if v := got[string(key(i%20000%16, 0, i))]; v != fmt.Sprintf("%060d", i) {
			t.Fatalf("entry %d: %q", i, v)
		}
	}
}

func scanIsFixed(t *testing.T, b cold.Backend) {
	u := create(t, b)
	put := func(round int) {
		u.write(func(b *cold.Batch) {
			for i := range 5000 {
				b.Put(key(i%16, 0, i), fmt.Appendf(nil, "%030d", round))
			}
		})
	}
	put(1)
	scan, err := u.Scan(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	put(2)
	u.ingest(func(b *cold.Batch) { b.Put(key(3, 0, 70000), []byte("later")) })
	if err := u.Compact(nil, nil); err != nil {
		t.Fatal(err)
	}
	n := 0
	var w cold.Batch
	for {
		more, err := scan.Next(&w)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
		for _, e := range w.All() {
			n++
			if string(e.Value) != fmt.Sprintf("%030d", 1) {
				t.Fatalf("an older scan sees %q", e.Value)
			}
		}
	}
	if err := scan.Close(); err != nil || n != 5000 {
		t.Fatalf("%d entries, want 5000 (%v)", n, err)
	}
}

func runAscends(t *testing.T, b cold.Backend) {
	u := create(t, b)
	u.write(func(b *cold.Batch) { b.Put(key(1, 0, 1), []byte("before")) })
	for _, ids := range [][]int{{1, 1}, {2, 1}} {
		for _, apart := range []bool{false, true} {
			r, err := u.NewRun()
			if err != nil {
				t.Fatal(err)
			}
			var w cold.Batch
			w.Put(key(1, 0, ids[0]), []byte("a"))
			if apart {
				if err := r.Add(&w); err != nil {
					t.Fatal(err)
				}
				w.Reset()
			}
			w.Put(key(1, 0, ids[1]), []byte("b"))
			if err := r.Add(&w); err == nil {
				t.Errorf("keys %v: no error", ids)
			}
			r.Discard()
		}
	}
	u.want(key(1, 0, 1), "before")
}

func longRun(t *testing.T, b cold.Backend) {
	u := create(t, b)
	value := make([]byte, 1<<20)
	fill := rand.New(rand.NewPCG(3, 3))
	for i := 0; i < len(value); i += 8 {
		binary.LittleEndian.PutUint64(value[i:], fill.Uint64())
	}
	n := fewer(70) // megabytes: more than one file, but under the race detector
	u.write(func(b *cold.Batch) { b.Put(key(0, 0, 1), []byte("old")) })
	r, err := u.NewRun()
	if err != nil {
		t.Fatal(err)
	}
	var w cold.Batch
	for i := range n {
		w.Reset()
		binary.BigEndian.PutUint32(value, uint32(i))
		w.Put(key(i*16/n, 0, i), value)
		if err := r.Add(&w); err != nil {
			t.Fatal(err)
		}
		if i == n-1 {
			u.want(key(0, 0, 1), "old")
			u.want(key(0, 0, 2), "-")
		}
	}
	if err := r.Ingest(); err != nil {
		t.Fatal(err)
	}
	r.Discard()
	for i := range n {
		v := u.get(key(i*16/n, 0, i))
		if len(v) != 1<<20 || binary.BigEndian.Uint32([]byte(v)) != uint32(i) {
			t.Fatalf("entry %d has %d bytes", i, len(v))
		}
	}
}

func discarded(t *testing.T, b cold.Backend) {
	u := create(t, b)
	r, err := u.NewRun()
	if err != nil {
		t.Fatal(err)
	}
	var w cold.Batch
	w.Put(key(1, 0, 1), []byte("x"))
	if err := r.Add(&w); err != nil {
		t.Fatal(err)
	}
	r.Discard()
	r.Discard()
	u.want(key(1, 0, 1), "-")
	r, err = u.NewRun()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Ingest(); err != nil {
		t.Fatalf("an empty run: %v", err)
	}
}

func folderInUse(t *testing.T, b cold.Backend) {
	dir := filepath.Join(t.TempDir(), "db")
	s, err := b.Create(dir, groups, options())
	u := opened(t, s, err)
	im := u.checkpoint(filepath.Join(t.TempDir(), "c"))
	if b.Name() == "model" {
		t.Skip("the model leaves no files in its folder")
	}
	if _, err := b.Create(dir, groups, options()); err == nil {
		t.Error("Create in a folder in use: no error")
	}
	if _, err := b.Restore(dir, groups, options(), im); err == nil {
		t.Error("Restore into a folder in use: no error")
	}
}

func concurrent(t *testing.T, b cold.Backend) {
	u := create(t, b)
	dir := t.TempDir()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for r := range 2 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(5, uint64(r)))
			var k cold.Keys
			var v cold.Values
			for {
				select {
				case <-stop:
					return
				default:
				}
				// Every batch writes one number under all keys.
				if rng.IntN(4) == 0 {
					if m, err := drain(u.Store, nil, nil); err != nil || !same(m) {
						t.Errorf("a scan sees half a batch, or fails: %v", err)
						return
					}
					u.Stats()
				}
				k.Reset()
				for range 100 {
					id := rng.IntN(200)
					k.Add(key(id%16, 0, id))
				}
				if err := u.MultiGet(&k, &v); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for round := range fewer(150) {
		fill := func(b *cold.Batch) {
			for g := range 16 {
				for id := g; id < 200; id += 16 {
					b.Put(key(g, 0, id), fmt.Appendf(nil, "%d", round))
				}
			}
		}
		switch {
		case round%10 == 9:
			u.ingest(fill)
		case round%25 == 1:
			u.write(fill)
			u.checkpoint(filepath.Join(dir, fmt.Sprint(round)))
		default:
			u.write(fill)
		}
	}
	close(stop)
	wg.Wait()
}

func same(m map[string]string) bool {
	first, begun := "", false
	for _, v := range m {
		if begun && v != first {
			return false
		}
		first, begun = v, true
	}
	return true
}

// budget writes and reads several times the memory there is.
func budget(t *testing.T, mk Make) {
	const memory = cold.MinMemoryBytes
	b := make1(t, mk, cold.Config{MemoryBytes: memory})
	u := create(t, b)
	rng := rand.New(rand.NewPCG(8, 8))
	value := make([]byte, 200)
	var w cold.Batch
	var k cold.Keys
	var v cold.Values
	most := int64(0)
	for range fewer(200) {
		w.Reset()
		k.Reset()
		for range 250 {
			for i := 0; i < len(value); i += 8 {
				binary.LittleEndian.PutUint64(value[i:], rng.Uint64())
			}
			w.Put(key(rng.IntN(16), 0, rng.IntN(1<<20)), value)
			k.Add(key(rng.IntN(16), 0, rng.IntN(1<<20)))
		}
		if err := errors.Join(u.Write(&w), u.MultiGet(&k, &v)); err != nil {
			t.Fatal(err)
		}
		most = max(most, b.MemoryInUse(), u.Stats().MemoryBytes)
	}
	if b.Name() == "model" {
		t.Skip("the model has no budget")
	}
	if most > memory {
		t.Errorf("%d bytes of memory in use, of %d", most, memory)
	}
	st := u.Stats()
	if st.Files == 0 || st.FileBytes == 0 || st.Hits+st.Misses == 0 || st.Flushes == 0 {
		t.Errorf("stats do not tell of what was done: %+v", st)
	}
	t.Logf("at most %d of %d bytes; %+v", most, memory, st)
}

// Allocations tests that a look-up and a write of a thousand keys allocate at
// most so many objects, once their buffers have grown.
func Allocations(t *testing.T, mk Make, most float64) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	u := create(t, make1(t, mk, cold.Config{MemoryBytes: 64 << 20}))
	var w cold.Batch
	var k cold.Keys
	var v cold.Values
	for i := range 1000 {
		w.Put(key(i%16, 0, i), []byte("a value of some bytes"))
		k.Add(key(i%16, 0, 2*i))
	}
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"Write", func() error { return u.Write(&w) }},
		{"MultiGet", func() error { return u.MultiGet(&k, &v) }},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(20, func() { _ = c.do() }); n > most {
			t.Errorf("%s of 1000 keys: %g allocations, of at most %g", c.name, n, most)
		}
	}
}
