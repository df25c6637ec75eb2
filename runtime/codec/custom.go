package codec

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
)

// A Custom is a codec that a user writes for a type of theirs, or for one they
// cannot change. It must be safe for use by many goroutines at once.
type Custom[T any] interface {
	// Name identifies the encoding in schemas. It must stay the same as long as
	// Decode reads what earlier builds wrote.
	Name() string
	// Version is the version of the encoding that Append writes. It grows with
	// every change of the encoding.
	Version() uint32
	// Append appends the encoding of v to dst and returns the extended slice.
	// Equal values should give equal bytes.
	Append(dst []byte, v T) ([]byte, error)
	// Decode decodes all of src, which Append of the given version wrote; the
	// version is never above Version. The result must not hold on to src.
	Decode(src []byte, version uint32) (T, error)
}

// FromCustom returns the codec of T that is c. The encoding carries its length
// in front, so that it can be followed by other bytes. It panics if c has no
// name.
func FromCustom[T any](c Custom[T]) *Codec[T] {
	var r Registry
	if err := r.Register(c); err != nil {
		panic(err)
	}
	codec, err := OfIn[T](&r)
	if err != nil {
		panic(err) // unreachable: a registered type is not looked into
	}
	return codec
}

// opaque encodes a type that the package does not look into. Pointers are
// passed as a reflect.Value of type *T, so that no copy is boxed.
type opaque interface {
	name() string
	version() uint32
	append(dst []byte, ptr reflect.Value) ([]byte, error)
	decode(src []byte, version uint32, ptr reflect.Value) error
}

type customOf[T any] struct{ c Custom[T] }

func (o customOf[T]) name() string    { return o.c.Name() }
func (o customOf[T]) version() uint32 { return o.c.Version() }

func (o customOf[T]) append(dst []byte, ptr reflect.Value) ([]byte, error) {
	return o.c.Append(dst, *ptr.Interface().(*T))
}

func (o customOf[T]) decode(src []byte, version uint32, ptr reflect.Value) error {
	v, err := o.c.Decode(src, version)
	if err != nil {
		return fmt.Errorf("codec %q version %d: %w", o.c.Name(), version, err)
	}
	*ptr.Interface().(*T) = v
	return nil
}

var (
	appenderType    = reflect.TypeFor[encoding.BinaryAppender]()
	marshalerType   = reflect.TypeFor[encoding.BinaryMarshaler]()
	unmarshalerType = reflect.TypeFor[encoding.BinaryUnmarshaler]()
)

// methods is the opaque of a type with AppendBinary or MarshalBinary, and
// UnmarshalBinary. Such types have no version: they answer for themselves.
type methods struct{ t reflect.Type }

// methodsOf returns the opaque of t, or nil if t lacks the methods.
func methodsOf(t reflect.Type) opaque {
	p := reflect.PointerTo(t)
	if p.Implements(unmarshalerType) && (p.Implements(appenderType) || p.Implements(marshalerType)) {
		return methods{t}
	}
	return nil
}

func (m methods) name() string  { return m.t.String() }
func (methods) version() uint32 { return 0 }

func (m methods) append(dst []byte, ptr reflect.Value) ([]byte, error) {
	switch v := ptr.Interface().(type) {
	case encoding.BinaryAppender:
		return v.AppendBinary(dst)
	case encoding.BinaryMarshaler:
		b, err := v.MarshalBinary()
		return append(dst, b...), err
	}
	panic("codec: " + m.t.String() + " lost its methods")
}

func (m methods) decode(src []byte, _ uint32, ptr reflect.Value) error {
	ptr.Elem().SetZero()
	return ptr.Interface().(encoding.BinaryUnmarshaler).UnmarshalBinary(src)
}

// appendOpaque appends what o makes of *ptr, without its length.
func appendOpaque(dst []byte, o opaque, ptr reflect.Value) []byte {
	out, err := o.append(dst, ptr)
	if err == nil && len(out) < len(dst) {
		err = fmt.Errorf("codec %q returned fewer bytes than it was given", o.name())
	}
	if err != nil {
		panic(&EncodeError{ptr.Type().Elem().String(), err})
	}
	checkLen(ptr.Type().Elem(), len(out)-len(dst))
	return out
}

// cloneOpaque replaces *ptr by its decoded encoding.
func cloneOpaque(o opaque, ptr reflect.Value) {
	b := appendOpaque(nil, o, ptr)
	if err := o.decode(b, o.version(), ptr); err != nil {
		panic(&EncodeError{ptr.Type().Elem().String(), fmt.Errorf("decode what it wrote: %w", err)})
	}
}

// checkLen panics if n, the length of a value of type t, cannot be stored.
func checkLen(t reflect.Type, n int) {
	if uint64(n) >= math.MaxUint32 {
		panic(&EncodeError{t.String(), fmt.Errorf("length %d does not fit 32 bits", n)})
	}
}

// checkDepth panics if a value nests too deep.
func checkDepth(t reflect.Type, depth int) {
	if depth > maxDepth {
		panic(&EncodeError{t.String(), fmt.Errorf("nested more than %d deep; is there a cycle?", maxDepth)})
	}
}
