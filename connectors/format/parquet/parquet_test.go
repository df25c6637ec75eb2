package parquet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/internal/formattest"
)

func TestRecordsComeBackAsWritten(t *testing.T) {
	want := formattest.Records(1, 1000)
	for _, o := range []Options{{}, {RowGroupRows: 100}, {Compression: Snappy}, {Compression: Gzip, RowGroupRows: 999}, {Compression: Uncompressed}} {
		f := With[formattest.Record](o)
		data := formattest.Write(t, f, want, 70)
		got, bad, err := formattest.Read(f, formattest.Input(data), formattest.Whole(nil), 13)
		if err != nil || len(bad) > 0 {
			t.Fatal(bad, err)
		}
		formattest.Same(t, got, want, o)
	}
}

type small struct {
	A int64   `parquet:"a"`
	S string  `parquet:"s,dict"`
	P *string `parquet:"p,optional"`
	T string  `parquet:"t"`
}

func smalls(n int) []small {
	rs := make([]small, n)
	for i := range rs {
		rs[i] = small{A: int64(i), S: fmt.Sprint("s", i%3), T: fmt.Sprint("t", i)}
		if i%2 == 0 {
			rs[i].P = &rs[i].T
		}
	}
	return rs
}

func TestEveryRecordComesOnceHoweverTheFileIsCut(t *testing.T) {
	f := With[small](Options{RowGroupRows: 9})
	want := smalls(30)
	data := formattest.Write(t, f, want, 5)
	formattest.SplitsAnywhere(t, f, data, want)
	in := formattest.Input(data)
	formattest.ResumesAnywhere(t, f, in, formattest.Ranges(t, f, in, in.Size/4, in.Size/3), want)
	// A range need not begin at a row group: it owns those that start in it.
	for b := int64(0); b <= in.Size; b += 13 * formattest.Stride {
		got, bad, err := formattest.Read(f, in, []format.Range{{To: b}, {From: b, To: in.Size}}, 10)
		if err != nil || len(bad) > 0 {
			t.Fatal(b, bad, err)
		}
		formattest.Same(t, got, want, b)
	}
}

func TestDamageIsReportedAndNoMore(t *testing.T) {
	f := With[small](Options{RowGroupRows: 9})
	want := smalls(20)
	formattest.SurvivesDamage(t, f, formattest.Write(t, f, want, 5), want)
}

func TestADamagedPageCostsItsRowGroup(t *testing.T) {
	f := With[small](Options{RowGroupRows: 10})
	want := smalls(30)
	data := formattest.Write(t, f, want, 30)
	pq, err := open(formattest.Input(data))
	if err != nil {
		t.Fatal(err)
	}
	at, size := chunkRange(pq, 1, 3)
	for i := at + size/2; i < at+size; i++ {
		data[i] ^= 0x55
	}
	got, bad, err := formattest.Read(f, formattest.Input(data), formattest.Whole(nil), 7)
	if err != nil || len(bad) != 1 {
		t.Fatal(bad, err)
	}
	formattest.Same(t, got, append(want[:10:10], want[20:]...), nil)
	if s := bad[0].Error(); !strings.HasPrefix(s, "dir/file.test: row group 2, rows 11 to 20: field t: ") {
		t.Error(s)
	}
}

func TestAFileWithoutItsFooterIsOneBadRecord(t *testing.T) {
	f := Of[small]()
	data := formattest.Write(t, f, smalls(30), 30)
	in := formattest.Input(data[:len(data)-1])
	for _, rs := range [][]format.Range{formattest.Ranges(t, f, in, 10), {{To: 5}, {From: 5, To: 1000}}} {
		got, bad, err := formattest.Read(f, in, rs, 7)
		if err != nil || len(got) > 0 || len(bad) != 1 || !strings.HasPrefix(bad[0].Error(), "dir/file.test: not a readable Parquet file: it ends in ") {
			t.Error(got, bad, err)
		}
	}
}

func TestNullsAreBadRecordsUnlessTheFieldIsAPointer(t *testing.T) {
	type strict struct {
		A int64  `parquet:"a"`
		P string `parquet:"p"`
	}
	data := formattest.Write(t, Of[small](), smalls(6), 6)
	got, bad, err := formattest.Read(Of[strict](), formattest.Input(data), formattest.Whole(nil), 7)
	if err != nil || len(bad) != 3 {
		t.Fatal(bad, err)
	}
	formattest.Same(t, got, []strict{{0, "t0"}, {2, "t2"}, {4, "t4"}}, nil)
	if want := "dir/file.test: row group 1, row 2: field p: null in a field that is not a pointer"; bad[0].Error() != want {
		t.Errorf("got %v, want %s", bad[0], want)
	}
}

