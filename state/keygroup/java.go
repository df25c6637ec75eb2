package keygroup

import (
	"math"
	"math/bits"
	"unicode/utf8"
	"unsafe"
)

// javaGroup is the key group that JVM Flink gives a key whose hashCode is c.
func javaGroup(c uint32, max uint32) uint64 {
	return uint64(murmur(c) % max)
}

// murmur is Flink's MathUtils.murmurHash; the result is not negative.
func murmur(c uint32) uint32 {
	c *= 0xcc9e2d51
	c = bits.RotateLeft32(c, 15)
	c *= 0x1b873593
	c = bits.RotateLeft32(c, 13)
	c = c*5 + 0xe6546b64
	c ^= 4
	c ^= c >> 16
	c *= 0x85ebca6b
	c ^= c >> 13
	c *= 0xc2b2ae35
	c ^= c >> 16
	switch n := int32(c); {
	case n >= 0:
		return c
	case n == math.MinInt32:
		return 0
	default:
		return uint32(-n)
	}
}

func javaLong(v uint64) uint32 { return uint32(v) ^ uint32(v>>32) }

// javaString is String.hashCode: over UTF-16 code units. Bytes that are not
// UTF-8 count as U+FFFD, which is what decoding them in Java gives.
func javaString(s string) uint32 {
	var h uint32
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			h = 31*h + uint32(c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		if r < 0x10000 {
			h = 31*h + uint32(r)
			continue
		}
		r -= 0x10000
		h = 31*h + 0xd800 + uint32(r)>>10
		h = 31*h + 0xdc00 + uint32(r)&0x3ff
	}
	return h
}

// hash32 is the Java hashCode of the value of shape n at p. Java's Float and
// Double tell -0 from +0; Go's == does not, so both hash as +0 here.
func (n *shape) hash32(p unsafe.Pointer) uint32 {
	p = unsafe.Add(p, n.offset)
	switch n.kind {
	case kindBool:
		if *(*bool)(p) {
			return 1231
		}
		return 1237
	case kindInt8:
		return uint32(*(*int8)(p))
	case kindInt16:
		return uint32(*(*int16)(p))
	case kindInt32, kindUint32:
		return *(*uint32)(p)
	case kindUint8:
		return uint32(*(*uint8)(p))
	case kindUint16:
		return uint32(*(*uint16)(p))
	case kindInt64, kindUint64:
		return javaLong(*(*uint64)(p))
	case kindFloat32:
		f := *(*float32)(p)
		switch {
		case f == 0:
			return 0
		case f != f:
			return 0x7fc00000
		}
		return math.Float32bits(f)
	case kindFloat64:
		return javaLong(floatBits(*(*float64)(p)))
	case kindString:
		return javaString(*(*string)(p))
	}
	h := uint32(0)
	if n.kind == kindArray {
		h = 1
	}
	for i := range n.parts {
		h = 31*h + n.parts[i].hash32(p)
	}
	return h
}

// floatBits are the bits of f with -0 as +0 and one NaN for all.
func floatBits(f float64) uint64 {
	switch {
	case f == 0:
		return 0
	case f != f:
		return 0x7ff8000000000000
	}
	return math.Float64bits(f)
}
