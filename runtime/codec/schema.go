package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// A Schema describes how the values of a type were encoded: kinds, and the names of
// fields. It is stored beside the bytes and needs neither the Go type nor the
// program that wrote them. The zero Schema describes nothing.
type Schema struct {
	types []schemaType // the first is the described type; others are its parts
}

// A schemaType is one type of a schema; it refers to others by their index.
type schemaType struct {
	kind    Kind
	name    string // Methods: the Go type; UserCodec: the codec's name
	version uint32 // UserCodec
	n       int    // Array
	key     int    // Map
	elem    int    // Array, Slice, Map, Optional
	fields  []schemaField
	layout
}

type schemaField struct {
	name string
	typ  int
}

// schemaOf writes down s. Parts are numbered in the order they are met.
func schemaOf(s *shape) Schema {
	var out Schema
	index := make(map[*shape]int)
	var add func(s *shape) int
	add = func(s *shape) int {
		if i, ok := index[s]; ok {
			return i
		}
		i := len(out.types)
		index[s] = i
		out.types = append(out.types, schemaType{})
		t := schemaType{kind: s.kind, n: s.n, layout: s.layout}
		if s.opaque != nil {
			t.name, t.version = s.opaque.name(), s.opaque.version()
		}
		if s.key != nil {
			t.key = add(s.key)
		}
		if s.elem != nil {
			t.elem = add(s.elem)
		}
		for _, f := range s.fields {
			t.fields = append(t.fields, schemaField{f.name, add(f.shape)})
		}
		out.types[i] = t
		return i
	}
	add(s)
	return out
}

// IsZero reports whether s describes nothing.
func (s Schema) IsZero() bool { return len(s.types) == 0 }

// Same reports whether s and other describe the same encoding, so that bytes
// of one can be read as bytes of the other.
func (s Schema) Same(other Schema) bool {
	if s.IsZero() || other.IsZero() {
		return s.IsZero() && other.IsZero()
	}
	return same(s, 0, other, 0, make(map[[2]int]bool))
}

// same compares type i of a with type j of b. seen holds the pairs that are
// equal or under comparison, so that recursive types end.
func same(a Schema, i int, b Schema, j int, seen map[[2]int]bool) bool {
	if seen[[2]int{i, j}] {
		return true
	}
	seen[[2]int{i, j}] = true
	x, y := &a.types[i], &b.types[j]
	if x.kind != y.kind || x.name != y.name || x.version != y.version || x.n != y.n || len(x.fields) != len(y.fields) {
		return false
	}
	switch x.kind {
	case Map:
		return same(a, x.key, b, y.key, seen) && same(a, x.elem, b, y.elem, seen)
	case Array, Slice, Optional:
		return same(a, x.elem, b, y.elem, seen)
	}
	for k := range x.fields {
		if x.fields[k].name != y.fields[k].name || !same(a, x.fields[k].typ, b, y.fields[k].typ, seen) {
			return false
		}
	}
	return true
}

// String prints the schema like a Go type, on one line. A struct that is met a
// second time is printed as #n, where n is the number it had the first time.
func (s Schema) String() string {
	if s.IsZero() {
		return "nothing"
	}
	var b strings.Builder
	s.print(&b, 0, make(map[int]int), 0)
	return b.String()
}

// stringMax bounds what String prints of schemas from strangers.
const stringMax, stringDepth = 64 << 10, 200

