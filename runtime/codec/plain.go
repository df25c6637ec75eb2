package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"
)

var (
	errShort = fmt.Errorf("%w: too short", ErrCorrupt)
	errBool  = fmt.Errorf("%w: a byte that must be 0 or 1 is neither", ErrCorrupt)
	errTime  = fmt.Errorf("%w: nanoseconds out of range", ErrCorrupt)
	errDepth = fmt.Errorf("%w: nested too deep", ErrCorrupt)
	errOrder = fmt.Errorf("%w: map entries doubled or out of order", ErrCorrupt)
)

// A fieldError says which field of a value the bytes were wrong for.
type fieldError struct {
	name  string
	err   error
	depth int // fieldErrors inside
}

// fieldErrorMax bounds the path in an error: hostile bytes nest deep.
const fieldErrorMax = 16

// atField puts name before the path that err has already.
func atField(name string, err error) error {
	if name == "" {
		return err
	}
	depth := 0
	if in, ok := err.(*fieldError); ok {
		depth = in.depth + 1
	}
	if depth > fieldErrorMax {
		return err
	}
	return &fieldError{name, err, depth}
}

func (e *fieldError) Unwrap() error { return e.err }

func (e *fieldError) Error() string {
	if _, ok := e.err.(*fieldError); ok {
		return e.name + e.err.Error()
	}
	return e.name + ": " + e.err.Error()
}

// mapHint bounds the size that a map is given before its entries are seen.
const mapHint = 1 << 12

// putCount stores the length of a slice or map of type t, or nil, in dst.
func putCount(dst []byte, t reflect.Type, n int, isNil bool) {
	if isNil {
		binary.LittleEndian.PutUint32(dst, 0)
		return
	}
	checkLen(t, n)
	binary.LittleEndian.PutUint32(dst, uint32(n)+1)
}

// count reads what putCount stored.
func count(head []byte) (n int, isNil bool) {
	c := binary.LittleEndian.Uint32(head)
	return int(min(int64(c)-1, math.MaxInt)), c == 0
}

// checkEntries refuses n map entries of at least size bytes that cannot be in
// src. Entries that take no bytes are all the same, so there is at most one.
func checkEntries(n, size int, src []byte) error {
	if size == 0 && n > 1 {
		return errOrder
	}
	if size > 0 && n > len(src)/size {
		return errShort
	}
	return nil
}

func putTime(dst []byte, t time.Time) {
	binary.LittleEndian.PutUint64(dst, uint64(t.Unix()))
	binary.LittleEndian.PutUint32(dst[8:], uint32(t.Nanosecond()))
}

func getTime(head []byte) (time.Time, error) {
	sec, nsec := binary.LittleEndian.Uint64(head), binary.LittleEndian.Uint32(head[8:])
	if nsec >= 1e9 {
		return time.Time{}, errTime
	}
	return time.Unix(int64(sec), int64(nsec)).UTC(), nil
}

// appendSorted appends the entries of m in the order of their bytes. entry
// appends the one entry that has been put into key and val.
func appendSorted(dst []byte, m, key, val reflect.Value, entry func([]byte) []byte) []byte {
	type span struct{ from, to int }
	start := len(dst)
	spans := make([]span, 0, m.Len())
	sorted := true
	for it := m.MapRange(); it.Next(); {
		key.SetIterKey(it)
		val.SetIterValue(it)
		from := len(dst)
		dst = entry(dst)
		if k := len(spans); k > 0 && sorted {
			sorted = bytes.Compare(dst[spans[k-1].from:from], dst[from:]) <= 0
		}
		spans = append(spans, span{from, len(dst)})
	}
	if sorted {
		return dst
	}
	slices.SortFunc(spans, func(a, b span) int { return bytes.Compare(dst[a.from:a.to], dst[b.from:b.to]) })
	entries := make([]byte, 0, len(dst)-start)
	for _, s := range spans {
		entries = append(entries, dst[s.from:s.to]...)
	}
	return append(dst[:start], entries...)
}

// plainAppend is plan.append by reflection: the reference for it, and what
// runs on hosts whose memory is not little endian with 64-bit words. v must be
// addressable.
func plainAppend(dst []byte, s *shape, v reflect.Value, depth int) []byte {
	checkDepth(s.typ, depth)
	start := len(dst)
	dst = append(dst, make([]byte, s.head)...)
	return plainAppendAt(dst, start, s, v, depth)
}

