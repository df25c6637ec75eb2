package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
)

// Reader returns a function that decodes bytes written under the schema
// written into values of today's T, with the contract of Decode. If nothing
// has changed the function is Decode itself. Otherwise
//
//   - fields are matched by name, or by an older name given in a was= tag;
//   - fields that bytes do not have become zero, fields that T does not have
//     are skipped;
//   - integers may have become wider, and unsigned ones wider and signed;
//     float32 may have become float64;
//   - T may have become *T, read as a pointer to the value;
//   - a Custom codec may have a higher version, and is told the old one.
//
// Any other change is an error that names the path of the field and what it
// was and is.
func (c *Codec[T]) Reader[_ lazy](written Schema) (func(src []byte, v *T) (rest []byte, err error), error) {
	conv, err := c.conversion(written)
	if err != nil {
		return nil, err
	}
	if conv == nil {
		return c.Decode, nil
	}
	return func(src []byte, v *T) ([]byte, error) {
		rest, err := conv.whole(src, reflect.ValueOf(v).Elem(), 0)
		if err != nil {
			return nil, c.decodeError(err)
		}
		return rest, nil
	}, nil
}

// conversion returns how to read written, or nil if that is what c writes.
func (c *Codec[T]) conversion[_ lazy](written Schema) (*conversion, error) {
	path := typeName(c.shape.typ)
	if written.IsZero() {
		return nil, refuse(path, "the schema it was written under is missing")
	}
	if written.Same(c.schema) {
		return nil, nil
	}
	e := evolver{
		written: written, now: c.schema, index: make(map[*shape]int),
		done: make(map[pair]*conversion), plans: c.plan != nil,
	}
	e.number(c.shape)
	return e.conversion(0, c.shape, path, 0)
}

// A conversion reads one written type into one Go type. It runs by
// reflection, except for parts that have not changed.
type conversion struct {
	head int // of the written type
	read func(head, src []byte, v reflect.Value, depth int) (rest []byte, err error)
}

// whole reads a value whose head is at the front of src.
func (c *conversion) whole(src []byte, v reflect.Value, depth int) ([]byte, error) {
	if len(src) < c.head {
		return nil, errShort
	}
	if depth > maxDepth {
		return nil, errDepth
	}
	return c.read(src, src[c.head:], v, depth)
}

type pair struct {
	written int
	shape   *shape
}

// evolver makes the conversions of one Reader.
type evolver struct {
	written Schema
	now     Schema
	index   map[*shape]int // in now
	done    map[pair]*conversion
	plans   bool // whether unchanged parts can run as plans
	memory  compiler
}

// number finds the index in the schema of s and its parts, in schemaOf's order.
func (e *evolver) number(s *shape) {
	if _, ok := e.index[s]; ok {
		return
	}
	e.index[s] = len(e.index)
	if s.key != nil {
		e.number(s.key)
	}
	if s.elem != nil {
		e.number(s.elem)
	}
	for _, f := range s.fields {
		e.number(f.shape)
	}
}

