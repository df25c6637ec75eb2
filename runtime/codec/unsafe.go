package codec

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unsafe"
)

// This file runs plans over raw memory; plain.go does the same by reflection
// and is what a fuzz test compares it with. The rules that keep it sound:
// bytes are only ever copied into memory without Go pointers and of a type
// for which all bit patterns are valid (bool is written as a bool); strings,
// slices and pointers are written as such, with write barriers; and memory is
// allocated as its own type unless that type holds no pointers.

// hostMatches reports whether numbers lie in memory as they do in an encoding.
var hostMatches = strconv.IntSize == 64 && binary.NativeEndian.Uint16([]byte{1, 0}) == 1

type opCode uint8

const (
	opCopy     opCode = iota // n bytes
	opCopy1                  // 1, 2, 4, 8 bytes, the sizes of single fields
	opCopy2                  //
	opCopy4                  //
	opCopy8                  //
	opWords                  // n bytes in words of 8, for short runs
	opBool                   //
	opString                 //
	opBytes                  //
	opTime                   //
	opBlit                   // a slice whose elements are one copy
	opSlice                  // a slice of sub
	opMap                    //
	opOptional               // a pointer to sub
	opHeads                  // n times sub, in the head
	opTails                  // n times sub, in the tail
	opOpaque                 // a type with methods or a codec of its own
	opClear                  // a field that is not stored
)

// wordsMax is the longest run copied word by word. A call of memmove costs as
// much as some eight words.
const wordsMax = 64

// An op moves one field, or several that are neighbours both in memory and in
// the head.
type op struct {
	off  uintptr // from the start of the value
	at   int32   // from the start of the head
	n    int32
	code opCode
	ext  *opExt // set for codes with parts
}

type opExt struct {
	typ      reflect.Type // of the field
	sub, key *plan
	opaque   opaque
	noscan   bool // elements hold no pointers
}

// A plan is what to do for one type, by offsets.
type plan struct {
	typ    reflect.Type
	size   uintptr // in memory
	head   int
	min    int
	ops    []op
	names  []string // by op, for errors
	blit   bool     // the value is one copy of size bytes
	noscan bool     // the type holds no pointers

	flat    bool      // all ops are numbers, bools and strings: see unsafe_flat.go
	strings []uintptr // offsets of the strings of a flat plan
}

type compiler struct{ plans map[*shape]*plan }

func compile(s *shape) *plan {
	c := compiler{make(map[*shape]*plan)}
	return c.plan(s)
}

func (c *compiler) plan(s *shape) *plan {
	if p := c.plans[s]; p != nil {
		return p
	}
	p := &plan{typ: s.typ, size: s.typ.Size(), head: s.head, min: s.min, noscan: pointerFree(s.typ)}
	c.plans[s] = p
	c.ops(p, s, 0, 0, "")
	p.flat = true
	for i := range p.ops {
		p.flat = p.flat && p.ops[i].code <= opString
		if p.ops[i].code == opString {
			p.strings = append(p.strings, p.ops[i].off)
		}
	}
	switch len(p.ops) {
	case 0:
		p.blit = p.size == 0
	case 1:
		o := &p.ops[0]
		p.blit = o.code <= opWords && uintptr(o.n) == p.size
	}
	return p
}

