package codec

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

type itemV1 struct {
	SKU  string
	Gone map[string][]*int
	Qty  int16
}

type orderV1 struct {
	ID     uint32
	Name   string
	Price  float32
	Items  []itemV1
	ByName map[string]itemV1
	Note   string
	Pair   [2]int8
	Parent *orderV1
	Gone   [2]string
}

type itemV2 struct {
	Qty   int64
	New   []string
	Code  string `millrace:"was=SKU"`
	Local int    `millrace:"-"`
}

type orderV2 struct {
	Parent   *orderV2
	ID       int64
	Customer *string  `millrace:"customer,was=Name"`
	Amount   *float64 `millrace:"was=Cost,was=Price"`
	Items    []itemV2
	ByName   map[string]itemV2
	Pair     [2]*int32
	Added    map[string]int
	Note     string
}

func TestAnOlderDeclarationIsReadByFieldName(t *testing.T) {
	v1, v2 := must(Of[orderV1]()), must(Of[orderV2]())
	read, err := v2.Reader(v1.Schema())
	if err != nil {
		t.Fatal(err)
	}
	item := itemV1{"sku", map[string][]*int{"x": {new(1), nil}, "y": nil}, -3}
	parent := orderV1{ID: 1, Name: "p"}
	old := orderV1{7, "anna", 1.5, []itemV1{item, item}, map[string]itemV1{"i": item}, "note", [2]int8{-1, 2}, &parent, [2]string{"g", "h"}}
	newItem := itemV2{Qty: -3, Code: "sku"}
	want := orderV2{
		ID: 7, Customer: new("anna"), Amount: new(1.5), Items: []itemV2{newItem, newItem},
		ByName: map[string]itemV2{"i": newItem}, Pair: [2]*int32{new(int32(-1)), new(int32(2))}, Note: "note",
		Parent: &orderV2{ID: 1, Customer: new("p"), Amount: new(0.0), Pair: [2]*int32{new(int32), new(int32)}},
	}
	got := orderV2{Added: map[string]int{"stale": 1}}
	rest, err := read(append(v1.Append(nil, &old), "rest"...), &got)
	if err != nil || string(rest) != "rest" || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, rest %q, error %v\nwant %+v", got, rest, err, want)
	}
}

func TestAnUnchangedTypeReadsOnTheFastPath(t *testing.T) {
	c := must(Of[rich]())
	stored, _ := c.Schema().AppendBinary(nil)
	conv, err := c.conversion(must(ParseSchema(stored)))
	if err != nil || conv != nil {
		t.Errorf("the same schema is read by conversion, error %v", err)
	}
}

func TestChangesThatLoseOrGuessAreRefused(t *testing.T) {
	type in[T any] struct{ Items []pairOf[int, T] }
	for _, tt := range []struct {
		err  error
		want string
	}{
		{readerErr[in[int64], in[int32]](), ".Items[].Second: written as int64, read as int32"},
		{readerErr[in[string], in[int64]](), ".Items[].Second: written as string, read as int64"},
		{readerErr[in[int64], in[uint64]](), "written as int64, read as uint64"},
		{readerErr[in[uint64], in[int64]](), "written as uint64, read as int64"},
		{readerErr[in[float64], in[float32]](), "written as float64, read as float32"},
		{readerErr[in[int32], in[float64]](), "written as int32, read as float64"},
		{readerErr[in[*int], in[int]](), "written as optional, read as int64"},
		{readerErr[in[[2]int], in[[3]int]](), "written as array of 2, read as array of 3"},
		{readerErr[in[[]int], in[[2]int]](), "written as slice, read as array of 2"},
		{readerErr[in[map[string]bool], in[map[string]string]](), "Second[value]: written as bool, read as string"},
		{readerErr[in[map[int]bool], in[map[string]bool]](), "Second[key]: written as int64, read as string"},
		{readerErr[in[string], in[[]byte]](), "written as string, read as bytes"},
		{readerErr[in[struct{}], in[bool]](), "written as struct, read as bool"},
		{readerErr[[]struct{}, []struct{ N int }](), "took no bytes"},
	} {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("got error %v, want it to contain %q", tt.err, tt.want)
		}
	}
	if _, err := must(Of[int]()).Reader(Schema{}); err == nil {
		t.Error("a missing schema was accepted")
	}
}

func readerErr[Written, Read any]() error {
	_, err := must(Of[Read]()).Reader(must(Of[Written]()).Schema())
	return err
}

