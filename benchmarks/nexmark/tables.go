package nexmark

import (
	"math"
	"strconv"
	"sync"
)

// What the reference puts into names and addresses.
var (
	states     = [...]string{"AZ", "CA", "ID", "OR", "WA", "WY"}
	cities     = [...]string{"Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"}
	firstNames = [...]string{"Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"}
	lastNames  = [...]string{"Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"}
	hotNames   = [...]string{"Google", "Facebook", "Baidu", "Apple"}
)

const (
	channelCount = 10000
	emailCount   = 1 << 14
	cardCount    = 1 << 14 // starting places; four groups of digits each

	priceBits  = 10 // of the random bits, those that choose the entry of the table
	priceScale = 16 // the table counts sixteenths of a cent

	textOffsets = 1 << 20 // places where a text may start
	wordOffsets = 1 << 16
)

// tables holds everything that events are put together from, so that making
// one allocates nothing. They do not depend on the options: one set of 3 MB
// serves all generators of a process.
type tables struct {
	prices   [1<<priceBits + 1]int64
	channels [channelCount + len(hotNames)]channel // the hot ones last
	names    []string
	emails   [emailCount]string
	cards    string // groups of four digits, a space after each
	letters  string
	wordy    string // letters and now and then a space
}

type channel struct{ name, url string }

var sharedTables = sync.OnceValue(makeTables)

// source is a small random source of words for the tables.
type source uint64

func (s *source) next() uint64 {
	*s += gamma
	return mix(uint64(*s))
}

func (s *source) below(n uint64) int { return int(s.next() >> 32 * n >> 32) }

func makeTables() *tables {
	s := source(20150715)
	t := &tables{}
	for i := range t.prices {
		u := float64(i) / (1 << priceBits)
		t.prices[i] = int64(math.Round(math.Pow(10, u*6) * 100 * priceScale))
	}
	for i, name := range hotNames {
		t.channels[channelCount+i] = channel{name, baseURL(&s)}
	}
	for i := range channelCount {
		url := baseURL(&s)
		if s.below(10) > 0 {
			url += "&channel_id=" + strconv.FormatUint(uint64(reverse31(uint32(i))), 10)
		}
		t.channels[i] = channel{"channel-" + strconv.Itoa(i), url}
	}
	for _, first := range firstNames {
		for _, last := range lastNames {
			t.names = append(t.names, first+" "+last)
		}
	}
	for i := range t.emails {
		t.emails[i] = word(&s, 7, ' ') + "@" + word(&s, 5, ' ') + ".com"
	}
	t.cards = string(randomCards(&s))
	t.letters = string(randomLetters(&s, textOffsets+averageBytesMax*2))
	wordy := randomLetters(&s, wordOffsets+100)
	for i := range wordy {
		if s.below(13) == 0 {
			wordy[i] = ' '
		}
	}
	t.wordy = string(wordy)
	return t
}

// reverse31 turns the bits of i about and drops the sign, as the reference
// does to spread the ids of channels.
func reverse31(i uint32) uint32 {
	var r uint32
	for range 32 {
		r = r<<1 | i&1
		i >>= 1
	}
	if r > 1<<31 {
		r = -r
	}
	return r
}

func baseURL(s *source) string {
	return "https://www.nexmark.com/" + word(s, 5, '_') + "/" + word(s, 5, '_') + "/" + word(s, 5, '_') + "/item.htm?query=1"
}

// word returns a word of three to most-1 letters, among them now and then a
// special one; spaces are kept away from its ends by making them letters.
func word(s *source, most int, special byte) string {
	b := make([]byte, 3+s.below(uint64(most-3)))
	for i := range b {
		b[i] = 'a' + byte(s.below(26))
		if s.below(13) == 0 && (special != ' ' || i > 0 && i < len(b)-1) {
			b[i] = special
		}
	}
	return string(b)
}

func randomLetters(s *source, n int) []byte {
	b := make([]byte, n)
	var r uint64
	for i := range b {
		if i%8 == 0 {
			r = s.next()
		}
		b[i] = 'a' + byte(r&0xff*26>>8)
		r >>= 8
	}
	return b
}

func randomCards(s *source) []byte {
	b := make([]byte, 0, (cardCount+4)*5)
	for range cardCount + 4 {
		n := s.below(10000)
		b = append(b, byte('0'+n/1000), byte('0'+n/100%10), byte('0'+n/10%10), byte('0'+n%10), ' ')
	}
	return b
}

// price returns 100 * 10^(6u) for u = r/2^32, by linear interpolation between
// 1024 exact values: at most 0.003 % too much.
func (t *tables) price(r uint32) int64 {
	const low = 32 - priceBits
	i := r >> low
	p := t.prices[i]
	p += (t.prices[i+1] - p) * int64(r&(1<<low-1)) >> low
	return (p + priceScale/2) / priceScale
}

// card returns a credit card number chosen by r.
func (t *tables) card(r uint64) string {
	at := int(r&(cardCount-1)) * 5
	return t.cards[at : at+19]
}

// text returns letters whose place (20 bits) and length (12 bits) r chooses.
func (t *tables) text(r uint64, e extent) string {
	at := int(r & (textOffsets - 1))
	n := e.least + int(r>>20&0xfff*uint64(e.spread)>>12)
	return t.letters[at : at+n]
}

// words returns a text of three to most-1 bytes with single words, chosen by
// 32 bits of r, less the spaces at its ends.
func (t *tables) words(r uint64, most int) string {
	at := int(r & (wordOffsets - 1))
	n := 3 + int(below16(r>>16, uint64(most-3)))
	s := t.wordy[at : at+n]
	for len(s) > 0 && s[0] == ' ' {
		s = s[1:]
	}
	for len(s) > 0 && s[len(s)-1] == ' ' {
		s = s[:len(s)-1]
	}
	return s
}
