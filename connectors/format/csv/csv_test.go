package csv

import (
	"encoding/csv"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/internal/formattest"
)

type row struct {
	A string  `csv:"a"`
	N int32   `csv:"n"`
	P *string `csv:"p"`
}

func TestRecordsComeBackAsWritten(t *testing.T) {
	want := formattest.Records(1, 200)
	for _, o := range []Options{{}, {Comma: ';'}, {NoHeader: true}} {
		f := With[formattest.Record](o)
		data := formattest.Write(t, f, want, 7)
		got, bad, err := formattest.Read(f, formattest.Input(data), formattest.Whole(nil), 13)
		if err != nil || len(bad) > 0 {
			t.Fatal(bad, err)
		}
		formattest.Same(t, got, want, o)
	}
}

func TestEveryRecordComesOnceHoweverTheFileIsCut(t *testing.T) {
	f := Of[formattest.Record]()
	want := formattest.Records(2, 12)
	data := formattest.Write(t, f, want, 5)
	formattest.SplitsAnywhere(t, f, data, want)
	in := formattest.Input(data)
	formattest.ResumesAnywhere(t, f, in, formattest.Ranges(t, f, in, in.Size/3, in.Size/2), want)
}

func TestSingleLineFilesAreCutAnywhere(t *testing.T) {
	text := "\uFEFFa,n,p\r\nx,1,\r\n\r\n\"q,\"\"r\",2,\"\"\n,-3,z"
	empty, z := "", "z"
	want := []row{{"x", 1, nil}, {`q,"r`, 2, &empty}, {"", -3, &z}}
	for _, o := range []Options{{}, {SingleLine: true}} {
		formattest.SplitsAnywhere(t, With[row](o), []byte(text), want)
	}
	// Without regard to what the cuts should be: a range owns what starts in it.
	f := With[row](Options{SingleLine: true})
	for a := int64(0); a < int64(len(text)); a += formattest.Stride {
		for b := a; b <= int64(len(text)); b++ {
			rs := []format.Range{{To: a}, {From: a, To: b}, {From: b, To: int64(len(text))}}
			got, bad, err := formattest.Read(f, formattest.Input([]byte(text)), rs, 2)
			if err != nil || len(bad) > 0 {
				t.Fatal(rs, bad, err)
			}
			formattest.Same(t, got, want, rs)
		}
	}
}

func TestDamageIsReportedAndNoMore(t *testing.T) {
	f := Of[formattest.Record]()
	want := formattest.Records(3, 6)
	formattest.SurvivesDamage(t, f, formattest.Write(t, f, want, 5), want)
}

func TestBadRecordsNameLineFieldAndReason(t *testing.T) {
	const head = "a,n,p\n"
	for _, tt := range []struct {
		name, text, want, raw string
		good                  string
	}{
		{"not a number", head + "x,1,\ny,two,\nz,3,\n", `dir/file.test: line 3, byte 11: field n: "two" is not a 32-bit whole number`, "y,two,", "x z"},
		{"out of range", head + "y,3000000000,\n", `dir/file.test: line 2, byte 6: field n: "3000000000" is out of range for a 32-bit whole number`, "y,3000000000,", ""},
		{"empty number", head + "y,,\nz,3,\n", `dir/file.test: line 2, byte 6: field n: "" is not a 32-bit whole number`, "y,,", "z"},
		{"cells missing", head + "y,1\nz,3,\n", "dir/file.test: line 2, byte 6: 2 cells where there are 3 columns", "y,1", "z"},
		{"quote inside", head + "y\"y,1,\nz,3,\n", "dir/file.test: line 2, byte 6: cell 1: quote inside a cell that is not quoted", "y\"y,1,", "z"},
		{"text after quote", head + "\"y\"y,1,\nz,3,\n", "dir/file.test: line 2, byte 6: cell 1: text after the closing quote", "\"y\"y,1,", "z"},
		{"quote never closed costs its line", head + "x,1,\n\"y,1,\nz,3,\nw,4,\n", "dir/file.test: line 3, byte 11: cell 1: quote is not closed", "\"y,1,", "x z w"},
		{"after a quoted line break", head + "\"x\n\nx\",1,\ny,no,\n", `dir/file.test: line 5, byte 16: field n: "no" is not a 32-bit whole number`, "y,no,", "x\n\nx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, bad, err := formattest.Read(Of[row](), formattest.Input([]byte(tt.text)), formattest.Whole(nil), 10)
			if err != nil || len(bad) != 1 {
				t.Fatal(bad, err)
			}
			if bad[0].Error() != tt.want || string(bad[0].Raw) != tt.raw {
				t.Errorf("got  %v (%q)\nwant %v (%q)", bad[0], bad[0].Raw, tt.want, tt.raw)
			}
			var names []string
			for _, r := range got {
				names = append(names, r.A)
			}
			if strings.Join(names, " ") != tt.good {
				t.Errorf("good records %q, want %q", names, tt.good)
			}
		})
	}
}

