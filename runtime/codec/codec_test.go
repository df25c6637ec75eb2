package codec

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"
)

type bid struct {
	Auction, Bidder, Price, DateTime, Extra int64
	Channel, URL                            string
}

type money int64

type pairOf[A, B any] struct {
	First  A
	Second B
}

type base struct {
	ID   int64
	Tags []string
}

type Meta struct{ Source string }

// flat has every kind of field that flat plans know.
type flat struct {
	I8   int8
	On   bool
	I16  int16
	S    string
	I32  int32
	Last bool
	F    float64
	G, H uint64
	Raw  [11]byte
	Big  [80]uint8
	Str  string
	Ten  [5]uint16
}

type node struct {
	Value int32
	Next  *node
	Kids  []node
	ByTag map[string]node
}

// rich has every kind of field there is.
type rich struct {
	base
	*Meta
	B      bool
	I      int
	I8     int8
	I16    int16
	I32    int32
	I64    int64
	U      uint
	U8     uint8
	U16    uint16
	U32    uint32
	U64    uint64
	P      uintptr
	F32    float32
	F64    float64
	C64    complex64
	C128   complex128
	S      string
	Raw    []byte
	T      time.Time
	D      time.Duration
	M      money
	Arr    [3]int32
	Bools  [3]bool
	Names  [2]string
	Times  [2]time.Time
	Opts   [2]*int16
	Ints   []int64
	Flags  []bool
	Words  []string
	Points []struct{ X, Y float32 }
	Pairs  []pairOf[string, *int]
	Deep   [][]string
	Nums   map[string]int64
	ByTime map[time.Time][]byte
	Floats map[float64]string
	Set    map[uint16]struct{}
	Empty  struct{}
	Nones  []struct{}
	PtrPtr **string
	Addr   netip.Addr
	Addrs  map[netip.Addr]string
	Tree   *node
	Flats  []flat
	Cached int  `millrace:"-"`
	hidden *int `millrace:"-"`
	_      [4]byte
}

// fill sets v to a random value. String and slice lengths are small.
func fill(rng *rand.Rand, v reflect.Value, depth int) {
	switch v.Type() {
	case reflect.TypeFor[time.Time]():
		if rng.IntN(4) > 0 {
			v.Set(reflect.ValueOf(time.Unix(rng.Int64()>>rng.IntN(40)-rng.Int64()>>1, rng.Int64N(1e9)).UTC()))
		}
		return
	case reflect.TypeFor[netip.Addr]():
		if rng.IntN(3) > 0 {
			v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{byte(rng.Uint32()), 1, 2, 3})))
		}
		return
	}
	bits := rng.Uint64() >> rng.IntN(64)
	if rng.IntN(8) == 0 {
		bits = 0
	}
	n := rng.IntN(4)
	if depth > 6 {
		n = 0
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(bits&1 == 1)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(bits) << (64 - v.Type().Bits()) >> (64 - v.Type().Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		v.SetUint(bits << (64 - v.Type().Bits()) >> (64 - v.Type().Bits()))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(int64(bits)) / 7)
	case reflect.Complex64, reflect.Complex128:
		v.SetComplex(complex(float64(bits), -3))
	case reflect.String:
		b := make([]byte, n*n)
		for i := range b {
			b[i] = byte(rng.Uint32()) & byte(rng.Uint32())
		}
		v.SetString(string(b))
	case reflect.Slice:
		if rng.IntN(4) > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				fill(rng, v.Index(i), depth+1)
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(rng, v.Index(i), depth+1)
		}
	case reflect.Map:
		if rng.IntN(4) > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				fill(rng, k, depth+1)
				fill(rng, e, depth+1)
				v.SetMapIndex(k, e)
			}
		}
	case reflect.Pointer:
		if n > 0 && rng.IntN(2) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(rng, v.Elem(), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); (f.IsExported() || f.Anonymous) && f.Tag.Get("millrace") != "-" {
				fill(rng, v.Field(i), depth+1)
			}
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestRandomValuesRoundTrip(t *testing.T) {
	c := must(Of[rich]())
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var v, got rich
		fill(rng, reflect.ValueOf(&v).Elem(), 0)
		fill(rng, reflect.ValueOf(&got).Elem(), 0) // must all be overwritten
		got.Cached, got.hidden = 7, new(int)
		enc := c.Append([]byte("before"), &v)
		rest, err := c.Decode(append(enc[6:], "after"...), &got)
		if err != nil || string(rest) != "after" || !reflect.DeepEqual(got, v) {
			t.Fatalf("seed %d: got %+v, rest %q, error %v\nwant %+v", seed, got, rest, err, v)
		}
		if again := c.Append(nil, &got); !bytes.Equal(again, enc[6:]) {
			t.Fatalf("seed %d: encodes to %x, then to %x", seed, enc[6:], again)
		}
	}
}