// ops appends the operations for s at offset off of the value and at of the head.
func (c *compiler) ops(p *plan, s *shape, off uintptr, at int, name string) {
	add := func(code opCode, n int, ext *opExt) {
		p.ops = append(p.ops, op{off, int32(at), int32(n), code, ext})
		p.names = append(p.names, name)
	}
	switch s.kind {
	case Bool:
		add(opBool, 1, nil)
	case String:
		add(opString, 0, &opExt{typ: s.typ})
	case Bytes:
		add(opBytes, 0, &opExt{typ: s.typ})
	case Time:
		add(opTime, 0, nil)
	case Slice:
		sub := c.plan(s.elem)
		code := opSlice
		if elem := s.elem.kind; elem.fixedSize() > 0 && elem != Bool && elem != Time || sub.blit && len(sub.ops) > 0 {
			code = opBlit
		}
		add(code, 0, &opExt{typ: s.typ, sub: sub, noscan: sub.noscan})
	case Map:
		add(opMap, 0, &opExt{typ: s.typ, key: c.plan(s.key), sub: c.plan(s.elem)})
	case Optional:
		sub := c.plan(s.elem)
		add(opOptional, 0, &opExt{typ: s.typ, sub: sub, noscan: sub.noscan})
	case Methods, UserCodec:
		add(opOpaque, 0, &opExt{typ: s.typ, opaque: s.opaque})
	case Struct:
		for _, i := range s.left {
			f := s.typ.Field(i)
			p.ops = append(p.ops, op{off: off + f.Offset, code: opClear, ext: &opExt{typ: f.Type}})
			p.names = append(p.names, name+"."+f.Name)
		}
		for _, f := range s.fields {
			sf := s.typ.Field(f.index)
			c.ops(p, f.shape, off+sf.Offset, at, name+"."+sf.Name)
			at += f.shape.head
		}
	case Array:
		sub := c.plan(s.elem)
		switch {
		case s.min == 0 && len(sub.ops) == 0 || s.n == 0:
		case sub.blit:
			c.run(p, off, at, int(sub.size)*s.n, name)
		case s.tail:
			add(opTails, s.n, &opExt{typ: s.typ, sub: sub})
		default:
			add(opHeads, s.n, &opExt{typ: s.typ, sub: sub})
		}
	default:
		c.run(p, off, at, s.head, name)
	}
}

// run appends a copy of n bytes, or extends the copy before it.
func (c *compiler) run(p *plan, off uintptr, at, n int, name string) {
	if k := len(p.ops) - 1; k >= 0 {
		o := &p.ops[k]
		if o.code <= opWords && o.off+uintptr(o.n) == off && int(o.at+o.n) == at {
			o.n += int32(n)
			o.code = copyCode(o.n)
			return
		}
	}
	p.ops = append(p.ops, op{off, int32(at), int32(n), copyCode(int32(n)), nil})
	p.names = append(p.names, name)
}

func copyCode(n int32) opCode {
	switch {
	case n == 1:
		return opCopy1
	case n == 2:
		return opCopy2
	case n == 4:
		return opCopy4
	case n == 8:
		return opCopy8
	case n%8 == 0 && n <= wordsMax:
		return opWords
	}
	return opCopy
}

// memory is the n bytes at p, which hold no pointers.
func memory(p unsafe.Pointer, n int) []byte { return unsafe.Slice((*byte)(p), n) }

// plainClear zeroes field i of the struct v, exported or not.
func plainClear(v reflect.Value, i int) {
	f := v.Field(i)
	reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem().SetZero()
}

// view is b as a string that shares its memory.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// sliceHeader is the memory of a slice.
type sliceHeader struct {
	data     unsafe.Pointer
	len, cap int
}

// extend lengthens dst by n bytes of any content.
func extend(dst []byte, n int) []byte {
	if cap(dst)-len(dst) < n {
		dst = slices.Grow(dst, n)
	}
	return dst[: len(dst)+n : cap(dst)]
}

func appendFast[T any](p *plan, dst []byte, v *T) []byte {
	if p.flat {
		return p.appendFlat(dst, unsafe.Pointer(v))
	}
	start := len(dst)
	return p.append(extend(dst, p.head), start, unsafe.Pointer(v), 0)
}

