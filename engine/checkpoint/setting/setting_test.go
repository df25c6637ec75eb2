package setting

import (
	"strings"
	"testing"
	"time"
)

func TestDurationsAreReadInBothNotations(t *testing.T) {
	for _, tt := range []struct {
		text string
		want time.Duration
		bad  bool
	}{
		{"10 min", 10 * time.Minute, false},
		{"10min", 10 * time.Minute, false},
		{"5 m", 5 * time.Minute, false},
		{"500", 500 * time.Millisecond, false},
		{" 1 D ", 24 * time.Hour, false},
		{"7 µs", 7 * time.Microsecond, false},
		{"1m30s", 90 * time.Second, false},
		{"1.5s", 1500 * time.Millisecond, false},
		{"0", 0, false},
		{"-1 s", 0, true},
		{"-1s", 0, true},
		{"10 fortnights", 0, true},
		{"", 0, true},
		{"s", 0, true},
		{"9223372036854775807 d", 0, true},
		{"99999999999999999999", 0, true},
	} {
		got, err := ParseDuration(tt.text)
		if got != tt.want || (err != nil) != tt.bad {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v, error %t", tt.text, got, err, tt.want, tt.bad)
		}
	}
}

func TestSizesArePowersOf1024(t *testing.T) {
	for _, tt := range []struct {
		text string
		want int64
		bad  bool
	}{
		{"20 kB", 20 << 10, false},
		{"4096", 4096, false},
		{"32m", 32 << 20, false},
		{"1 gb", 1 << 30, false},
		{"2 tebibytes", 2 << 40, false},
		{"1.5 mb", 0, true},
		{"-1", 0, true},
		{"9999999999 tb", 0, true},
	} {
		got, err := ParseBytes(tt.text)
		if got != tt.want || (err != nil) != tt.bad {
			t.Errorf("ParseBytes(%q) = %v, %v, want %v, error %t", tt.text, got, err, tt.want, tt.bad)
		}
	}
}

func TestEveryProblemIsNamedWithKeyValueAndRange(t *testing.T) {
	r := Read(map[string]string{
		"a.wait": "3 s", "a.count": "eleven", "a.share": "2", "a.on": "yes", "a.size": "1 lb", "a.kind": "blue",
		"a.cuont": "1", "b.other": "1",
	})
	r.Duration("a.wait", 0, time.Minute, time.Hour)
	r.Int("a.count", 0, 1, 10)
	r.Float("a.share", 0, 0, 1)
	r.Bool("a.on", false)
	r.Bytes("a.size", 0, 0, 1)
	r.Choice("a.kind", 0, []string{"red", "green"})
	r.Unknown("a.")
	want := []string{
		`a.wait: "3 s": not in 1m0s..1h0m0s`,
		`a.count: "eleven": not a whole number in 1..10`,
		`a.share: "2": not in 0..1`,
		`a.on: "yes": neither true nor false`,
		`a.size: "1 lb": not a size such as "4096", "20 kb", "32 mb" or "1 gb"`,
		`a.kind: "blue": not one of red, green`,
		`a.cuont: "1": no such key; did you mean a.count?`,
	}
	if got := r.Err().Error(); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestOldNamesAreAcceptedWithANote(t *testing.T) {
	r := Read(map[string]string{"old": "3", "older": "4", "x": "1", "was-x": "2"})
	if got := r.Int("new", 0, 0, 9, "old", "older"); got != 3 {
		t.Errorf("new = %d, want 3 from its old name", got)
	}
	if got := r.Int("x", 0, 0, 9, "was-x"); got != 1 {
		t.Errorf("x = %d, want 1", got)
	}
	want := "old is an old name of new; older is ignored: old is set too; was-x is ignored: x is set too"
	if got := strings.Join(r.Notes(), "; "); got != want || r.Err() != nil {
		t.Errorf("notes %q, error %v, want %q", got, r.Err(), want)
	}
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"10 min", "1m30s", "5", "x", "9223372036854775807 ns"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if again, err := ParseDuration(d.String()); err != nil || again != d {
			t.Fatalf("%q is %v, which reads as %v, %v", s, d, again, err)
		}
	})
}
