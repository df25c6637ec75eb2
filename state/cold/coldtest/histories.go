package coldtest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/state/cold"
	"github.com/millrace/millrace/state/keygroup"
)

// A history does the same to a store and to the model, at random from a seed.
type history struct {
	t      *testing.T
	rng    *rand.Rand
	b      cold.Backend
	real   *subject
	model  *subject
	groups keygroup.Range
	clocks []int64
	dir    string
	n      int // of folders made
}

func newHistory(t *testing.T, b cold.Backend, seed uint64) *history {
	h := &history{t: t, rng: rand.New(rand.NewPCG(seed, 41)), b: b, groups: groups, clocks: make([]int64, len(kinds)), dir: t.TempDir()}
	real, err := b.Create(h.folder(), groups, options())
	h.real = opened(t, real, err)
	model, err := Model{}.Create(h.folder(), groups, options())
	h.model = opened(t, model, err)
	return h
}

// folder is the path of a new folder.
func (h *history) folder() string {
	h.n++
	return filepath.Join(h.dir, fmt.Sprint(h.n))
}

func (h *history) key() []byte {
	g := h.groups.Start + h.rng.IntN(h.groups.Len())
	return key(g, h.rng.IntN(4), h.rng.IntN(30))
}

func (h *history) value(k []byte) []byte {
	s := strings.Repeat(string(rune('a'+h.rng.IntN(26))), h.rng.IntN(40))
	time := int64(0)
	if h.rng.IntN(4) > 0 {
		time = int64(1 + h.rng.IntN(1000))
	}
	switch k[2] {
	case 1:
		if h.rng.IntN(20) == 0 {
			return []byte("short")[:h.rng.IntN(6)]
		}
		return timed(time, s)
	case 3:
		return elem(time, s)
	}
	return []byte(s)
}

// fill makes a batch: any, or sorted for a run.
func (h *history) fill(b *cold.Batch, sorted bool) {
	keys := make([][]byte, h.rng.IntN(60))
	for i := range keys {
		keys[i] = h.key()
	}
	if sorted {
		slices.SortFunc(keys, bytes.Compare)
		keys = slices.CompactFunc(keys, bytes.Equal)
	}
	for _, k := range keys {
		switch n := h.rng.IntN(20); {
		case n < 4:
			b.Delete(k)
		case n == 4 && !sorted:
			from, to := k, h.key()
			if bytes.Compare(from, to) > 0 {
				from, to = to, from
			}
			if h.rng.IntN(3) > 0 { // mostly within a group
				to = append(slices.Clone(from[:3]), 0xff)
			}
			b.DeleteRange(from, to)
		case n < 12 && k[2] >= 2:
			b.Merge(k, h.value(k))
		default:
			b.Put(k, h.value(k))
		}
	}
}

// step does one thing.
func (h *history) step() {
	var b cold.Batch
	switch n := h.rng.IntN(40); {
	case n < 20:
		h.fill(&b, false)
		h.both(func(u *subject) error { return u.Write(&b) })
	case n < 28:
		h.fill(&b, true)
		h.both(func(u *subject) error { u.ingest(func(into *cold.Batch) { *into = b }); return nil })
	case n < 30:
		kind, now := h.rng.IntN(len(kinds)), int64(h.rng.IntN(1000))
		h.clocks[kind] = max(h.clocks[kind], now)
		h.both(func(u *subject) error { u.Expire(kind, now); return nil })
	case n < 32:
		most := h.rng.IntN(500)
		h.both(func(u *subject) error { _, err := u.Sweep(most); return err })
	case n < 33:
		lower, upper := cold.Bounds(h.groups)
		if h.rng.IntN(2) == 0 {
			lower, upper = nil, nil
		}
		h.both(func(u *subject) error { return u.Compact(lower, upper) })
	case n < 34:
		h.both(func(u *subject) error { u.checkpoint(h.folder()); return nil })
	default:
		h.look()
	}
}

