package nexmark

import (
	"bytes"
	"strings"
	"unsafe"
)

// The queries that look at one bid at a time.

// passed is a row of q0.
type passed struct {
	Auction, Bidder, Price, DateTime int64
	Extra                            string
}

func passBids(p *plan) {
	emit(p, p.bids().MapTo(func(b *Bid, r *passed) {
		*r = passed{b.Auction, b.Bidder, b.Price, b.DateTime, b.Extra}
	}), appendPassed)
}

func appendPassed(dst []byte, r *passed) []byte {
	dst = appendInt(dst, `{"auction":`, r.Auction)
	dst = appendInt(dst, `,"bidder":`, r.Bidder)
	dst = appendInt(dst, `,"price":`, r.Price)
	dst = appendTime(dst, `,"dateTime":`, r.DateTime)
	return append(appendString(dst, `,"extra":`, r.Extra), '}')
}

// converted is a row of q1.
type converted struct {
	Auction, Bidder int64
	Price           Decimal
	DateTime        int64
	Extra           string
}

func convertPrices(p *plan) {
	emit(p, p.bids().MapTo(func(b *Bid, r *converted) {
		*r = converted{b.Auction, b.Bidder, inEuro(b.Price), b.DateTime, b.Extra}
	}), func(dst []byte, r *converted) []byte {
		dst = appendInt(dst, `{"auction":`, r.Auction)
		dst = appendInt(dst, `,"bidder":`, r.Bidder)
		dst = appendDecimal(dst, `,"price":`, r.Price)
		dst = appendTime(dst, `,"dateTime":`, r.DateTime)
		return append(appendString(dst, `,"extra":`, r.Extra), '}')
	})
}

// offer is a row of q2.
type offer struct{ Auction, Price int64 }

func selectAuctions(p *plan) {
	emit(p, p.bids().
		FilterRef(func(b *Bid) bool { return b.Auction%123 == 0 }).
		MapTo(func(b *Bid, r *offer) { *r = offer{b.Auction, b.Price} }),
		func(dst []byte, r *offer) []byte {
			dst = appendInt(dst, `{"auction":`, r.Auction)
			return append(appendInt(dst, `,"price":`, r.Price), '}')
		})
}

// enriched is a row of q13.
type enriched struct {
	Auction, Bidder, Price, DateTime int64
	Value                            string
}

func enrichBids(p *plan) {
	table := p.side
	emit(p, p.bids().FlatMapRef(func(b *Bid, send func(enriched)) {
		for _, value := range table.of(b.Auction) {
			send(enriched{b.Auction, b.Bidder, b.Price, b.DateTime, value})
		}
	}), func(dst []byte, r *enriched) []byte {
		dst = appendInt(dst, `{"auction":`, r.Auction)
		dst = appendInt(dst, `,"bidder":`, r.Bidder)
		dst = appendInt(dst, `,"price":`, r.Price)
		dst = appendTime(dst, `,"dateTime":`, r.DateTime)
		return append(appendString(dst, `,"value":`, r.Value), '}')
	})
}

// calculated is a row of q14.
type calculated struct {
	Auction, Bidder int64
	Price           Decimal
	BidTimeType     string
	DateTime        int64
	Extra           string
	Count           int64 // of the letter c in Extra
}

func calculate(p *plan) {
	emit(p, p.bids().
		FilterRef(func(b *Bid) bool {
			d := inEuro(b.Price)
			return d.above(1_000_000) && d.below(50_000_000)
		}).
		MapTo(func(b *Bid, r *calculated) {
			*r = calculated{b.Auction, b.Bidder, inEuro(b.Price), timeType(b.DateTime), b.DateTime, b.Extra, countByte(b.Extra, 'c')}
		}), func(dst []byte, r *calculated) []byte {
		dst = appendInt(dst, `{"auction":`, r.Auction)
		dst = appendInt(dst, `,"bidder":`, r.Bidder)
		dst = appendDecimal(dst, `,"price":`, r.Price)
		dst = appendString(dst, `,"bidTimeType":`, r.BidTimeType)
		dst = appendTime(dst, `,"dateTime":`, r.DateTime)
		dst = appendString(dst, `,"extra":`, r.Extra)
		return append(appendInt(dst, `,"c_counts":`, r.Count), '}')
	})
}

