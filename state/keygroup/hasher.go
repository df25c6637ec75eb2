package keygroup

import (
	"errors"
	"fmt"
	"reflect"
	"unsafe"
)

// Options configures a Hasher. The zero value is the native hash.
type Options struct {
	// JavaCompatible gives every key the key group that JVM Flink gives it,
	// for jobs that are compared or exchanged with Flink partition by
	// partition. Whole numbers stand for Java's of the same width (int is a
	// long, unsigned numbers have the bits of the signed ones, uint16 is a
	// char), structs for tuples, arrays for lists. It spreads keys worse
	// than the native hash: all Flink jobs live with that.
	JavaCompatible bool
}

// how says which loop of One and Batch serves a key type.
type how uint8

const (
	hashSteps how = iota // the general plan
	hash8                // one whole number of that many bytes, unsigned or bool
	hash16
	hash32
	hash64
	hashInt8 // signed
	hashInt16
	hashInt32
	hashString
	hashMemory // one run of memory: structs of whole numbers without gaps
	hashJava
)

// A Hasher gives the hash words of keys of type K. It does not change after
// NewHasher and may be used by many goroutines.
type Hasher[K comparable] struct {
	max    uint64
	how    how
	native how // of a hashJava hasher: how its low bits are made
	size   uintptr
	steps  []step
	floats []step // those of steps that may be NaN
	shape  shape
}

// NewHasher makes the hasher of key type K for a job with max key groups.
//
// Bool, whole numbers, floats, strings, and arrays and structs of these are
// keys. The error for any other type names the offending field and what to
// key by in its place. It reflects on K once; One and Batch do not.
func NewHasher[K comparable](max int, opt Options) (*Hasher[K], error) {
	if max < 1 || max > MaxParallelism {
		return nil, fmt.Errorf("max parallelism %d: not in 1..%d", max, MaxParallelism)
	}
	if x := uint16(1); *(*byte)(unsafe.Pointer(&x)) != 1 || unsafe.Sizeof(int(0)) != 8 {
		return nil, errors.New("key groups need a 64-bit little-endian machine")
	}
	t := reflect.TypeFor[K]()
	left := maxParts
	sh, err := shapeOf(t, pathOf(t), &left)
	if err != nil {
		return nil, fmt.Errorf("key type %s: %w", t, err)
	}
	h := &Hasher[K]{max: uint64(max), size: t.Size(), shape: sh}
	h.steps = sh.plan(0, nil)
	for _, s := range h.steps {
		if s.kind == kindFloat32 || s.kind == kindFloat64 {
			h.floats = append(h.floats, s)
		}
	}
	switch sh.kind {
	case kindBool, kindUint8:
		h.how = hash8
	case kindUint16:
		h.how = hash16
	case kindUint32:
		h.how = hash32
	case kindInt64, kindUint64:
		h.how = hash64
	case kindInt8:
		h.how = hashInt8
	case kindInt16:
		h.how = hashInt16
	case kindInt32:
		h.how = hashInt32
	case kindString:
		h.how = hashString
	case kindStruct, kindArray:
		if len(h.steps) == 1 && h.steps[0] == (step{0, 0, h.size}) {
			h.how = hashMemory
		}
	}
	if opt.JavaCompatible {
		h.native, h.how = h.how, hashJava
	}
	return h, nil
}

func pathOf(t reflect.Type) string {
	if t.Name() != "" {
		return t.Name()
	}
	return "key"
}

// MayBeNaN reports whether K holds floats, so that HasNaN is worth asking.
func (h *Hasher[K]) MayBeNaN() bool { return len(h.floats) > 0 }

// HasNaN reports whether a float in the key is NaN. Such a key equals no key,
// not even itself: a table would never find it again. Whoever admits keys to
// keyed state refuses them.
func (h *Hasher[K]) HasNaN(k *K) bool {
	for i := range h.floats {
		q := unsafe.Add(unsafe.Pointer(k), h.floats[i].offset)
		if h.floats[i].kind == kindFloat32 {
			if f := *(*float32)(q); f != f {
				return true
			}
		} else if f := *(*float64)(q); f != f {
			return true
		}
	}
	return false
}

// Max is the number of key groups.
func (h *Hasher[K]) Max() int { return int(h.max) }

