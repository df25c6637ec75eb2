package avro

import (
	"errors"
	"fmt"
	"time"

	"github.com/hamba/avro/v2"

	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/internal/fields"
)

// step reads, or passes over, one field of the file's records.
type step struct {
	name  string
	skip  avro.Schema // set when no field of the record wants it
	field *fields.Field
	// Of a union: how many types it has, and the index of null, -1 for none.
	types, null int64
	set         setFunc // the value into a cell
	point       setFunc // the value into what a pointer cell then points to
}

// setFunc reads a value into a cell. reason is why it does not fit; what is
// wrong with the data stays in the cursor.
type setFunc func(c *cursor, at fields.Cells) (reason error)

var errNull = errors.New("null in a field that is not a pointer")

// decode reads a record. Whatever the reason of a bad one, it is read to its
// end unless the cursor has an error.
func decode[T any](steps []step, c *cursor, rec *T) (field string, reason error) {
	for i := range steps {
		s := &steps[i]
		if s.skip != nil {
			skip(c, s.skip)
			if c.err != nil {
				return s.name, nil
			}
			continue
		}
		at := fields.Cell(rec, s.field)
		null := false
		if s.types > 0 {
			k := c.long()
			if k < 0 || k >= s.types {
				c.fail(errValue)
			}
			null = k == s.null
		}
		var err error
		switch {
		case null && s.field.Optional:
			fields.SetNil(at)
		case null:
			err = errNull
		case s.field.Optional:
			err = s.point(c, at)
		default:
			err = s.set(c, at)
		}
		if c.err != nil {
			return s.name, nil
		}
		if err != nil && reason == nil {
			field, reason = s.name, err
		}
	}
	return field, reason
}

// plan says how records of a schema fill the fields.
func plan(path string, schema *avro.RecordSchema, fs []fields.Field) ([]step, error) {
	want := map[string]*fields.Field{}
	for i := range fs {
		want[fs[i].Name] = &fs[i]
	}
	var steps []step
	for _, sf := range schema.Fields() {
		fd := want[sf.Name()]
		if fd == nil {
			steps = append(steps, step{name: sf.Name(), skip: sf.Type()})
			continue
		}
		delete(want, sf.Name())
		st := step{name: sf.Name(), field: fd, null: -1}
		value := sf.Type()
		if u, ok := value.(*avro.UnionSchema); ok {
			st.types = int64(len(u.Types()))
			var values []avro.Schema
			for i, t := range u.Types() {
				if t.Type() == avro.Null {
					st.null = int64(i)
				} else {
					values = append(values, t)
				}
			}
			if len(values) == 1 {
				value = values[0]
			}
		}
		if !st.connect(value) {
			return nil, format.Mismatch(path, fd.Name, sf.Type().String(), fd.GoType())
		}
		steps = append(steps, st)
	}
	for i := range fs {
		if want[fs[i].Name] != nil {
			return nil, format.Mismatch(path, fs[i].Name, "", fs[i].GoType())
		}
	}
	return steps, nil
}

func logical(s avro.Schema) avro.LogicalType {
	if l, ok := s.(avro.LogicalTypeSchema); ok && l.Logical() != nil {
		return l.Logical().Type()
	}
	return ""
}

