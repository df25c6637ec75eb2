package keygroup

import (
	"fmt"
	"reflect"
	"time"
	"unsafe"
)

type kind uint8

const (
	kindBool kind = iota + 1
	kindInt8
	kindInt16
	kindInt32
	kindInt64
	kindUint8
	kindUint16
	kindUint32
	kindUint64
	kindFloat32
	kindFloat64
	kindString
	kindStruct
	kindArray
)

var scalars = map[reflect.Kind]kind{
	reflect.Bool: kindBool,
	reflect.Int8: kindInt8, reflect.Int16: kindInt16, reflect.Int32: kindInt32, reflect.Int64: kindInt64, reflect.Int: kindInt64,
	reflect.Uint8: kindUint8, reflect.Uint16: kindUint16, reflect.Uint32: kindUint32, reflect.Uint64: kindUint64, reflect.Uint: kindUint64,
	reflect.Float32: kindFloat32, reflect.Float64: kindFloat64,
	reflect.String: kindString,
}

// maxParts bounds the number of values in one key, so that a key type with a
// huge array is refused and not unrolled.
const maxParts = 4096

// A shape is the tree of values in a key type, in the order of their fields.
type shape struct {
	kind   kind
	offset uintptr // within the parent
	size   uintptr
	parts  []shape // of a struct or array
}

// shapeOf describes t, or says why it cannot be in a key. path names the
// field it belongs to; left is how many more values the key may have.
func shapeOf(t reflect.Type, path string, left *int) (shape, error) {
	s := shape{size: t.Size()}
	if *left--; *left < 0 {
		return s, fmt.Errorf("%s: the key has more than %d values; key by a digest of it", path, maxParts)
	}
	if t == reflect.TypeFor[time.Time]() {
		return s, fmt.Errorf("%s is a time.Time, and == on times compares their clocks and zones, not the instants; key by its UnixMilli()", path)
	}
	if k, ok := scalars[t.Kind()]; ok {
		s.kind = k
		return s, nil
	}
	switch t.Kind() {
	case reflect.Struct:
		s.kind = kindStruct
		for f := range t.Fields() {
			if f.Name == "_" {
				continue // == ignores it
			}
			p, err := shapeOf(f.Type, path+"."+f.Name, left)
			if err != nil {
				return s, err
			}
			p.offset = f.Offset
			s.parts = append(s.parts, p)
		}
		return s, nil
	case reflect.Array:
		s.kind = kindArray
		for i := range t.Len() {
			p, err := shapeOf(t.Elem(), fmt.Sprintf("%s[%d]", path, i), left)
			if err != nil {
				return s, err
			}
			p.offset = uintptr(i) * t.Elem().Size()
			s.parts = append(s.parts, p)
		}
		return s, nil
	case reflect.Pointer:
		return s, fmt.Errorf("%s is a pointer (%s), which is different in every process; key by the value that it points to", path, t)
	case reflect.Interface:
		return s, fmt.Errorf("%s is an interface (%s), which may hold anything; key by a field of one concrete type", path, t)
	case reflect.Chan, reflect.UnsafePointer, reflect.Uintptr:
		return s, fmt.Errorf("%s is an address (%s), which is different in every process; key by a number or string that names the thing", path, t)
	case reflect.Complex64, reflect.Complex128:
		return s, fmt.Errorf("%s is a complex number (%s); key by its real and imaginary parts", path, t)
	}
	return s, fmt.Errorf("%s has type %s, which == cannot compare; key by a string or number made from it", path, t)
}

// A step of a plan hashes one run of memory, string or float.
type step struct {
	kind   kind // 0: size bytes of memory; or a string, float32 or float64
	offset uintptr
	size   uintptr
}

// plan flattens s into steps, joining neighbouring fixed-size values.
func (s *shape) plan(base uintptr, steps []step) []step {
	at := base + s.offset
	switch s.kind {
	case kindStruct, kindArray:
		for i := range s.parts {
			steps = s.parts[i].plan(at, steps)
		}
		return steps
	case kindString, kindFloat32, kindFloat64:
		return append(steps, step{s.kind, at, s.size})
	}
	if n := len(steps); n > 0 && steps[n-1].kind == 0 && steps[n-1].offset+steps[n-1].size == at {
		steps[n-1].size += s.size
		return steps
	}
	return append(steps, step{0, at, s.size})
}

// run hashes the key at p by steps.
func run(steps []step, p unsafe.Pointer) uint64 {
	h := uint64(seed)
	for i := range steps {
		s := &steps[i]
		q := unsafe.Add(p, s.offset)
		switch s.kind {
		case 0:
			h = hashBytes(h, unsafe.String((*byte)(q), s.size))
		case kindString:
			h = hashBytes(h, *(*string)(q))
		case kindFloat32:
			h = fold(h^floatBits(float64(*(*float32)(q))), k1)
		case kindFloat64:
			h = fold(h^floatBits(*(*float64)(q)), k1)
		}
	}
	return h
}
