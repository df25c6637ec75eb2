package avro

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2/ocf"

	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/internal/formattest"
)

func TestRecordsComeBackAsWritten(t *testing.T) {
	want := formattest.Records(1, 1000)
	for c := Snappy; c <= Uncompressed; c++ {
		f := With[formattest.Record](Options{Compression: c, BlockBytes: 1000})
		data := formattest.Write(t, f, want, 70)
		got, bad, err := formattest.Read(f, formattest.Input(data), formattest.Whole(nil), 13)
		if err != nil || len(bad) > 0 {
			t.Fatal(bad, err)
		}
		formattest.Same(t, got, want, c)
	}
}

type small struct {
	A int64   `avro:"a"`
	S string  `avro:"s"`
	P *string `avro:"p"`
}

func smalls(n int) []small {
	rs := make([]small, n)
	for i := range rs {
		rs[i] = small{A: int64(i), S: fmt.Sprint("s", i%3)}
		if i%2 == 0 {
			rs[i].P = &rs[i].S
		}
	}
	return rs
}

func TestEveryRecordComesOnceHoweverTheFileIsCut(t *testing.T) {
	want := smalls(100)
	for _, c := range []Compression{Snappy, Uncompressed, Zstd} {
		f := With[small](Options{BlockBytes: 50, Compression: c})
		data := formattest.Write(t, f, want, 5)
		formattest.SplitsAnywhere(t, f, data, want)
		in := formattest.Input(data)
		formattest.ResumesAnywhere(t, f, in, formattest.Ranges(t, f, in, in.Size/4, in.Size/3), want)
	}
}

func TestDamageIsReportedAndNoMore(t *testing.T) {
	want := smalls(40)
	for c := Snappy; c <= Uncompressed; c++ {
		f := With[small](Options{BlockBytes: 50, Compression: c, BlockBytesMax: 1 << 20})
		formattest.SurvivesDamage(t, f, formattest.Write(t, f, want, 5), want)
	}
}

func TestADamagedBlockIsLostAloneAndNamed(t *testing.T) {
	f := With[small](Options{BlockBytes: 50})
	want := smalls(60)
	data := formattest.Write(t, f, want, 60)
	h, err := readHeader(formattest.Input(data))
	if err != nil {
		t.Fatal(err)
	}
	starts := []int{int(h.end)}
	for i := int(h.end); i < len(data); i++ {
		if bytes.HasPrefix(data[i:], h.sync[:]) {
			starts = append(starts, i+syncSize)
		}
	}
	data[starts[1]+5] ^= 0x40
	for _, rs := range [][]format.Range{{{To: int64(len(data))}}, {{To: int64(starts[1] + 1)}, {From: int64(starts[1] + 1), To: int64(len(data))}}} {
		got, bad, err := formattest.Read(f, formattest.Input(data), rs, 7)
		if err != nil || len(bad) != 1 {
			t.Fatal(bad, err)
		}
		if s := bad[0].Error(); !strings.HasPrefix(s, fmt.Sprintf("dir/file.test: block at byte %d: ", starts[1])) {
			t.Error(s)
		}
		perBlock := 0
		for got[perBlock].A == int64(perBlock) {
			perBlock++
		}
		lost := len(want) - len(got)
		formattest.Same(t, got, append(want[:perBlock:perBlock], want[perBlock+lost:]...), rs)
	}
}

const wideSchema = `{"type":"record","name":"r","fields":[
	{"name":"list","type":{"type":"array","items":{"type":"record","name":"in","fields":[{"name":"x","type":["null","in"]}]}}},
	{"name":"n","type":"int"},
	{"name":"m","type":{"type":"map","values":"double"}},
	{"name":"s","type":["string","null"]},
	{"name":"color","type":{"type":"enum","name":"c","symbols":["RED","GREEN"]}},
	{"name":"id","type":{"type":"fixed","name":"f","size":3}},
	{"name":"day","type":{"type":"int","logicalType":"date"}},
	{"name":"other","type":"c"},
	{"name":"f","type":"float"}]}`