func TestNumbersWiden(t *testing.T) {
	widens[int8, int16](t, -5)
	widens[int32, int](t, -5)
	widens[uint8, int16](t, 200)
	widens[uint16, uint64](t, 65000)
	widens[uint32, int64](t, 1<<31)
	widens[float32, float64](t, 1.25)
}

func widens[Written, Read int8 | int16 | int32 | int | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64](t *testing.T, v Written) {
	t.Helper()
	w := must(Of[Written]())
	read := must(must(Of[Read]()).Reader(w.Schema()))
	var got Read
	if _, err := read(w.Append(nil, &v), &got); err != nil || got != Read(v) {
		t.Errorf("%T %v read as %T %v, error %v", v, v, got, got, err)
	}
}

func TestACustomCodecReadsItsOlderVersions(t *testing.T) {
	var r1, r2 Registry
	if err := errors.Join(r1.Register[celsius](celsiusCodec{1}), r2.Register[celsius](celsiusCodec{2})); err != nil {
		t.Fatal(err)
	}
	v1, v2 := must(OfIn[weather](&r1)), must(OfIn[weather](&r2))
	v := weather{"Bern", celsius{1}, []celsius{{2}, {3}}, map[string]*celsius{"x": {4}}}
	read := must(v2.Reader(v1.Schema()))
	var got weather
	if rest, err := read(v1.Append(nil, &v), &got); err != nil || len(rest) > 0 || !reflect.DeepEqual(got, v) {
		t.Errorf("got %+v, rest %x, error %v", got, rest, err)
	}
	if _, err := v1.Reader(v2.Schema()); err == nil || !strings.Contains(err.Error(), "weather.Now: written as codec(celsius v2), read as codec(celsius v1)") {
		t.Errorf("newer version: error %v", err)
	}
}

// Reading through a change elsewhere in the type keeps what has not changed,
// and what is skipped is skipped whole.
func TestRandomValuesSurviveAChange(t *testing.T) {
	type before struct {
		A rich
		B rich
	}
	type after struct {
		New string
		B   rich
	}
	w, c := must(Of[before]()), must(Of[after]())
	read := must(c.Reader(w.Schema()))
	for seed := range uint64(200) {
		var v before
		var got after
		fill(rand.New(rand.NewPCG(seed, 4)), reflect.ValueOf(&v).Elem(), 0)
		if rest, err := read(w.Append(nil, &v), &got); err != nil || len(rest) > 0 || !reflect.DeepEqual(got, after{B: v.B}) {
			t.Fatalf("seed %d: got %+v, rest %x, error %v\nwant %+v", seed, got.B, rest, err, v.B)
		}
	}
}

func TestSchemasPrintLikeTypes(t *testing.T) {
	type s struct {
		ID   int
		Kids []node `millrace:"kids"`
		M    map[string]*[2]bool
	}
	const want = "struct#0{ID int64; kids []struct#3{Value int32; Next *#3; Kids []#3; ByTag map[string]#3}; M map[string]*[2]bool}"
	if got := must(Of[s]()).Schema().String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSchemasSurviveStorage(t *testing.T) {
	for _, s := range []Schema{
		must(Of[rich]()).Schema(), must(Of[node]()).Schema(), must(Of[link]()).Schema(), must(Of[int]()).Schema(),
		FromCustom[celsius](celsiusCodec{3}).Schema(),
	} {
		b, _ := s.AppendBinary(nil)
		got, err := ParseSchema(b)
		if err != nil || !got.Same(s) || !reflect.DeepEqual(got, s) {
			t.Errorf("%s came back as %s, error %v", s, got, err)
		}
		for i := range b {
			if _, err := ParseSchema(b[:i]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("cut at %d: error %v", i, err)
			}
		}
	}
}

func TestHostileSchemasAreRefused(t *testing.T) {
	for name, b := range map[string][]byte{
		"format":              {9, 1, byte(Bool)},
		"unknown kind":        {1, 1, 99},
		"reference too far":   {1, 1, byte(Slice), 1},
		"array of itself":     {1, 1, byte(Array), 2, 0},
		"struct in itself":    {1, 1, byte(Struct), 1, 1, 'a', 0},
		"two fields one name": {1, 2, byte(Struct), 2, 1, 'a', 1, 1, 'a', 1, byte(Bool)},
		"huge array":          {1, 2, byte(Array), 255, 255, 255, 255, 3, 1, byte(Int64)},
		"more after the end":  {1, 1, byte(Bool), 0},
		"long number":         {1, 0x81, 0, byte(Bool)},
	} {
		if s, err := ParseSchema(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: parsed as %v, error %v", name, s, err)
		}
	}
}
