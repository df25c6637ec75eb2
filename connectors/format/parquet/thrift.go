package parquet

import (
	"encoding/binary"
	"errors"
)

// The library that decodes footers and page headers allocates as many list
// elements, and as many bytes of a string, as the input claims to hold. What
// it is given is therefore walked first: nothing in it may claim more than
// there is.

var (
	errThriftShort = errors.New("structure is cut short")
	errThrift      = errors.New("structure is damaged")
)

// thriftDepthMax bounds nesting; footers nest less than ten deep.
const thriftDepthMax = 32

// structLen is the length of the struct in the compact Thrift encoding at the
// start of b.
func structLen(b []byte) (int, error) {
	w := thriftWalk{b: b}
	w.structure(0)
	return len(b) - len(w.b), w.err
}

// thriftWalk passes over values. After an error it stays where it is.
type thriftWalk struct {
	b   []byte
	err error
}

// Types of the compact encoding.
const (
	thriftStop = iota
	thriftTrue
	thriftFalse
	thriftByte
	thriftI16
	thriftI32
	thriftI64
	thriftDouble
	thriftBinary
	thriftList
	thriftSet
	thriftMap
	thriftStruct
)

func (w *thriftWalk) structure(depth int) {
	for w.err == nil {
		head := w.byte()
		typ := int(head & 0xf)
		if typ == thriftStop {
			return
		}
		if head>>4 == 0 {
			w.varint() // the field's id in full
		}
		// A bool field is in its type.
		if typ != thriftTrue && typ != thriftFalse {
			w.value(typ, depth)
		}
	}
}

func (w *thriftWalk) value(typ, depth int) {
	if depth > thriftDepthMax {
		w.fail(errThrift)
	}
	if w.err != nil {
		return
	}
	switch typ {
	case thriftTrue, thriftFalse, thriftByte:
		w.skip(1)
	case thriftI16, thriftI32, thriftI64:
		w.varint()
	case thriftDouble:
		w.skip(8)
	case thriftBinary:
		w.skip(w.varint())
	case thriftList, thriftSet:
		head := w.byte()
		n := uint64(head >> 4)
		if n == 15 {
			n = w.varint()
		}
		w.values(n, depth, int(head&0xf))
	case thriftMap:
		if n := w.varint(); n > 0 {
			kv := w.byte()
			w.values(n, depth, int(kv>>4), int(kv&0xf))
		}
	case thriftStruct:
		w.structure(depth + 1)
	default:
		w.fail(errThrift)
	}
}

func (w *thriftWalk) values(n uint64, depth int, types ...int) {
	// Every value takes a byte at least.
	if n > uint64(len(w.b)) {
		w.fail(errThriftShort)
	}
	for range n {
		for _, t := range types {
			w.value(t, depth+1)
		}
		if w.err != nil {
			return
		}
	}
}

func (w *thriftWalk) byte() byte {
	if w.err != nil || len(w.b) == 0 {
		w.fail(errThriftShort)
		return 0
	}
	c := w.b[0]
	w.b = w.b[1:]
	return c
}

func (w *thriftWalk) varint() uint64 {
	if w.err != nil {
		return 0
	}
	u, n := binary.Uvarint(w.b)
	switch {
	case n < 0:
		w.fail(errThrift)
		return 0
	case n == 0:
		w.fail(errThriftShort)
		return 0
	}
	w.b = w.b[n:]
	return u
}

func (w *thriftWalk) skip(n uint64) {
	if w.err != nil {
		return
	}
	if n > uint64(len(w.b)) {
		w.fail(errThriftShort)
		return
	}
	w.b = w.b[n:]
}

func (w *thriftWalk) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}