func TestRecordsOverTheLimitAreBadAndPassedOver(t *testing.T) {
	long := strings.Repeat("x", 1000)
	f := With[row](Options{RecordBytesMax: 100})
	text := "a,n,p\nok,1,\n" + long + ",2,\n\"" + long + "\",3,\nfine,4,\n"
	got, bad, err := formattest.Read(f, formattest.Input([]byte(text)), formattest.Whole(nil), 10)
	if err != nil || len(bad) != 2 || len(got) != 2 || got[1].N != 4 {
		t.Fatal(got, bad, err)
	}
	if want := "dir/file.test: line 3, byte 12: line is longer than the limit of 100 bytes"; bad[0].Error() != want {
		t.Errorf("got %v, want %v", bad[0], want)
	}
}

func TestColumnsThatAreNotThereAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		"a,n\n":     `dir/file.test: column "p" is missing (the record has it as *string); the file has a, n`,
		"a,p,n,a\n": `dir/file.test: column "a" is there twice, as number 1 and 4`,
		"a,\"n,p\n": "dir/file.test: header: cell 2: quote is not closed",
	} {
		_, _, err := formattest.Read(Of[row](), formattest.Input([]byte(text)), formattest.Whole(nil), 10)
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	got, bad, err := formattest.Read(Of[row](), formattest.Input(nil), formattest.Whole(nil), 10)
	if len(got)+len(bad) > 0 || err != nil {
		t.Error("empty file:", got, bad, err)
	}
}

func TestQuotesOffMeansQuotesAreText(t *testing.T) {
	f := With[row](Options{NoQuotes: true, Comma: '\t', NoHeader: true, Columns: []string{"n", "", "p", "a"}})
	got, bad, err := formattest.Read(f, formattest.Input([]byte("1\tx\t\"\tsay \"hi\n")), formattest.Whole(nil), 10)
	if err != nil || len(bad) > 0 || len(got) != 1 || got[0].A != `say "hi` || *got[0].P != `"` {
		t.Fatal(got, bad, err)
	}
	e, err := f.Encode(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Encode([]row{{A: "tab\there"}}); err == nil {
		t.Error("a cell that holds the separator was written without quotes")
	}
}

// What encoding/csv reads without complaint reads the same here.
func FuzzAgainstEncodingCSV(f *testing.F) {
	for _, s := range []string{"a,b\nc,d\n", "\"a\nb\",c\r\n", "\"a\"\"b\",\n", "a\"b,c\n", "\"a", "\r\n\n,\n", "\"a\"\r", "a,b\r\n\r\nc\r", "\"\"\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := csv.NewReader(strings.NewReader(string(data)))
		r.FieldsPerRecord = -1
		want, err := r.ReadAll()
		p := parser{comma: ','}
		var got [][]string
		for rest := data; len(rest) > 0; {
			n, perr := p.parse(rest, true)
			if perr != nil {
				if err == nil {
					t.Fatalf("%q: %v, encoding/csv has no error", data, perr)
				}
				return
			}
			if n <= 0 {
				t.Fatalf("%q: no progress", data)
			}
			if len(p.cells) > 0 {
				var cells []string
				for _, c := range p.cells {
					cells = append(cells, strings.ReplaceAll(string(c.text), "\r\n", "\n"))
				}
				got = append(got, cells)
			}
			// Cut short anywhere, the record is not taken for ended.
			for k := range rest[:n] {
				if m, perr := p.parse(rest[:k], false); perr == nil && m > 0 && m != n {
					t.Fatalf("%q: cut to %d bytes it ends at %d instead of %d", rest, k, m, n)
				}
			}
			rest = rest[n:]
		}
		if err != nil {
			t.Fatalf("%q: read as %q, encoding/csv says %v", data, got, err)
		}
		for i := range want {
			for j := range want[i] {
				want[i][j] = strings.ReplaceAll(want[i][j], "\r\n", "\n")
			}
		}
		if g, w := fmt.Sprintf("%q", got), fmt.Sprintf("%q", want); g != w {
			t.Fatalf("%q: read as %s, encoding/csv reads %s", data, g, w)
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("a,n,p\nx,1,\n\"y\",2,z\n"), int64(8))
	f.Fuzz(func(t *testing.T, data []byte, cut int64) {
		in := formattest.Input(data)
		c := Of[row]()
		one, bad1, err1 := formattest.Read(c, in, formattest.Whole(in), 5)
		cuts, err := c.Cuts(in, []int64{cut})
		if err != nil || cut < 1 || len(cuts) == 0 || cuts[0] >= in.Size {
			return
		}
		two, _, _ := formattest.Read(c, in, []format.Range{{To: cuts[0]}, {From: cuts[0], To: in.Size}}, 5)
		if err1 == nil && len(bad1) == 0 {
			formattest.Same(t, two, one, cuts)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	var text strings.Builder
	text.WriteString("id,name,city,score,n\n")
	const n = 100_000
	for i := range n {
		fmt.Fprintf(&text, "%d,name-%d,Some City,%d.%d,%d\n", i, i%1000, i%97, i%10, i*7)
	}
	type rec struct {
		ID    int64   `csv:"id"`
		Name  string  `csv:"name"`
		Score float64 `csv:"score"`
		N     int32   `csv:"n"`
	}
	formattest.Bench(b, Of[rec](), []byte(text.String()), n)
}