// The layout is stored: this must never change without a new schemaFormat.
func TestTheLayoutIsAsDocumented(t *testing.T) {
	type inner struct {
		Ok bool
		S  string
	}
	type all struct {
		I  int32
		In inner
		P  *uint16
		M  map[string]int8
		A  [2]string
		T  time.Time
		Z  []byte
	}
	v := all{-2, inner{true, "ab"}, new(uint16(0x0102)), map[string]int8{"y": 2, "x": 1}, [2]string{"", "c"}, time.Unix(5, 6), []byte{9}}
	// An entry is the key, head and tail, then the value.
	want := strings.Join([]string{
		"feffffff", "01", "02000000", "01", "03000000", "050000000000000006000000", "02000000",
		"6162", "0201", "0100000078" + "01", "0100000079" + "02", "00000000", "0100000063", "09",
	}, "")
	if got := hex.EncodeToString(must(Of[all]()).Append(nil, &v)); got != want {
		t.Errorf("encoded to\n%s, want\n%s", got, want)
	}
}

func TestScalarsRoundTripAtTheTop(t *testing.T) {
	roundTrip(t, true)
	roundTrip(t, int8(-7))
	roundTrip(t, uint(1<<63))
	roundTrip(t, float32(1.5))
	roundTrip(t, complex64(complex(1, -2)))
	roundTrip(t, "héllo")
	roundTrip(t, []byte(nil))
	roundTrip(t, []byte{})
	roundTrip(t, time.Time{})
	roundTrip(t, time.Unix(math.MaxInt64, 5).UTC())
	roundTrip(t, time.Unix(math.MinInt64, 5).UTC())
	roundTrip(t, 3*time.Hour)
	roundTrip(t, map[string][]int{"a": nil, "b": {1}, "c": {}})
	roundTrip(t, [0]string{})
	roundTrip(t, [2][2]bool{{true}})
	roundTrip(t, struct{}{})
	roundTrip(t, []struct{}{{}, {}})
	roundTrip(t, pairOf[pairOf[int, string], []pairOf[bool, bool]]{})
	roundTrip(t, new("x"))
	roundTrip(t, map[[2]string]map[int]bool{{"a", "b"}: {1: true}})
}

func roundTrip[T any](t *testing.T, v T) {
	t.Helper()
	c := must(Of[T]())
	var got T
	enc := c.Append(nil, &v)
	if rest, err := c.DecodeOwned(enc, &got); err != nil || len(rest) != 0 || !reflect.DeepEqual(v, got) {
		t.Errorf("%T: got %v, rest %x, error %v; want %v", v, got, rest, err, v)
	}
	if n, ok := c.FixedSize(); ok && n != len(enc) {
		t.Errorf("%T: fixed size %d, encoded to %d bytes", v, n, len(enc))
	}
}

func TestTypesThatCannotBeStoredAreNamedByTheirPath(t *testing.T) {
	type item struct{ Notify chan int }
	type order struct{ Items []item }
	type secret struct{ n int }
	type embedsTime struct {
		time.Time
		n int
	}
	type twice struct {
		A int
		B int `millrace:"A"`
	}
	type oldTaken struct {
		A int
		B int `millrace:"was=A"`
	}
	type pad struct{ _ [100]byte }
	for _, tt := range []struct {
		err  error
		want string
	}{
		{errOf[order](), "codec: order.Items[].Notify: chan int cannot be stored"},
		{errOf[any](), "codec: interface {}: interface {} cannot be stored"},
		{errOf[map[string]func()](), "codec: map[string]func()[value]: func() cannot be stored"},
		{errOf[map[[1]any]int](), "codec: map[[1]interface {}]int[key][]: interface {} cannot be stored"},
		{errOf[struct{ P *unsafe.Pointer }](), ".P: unsafe.Pointer cannot be stored"},
		{errOf[pairOf[int, secret]](), ".Second.n: unexported field of codec.secret"},
		{errOf[embedsTime](), "whose embedded Time has a method AppendBinary of its own"},
		{errOf[twice](), `codec: twice.B: the name "A" is taken by field A`},
		{errOf[oldTaken](), `codec: oldTaken.B: the name "A" is taken by field A`},
		{errOf[struct {
			A int `millrace:"a,wass=b"`
		}](), `.A: the tag has an unknown part "wass=b"`},
		{errOf[[]pad](), "codec.pad takes no bytes"},
		{second(shapeOf(reflect.TypeFor[[1 << 20][1 << 12]bool](), nil)), "is too large"},
	} {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("got error %v, want it to contain %q", tt.err, tt.want)
		}
	}
}

