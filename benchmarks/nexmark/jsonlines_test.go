package nexmark

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func readAll(t testing.TB, r *Reader, step int) []Event {
	t.Helper()
	var all []Event
	dst := make([]Event, step)
	for {
		n, err := r.Read(dst)
		all = append(all, dst[:n]...)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func sameEvents(t *testing.T, got, want []Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("read %d events, want %d", len(got), len(want))
	}
	for i := range got {
		if flat(got[i]) != flat(want[i]) {
			t.Fatalf("event %d is %+v, want %+v", i, flat(got[i]), flat(want[i]))
		}
	}
}

func TestFilesGiveBackTheEventsWritten(t *testing.T) {
	opts := Options{Events: 3000, Rate: 700, Disorder: 2 * time.Second}
	want := allEvents(t, newGenerator(t, opts), Split{}, 256)
	for _, name := range []string{"events.json", "events.json.gz"} {
		path := filepath.Join(t.TempDir(), name)
		if err := WriteFile(path, opts); err != nil {
			t.Fatal(err)
		}
		r, err := OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got := readAll(t, r, 100)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		sameEvents(t, got, want)
		if r.Line() != 3000 {
			t.Errorf("%s: %d lines, want 3000", name, r.Line())
		}
	}
}

func TestReaderTakesInputInPiecesOfAnySize(t *testing.T) {
	g := newGenerator(t, Options{Events: 300})
	want := allEvents(t, g, Split{}, 256)
	var b bytes.Buffer
	c, _ := g.Events(Split{})
	if _, err := WriteEvents(&b, c); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	long := want[3]
	long.Bid = Bid{Auction: 1, Extra: strings.Repeat("x", 300_000)}
	long.Kind, long.Person, long.Auction = KindBid, nil, nil
	text += string(AppendEvent(nil, &long)) + "\n\n\r\n"
	last := want[4]
	text += string(AppendEvent(nil, &last)) // no line end
	want = append(want, long, last)
	for name, in := range map[string]io.Reader{
		"whole":     strings.NewReader(text),
		"bytes":     iotest.OneByteReader(strings.NewReader(text)),
		"halves":    iotest.HalfReader(strings.NewReader(text)),
		"early EOF": iotest.DataErrReader(strings.NewReader(text)),
		"CRLF":      strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n")),
	} {
		t.Run(name, func(t *testing.T) { sameEvents(t, readAll(t, NewReader(in, name), 7), want) })
	}
	sameEvents(t, readAll(t, NewReader(strings.NewReader(""), "empty"), 7), nil)
}

func TestErrorsNameFileLineAndField(t *testing.T) {
	good := `{"event_type":2,"person":null,"auction":null,"bid":{"auction":1,"bidder":2,"price":3,"channel":"c","url":"u","dateTime":"2026-11-23T00:55:27.41","extra":"e"}}`
	for _, tt := range []struct{ name, old, new, want string }{
		{"no number", `"price":3`, `"price":"3"`, `bid.price: want an integer of 64 bits, have "\"3\",`},
		{"fraction", `"price":3`, `"price":3.5`, `bid.price: want an integer`},
		{"too large", `"price":3`, `"price":9223372036854775808`, `bid.price: want an integer`},
		{"leading zero", `"price":3`, `"price":03`, `bid.price: want an integer`},
		{"null number", `"price":3`, `"price":null`, `bid.price: want an integer`},
		{"missing number", `"price":3,`, ``, `bid.price: is missing`},
		{"missing time", `"dateTime":"2026-11-23T00:55:27.41",`, ``, `bid.dateTime: is missing`},
		{"bad time", `00:55:27.41`, `00:65:27.41`, `bid.dateTime: want a time like`},
		{"missing body", `"bid":{`, `"bit":{`, `bid: is missing for event_type 2`},
		{"missing type", `"event_type":2,`, ``, `event_type: is missing`},
		{"bad type", `"event_type":2`, `"event_type":3`, `event_type: is 3, want 0, 1 or 2`},
		{"other type", `"event_type":2`, `"event_type":1`, `auction: is missing for event_type 1`},
		{"bad escape", `"url":"u"`, `"url":"\x"`, `bid.url: want a string, but at byte 1 of it is a bad escape`},
		{"no colon", `"url":"u"`, `"url" "u"`, `bid.url: want a colon`},
		{"cut", `"extra":"e"}}`, `"extra":"e`, `bid.extra: want a string, but at byte 2 of it is the end of the line`},
		{"more", `"e"}}`, `"e"}} x`, `want the end of the line, have "x"`},
		{"array", good, `[]`, `want an object, have "[]"`},
		{"deep", `null,"bid"`, `null,"more":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `,"bid"`, `more: nested too deep`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			line := strings.Replace(good, tt.old, tt.new, 1)
			r := NewReader(strings.NewReader(good+"\n"+line+"\n"+good), "some/file.json")
			dst := make([]Event, 10)
			if n, err := r.Read(dst); n != 1 || err != nil {
				t.Fatalf("the good line before it: %d, %v", n, err)
			}
			for range 2 {
				n, err := r.Read(dst)
				if n != 0 || err == nil || !strings.HasPrefix(err.Error(), "some/file.json: line 2: "+tt.want) {
					t.Errorf("got %d, %v\nwant … %s", n, err, tt.want)
				}
			}
		})
	}
	if _, err := OpenFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	r := NewReader(bytes.NewReader([]byte{0x1f, 0x8b, 1, 2, 3}), "bad.gz")
	if _, err := r.Read(make([]Event, 1)); err == nil || !strings.HasPrefix(err.Error(), "bad.gz: ") {
		t.Errorf("bad gzip: %v", err)
	}
}

func TestReaderAcceptsWhatOthersWrite(t *testing.T) {
	want := Event{Kind: KindBid, Bid: Bid{Auction: 1, Bidder: -2, Price: 3, URL: "a\"\\/\b\f\n\r\té€😀\ufffd", DateTime: 1795395327410}}
	for _, line := range []string{
		` { "bid" : {"extra":null,"unknown":{"a":[1,-2.5e3,{"b":"\u00e9"},[],{}],"c":true},"dateTime":"2026-11-23 00:55:27.410999Z",` +
			`"url":"a\"\\\/\b\f\n\r\t\u00e9\u20ac\ud83d\ude00\ud83d","price":3,"bidder":-2,"auction":1} , "event_type":2, "person":{"id":1,"dateTime":"2026-11-23T00:55:27"} } `,
	} {
		var e Event
		if err := ParseEvent(line, &e); err != nil {
			t.Fatal(err)
		}
		if e != want {
			t.Errorf("got %+v\nwant %+v", e, want)
		}
	}
}

// What encoding/json reads is what was written.
func TestWriterAgreesWithEncodingJSON(t *testing.T) {
	g := newGenerator(t, Options{Events: 200})
	for _, e := range allEvents(t, g, Split{}, 64) {
		if e.Kind == KindBid {
			e.Bid.Extra = "\x00\x1f\"\\ é\u2028😀\xff" + e.Bid.Extra
		}
		line := AppendEvent(nil, &e)
		var v struct {
			EventType int                          `json:"event_type"`
			Person    map[string]any               `json:"person"`
			Auction   map[string]any               `json:"auction"`
			Bid       *struct{ URL, Extra string } `json:"bid"`
		}
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch e.Kind {
		case KindPerson:
			if v.EventType != 0 || v.Person["creditCard"] != e.Person.CreditCard || v.Auction != nil || v.Bid != nil || len(v.Person) != 8 {
				t.Errorf("%s", line)
			}
		case KindAuction:
			if v.EventType != 1 || v.Auction["reserve"] != float64(e.Auction.Reserve) || v.Person != nil || v.Bid != nil || len(v.Auction) != 10 {
				t.Errorf("%s", line)
			}
		case KindBid:
			if v.EventType != 2 || v.Bid.URL != e.Bid.URL || v.Bid.Extra != strings.ToValidUTF8(e.Bid.Extra, "\ufffd") || v.Person != nil || v.Auction != nil {
				t.Errorf("%s", line)
			}
		}
	}
}

func TestTimesMayLeaveOutSecondsThatAreZero(t *testing.T) {
	for _, s := range []string{"2026-11-23T00:55", "2026-11-23 00:55Z"} {
		got, err := ParseMillis(s)
		if want := time.Date(2026, 11, 23, 0, 55, 0, 0, time.UTC).UnixMilli(); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", s, got, err, want)
		}
	}
}

func TestTimesPrintAndParseLikeTheStandardLibrary(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 50_000 {
		millis := millisMin + rng.Int64N(millisMax-millisMin+1)
		switch i {
		case 0:
			millis = millisMin
		case 1:
			millis = millisMax
		case 2:
			millis = -1
		case 3:
			millis = 0
		}
		want := time.UnixMilli(millis).UTC().Format("2006-01-02T15:04:05.999")
		got := string(AppendMillis(nil, millis))
		if got != want {
			t.Fatalf("%d prints as %s, want %s", millis, got, want)
		}
		if back, err := ParseMillis(got); err != nil || back != millis {
			t.Fatalf("%s parses as %d, %v, want %d", got, back, err, millis)
		}
	}
	for _, s := range []string{
		"", "2026-11-23", "2026-11-23T00:5", "2026-02-29T00:00:00", "2026-13-01T00:00:00", "2026-00-01T00:00:00",
		"2026-11-31T00:00:00", "2026-11-23T24:00:00", "2026-11-23T00:60:00", "2026-11-23T00:00:60", "2026-11-23x00:00:00",
		"2026-11-23T00:00:00.1234567890", "2026-11-23T00:00:00,5", "2026-11-23T00:00:0a", "2026-11-23T00:00:00+01:00", "2026-11-23T00:00:00.-1",
	} {
		if got, err := ParseMillis(s); err == nil {
			t.Errorf("%q accepted as %d", s, got)
		}
	}
	for s, want := range map[string]int64{
		"2024-02-29T23:59:59.9":          1709251199900,
		"2024-02-29 23:59:59.":           1709251199000,
		"2024-02-29 23:59:59Z":           1709251199000,
		"2024-02-29T23:59:59.123456789Z": 1709251199123,
		"1969-12-31T23:59:59.999":        -1,
	} {
		if got, err := ParseMillis(s); err != nil || got != want {
			t.Errorf("%q is %d, %v, want %d", s, got, err, want)
		}
	}
}

func TestReadingBidsAllocatesOnlyBlocks(t *testing.T) {
	g := newGenerator(t, Options{})
	c, _ := g.Bids(Split{})
	bids := make([]Bid, 1)
	c.Next(bids)
	line := string(AppendEvent(nil, &Event{Kind: KindBid, Bid: bids[0]}))
	var p parser
	var e Event
	if got := testing.AllocsPerRun(100, func() {
		if err := p.parse(line, &e); err != nil {
			t.Fatal(err)
		}
	}); got != 0 {
		t.Errorf("%.1f allocations a bid", got)
	}
	buf := make([]byte, 0, 1024)
	if got := testing.AllocsPerRun(100, func() { buf = AppendEvent(buf[:0], &e) }); got != 0 {
		t.Errorf("%.1f allocations to write a bid", got)
	}
}

// No input panics, and what is accepted is written as something that reads
// the same.
func FuzzParseEvent(f *testing.F) {
	g := newGenerator(f, Options{Events: 6})
	for _, e := range allEvents(f, g, Split{}, 6) {
		f.Add(string(AppendEvent(nil, &e)))
	}
	f.Add(`{"event_type":2,"x":[{"a":-1.5e3}],"bid":{"auction":1,"bidder":2,"price":3,"url":"\ud83d\ude00\n","dateTime":"2026-11-23 00:55:27Z"}}`)
	f.Fuzz(func(t *testing.T, s string) {
		var e Event
		if err := ParseEvent(s, &e); err != nil {
			return
		}
		line := AppendEvent(nil, &e)
		if !json.Valid(line) {
			t.Fatalf("%q is written as %q", s, line)
		}
		var again Event
		if err := ParseEvent(string(line), &again); err != nil {
			t.Fatalf("%q is written as %s and then not read: %v", s, line, err)
		}
		if flat(e) != flat(again) {
			t.Fatalf("%q reads as %+v, then as %+v", s, flat(e), flat(again))
		}
	})
}

// Whatever the reader is given, in whatever pieces, it sees the same events.
func FuzzReader(f *testing.F) {
	g := newGenerator(f, Options{Events: 3})
	var b bytes.Buffer
	c, _ := g.Events(Split{})
	WriteEvents(&b, c)
	f.Add(b.Bytes(), 3)
	f.Add([]byte("\n\n{}\n"), 1)
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		read := func(r io.Reader, step int) (events []Event, line int64, err error) {
			rd := NewReader(r, "f")
			dst := make([]Event, step)
			for {
				var n int
				n, err = rd.Read(dst)
				events = append(events, dst[:n]...)
				if err != nil {
					return events, rd.Line(), err
				}
			}
		}
		a, al, aerr := read(bytes.NewReader(in), 1+step&15)
		b, bl, berr := read(iotest.OneByteReader(bytes.NewReader(in)), 5)
		sameEvents(t, a, b)
		if al != bl || aerr.Error() != berr.Error() {
			t.Fatalf("line %d %v, then line %d %v", al, aerr, bl, berr)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	g := newGenerator(b, Options{Events: 10000})
	var text bytes.Buffer
	c, _ := g.Events(Split{})
	WriteEvents(&text, c)
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	dst := make([]Event, 256)
	n := 0
	for b.Loop() {
		r := NewReader(bytes.NewReader(text.Bytes()), "bench")
		for {
			k, err := r.Read(dst)
			n += k
			if err != nil {
				break
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
}

func BenchmarkWrite(b *testing.B) {
	g := newGenerator(b, Options{Rate: 1_000_000})
	c, _ := g.Events(Split{})
	events := make([]Event, 1024)
	c.Next(events)
	var buf []byte
	n := 0
	for b.Loop() {
		buf = buf[:0]
		for i := range events {
			buf = AppendEvent(buf, &events[i])
		}
		n += len(events)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
}