func (h *history) both(do func(*subject) error) {
	h.t.Helper()
	if err := errors.Join(do(h.real), do(h.model)); err != nil {
		h.t.Fatal(err)
	}
}

// look compares look-ups of some keys.
func (h *history) look() {
	h.t.Helper()
	var keys cold.Keys
	for range h.rng.IntN(300) {
		keys.Add(h.key())
	}
	var got, want cold.Values
	if err := errors.Join(h.real.MultiGet(&keys, &got), h.model.MultiGet(&keys, &want)); err != nil {
		h.t.Fatal(err)
	}
	for i := range keys.Len() {
		g, gok := got.Value(i)
		w, wok := want.Value(i)
		if gok {
			gok, g = h.live(keys.Key(i), g)
		}
		if wok {
			wok, w = h.live(keys.Key(i), w)
		}
		if gok != wok || !bytes.Equal(g, w) {
			h.t.Fatalf("key %x: got %q, %v, want %q, %v", keys.Key(i), g, gok, w, wok)
		}
	}
}

func (h *history) live(k, v []byte) (bool, []byte) {
	if len(v) == 0 {
		return true, v
	}
	v = alive(kinds, h.clocks, k, v)
	return v != nil, v
}

// compare compares all entries.
func (h *history) compare() {
	h.t.Helper()
	live := func(m map[string]string) map[string]string {
		for k, v := range m {
			ok, b := h.live([]byte(k), []byte(v))
			if delete(m, k); ok && (len(b) > 0 || k[2] != 3) {
				m[k] = string(b)
			}
		}
		return m
	}
	got, want := live(h.real.all(nil, nil)), live(h.model.all(nil, nil))
	for k, w := range want {
		if g, ok := got[k]; !ok || g != w {
			h.t.Fatalf("key %x: got %q (found: %v), want %q", k, g, ok, w)
		}
	}
	for k, g := range got {
		if _, ok := want[k]; !ok {
			h.t.Fatalf("key %x: got %q, want nothing", k, g)
		}
	}
}

func (h *history) close() {
	h.real.close()
	h.model.close()
}

// restore is a history that goes on from images of others.
func (h *history) restore(groups keygroup.Range, of []*history) *history {
	h.t.Helper()
	n := &history{t: h.t, rng: h.rng, b: h.b, groups: groups, clocks: h.clocks, dir: h.t.TempDir()}
	var real, model []cold.Image
	for _, o := range of {
		real = append(real, o.real.checkpoint(o.folder()))
		model = append(model, o.model.checkpoint(o.folder()))
	}
	s, err := h.b.Restore(n.folder(), groups, options(), real...)
	n.real = opened(h.t, s, err)
	s, err = Model{}.Restore(n.folder(), groups, options(), model...)
	n.model = opened(h.t, s, err)
	for k, now := range n.clocks {
		n.real.Expire(k, now)
		n.model.Expire(k, now)
	}
	return n
}

// fewer is n, or a third of it under the race detector, where all takes longer.
func fewer(n int) int {
	if raceDetector {
		return (n + 2) / 3
	}
	return n
}

func histories(t *testing.T, b cold.Backend) {
	for seed := range uint64(fewer(6)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			h := newHistory(t, b, seed)
			for range 4 {
				for range 40 {
					h.step()
				}
				h.compare()
				next := h.restore(h.groups, []*history{h})
				h.close()
				h = next
				h.compare()
			}
			h.close()
		})
	}
}

// rescale goes on from one store to three and so on, and at last from eleven,
// more than a backend may want to keep apart, to one.
func rescale(t *testing.T, b cold.Backend) {
	for seed := range uint64(fewer(3)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			all := []*history{newHistory(t, b, 100+seed)}
			for _, p := range []int{3, 2, 5, 11, 1} {
				for _, h := range all {
					for range 30 {
						h.step()
					}
				}
				var next []*history
				for i := range p {
					next = append(next, all[0].restore(keygroup.RangeOf(i, p, 16), all))
				}
				for _, h := range all {
					h.close()
				}
				all = next
				for _, h := range all {
					h.compare()
				}
			}
			for range 30 {
				all[0].step()
			}
			all[0].compare()
			all[0].close()
		})
	}
}

