package cold

import (
	"bytes"
	"encoding/binary"
)

// A TTL describes entries that expire: those whose key has Prefix behind its
// key group. An entry expires when its time is not 0 and is at or before the
// clock of its kind, which [Store.Expire] sets. Times are those of the
// caller, milliseconds of wall clock or event time. Expired entries vanish
// some time later, when compaction or [Store.Sweep] come by; until then they
// are read like others.
//
// A value that is too short for its kind never expires. Prefixes must not be
// prefixes of each other.
type TTL struct {
	Prefix []byte
	// Lists tells the two forms of values apart. Without it a value begins
	// with its time, 8 bytes, little-endian. With it a value is a list of
	// elements, each of them a length, 4 bytes, little-endian, and that many
	// bytes, which begin with the element's time; elements expire one by one,
	// and the entry when it has none left. An operand of a merge is then a
	// list too.
	Lists bool
}

// Covers reports whether entries under key are of kind t.
func (t *TTL) Covers(key []byte) bool {
	return len(key) >= 2 && bytes.HasPrefix(key[2:], t.Prefix)
}

// Live is what is left of value at the time now: the same slice where nothing
// has expired, nil where everything has, else a list that is built in
// scratch, which must not overlap value.
func (t *TTL) Live(value []byte, now int64, scratch []byte) []byte {
	if !t.Lists {
		if len(value) >= 8 && expired(value, now) {
			return nil
		}
		return value
	}
	kept, dropped := scratch[:0], false
	for rest := value; len(rest) > 0; {
		e := element(rest)
		if e == 0 {
			return value
		}
		if e >= 12 && expired(rest[4:], now) {
			if !dropped {
				kept, dropped = append(kept, value[:len(value)-len(rest)]...), true
			}
		} else if dropped {
			kept = append(kept, rest[:e]...)
		}
		rest = rest[e:]
	}
	switch {
	case !dropped:
		return value
	case len(kept) == 0:
		return nil
	}
	return kept
}

// element is the size of list's first element, length included, or 0 where
// the list is not well formed.
func element(list []byte) int {
	if len(list) < 4 {
		return 0
	}
	n := uint64(binary.LittleEndian.Uint32(list)) + 4
	if n > uint64(len(list)) {
		return 0
	}
	return int(n)
}

func expired(b []byte, now int64) bool {
	t := int64(binary.LittleEndian.Uint64(b))
	return t != 0 && t <= now
}