// conversion returns how to read type w of the written schema as s.
func (e *evolver) conversion(w int, s *shape, path string, depth int) (*conversion, error) {
	if c := e.done[pair{w, s}]; c != nil {
		return c, nil
	}
	if depth > maxDepth {
		return nil, refuse(path, "nested too deep")
	}
	t := &e.written.types[w]
	c := &conversion{head: t.head}
	e.done[pair{w, s}] = c // filled in below: recursive types find it here
	var err error
	switch {
	case same(e.written, w, e.now, e.index[s], make(map[[2]int]bool)):
		c.read = e.unchanged(s)
	case s.kind == Optional && t.kind != Optional:
		c.read, err = e.toOptional(w, s, path, depth)
	case t.kind != s.kind:
		if c.read = widen(t.kind, s); c.read == nil {
			err = e.refuse(w, s, path)
		}
	case s.kind == Struct:
		c.read, err = e.structs(t, s, path, depth)
	case s.kind == Array && t.n == s.n:
		c.read, err = e.arrays(t, s, path, depth)
	case s.kind == Slice:
		c.read, err = e.slices(t, s, path, depth)
	case s.kind == Map:
		c.read, err = e.maps(t, s, path, depth)
	case s.kind == Optional:
		c.read, err = e.optionals(t, s, path, depth)
	case s.kind == UserCodec && t.name == s.opaque.name() && t.version < s.opaque.version():
		c.read = older(t.version, s)
	default:
		err = e.refuse(w, s, path)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (e *evolver) refuse(w int, s *shape, path string) error {
	return refuse(path, "written as %s, read as %s", e.written.describe(w), e.now.describe(e.index[s]))
}

type readFunc = func(head, src []byte, v reflect.Value, depth int) ([]byte, error)

func (e *evolver) unchanged(s *shape) readFunc {
	if !e.plans {
		return func(head, src []byte, v reflect.Value, depth int) ([]byte, error) {
			return plainDecodeAt(head, src, s, v, depth)
		}
	}
	if e.memory.plans == nil {
		e.memory.plans = make(map[*shape]*plan)
	}
	return e.memory.plan(s).decodeAt
}

// widen reads kind k as the wider number s, or is nil if s is not wider.
func widen(k Kind, s *shape) readFunc {
	size := k.fixedSize()
	signed := func(k Kind) bool { return k >= Int8 && k <= Int64 }
	unsigned := func(k Kind) bool { return k >= Uint8 && k <= Uint64 }
	switch {
	case k == Float32 && s.kind == Float64:
		return func(head, src []byte, v reflect.Value, _ int) ([]byte, error) {
			v.SetFloat(float64(math.Float32frombits(binary.LittleEndian.Uint32(head))))
			return src, nil
		}
	case s.kind.fixedSize() <= size:
		return nil
	case signed(k) && signed(s.kind):
		return func(head, src []byte, v reflect.Value, _ int) ([]byte, error) {
			v.SetInt(getInt(head[:size]))
			return src, nil
		}
	case unsigned(k) && signed(s.kind):
		return func(head, src []byte, v reflect.Value, _ int) ([]byte, error) {
			v.SetInt(int64(getUint(head[:size])))
			return src, nil
		}
	case unsigned(k) && unsigned(s.kind):
		return func(head, src []byte, v reflect.Value, _ int) ([]byte, error) {
			v.SetUint(getUint(head[:size]))
			return src, nil
		}
	}
	return nil
}

func (e *evolver) toOptional(w int, s *shape, path string, depth int) (readFunc, error) {
	elem, err := e.conversion(w, s.elem, path, depth+1)
	if err != nil {
		return nil, err
	}
	return func(head, src []byte, v reflect.Value, depth int) ([]byte, error) {
		if depth >= maxDepth {
			return nil, errDepth
		}
		p := reflect.New(s.elem.typ)
		rest, err := elem.read(head, src, p.Elem(), depth+1)
		v.Set(p.Convert(s.typ))
		return rest, err
	}, nil
}

func (e *evolver) structs(t *schemaType, s *shape, path string, depth int) (readFunc, error) {
	// step reads or skips one written field.
	type step struct {
		head  int
		index int // of the Go field, or -1
		name  string
		typ   int
		conv  *conversion
	}
	byName := make(map[string]int)
	for i, f := range t.fields {
		byName[f.name] = i
	}
	readers := make(map[int]field) // by written field
	for _, f := range s.fields {
		i, ok := byName[f.name]
		for k := 0; !ok && k < len(f.was); k++ {
			i, ok = byName[f.was[k]]
		}
		if ok {
			readers[i] = f
		}
	}
	var steps []step
	for i, wf := range t.fields {
		st := step{head: e.written.types[wf.typ].head, index: -1, name: "." + wf.name, typ: wf.typ}
		if f, ok := readers[i]; ok {
			at := path + "." + s.typ.Field(f.index).Name
			conv, err := e.conversion(wf.typ, f.shape, at, depth+1)
			if err != nil {
				return nil, err
			}
			st.index, st.conv = f.index, conv
		}
		steps = append(steps, st)
	}
	written := e.written
	return func(head, src []byte, v reflect.Value, depth int) (_ []byte, err error) {
		clearStruct(v)
		for i := range steps {
			st := &steps[i]
			if st.index < 0 {
				src, err = written.skip(st.typ, head, src, depth)
			} else {
				src, err = st.conv.read(head, src, v.Field(st.index), depth)
			}
			if err != nil {
				return nil, atField(st.name, err)
			}
			head = head[st.head:]
		}
		return src, nil
	}, nil
}

// clearStruct zeroes a struct. Reflection does not let it set an embedded
// unexported struct as a whole.
func clearStruct(v reflect.Value) {
	if v.CanSet() {
		v.SetZero()
		return
	}
	for i := range v.NumField() {
		plainClear(v, i)
	}
}

func (e *evolver) arrays(t *schemaType, s *shape, path string, depth int) (readFunc, error) {
	elem, err := e.conversion(t.elem, s.elem, path+"[]", depth+1)
	if err != nil {
		return nil, err
	}
	tail, n := t.tail, t.n
	return func(head, src []byte, v reflect.Value, depth int) (_ []byte, err error) {
		for i := range n {
			if tail {
				src, err = elem.whole(src, v.Index(i), depth)
			} else {
				src, err = elem.read(head[i*elem.head:], src, v.Index(i), depth)
			}
			if err != nil {
				return nil, err
			}
		}
		return src, nil
	}, nil
}

func (e *evolver) slices(t *schemaType, s *shape, path string, depth int) (readFunc, error) {
	elem, err := e.conversion(t.elem, s.elem, path+"[]", depth+1)
	if err != nil {
		return nil, err
	}
	least := e.written.types[t.elem].min
	if least == 0 && s.elem.typ.Size() > 0 {
		return nil, refuse(path, "the written elements took no bytes, those read do")
	}
	return func(head, src []byte, v reflect.Value, depth int) (_ []byte, err error) {
		n, isNil := count(head)
		if isNil {
			v.SetZero()
			return src, nil
		}
		if least > 0 && n > len(src)/least {
			return nil, errShort
		}
		v.Set(reflect.MakeSlice(s.typ, n, n))
		if least == 0 {
			return src, nil
		}
		for i := range n {
			if src, err = elem.whole(src, v.Index(i), depth+1); err != nil {
				return nil, err
			}
		}
		return src, nil
	}, nil
}

func (e *evolver) maps(t *schemaType, s *shape, path string, depth int) (readFunc, error) {
	key, err := e.conversion(t.key, s.key, path+"[key]", depth+1)
	if err != nil {
		return nil, err
	}
	elem, err := e.conversion(t.elem, s.elem, path+"[value]", depth+1)
	if err != nil {
		return nil, err
	}
	least := e.written.types[t.key].min + e.written.types[t.elem].min
	return func(head, src []byte, v reflect.Value, depth int) ([]byte, error) {
		n, isNil := count(head)
		if isNil {
			v.SetZero()
			return src, nil
		}
		if err := checkEntries(n, least, src); err != nil {
			return nil, err
		}
		v.Set(reflect.MakeMapWithSize(s.typ, min(n, mapHint)))
		var last []byte
		for range n {
			k, el := reflect.New(s.key.typ).Elem(), reflect.New(s.elem.typ).Elem()
			rest, err := key.whole(src, k, depth+1)
			if err == nil {
				rest, err = elem.whole(rest, el, depth+1)
			}
			if err != nil {
				return nil, err
			}
			entry := src[:len(src)-len(rest)]
			if bytes.Compare(last, entry) > 0 {
				return nil, errOrder
			}
			v.SetMapIndex(k, el)
			last, src = entry, rest
		}
		if v.Len() != n {
			// Keys may also fall together because they lost a field.
			return nil, errOrder
		}
		return src, nil
	}, nil
}

func (e *evolver) optionals(t *schemaType, s *shape, path string, depth int) (readFunc, error) {
	elem, err := e.conversion(t.elem, s.elem, path, depth+1)
	if err != nil {
		return nil, err
	}
	return func(head, src []byte, v reflect.Value, depth int) ([]byte, error) {
		switch head[0] {
		case 0:
			v.SetZero()
			return src, nil
		case 1:
			p := reflect.New(s.elem.typ)
			rest, err := elem.whole(src, p.Elem(), depth+1)
			v.Set(p.Convert(s.typ))
			return rest, err
		}
		return nil, errBool
	}, nil
}

// older reads what an earlier version of a Custom codec wrote.
func older(version uint32, s *shape) readFunc {
	return func(head, src []byte, v reflect.Value, _ int) ([]byte, error) {
		n := binary.LittleEndian.Uint32(head)
		if uint64(n) > uint64(len(src)) {
			return nil, errShort
		}
		if err := s.opaque.decode(src[:n:n], version, v.Addr()); err != nil {
			return nil, err
		}
		return src[n:], nil
	}
}

// skip steps over a value of type i, whose head is at the front of head and
// whose tail is at the front of src.
func (s Schema) skip(i int, head, src []byte, depth int) (_ []byte, err error) {
	t := &s.types[i]
	if !t.tail {
		return src, nil // such a type takes no part in a cycle and no work
	}
	if depth > maxDepth {
		return nil, errDepth
	}
	switch t.kind {
	case String, Methods, UserCodec:
		n := binary.LittleEndian.Uint32(head)
		if uint64(n) > uint64(len(src)) {
			return nil, errShort
		}
		return src[n:], nil
	case Bytes:
		n, isNil := count(head)
		switch {
		case isNil:
			return src, nil
		case n > len(src):
			return nil, errShort
		}
		return src[n:], nil
	case Slice:
		n, isNil := count(head)
		if isNil {
			return src, nil
		}
		return s.skipAll(t.elem, n, src, depth+1)
	case Map:
		n, isNil := count(head)
		if isNil {
			return src, nil
		}
		if err := checkEntries(n, s.types[t.key].min+s.types[t.elem].min, src); err != nil {
			return nil, err
		}
		for range n {
			if src, err = s.skipAll(t.key, 1, src, depth+1); err != nil {
				return nil, err
			}
			if src, err = s.skipAll(t.elem, 1, src, depth+1); err != nil {
				return nil, err
			}
		}
		return src, nil
	case Optional:
		switch head[0] {
		case 0:
			return src, nil
		case 1:
			return s.skipAll(t.elem, 1, src, depth+1)
		}
		return nil, errBool
	case Array:
		return s.skipAll(t.elem, t.n, src, depth)
	case Struct:
		for _, f := range t.fields {
			if src, err = s.skip(f.typ, head, src, depth); err != nil {
				return nil, err
			}
			head = head[s.types[f.typ].head:]
		}
		return src, nil
	}
	return nil, fmt.Errorf("%w: unknown kind %d", ErrCorrupt, t.kind)
}

// skipAll steps over n values of type i, heads included.
func (s Schema) skipAll(i, n int, src []byte, depth int) (_ []byte, err error) {
	e := &s.types[i]
	if e.min == 0 {
		return src, nil
	}
	if n > len(src)/e.min {
		return nil, errShort
	}
	if !e.tail {
		return src[n*e.head:], nil
	}
	for range n {
		if len(src) < e.head {
			return nil, errShort
		}
		if src, err = s.skip(i, src, src[e.head:], depth); err != nil {
			return nil, err
		}
	}
	return src, nil
}
