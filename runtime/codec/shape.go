package codec

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Kind says how a value is stored. The numbers are part of stored schemas.
type Kind uint8

// The kinds. int and time.Duration are Int64, uint and uintptr are Uint64.
const (
	Bool       Kind = 1
	Int8       Kind = 2
	Int16      Kind = 3
	Int32      Kind = 4
	Int64      Kind = 5
	Uint8      Kind = 6
	Uint16     Kind = 7
	Uint32     Kind = 8
	Uint64     Kind = 9
	Float32    Kind = 10
	Float64    Kind = 11
	Complex64  Kind = 12
	Complex128 Kind = 13
	Time       Kind = 14
	String     Kind = 15
	Bytes      Kind = 16
	Array      Kind = 17
	Slice      Kind = 18
	Map        Kind = 19
	Optional   Kind = 20 // a pointer
	Struct     Kind = 21
	Methods    Kind = 22 // a type with AppendBinary and UnmarshalBinary
	UserCodec  Kind = 23 // a type with a Custom codec
)

var kindNames = [...]string{
	Bool: "bool", Int8: "int8", Int16: "int16", Int32: "int32", Int64: "int64",
	Uint8: "uint8", Uint16: "uint16", Uint32: "uint32", Uint64: "uint64",
	Float32: "float32", Float64: "float64", Complex64: "complex64", Complex128: "complex128",
	Time: "time", String: "string", Bytes: "bytes", Array: "array", Slice: "slice",
	Map: "map", Optional: "optional", Struct: "struct", Methods: "binary", UserCodec: "codec",
}

// String returns the kind's name, as schemas print it.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// fixedSize is the size of the kinds that have one of their own, 0 for others.
func (k Kind) fixedSize() int {
	switch k {
	case Bool, Int8, Uint8:
		return 1
	case Int16, Uint16:
		return 2
	case Int32, Uint32, Float32:
		return 4
	case Int64, Uint64, Float64, Complex64:
		return 8
	case Complex128:
		return 16
	case Time:
		return 12
	}
	return 0
}

var scalarKinds = map[reflect.Kind]Kind{
	reflect.Bool: Bool, reflect.Int: Int64, reflect.Int8: Int8, reflect.Int16: Int16,
	reflect.Int32: Int32, reflect.Int64: Int64, reflect.Uint: Uint64, reflect.Uint8: Uint8,
	reflect.Uint16: Uint16, reflect.Uint32: Uint32, reflect.Uint64: Uint64, reflect.Uintptr: Uint64,
	reflect.Float32: Float32, reflect.Float64: Float64,
	reflect.Complex64: Complex64, reflect.Complex128: Complex128, reflect.String: String,
}

var timeType = reflect.TypeFor[time.Time]()

// A shape is what the package knows of a Go type: how it is stored, and where
// its parts are. Shapes of recursive types are cyclic.
type shape struct {
	kind   Kind
	typ    reflect.Type
	elem   *shape  // Array, Slice, Optional, and the values of a Map
	key    *shape  // Map
	n      int     // Array
	fields []field // Struct
	left   []int   // Struct: indexes of fields left out, which decode to zero
	opaque opaque  // Methods, UserCodec
	layout
}

// A field is a stored field of a struct.
type field struct {
	name  string
	was   []string // names it had in older declarations
	index int      // in the Go type
	shape *shape
}

// layout is what a reader must know of a kind besides its parts.
type layout struct {
	head int  // bytes in the head
	min  int  // fewest bytes of a whole encoding, tail included
	tail bool // whether there is a tail; then min > 0
}

// maxLayout bounds head and min, which matters for schemas from strangers.
const maxLayout = 1 << 30

// fix sets the layout of a kind that is not Array or Struct.
func (l *layout) fix(k Kind) {
	switch k {
	case String, Bytes, Slice, Map, Methods, UserCodec:
		*l = layout{4, 4, true}
	case Optional:
		*l = layout{1, 1, true}
	default:
		*l = layout{k.fixedSize(), k.fixedSize(), false}
	}
}

// array returns the layout of n elements of layout l.
func (l layout) array(n int) (layout, bool) {
	if n > maxLayout || l.min > 0 && n > maxLayout/l.min {
		return layout{}, false
	}
	a := layout{min: n * l.min, tail: l.tail && n > 0}
	if !a.tail {
		a.head = a.min
	}
	return a, true
}

// add appends a field of layout f to a struct of layout l.
func (l *layout) add(f layout) bool {
	l.head, l.min, l.tail = l.head+f.head, l.min+f.min, l.tail || f.tail
	return l.min <= maxLayout
}

// shaper makes the shapes of one codec.
type shaper struct {
	custom map[reflect.Type]opaque
	seen   map[reflect.Type]*shape
	later  []check // what can be judged only when all layouts are known
}

type check struct {
	s    *shape
	path string
}

func shapeOf(t reflect.Type, custom map[reflect.Type]opaque) (*shape, error) {
	b := shaper{custom: custom, seen: make(map[reflect.Type]*shape)}
	s, err := b.shape(t, typeName(t))
	if err != nil {
		return nil, err
	}
	for _, c := range b.later {
		// Such a slice would let four bytes ask for any amount of memory.
		if c.s.elem.min == 0 && c.s.elem.typ.Size() > 0 {
			return nil, refuse(c.path, "%s takes no bytes, so a slice of it cannot be stored", c.s.elem.typ)
		}
	}
	return s, nil
}