func errOf[T any]() error {
	_, err := Of[T]()
	return err
}

func TestTheCodecOfATypeIsMadeOnce(t *testing.T) {
	if must(Of[bid]()) != must(Of[bid]()) {
		t.Error("two codecs of one type")
	}
}

func TestPointerFreeAndFixedSize(t *testing.T) {
	type fixed struct {
		A [4]int16
		B bool
		C struct{ D float64 }
	}
	f, b := must(Of[fixed]()), must(Of[bid]())
	if n, ok := f.FixedSize(); !f.PointerFree() || n != 17 || !ok {
		t.Errorf("fixed: pointer free %t, size %d %t", f.PointerFree(), n, ok)
	}
	if _, ok := b.FixedSize(); b.PointerFree() || ok {
		t.Error("a struct with strings is pointer free or of fixed size")
	}
	tc := must(Of[time.Time]())
	if n, ok := tc.FixedSize(); tc.PointerFree() || n != 12 || !ok {
		t.Errorf("time: pointer free %t, size %d %t", tc.PointerFree(), n, ok)
	}
}

func TestAppendAndDecodeOfIntsAndStringsDoNotAllocate(t *testing.T) {
	c := must(Of[bid]())
	v := &bid{1, 2, 3, 4, 5, "channel", "https://example.org"}
	got := new(bid)
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { buf = c.Append(buf[:0], v) }); n != 0 {
		t.Errorf("Append: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := c.Decode(buf, got); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Decode: %v allocations", n)
	}
	o := must(OrderedOf[bid]())
	if n := testing.AllocsPerRun(100, func() {
		buf = o.Append(buf[:0], v)
		if _, err := o.Decode(buf, got); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Ordered: %v allocations", n)
	}
	if *got != *v {
		t.Errorf("got %+v, want %+v", got, v)
	}
}

