package keygroup

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// The native hash. It is part of the snapshot format (see the package
// comment) and is fixed by the vectors in hash_test.go:
//
//   - a whole number or bool as the only thing in the key: its value, sign
//     extended to 64 bits, through mix64. A float: its IEEE 754 bits as a
//     float64, -0 taken as +0 and every NaN as one NaN, through mix64.
//   - a string as the only thing in the key: hashBytes(seed, bytes).
//   - a struct or array: starting from seed, for each run of neighbouring
//     fixed-size values without gaps, h = hashBytes(h, memory of the run);
//     for each string, h = hashBytes(h, bytes); for each float,
//     h = fold(h^bits, k1). Blank fields and padding do not take part.
//
// The group is the upper 64 bits of hash*max, which uses the hash's upper
// bits; the word keeps the lower 48, so that group and table position are
// independent.
const (
	seed = 0x9e3779b97f4a7c15
	k0   = 0xa0761d6478bd642f
	k1   = 0xe7037ed1a0b428db
	k2   = 0x8ebc6af09c88c6e3
)

// mix64 is a bijection in which every input bit changes every output bit
// with a probability near one half (the finaliser of splitmix64, Stafford's
// variant 13). The constant keeps 0 from being its own image.
func mix64(x uint64) uint64 {
	x += seed
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	x ^= x >> 31
	return x
}

// fold multiplies to 128 bits and folds the halves together.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// hashBytes is a hash in the manner of wyhash: 16 bytes a multiplication, the
// last 1..16 bytes read as two overlapping words, the length mixed in at the
// end.
func hashBytes(h uint64, p string) uint64 {
	n := len(p)
	b := unsafe.Slice(unsafe.StringData(p), n)
	h ^= k0
	for len(b) > 16 {
		h = fold(binary.LittleEndian.Uint64(b)^k1, binary.LittleEndian.Uint64(b[8:])^h)
		b = b[16:]
	}
	var x, y uint64
	switch m := len(b); {
	case m >= 8:
		x = binary.LittleEndian.Uint64(b)
		y = binary.LittleEndian.Uint64(b[m-8:])
	case m >= 4:
		x = uint64(binary.LittleEndian.Uint32(b))
		y = uint64(binary.LittleEndian.Uint32(b[m-4:]))
	case m > 0:
		x = uint64(b[0])<<16 | uint64(b[m>>1])<<8 | uint64(b[m-1])
	}
	return fold(k2^uint64(n), fold(x^k1, y^h))
}

// wordOf makes the hash word of a native hash for max groups.
func wordOf(h, max uint64) uint64 {
	g, _ := bits.Mul64(h, max)
	return g<<GroupShift | h&LowMask
}