func expiry(t *testing.T, b cold.Backend) {
	u := create(t, b)
	ids := 300
	u.write(func(b *cold.Batch) {
		for i := range ids {
			b.Put(key(i%16, 0, i), timed(5, "no kind"))
			b.Put(key(i%16, 1, i), timed(int64(i), "value"))
			for e := range 4 {
				b.Merge(key(i%16, 3, i), elem(int64(i+e), fmt.Sprint(e)))
			}
		}
	})
	u.Expire(0, 100)
	u.Expire(0, 50) // does not go back
	u.Expire(1, 200)
	for n := 0; n < 3*ids+100; {
		looked, err := u.Sweep(97)
		if err != nil {
			t.Fatal(err)
		}
		if looked == 0 {
			break
		}
		n += looked
	}
	if err := u.Compact(nil, nil); err != nil {
		t.Fatal(err)
	}
	for i := range ids {
		u.want(key(i%16, 0, i), string(timed(5, "no kind")))
		want := "-"
		if i == 0 || i > 100 {
			want = string(timed(int64(i), "value"))
		}
		u.want(key(i%16, 1, i), want)
		want = ""
		for e := range 4 {
			if i+e == 0 || i+e > 200 {
				want += string(elem(int64(i+e), fmt.Sprint(e)))
			}
		}
		u.want(key(i%16, 3, i), cmp.Or(want, "-"))
	}
}

func noResurrection(t *testing.T, b cold.Backend) {
	u := create(t, b)
	dir := t.TempDir()
	k := key(2, 1, 9)
	u.write(func(b *cold.Batch) { b.Put(k, timed(0, "for ever")) })
	u.checkpoint(filepath.Join(dir, "a"))
	if err := u.Compact(nil, nil); err != nil {
		t.Fatal(err)
	}
	u.write(func(b *cold.Batch) { b.Put(k, timed(10, "short")) })
	u.checkpoint(filepath.Join(dir, "b"))
	u.Expire(0, 10)
	if err := u.Compact(nil, nil); err != nil {
		t.Fatal(err)
	}
	u.want(k, "-")
}

func identities(t *testing.T, b cold.Backend) {
	content := map[string][sha256.Size]byte{} // by identity
	look := func(im cold.Image) (known, fresh int) {
		t.Helper()
		for _, f := range im.Files {
			if f.ID == "" {
				continue
			}
			data, err := os.ReadFile(filepath.Join(im.Dir, f.Name))
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(data)
			if old, ok := content[f.ID]; !ok {
				fresh++
			} else if known++; old != sum {
				t.Fatalf("%s: identity %s had other content before", f.Name, f.ID)
			}
			content[f.ID] = sum
		}
		return known, fresh
	}
	h := newHistory(t, b, 77)
	for round := range 4 {
		for range 20 {
			h.step()
		}
		look(h.real.checkpoint(h.folder()))
		// With nothing left to compact, no file is new in the next
		// checkpoint, nor in that of a store made of it.
		h.both(func(u *subject) error { return u.Compact(nil, nil) })
		look(h.real.checkpoint(h.folder()))
		if known, fresh := look(h.real.checkpoint(h.folder())); known == 0 || fresh > 0 {
			t.Errorf("round %d: %d files are known, %d are new", round, known, fresh)
		}
		next := h.restore(h.groups, []*history{h})
		h.close()
		h = next
		if known, fresh := look(h.real.checkpoint(h.folder())); known == 0 || fresh > 0 {
			t.Errorf("round %d, restored: %d files are known, %d are new", round, known, fresh)
		}
	}
	h.close()
}