func TestKeysOnTheStackStayThere(t *testing.T) {
	type key struct {
		Region string
		ID     int64
	}
	c, o := must(Of[key]()), must(OrderedOf[key]())
	slow := must(Of[[]string]())
	buf, n := make([]byte, 0, 256), int64(0)
	if allocs := testing.AllocsPerRun(100, func() {
		n++
		k := key{"eu", n}
		buf = c.AppendValue(buf[:0], k)
		got, _, err := c.DecodeValue(buf)
		if err != nil || got != k {
			t.Fatalf("got %v, error %v, want %v", got, err, k)
		}
		buf = o.Append(buf[:0], &k)
		var back key
		if _, err := o.Decode(buf, &back); err != nil || back != k {
			t.Fatal("ordered")
		}
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if _, _, err := c.DecodeValue(buf[:3]); !errors.Is(err, ErrCorrupt) {
		t.Errorf("short: error %v", err)
	}
	got, rest, err := slow.DecodeValue(slow.AppendValue(nil, []string{"a", "b"}))
	if err != nil || len(rest) > 0 || !reflect.DeepEqual(got, []string{"a", "b"}) {
		t.Errorf("got %v, rest %x, error %v", got, rest, err)
	}
}

func TestDecodedStringsAreViewsUntilOwned(t *testing.T) {
	type row struct {
		S  string
		B  []byte
		M  map[string]string
		L  []string
		P  *string
		N  [2]string
		In struct{ S []bid }
	}
	c := must(Of[row]())
	want := row{"s", []byte("b"), map[string]string{"k": "v"}, []string{"l"}, new("p"), [2]string{"n", "m"}, struct{ S []bid }{[]bid{{URL: "u"}}}}
	buf := c.Append(nil, &want)
	var view, owned, cloned, copied row
	for v, decode := range map[*row]func([]byte, *row) ([]byte, error){&view: c.Decode, &owned: c.Decode, &copied: c.DecodeOwned} {
		if _, err := decode(buf, v); err != nil {
			t.Fatal(err)
		}
	}
	if hostMatches && unsafe.StringData(view.S) != unsafe.SliceData(buf[bytes.IndexByte(buf, 's'):]) {
		t.Error("Decode copied a string")
	}
	c.Own(&owned)
	c.Clone(&cloned, &view)
	clear(buf)
	for name, v := range map[string]row{"owned": owned, "cloned": cloned, "copied": copied} {
		if !reflect.DeepEqual(v, want) {
			t.Errorf("%s: %+v after the buffer was reused, want %+v", name, v, want)
		}
	}
}

func TestACloneSharesNothing(t *testing.T) {
	c := must(Of[rich]())
	for seed := range uint64(100) {
		var v, clone rich
		fill(rand.New(rand.NewPCG(seed, 2)), reflect.ValueOf(&v).Elem(), 0)
		v.Ints, v.Deep, v.Pairs = []int64{1}, [][]string{{"a"}}, []pairOf[string, *int]{{"a", new(1)}}
		c.Clone(&clone, &v)
		if !reflect.DeepEqual(clone, v) {
			t.Fatalf("seed %d: clone %+v, want %+v", seed, clone, v)
		}
		v.Ints[0], v.Deep[0][0], *v.Pairs[0].Second = 9, "z", 9
		if clone.Ints[0] != 1 || clone.Deep[0][0] != "a" || *clone.Pairs[0].Second != 1 {
			t.Fatalf("seed %d: the clone changed with the original", seed)
		}
	}
}

func TestEqualMapsGiveEqualBytes(t *testing.T) {
	c := must(Of[map[string]int]())
	var first []byte
	for seed := range uint64(20) {
		m := make(map[string]int)
		for _, k := range rand.New(rand.NewPCG(seed, 3)).Perm(50) {
			m[strings.Repeat("k", k)] = k
		}
		enc := c.Append(nil, &m)
		if first == nil {
			first = enc
		}
		if !bytes.Equal(enc, first) {
			t.Fatalf("seed %d: another encoding", seed)
		}
	}
}

func TestCorruptBytesAreRefused(t *testing.T) {
	type opt struct{ P *int8 }
	le := binary.LittleEndian
	huge := le.AppendUint32(nil, math.MaxUint32)
	for _, tt := range []struct {
		name string
		err  error
	}{
		{"empty", decodeErr[int64](nil)},
		{"short", decodeErr[bid](make([]byte, 47))},
		{"bool of 2", decodeErr[bool]([]byte{2})},
		{"pointer of 2", decodeErr[opt]([]byte{2, 0})},
		{"string beyond the end", decodeErr[string](huge)},
		{"slice beyond the end", decodeErr[[]int64](huge)},
		{"slice of strings beyond the end", decodeErr[[]string](append(huge, 1, 2, 3))},
		{"map beyond the end", decodeErr[map[int8]int8](huge)},
		{"map of nothing, many times", decodeErr[map[struct{}]struct{}](huge)},
		{"second of too many nanoseconds", decodeErr[time.Time](le.AppendUint32(make([]byte, 8), 1e9))},
		{"map entries doubled", decodeErr[map[int8]int8]([]byte{3, 0, 0, 0, 1, 1, 1, 2})},
		{"map entries out of order", decodeErr[map[int8]int8]([]byte{3, 0, 0, 0, 2, 1, 1, 1})},
		{"nested without end", decodeErr[*node](bytes.Repeat([]byte{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, 1))},
	} {
		if !errors.Is(tt.err, ErrCorrupt) {
			t.Errorf("%s: error %v, want ErrCorrupt", tt.name, tt.err)
		}
	}
	type order struct{ Items []pairOf[string, bool] }
	enc := must(Of[order]()).Append(nil, &order{[]pairOf[string, bool]{{"a", false}}})
	enc[8] = 5
	if err := decodeErr[order](enc); err == nil || !strings.Contains(err.Error(), ".Items.Second: corrupt") {
		t.Errorf("error %v does not name the field", err)
	}
}

func decodeErr[T any](src []byte) error {
	var v T
	_, err := must(Of[T]()).Decode(src, &v)
	return err
}

type link *link

func TestDepthIsBoundedBothWays(t *testing.T) {
	c := must(Of[list]())
	build := func(n int) *list {
		l := new(list)
		for range n {
			l = &list{l}
		}
		return l
	}
	enc, err := c.TryAppend(nil, build(maxDepth))
	if err != nil {
		t.Fatal(err)
	}
	var got list
	if _, err := c.Decode(enc, &got); err != nil {
		t.Fatal(err)
	}
	if plain := plainAppend(nil, c.shape, reflect.ValueOf(&got).Elem(), 0); !bytes.Equal(plain, enc) {
		t.Error("the plain encoder disagrees")
	}
	if _, err := plainDecode(enc, c.shape, reflect.ValueOf(&got).Elem(), 0); err != nil {
		t.Fatal(err)
	}
	var encErr *EncodeError
	if out, err := c.TryAppend([]byte("x"), build(maxDepth+1)); !errors.As(err, &encErr) || string(out) != "x" {
		t.Errorf("too deep a list: %d bytes, error %v", len(out), err)
	}
	cycle := new(list)
	cycle.Next = cycle
	if _, err := c.TryAppend(nil, cycle); !errors.As(err, &encErr) {
		t.Errorf("cycle: error %v", err)
	}
	for _, err := range []error{
		decodeErr[list](bytes.Repeat([]byte{1}, 1<<20)),
		decodeErr[link](bytes.Repeat([]byte{1}, 1<<20)),
	} {
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("hostile depth: error %v", err)
		}
	}
	if _, err := plainDecode(bytes.Repeat([]byte{1}, 1<<20), c.shape, reflect.ValueOf(&got).Elem(), 0); !errors.Is(err, ErrCorrupt) {
		t.Errorf("hostile depth, plain: error %v", err)
	}
}

type list struct{ Next *list }

// celsius is stored as text by its codec.
type celsius struct{ degrees float64 }

type celsiusCodec struct{ version uint32 }

func (celsiusCodec) Name() string      { return "celsius" }
func (c celsiusCodec) Version() uint32 { return c.version }

func (c celsiusCodec) Append(dst []byte, v celsius) ([]byte, error) {
	if math.IsNaN(v.degrees) {
		return nil, errors.New("no temperature")
	}
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v.degrees*float64(c.version))), nil
}

