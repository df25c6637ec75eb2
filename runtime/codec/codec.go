// Package codec turns values of Go types into bytes and back. It decides how a
// type is laid out as bytes, which types can be stored at all, and how bytes
// written under an older declaration of a type are read. It leaves to others
// where the bytes go: framing, checksums and versions of files and of network
// frames belong to their owners, who store a [Schema] beside the bytes when
// these outlive the program.
//
// A type is looked at once, by reflection, and becomes a plan: a short list of
// copies between offsets in the value and offsets in the bytes. Running a plan
// uses no reflection except for maps, for slices and pointers of types that
// hold pointers themselves, and for types that bring their own methods.
//
// # Layout
//
// A value is a head of a size that its type fixes, followed by a tail. Fixed
// size fields stand in the head, in field order, little endian and without
// padding; nested structs and arrays of fixed size elements are part of the
// head of the struct they are in. What has no fixed size keeps its length in the head
// and its contents in the tail, in field order:
//
//	bool                     1 byte, 0 or 1
//	int8 … uint64, floats    their size; int, uint and uintptr take 8 bytes
//	complex                  real part, imaginary part
//	time.Time                8 bytes of seconds since 1970, 4 of nanoseconds
//	string                   4 bytes of length       tail: the bytes
//	[]byte                   4 bytes of length+1     tail: the bytes
//	[]E                      4 bytes of length+1     tail: each element, head and tail
//	map[K]V                  4 bytes of length+1     tail: each entry, key then value
//	*E                       1 byte, 0 for nil       tail: the element
//	[n]E, E without a tail   n heads
//	[n]E, E with a tail      nothing                 tail: each element
//	own methods or codec     4 bytes of length       tail: the bytes
//
// A length+1 of 0 is nil, so nil and empty stay apart. Map entries are in the
// order of their bytes, so equal maps give equal bytes. There is one encoding
// for a value, and decoders refuse all others. NaNs keep their bits.
//
// A time.Time is stored as an instant. Its location and its monotonic clock
// reading are not kept: it comes back in UTC, equal by [time.Time.Equal].
//
// A struct is stored by its exported fields. The tag `millrace:"name"` stores
// a field under another name, `millrace:"was=old"` also reads it from bytes
// that know it under an older one (repeat was= for several), and `millrace:"-"`
// leaves it out: it is zero after decoding. An embedded struct is a field with
// the name of its type. A struct with unexported fields is refused, unless it
// has the methods AppendBinary (or MarshalBinary) and UnmarshalBinary, or a
// [Custom] codec.
package codec

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// ErrCorrupt marks bytes that are not an encoding of the type they are decoded
// as: too short, a length beyond the end, or a form the encoder never writes.
// Trying again will not help.
var ErrCorrupt = errors.New("corrupt bytes")

// maxDepth bounds how deep pointers, slices and maps may nest in one value, so
// that neither a cycle in a value nor hostile bytes can exhaust the stack. It
// is the longest linked list that can be stored.
const maxDepth = 10_000

// An EncodeError is the panic value of [Codec.Append], [Codec.Clone] and
// [Codec.Own] for a value that cannot be stored although its type can: a
// Custom codec or an AppendBinary method returned an error, the value nests
// too deep (most likely a cycle of pointers), or a length does not fit 32 bits.
type EncodeError struct {
	Type string // the type being encoded
	Err  error
}

// Error names the type and the reason.
func (e *EncodeError) Error() string { return "codec: encode " + e.Type + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *EncodeError) Unwrap() error { return e.Err }

// A Codec encodes and decodes values of type T. Make one with [Of], [OfIn] or
// [FromCustom]. It never changes and may be used by many goroutines at once.
type Codec[T any] struct {
	shape       *shape
	plan        *plan // nil where the host's memory is not laid out like the bytes
	schema      Schema
	pointerFree bool
}

// std holds the codecs made by Of.
var std Registry

// Of returns the codec of T. The codec is made on the first call and kept for
// the life of the program. The error names the path of the field that cannot
// be stored, and why.
func Of[T any]() (*Codec[T], error) {
	return OfIn[T](&std)
}