func overlap(t *testing.T, b cold.Backend) {
	u := create(t, b)
	dir := t.TempDir()
	im := u.checkpoint(filepath.Join(dir, "a"))
	if _, err := b.Restore(filepath.Join(dir, "b"), groups, options(), im, im); err == nil || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("got %v, want an error about images that overlap", err)
	}
}

// imageToBreak is an image with some files, and what is in it.
func imageToBreak(t *testing.T, b cold.Backend) (cold.Image, map[string]string) {
	h := newHistory(t, b, 5)
	for i := range 3 {
		h.both(func(u *subject) error {
			u.write(func(b *cold.Batch) {
				rng := rand.New(rand.NewPCG(9, uint64(i)))
				for range fewer(4000) {
					b.Put(key(rng.IntN(16), 0, rng.IntN(1<<20)), fmt.Appendf(nil, "%x", rng.Uint64()))
				}
			})
			return nil
		})
		h.real.checkpoint(h.folder())
	}
	im := h.real.checkpoint(h.folder())
	want := h.model.all(nil, nil)
	h.close()
	return im, want
}

func torn(t *testing.T, b cold.Backend) {
	im, _ := imageToBreak(t, b)
	for _, f := range im.Files {
		for _, cut := range []int64{-1, 0, f.Size / 2, f.Size - 1} {
			if cut >= f.Size {
				continue
			}
			broken := copyImage(t, im)
			path := filepath.Join(broken.Dir, f.Name)
			var err error
			if cut < 0 {
				err = os.Remove(path)
			} else {
				err = os.Truncate(path, cut)
			}
			if err != nil {
				t.Fatal(err)
			}
			s, err := b.Restore(filepath.Join(t.TempDir(), "db"), groups, options(), broken)
			if err == nil {
				t.Errorf("%s cut to %d of %d bytes: no error", f.Name, cut, f.Size)
				s.Close()
				continue
			}
			if !errors.Is(err, cold.ErrCorrupt) || !strings.Contains(err.Error(), f.Name) {
				t.Errorf("%s cut to %d of %d bytes: %v", f.Name, cut, f.Size, err)
			}
		}
	}
}

func flipped(t *testing.T, b cold.Backend) {
	im, want := imageToBreak(t, b)
	rng := rand.New(rand.NewPCG(12, 12))
	found := 0
	for _, f := range im.Files {
		for range fewer(8) {
			if f.Size == 0 {
				continue
			}
			broken := copyImage(t, im)
			path := filepath.Join(broken.Dir, f.Name)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			at := rng.IntN(len(data))
			data[at] ^= 1 << rng.IntN(8)
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := readAll(b, filepath.Join(t.TempDir(), "db"), broken)
			if err == nil {
				// Not all bytes matter: then nothing may differ.
				if len(got) != len(want) {
					t.Errorf("%s, byte %d of %d flipped: no error, and %d entries instead of %d", f.Name, at, f.Size, len(got), len(want))
				}
				for k, w := range want {
					if got[k] != w {
						t.Errorf("%s, byte %d of %d flipped: no error, and an entry differs", f.Name, at, f.Size)
						break
					}
				}
				continue
			}
			found++
			if f.ID != "" && !strings.Contains(err.Error(), f.Name) {
				t.Errorf("%s, byte %d of %d flipped: the error does not name it: %v", f.Name, at, f.Size, err)
			}
			if f.ID != "" && !errors.Is(err, cold.ErrCorrupt) {
				t.Errorf("%s, byte %d of %d flipped: not marked as corrupt: %v", f.Name, at, f.Size, err)
			}
		}
	}
	if found == 0 {
		t.Error("no flipped bit was found")
	}
}

func readAll(b cold.Backend, dir string, im cold.Image) (_ map[string]string, err error) {
	s, err := b.Restore(dir, groups, options(), im)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return drain(s, nil, nil)
}

// copyImage copies an image so that it can be broken.
func copyImage(t *testing.T, im cold.Image) cold.Image {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(im.Dir)); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	im.Dir = dir
	return im
}