func (c celsiusCodec) Decode(src []byte, version uint32) (celsius, error) {
	if len(src) != 8 {
		return celsius{}, errors.New("not a temperature")
	}
	return celsius{math.Float64frombits(binary.BigEndian.Uint64(src)) / float64(version)}, nil
}

type weather struct {
	City string
	Now  celsius
	Days []celsius
	By   map[string]*celsius
}

func TestARegisteredCodecIsUsedWhereverItsTypeIs(t *testing.T) {
	var r Registry
	if err := r.Register[celsius](celsiusCodec{2}); err != nil {
		t.Fatal(err)
	}
	if err := r.Register[celsius](celsiusCodec{2}); err == nil {
		t.Error("registered twice")
	}
	must(OfIn[weather](&r))
	if err := r.Register[pairOf[int, int]](nameless{}); err == nil || !strings.Contains(err.Error(), "no name") {
		t.Errorf("nameless codec: error %v", err)
	}
	if err := r.Register[bid](bidCodec{}); err == nil || !strings.Contains(err.Error(), "in use already") {
		t.Errorf("registered after use: error %v", err)
	}
}

type nameless struct{ Custom[pairOf[int, int]] }

func (nameless) Name() string { return "" }

type bidCodec struct{ Custom[bid] }

func (bidCodec) Name() string { return "bid" }