// connect sets how a value of schema s gets into the field, and reports
// whether it can.
func (st *step) connect(s avro.Schema) bool {
	if ref, ok := s.(*avro.RefSchema); ok {
		s = ref.Schema()
	}
	typ, lt := s.Type(), logical(s)
	if lt == avro.Decimal || lt == avro.Duration {
		return false
	}
	whole := typ == avro.Int || typ == avro.Long
	switch st.field.Kind {
	case fields.Bool:
		return use(st, typ == avro.Boolean, func(c *cursor) (bool, error) { return c.bool(), nil })
	case fields.Int8:
		return use(st, whole, readWhole[int8])
	case fields.Int16:
		return use(st, whole, readWhole[int16])
	case fields.Int32:
		return use(st, whole, readWhole[int32])
	case fields.Int64:
		return use(st, whole, func(c *cursor) (int64, error) { return c.long(), nil })
	case fields.Uint8:
		return use(st, whole, readWhole[uint8])
	case fields.Uint16:
		return use(st, whole, readWhole[uint16])
	case fields.Uint32:
		return use(st, whole, readWhole[uint32])
	case fields.Uint64:
		return use(st, whole, readWhole[uint64])
	case fields.Float32:
		return use(st, typ == avro.Float, func(c *cursor) (float32, error) { return c.float(), nil })
	case fields.Float64:
		if typ == avro.Float {
			return use(st, true, func(c *cursor) (float64, error) { return float64(c.float()), nil })
		}
		return use(st, typ == avro.Double, func(c *cursor) (float64, error) { return c.double(), nil })
	case fields.String:
		read, ok := textOf(s)
		return use(st, ok, func(c *cursor) (string, error) { return fields.View(read(c)), nil })
	case fields.Bytes:
		read, ok := textOf(s)
		return use(st, ok, func(c *cursor) ([]byte, error) { return append([]byte{}, read(c)...), nil })
	case fields.Time:
		switch lt {
		case avro.Date:
			return use(st, true, func(c *cursor) (time.Time, error) { return time.Unix(c.long()*86400, 0).UTC(), nil })
		case avro.TimestampMillis, avro.LocalTimestampMillis:
			return use(st, true, func(c *cursor) (time.Time, error) { return time.UnixMilli(c.long()).UTC(), nil })
		case avro.TimestampMicros, avro.LocalTimestampMicros:
			return use(st, true, func(c *cursor) (time.Time, error) { return time.UnixMicro(c.long()).UTC(), nil })
		}
	case fields.Duration:
		unit := time.Nanosecond
		switch lt {
		case avro.TimeMillis:
			unit = time.Millisecond
		case avro.TimeMicros:
			unit = time.Microsecond
		case "":
			whole = typ == avro.Long
		default:
			return false
		}
		return use(st, whole, func(c *cursor) (time.Duration, error) { return time.Duration(c.long()) * unit, nil })
	}
	return false
}

// use sets the functions for a field of V.
func use[V any](st *step, ok bool, read func(*cursor) (V, error)) bool {
	st.set = func(c *cursor, at fields.Cells) (err error) {
		*fields.At[V](at, 0), err = read(c)
		return err
	}
	st.point = func(c *cursor, at fields.Cells) error {
		v, err := read(c)
		*fields.At[*V](at, 0) = &v
		return err
	}
	return ok
}

type integer interface {
	int8 | int16 | int32 | uint8 | uint16 | uint32 | uint64
}

func readWhole[V integer](c *cursor) (V, error) {
	v := c.long()
	w := V(v)
	// A uint64 keeps the bits of a negative number: look at the sign too.
	if int64(w) != v || (w > 0) != (v > 0) {
		return w, fmt.Errorf("%d is out of range for type %T", v, w)
	}
	return w, nil
}

// textOf reads what a string or bytes can hold. The result is a view.
func textOf(s avro.Schema) (func(*cursor) []byte, bool) {
	switch s := s.(type) {
	case *avro.EnumSchema:
		symbols := make([][]byte, len(s.Symbols()))
		for i, n := range s.Symbols() {
			symbols[i] = []byte(n)
		}
		return func(c *cursor) []byte {
			k := c.long()
			if k < 0 || k >= int64(len(symbols)) {
				c.fail(errValue)
				return nil
			}
			return symbols[k]
		}, true
	case *avro.FixedSchema:
		n := int64(s.Size())
		return func(c *cursor) []byte { return c.take(n) }, true
	}
	return (*cursor).bytes, s.Type() == avro.String || s.Type() == avro.Bytes
}

// skipDepthMax bounds the nesting of values passed over: a schema may contain
// itself.
const skipDepthMax = 1000

func skip(c *cursor, s avro.Schema) { skipAt(c, s, 0) }

func skipAt(c *cursor, s avro.Schema, depth int) {
	if depth > skipDepthMax {
		c.fail(errValue)
	}
	if c.err != nil {
		return
	}
	switch s := s.(type) {
	case *avro.RefSchema:
		skipAt(c, s.Schema(), depth+1)
	case *avro.RecordSchema:
		for _, f := range s.Fields() {
			skipAt(c, f.Type(), depth+1)
		}
	case *avro.ArraySchema:
		c.blocks(func() { skipAt(c, s.Items(), depth+1) })
	case *avro.MapSchema:
		c.blocks(func() {
			c.bytes()
			skipAt(c, s.Values(), depth+1)
		})
	case *avro.UnionSchema:
		k := c.long()
		if k < 0 || k >= int64(len(s.Types())) {
			c.fail(errValue)
			return
		}
		skipAt(c, s.Types()[k], depth+1)
	case *avro.FixedSchema:
		c.take(int64(s.Size()))
	default:
		switch s.Type() {
		case avro.Null:
		case avro.Boolean:
			c.take(1)
		case avro.Int, avro.Long, avro.Enum:
			c.long()
		case avro.Float:
			c.take(4)
		case avro.Double:
			c.take(8)
		default:
			c.bytes()
		}
	}
}
