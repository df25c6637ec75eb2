package table

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"github.com/millrace/millrace/state/keygroup"
)

// Ways of making words: good ones, and ones that collide in part or wholly.
var words = map[string]func(h *keygroup.Hasher[int64], k int64) uint64{
	"hashed":           func(h *keygroup.Hasher[int64], k int64) uint64 { return h.One(&k) },
	"all equal":        func(h *keygroup.Hasher[int64], k int64) uint64 { return keygroup.Word(3, 12345) },
	"few":              func(h *keygroup.Hasher[int64], k int64) uint64 { return keygroup.Word(3, h.One(&k)&7<<40) },
	"upper bits equal": func(h *keygroup.Hasher[int64], k int64) uint64 { return keygroup.Word(3, h.One(&k)&0xfff) },
	"lower bits equal": func(h *keygroup.Hasher[int64], k int64) uint64 { return keygroup.Word(3, h.One(&k)<<32) },
}

type held[V any] struct {
	snap *Snapshot[int64, V]
	want map[int64]V
}

func compare[V comparable](t *testing.T, what string, s *Snapshot[int64, V], want map[int64]V, word func(int64) uint64) {
	t.Helper()
	seen := map[int64]bool{}
	for g := range s.Groups().All() {
		n := 0
		for e := range s.GroupEntries(g) {
			n++
			if v, ok := want[e.Key]; !ok || v != e.Value || seen[e.Key] || e.Word() != word(e.Key) || keygroup.Of(e.Word()) != g {
				t.Fatalf("%s: group %d: key %d = %v (word %x), want %v (word %x), present %t, seen %t", what, g, e.Key, e.Value, e.Word(), v, word(e.Key), ok, seen[e.Key])
			}
			seen[e.Key] = true
		}
		if n != s.GroupLen(g) {
			t.Fatalf("%s: group %d: %d entries, GroupLen %d", what, g, n, s.GroupLen(g))
		}
	}
	if len(seen) != len(want) || s.Len() != len(want) {
		t.Fatalf("%s: %d entries, Len %d, want %d", what, len(seen), s.Len(), len(want))
	}
	for k, v := range want {
		if p := s.Get(word(k), k); p == nil || *p != v {
			t.Fatalf("%s: Get(%d) = %v, want %v", what, k, p, v)
		}
	}
}

// Whatever is inserted, changed, deleted and snapshotted in whatever order, a
// table and all its snapshots hold what Go maps hold.
func TestTableAndItsSnapshotsHoldWhatMapsHold(t *testing.T) {
	for name, word := range words {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(6) {
				rng := rand.New(rand.NewPCG(seed, 1))
				h, _ := keygroup.NewHasher[int64](10, keygroup.Options{})
				w := func(k int64) uint64 { return word(h, k) }
				tab := New[int64, [2]int64](keygroup.Range{Start: 0, End: 9}, Options{PageBytes: 64 << rng.IntN(6)})
				want := map[int64][2]int64{}
				var open []held[[2]int64]
				keys := int64(20 << rng.IntN(8))
				if name != "hashed" {
					keys = min(keys, 300)
				}
				grow := true
				for op := range 6000 {
					k := rng.Int64N(keys)
					if rng.IntN(1500) == 0 {
						grow = !grow
					}
					switch r := rng.IntN(100); {
					case r < 2 && rng.IntN(4) == 0:
						open = append(open, held[[2]int64]{tab.Snapshot(), maps.Clone(want)})
					case r < 3 && len(open) > 0:
						i := rng.IntN(len(open))
						compare(t, fmt.Sprintf("seed %d op %d snapshot %d", seed, op, i), open[i].snap, open[i].want, w)
						open[i].snap.Release()
						open = append(open[:i], open[i+1:]...)
					case r == 4 && rng.IntN(20) == 0:
						if rng.IntN(2) == 0 {
							tab.Clear()
						} else {
							tab.Recycle()
						}
						clear(want)
					case r < 75 == grow:
						v, created := tab.Upsert(w(k), k)
						if old, ok := want[k]; ok == created || *v != old {
							t.Fatalf("seed %d op %d: Upsert(%d) = %v, %t; want %v, %t", seed, op, k, *v, created, old, !ok)
						}
						*v = [2]int64{rng.Int64(), int64(op)}
						want[k] = *v
					default:
						_, ok := want[k]
						if got := tab.Delete(w(k), k); got != ok {
							t.Fatalf("seed %d op %d: Delete(%d) = %t", seed, op, k, got)
						}
						delete(want, k)
					}
					if v := tab.Get(w(k), k); (v != nil) != has(want, k) || tab.Len() != len(want) {
						t.Fatalf("seed %d op %d: Get(%d) = %v, Len %d; want %v, %d", seed, op, k, v, tab.Len(), want[k], len(want))
					}
				}
				for i := range open {
					compare(t, fmt.Sprintf("seed %d end snapshot %d", seed, i), open[i].snap, open[i].want, w)
				}
				compare(t, fmt.Sprintf("seed %d end", seed), tab.Snapshot(), want, w)
				n := 0
				for k, v := range tab.All() {
					if n++; want[k] != *v {
						t.Fatalf("seed %d: All: %d = %v", seed, k, *v)
					}
				}
				if n != len(want) {
					t.Fatalf("seed %d: All yields %d of %d", seed, n, len(want))
				}
			}
		})
	}
}