// append writes the head of the value at v into dst[start:], which is there
// already, and appends the tail to dst.
func (p *plan) append(dst []byte, start int, v unsafe.Pointer, depth int) []byte {
	for i := range p.ops {
		o := &p.ops[i]
		f := unsafe.Add(v, o.off)
		at := start + int(o.at)
		switch o.code {
		case opCopy:
			copy(dst[at:at+int(o.n)], memory(f, int(o.n)))
		case opCopy1:
			dst[at] = *(*byte)(f)
		case opCopy2:
			*(*[2]byte)(dst[at:]) = *(*[2]byte)(f)
		case opCopy4:
			*(*[4]byte)(dst[at:]) = *(*[4]byte)(f)
		case opCopy8:
			*(*[8]byte)(dst[at:]) = *(*[8]byte)(f)
		case opWords:
			copyWords(dst[at:at+int(o.n)], memory(f, int(o.n)))
		case opBool:
			dst[at] = 0
			if *(*bool)(f) {
				dst[at] = 1
			}
		case opString:
			s := *(*string)(f)
			if uint64(len(s)) >= math.MaxUint32 {
				checkLen(o.ext.typ, len(s))
			}
			binary.LittleEndian.PutUint32(dst[at:], uint32(len(s)))
			dst = append(dst, s...)
		case opBytes:
			b := *(*[]byte)(f)
			putCount(dst[at:], o.ext.typ, len(b), b == nil)
			dst = append(dst, b...)
		case opTime:
			putTime(dst[at:], *(*time.Time)(f))
		case opBlit:
			h := (*sliceHeader)(f)
			putCount(dst[at:], o.ext.typ, h.len, h.data == nil)
			if h.len > 0 {
				checkDepth(o.ext.typ, depth+1)
				dst = append(dst, memory(h.data, h.len*int(o.ext.sub.size))...)
			}
		case opSlice:
			h := (*sliceHeader)(f)
			putCount(dst[at:], o.ext.typ, h.len, h.data == nil)
			if h.len > 0 && o.ext.sub.min > 0 {
				checkDepth(o.ext.typ, depth+1)
				dst = o.ext.sub.appendAll(dst, h.data, h.len, depth+1)
			}
		case opMap:
			dst = o.ext.appendMap(dst, at, f, depth+1)
		case opOptional:
			e := *(*unsafe.Pointer)(f)
			dst[at] = 0
			if e != nil {
				checkDepth(o.ext.typ, depth+1)
				dst[at] = 1
				dst = o.ext.sub.appendAll(dst, e, 1, depth+1)
			}
		case opHeads:
			sub := o.ext.sub
			for k := range int(o.n) {
				dst = sub.append(dst, at+k*sub.head, unsafe.Add(f, uintptr(k)*sub.size), depth)
			}
		case opTails:
			dst = o.ext.sub.appendAll(dst, f, int(o.n), depth)
		case opOpaque:
			n := len(dst)
			dst = appendOpaque(dst, o.ext.opaque, reflect.NewAt(o.ext.typ, f))
			binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-n))
		}
	}
	return dst
}

// appendAll appends n values that lie one after the other at v.
func (p *plan) appendAll(dst []byte, v unsafe.Pointer, n, depth int) []byte {
	for k := range n {
		if p.flat {
			dst = p.appendFlat(dst, unsafe.Add(v, uintptr(k)*p.size))
			continue
		}
		start := len(dst)
		dst = p.append(extend(dst, p.head), start, unsafe.Add(v, uintptr(k)*p.size), depth)
	}
	return dst
}

// copyWords copies src, a multiple of 8 bytes and as long as dst.
func copyWords(dst, src []byte) {
	for len(src) >= 8 && len(dst) >= 8 {
		*(*[8]byte)(dst) = *(*[8]byte)(src)
		dst, src = dst[8:], src[8:]
	}
}

func (x *opExt) appendMap(dst []byte, at int, f unsafe.Pointer, depth int) []byte {
	m := reflect.NewAt(x.typ, f).Elem()
	putCount(dst[at:], x.typ, m.Len(), m.IsNil())
	if m.Len() == 0 {
		return dst
	}
	checkDepth(x.typ, depth)
	key, val := reflect.New(x.key.typ), reflect.New(x.sub.typ)
	return appendSorted(dst, m, key.Elem(), val.Elem(), func(dst []byte) []byte {
		dst = x.key.appendAll(dst, key.UnsafePointer(), 1, depth)
		return x.sub.appendAll(dst, val.UnsafePointer(), 1, depth)
	})
}