func timeType(millis int64) string {
	switch hour := minuteOf(millis) / 60; {
	case hour >= 8 && hour <= 18:
		return "dayTime"
	case hour <= 6 || hour >= 20:
		return "nightTime"
	}
	return "otherTime"
}

func countByte(s string, c byte) int64 {
	return int64(bytes.Count(unsafe.Slice(unsafe.StringData(s), len(s)), []byte{c}))
}

// channelled is a row of q21.
type channelled struct {
	Auction, Bidder, Price int64
	Channel, ID            string
}

func channelIDs(p *plan) {
	emit(p, p.bids().FlatMapRef(func(b *Bid, send func(channelled)) {
		if id, ok := channelID(b.Channel, b.URL); ok {
			send(channelled{b.Auction, b.Bidder, b.Price, b.Channel, id})
		}
	}), func(dst []byte, r *channelled) []byte {
		dst = appendInt(dst, `{"auction":`, r.Auction)
		dst = appendInt(dst, `,"bidder":`, r.Bidder)
		dst = appendInt(dst, `,"price":`, r.Price)
		dst = appendString(dst, `,"channel":`, r.Channel)
		return append(appendString(dst, `,"channel_id":`, r.ID), '}')
	})
}

// channelID returns the id of a channel, or that of the URL as the reference's
// expression (&|^)channel_id=([^&]*) finds it: the first there is.
func channelID(channel, url string) (id string, ok bool) {
	switch {
	case lowers(channel, "apple"):
		return "0", true
	case lowers(channel, "google"):
		return "1", true
	case lowers(channel, "facebook"):
		return "2", true
	case lowers(channel, "baidu"):
		return "3", true
	}
	const name = "channel_id="
	rest := url
	if !strings.HasPrefix(url, name) {
		i := strings.Index(url, "&"+name)
		if i < 0 {
			return "", false
		}
		rest = url[i+1:]
	}
	rest = rest[len(name):]
	if i := strings.IndexByte(rest, '&'); i >= 0 {
		rest = rest[:i]
	}
	return rest, true
}

// lowers reports whether s is lower, a word of the letters a to z, once in
// lower case. One letter beyond ASCII has such a lower case: the Kelvin sign,
// whose is k.
func lowers(s, lower string) bool {
	const kelvin = "\u212a"
	if len(s) < len(lower) || s[0]|0x20 != lower[0] {
		return false // none of the words begins with a k
	}
	for i := range len(lower) {
		switch {
		case s == "":
			return false
		case s[0] == lower[i], s[0] >= 'A' && s[0] <= 'Z' && s[0]|0x20 == lower[i]:
			s = s[1:]
		case lower[i] == 'k' && strings.HasPrefix(s, kelvin):
			s = s[len(kelvin):]
		default:
			return false
		}
	}
	return s == ""
}

// located is a row of q22.
type located struct {
	Auction, Bidder, Price int64
	Channel                string
	Dirs                   [3]text
}

func urlDirectories(p *plan) {
	emit(p, p.bids().MapTo(func(b *Bid, r *located) {
		*r = located{b.Auction, b.Bidder, b.Price, b.Channel, directories(b.URL)}
	}), func(dst []byte, r *located) []byte {
		dst = appendInt(dst, `{"auction":`, r.Auction)
		dst = appendInt(dst, `,"bidder":`, r.Bidder)
		dst = appendInt(dst, `,"price":`, r.Price)
		dst = appendString(dst, `,"channel":`, r.Channel)
		dst = appendText(dst, `,"dir1":`, r.Dirs[0])
		dst = appendText(dst, `,"dir2":`, r.Dirs[1])
		return append(appendText(dst, `,"dir3":`, r.Dirs[2]), '}')
	})
}

// directories returns the fourth, fifth and sixth of the parts of url that its
// slashes divide. Parts may be empty; those that are not there are NULL.
func directories(url string) (dirs [3]text) {
	for range 3 {
		i := strings.IndexByte(url, '/')
		if i < 0 {
			return dirs
		}
		url = url[i+1:]
	}
	for n := range dirs {
		i := strings.IndexByte(url, '/')
		if i < 0 {
			dirs[n] = text{url, true}
			return dirs
		}
		dirs[n] = text{url[:i], true}
		url = url[i+1:]
	}
	return dirs
}
