package nexmark

import (
	"math"
	"math/big"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

func TestEuroIsExactForEveryPrice(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	prices := []int64{0, 1, -1, 999, -999, 1000, 1101321, 1101322, 55066079, 55066080, math.MaxInt64, math.MinInt64}
	for range 2000 {
		prices = append(prices, int64(r.Uint64())>>r.IntN(64))
	}
	for _, price := range prices {
		exact := new(big.Rat).Mul(big.NewRat(908, 1000), new(big.Rat).SetInt64(price))
		d := inEuro(price)
		if got, want := string(d.append(nil)), exact.FloatString(3); got != want {
			t.Errorf("%d: got %s, want %s", price, got, want)
		}
		for _, bound := range []int64{1_000_000, 50_000_000, 0, d.Whole} {
			c := exact.Cmp(new(big.Rat).SetInt64(bound))
			if d.above(bound) != (c > 0) || d.below(bound) != (c < 0) {
				t.Errorf("%s against %d: above %v, below %v", d.append(nil), bound, d.above(bound), d.below(bound))
			}
		}
	}
}

func TestDaysAndMinutesAreThoseOfTheTime(t *testing.T) {
	for _, c := range []struct{ time, day, minute, kind string }{
		{"2026-11-22T23:59:59.999", "2026-11-22", "23:59", "nightTime"},
		{"2026-11-23T00:00:00", "2026-11-23", "00:00", "nightTime"},
		{"1969-12-31T19:30:00", "1969-12-31", "19:30", "otherTime"},
		{"1970-01-01T07:01:59.1", "1970-01-01", "07:01", "otherTime"},
		{"2024-02-29T08:00:00", "2024-02-29", "08:00", "dayTime"},
		{"0999-01-01T18:59:00", "0999-01-01", "18:59", "dayTime"},
	} {
		ms, err := ParseMillis(c.time)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(dayOf(ms).append(nil)); got != c.day {
			t.Errorf("%s: day %s", c.time, got)
		}
		if got := string(minuteOf(ms).append(nil)); got != c.minute {
			t.Errorf("%s: minute %s", c.time, got)
		}
		if got := timeType(ms); got != c.kind {
			t.Errorf("%s: %s", c.time, got)
		}
	}
}

// What channelID and directories do without expressions and lists is what the
// reference's functions do with them.
func TestChannelsAndDirectoriesAreThoseOfTheExpressions(t *testing.T) {
	expression := regexp.MustCompile(`(&|^)channel_id=([^&]*)`)
	pieces := []string{"channel_id=", "&", "/", "x", "apple", "Google", "FACEBOO", "k", "K", "\u212a", "baidu", "\u0130", "\n", "é", "1", "?"}
	r := rand.New(rand.NewPCG(3, 4))
	random := func() (s string) {
		for range r.IntN(8) {
			s += pieces[r.IntN(len(pieces))]
		}
		return s
	}
	for range 20000 {
		channel, url := random(), random()
		want, ok := "", false
		if m := expression.FindStringSubmatch(url); m != nil {
			want, ok = m[2], true
		}
		lower := strings.ToLower(strings.ReplaceAll(channel, "\u0130", "i\u0307")) // as Java has it
		for i, name := range []string{"apple", "google", "facebook", "baidu"} {
			if lower == name {
				want, ok = string(rune('0'+i)), true
			}
		}
		if got, gotOK := channelID(channel, url); got != want || gotOK != ok {
			t.Fatalf("channel %q, URL %q: got %q %v, want %q %v", channel, url, got, gotOK, want, ok)
		}
		parts := strings.Split(url, "/")
		for i, dir := range directories(url) {
			want := text{}
			if 3+i < len(parts) {
				want = text{parts[3+i], true}
			}
			if dir != want {
				t.Fatalf("URL %q: directory %d is %v, want %v", url, i, dir, want)
			}
		}
	}
}

func TestChannelsInAnyCase(t *testing.T) {
	for channel, want := range map[string]string{
		"apple": "0", "APPLE": "0", "gOOgle": "1", "Facebook": "2", "faceBoo\u212a": "2", "BAIDU": "3",
		"apples": "", "appl": "", "": "", "BA\u0130DU": "", "applE ": "", "facebooK\u212a": "", "\u212aapple": "",
	} {
		if got, ok := channelID(channel, "https://x/"); got != want || ok != (want != "") {
			t.Errorf("%q: got %q %v, want %q", channel, got, ok, want)
		}
	}
}
