// Package setting reads typed values out of settings written as text: one
// string for each key, as configuration files and command lines give them. It
// understands the notations that Flink's configuration uses for durations
// ("10 min", "500ms") and sizes ("20 kb"), and Go's own for durations
// ("1m30s"). It knows no key; the packages whose settings these are name keys,
// defaults and ranges.
package setting

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Reader hands out the values of a set of settings and remembers what it was
// asked for and what was wrong. Every problem is collected, so that one run
// shows all of them. A Reader is owned by the function that parses.
type Reader struct {
	values map[string]string
	known  []string          // keys and old names asked for
	given  map[string]string // the old name under which a key was found
	notes  []string
	errs   []error
}

// Read returns a reader of values, which it does not change.
func Read(values map[string]string) *Reader {
	return &Reader{values: values, given: map[string]string{}}
}

// Err joins all problems in the order in which the keys were asked for; nil if
// there were none.
func (r *Reader) Err() error { return errors.Join(r.errs...) }

// Notes are remarks on settings that were accepted though they could be better,
// such as keys under an old name.
func (r *Reader) Notes() []string { return r.notes }

// Note adds a remark, once if it is made more than once.
func (r *Reader) Note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(r.notes, s) {
		r.notes = append(r.notes, s)
	}
}

// Fail adds a problem with the value of key, whose text it quotes.
func (r *Reader) Fail(key, format string, args ...any) {
	if old, ok := r.given[key]; ok {
		key = old
	}
	r.errs = append(r.errs, fmt.Errorf("%s: %q: %s", key, r.values[key], fmt.Sprintf(format, args...)))
}

// Has reports whether key is set, under this name or one of the old ones.
func (r *Reader) Has(key string, old ...string) bool {
	_, _, ok := r.find(key, old)
	return ok
}

// find returns the value of key and the name it was given under.
func (r *Reader) find(key string, old []string) (text, name string, ok bool) {
	r.known = append(r.known, key)
	r.known = append(r.known, old...)
	text, ok = r.values[key]
	name = key
	for _, o := range old {
		v, given := r.values[o]
		switch {
		case !given:
		case ok:
			r.Note("%s is ignored: %s is set too", o, name)
		default:
			r.Note("%s is an old name of %s", o, key)
			text, name, ok = v, o, true
			r.given[key] = o
		}
	}
	return strings.TrimSpace(text), name, ok
}

// String returns the text of key, or def.
func (r *Reader) String(key, def string, old ...string) string {
	if text, _, ok := r.find(key, old); ok {
		return text
	}
	return def
}

// Duration returns the value of key, or def. It must be in least..most.
func (r *Reader) Duration(key string, def, least, most time.Duration, old ...string) time.Duration {
	text, name, ok := r.find(key, old)
	if !ok {
		return def
	}
	d, err := ParseDuration(text)
	if err != nil {
		r.Fail(name, "%v", err)
		return def
	}
	if d < least || d > most {
		r.Fail(name, "not in %s", interval(least, most, time.Duration(math.MaxInt64)))
		return def
	}
	return d
}

// Bytes returns the value of key in bytes, or def. It must be in least..most.
func (r *Reader) Bytes(key string, def, least, most int64, old ...string) int64 {
	text, name, ok := r.find(key, old)
	if !ok {
		return def
	}
	n, err := ParseBytes(text)
	if err != nil {
		r.Fail(name, "%v", err)
		return def
	}
	if n < least || n > most {
		r.Fail(name, "not in %s bytes", interval(least, most, math.MaxInt64))
		return def
	}
	return n
}

// Int returns the value of key, or def. It must be in least..most.
func (r *Reader) Int(key string, def, least, most int, old ...string) int {
	text, name, ok := r.find(key, old)
	if !ok {
		return def
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		r.Fail(name, "not a whole number in %s", interval(least, most, math.MaxInt))
		return def
	}
	if n < least || n > most {
		r.Fail(name, "not in %s", interval(least, most, math.MaxInt))
		return def
	}
	return n
}

// Float returns the value of key, or def. It must be in least..most.
func (r *Reader) Float(key string, def, least, most float64, old ...string) float64 {
	text, name, ok := r.find(key, old)
	if !ok {
		return def
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		r.Fail(name, "not a number in %s", interval(least, most, math.Inf(1)))
		return def
	}
	if !(f >= least && f <= most) || math.IsInf(f, 0) {
		r.Fail(name, "not in %s", interval(least, most, math.Inf(1)))
		return def
	}
	return f
}