// One is the hash word of *k. It keeps neither k nor strings in it.
func (h *Hasher[K]) One(k *K) uint64 {
	p := unsafe.Pointer(k)
	if h.how == hashJava {
		return h.java(p)
	}
	return wordOf(h.hash(h.how, p), h.max)
}

func (h *Hasher[K]) java(p unsafe.Pointer) uint64 {
	low := h.hash(h.native, p) & LowMask
	return javaGroup(h.shape.hash32(p), uint32(h.max))<<GroupShift | low
}

func (h *Hasher[K]) hash(how how, p unsafe.Pointer) uint64 {
	switch how {
	case hash64:
		return mix64(*(*uint64)(p))
	case hashInt32:
		return mix64(uint64(*(*int32)(p)))
	case hashString:
		return hashBytes(seed, *(*string)(p))
	case hashMemory:
		return hashBytes(seed, unsafe.String((*byte)(p), h.size))
	case hash8:
		return mix64(uint64(*(*uint8)(p)))
	case hash16:
		return mix64(uint64(*(*uint16)(p)))
	case hash32:
		return mix64(uint64(*(*uint32)(p)))
	case hashInt8:
		return mix64(uint64(*(*int8)(p)))
	case hashInt16:
		return mix64(uint64(*(*int16)(p)))
	}
	switch h.shape.kind {
	case kindFloat32:
		return mix64(floatBits(float64(*(*float32)(p))))
	case kindFloat64:
		return mix64(floatBits(*(*float64)(p)))
	}
	return run(h.steps, p)
}

// Batch appends the hash words of keys to dst and returns it, as append does.
// The kind of key is looked at once for the batch; whole numbers, strings and
// gapless structs of whole numbers then have loops of their own.
func (h *Hasher[K]) Batch(keys []K, dst []uint64) []uint64 {
	n := len(keys)
	if n == 0 {
		return dst
	}
	at := len(dst)
	if cap(dst)-at < n {
		dst = append(dst, make([]uint64, n)...)
	}
	dst = dst[:at+n]
	out := dst[at:]
	p := unsafe.Pointer(unsafe.SliceData(keys))
	switch h.how {
	case hash64:
		words64(out, unsafe.Slice((*uint64)(p), n), h.max)
	case hash32:
		words32(out, unsafe.Slice((*uint32)(p), n), h.max)
	case hashInt32:
		words32(out, unsafe.Slice((*int32)(p), n), h.max)
	case hashString:
		wordsString(out, unsafe.Slice((*string)(p), n), h.max)
	case hashMemory:
		wordsMemory(out, p, h.size, h.max)
	case hashJava:
		for i := range out {
			out[i] = h.java(unsafe.Add(p, uintptr(i)*h.size))
		}
	default:
		for i := range out {
			out[i] = wordOf(h.hash(h.how, unsafe.Add(p, uintptr(i)*h.size)), h.max)
		}
	}
	return dst
}

func words64(dst, keys []uint64, max uint64) {
	dst = dst[:len(keys)]
	for i, k := range keys {
		dst[i] = wordOf(mix64(k), max)
	}
}

func words32[T int32 | uint32](dst []uint64, keys []T, max uint64) {
	dst = dst[:len(keys)]
	for i, k := range keys {
		dst[i] = wordOf(mix64(uint64(k)), max)
	}
}

func wordsString(dst []uint64, keys []string, max uint64) {
	dst = dst[:len(keys)]
	for i, k := range keys {
		dst[i] = wordOf(hashBytes(seed, k), max)
	}
}

// wordsMemory hashes keys of size bytes that lie one behind the other at p.
// Keys of one or two words, the common ones, are hashed without a loop over
// their bytes; the result is that of hashBytes.
func wordsMemory(dst []uint64, p unsafe.Pointer, size uintptr, max uint64) {
	if size == 16 || size == 8 {
		for i := range dst {
			q := unsafe.Add(p, uintptr(i)*size)
			x, y := *(*uint64)(q), *(*uint64)(unsafe.Add(q, size-8))
			dst[i] = wordOf(fold(k2^uint64(size), fold(x^k1, y^seed^k0)), max)
		}
		return
	}
	for i := range dst {
		s := unsafe.String((*byte)(unsafe.Add(p, uintptr(i)*size)), size)
		dst[i] = wordOf(hashBytes(seed, s), max)
	}
}