func plainAppendAt(dst []byte, at int, s *shape, v reflect.Value, depth int) []byte {
	le := binary.LittleEndian
	switch s.kind {
	case Bool:
		if v.Bool() {
			dst[at] = 1
		}
	case Int8, Int16, Int32, Int64:
		putUint(dst[at:at+s.head], uint64(v.Int()))
	case Uint8, Uint16, Uint32, Uint64:
		putUint(dst[at:at+s.head], v.Uint())
	case Float32:
		le.PutUint32(dst[at:], math.Float32bits(*float32At(v)))
	case Float64:
		le.PutUint64(dst[at:], math.Float64bits(v.Float()))
	case Complex64:
		c := *complex64At(v)
		le.PutUint32(dst[at:], math.Float32bits(real(c)))
		le.PutUint32(dst[at+4:], math.Float32bits(imag(c)))
	case Complex128:
		le.PutUint64(dst[at:], math.Float64bits(real(v.Complex())))
		le.PutUint64(dst[at+8:], math.Float64bits(imag(v.Complex())))
	case Time:
		putTime(dst[at:], v.Interface().(time.Time))
	case String:
		checkLen(s.typ, v.Len())
		le.PutUint32(dst[at:], uint32(v.Len()))
		dst = append(dst, v.String()...)
	case Bytes:
		putCount(dst[at:], s.typ, v.Len(), v.IsNil())
		dst = append(dst, v.Bytes()...)
	case Slice:
		putCount(dst[at:], s.typ, v.Len(), v.IsNil())
		if s.elem.min > 0 {
			for i := range v.Len() {
				dst = plainAppend(dst, s.elem, v.Index(i), depth+1)
			}
		}
	case Map:
		putCount(dst[at:], s.typ, v.Len(), v.IsNil())
		key, val := reflect.New(s.key.typ).Elem(), reflect.New(s.elem.typ).Elem()
		dst = appendSorted(dst, v, key, val, func(dst []byte) []byte {
			dst = plainAppend(dst, s.key, key, depth+1)
			return plainAppend(dst, s.elem, val, depth+1)
		})
	case Optional:
		if !v.IsNil() {
			dst[at] = 1
			dst = plainAppend(dst, s.elem, v.Elem(), depth+1)
		}
	case Array:
		for i := range s.n {
			switch {
			case s.tail:
				dst = plainAppend(dst, s.elem, v.Index(i), depth)
			case s.min > 0:
				dst = plainAppendAt(dst, at+i*s.elem.head, s.elem, v.Index(i), depth)
			}
		}
	case Struct:
		for _, f := range s.fields {
			dst = plainAppendAt(dst, at, f.shape, v.Field(f.index), depth)
			at += f.shape.head
		}
	case Methods, UserCodec:
		n := len(dst)
		dst = appendOpaque(dst, s.opaque, v.Addr())
		le.PutUint32(dst[at:], uint32(len(dst)-n))
	}
	return dst
}

// float32At and complex64At are the addresses of v, whose type may be named.
// Reading through reflection would go by way of float64 and change some NaNs.
func float32At(v reflect.Value) *float32 {
	return v.Addr().Convert(reflect.TypeFor[*float32]()).Interface().(*float32)
}

func complex64At(v reflect.Value) *complex64 {
	return v.Addr().Convert(reflect.TypeFor[*complex64]()).Interface().(*complex64)
}

// putUint stores the low bytes of x, as many as dst has.
func putUint(dst []byte, x uint64) {
	for i := range dst {
		dst[i] = byte(x >> (8 * i))
	}
}

// getUint reads what putUint stored.
func getUint(src []byte) (x uint64) {
	for i := range src {
		x |= uint64(src[i]) << (8 * i)
	}
	return x
}

// getInt is getUint with the sign extended.
func getInt(src []byte) int64 {
	shift := 64 - 8*len(src)
	return int64(getUint(src)<<shift) >> shift
}

// plainDecode is plan.decode by reflection. It copies strings and byte slices.
func plainDecode(src []byte, s *shape, v reflect.Value, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	if len(src) < s.head {
		return nil, errShort
	}
	return plainDecodeAt(src, src[s.head:], s, v, depth)
}

