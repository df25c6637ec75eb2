package parquet

import (
	"fmt"
	"time"

	"github.com/parquet-go/parquet-go"
	pqformat "github.com/parquet-go/parquet-go/format"

	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/internal/fields"
)

// plan finds the column of a field and how its values fill it.
func plan(path string, f *file, fd *fields.Field) (*column, error) {
	var c *column
	var node parquet.Node
	err := f.in.guard(func() error {
		for i, p := range f.pq.Schema().Columns() {
			if p[0] != fd.Name {
				continue
			}
			leaf, ok := f.pq.Schema().Lookup(p...)
			if len(p) > 1 || !ok || leaf.MaxRepetitionLevel > 0 {
				return fmt.Errorf("%s: column %q is nested or repeated, which cannot be read (the record has it as %s)", path, fd.Name, fd.GoType())
			}
			node = leaf.Node
			c = &column{field: fd, leaf: i, kind: node.Type().Kind(), maxDef: byte(leaf.MaxDefinitionLevel)}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, format.Mismatch(path, fd.Name, "", fd.GoType())
	}
	from, what := sourceOf(node)
	if !c.connect(from) {
		return nil, format.Mismatch(path, fd.Name, what, fd.GoType())
	}
	return c, nil
}

// source is what the values of a column mean.
type source struct {
	kind     parquet.Kind
	unsigned bool
	bits     int           // of whole numbers
	unit     time.Duration // of timestamps and times of day
	time     bool          // a point in time
	day      bool          // a time of day
	date     bool
	unknown  bool // a meaning that would be lost
}

func sourceOf(n parquet.Node) (s source, what string) {
	t := n.Type()
	s.kind = t.Kind()
	what = t.String()
	switch s.kind {
	case parquet.Int32:
		s.bits = 32
	case parquet.Int64:
		s.bits = 64
	}
	lt := t.LogicalType()
	if lt == nil {
		return s, what
	}
	switch l := lt.Value.(type) {
	case *pqformat.IntType:
		s.bits, s.unsigned = int(l.BitWidth), !l.IsSigned
	case *pqformat.TimestampType:
		s.time, s.unit = true, unitOf(l.Unit)
		s.unknown = s.unit == 0
	case *pqformat.TimeType:
		s.day, s.unit = true, unitOf(l.Unit)
		s.unknown = s.unit == 0
	case *pqformat.DateType:
		s.date = true
	case *pqformat.DecimalType:
		s.unknown = true
	}
	// A damaged footer can give a column any pair of types.
	switch {
	case s.time && s.kind != parquet.Int64,
		s.date && s.kind != parquet.Int32,
		s.day && s.kind != parquet.Int32 && s.kind != parquet.Int64,
		s.bits > 0 && s.kind != parquet.Int32 && s.kind != parquet.Int64,
		s.bits > 32 && s.kind == parquet.Int32,
		s.bits < 0:
		s.unknown = true
	}
	return s, what
}

func unitOf(u pqformat.TimeUnit) time.Duration {
	switch u.Value.(type) {
	case *pqformat.MilliSeconds:
		return time.Millisecond
	case *pqformat.MicroSeconds:
		return time.Microsecond
	case *pqformat.NanoSeconds:
		return time.Nanosecond
	}
	return 0
}

// connect sets how the column's values get into its field, and reports whether
// they can.
func (c *column) connect(s source) bool {
	if s.unknown {
		return false
	}
	switch c.field.Kind {
	case fields.Bool:
		return use[bool](c, s.kind == parquet.Boolean, putBool)
	case fields.Int8:
		return use[int8](c, s.fits(8, true), putWhole[int8](s))
	case fields.Int16:
		return use[int16](c, s.fits(16, true), putWhole[int16](s))
	case fields.Int32:
		return use[int32](c, s.fits(32, true), putWhole[int32](s))
	case fields.Int64:
		return use[int64](c, s.fits(64, true), putWhole[int64](s))
	case fields.Uint8:
		return use[uint8](c, s.fits(8, false), putWhole[uint8](s))
	case fields.Uint16:
		return use[uint16](c, s.fits(16, false), putWhole[uint16](s))
	case fields.Uint32:
		return use[uint32](c, s.fits(32, false), putWhole[uint32](s))
	case fields.Uint64:
		return use[uint64](c, s.fits(64, false), putWhole[uint64](s))
	case fields.Float32:
		return use[float32](c, s.kind == parquet.Float, func(c *column, out fields.Cells, n int) { putNumbers[float32](c, c.vals.f32, out, n) })
	case fields.Float64:
		if s.kind == parquet.Float {
			return use[float64](c, true, func(c *column, out fields.Cells, n int) { putNumbers[float64](c, c.vals.f32, out, n) })
		}
		return use[float64](c, s.kind == parquet.Double, func(c *column, out fields.Cells, n int) { putNumbers[float64](c, c.vals.f64, out, n) })
	case fields.String:
		return use[string](c, s.isBytes(), putString)
	case fields.Bytes:
		return use[[]byte](c, s.isBytes(), putBytes)
	case fields.Time:
		return use[time.Time](c, s.time || s.date || s.kind == parquet.Int96, putTime(s))
	case fields.Duration:
		plain := s.kind == parquet.Int64 && s.bits == 64 && !s.unsigned && !s.time
		return use[time.Duration](c, s.day || plain, putDuration(s))
	}
	return false
}

// use sets the functions for a field of V.
func use[V any](c *column, ok bool, put putFunc) bool {
	c.put = put
	c.ptr = func(c *column, out fields.Cells, n int) { putPointers[V](c, out, n, put) }
	return ok
}

// fits reports whether a whole number of so many bits holds every value.
func (s source) fits(bits int, signed bool) bool {
	switch {
	case s.bits == 0: // not a whole number
		return false
	case s.unsigned && signed:
		return s.bits < bits
	case !s.unsigned && !signed:
		return false
	}
	return s.bits <= bits
}

func (s source) isBytes() bool {
	return s.kind == parquet.ByteArray || s.kind == parquet.FixedLenByteArray
}

type number interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// putNumbers is the hot loop: one load, one store at the stride of a row.
func putNumbers[V, S number](c *column, vals []S, out fields.Cells, n int) {
	if c.idx == nil {
		for i, v := range vals[c.vpos : c.vpos+n] {
			*fields.At[V](out, i) = V(v)
		}
		return
	}
	for i, k := range c.idx[c.vpos : c.vpos+n] {
		*fields.At[V](out, i) = V(vals[k])
	}
}

// putWhole fills whole numbers of any width. Narrow ones are stored in 32
// bits, sign-extended or not as their type says.
func putWhole[V number](s source) putFunc {
	if s.kind == parquet.Int64 {
		return func(c *column, out fields.Cells, n int) { putNumbers[V](c, c.vals.i64, out, n) }
	}
	if !s.unsigned {
		return func(c *column, out fields.Cells, n int) { putNumbers[V](c, c.vals.i32, out, n) }
	}
	return func(c *column, out fields.Cells, n int) {
		for i := range n {
			*fields.At[V](out, i) = V(uint32(c.vals.i32[c.at(i)]))
		}
	}
}

// at is the place of the i-th next value among vals.
func (c *column) at(i int) int {
	if c.idx == nil {
		return c.vpos + i
	}
	return int(c.idx[c.vpos+i])
}

func putBool(c *column, out fields.Cells, n int) {
	for i := range n {
		k := c.at(i)
		*fields.At[bool](out, i) = c.vals.bits[k>>3]>>(k&7)&1 == 1
	}
}

func putString(c *column, out fields.Cells, n int) {
	if c.idx != nil {
		strs := c.vals.strs
		for i, k := range c.idx[c.vpos : c.vpos+n] {
			*fields.At[string](out, i) = strs[k]
		}
		return
	}
	for i := range n {
		*fields.At[string](out, i) = c.vals.str(c.vpos + i)
	}
}

// putBytes gives every row bytes of its own, which the program may change,
// from one allocation.
func putBytes(c *column, out fields.Cells, n int) {
	size := 0
	for i := range n {
		size += len(c.vals.str(c.at(i)))
	}
	buf := make([]byte, 0, size)
	for i := range n {
		from := len(buf)
		buf = append(buf, c.vals.str(c.at(i))...)
		*fields.At[[]byte](out, i) = buf[from:len(buf):len(buf)]
	}
}

func putTime(s source) putFunc {
	switch {
	case s.kind == parquet.Int96:
		return func(c *column, out fields.Cells, n int) {
			for i := range n {
				v := c.vals.i96[c.at(i)]
				const julianEpoch = 2440588 // the Julian day of 1970-01-01
				days := int64(v[2]) - julianEpoch
				*fields.At[time.Time](out, i) = time.Unix(days*86400, int64(v[1])<<32|int64(v[0])).UTC()
			}
		}
	case s.date:
		return func(c *column, out fields.Cells, n int) {
			for i := range n {
				*fields.At[time.Time](out, i) = time.Unix(int64(c.vals.i32[c.at(i)])*86400, 0).UTC()
			}
		}
	}
	perSecond := int64(1)
	if s.unit > 0 {
		perSecond = int64(time.Second / s.unit)
	}
	nanos := int64(time.Second) / perSecond
	return func(c *column, out fields.Cells, n int) {
		for i := range n {
			v := c.vals.i64[c.at(i)]
			*fields.At[time.Time](out, i) = time.Unix(v/perSecond, v%perSecond*nanos).UTC()
		}
	}
}

func putDuration(s source) putFunc {
	unit := max(s.unit, 1)
	return func(c *column, out fields.Cells, n int) {
		for i := range n {
			var v int64
			if s.kind == parquet.Int32 {
				v = int64(c.vals.i32[c.at(i)])
			} else {
				v = c.vals.i64[c.at(i)]
			}
			*fields.At[time.Duration](out, i) = time.Duration(v) * unit
		}
	}
}

// putPointers fills a pointer field: the values of all rows that have one in
// one allocation, and nil elsewhere.
func putPointers[V any](c *column, out fields.Cells, n int, put putFunc) {
	have := c.present(n)
	if have == 0 {
		for i := range n {
			*fields.At[*V](out, i) = nil
		}
		return
	}
	vals := make([]V, have)
	put(c, fields.Values(vals), have)
	k := 0
	for i := range n {
		if c.nulls && c.defs[c.pos+i] != c.maxDef {
			*fields.At[*V](out, i) = nil
			continue
		}
		*fields.At[*V](out, i) = &vals[k]
		k++
	}
}