// OfIn is Of with the Custom codecs of r in force, for T itself and for every
// type inside it. The codec is kept in r, which takes no registrations from
// then on. A nil r has none: OfIn is then Of.
func OfIn[T any](r *Registry) (*Codec[T], error) {
	if r == nil {
		r = &std
	}
	t := reflect.TypeFor[T]()
	if c, ok := r.codecs.Load(t); ok {
		return c.(*Codec[T]), nil
	}
	s, err := shapeOf(t, r.freeze())
	if err != nil {
		return nil, err
	}
	c, _ := r.codecs.LoadOrStore(t, newCodec[T](s))
	return c.(*Codec[T]), nil
}

func newCodec[T any](s *shape) *Codec[T] {
	c := &Codec[T]{shape: s, schema: schemaOf(s), pointerFree: pointerFree(s.typ)}
	if hostMatches {
		c.plan = compile(s)
	}
	return c
}

// Append appends the encoding of *v to dst and returns the extended slice. It
// does not keep v. It allocates only to grow dst, and for maps and types with
// methods of their own.
//
// Append panics with an [*EncodeError] for a value that cannot be stored; only
// types with pointers, slices, maps, or code of their own have such values.
func (c *Codec[T]) Append(dst []byte, v *T) []byte {
	if c.plan != nil {
		return appendFast(c.plan, dst, v)
	}
	return plainAppend(dst, c.shape, reflect.ValueOf(v).Elem(), 0)
}

// AppendValue is Append for a value at hand, such as a key just computed. The
// address given to Append makes a local variable move to the heap; AppendValue
// allocates nothing for types of numbers, bools, strings, and structs of them.
func (c *Codec[T]) AppendValue[_ lazy](dst []byte, v T) []byte {
	if c.plan != nil && c.plan.flat {
		return appendStack(c.plan, dst, &v)
	}
	heap := new(T)
	*heap = v
	return c.Append(dst, heap)
}

// DecodeValue is Decode into a value returned, for the same reason.
func (c *Codec[T]) DecodeValue[_ lazy](src []byte) (v T, rest []byte, err error) {
	if c.plan != nil && c.plan.flat {
		if rest, err = decodeStack(c.plan, src, &v); err != nil {
			return v, nil, c.decodeError(err)
		}
		return v, rest, nil
	}
	heap := new(T)
	rest, err = c.Decode(src, heap)
	return *heap, rest, err
}

// TryAppend is Append with the error returned instead of thrown; dst is then
// returned with its length unchanged.
func (c *Codec[T]) TryAppend[_ lazy](dst []byte, v *T) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*EncodeError)
			if !ok {
				panic(r)
			}
			out, err = dst, e
		}
	}()
	return c.Append(dst, v), nil
}

// AppendRows appends the encodings of all rows, one after the other.
func (c *Codec[T]) AppendRows[_ lazy](dst []byte, rows []T) []byte {
	if c.plan != nil && c.plan.flat {
		return appendRows(c.plan, dst, rows)
	}
	for i := range rows {
		dst = c.Append(dst, &rows[i])
	}
	return dst
}

// Decode reads one value from the front of src into *v and returns what
// follows it. All of *v is overwritten. Strings and byte slices in *v are
// views into src: they are valid as long as src is neither changed nor reused;
// Own, Clone and DecodeOwned make values that stand alone. Everything else is
// freshly allocated, never taken over from the old *v.
//
// Errors wrap [ErrCorrupt], or are those of a type's own methods; *v is then
// some mixture of old and new that is not to be used.
func (c *Codec[T]) Decode(src []byte, v *T) (rest []byte, err error) {
	if c.plan != nil {
		rest, err = decodeFast(c.plan, src, v, false)
	} else {
		rest, err = plainDecode(src, c.shape, reflect.ValueOf(v).Elem(), 0)
	}
	if err != nil {
		return nil, c.decodeError(err)
	}
	return rest, nil
}

// DecodeOwned is Decode with all strings and byte slices copied, so that *v
// shares nothing with src.
func (c *Codec[T]) DecodeOwned(src []byte, v *T) (rest []byte, err error) {
	if c.plan != nil {
		rest, err = decodeFast(c.plan, src, v, true)
	} else {
		rest, err = plainDecode(src, c.shape, reflect.ValueOf(v).Elem(), 0)
	}
	if err != nil {
		return nil, c.decodeError(err)
	}
	return rest, nil
}

