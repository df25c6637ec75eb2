package nexmark

import "strconv"

// A Decimal is a number with three decimals, as the reference's DECIMAL(23, 3).
// Its parts have the same sign.
type Decimal struct {
	Whole       int64
	Thousandths int16 // -999 to 999
}

// inEuro returns 0.908 × cents, exactly, whatever the price.
func inEuro(cents int64) Decimal {
	rest := cents % 1000 * 908
	return Decimal{cents/1000*908 + rest/1000, int16(rest % 1000)}
}

// above reports whether d is greater than a whole number.
func (d Decimal) above(whole int64) bool {
	return d.Whole > whole || d.Whole == whole && d.Thousandths > 0
}

// below reports whether d is less than a whole number.
func (d Decimal) below(whole int64) bool {
	return d.Whole < whole || d.Whole == whole && d.Thousandths < 0
}

func (d Decimal) append(dst []byte) []byte {
	t := d.Thousandths
	if t < 0 {
		t = -t
		if d.Whole == 0 {
			dst = append(dst, '-')
		}
	}
	dst = strconv.AppendInt(dst, d.Whole, 10)
	return append(dst, '.', byte('0'+t/100), byte('0'+t/10%10), byte('0'+t%10))
}

// A Day is a date, in days since 1970-01-01 UTC. The reference makes it of a
// TIMESTAMP without zone, so no zone has a part in it.
type Day int32

func dayOf(millis int64) Day { return Day(floorDiv(millis, millisPerDay)) }

// AppendDay appends d as yyyy-MM-dd.
func (d Day) append(dst []byte) []byte {
	var buf [32]byte
	text := AppendMillis(buf[:0], int64(d)*millisPerDay)
	return append(dst, text[:len(text)-len("T00:00:00")]...)
}

// A Minute is a time of day in minutes.
type Minute int16

func minuteOf(millis int64) Minute {
	return Minute((millis - floorDiv(millis, millisPerDay)*millisPerDay) / 60_000)
}

// append appends m as HH:mm.
func (m Minute) append(dst []byte) []byte {
	return appendTwo(append(appendTwo(dst, int(m/60)), ':'), int(m%60))
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// Each of these appends a key with what is around it, and the value.

func appendDecimal(dst []byte, key string, d Decimal) []byte { return d.append(append(dst, key...)) }

func appendDay(dst []byte, key string, d Day) []byte {
	return append(d.append(append(append(dst, key...), '"')), '"')
}

func appendMinute(dst []byte, key string, m Minute) []byte {
	return append(m.append(append(append(dst, key...), '"')), '"')
}

// text is a string that may be NULL.
type text struct {
	s     string
	valid bool
}

func appendText(dst []byte, key string, t text) []byte {
	if !t.valid {
		return append(append(dst, key...), "null"...)
	}
	return appendString(dst, key, t.s)
}
