package table

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/millrace/millrace/state/keygroup"
)

// A table that is filled, snapshotted and drained at random holds what a map
// does, and its snapshots what it held then.
func TestDrainedTablesHoldWhatAMapDoes(t *testing.T) {
	groups := keygroup.Range{Start: 0, End: 3}
	h, err := keygroup.NewHasher[string](4, keygroup.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 5))
		tab := New[string, int](groups, Options{PageBytes: 256})
		want := map[string]int{}
		var snap *Snapshot[string, int]
		var then map[string]int
		many := 1 + rng.IntN(400)
		for range 60 {
			var keys []string
			for range rng.IntN(200) {
				keys = append(keys, fmt.Sprint("key ", rng.IntN(many)))
			}
			values, _ := tab.UpsertBatch(h.Batch(keys, nil), keys, nil)
			for i, v := range values {
				*v += i + 1
				want[keys[i]] += i + 1
			}
			switch rng.IntN(6) {
			case 0:
				if snap != nil {
					snap.Release()
				}
				snap, then = tab.Snapshot(), maps.Clone(want)
			case 1:
				var words []uint64
				var ks []string
				var vs []int
				for g := range groups.All() {
					words, ks, vs = tab.Drain(g, words, ks, vs)
				}
				got := map[string]int{}
				for i, k := range ks {
					got[k] = vs[i]
					if words[i] != h.One(&k) {
						t.Fatalf("seed %d: key %s came with another's word", seed, k)
					}
				}
				if !maps.Equal(got, want) || len(ks) != len(want) {
					t.Fatalf("seed %d: drained %v, want %v", seed, got, want)
				}
				clear(want)
			}
			if tab.Len() != len(want) {
				t.Fatalf("seed %d: %d keys, want %d", seed, tab.Len(), len(want))
			}
			for k, v := range tab.All() {
				if want[k] != *v {
					t.Fatalf("seed %d: %s is %d, want %d", seed, k, *v, want[k])
				}
			}
			if snap != nil {
				n := 0
				for k, v := range snap.All() {
					n++
					if then[k] != *v {
						t.Fatalf("seed %d: %s is %d in the snapshot, want %d", seed, k, *v, then[k])
					}
				}
				if n != len(then) {
					t.Fatalf("seed %d: %d keys in the snapshot, want %d", seed, n, len(then))
				}
			}
		}
	}
}
