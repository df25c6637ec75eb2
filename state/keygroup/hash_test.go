package keygroup

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func java[K comparable](t *testing.T, name string, k K, hash, m int32, g128, g720 int) {
	t.Helper()
	h128, err := NewHasher[K](128, Options{JavaCompatible: true})
	if err != nil {
		t.Fatal(err)
	}
	h720, _ := NewHasher[K](720, Options{JavaCompatible: true})
	got := int32(h128.shape.hash32(unsafe.Pointer(&k)))
	if got != hash || int32(murmur(uint32(got))) != m || Of(h128.One(&k)) != g128 || Of(h720.One(&k)) != g720 {
		t.Errorf("%s: hash32 %d, m %d, g128 %d, g720 %d; want %d %d %d %d", name,
			got, murmur(uint32(got)), Of(h128.One(&k)), Of(h720.One(&k)), hash, m, g128, g720)
	}
	native, _ := NewHasher[K](128, Options{})
	if a, b := h128.One(&k)&LowMask, native.One(&k)&LowMask; a != b {
		t.Errorf("%s: low bits %x, native %x", name, a, b)
	}
}

func TestJavaCompatibleGroupsAreThoseOfFlink(t *testing.T) {
	java(t, "int 0", int32(0), 0, 593689054, 94, 94)
	java(t, "int 1", int32(1), 1, 68075478, 86, 198)
	java(t, "int 2", int32(2), 2, 1085422463, 127, 143)
	java(t, "int 42", int32(42), 42, 1134849565, 29, 685)
	java(t, "int -1", int32(-1), -1, 1982413648, 80, 208)
	java(t, "int max", int32(math.MaxInt32), math.MaxInt32, 1653689534, 62, 14)
	java(t, "int min", int32(math.MinInt32), math.MinInt32, 1718298732, 108, 12)
	java(t, "short -1", int16(-1), -1, 1982413648, 80, 208)
	java(t, "byte -1", int8(-1), -1, 1982413648, 80, 208)
	java(t, "long 1", int64(1), 1, 68075478, 86, 198)
	java(t, "long -1", int64(-1), 0, 593689054, 94, 94)
	java(t, "long 2^32", int64(4294967296), 1, 68075478, 86, 198)
	java(t, "long", int64(1234567890123), 1912276436, 1151597916, 92, 396)
	java(t, "int as long", 1234567890123, 1912276436, 1151597916, 92, 396)
	type user struct {
		Name string
		N    int32
	}
	java(t, "tuple", user{"user-1", 7}, -147182792, 250925995, 43, 235)
	java(t, "empty", "", 0, 593689054, 94, 94)
	java(t, "a", "a", 97, 1455541201, 81, 1)
	java(t, "hello", "hello", 99162322, 1715862179, 35, 659)
	java(t, "user-1", "user-1", -836031825, 1662039673, 121, 313)
	java(t, "user-2", "user-2", -836031824, 2010244374, 22, 54)
	java(t, "naïve", "naïve", 104710475, 293234064, 16, 384)
	java(t, "🙂", "🙂", 1772965, 1373682627, 67, 387)
}

func word[K comparable](t *testing.T, k K) uint64 {
	t.Helper()
	h, err := NewHasher[K](128, Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := h.One(&k)
	if b := h.Batch([]K{k, k}, []uint64{7}); len(b) != 3 || b[0] != 7 || b[1] != w || b[2] != w {
		t.Errorf("%v: Batch gives %x, One %x", k, b, w)
	}
	return w
}

// These words are in snapshots that exist. A change here loses their keys.
func TestNativeWordsNeverChange(t *testing.T) {
	type pair struct{ A, B int64 }
	type mixed struct {
		A int8
		B float64
		S string
		C int32
	}
	for _, tt := range []struct {
		name      string
		got, want uint64
	}{
		{"int 0", word(t, 0), 0x71a8397b1dcdaf},
		{"int 1", word(t, 1), 0x482dec89025cc1},
		{"int -1", word(t, -1), 0x7271771b652c20},
		{"true", word(t, true), 0x482dec89025cc1},
		{"float 1.5", word(t, 1.5), 0x6bb18e1392608a},
		{"empty", word(t, ""), 0x49740ef9c5f2b5},
		{"user-1", word(t, "user-1"), 0x17e25ca78d86e4},
		{"long", word(t, "the quick brown fox jumps over the lazy dog"), 0x5b83d8085bf326},
		{"pair", word(t, pair{3, -4}), 0x6d315c78468201},
		{"mixed", word(t, mixed{1, -2.5, "three", 4}), 0x3a63e55b241e41},
		{"nothing", word(t, struct{}{}), 0x4f79b97f4a7c15},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %#x, want %#x", tt.name, tt.got, tt.want)
		}
	}
}

