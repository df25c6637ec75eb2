package codec

import (
	"bytes"
	"cmp"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

type key struct {
	Region string
	When   time.Time
	N      int32
	In     struct {
		U    uint16
		F    float64
		G    float32
		Raw  []byte
		Ok   bool
		I    int
		Tiny [2]int8
	}
	Names [2]string
}

func compareKeys(a, b *key) int {
	boolInt := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	return cmp.Or(
		strings.Compare(a.Region, b.Region), a.When.Compare(b.When), cmp.Compare(a.N, b.N),
		cmp.Compare(a.In.U, b.In.U), cmp.Compare(a.In.F, b.In.F), cmp.Compare(a.In.G, b.In.G),
		bytes.Compare(a.In.Raw, b.In.Raw), cmp.Compare(boolInt(a.In.Ok), boolInt(b.In.Ok)), cmp.Compare(a.In.I, b.In.I),
		cmp.Compare(a.In.Tiny[0], b.In.Tiny[0]), cmp.Compare(a.In.Tiny[1], b.In.Tiny[1]),
		strings.Compare(a.Names[0], b.Names[0]), strings.Compare(a.Names[1], b.Names[1]),
	)
}

func randomKey(rng *rand.Rand) *key {
	k := new(key)
	fill(rng, reflect.ValueOf(k).Elem(), 0)
	if k.In.Raw == nil {
		k.In.Raw = []byte{}
	}
	return k
}

// changed is k with one field chosen anew, so that late fields decide too.
func changed(rng *rand.Rand, k *key) *key {
	c, other := *k, randomKey(rng)
	fields := []func(){
		func() { c.Region = other.Region }, func() { c.When = other.When }, func() { c.N = other.N },
		func() { c.In.U = other.In.U }, func() { c.In.F = other.In.F }, func() { c.In.G = other.In.G },
		func() { c.In.Raw = other.In.Raw }, func() { c.In.Ok = other.In.Ok }, func() { c.In.I = other.In.I },
		func() { c.In.Tiny = other.In.Tiny }, func() { c.Names = other.Names }, func() { c.In.F = -c.In.F },
	}
	fields[rng.IntN(len(fields))]()
	return &c
}

func TestOrderOfBytesIsOrderOfKeys(t *testing.T) {
	c := must(OrderedOf[key]())
	rng := rand.New(rand.NewPCG(1, 5))
	for range 5000 {
		a := randomKey(rng)
		b := changed(rng, a)
		x, y := c.Append(nil, a), c.Append(nil, b)
		if got, want := bytes.Compare(x, y), compareKeys(a, b); got != want {
			t.Fatalf("%+v and %+v compare as %d, their bytes as %d", a, b, want, got)
		}
		var back key
		if rest, err := c.Decode(x, &back); err != nil || len(rest) > 0 || compareKeys(a, &back) != 0 {
			t.Fatalf("%+v came back as %+v, rest %x, error %v", a, back, rest, err)
		}
	}
}

func ordered[T any](t *testing.T, ascending ...T) {
	t.Helper()
	c := must(OrderedOf[T]())
	var last []byte
	for i := range ascending {
		enc := c.Append(nil, &ascending[i])
		if i > 0 && bytes.Compare(last, enc) >= 0 {
			t.Errorf("%T: %v is not below %v", ascending[i], ascending[i-1], ascending[i])
		}
		last = enc
		var got T
		if rest, err := c.Decode(append(enc[:len(enc):len(enc)], 1), &got); err != nil || len(rest) != 1 || !reflect.DeepEqual(got, ascending[i]) && any(got) == any(got) {
			t.Errorf("%T: %v came back as %v, rest %x, error %v", got, ascending[i], got, rest, err)
		}
	}
}

func TestOrderAtTheEdges(t *testing.T) {
	ordered(t, false, true)
	ordered[int8](t, -128, -1, 0, 1, 127)
	ordered[int64](t, math.MinInt64, -1, 0, 1, math.MaxInt64)
	ordered[uint16](t, 0, 1, 255, 256, 65535)
	ordered(t, math.NaN(), math.Inf(-1), -math.MaxFloat64, -1, -math.SmallestNonzeroFloat64, 0, math.SmallestNonzeroFloat64, 1, math.MaxFloat64, math.Inf(1))
	ordered(t, float32(math.Inf(-1)), -1, 0, math.SmallestNonzeroFloat32, float32(math.Inf(1)))
	ordered(t, "", "\x00", "\x00\x00", "\x00\x01", "\x00\xff", "\x01", "a", "a\x00", "a\x00b", "a\x01", "ab", "\xff")
	ordered(t, time.Unix(math.MaxInt64, 0).UTC(), time.Time{}, time.Unix(-1, 999).UTC(), time.Unix(0, 0).UTC(), time.Unix(0, 1).UTC())
	ordered(t, pairOf[string, string]{"a", "z"}, pairOf[string, string]{"a\x00", "a"}, pairOf[string, string]{"ab", ""})
	ordered(t, struct{}{})
}

func TestZerosAreOneAndNaNsAreOne(t *testing.T) {
	c := must(OrderedOf[[2]float64]())
	a, b := [2]float64{0, math.NaN()}, [2]float64{math.Copysign(0, -1), math.Float64frombits(0xfff8000000000001)}
	if x, y := c.Append(nil, &a), c.Append(nil, &b); !bytes.Equal(x, y) {
		t.Errorf("encoded to %x and %x", x, y)
	}
}

func TestTypesWithoutOrderAreNamedByTheirPath(t *testing.T) {
	type bad struct{ In struct{ M map[string]int } }
	for err, want := range map[error]string{
		second(OrderedOf[bad]()):          "codec: bad.In.M: map[string]int has no order to encode",
		second(OrderedOf[[]int]()):        "codec: []int: []int has no order",
		second(OrderedOf[[2]complex64]()): "[]: complex64 has no order",
		second(OrderedOf[rich]()):         "rich.Cached: left out",
		second(OrderedOf[chan int]()):     "chan int cannot be stored",
		second(OrderedOf[struct {
			A int `millrace:"-"`
		}]()): ".A: left out of the encoding",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want it to contain %q", err, want)
		}
	}
}

func second[T any](_ T, err error) error { return err }