// Bool returns the value of key, "true" or "false" in any case, or def.
func (r *Reader) Bool(key string, def bool, old ...string) bool {
	text, name, ok := r.find(key, old)
	switch {
	case !ok:
		return def
	case strings.EqualFold(text, "true"):
		return true
	case strings.EqualFold(text, "false"):
		return false
	}
	r.Fail(name, "neither true nor false")
	return def
}

// Choice returns the index of the value of key in names, or def. Case and the
// difference between hyphen and underscore do not matter.
func (r *Reader) Choice(key string, def int, names []string, old ...string) int {
	text, name, ok := r.find(key, old)
	if !ok {
		return def
	}
	plain := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }
	for i, n := range names {
		if plain(n) == plain(text) {
			return i
		}
	}
	r.Fail(name, "not one of %s", strings.Join(names, ", "))
	return def
}

// Unknown adds a problem for every key that begins with prefix and that nobody
// has asked for, with the nearest one that somebody has.
func (r *Reader) Unknown(prefix string) {
	var keys []string
	for k := range r.values {
		if strings.HasPrefix(k, prefix) && !slices.Contains(r.known, k) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		best, far := "", len(k)/3+1
		for _, n := range r.known {
			if d := distance(k, n); d < far {
				best, far = n, d
			}
		}
		if best != "" {
			r.Fail(k, "no such key; did you mean %s?", best)
		} else {
			r.Fail(k, "no such key")
		}
	}
}

func interval[T int | int64 | float64 | time.Duration](least, most, open T) string {
	if most >= open {
		return fmt.Sprintf("%v or more", least)
	}
	return fmt.Sprintf("%v..%v", least, most)
}

// units of durations, by every name that Flink accepts.
var units = map[string]time.Duration{
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
	"h": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"s": time.Second, "sec": time.Second, "secs": time.Second, "second": time.Second, "seconds": time.Second,
	"": time.Millisecond, "ms": time.Millisecond, "milli": time.Millisecond, "millis": time.Millisecond,
	"millisecond": time.Millisecond, "milliseconds": time.Millisecond,
	"us": time.Microsecond, "µs": time.Microsecond, "micro": time.Microsecond, "micros": time.Microsecond,
	"microsecond": time.Microsecond, "microseconds": time.Microsecond,
	"ns": time.Nanosecond, "nano": time.Nanosecond, "nanos": time.Nanosecond,
	"nanosecond": time.Nanosecond, "nanoseconds": time.Nanosecond,
}

// ParseDuration reads a whole number with a unit, as Flink writes it ("10 min";
// without a unit, milliseconds), or Go's notation ("1m30s", "1.5s").
func ParseDuration(text string) (time.Duration, error) {
	n, unit, err := number(text)
	if err == nil {
		scale, ok := units[unit]
		if ok {
			if n > math.MaxInt64/int64(scale) {
				return 0, errors.New("longer than 292 years")
			}
			return time.Duration(n) * scale, nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return d, nil
	}
	return 0, errors.New(`not a duration such as "500 ms", "10 s", "5 min", "1 h" or "1m30s"`)
}

var sizes = map[string]int64{
	"": 1, "b": 1, "byte": 1, "bytes": 1,
	"k": 1 << 10, "kb": 1 << 10, "kib": 1 << 10, "kibibyte": 1 << 10, "kibibytes": 1 << 10,
	"m": 1 << 20, "mb": 1 << 20, "mib": 1 << 20, "mebibyte": 1 << 20, "mebibytes": 1 << 20,
	"g": 1 << 30, "gb": 1 << 30, "gib": 1 << 30, "gibibyte": 1 << 30, "gibibytes": 1 << 30,
	"t": 1 << 40, "tb": 1 << 40, "tib": 1 << 40, "tebibyte": 1 << 40, "tebibytes": 1 << 40,
}

// ParseBytes reads a whole number with a unit ("20 kb", "32m"; without a unit,
// bytes). Units are powers of 1024, as in Flink.
func ParseBytes(text string) (int64, error) {
	n, unit, err := number(text)
	if err == nil {
		if scale, ok := sizes[unit]; ok {
			if n > math.MaxInt64/scale {
				return 0, errors.New("more than 8 exabytes")
			}
			return n * scale, nil
		}
	}
	return 0, errors.New(`not a size such as "4096", "20 kb", "32 mb" or "1 gb"`)
}

// number splits text into a whole number that is not negative and a unit in
// lower case.
func number(text string) (n int64, unit string, err error) {
	text = strings.TrimSpace(text)
	i := 0
	for i < len(text) && '0' <= text[i] && text[i] <= '9' {
		i++
	}
	n, err = strconv.ParseInt(text[:i], 10, 64)
	return n, strings.ToLower(strings.TrimSpace(text[i:])), err
}

// distance is the number of letters to insert, remove or replace to get from a
// to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
