package json

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/internal/formattest"
)

func TestRecordsComeBackAsWritten(t *testing.T) {
	f := Of[formattest.Record]()
	want := formattest.Records(1, 200)
	got, bad, err := formattest.Read(f, formattest.Input(formattest.Write(t, f, want, 7)), formattest.Whole(nil), 13)
	if err != nil || len(bad) > 0 {
		t.Fatal(bad, err)
	}
	formattest.Same(t, got, want, nil)
}

func TestEveryRecordComesOnceHoweverTheFileIsCut(t *testing.T) {
	f := Of[formattest.Record]()
	want := formattest.Records(2, 5)
	data := formattest.Write(t, f, want, 5)
	formattest.SplitsAnywhere(t, f, data, want)
	in := formattest.Input(data)
	formattest.ResumesAnywhere(t, f, in, formattest.Ranges(t, f, in, in.Size/3, in.Size/2), want)
}

func TestDamageIsReportedAndNoMore(t *testing.T) {
	f := Of[formattest.Record]()
	want := formattest.Records(3, 5)
	formattest.SurvivesDamage(t, f, formattest.Write(t, f, want, 5), want)
}

type row struct {
	ID   int32    `json:"id"`
	Tags []string `json:"tags"`
	In   struct {
		X float64 `json:"x"`
	} `json:"in"`
}

func TestBadRecordsNameLineFieldAndReason(t *testing.T) {
	for text, want := range map[string]string{
		`{"id":"seven"}`:      `field id: string does not fit type int32`,
		`{"id":7000000000}`:   `field id: number 7000000000 does not fit type int32: value out of range`,
		`{"id":1,`:            `after 8 bytes of the line: unexpected EOF`,
		`{"id":1} {"id":2}`:   `after 9 bytes of the line: invalid character '{' after top-level value`,
		`{"tags":["a",3]}`:    `field tags.1: number does not fit type string`,
		`{"in":{"x":"wide"}}`: `field in.x: string does not fit type float64`,
		`{"id":1,"id":2}`:     `field id: after 8 bytes of the line: duplicate object member name`,
		`[1,2]`:               `array does not fit type json.row`,
		`nonsense`:            `after 1 bytes of the line: invalid character 'o' in literal null (expecting 'u')`,
	} {
		got, bad, err := formattest.Read(Of[row](), formattest.Input([]byte("{\"id\":1}\n"+text+"\n\n{\"id\":3}")), formattest.Whole(nil), 10)
		if err != nil || len(bad) != 1 || len(got) != 2 || got[1].ID != 3 {
			t.Fatal(text, got, bad, err)
		}
		if w := "dir/file.test: line 2, byte 9: " + want; bad[0].Error() != w || string(bad[0].Raw) != text {
			t.Errorf("got  %v (%s)\nwant %s", bad[0], bad[0].Raw, w)
		}
	}
}

func TestUnknownMembersAreErrorsOnlyWhenAskedFor(t *testing.T) {
	in := formattest.Input([]byte(`{"id":1,"new":2}`))
	if got, bad, err := formattest.Read(Of[row](), in, formattest.Whole(in), 1); err != nil || len(bad) > 0 || len(got) != 1 {
		t.Error(got, bad, err)
	}
	if got, bad, err := formattest.Read(With[row](Options{KnownOnly: true}), in, formattest.Whole(in), 1); err != nil || len(bad) != 1 || bad[0].Field != "new" {
		t.Error(got, bad, err)
	}
}

func TestNothingOfOneRecordIsLeftInTheNext(t *testing.T) {
	in := formattest.Input([]byte("{\"id\":1,\"tags\":[\"a\",\"b\"],\"in\":{\"x\":1}}\n{}\n{\"tags\":[\"c\"]}"))
	got, bad, err := formattest.Read(Of[row](), in, formattest.Whole(in), 3)
	if err != nil || len(bad) > 0 || fmt.Sprint(got) != "[{1 [a b] {1}} {0 [] {0}} {0 [c] {0}}]" {
		t.Error(got, bad, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("{\"id\":1,\"tags\":[\"a\"]}\n{\"in\":{\"x\":2}}"), int64(5))
	f.Fuzz(func(t *testing.T, data []byte, cut int64) {
		in := formattest.Input(data)
		c := Of[row]()
		one, bad1, err1 := formattest.Read(c, in, formattest.Whole(in), 5)
		if err1 != nil {
			t.Fatal(err1)
		}
		if cut < 0 || cut > in.Size {
			return
		}
		two, bad2, err := formattest.Read(c, in, []format.Range{{To: cut}, {From: cut, To: in.Size}}, 5)
		if err != nil || len(bad1) != len(bad2) {
			t.Fatal(err, len(bad1), len(bad2))
		}
		formattest.Same(t, two, one, cut)
	})
}

func BenchmarkRead(b *testing.B) {
	var text strings.Builder
	const n = 50_000
	for i := range n {
		fmt.Fprintf(&text, "{\"id\":%d,\"name\":\"name-%d\",\"city\":\"Some City\",\"score\":%d.%d,\"n\":%d}\n", i, i%1000, i%97, i%10, i*7)
	}
	type rec struct {
		ID    int64   `json:"id"`
		Name  string  `json:"name"`
		Score float64 `json:"score"`
		N     int32   `json:"n"`
	}
	formattest.Bench(b, Of[rec](), []byte(text.String()), n)
}
