package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"sync"
	"time"
)

// An Ordered encodes keys so that the order of the bytes, by bytes.Compare, is
// the order of the values, and so that no encoding is the prefix of another.
// It serves ordered maps and range scans. Make one with [OrderedOf]. It never
// changes and may be used by many goroutines at once.
//
// Keys are bools (false first), integers, floats, strings, byte slices,
// times, and arrays and structs of those, which are ordered by their first
// element or field that differs. The order of floats is that of cmp.Compare:
// NaN stands before all numbers, all NaNs are one and both zeros are one. Times are
// ordered as instants and come back in UTC. Nil and empty byte slices are one,
// which comes back empty.
//
//	bool          0 or 1
//	integers      big endian; the sign bit flipped if signed
//	floats        big endian; if negative all bits flipped, else the sign bit; NaN is 0
//	time.Time     seconds since the year 1 as a signed integer, 4 bytes of nanoseconds
//	string        its bytes, 0 written as 0 255; then 0 1
type Ordered[T any] struct {
	shape *shape
	ops   []orderedOp // nil where the host's memory is not laid out as expected
}

var orderedCodecs sync.Map // reflect.Type to *Ordered

// OrderedOf returns the ordered encoding of T. It is made on the first call and
// kept for the life of the program. The error names the path of the field that
// has no order, and its type.
func OrderedOf[T any]() (*Ordered[T], error) {
	t := reflect.TypeFor[T]()
	if c, ok := orderedCodecs.Load(t); ok {
		return c.(*Ordered[T]), nil
	}
	s, err := shapeOf(t, nil)
	if err != nil {
		return nil, err
	}
	if err := orderable(s, typeName(t)); err != nil {
		return nil, err
	}
	c := &Ordered[T]{shape: s}
	if hostMatches {
		c.ops = compileOrdered(nil, s, 0)
	}
	kept, _ := orderedCodecs.LoadOrStore(t, c)
	return kept.(*Ordered[T]), nil
}

// orderable says whether s has an ordered encoding.
func orderable(s *shape, path string) error {
	switch {
	case s.kind.fixedSize() > 0 && s.kind != Complex64 && s.kind != Complex128, s.kind == String, s.kind == Bytes:
		return nil
	case s.kind == Array:
		return orderable(s.elem, path+"[]")
	case s.kind == Struct && len(s.left) > 0:
		f := s.typ.Field(s.left[0])
		return refuse(path+"."+f.Name, "left out of the encoding, which an ordered key cannot do")
	case s.kind == Struct:
		for _, f := range s.fields {
			if err := orderable(f.shape, path+"."+s.typ.Field(f.index).Name); err != nil {
				return err
			}
		}
		return nil
	}
	return refuse(path, "%s has no order to encode", s.typ)
}

// Append appends the ordered encoding of *v to dst and returns the extended
// slice. It allocates only to grow dst.
func (c *Ordered[T]) Append(dst []byte, v *T) []byte {
	if c.ops != nil {
		return appendOrdered(c.ops, dst, v)
	}
	heap := new(T) // v itself may stay on the caller's stack
	*heap = *v
	return plainAppendOrdered(dst, c.shape, reflect.ValueOf(heap).Elem())
}

// Decode reads one key from the front of src into *v and returns what follows
// it. Strings and byte slices in *v are views into src where they can be, as
// for [Codec.Decode]; those with a zero byte inside are copies. Errors wrap
// [ErrCorrupt].
func (c *Ordered[T]) Decode(src []byte, v *T) (rest []byte, err error) {
	if c.ops != nil {
		rest, err = decodeOrdered(c.ops, src, v)
	} else {
		heap := new(T)
		rest, err = plainDecodeOrdered(src, c.shape, reflect.ValueOf(heap).Elem())
		*v = *heap
	}
	if err != nil {
		return nil, fmt.Errorf("codec: decode ordered %s: %w", c.shape.typ, err)
	}
	return rest, nil
}

// yearOne is the time of Unix 0 in seconds since the year 1, from which
// time.Time counts: no instant overflows there.
const yearOne = 62135596800

var (
	errNaN    = fmt.Errorf("%w: a number that is never written", ErrCorrupt)
	errEscape = fmt.Errorf("%w: a string without its end", ErrCorrupt)
)

func flip32(x uint32) uint32 { return x ^ 1<<31 }
func flip64(x uint64) uint64 { return x ^ 1<<63 }

// orderFloat64 maps floats to numbers of the same order.
func orderFloat64(f float64) uint64 {
	switch b := math.Float64bits(f); {
	case f != f:
		return 0
	case f == 0:
		return 1 << 63
	case b>>63 == 1:
		return ^b
	default:
		return flip64(b)
	}
}

// float64Of undoes orderFloat64. It reports whether orderFloat64 returns x at all.
func float64Of(x uint64) (f float64, ok bool) {
	switch {
	case x == 0:
		return math.NaN(), true
	case x>>63 == 1:
		f = math.Float64frombits(flip64(x))
	default:
		f = math.Float64frombits(^x)
	}
	return f, f == f && orderFloat64(f) == x
}

func orderFloat32(f float32) uint32 {
	switch b := math.Float32bits(f); {
	case f != f:
		return 0
	case f == 0:
		return 1 << 31
	case b>>31 == 1:
		return ^b
	default:
		return flip32(b)
	}
}

func float32Of(x uint32) (f float32, ok bool) {
	switch {
	case x == 0:
		return float32(math.NaN()), true
	case x>>31 == 1:
		f = math.Float32frombits(flip32(x))
	default:
		f = math.Float32frombits(^x)
	}
	return f, f == f && orderFloat32(f) == x
}