func has[K comparable, V any](m map[K]V, k K) bool { _, ok := m[k]; return ok }

// The memory of a table follows its content down, and probes stay short.
func TestDeletionLeavesNothingBehind(t *testing.T) {
	h, _ := keygroup.NewHasher[int64](4, keygroup.Options{})
	tab := New[int64, int64](keygroup.Whole(4), Options{})
	put := func(k int64) { tab.Upsert(h.One(&k), k) }
	del := func(k int64) {
		if !tab.Delete(h.One(&k), k) {
			t.Fatalf("key %d is not there", k)
		}
	}
	slots := func() (n int) {
		for _, g := range tab.s.groups {
			for p := uint64(0); p < uint64(len(g.dir)); p += g.places(p) {
				n += g.dir[p].slots()
			}
		}
		return n
	}
	const n = 50000
	for k := range int64(n) {
		put(k)
	}
	full := slots()
	if full > 3*n {
		t.Errorf("%d slots for %d entries", full, n)
	}
	// A window of keys that moves on: the table must not grow.
	for k := range int64(4 * n) {
		del(k)
		put(k + n)
	}
	if s := slots(); s > 3*n {
		t.Errorf("%d slots for %d entries after churn, %d before", s, n, full)
	}
	for k := int64(4 * n); k < 5*n-100; k++ {
		del(k)
	}
	if s := slots(); s > 8*100 {
		t.Errorf("%d slots for the 100 entries that are left", s)
	}
	for k := int64(5*n - 100); k < 5*n; k++ {
		del(k)
	}
	if s := slots(); s > 4 || tab.Len() != 0 {
		t.Errorf("%d slots and %d entries in an empty table", s, tab.Len())
	}
}

func TestStringKeysAreNotBorrowed(t *testing.T) {
	type key struct {
		A int32
		S [2]string
	}
	h, _ := keygroup.NewHasher[key](8, keygroup.Options{})
	tab := New[key, int](keygroup.Whole(8), Options{PageBytes: 512})
	buf := make([]byte, 32)
	borrowed := func(i int) key {
		s := unsafe.String(&buf[0], copy(buf, fmt.Sprintf("key-%06d-%010d", i, i*7)))
		return key{int32(i), [2]string{s[:10], s[11:]}}
	}
	for i := range 5000 {
		k := borrowed(i)
		v, created := tab.Upsert(h.One(&k), k)
		if !created {
			t.Fatalf("key %d was there", i)
		}
		*v = i
	}
	clear(buf)
	for i := range 5000 {
		k := borrowed(i)
		if v := tab.Get(h.One(&k), k); v == nil || *v != i {
			t.Fatalf("key %d: %v", i, v)
		}
	}
}