func (s Schema) print(b *strings.Builder, i int, seen map[int]int, depth int) {
	t := &s.types[i]
	if b.Len() > stringMax || depth > stringDepth {
		b.WriteString("…")
		return
	}
	// A cycle goes through a struct, or through the same slice or pointer again.
	if t.kind == Struct && seen[i] > 0 || seen[i] > 1 {
		fmt.Fprintf(b, "#%d", i)
		return
	}
	seen[i]++
	if t.kind != Struct {
		defer func() { seen[i]-- }()
	}
	switch t.kind {
	case Array:
		fmt.Fprintf(b, "[%d]", t.n)
		s.print(b, t.elem, seen, depth+1)
	case Slice:
		b.WriteString("[]")
		s.print(b, t.elem, seen, depth+1)
	case Optional:
		b.WriteString("*")
		s.print(b, t.elem, seen, depth+1)
	case Map:
		b.WriteString("map[")
		s.print(b, t.key, seen, depth+1)
		b.WriteString("]")
		s.print(b, t.elem, seen, depth+1)
	case Struct:
		fmt.Fprintf(b, "struct#%d{", i)
		for k, f := range t.fields {
			if k > 0 {
				b.WriteString("; ")
			}
			b.WriteString(f.name + " ")
			s.print(b, f.typ, seen, depth+1)
		}
		b.WriteString("}")
	case Methods:
		fmt.Fprintf(b, "binary(%s)", t.name)
	case UserCodec:
		fmt.Fprintf(b, "codec(%s v%d)", t.name, t.version)
	default:
		b.WriteString(t.kind.String())
	}
}

// describe names type i in an error, without its parts.
func (s Schema) describe(i int) string {
	t := &s.types[i]
	switch t.kind {
	case Array:
		return fmt.Sprintf("array of %d", t.n)
	case Methods:
		return "binary(" + t.name + ")"
	case UserCodec:
		return fmt.Sprintf("codec(%s v%d)", t.name, t.version)
	}
	return t.kind.String()
}

// schemaFormat is the first byte of a stored schema. It changes with the form
// of schemas, and with the layout of values that they stand for.
const schemaFormat = 1

// AppendBinary appends the stored form of s to dst. Its error is always nil.
//
//	1 byte      format, 1
//	uvarint     number of types; for each:
//	  1 byte    kind
//	  Array:    uvarint length, uvarint element
//	  Slice, Optional: uvarint element
//	  Map:      uvarint key, uvarint value
//	  Struct:   uvarint number of fields; for each: name, uvarint type
//	  Methods:  name
//	  UserCodec: name, uvarint version
//
// A name is an uvarint length and that many bytes. Types are referred to by
// their number; the described type is number 0. Uvarints are as short as they can be.
func (s Schema) AppendBinary(dst []byte) ([]byte, error) {
	dst = append(dst, schemaFormat)
	uvarint := func(n int) { dst = binary.AppendUvarint(dst, uint64(n)) }
	name := func(n string) {
		uvarint(len(n))
		dst = append(dst, n...)
	}
	uvarint(len(s.types))
	for i := range s.types {
		t := &s.types[i]
		dst = append(dst, byte(t.kind))
		switch t.kind {
		case Array:
			uvarint(t.n)
			uvarint(t.elem)
		case Slice, Optional:
			uvarint(t.elem)
		case Map:
			uvarint(t.key)
			uvarint(t.elem)
		case Struct:
			uvarint(len(t.fields))
			for _, f := range t.fields {
				name(f.name)
				uvarint(f.typ)
			}
		case Methods:
			name(t.name)
		case UserCodec:
			name(t.name)
			dst = binary.AppendUvarint(dst, uint64(t.version))
		}
	}
	return dst, nil
}

// ParseSchema reads what AppendBinary wrote, which must be all of src. It
// keeps nothing of src. Errors wrap [ErrCorrupt].
func ParseSchema(src []byte) (Schema, error) {
	p := schemaParser{src: src}
	s, err := p.schema()
	if err != nil {
		return Schema{}, fmt.Errorf("codec: parse schema: %w: %w", ErrCorrupt, err)
	}
	return s, nil
}

type schemaParser struct {
	src []byte
	err error
}

func (p *schemaParser) fail(msg string) {
	if p.err == nil {
		p.err = errors.New(msg)
	}
	p.src = nil
}

func (p *schemaParser) byte() byte {
	if len(p.src) == 0 {
		p.fail("too short")
		return 0
	}
	b := p.src[0]
	p.src = p.src[1:]
	return b
}