func TestWidthsOfWholeNumbersAgree(t *testing.T) {
	type id uint16
	want := word(t, -5)
	for i, got := range []uint64{word(t, int8(-5)), word(t, int16(-5)), word(t, int32(-5)), word(t, int64(-5))} {
		if got != want {
			t.Errorf("signed %d: %x, want %x", i, got, want)
		}
	}
	want = word(t, 200)
	for i, got := range []uint64{word(t, uint8(200)), word(t, id(200)), word(t, uint32(200)), word(t, uint64(200)), word(t, uint(200))} {
		if got != want {
			t.Errorf("unsigned %d: %x, want %x", i, got, want)
		}
	}
}

func TestEqualKeysHaveEqualWords(t *testing.T) {
	negZero := math.Copysign(0, -1)
	if word(t, negZero) != word(t, 0.0) || word(t, float32(negZero)) != word(t, float32(0)) {
		t.Error("-0 and +0 differ")
	}
	if word(t, float32(1.5)) != word(t, 1.5) {
		t.Error("float widths differ")
	}
	type padded struct {
		A int8
		B int64
		_ int32
		C int8
	}
	// Two equal values with different bytes in the gaps.
	var a, b padded
	fill := func(p *padded, c byte) {
		m := unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
		for i := range m {
			m[i] = c
		}
		p.A, p.B, p.C = 1, 2, 3
	}
	fill(&a, 0x55)
	fill(&b, 0xaa)
	for _, opt := range []Options{{}, {JavaCompatible: true}} {
		h, _ := NewHasher[padded](128, opt)
		if h.One(&a) != h.One(&b) {
			t.Errorf("%+v: equal structs have words %x and %x", opt, h.One(&a), h.One(&b))
		}
	}
	type inner struct {
		F [2]float64
		S string
	}
	x, y := inner{[2]float64{0, 1}, "s"}, inner{[2]float64{negZero, 1}, "s"}
	if x != y || word(t, x) != word(t, y) {
		t.Error("-0 in a struct")
	}
}

func TestNaNIsFoundWhereverItHides(t *testing.T) {
	type deep struct {
		S string
		A [3]struct{ F float32 }
	}
	h, err := NewHasher[deep](128, Options{})
	if err != nil || !h.MayBeNaN() {
		t.Fatal(err, h.MayBeNaN())
	}
	k := deep{}
	if h.HasNaN(&k) {
		t.Error("zero key has NaN")
	}
	k.A[2].F = float32(math.NaN())
	if !h.HasNaN(&k) {
		t.Error("NaN not found")
	}
	if h.One(&k) != h.One(&k) {
		t.Error("the word of a key with NaN is not stable")
	}
	if h, _ := NewHasher[string](128, Options{}); h.MayBeNaN() {
		t.Error("a string may be NaN")
	}
}

func refused[K comparable](t *testing.T, wants ...string) {
	t.Helper()
	_, err := NewHasher[K](128, Options{})
	for _, want := range wants {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewHasher[%v]: %v, want %q in it", reflect.TypeFor[K](), err, want)
		}
	}
}