func decodeFast[T any](p *plan, src []byte, v *T, own bool) ([]byte, error) {
	if p.flat && !own {
		return p.decodeFlat(src, unsafe.Pointer(v))
	}
	if len(src) < p.head {
		return nil, errShort
	}
	return p.decode(src, src[p.head:], unsafe.Pointer(v), 0, own)
}

// decode reads a value whose head is at the front of head and whose tail is at
// the front of src, and returns what follows the tail. The caller has checked
// the length of the head.
func (p *plan) decode(head, src []byte, v unsafe.Pointer, depth int, own bool) ([]byte, error) {
	var err error
	for i := range p.ops {
		o := &p.ops[i]
		f := unsafe.Add(v, o.off)
		at := int(o.at)
		switch o.code {
		case opCopy:
			copy(memory(f, int(o.n)), head[at:at+int(o.n)])
		case opCopy1:
			*(*byte)(f) = head[at]
		case opCopy2:
			*(*[2]byte)(f) = *(*[2]byte)(head[at:])
		case opCopy4:
			*(*[4]byte)(f) = *(*[4]byte)(head[at:])
		case opCopy8:
			*(*[8]byte)(f) = *(*[8]byte)(head[at:])
		case opWords:
			copyWords(memory(f, int(o.n)), head[at:at+int(o.n)])
		case opBool:
			if head[at] > 1 {
				return nil, p.at(i, errBool)
			}
			*(*bool)(f) = head[at] == 1
		case opString:
			n := int(binary.LittleEndian.Uint32(head[at:]))
			if n > len(src) {
				return nil, p.at(i, errShort)
			}
			if own {
				*(*string)(f) = string(src[:n])
			} else {
				*(*string)(f) = view(src[:n])
			}
			src = src[n:]
		case opBytes:
			n, isNil := count(head[at:])
			switch {
			case isNil:
				*(*[]byte)(f) = nil
			case n > len(src):
				return nil, p.at(i, errShort)
			case own:
				*(*[]byte)(f) = append(make([]byte, 0, n), src[:n]...)
				src = src[n:]
			default:
				*(*[]byte)(f) = src[:n:n]
				src = src[n:]
			}
		case opTime:
			t, err := getTime(head[at:])
			if err != nil {
				return nil, p.at(i, err)
			}
			*(*time.Time)(f) = t
		case opBlit:
			n, isNil := count(head[at:])
			if isNil {
				*(*sliceHeader)(f) = sliceHeader{}
				continue
			}
			if n > len(src)/o.ext.sub.min {
				return nil, p.at(i, errShort)
			}
			if n > 0 && depth >= maxDepth {
				return nil, errDepth
			}
			bytes := n * int(o.ext.sub.size)
			h := o.ext.makeSlice(n)
			copy(memory(h.data, bytes), src[:bytes])
			*(*sliceHeader)(f) = h
			src = src[bytes:]
		case opSlice:
			if src, err = o.ext.decodeSlice(head[at:], src, f, depth, own); err != nil {
				return nil, p.at(i, err)
			}
		case opMap:
			if src, err = o.ext.decodeMap(head[at:], src, f, depth, own); err != nil {
				return nil, p.at(i, err)
			}
		case opOptional:
			switch head[at] {
			case 0:
				*(*unsafe.Pointer)(f) = nil
			case 1:
				if depth >= maxDepth {
					return nil, errDepth
				}
				e := o.ext.makeOne()
				if src, err = o.ext.sub.decodeAll(src, e, 1, depth+1, own); err != nil {
					return nil, p.at(i, err)
				}
				*(*unsafe.Pointer)(f) = e
			default:
				return nil, p.at(i, errBool)
			}
		case opHeads:
			sub := o.ext.sub
			for k := range int(o.n) {
				if src, err = sub.decode(head[at+k*sub.head:], src, unsafe.Add(f, uintptr(k)*sub.size), depth, own); err != nil {
					return nil, p.at(i, err)
				}
			}
		case opTails:
			if src, err = o.ext.sub.decodeAll(src, f, int(o.n), depth, own); err != nil {
				return nil, p.at(i, err)
			}
		case opOpaque:
			n := int(binary.LittleEndian.Uint32(head[at:]))
			if n > len(src) {
				return nil, p.at(i, errShort)
			}
			q := o.ext.opaque
			if err = q.decode(src[:n:n], q.version(), reflect.NewAt(o.ext.typ, f)); err != nil {
				return nil, p.at(i, err)
			}
			src = src[n:]
		case opClear:
			reflect.NewAt(o.ext.typ, f).Elem().SetZero()
		}
	}
	return src, nil
}