func refuse(path, format string, args ...any) error {
	return fmt.Errorf("codec: %s: "+format, append([]any{path}, args...)...)
}

func (b *shaper) shape(t reflect.Type, path string) (*shape, error) {
	if s := b.seen[t]; s != nil {
		return s, nil
	}
	s := &shape{typ: t}
	b.seen[t] = s
	if o := b.custom[t]; o != nil {
		s.kind, s.opaque = UserCodec, o
		s.fix(s.kind)
		return s, nil
	}
	if k, ok := scalarKinds[t.Kind()]; ok {
		s.kind = k
		s.fix(k)
		return s, nil
	}
	var err error
	switch t.Kind() {
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 && b.custom[t.Elem()] == nil {
			s.kind = Bytes
			s.fix(Bytes)
			return s, nil
		}
		s.kind = Slice
		s.fix(Slice)
		b.later = append(b.later, check{s, path + "[]"})
		s.elem, err = b.shape(t.Elem(), path+"[]")
	case reflect.Pointer:
		s.kind = Optional
		s.fix(Optional)
		s.elem, err = b.shape(t.Elem(), path)
	case reflect.Map:
		s.kind = Map
		s.fix(Map)
		if s.key, err = b.shape(t.Key(), path+"[key]"); err != nil {
			return nil, err
		}
		s.elem, err = b.shape(t.Elem(), path+"[value]")
	case reflect.Array:
		s.kind, s.n = Array, t.Len()
		if s.elem, err = b.shape(t.Elem(), path+"[]"); err != nil {
			return nil, err
		}
		var ok bool
		if s.layout, ok = s.elem.layout.array(s.n); !ok {
			return nil, refuse(path, "%s is too large", t)
		}
	case reflect.Struct:
		err = b.structShape(s, path)
	default:
		return nil, refuse(path, "%s cannot be stored; leave the field out with the tag `millrace:\"-\"` or register a Custom codec for its type", t)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (b *shaper) structShape(s *shape, path string) error {
	t := s.typ
	if t == timeType {
		s.kind = Time
		s.fix(Time)
		return nil
	}
	s.kind = Struct
	names := make(map[string]string) // name or old name to Go field
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == "_" {
			continue
		}
		at := path + "." + f.Name
		name, was, skip, err := parseTag(f)
		if err != nil {
			return refuse(at, "%w", err)
		}
		if skip {
			s.left = append(s.left, i)
			continue
		}
		embedded := f.Anonymous && f.Type.Kind() == reflect.Struct
		if !f.IsExported() && !embedded {
			return b.unexported(s, at)
		}
		for _, n := range append([]string{name}, was...) {
			if other, ok := names[n]; ok {
				return refuse(at, "the name %q is taken by field %s", n, other)
			}
			names[n] = f.Name
		}
		fs, err := b.shape(f.Type, at)
		if err != nil {
			return err
		}
		if !f.IsExported() && fs.kind != Struct {
			return b.unexported(s, at)
		}
		if !s.add(fs.layout) {
			return refuse(path, "%s is too large", t)
		}
		s.fields = append(s.fields, field{name, was, i, fs})
	}
	return nil
}

// unexported turns s into a type that encodes itself, if it can.
func (b *shaper) unexported(s *shape, at string) error {
	t := s.typ
	o := methodsOf(t)
	if o == nil {
		return refuse(at, "unexported field of %s; export it, leave it out with the tag `millrace:\"-\"`, give %s the methods AppendBinary and UnmarshalBinary, or register a Custom codec for it", t, t)
	}
	// Methods that come from an embedded field would store that field only.
	for f := range t.Fields() {
		if !f.Anonymous {
			continue
		}
		ft := f.Type
		if ft.Kind() != reflect.Pointer && ft.Kind() != reflect.Interface {
			ft = reflect.PointerTo(ft)
		}
		for _, m := range []string{"AppendBinary", "MarshalBinary", "UnmarshalBinary"} {
			if _, ok := ft.MethodByName(m); ok {
				return refuse(at, "unexported field of %s, whose embedded %s has a method %s of its own; register a Custom codec for %s", t, f.Name, m, t)
			}
		}
	}
	*s = shape{kind: Methods, typ: t, opaque: o}
	s.fix(Methods)
	return nil
}

// parseTag reads the millrace tag of f.
func parseTag(f reflect.StructField) (name string, was []string, skip bool, err error) {
	name = f.Name
	tag, ok := f.Tag.Lookup("millrace")
	if !ok {
		return name, nil, false, nil
	}
	if tag == "-" {
		return "", nil, true, nil
	}
	for i, part := range strings.Split(tag, ",") {
		old, isWas := strings.CutPrefix(part, "was=")
		switch {
		case isWas && old == "":
			return "", nil, false, errors.New("the tag has was= without a name")
		case isWas && slices.Contains(was, old):
			return "", nil, false, fmt.Errorf("the tag has was=%s twice", old)
		case isWas:
			was = append(was, old)
		case i == 0 && part == "":
		case i == 0 && !strings.ContainsFunc(part, func(c rune) bool { return c <= ' ' || c == '=' }):
			name = part
		default:
			return "", nil, false, fmt.Errorf("the tag has an unknown part %q", part)
		}
	}
	if len(name) > math.MaxUint16 {
		return "", nil, false, errors.New("the name is too long")
	}
	return name, was, false, nil
}
