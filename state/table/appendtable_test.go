package table_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/state/keygroup"
	"github.com/millrace/millrace/state/table"
)

// Whatever is inserted, one by one or by batches, frozen and reset in between,
// an AppendTable is a map whose entries come in the order of insertion, and
// what was frozen does not change.
func TestAppendTableIsAMapInOrderOfInsertion(t *testing.T) {
	appendTableHistory(t, func(i int64) int64 { return i })
	appendTableHistory(t, func(i int64) string { return fmt.Sprint("key ", i) })
}

type appended[K any] struct {
	key   K
	value int64
}

func appendTableHistory[K comparable](t *testing.T, key func(int64) K) {
	t.Helper()
	hasher, err := keygroup.NewHasher[K](128, keygroup.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		tab := table.NewAppend[K, int64]()
		var model []appended[K]
		places := map[K]int{}
		var frozen []table.Entry[K, int64]
		var frozenModel []appended[K]
		add := func(k K, n int64) {
			i, ok := places[k]
			if !ok {
				i = len(model)
				places[k] = i
				model = append(model, appended[K]{k, 0})
			}
			model[i].value += n
		}
		same := func(what string, got []table.Entry[K, int64], want []appended[K]) {
			t.Helper()
			if len(got) != len(want) {
				t.Fatalf("seed %d: %s: %d entries, want %d", seed, what, len(got), len(want))
			}
			for i, w := range want {
				if g := got[i]; g.Key != w.key || g.Value != w.value || g.Word() != hasher.One(&w.key) {
					t.Fatalf("seed %d: %s: entry %d is %v, want %v", seed, what, i, g, w)
				}
			}
		}
		keys := 1 + rng.Int64N(2000)
		for range 40 {
			switch rng.IntN(10) {
			case 0:
				frozen = tab.Freeze()
				frozenModel = slices.Clone(model)
				clear(places)
			case 1:
				tab.Reset()
				model = nil
				clear(places)
			case 2, 3:
				k := key(rng.Int64N(keys))
				_, known := places[k]
				v, created := tab.Upsert(hasher.One(&k), k)
				if created == known {
					t.Fatalf("seed %d: created %v, known %v", seed, created, known)
				}
				*v += 3
				add(k, 3)
			default:
				batch := make([]K, rng.IntN(300))
				for i := range batch {
					batch[i] = key(rng.Int64N(keys))
				}
				for i, v := range tab.UpsertBatch(hasher.Batch(batch, nil), batch, nil) {
					*v += int64(i)
					add(batch[i], int64(i))
				}
			}
			same("table", tab.Entries(), model)
			same("frozen", frozen, frozenModel)
			if tab.Len() != len(model) {
				t.Fatalf("seed %d: Len is %d, want %d", seed, tab.Len(), len(model))
			}
		}
	}
}

func TestAppendTableThatIsFilledAgainDoesNotAllocate(t *testing.T) {
	hasher, _ := keygroup.NewHasher[int64](128, keygroup.Options{})
	keys := make([]int64, 256)
	for i := range keys {
		keys[i] = int64(i * i % 199)
	}
	words, values := hasher.Batch(keys, nil), make([]*int64, 0, len(keys))
	tab := table.NewAppend[int64, int64]()
	if n := testing.AllocsPerRun(10, func() {
		tab.Reset()
		for range 4 {
			values = tab.UpsertBatch(words, keys, values[:0])
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