// at says which field err is about.
func (p *plan) at(i int, err error) error {
	return atField(p.names[i], err)
}

// decodeAll decodes n values into the memory at v.
func (p *plan) decodeAll(src []byte, v unsafe.Pointer, n, depth int, own bool) ([]byte, error) {
	for k := range n {
		if p.flat && !own {
			rest, err := p.decodeFlat(src, unsafe.Add(v, uintptr(k)*p.size))
			if err != nil {
				return nil, err
			}
			src = rest
			continue
		}
		if len(src) < p.head {
			return nil, errShort
		}
		rest, err := p.decode(src, src[p.head:], unsafe.Add(v, uintptr(k)*p.size), depth, own)
		if err != nil {
			return nil, err
		}
		src = rest
	}
	return src, nil
}

var zeroSized struct{}

// makeSlice allocates n zero elements of the slice type x.typ.
func (x *opExt) makeSlice(n int) sliceHeader {
	switch {
	case n == 0 || x.sub.size == 0:
		return sliceHeader{unsafe.Pointer(&zeroSized), n, n}
	case x.noscan:
		words := make([]uint64, (n*int(x.sub.size)+7)/8)
		return sliceHeader{unsafe.Pointer(unsafe.SliceData(words)), n, n}
	case x.sub.typ.Kind() == reflect.String:
		return sliceHeader{unsafe.Pointer(unsafe.SliceData(make([]string, n))), n, n}
	}
	return sliceHeader{reflect.MakeSlice(x.typ, n, n).UnsafePointer(), n, n}
}

// makeOne allocates one zero element.
func (x *opExt) makeOne() unsafe.Pointer {
	if x.noscan {
		return x.makeSlice(1).data
	}
	return reflect.New(x.sub.typ).UnsafePointer()
}

func (x *opExt) decodeSlice(head, src []byte, f unsafe.Pointer, depth int, own bool) ([]byte, error) {
	n, isNil := count(head)
	if isNil {
		*(*sliceHeader)(f) = sliceHeader{}
		return src, nil
	}
	if x.sub.min > 0 && n > len(src)/x.sub.min {
		return nil, errShort
	}
	if n > 0 && x.sub.min > 0 && depth >= maxDepth {
		return nil, errDepth
	}
	h := x.makeSlice(n)
	*(*sliceHeader)(f) = h
	if x.sub.min == 0 {
		return src, nil
	}
	return x.sub.decodeAll(src, h.data, n, depth+1, own)
}

