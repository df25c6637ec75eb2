package nexmark

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
)

// AppendEvent appends e as one object of JSON, without a line end:
//
//	{"event_type":2,"person":null,"auction":null,"bid":{"auction":1000,…}}
//
// Bytes that are not UTF-8 become U+FFFD.
func AppendEvent(dst []byte, e *Event) []byte {
	switch e.Kind {
	case KindPerson:
		dst = append(dst, `{"event_type":0,"person":`...)
		dst = appendPerson(dst, e.Person)
		return append(dst, `,"auction":null,"bid":null}`...)
	case KindAuction:
		dst = append(dst, `{"event_type":1,"person":null,"auction":`...)
		dst = appendAuction(dst, e.Auction)
		return append(dst, `,"bid":null}`...)
	}
	dst = append(dst, `{"event_type":2,"person":null,"auction":null,"bid":`...)
	dst = appendBid(dst, &e.Bid)
	return append(dst, '}')
}

func appendPerson(dst []byte, p *Person) []byte {
	dst = appendInt(dst, `{"id":`, p.ID)
	dst = appendString(dst, `,"name":`, p.Name)
	dst = appendString(dst, `,"emailAddress":`, p.EmailAddress)
	dst = appendString(dst, `,"creditCard":`, p.CreditCard)
	dst = appendString(dst, `,"city":`, p.City)
	dst = appendString(dst, `,"state":`, p.State)
	dst = appendTime(dst, `,"dateTime":`, p.DateTime)
	dst = appendString(dst, `,"extra":`, p.Extra)
	return append(dst, '}')
}

func appendAuction(dst []byte, a *Auction) []byte {
	dst = appendInt(dst, `{"id":`, a.ID)
	dst = appendString(dst, `,"itemName":`, a.ItemName)
	dst = appendString(dst, `,"description":`, a.Description)
	dst = appendInt(dst, `,"initialBid":`, a.InitialBid)
	dst = appendInt(dst, `,"reserve":`, a.Reserve)
	dst = appendTime(dst, `,"dateTime":`, a.DateTime)
	dst = appendTime(dst, `,"expires":`, a.Expires)
	dst = appendInt(dst, `,"seller":`, a.Seller)
	dst = appendInt(dst, `,"category":`, a.Category)
	dst = appendString(dst, `,"extra":`, a.Extra)
	return append(dst, '}')
}

func appendBid(dst []byte, b *Bid) []byte {
	dst = appendInt(dst, `{"auction":`, b.Auction)
	dst = appendInt(dst, `,"bidder":`, b.Bidder)
	dst = appendInt(dst, `,"price":`, b.Price)
	dst = appendString(dst, `,"channel":`, b.Channel)
	dst = appendString(dst, `,"url":`, b.URL)
	dst = appendTime(dst, `,"dateTime":`, b.DateTime)
	dst = appendString(dst, `,"extra":`, b.Extra)
	return append(dst, '}')
}

// Each of these appends a key with what is around it, and the value.

func appendInt(dst []byte, key string, value int64) []byte {
	return strconv.AppendInt(append(dst, key...), value, 10)
}

func appendTime(dst []byte, key string, millis int64) []byte {
	dst = append(append(dst, key...), '"')
	return append(AppendMillis(dst, millis), '"')
}

func appendString(dst []byte, key, s string) []byte {
	dst = append(append(dst, key...), '"')
	if plain(s) && strings.IndexByte(s, '"') < 0 {
		return append(append(dst, s...), '"')
	}
	const hex, short = "0123456789abcdef", "btn?fr" // \b is 8; 11 has no short form
	for _, r := range s {                           // what is not UTF-8 comes as RuneError
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r >= '\b' && r <= '\r' && r != '\v':
			dst = append(dst, '\\', short[r-'\b'])
		case r < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// plain reports whether s has only printable ASCII and no backslash, eight
// bytes at a time.
func plain(s string) bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	for len(s) >= 8 {
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		slash := w ^ ones*'\\'
		if (w|(w-ones*' ')|(slash-ones)&^slash)&highs != 0 {
			return false
		}
		s = s[8:]
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '\\' {
			return false
		}
	}
	return true
}

// WriteEvents writes the events that are left of c to w, one a line, and
// returns how many it wrote.
func WriteEvents(w io.Writer, c *Cursor[Event]) (int64, error) {
	events := make([]Event, 256)
	var buf []byte
	var written int64
	for {
		n := c.Next(events)
		if n == 0 {
			return written, nil
		}
		buf = buf[:0]
		for i := range events[:n] {
			buf = append(AppendEvent(buf, &events[i]), '\n')
		}
		if _, err := w.Write(buf); err != nil {
			return written, fmt.Errorf("write event %d: %w", written, err)
		}
		written += int64(n)
	}
}

// WriteFile makes a file of all events of opts, one a line, compressed if its
// name ends in .gz. Options.Events must not be 0. On an error the file may be
// there in part.
func WriteFile(path string, opts Options) (err error) {
	if opts.Events == 0 {
		return fmt.Errorf("write %s: no number of events given", path)
	}
	g, err := New(opts)
	if err != nil {
		return err
	}
	c, err := g.Events(Split{})
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if !strings.HasSuffix(path, ".gz") {
		_, err = WriteEvents(f, c)
		return err
	}
	buffered := bufio.NewWriterSize(f, 64<<10)
	z := gzip.NewWriter(buffered)
	if _, err := WriteEvents(z, c); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
