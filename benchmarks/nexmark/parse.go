package nexmark

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// ParseEvent reads one event from one object of JSON, as [AppendEvent] writes
// it, and overwrites all of e. Fields may come in any order and unknown ones
// are passed over. A string may be missing or null and is then empty; a number
// or a time may not. The error names the field.
//
// Strings of the event are parts of s where they need no unescaping.
func ParseEvent(s string, e *Event) error {
	var p parser
	return p.parse(s, e)
}

// A parser reads JSON from one string. Methods that read something leave at
// behind it, and report what is wrong by the error they return.
type parser struct {
	s  string
	at int

	people   []Person // allocated and not yet used, like an eventFiller's
	auctions []Auction
}

const depthMax = 64 // of unknown values

var (
	errEnd    = errors.New("want the end of the line")
	errObject = errors.New("want an object")
	errString = errors.New("want a string")
	errInt    = errors.New("want an integer of 64 bits")
	errValue  = errors.New("want a value")
	errKey    = errors.New("want a key")
	errColon  = errors.New("want a colon after the key")
	errComma  = errors.New("want a comma or the end of the object")
	errDeep   = errors.New("nested too deep")
)

func (p *parser) parse(s string, e *Event) error {
	p.s, p.at = s, 0
	*e = Event{}
	var person *Person
	var auction *Auction
	kind, bid := int64(-1), false
	err := p.object(func(key string) (err error) {
		switch key {
		case "event_type":
			if err := p.int(&kind); err != nil {
				return err
			}
			if kind < 0 || kind > 2 {
				return fmt.Errorf("is %d, want 0, 1 or 2", kind)
			}
		case "person":
			person = nil
			if p.null() {
				return nil
			}
			person = take(&p.people)
			*person = Person{}
			return p.person(person)
		case "auction":
			auction = nil
			if p.null() {
				return nil
			}
			auction = take(&p.auctions)
			*auction = Auction{}
			return p.auction(auction)
		case "bid":
			bid, e.Bid = false, Bid{}
			if p.null() {
				return nil
			}
			bid = true
			return p.bid(&e.Bid)
		default:
			return p.skip(0)
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.space()
	switch {
	case p.at != len(p.s):
		return p.wrong(errEnd)
	case kind < 0:
		return errors.New("event_type: is missing")
	case kind == int64(KindPerson) && person == nil, kind == int64(KindAuction) && auction == nil, kind == int64(KindBid) && !bid:
		return fmt.Errorf("%s: is missing for event_type %d", Kind(kind), kind)
	}
	e.Kind = Kind(kind)
	switch e.Kind {
	case KindPerson:
		e.Person, e.Bid = person, Bid{}
	case KindAuction:
		e.Auction, e.Bid = auction, Bid{}
	}
	return nil
}

// required checks that all fields of a mask were met.
func required(seen uint, names ...string) error {
	for i, name := range names {
		if seen&(1<<i) == 0 {
			return &fieldError{name, errors.New("is missing")}
		}
	}
	return nil
}

func (p *parser) person(v *Person) error {
	var seen uint
	err := p.object(func(key string) error {
		switch key {
		case "id":
			seen |= 1
			return p.int(&v.ID)
		case "name":
			return p.string(&v.Name)
		case "emailAddress":
			return p.string(&v.EmailAddress)
		case "creditCard":
			return p.string(&v.CreditCard)
		case "city":
			return p.string(&v.City)
		case "state":
			return p.string(&v.State)
		case "dateTime":
			seen |= 2
			return p.millis(&v.DateTime)
		case "extra":
			return p.string(&v.Extra)
		}
		return p.skip(0)
	})
	if err != nil || seen == 3 {
		return err
	}
	return required(seen, "id", "dateTime")
}

func (p *parser) auction(v *Auction) error {
	var seen uint
	err := p.object(func(key string) error {
		switch key {
		case "id":
			seen |= 1
			return p.int(&v.ID)
		case "itemName":
			return p.string(&v.ItemName)
		case "description":
			return p.string(&v.Description)
		case "initialBid":
			seen |= 2
			return p.int(&v.InitialBid)
		case "reserve":
			seen |= 4
			return p.int(&v.Reserve)
		case "dateTime":
			seen |= 8
			return p.millis(&v.DateTime)
		case "expires":
			seen |= 16
			return p.millis(&v.Expires)
		case "seller":
			seen |= 32
			return p.int(&v.Seller)
		case "category":
			seen |= 64
			return p.int(&v.Category)
		case "extra":
			return p.string(&v.Extra)
		}
		return p.skip(0)
	})
	if err != nil || seen == 127 {
		return err
	}
	return required(seen, "id", "initialBid", "reserve", "dateTime", "expires", "seller", "category")
}

func (p *parser) bid(v *Bid) error {
	var seen uint
	err := p.object(func(key string) error {
		switch key {
		case "auction":
			seen |= 1
			return p.int(&v.Auction)
		case "bidder":
			seen |= 2
			return p.int(&v.Bidder)
		case "price":
			seen |= 4
			return p.int(&v.Price)
		case "channel":
			return p.string(&v.Channel)
		case "url":
			return p.string(&v.URL)
		case "dateTime":
			seen |= 8
			return p.millis(&v.DateTime)
		case "extra":
			return p.string(&v.Extra)
		}
		return p.skip(0)
	})
	if err != nil || seen == 15 {
		return err
	}
	return required(seen, "auction", "bidder", "price", "dateTime")
}

// A fieldError says in which field something is wrong; nested ones join.
type fieldError struct {
	field string
	err   error
}

func (e *fieldError) Error() string {
	if inner, ok := e.err.(*fieldError); ok {
		return e.field + "." + inner.Error()
	}
	return e.field + ": " + e.err.Error()
}

func (e *fieldError) Unwrap() error { return e.err }

// wrong adds to what was wanted what is there.
func (p *parser) wrong(want error) error {
	have := p.s[min(p.at, len(p.s)):]
	if have == "" {
		return fmt.Errorf("%w, have the end of the line", want)
	}
	return fmt.Errorf("%w, have %q", want, strings.ToValidUTF8(have[:min(len(have), 24)], "\uFFFD"))
}

func (p *parser) space() {
	for p.at < len(p.s) {
		switch p.s[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

// next reports whether c comes next, and passes it.
func (p *parser) next(c byte) bool {
	p.space()
	if p.at < len(p.s) && p.s[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) null() bool {
	p.space()
	if strings.HasPrefix(p.s[p.at:], "null") {
		p.at += len("null")
		return true
	}
	return false
}

// object reads an object; value reads the value of each key.
func (p *parser) object(value func(key string) error) error {
	if !p.next('{') {
		return p.wrong(errObject)
	}
	if p.next('}') {
		return nil
	}
	for {
		p.space()
		key, err := p.text()
		if err != nil {
			return p.wrong(errKey)
		}
		if !p.next(':') {
			return &fieldError{key, p.wrong(errColon)}
		}
		if err := value(key); err != nil {
			return &fieldError{key, err}
		}
		if p.next(',') {
			continue
		}
		if p.next('}') {
			return nil
		}
		return &fieldError{key, p.wrong(errComma)}
	}
}

func (p *parser) string(v *string) (err error) {
	if p.null() {
		*v = ""
		return nil
	}
	*v, err = p.text()
	return err
}

func (p *parser) millis(v *int64) error {
	p.space()
	from := p.at
	s, err := p.text()
	if err != nil {
		return err
	}
	if *v, err = ParseMillis(s); err != nil {
		p.at = from
		return p.wrong(err)
	}
	return nil
}

func (p *parser) int(v *int64) error {
	p.space()
	from := p.at
	for p.at < len(p.s) && (p.s[p.at]-'0' < 10 || p.s[p.at] == '-') {
		p.at++
	}
	digits := p.s[from:p.at]
	more := p.at < len(p.s) && (p.s[p.at]|0x20 == 'e' || p.s[p.at] == '.')
	bare := strings.TrimPrefix(digits, "-")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || more || len(bare) > 1 && bare[0] == '0' {
		p.at = from
		return p.wrong(errInt)
	}
	*v = n
	return nil
}

// text reads a string.
func (p *parser) text() (string, error) {
	if p.at >= len(p.s) || p.s[p.at] != '"' {
		return "", p.wrong(errString)
	}
	rest := p.s[p.at+1:]
	if end := strings.IndexByte(rest, '"'); end >= 0 && plain(rest[:end]) {
		p.at += end + 2
		return rest[:end], nil
	}
	return p.escapedText()
}

// escapedText is text for strings that are more than printable ASCII.
func (p *parser) escapedText() (string, error) {
	var b []byte
	i := p.at + 1
	bad := func(what string) (string, error) {
		return "", p.wrong(fmt.Errorf("want a string, but at byte %d of it is %s", i-p.at, what))
	}
	for i < len(p.s) {
		c := p.s[i]
		switch {
		case c == '"':
			p.at = i + 1
			return strings.ToValidUTF8(string(b), "\uFFFD"), nil
		case c < ' ':
			return bad("a control character")
		case c != '\\':
			b = append(b, c)
			i++
			continue
		}
		if i+1 >= len(p.s) {
			break
		}
		switch c := p.s[i+1]; c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, ok := p.hex(i + 2)
			if !ok {
				return bad("a bad escape")
			}
			i += 6
			if utf16.IsSurrogate(r) {
				low, ok := rune(0), false
				if strings.HasPrefix(p.s[i:], `\u`) {
					low, ok = p.hex(i + 2)
				}
				if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
					i += 6
				}
			}
			b = utf8.AppendRune(b, r)
			continue
		default:
			return bad("a bad escape")
		}
		i += 2
	}
	return bad("the end of the line")
}

// hex reads the four digits of an escaped UTF-16 unit.
func (p *parser) hex(at int) (rune, bool) {
	if at+4 > len(p.s) {
		return 0, false
	}
	var r rune
	for _, c := range []byte(p.s[at : at+4]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// skip passes over any value.
func (p *parser) skip(depth int) error {
	if depth > depthMax {
		return errDeep
	}
	p.space()
	if p.at >= len(p.s) {
		return p.wrong(errValue)
	}
	switch c := p.s[p.at]; c {
	case '"':
		_, err := p.text()
		return err
	case '{':
		return p.object(func(string) error { return p.skip(depth + 1) })
	case '[':
		p.at++
		if p.next(']') {
			return nil
		}
		for {
			if err := p.skip(depth + 1); err != nil {
				return err
			}
			if p.next(']') {
				return nil
			}
			if !p.next(',') {
				return p.wrong(errComma)
			}
		}
	}
	for _, word := range []string{"null", "true", "false"} {
		if strings.HasPrefix(p.s[p.at:], word) {
			p.at += len(word)
			return nil
		}
	}
	from := p.at
	for p.at < len(p.s) && strings.IndexByte("+-.0123456789eE", p.s[p.at]) >= 0 {
		p.at++
	}
	if _, err := strconv.ParseFloat(p.s[from:p.at], 64); err != nil && !errors.Is(err, strconv.ErrRange) {
		p.at = from
		return p.wrong(errValue)
	}
	return nil
}