func (x *opExt) decodeMap(head, src []byte, f unsafe.Pointer, depth int, own bool) ([]byte, error) {
	m := reflect.NewAt(x.typ, f).Elem()
	n, isNil := count(head)
	if isNil {
		m.SetZero()
		return src, nil
	}
	if err := checkEntries(n, x.key.min+x.sub.min, src); err != nil {
		return nil, err
	}
	if n > 0 && depth >= maxDepth {
		return nil, errDepth
	}
	m.Set(reflect.MakeMapWithSize(x.typ, min(n, mapHint)))
	if n == 0 {
		return src, nil
	}
	key, val := reflect.New(x.key.typ), reflect.New(x.sub.typ)
	var last []byte
	for range n {
		rest, err := x.key.decodeAll(src, key.UnsafePointer(), 1, depth+1, own)
		if err == nil {
			rest, err = x.sub.decodeAll(rest, val.UnsafePointer(), 1, depth+1, own)
		}
		if err != nil {
			return nil, err
		}
		entry := src[:len(src)-len(rest)]
		if bytes.Compare(last, entry) > 0 {
			return nil, errOrder
		}
		m.SetMapIndex(key.Elem(), val.Elem())
		last, src = entry, rest
	}
	if m.Len() != n {
		return nil, errOrder
	}
	return src, nil
}

func ownFast[T any](p *plan, v *T, deep bool) { p.own(unsafe.Pointer(v), deep, 0) }

// own replaces what the value at v shares with others by copies; deep also
// copies types with methods or a codec of their own.
func (p *plan) own(v unsafe.Pointer, deep bool, depth int) {
	if p.noscan {
		return
	}
	for i := range p.ops {
		o := &p.ops[i]
		f := unsafe.Add(v, o.off)
		x := o.ext
		switch o.code {
		case opString:
			s := (*string)(f)
			*s = string(append([]byte(nil), *s...))
		case opBytes:
			if b := (*[]byte)(f); *b != nil {
				*b = append(make([]byte, 0, len(*b)), *b...)
			}
		case opBlit, opSlice:
			h := (*sliceHeader)(f)
			if h.data == nil {
				continue
			}
			checkDepth(x.typ, depth)
			c := x.makeSlice(h.len)
			if x.noscan {
				copy(memory(c.data, c.len*int(x.sub.size)), memory(h.data, h.len*int(x.sub.size)))
			} else {
				reflect.Copy(reflect.NewAt(x.typ, unsafe.Pointer(&c)).Elem(), reflect.NewAt(x.typ, f).Elem())
				for k := range c.len {
					x.sub.own(unsafe.Add(c.data, uintptr(k)*x.sub.size), deep, depth+1)
				}
			}
			*h = c
		case opMap:
			checkDepth(x.typ, depth)
			m := reflect.NewAt(x.typ, f).Elem()
			if m.IsNil() {
				continue
			}
			c := reflect.MakeMapWithSize(x.typ, m.Len())
			key, val := reflect.New(x.key.typ), reflect.New(x.sub.typ)
			for it := m.MapRange(); it.Next(); {
				key.Elem().SetIterKey(it)
				val.Elem().SetIterValue(it)
				x.key.own(key.UnsafePointer(), deep, depth+1)
				x.sub.own(val.UnsafePointer(), deep, depth+1)
				c.SetMapIndex(key.Elem(), val.Elem())
			}
			m.Set(c)
		case opOptional:
			e := *(*unsafe.Pointer)(f)
			if e == nil {
				continue
			}
			checkDepth(x.typ, depth)
			c := x.makeOne()
			reflect.NewAt(x.sub.typ, c).Elem().Set(reflect.NewAt(x.sub.typ, e).Elem())
			x.sub.own(c, deep, depth+1)
			*(*unsafe.Pointer)(f) = c
		case opHeads, opTails:
			for k := range int(o.n) {
				x.sub.own(unsafe.Add(f, uintptr(k)*x.sub.size), deep, depth)
			}
		case opOpaque:
			if deep {
				cloneOpaque(x.opaque, reflect.NewAt(x.typ, f))
			}
		case opTime, opCopy, opCopy1, opCopy2, opCopy4, opCopy8, opWords, opBool, opClear:
		}
	}
}

// decodeAt is decode of the value that v is.
func (p *plan) decodeAt(head, src []byte, v reflect.Value, depth int) ([]byte, error) {
	return p.decode(head, src, v.Addr().UnsafePointer(), depth, false)
}