func TestRefusedKeysNameTheFieldAndTheCure(t *testing.T) {
	type inner struct{ P *int }
	type Order struct {
		ID int
		In [2]inner
	}
	type event struct{ At time.Time }
	refused[*int](t, "pointer")
	refused[Order](t, "Order.In[0].P", "pointer", "key by")
	refused[event](t, "event.At", "UnixMilli")
	refused[time.Time](t, "UnixMilli")
	refused[struct{ E error }](t, "key.E", "interface")
	refused[any](t, "interface")
	refused[chan int](t, "address")
	refused[uintptr](t, "address")
	refused[unsafe.Pointer](t, "address")
	refused[complex128](t, "complex")
	refused[[1 << 20]int](t, "4096")
	if _, err := NewHasher[int](0, Options{}); err == nil {
		t.Error("max 0 accepted")
	}
	if _, err := NewHasher[int](MaxParallelism+1, Options{}); err == nil {
		t.Error("max 32769 accepted")
	}
}

func spread[K comparable](t *testing.T, name string, max int, key func(i int) K) {
	t.Helper()
	h, err := NewHasher[K](max, Options{})
	if err != nil {
		t.Fatal(err)
	}
	const n = 1 << 16
	byGroup := make([]int, max)
	byLow := make([]int, 256)  // a table's position in a page
	byHigh := make([]int, 256) // a table's directory
	seen := map[uint64]bool{}
	for i := range n {
		k := key(i)
		w := h.One(&k)
		if w>>63 != 0 {
			t.Fatalf("%s: word %x uses the topmost bit", name, w)
		}
		byGroup[Of(w)]++
		byLow[w&255]++
		byHigh[w>>40&255]++
		seen[w] = true
	}
	if len(seen) < n-3 {
		t.Errorf("%s: %d distinct words of %d keys", name, len(seen), n)
	}
	for what, counts := range map[string][]int{"group": byGroup, "low": byLow, "high": byHigh} {
		mean, chi := float64(n)/float64(len(counts)), 0.0
		for _, c := range counts {
			chi += (float64(c) - mean) * (float64(c) - mean) / mean
		}
		df := float64(len(counts) - 1)
		if z := (chi - df) / math.Sqrt(2*df); z > 6 {
			t.Errorf("%s: %s counts stray from uniform by %.1f sigmas", name, what, z)
		}
	}
}

func TestWordsSpreadKeysOfEveryPattern(t *testing.T) {
	for _, max := range []int{128, 720, 1024} {
		spread(t, "counting", max, func(i int) int64 { return int64(i) })
		spread(t, "multiples of 1<<20", max, func(i int) int64 { return int64(i) << 20 })
		spread(t, "upper half", max, func(i int) uint64 { return uint64(i) << 48 })
		spread(t, "floats", max, func(i int) float64 { return float64(i) })
		spread(t, "strings", max, func(i int) string { return fmt.Sprint("user-", i) })
		spread(t, "long strings", max, func(i int) string { return fmt.Sprintf("%032d/%d", i, i&1) })
		spread(t, "pairs", max, func(i int) [2]int64 { return [2]int64{int64(i) & 255, int64(i) >> 8} })
		spread(t, "small struct", max, func(i int) struct{ A, B int32 } { return struct{ A, B int32 }{int32(i), 1} })
		type gap struct {
			A int8
			B int64
		}
		spread(t, "struct with a gap", max, func(i int) gap { return gap{int8(i), int64(i >> 8)} })
	}
}

// Flipping any one input bit should flip each output bit about half the time.
func TestMixesAvalanche(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for name, f := range map[string]func(uint64) uint64{
		"mix64": mix64,
		"bytes": func(x uint64) uint64 {
			return hashBytes(seed, unsafe.String((*byte)(unsafe.Pointer(&x)), 8))
		},
	} {
		const n = 4000
		for bit := range 64 {
			flips := 0
			for range n {
				x := rng.Uint64()
				flips += bits.OnesCount64(f(x) ^ f(x^1<<bit))
			}
			if mean := float64(flips) / n; mean < 31 || mean > 33 {
				t.Errorf("%s: input bit %d flips %.2f output bits", name, bit, mean)
			}
		}
	}
}