func wideFile(t *testing.T, nulls bool) []byte {
	t.Helper()
	var buf bytes.Buffer
	e, err := ocf.NewEncoder(wideSchema, &buf)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		var s any = "text"
		if nulls && i == 1 {
			s = nil
		}
		err := e.Encode(map[string]any{
			"list": []any{map[string]any{"x": nil}}, "n": 200 * i, "m": map[string]any{"a": 1.5}, "s": s,
			"color": "GREEN", "id": [3]byte{'a', 'b', 'c'}, "day": time.Unix(86400*3, 0).UTC(), "other": "RED", "f": float32(2.5),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestFilesOfOthersFillTheFieldsAskedFor(t *testing.T) {
	type rec struct {
		F     float64   `avro:"f"`
		N     int64     `avro:"n"`
		Color string    `avro:"color"`
		ID    []byte    `avro:"id"`
		S     *string   `avro:"s"`
		Day   time.Time `avro:"day"`
	}
	got, bad, err := formattest.Read(Of[rec](), formattest.Input(wideFile(t, false)), formattest.Whole(nil), 7)
	if err != nil || len(bad) > 0 || len(got) != 3 {
		t.Fatal(got, bad, err)
	}
	s := "text"
	formattest.Same(t, got[1:2], []rec{{2.5, 200, "GREEN", []byte("abc"), &s, time.Unix(86400*3, 0).UTC()}}, nil)
}

func TestValuesThatDoNotFitAreBadRecords(t *testing.T) {
	type rec struct {
		N int8   `avro:"n"`
		S string `avro:"s"`
	}
	got, bad, err := formattest.Read(Of[rec](), formattest.Input(wideFile(t, true)), formattest.Whole(nil), 7)
	if err != nil || len(bad) != 2 || len(got) != 1 {
		t.Fatal(got, bad, err)
	}
	if bad[0].Field != "n" || bad[0].Reason != "200 is out of range for type int8" || !strings.HasSuffix(bad[1].Position, ", record 3") {
		t.Error(bad)
	}
	type strict struct {
		S string `avro:"s"`
	}
	_, bad, err = formattest.Read(Of[strict](), formattest.Input(wideFile(t, true)), formattest.Whole(nil), 7)
	if err != nil || len(bad) != 1 || bad[0].Field != "s" || bad[0].Reason != errNull.Error() {
		t.Error(bad, err)
	}
	_, err = Of[struct{ U uint64 }]().(*avroFormat[struct{ U uint64 }]).Encode(&bytes.Buffer{})
	if err != nil {
		t.Error(err)
	}
}

func TestFieldsThatDoNotFitAreNamedWithBothTypes(t *testing.T) {
	in := formattest.Input(wideFile(t, false))
	for want, openIt := range map[string]func() error{
		`column "m" is {"type":"map","values":"double"} in the file and string in the record`: func() error {
			_, err := Of[struct {
				M string `avro:"m"`
			}]().Open(in, format.Range{}, nil)
			return err
		},
		`column "f" is "float" in the file and *int32 in the record`: func() error {
			_, err := Of[struct {
				F *int32 `avro:"f"`
			}]().Open(in, format.Range{}, nil)
			return err
		},
		`column "Gone" is missing (the record has it as bool)`: func() error {
			_, err := Of[struct{ Gone bool }]().Open(in, format.Range{}, nil)
			return err
		},
	} {
		if err := openIt(); err == nil || err.Error() != "dir/file.test: "+want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	for c := Snappy; c <= Uncompressed; c++ {
		f.Add(formattest.Write(f, With[small](Options{BlockBytes: 50, Compression: c}), smalls(12), 5), int64(300))
	}
	f.Fuzz(func(t *testing.T, data []byte, cut int64) {
		in := formattest.Input(data)
		c := With[small](Options{BlockBytesMax: 1 << 20})
		rs := formattest.Whole(in)
		if cut > 0 && cut < in.Size {
			rs = []format.Range{{To: cut}, {From: cut, To: in.Size}}
		}
		if _, _, err := formattest.Read(c, in, rs, 50); err != nil && !strings.Contains(err.Error(), formattest.Path) {
			t.Fatal(err)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	type rec struct {
		ID    int64   `avro:"id"`
		Name  string  `avro:"name"`
		City  string  `avro:"city"`
		Score float64 `avro:"score"`
		N     int32   `avro:"n"`
	}
	const n = 200_000
	recs := make([]rec, n)
	for i := range recs {
		recs[i] = rec{int64(i), fmt.Sprint("name-", i%1000), "Some City", float64(i%970) / 10, int32(i * 7)}
	}
	formattest.Bench(b, Of[rec](), formattest.Write(b, Of[rec](), recs, 1000), n)
}
