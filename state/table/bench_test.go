package table

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/millrace/millrace/state/keygroup"
)

type counts struct{ Count, Sum, Last int64 }

func filled[K comparable, V any](n int, key func(int) K) (*Table[K, V], []K, []uint64) {
	h, err := keygroup.NewHasher[K](128, keygroup.Options{})
	if err != nil {
		panic(err)
	}
	tab := New[K, V](keygroup.Whole(128), Options{})
	for i := range n {
		k := key(i)
		tab.Upsert(h.One(&k), k)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	keys := make([]K, 1<<20)
	for i := range keys {
		keys[i] = key(rng.IntN(n))
	}
	return tab, keys, h.Batch(keys, nil)
}

func perKey(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/key")
}

func update[K comparable](b *testing.B, tab *Table[K, counts], keys []K, words []uint64, touch bool) {
	const batch = 256
	at := 0
	b.ReportAllocs()
	for b.Loop() {
		w, ks := words[at:at+batch], keys[at:at+batch]
		if touch {
			tab.Touch(w)
		}
		for i, k := range ks {
			v, _ := tab.Upsert(w[i], k)
			v.Count++
			v.Sum += int64(i)
		}
		at = (at + batch) & (len(keys) - 1)
	}
	perKey(b, batch)
}

func updateBatch[K comparable](b *testing.B, tab *Table[K, counts], keys []K, words []uint64) {
	const batch = 256
	at := 0
	var values []*counts
	b.ReportAllocs()
	for b.Loop() {
		values, _ = tab.UpsertBatch(words[at:at+batch], keys[at:at+batch], values[:0])
		for i, v := range values {
			v.Count++
			v.Sum += int64(i)
		}
		at = (at + batch) & (len(keys) - 1)
	}
	perKey(b, batch)
}

func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000, 1_000_000} {
		tab, keys, words := filled[int64, counts](n, func(i int) int64 { return int64(i) })
		b.Run(fmt.Sprintf("int64/keys=%d", n), func(b *testing.B) { update(b, tab, keys, words, false) })
		b.Run(fmt.Sprintf("int64/keys=%d/touch", n), func(b *testing.B) { update(b, tab, keys, words, true) })
		b.Run(fmt.Sprintf("int64/keys=%d/batch", n), func(b *testing.B) { updateBatch(b, tab, keys, words) })
	}
	tab, keys, words := filled[string, counts](1_000_000, func(i int) string { return fmt.Sprintf("customer-%07d", i) })
	b.Run("string/keys=1000000", func(b *testing.B) { update(b, tab, keys, words, false) })
	b.Run("string/keys=1000000/touch", func(b *testing.B) { update(b, tab, keys, words, true) })
	b.Run("string/keys=1000000/batch", func(b *testing.B) { updateBatch(b, tab, keys, words) })
}

func BenchmarkInsert(b *testing.B) {
	h, _ := keygroup.NewHasher[int64](128, keygroup.Options{})
	const n = 1_000_000
	keys := make([]int64, n)
	for i := range keys {
		keys[i] = int64(i)
	}
	words := h.Batch(keys, nil)
	b.ReportAllocs()
	for b.Loop() {
		tab := New[int64, counts](keygroup.Whole(128), Options{})
		for i, k := range keys {
			tab.Upsert(words[i], k)
		}
	}
	perKey(b, n)
}

func BenchmarkSnapshot(b *testing.B) {
	tab, keys, words := filled[int64, counts](1_000_000, func(i int) int64 { return int64(i) })
	b.Run("pause", func(b *testing.B) {
		for b.Loop() {
			tab.Snapshot().Release()
		}
	})
	b.Run("update after it", func(b *testing.B) {
		const n = 200_000
		for b.Loop() {
			s := tab.Snapshot()
			for i, k := range keys[:n] {
				v, _ := tab.Upsert(words[i], k)
				v.Count++
			}
			s.Release()
		}
		perKey(b, n)
	})
	b.Run("walk", func(b *testing.B) {
		s := tab.Snapshot()
		sum := int64(0)
		for b.Loop() {
			for _, v := range s.All() {
				sum += v.Count
			}
		}
		perKey(b, s.Len())
	})
}

func BenchmarkChurn(b *testing.B) {
	const n = 100_000
	tab, _, _ := filled[int64, counts](n, func(i int) int64 { return int64(i) })
	h, _ := keygroup.NewHasher[int64](128, keygroup.Options{})
	k := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		in := k + n
		tab.Delete(h.One(&k), k)
		tab.Upsert(h.One(&in), in)
		k++
	}
}