func checkBatch[K comparable](t *testing.T, key func(r *rand.Rand) K) {
	t.Helper()
	rng := rand.New(rand.NewPCG(2, 0))
	for _, opt := range []Options{{}, {JavaCompatible: true}} {
		h, err := NewHasher[K](300, opt)
		if err != nil {
			t.Fatal(err)
		}
		keys := make([]K, 257)
		for i := range keys {
			keys[i] = key(rng)
		}
		words := h.Batch(keys, nil)
		for i := range keys {
			if w := h.One(&keys[i]); words[i] != w || Of(w) >= 300 {
				t.Fatalf("%T %v %+v: Batch %x, One %x", keys[i], keys[i], opt, words[i], w)
			}
		}
		if n := testing.AllocsPerRun(10, func() { words = h.Batch(keys, words[:0]) }); n != 0 {
			t.Errorf("%T: Batch allocates %v", keys[0], n)
		}
	}
}

func TestBatchAgreesWithOne(t *testing.T) {
	checkBatch(t, func(r *rand.Rand) int64 { return r.Int64() })
	checkBatch(t, func(r *rand.Rand) int { return r.Int() - r.Int() })
	checkBatch(t, func(r *rand.Rand) int32 { return int32(r.Uint32()) })
	checkBatch(t, func(r *rand.Rand) uint32 { return r.Uint32() })
	checkBatch(t, func(r *rand.Rand) int16 { return int16(r.Uint32()) })
	checkBatch(t, func(r *rand.Rand) uint16 { return uint16(r.Uint32()) })
	checkBatch(t, func(r *rand.Rand) int8 { return int8(r.Uint32()) })
	checkBatch(t, func(r *rand.Rand) bool { return r.IntN(2) == 0 })
	checkBatch(t, func(r *rand.Rand) float32 { return r.Float32() })
	checkBatch(t, func(r *rand.Rand) float64 { return r.NormFloat64() })
	checkBatch(t, func(r *rand.Rand) string { return strings.Repeat("é", r.IntN(30)) + fmt.Sprint(r.Uint64()) })
	checkBatch(t, func(r *rand.Rand) [1]int64 { return [1]int64{r.Int64()} })
	checkBatch(t, func(r *rand.Rand) [2]int64 { return [2]int64{r.Int64(), r.Int64()} })
	checkBatch(t, func(r *rand.Rand) [5]int64 { return [5]int64{r.Int64(), 4: 3} })
	checkBatch(t, func(r *rand.Rand) [3]byte { return [3]byte{byte(r.Uint32())} })
	checkBatch(t, func(r *rand.Rand) struct{} { return struct{}{} })
	checkBatch(t, func(r *rand.Rand) struct {
		A string
		B float32
		C [2]struct{ X, Y int16 }
	} {
		return struct {
			A string
			B float32
			C [2]struct{ X, Y int16 }
		}{A: fmt.Sprint(r.IntN(100)), B: r.Float32()}
	})
}

func BenchmarkBatch(b *testing.B) {
	bench(b, "int64", func(i int) int64 { return int64(i) * 7 })
	bench(b, "pair", func(i int) [2]int64 { return [2]int64{int64(i), 5} })
	bench(b, "string16", func(i int) string { return fmt.Sprintf("customer-%07d", i) })
	bench(b, "mixed", func(i int) struct {
		S string
		A int32
	} {
		return struct {
			S string
			A int32
		}{"abc", int32(i)}
	})
}

func bench[K comparable](b *testing.B, name string, key func(int) K) {
	keys := make([]K, 256)
	for i := range keys {
		keys[i] = key(i)
	}
	h, _ := NewHasher[K](128, Options{})
	var dst []uint64
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst = h.Batch(keys, dst[:0])
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/256, "ns/key")
	})
}
