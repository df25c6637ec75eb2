package nexmark

import (
	"errors"
	"strings"
	"time"
)

const (
	millisPerDay = 24 * 60 * 60 * 1000
	millisMin    = -62167219200_000 // 0000-01-01T00:00:00
	millisMax    = 253402300799_999 // 9999-12-31T23:59:59.999
)

// AppendMillis appends a time in milliseconds since 1970 UTC as events and
// results write it: 2026-11-23T00:55:27.41, in UTC, with as many of the three
// decimals as are needed and no point if that is none. It is meant for the
// years 0 to 9999.
func AppendMillis(dst []byte, millis int64) []byte {
	if millis < millisMin || millis > millisMax {
		return time.UnixMilli(millis).UTC().AppendFormat(dst, "2006-01-02T15:04:05.999")
	}
	day := millis / millisPerDay
	if millis%millisPerDay < 0 {
		day--
	}
	ms := int(millis - day*millisPerDay)
	y, m, d := civil(day)
	dst = append(dst, byte('0'+y/1000), byte('0'+y/100%10), byte('0'+y/10%10), byte('0'+y%10), '-')
	dst = append(appendTwo(dst, m), '-')
	dst = append(appendTwo(dst, d), 'T')
	dst = append(appendTwo(dst, ms/3600_000), ':')
	dst = append(appendTwo(dst, ms/60_000%60), ':')
	dst = appendTwo(dst, ms/1000%60)
	if f := ms % 1000; f != 0 {
		dst = append(dst, '.', byte('0'+f/100))
		if f%100 != 0 {
			dst = append(dst, byte('0'+f/10%10))
		}
		if f%10 != 0 {
			dst = append(dst, byte('0'+f%10))
		}
	}
	return dst
}

func appendTwo(dst []byte, n int) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }

var errTime = errors.New("want a time like 2026-11-23T00:55:27.41")

// ParseMillis reads a time as AppendMillis writes it, in milliseconds since
// 1970 UTC. A space may stand for the T, a Z may follow, seconds that are 0 may
// be left out, and there may be nine decimals, of which those after the third
// are dropped.
func ParseMillis(s string) (int64, error) {
	s = strings.TrimSuffix(s, "Z")
	if len(s) == len("2026-11-23T00:55") {
		s += ":00"
	}
	if len(s) < len("2026-11-23T00:55:27") || len(s) > len("2026-11-23T00:55:27.123456789") ||
		s[4] != '-' || s[7] != '-' || s[10] != 'T' && s[10] != ' ' || s[13] != ':' || s[16] != ':' {
		return 0, errTime
	}
	var bad byte
	digit := func(at int) int {
		c := s[at] - '0'
		if c > 9 {
			bad = 1
		}
		return int(c)
	}
	two := func(at int) int { return digit(at)*10 + digit(at+1) }
	year, month, day := two(0)*100+two(2), two(5), two(8)
	hour, minute, second := two(11), two(14), two(17)
	millis := 0
	if len(s) > 19 {
		if s[19] != '.' {
			return 0, errTime
		}
		unit := 100
		for at := 20; at < len(s); at++ {
			millis += digit(at) * unit
			unit /= 10
		}
	}
	if bad != 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour > 23 || minute > 59 || second > 59 {
		return 0, errTime
	}
	return daysSince1970(year, month, day)*millisPerDay +
		int64(hour)*3600_000 + int64(minute)*60_000 + int64(second)*1000 + int64(millis), nil
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// Eras of 400 years of 146097 days; years begin in March, so that the leap
// day is the last.
const daysTo1970 = 719468 // from 0000-03-01

func daysSince1970(year, month, day int) int64 {
	month -= 3
	if month < 0 {
		month += 12
		year--
	}
	era := year / 400
	if year < 0 {
		era = -1
	}
	y := year - era*400
	inYear := (153*month+2)/5 + day - 1
	return int64(era*146097+y*365+y/4-y/100+inYear) - daysTo1970
}

func civil(days int64) (year, month, day int) {
	d := int(days) + daysTo1970
	era := d / 146097
	if d < 0 {
		era = -1
	}
	d -= era * 146097
	y := (d - d/1460 + d/36524 - d/146096) / 365
	inYear := d - (365*y + y/4 - y/100)
	m := (5*inYear + 2) / 153
	day = inYear - (153*m+2)/5 + 1
	year = y + era*400
	month = m + 3
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}