// uvarint reads a number of at most limit.
func (p *schemaParser) uvarint(limit uint64) int { return int(p.uvarint64(limit)) }

func (p *schemaParser) uvarint64(limit uint64) uint64 {
	x, n := binary.Uvarint(p.src)
	switch {
	case n <= 0:
		p.fail("no number where there must be one")
	case n > 1 && p.src[n-1] == 0:
		p.fail("a number longer than it need be")
	case x > limit:
		p.fail(fmt.Sprintf("the number %d where the largest is %d", x, limit))
	default:
		p.src = p.src[n:]
		return x
	}
	return 0
}

func (p *schemaParser) name() string {
	n := p.uvarint(uint64(len(p.src)))
	if n > len(p.src) {
		p.fail("too short")
		return ""
	}
	s := string(p.src[:n])
	p.src = p.src[n:]
	return s
}

func (p *schemaParser) schema() (Schema, error) {
	if f := p.byte(); p.err == nil && f != schemaFormat {
		return Schema{}, fmt.Errorf("format %d, not %d", f, schemaFormat)
	}
	n := p.uvarint(uint64(len(p.src))) // a type takes a byte at least
	last := uint64(max(n-1, 0))
	var s Schema
	for range n {
		if p.err != nil {
			break
		}
		t := schemaType{kind: Kind(p.byte())}
		switch t.kind {
		case Array:
			t.n = p.uvarint(maxLayout)
			t.elem = p.uvarint(last)
		case Slice, Optional:
			t.elem = p.uvarint(last)
		case Map:
			t.key = p.uvarint(last)
			t.elem = p.uvarint(last)
		case Struct:
			fields := p.uvarint(uint64(len(p.src)))
			names := make(map[string]bool)
			for range fields {
				f := schemaField{p.name(), p.uvarint(last)}
				if p.err != nil {
					break
				}
				if names[f.name] {
					p.fail(fmt.Sprintf("two fields named %q", f.name))
				}
				names[f.name] = true
				t.fields = append(t.fields, f)
			}
		case Methods:
			t.name = p.name()
		case UserCodec:
			t.name = p.name()
			t.version = uint32(p.uvarint64(1<<32 - 1))
		default:
			if t.kind.fixedSize() == 0 && t.kind != String && t.kind != Bytes {
				p.fail(fmt.Sprintf("unknown kind %d", t.kind))
			}
		}
		s.types = append(s.types, t)
	}
	if p.err == nil && len(p.src) > 0 {
		p.fail("bytes after the end")
	}
	if p.err != nil {
		return Schema{}, p.err
	}
	return s, s.layOut()
}

// layOut computes the layouts of all types.
func (s Schema) layOut() error {
	const (
		unknown = iota
		busy
		done
	)
	state := make([]byte, len(s.types))
	var visit func(i, depth int) error
	visit = func(i, depth int) error {
		t := &s.types[i]
		switch {
		case state[i] == done:
			return nil
		case state[i] == busy:
			return fmt.Errorf("type %d contains itself", i)
		case depth > maxDepth:
			return errors.New("nested too deep")
		}
		state[i] = busy
		t.fix(t.kind)
		switch t.kind {
		case Array:
			if err := visit(t.elem, depth+1); err != nil {
				return err
			}
			var ok bool
			if t.layout, ok = s.types[t.elem].array(t.n); !ok {
				return fmt.Errorf("type %d is too large", i)
			}
		case Struct:
			for _, f := range t.fields {
				if err := visit(f.typ, depth+1); err != nil {
					return err
				}
				if !t.add(s.types[f.typ].layout) {
					return fmt.Errorf("type %d is too large", i)
				}
			}
		}
		state[i] = done
		return nil
	}
	for i := range s.types {
		if err := visit(i, 0); err != nil {
			return err
		}
	}
	return nil
}

// typeName is how errors name a Go type at the start of a path.
func typeName(t reflect.Type) string {
	if t.Name() != "" {
		return t.Name()
	}
	return t.String()
}