// Bytes of deleted keys never exceed those of live ones by much, snapshots
// keep theirs, and keys survive the rewriting.
func TestArenaGarbageIsReclaimed(t *testing.T) {
	h, _ := keygroup.NewHasher[string](2, keygroup.Options{})
	tab := New[string, int](keygroup.Whole(2), Options{PageBytes: 512})
	rng := rand.New(rand.NewPCG(5, 0))
	want := map[string]int{}
	var snap *Snapshot[string, int]
	var snapWant map[string]int
	for op := range 60000 {
		k := strings.Repeat("x", rng.IntN(20)) + fmt.Sprint(rng.IntN(2000))
		if op%40 == 0 {
			k = strings.Repeat("long", 2000) + k
		}
		if rng.IntN(2) == 0 {
			v, _ := tab.Upsert(h.One(&k), k)
			*v, want[k] = op, op
		} else {
			tab.Delete(h.One(&k), k)
			delete(want, k)
		}
		if op == 30000 {
			snap, snapWant = tab.Snapshot(), maps.Clone(want)
		}
	}
	check := func(what string, s *Snapshot[string, int], want map[string]int) {
		n := 0
		for k, v := range s.All() {
			if n++; want[k] != *v {
				t.Fatalf("%s: %q = %d, want %d", what, k, *v, want[k])
			}
		}
		if n != len(want) {
			t.Fatalf("%s: %d entries, want %d", what, n, len(want))
		}
		for k := range want {
			if s.Get(h.One(&k), k) == nil {
				t.Fatalf("%s: %q not found", what, k)
			}
		}
	}
	check("snapshot", snap, snapWant)
	check("table", tab.Snapshot(), want)
	for i, a := range tab.s.arenas {
		live := 0
		for k := range tab.Group(i) {
			live += len(k)
		}
		if a.live != live || a.total > 2*a.live+16<<10 {
			t.Errorf("group %d: %d live bytes counted, %d there, %d in all", i, a.live, live, a.total)
		}
	}
}

