// Package fields says which fields of a record type a file format fills, under
// which column names, and reaches them in rows of records. It knows nothing of
// any format.
package fields

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Kind is the kind of value a field holds.
type Kind uint8

// The kinds a field may have.
const (
	Bool Kind = iota
	Int8
	Int16
	Int32
	Int64
	Uint8
	Uint16
	Uint32
	Uint64
	Float32
	Float64
	String
	Bytes
	Time
	Duration
)

// A Field is one field of a record type.
type Field struct {
	// Name is the column's name: the tag's, or else the field's.
	Name string
	// Go is the field's name in the program.
	Go string
	// Tag is what follows the name in the tag.
	Tag string
	// Kind is the kind of the value, or of what a pointer field points to.
	Kind Kind
	// Optional says that the field is a pointer, nil for no value.
	Optional bool
	// Type is the field's Go type.
	Type reflect.Type

	offset uintptr
	index  []int
}

// GoType is the field's type as the program wrote it, for errors.
func (f Field) GoType() string { return f.Type.String() }

var (
	timeType     = reflect.TypeFor[time.Time]()
	durationType = reflect.TypeFor[time.Duration]()
)

// Of lists the fields of T, which must be a struct, in their order. tag is the
// struct tag that names columns; "-" leaves a field out, unexported fields are
// left out, and fields of an embedded struct without a tag count as the
// record's own.
func Of[T any](tag string) ([]Field, error) {
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct || t == timeType {
		return nil, fmt.Errorf("%s records must be structs, %v is not", tag, t)
	}
	fs, err := appendFields(nil, t, tag, 0, nil)
	if err != nil {
		return nil, fmt.Errorf("%s record %v: %w", tag, t, err)
	}
	if len(fs) == 0 {
		return nil, fmt.Errorf("%s record %v has no exported fields", tag, t)
	}
	seen := map[string]string{}
	for _, f := range fs {
		g := t.FieldByIndex(f.index).Name
		if other, twice := seen[f.Name]; twice {
			return nil, fmt.Errorf("%s record %v: fields %s and %s are both column %q", tag, t, other, g, f.Name)
		}
		seen[f.Name] = g
	}
	return fs, nil
}

func appendFields(fs []Field, t reflect.Type, tag string, offset uintptr, index []int) ([]Field, error) {
	for i := range t.NumField() {
		sf := t.Field(i)
		name, rest, _ := strings.Cut(sf.Tag.Get(tag), ",")
		if name == "-" {
			continue
		}
		at := append(append([]int(nil), index...), i)
		if sf.Anonymous && name == "" && sf.Type.Kind() == reflect.Struct && sf.Type != timeType {
			var err error
			if fs, err = appendFields(fs, sf.Type, tag, offset+sf.Offset, at); err != nil {
				return nil, err
			}
			continue
		}
		if !sf.IsExported() {
			continue
		}
		f := Field{Name: name, Go: sf.Name, Tag: rest, Type: sf.Type, offset: offset + sf.Offset, index: at}
		if name == "" {
			f.Name = sf.Name
		}
		vt := sf.Type
		if vt.Kind() == reflect.Pointer {
			f.Optional, vt = true, vt.Elem()
		}
		k, ok := kindOf(vt)
		if !ok {
			return nil, fmt.Errorf("field %s: type %v cannot be a column", sf.Name, sf.Type)
		}
		f.Kind = k
		fs = append(fs, f)
	}
	return fs, nil
}

func kindOf(t reflect.Type) (Kind, bool) {
	switch t {
	case timeType:
		return Time, true
	case durationType:
		return Duration, true
	}
	switch t.Kind() {
	case reflect.Bool:
		return Bool, true
	case reflect.Int8:
		return Int8, true
	case reflect.Int16:
		return Int16, true
	case reflect.Int32:
		return Int32, true
	case reflect.Int64:
		return Int64, true
	case reflect.Int:
		return Int64, t.Bits() == 64
	case reflect.Uint8:
		return Uint8, true
	case reflect.Uint16:
		return Uint16, true
	case reflect.Uint32:
		return Uint32, true
	case reflect.Uint64:
		return Uint64, true
	case reflect.Uint:
		return Uint64, t.Bits() == 64
	case reflect.Float32:
		return Float32, true
	case reflect.Float64:
		return Float64, true
	case reflect.String:
		return String, true
	case reflect.Slice:
		return Bytes, t.Elem().Kind() == reflect.Uint8
	}
	return 0, false
}