func appendOrderedTime(dst []byte, t time.Time) []byte {
	dst = binary.BigEndian.AppendUint64(dst, flip64(uint64(t.Unix()+yearOne)))
	return binary.BigEndian.AppendUint32(dst, uint32(t.Nanosecond()))
}

// orderedTime reads the 12 bytes that appendOrderedTime wrote.
func orderedTime(src []byte) (time.Time, error) {
	nsec := binary.BigEndian.Uint32(src[8:])
	if nsec >= 1e9 {
		return time.Time{}, errTime
	}
	return time.Unix(int64(flip64(binary.BigEndian.Uint64(src)))-yearOne, int64(nsec)).UTC(), nil
}

// appendEscaped appends s with its zero bytes escaped, and the end mark. The
// mark 0 1 sorts before the escape 0 255, and before all else that can follow.
func appendEscaped(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, 0)
		if i < 0 {
			break
		}
		dst = append(append(dst, s[:i]...), 0, 255)
		s = s[i+1:]
	}
	return append(append(dst, s...), 0, 1)
}

// escaped undoes appendEscaped. The result is a view into src if it had no
// zero bytes.
func escaped(src []byte) (s, rest []byte, err error) {
	var out []byte
	for {
		i := bytes.IndexByte(src, 0)
		if i < 0 || i+1 >= len(src) {
			return nil, nil, errEscape
		}
		switch src[i+1] {
		case 1:
			if out == nil {
				return src[:i:i], src[i+2:], nil
			}
			return append(out, src[:i]...), src[i+2:], nil
		case 255:
			out = append(append(out, src[:i]...), 0)
			src = src[i+2:]
		default:
			return nil, nil, errEscape
		}
	}
}

// plainAppendOrdered is appendOrdered by reflection: its reference, and what
// runs on hosts that plans do not suit.
func plainAppendOrdered(dst []byte, s *shape, v reflect.Value) []byte {
	switch s.kind {
	case Bool:
		if v.Bool() {
			return append(dst, 1)
		}
		return append(dst, 0)
	case Int8, Int16, Int32, Int64:
		return appendBig(dst, s.head, uint64(v.Int())^1<<(8*s.head-1))
	case Uint8, Uint16, Uint32, Uint64:
		return appendBig(dst, s.head, v.Uint())
	case Float32:
		return binary.BigEndian.AppendUint32(dst, orderFloat32(float32(v.Float())))
	case Float64:
		return binary.BigEndian.AppendUint64(dst, orderFloat64(v.Float()))
	case Time:
		return appendOrderedTime(dst, v.Interface().(time.Time))
	case String:
		return appendEscaped(dst, []byte(v.String()))
	case Bytes:
		return appendEscaped(dst, v.Bytes())
	case Array:
		for i := range s.n {
			dst = plainAppendOrdered(dst, s.elem, v.Index(i))
		}
	case Struct:
		for _, f := range s.fields {
			dst = plainAppendOrdered(dst, f.shape, v.Field(f.index))
		}
	}
	return dst
}

// appendBig appends the low n bytes of x, the highest first.
func appendBig(dst []byte, n int, x uint64) []byte {
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, byte(x>>(8*i)))
	}
	return dst
}

// plainDecodeOrdered is decodeOrdered by reflection.
func plainDecodeOrdered(src []byte, s *shape, v reflect.Value) (_ []byte, err error) {
	if s.kind.fixedSize() > len(src) {
		return nil, errShort
	}
	head, rest := src[:s.kind.fixedSize()], src[s.kind.fixedSize():]
	var x uint64
	for _, b := range head[:min(len(head), 8)] {
		x = x<<8 | uint64(b)
	}
	switch s.kind {
	case Bool:
		if x > 1 {
			return nil, errBool
		}
		v.SetBool(x == 1)
	case Int8, Int16, Int32, Int64:
		shift := 64 - 8*len(head)
		i := int64((x^1<<(8*len(head)-1))<<shift) >> shift
		if v.OverflowInt(i) {
			return nil, fmt.Errorf("%d does not fit %s on this machine", i, s.typ)
		}
		v.SetInt(i)
	case Uint8, Uint16, Uint32, Uint64:
		if v.OverflowUint(x) {
			return nil, fmt.Errorf("%d does not fit %s on this machine", x, s.typ)
		}
		v.SetUint(x)
	case Float32:
		f, ok := float32Of(uint32(x))
		if !ok {
			return nil, errNaN
		}
		v.SetFloat(float64(f))
	case Float64:
		f, ok := float64Of(x)
		if !ok {
			return nil, errNaN
		}
		v.SetFloat(f)
	case Time:
		t, err := orderedTime(head)
		if err != nil {
			return nil, err
		}
		v.Set(reflect.ValueOf(t))
	case String, Bytes:
		b, after, err := escaped(src)
		if err != nil {
			return nil, err
		}
		rest = after
		if s.kind == String {
			v.SetString(string(b))
		} else {
			v.SetBytes(append(make([]byte, 0, len(b)), b...))
		}
	case Array:
		for i := range s.n {
			if src, err = plainDecodeOrdered(src, s.elem, v.Index(i)); err != nil {
				return nil, err
			}
		}
		return src, nil
	case Struct:
		for _, f := range s.fields {
			if src, err = plainDecodeOrdered(src, f.shape, v.Field(f.index)); err != nil {
				return nil, atField("."+s.typ.Field(f.index).Name, err)
			}
		}
		return src, nil
	}
	return rest, nil
}