func TestUpdatesOfPresentKeysDoNotAllocate(t *testing.T) {
	h, _ := keygroup.NewHasher[string](128, keygroup.Options{})
	tab := New[string, int64](keygroup.Whole(128), Options{})
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprint("key-", i)
		tab.Upsert(h.One(&keys[i]), keys[i])
	}
	words := h.Batch(keys, nil)
	if n := testing.AllocsPerRun(10, func() {
		tab.Touch(words)
		for i, k := range keys {
			v, _ := tab.Upsert(words[i], k)
			*v++
			_ = tab.Get(words[i], k)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	// Nor does taking one key out and another in, once there is room.
	if n := testing.AllocsPerRun(10, func() {
		for i := range 100 {
			tab.Delete(words[i], keys[i])
			tab.Upsert(words[i], keys[i])
		}
	}); n > 60 {
		t.Errorf("%v allocations for 100 deletions and insertions", n)
	}
}

func TestTheEmptyKeyHasATable(t *testing.T) {
	tab := New[struct{}, struct{}](keygroup.Whole(1), Options{})
	if _, created := tab.Upsert(7, struct{}{}); !created {
		t.Error("was there")
	}
	if _, created := tab.Upsert(7, struct{}{}); created || tab.Len() != 1 {
		t.Error("was not there")
	}
}

// A snapshot is read by other goroutines while the table changes; the race
// detector watches.
func TestSnapshotsAreReadWhileTheTableIsWritten(t *testing.T) {
	h, _ := keygroup.NewHasher[int64](16, keygroup.Options{})
	tab := New[int64, [2]int64](keygroup.Whole(16), Options{PageBytes: 512})
	rng := rand.New(rand.NewPCG(9, 0))
	change := func(n int, gen int64) {
		for range n {
			k := rng.Int64N(4000)
			if rng.IntN(3) == 0 {
				tab.Delete(h.One(&k), k)
			} else {
				v, _ := tab.Upsert(h.One(&k), k)
				*v = [2]int64{gen, gen * k}
			}
		}
	}
	done := make(chan error, 100)
	pending := 0
	for gen := range int64(40) {
		change(2000, gen)
		s := tab.Snapshot()
		n := tab.Len()
		pending++
		go func() {
			err := func() error {
				defer s.Release() // before done: the end of the test counts on it
				seen := 0
				for k, v := range s.All() {
					seen++
					if v[0] > gen || v[1] != v[0]*k {
						return fmt.Errorf("snapshot %d: key %d = %v", gen, k, *v)
					}
				}
				if seen != n {
					return fmt.Errorf("snapshot %d: %d entries, want %d", gen, seen, n)
				}
				return nil
			}()
			done <- err
		}()
		change(500, gen+1)
		if gen%4 == 0 {
			for ; pending > 0; pending-- {
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for ; pending > 0; pending-- {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	tab.s.v.refresh()
	if tab.s.v.shared != 0 {
		t.Error("pages count as shared after all snapshots were released")
	}
}

func TestIterationOrderDependsOnHistoryAlone(t *testing.T) {
	run := func() (order []int64) {
		rng := rand.New(rand.NewPCG(4, 4))
		h, _ := keygroup.NewHasher[int64](16, keygroup.Options{})
		tab := New[int64, int64](keygroup.Whole(16), Options{PageBytes: 256})
		for range 5000 {
			k := rng.Int64N(2000)
			if rng.IntN(3) == 0 {
				tab.Delete(h.One(&k), k)
			} else {
				tab.Upsert(h.One(&k), k)
			}
		}
		for k := range tab.All() {
			order = append(order, k)
		}
		return order
	}
	if a, b := run(), run(); fmt.Sprint(a) != fmt.Sprint(b) {
		t.Error("two runs of one history differ")
	}
}

// UpsertBatch is Upsert of each key, whatever the batch makes the table do.
func TestUpsertBatchIsUpsertOfEach(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 7))
		h, _ := keygroup.NewHasher[int64](5, keygroup.Options{})
		tab := New[int64, [2]int64](keygroup.Whole(5), Options{PageBytes: 128 << rng.IntN(6)})
		want := map[int64][2]int64{}
		var open []held[[2]int64]
		var values []*[2]int64
		word := func(k int64) uint64 { return h.One(&k) }
		for step := range int64(60) {
			keys := make([]int64, rng.IntN(300))
			for i := range keys {
				keys[i] = rng.Int64N(100 << rng.IntN(6))
			}
			fresh := len(want)
			var created int
			values, created = tab.UpsertBatch(h.Batch(keys, nil), keys, values[:0])
			for i, k := range keys {
				if *values[i] != want[k] {
					t.Fatalf("seed %d step %d: key %d = %v, want %v", seed, step, k, *values[i], want[k])
				}
				*values[i] = [2]int64{step + 1, int64(i)}
				want[k] = *values[i]
			}
			if created != len(want)-fresh || tab.Len() != len(want) {
				t.Fatalf("seed %d step %d: %d created, %d in all; want %d, %d", seed, step, created, tab.Len(), len(want)-fresh, len(want))
			}
			if rng.IntN(5) == 0 {
				open = append(open, held[[2]int64]{tab.Snapshot(), maps.Clone(want)})
			}
			if rng.IntN(3) == 0 && len(open) > 0 {
				compare(t, fmt.Sprintf("seed %d step %d", seed, step), open[0].snap, open[0].want, word)
				open[0].snap.Release()
				open = open[1:]
			}
		}
		compare(t, fmt.Sprintf("seed %d end", seed), tab.Snapshot(), want, word)
	}
}