func TestColumnsThatDoNotFitAreNamedWithBothTypes(t *testing.T) {
	type source struct {
		Big  int64     `parquet:"big"`
		Un   uint32    `parquet:"un"`
		F    float64   `parquet:"f"`
		At   time.Time `parquet:"at"`
		Text string    `parquet:"text"`
		List []int32   `parquet:"list"`
	}
	var buf strings.Builder
	e, err := Of[struct {
		Big int64     `parquet:"big"`
		Un  uint32    `parquet:"un"`
		F   float64   `parquet:"f"`
		At  time.Time `parquet:"at"`
	}]().Encode(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	in := formattest.Input([]byte(buf.String()))
	for want, openIt := range map[string]func() error{
		`column "big" is INT(64,true) in the file and int32 in the record`: func() error {
			_, err := Of[struct {
				Big int32 `parquet:"big"`
			}]().Open(in, format.Range{}, nil)
			return err
		},
		`column "un" is INT(32,false) in the file and int32 in the record`: func() error {
			_, err := Of[struct {
				Un int32 `parquet:"un"`
			}]().Open(in, format.Range{}, nil)
			return err
		},
		`column "f" is DOUBLE in the file and *float32 in the record`: func() error {
			_, err := Of[struct {
				F *float32 `parquet:"f"`
			}]().Open(in, format.Range{}, nil)
			return err
		},
		`column "at" is TIMESTAMP(isAdjustedToUTC=true,unit=MICROS) in the file and string in the record`: func() error {
			_, err := Of[struct {
				At string `parquet:"at"`
			}]().Open(in, format.Range{}, nil)
			return err
		},
		`column "gone" is missing (the record has it as int)`: func() error {
			_, err := Of[struct {
				Gone int `parquet:"gone"`
			}]().Open(in, format.Range{}, nil)
			return err
		},
	} {
		if err := openIt(); err == nil || err.Error() != "dir/file.test: "+want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if _, err := Of[source]().Encode(&buf); err == nil {
		t.Error("a list was taken for a column")
	}
}

func TestWiderFieldsAndOtherMeaningsFit(t *testing.T) {
	type narrow struct {
		I8   int8      `parquet:"i8"`
		U8   uint8     `parquet:"u8"`
		U32  uint32    `parquet:"u32"`
		F    float32   `parquet:"f"`
		Day  int32     `parquet:"day,date"`
		Ms   time.Time `parquet:"ms,timestamp(millisecond)"`
		Text string    `parquet:"text"`
	}
	type wide struct {
		I8   int64     `parquet:"i8"`
		U8   int16     `parquet:"u8"`
		U32  *uint64   `parquet:"u32"`
		F    float64   `parquet:"f"`
		Day  time.Time `parquet:"day"`
		Ms   int64     `parquet:"ms"`
		Text []byte    `parquet:"text"`
	}
	at := time.Date(1969, 7, 20, 20, 17, 40, 123e6, time.UTC)
	data := formattest.Write(t, Of[narrow](), []narrow{{-3, 200, 4e9, 1.5, -165, at, "x"}, {}}, 6)
	got, bad, err := formattest.Read(Of[wide](), formattest.Input(data), formattest.Whole(nil), 7)
	if err != nil || len(bad) > 0 || len(got) != 2 {
		t.Fatal(got, bad, err)
	}
	u := uint64(4e9)
	formattest.Same(t, got[:1], []wide{{-3, 200, &u, 1.5, at.Truncate(24 * time.Hour), at.UnixMilli(), []byte("x")}}, nil)
}

func FuzzRead(f *testing.F) {
	for _, o := range []Options{{RowGroupRows: 5}, {Compression: Uncompressed}} {
		f.Add(formattest.Write(f, With[small](o), smalls(12), 5))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := formattest.Input(data)
		c := With[small](Options{PageBytesMax: 1 << 20})
		_, _, err := formattest.Read(c, in, formattest.Whole(in), 50)
		if err != nil && !strings.Contains(err.Error(), formattest.Path) && !strings.Contains(err.Error(), "brings nothing") {
			t.Fatal(err)
		}
		if _, err := c.Cuts(in, []int64{in.Size / 2}); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	type flight struct {
		Date        time.Time `parquet:"date,timestamp(microsecond)"`
		Delay       int64     `parquet:"delay"`
		Distance    int64     `parquet:"distance"`
		Origin      string    `parquet:"origin,dict"`
		Destination string    `parquet:"destination,dict"`
	}
	const n = 500_000
	recs := make([]flight, n)
	for i := range recs {
		recs[i] = flight{time.UnixMicro(int64(i) * 1e6), int64(i*7919) % 120, int64(i*31) % 3000, fmt.Sprint("O", i*17%300), fmt.Sprint("D", i*29%300)}
	}
	formattest.Bench(b, Of[flight](), formattest.Write(b, Of[flight](), recs, 1000), n)
}

func TestTimesAreWrittenInMicroseconds(t *testing.T) {
	type timed struct {
		Zero time.Time
		At   *time.Time `parquet:"at,optional"`
	}
	at := time.Date(2500, 1, 2, 3, 4, 5, 6000, time.UTC)
	want := []timed{{at, &at}, {}}
	data := formattest.Write(t, Of[timed](), want, 6)
	got, bad, err := formattest.Read(Of[timed](), formattest.Input(data), formattest.Whole(nil), 7)
	if err != nil || len(bad) > 0 {
		t.Fatal(bad, err)
	}
	formattest.Same(t, got, want, nil)
	_, err = Of[struct {
		Day time.Time `parquet:"day,date"`
	}]().Encode(nil)
	if err == nil || err.Error() != `parquet: column "day": a time.Time cannot be written with tag "date"` {
		t.Error(err)
	}
}