// DecodeRows decodes len(rows) values from the front of src, as Decode does.
func (c *Codec[T]) DecodeRows[_ lazy](src []byte, rows []T) (rest []byte, err error) {
	if c.plan != nil && c.plan.flat {
		rest, i, err := decodeRows(c.plan, src, rows)
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", i, c.decodeError(err))
		}
		return rest, nil
	}
	for i := range rows {
		if src, err = c.Decode(src, &rows[i]); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
	}
	return src, nil
}

func (c *Codec[T]) decodeError(err error) error {
	return fmt.Errorf("codec: decode %s: %w", c.shape.typ, err)
}

// Clone makes *dst a copy of *src that shares nothing with it: strings, byte
// slices, slices, maps and pointers are copied. Fields left out of the
// encoding are copied as they are. Types with a Custom codec or methods of
// their own are copied by encoding and decoding them.
func (c *Codec[T]) Clone[_ lazy](dst, src *T) {
	if dst != src {
		*dst = *src
	}
	c.own(dst, true)
}

// Own replaces everything in *v that may be a view into a decoded buffer by a
// copy, so that *v outlives the buffer. What *v points to is copied before it
// is changed: other values that share it are not touched. Types with a Custom
// codec or methods of their own never hold views and are left as they are.
func (c *Codec[T]) Own(v *T) { c.own(v, false) }

func (c *Codec[T]) own[_ lazy](v *T, deep bool) {
	if c.pointerFree {
		return
	}
	if c.plan != nil {
		ownFast(c.plan, v, deep)
		return
	}
	plainOwn(c.shape, reflect.ValueOf(v).Elem(), deep, 0)
}

// PointerFree reports whether T holds no Go pointers, so that memory full of
// T is not scanned by the garbage collector and Own has nothing to do.
func (c *Codec[T]) PointerFree[_ lazy]() bool { return c.pointerFree }

// FixedSize reports whether all values of T have encodings of one size, and
// that size in bytes.
func (c *Codec[T]) FixedSize[_ lazy]() (n int, ok bool) {
	if c.shape.tail {
		return 0, false
	}
	return c.shape.head, true
}

// Schema describes the encoding of T. Store it beside bytes that outlive the
// program and give it to Reader.
func (c *Codec[T]) Schema[_ lazy]() Schema { return c.schema }

// pointerFree reports whether values of t hold no Go pointers.
func pointerFree(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return true
	case reflect.Array:
		return t.Len() == 0 || pointerFree(t.Elem())
	case reflect.Struct:
		for f := range t.Fields() {
			if !pointerFree(f.Type) {
				return false
			}
		}
		return true
	}
	return false
}

// A Registry holds the Custom codecs of a job, and the codecs made with them.
// The zero Registry is empty and ready. It may be used by many goroutines.
type Registry struct {
	codecs sync.Map // reflect.Type to *Codec[T] of that type

	mu     sync.Mutex
	custom map[reflect.Type]opaque // by type; not written once frozen
	frozen bool                    // a codec has been made
}

// Register makes c the codec of T, also where T is nested in other types.
// It is an error to register a type twice, to register a codec without a name, and
// to register after the first codec has been made with r.
func (r *Registry) Register[T any](c Custom[T]) error {
	t := reflect.TypeFor[T]()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case c.Name() == "":
		return fmt.Errorf("codec: register %s: the codec has no name", t)
	case strings.ContainsFunc(c.Name(), func(c rune) bool { return c < ' ' }):
		return fmt.Errorf("codec: register %s: the codec's name %q has control characters", t, c.Name())
	case r.frozen:
		return fmt.Errorf("codec: register %s: the registry is in use already", t)
	case r.custom[t] != nil:
		return fmt.Errorf("codec: register %s: it has the codec %q already", t, r.custom[t].name())
	}
	if r.custom == nil {
		r.custom = make(map[reflect.Type]opaque)
	}
	r.custom[t] = customOf[T]{c}
	return nil
}

// freeze ends registration and returns the custom codecs by type.
func (r *Registry) freeze() map[reflect.Type]opaque {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = true
	return r.custom
}

// lazy is the type parameter of methods that need none. All plain methods of a
// generic type are compiled for each program that uses the type, with whatever
// types it uses it for; those with a type parameter only where they are called.
// It is never written in a call: its only type is inferred.
type lazy interface{ struct{} }