// plainDecodeAt decodes a value whose head is at the front of head and whose
// tail is at the front of src.
func plainDecodeAt(head, src []byte, s *shape, v reflect.Value, depth int) (rest []byte, err error) {
	le := binary.LittleEndian
	switch s.kind {
	case Bool:
		if head[0] > 1 {
			return nil, errBool
		}
		v.SetBool(head[0] == 1)
	case Int8, Int16, Int32, Int64:
		x := getInt(head[:s.head])
		if v.OverflowInt(x) {
			return nil, fmt.Errorf("%d does not fit %s on this machine", x, s.typ)
		}
		v.SetInt(x)
	case Uint8, Uint16, Uint32, Uint64:
		x := getUint(head[:s.head])
		if v.OverflowUint(x) {
			return nil, fmt.Errorf("%d does not fit %s on this machine", x, s.typ)
		}
		v.SetUint(x)
	case Float32:
		*float32At(v) = math.Float32frombits(le.Uint32(head))
	case Float64:
		v.SetFloat(math.Float64frombits(le.Uint64(head)))
	case Complex64:
		*complex64At(v) = complex(math.Float32frombits(le.Uint32(head)), math.Float32frombits(le.Uint32(head[4:])))
	case Complex128:
		v.SetComplex(complex(math.Float64frombits(le.Uint64(head)), math.Float64frombits(le.Uint64(head[8:]))))
	case Time:
		t, err := getTime(head)
		if err != nil {
			return nil, err
		}
		v.Set(reflect.ValueOf(t))
	case String:
		n := int(le.Uint32(head))
		if uint64(le.Uint32(head)) > uint64(len(src)) {
			return nil, errShort
		}
		v.SetString(string(src[:n]))
		src = src[n:]
	case Bytes:
		n, isNil := count(head)
		switch {
		case isNil:
			v.SetZero()
		case n > len(src):
			return nil, errShort
		default:
			v.SetBytes(append(make([]byte, 0, n), src[:n]...))
			src = src[n:]
		}
	case Slice:
		n, isNil := count(head)
		switch {
		case isNil:
			v.SetZero()
			return src, nil
		case s.elem.min > 0 && n > len(src)/s.elem.min:
			return nil, errShort
		}
		v.Set(reflect.MakeSlice(s.typ, n, n))
		if s.elem.min > 0 {
			for i := range n {
				if src, err = plainDecode(src, s.elem, v.Index(i), depth+1); err != nil {
					return nil, err
				}
			}
		}
	case Map:
		return plainDecodeMap(head, src, s, v, depth)
	case Optional:
		switch head[0] {
		case 0:
			v.SetZero()
		case 1:
			e := reflect.New(s.elem.typ)
			if src, err = plainDecode(src, s.elem, e.Elem(), depth+1); err != nil {
				return nil, err
			}
			v.Set(e.Convert(s.typ))
		default:
			return nil, errBool
		}
	case Array:
		if s.min == 0 {
			v.SetZero()
			return src, nil
		}
		for i := range s.n {
			if s.tail {
				src, err = plainDecode(src, s.elem, v.Index(i), depth)
			} else {
				src, err = plainDecodeAt(head[i*s.elem.head:], src, s.elem, v.Index(i), depth)
			}
			if err != nil {
				return nil, err
			}
		}
	case Struct:
		for _, i := range s.left {
			plainClear(v, i)
		}
		for _, f := range s.fields {
			if src, err = plainDecodeAt(head, src, f.shape, v.Field(f.index), depth); err != nil {
				return nil, atField("."+s.typ.Field(f.index).Name, err)
			}
			head = head[f.shape.head:]
		}
	case Methods, UserCodec:
		n := le.Uint32(head)
		if uint64(n) > uint64(len(src)) {
			return nil, errShort
		}
		if err := s.opaque.decode(src[:n:n], s.opaque.version(), v.Addr()); err != nil {
			return nil, err
		}
		src = src[n:]
	}
	return src, nil
}

func plainDecodeMap(head, src []byte, s *shape, v reflect.Value, depth int) ([]byte, error) {
	n, isNil := count(head)
	if isNil {
		v.SetZero()
		return src, nil
	}
	if err := checkEntries(n, s.key.min+s.elem.min, src); err != nil {
		return nil, err
	}
	v.Set(reflect.MakeMapWithSize(s.typ, min(n, mapHint)))
	var last []byte
	for range n {
		key, val := reflect.New(s.key.typ).Elem(), reflect.New(s.elem.typ).Elem()
		rest, err := plainDecode(src, s.key, key, depth+1)
		if err == nil {
			rest, err = plainDecode(rest, s.elem, val, depth+1)
		}
		if err != nil {
			return nil, err
		}
		entry := src[:len(src)-len(rest)]
		if bytes.Compare(last, entry) > 0 {
			return nil, errOrder
		}
		v.SetMapIndex(key, val)
		last, src = entry, rest
	}
	if v.Len() != n {
		return nil, errOrder
	}
	return src, nil
}

// plainOwn is plan.own by reflection.
func plainOwn(s *shape, v reflect.Value, deep bool, depth int) {
	checkDepth(s.typ, depth)
	switch s.kind {
	case String:
		v.SetString(string(append([]byte(nil), v.String()...)))
	case Bytes, Slice:
		if v.IsNil() {
			return
		}
		c := reflect.MakeSlice(s.typ, v.Len(), v.Len())
		reflect.Copy(c, v)
		if s.kind == Slice && !pointerFree(s.elem.typ) {
			for i := range c.Len() {
				plainOwn(s.elem, c.Index(i), deep, depth+1)
			}
		}
		v.Set(c)
	case Map:
		if v.IsNil() {
			return
		}
		c := reflect.MakeMapWithSize(s.typ, v.Len())
		key, val := reflect.New(s.key.typ).Elem(), reflect.New(s.elem.typ).Elem()
		for it := v.MapRange(); it.Next(); {
			key.SetIterKey(it)
			val.SetIterValue(it)
			plainOwn(s.key, key, deep, depth+1)
			plainOwn(s.elem, val, deep, depth+1)
			c.SetMapIndex(key, val)
		}
		v.Set(c)
	case Optional:
		if v.IsNil() {
			return
		}
		c := reflect.New(s.elem.typ)
		c.Elem().Set(v.Elem())
		plainOwn(s.elem, c.Elem(), deep, depth+1)
		v.Set(c.Convert(s.typ))
	case Array:
		for i := range s.n {
			plainOwn(s.elem, v.Index(i), deep, depth)
		}
	case Struct:
		for _, f := range s.fields {
			plainOwn(f.shape, v.Field(f.index), deep, depth)
		}
	case Methods, UserCodec:
		if deep {
			cloneOpaque(s.opaque, v.Addr())
		}
	}
}