func TestCustomCodecs(t *testing.T) {
	var r Registry
	if err := r.Register[celsius](celsiusCodec{2}); err != nil {
		t.Fatal(err)
	}
	c := must(OfIn[weather](&r))
	v := weather{"Bern", celsius{1}, []celsius{{2}, {3}}, map[string]*celsius{"x": {4}}}
	var got, clone weather
	enc := c.Append(nil, &v)
	if rest, err := c.Decode(enc, &got); err != nil || len(rest) > 0 || !reflect.DeepEqual(v, got) {
		t.Fatalf("got %+v, rest %x, error %v", got, rest, err)
	}
	if c.Clone(&clone, &v); !reflect.DeepEqual(v, clone) {
		t.Errorf("clone %+v", clone)
	}
	v.Now.degrees = math.NaN()
	var encErr *EncodeError
	if _, err := c.TryAppend(nil, &v); !errors.As(err, &encErr) || !strings.Contains(err.Error(), "no temperature") {
		t.Errorf("append error %v", err)
	}
	if _, err := Of[weather](); err == nil {
		t.Error("a registration reached another registry")
	}
	one := FromCustom[celsius](celsiusCodec{1})
	temp, back := celsius{5}, celsius{}
	if rest, err := one.Decode(append(one.Append(nil, &temp), 7), &back); err != nil || back != temp || len(rest) != 1 {
		t.Errorf("FromCustom: %v, rest %x, error %v", back, rest, err)
	}
	if _, err := one.Decode([]byte{1, 0, 0, 0, 9}, &back); err == nil || !strings.Contains(err.Error(), "not a temperature") {
		t.Errorf("decode error %v", err)
	}
}

// An animal is stored by its sound.
type animal interface{ sound() string }
type cat struct{}
type dog struct{}

func (cat) sound() string { return "meow" }
func (dog) sound() string { return "woof" }

type animalCodec struct{}

func (animalCodec) Name() string    { return "animal" }
func (animalCodec) Version() uint32 { return 1 }

func (animalCodec) Append(dst []byte, v animal) ([]byte, error) {
	return append(dst, v.sound()...), nil
}

func (animalCodec) Decode(src []byte, _ uint32) (animal, error) {
	for _, a := range []animal{cat{}, dog{}} {
		if a.sound() == string(src) {
			return a, nil
		}
	}
	return nil, errors.New("no such animal")
}

func TestACustomCodecStoresAnInterface(t *testing.T) {
	var r Registry
	if err := r.Register[animal](animalCodec{}); err != nil {
		t.Fatal(err)
	}
	type zoo struct {
		Star animal
		All  map[animal][]animal
	}
	c := must(OfIn[zoo](&r))
	want := zoo{cat{}, map[animal][]animal{cat{}: {dog{}}, dog{}: nil}}
	enc := c.Append(nil, &want)
	var got, plain, clone zoo
	if _, err := c.Decode(enc, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, error %v", got, err)
	}
	if _, err := plainDecode(enc, c.shape, reflect.ValueOf(&plain).Elem(), 0); err != nil || !reflect.DeepEqual(plain, want) {
		t.Errorf("plain: got %v, error %v", plain, err)
	}
	if c.Clone(&clone, &want); !reflect.DeepEqual(clone, want) {
		t.Errorf("clone %v", clone)
	}
}

func TestRowsAreTheirValuesOneAfterTheOther(t *testing.T) {
	flats, trees := make([]flat, 5), make([]node, 5)
	rng := rand.New(rand.NewPCG(1, 9))
	fill(rng, reflect.ValueOf(&flats).Elem().Index(0), 0)
	fill(rng, reflect.ValueOf(&trees).Elem().Index(4), 0)
	rows(t, flats)
	rows(t, trees)
}

func rows[T any](t *testing.T, rows []T) {
	t.Helper()
	c := must(Of[T]())
	var each []byte
	for i := range rows {
		each = c.Append(each, &rows[i])
	}
	if all := c.AppendRows(nil, rows); !bytes.Equal(all, each) {
		t.Errorf("%T: encoded to %x, want %x", rows, all, each)
	}
	got := make([]T, len(rows))
	if rest, err := c.DecodeRows(each, got); err != nil || len(rest) > 0 || !reflect.DeepEqual(got, rows) {
		t.Errorf("got %+v, rest %x, error %v; want %+v", got, rest, err, rows)
	}
	if _, err := c.DecodeRows(each[:len(each)-1], got); !errors.Is(err, ErrCorrupt) || !strings.HasPrefix(err.Error(), "row 4: codec: decode ") {
		t.Errorf("one byte short: error %v", err)
	}
}

func TestNaNKeysSurvive(t *testing.T) {
	c := must(Of[map[float64]int]())
	m := map[float64]int{math.NaN(): 1, math.Inf(1): 2}
	m[math.NaN()] = 3
	var got map[float64]int
	if _, err := c.Decode(c.Append(nil, &m), &got); err != nil || len(got) != 3 {
		t.Errorf("got %v, error %v", got, err)
	}
}
