package codec

import (
	"encoding/binary"
	"time"
	"unsafe"
)

// This file runs ordered encodings over raw memory, under the rules of
// unsafe.go; the same by reflection is in ordered.go. No op keeps the address
// of the key, which is why that may be hidden from escape analysis.

// An orderedOp encodes one field, or n elements of an array.
type orderedOp struct {
	off  uintptr
	kind Kind
	name string
	n    int         // Array
	size uintptr     // Array: of an element in memory
	ops  []orderedOp // Array: of an element
}

// compileOrdered appends the ops of s at offset off. The result is not nil.
func compileOrdered(ops []orderedOp, s *shape, off uintptr) []orderedOp {
	if ops == nil {
		ops = []orderedOp{}
	}
	switch s.kind {
	case Struct:
		for _, f := range s.fields {
			sf := s.typ.Field(f.index)
			from := len(ops)
			ops = compileOrdered(ops, f.shape, off+sf.Offset)
			for i := range ops[from:] {
				ops[from+i].name = "." + sf.Name + ops[from+i].name
			}
		}
	case Array:
		if s.min > 0 {
			ops = append(ops, orderedOp{off: off, kind: Array, n: s.n, size: s.elem.typ.Size(), ops: compileOrdered(nil, s.elem, 0)})
		}
	default:
		ops = append(ops, orderedOp{off: off, kind: s.kind})
	}
	return ops
}

func appendOrdered[T any](ops []orderedOp, dst []byte, v *T) []byte {
	return runOrdered(ops, dst, noescape(unsafe.Pointer(v)))
}

func runOrdered(ops []orderedOp, dst []byte, v unsafe.Pointer) []byte {
	be := binary.BigEndian
	for i := range ops {
		o := &ops[i]
		f := unsafe.Add(v, o.off)
		switch o.kind {
		case Bool:
			if *(*bool)(f) {
				dst = append(dst, 1)
			} else {
				dst = append(dst, 0)
			}
		case Int8:
			dst = append(dst, *(*uint8)(f)^1<<7)
		case Int16:
			dst = be.AppendUint16(dst, *(*uint16)(f)^1<<15)
		case Int32:
			dst = be.AppendUint32(dst, flip32(*(*uint32)(f)))
		case Int64:
			dst = be.AppendUint64(dst, flip64(*(*uint64)(f)))
		case Uint8:
			dst = append(dst, *(*uint8)(f))
		case Uint16:
			dst = be.AppendUint16(dst, *(*uint16)(f))
		case Uint32:
			dst = be.AppendUint32(dst, *(*uint32)(f))
		case Uint64:
			dst = be.AppendUint64(dst, *(*uint64)(f))
		case Float32:
			dst = be.AppendUint32(dst, orderFloat32(*(*float32)(f)))
		case Float64:
			dst = be.AppendUint64(dst, orderFloat64(*(*float64)(f)))
		case Time:
			dst = appendOrderedTime(dst, *(*time.Time)(f))
		case String:
			s := *(*string)(f)
			dst = appendEscaped(dst, memory(unsafe.Pointer(unsafe.StringData(s)), len(s)))
		case Bytes:
			dst = appendEscaped(dst, *(*[]byte)(f))
		case Array:
			for k := range o.n {
				dst = runOrdered(o.ops, dst, unsafe.Add(f, uintptr(k)*o.size))
			}
		}
	}
	return dst
}

func decodeOrdered[T any](ops []orderedOp, src []byte, v *T) ([]byte, error) {
	return runDecodeOrdered(ops, src, noescape(unsafe.Pointer(v)))
}

func runDecodeOrdered(ops []orderedOp, src []byte, v unsafe.Pointer) ([]byte, error) {
	be := binary.BigEndian
	for i := range ops {
		o := &ops[i]
		f := unsafe.Add(v, o.off)
		n := o.kind.fixedSize()
		if n > len(src) {
			return nil, atField(o.name, errShort)
		}
		head := src[:n]
		src = src[n:]
		var err error
		switch o.kind {
		case Bool:
			if head[0] > 1 {
				err = errBool
				break
			}
			*(*bool)(f) = head[0] == 1
		case Int8:
			*(*uint8)(f) = head[0] ^ 1<<7
		case Int16:
			*(*uint16)(f) = be.Uint16(head) ^ 1<<15
		case Int32:
			*(*uint32)(f) = flip32(be.Uint32(head))
		case Int64:
			*(*uint64)(f) = flip64(be.Uint64(head))
		case Uint8:
			*(*uint8)(f) = head[0]
		case Uint16:
			*(*uint16)(f) = be.Uint16(head)
		case Uint32:
			*(*uint32)(f) = be.Uint32(head)
		case Uint64:
			*(*uint64)(f) = be.Uint64(head)
		case Float32:
			x, ok := float32Of(be.Uint32(head))
			if !ok {
				err = errNaN
			}
			*(*float32)(f) = x
		case Float64:
			x, ok := float64Of(be.Uint64(head))
			if !ok {
				err = errNaN
			}
			*(*float64)(f) = x
		case Time:
			*(*time.Time)(f), err = orderedTime(head)
		case String:
			var b []byte
			b, src, err = escaped(src)
			*(*string)(f) = view(b)
		case Bytes:
			*(*[]byte)(f), src, err = escaped(src)
		case Array:
			for k := 0; k < o.n && err == nil; k++ {
				src, err = runDecodeOrdered(o.ops, src, unsafe.Add(f, uintptr(k)*o.size))
			}
		}
		if err != nil {
			return nil, atField(o.name, err)
		}
	}
	return src, nil
}
