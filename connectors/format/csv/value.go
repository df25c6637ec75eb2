package csv

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/millrace/millrace/connectors/format/internal/fields"
)

// set makes a value of a cell's text and puts it in a field of row.
func set[T any](row *T, f *fields.Field, c cell, layout string) error {
	at := fields.Cell(row, f)
	if f.Optional {
		return setOptional(at, f, c, layout)
	}
	return setValue(at, f.Kind, c, layout)
}

func setOptional(at fields.Cells, f *fields.Field, c cell, layout string) error {
	switch f.Kind {
	case fields.Bool:
		return setPointer[bool](at, f.Kind, c, layout)
	case fields.Int8:
		return setPointer[int8](at, f.Kind, c, layout)
	case fields.Int16:
		return setPointer[int16](at, f.Kind, c, layout)
	case fields.Int32:
		return setPointer[int32](at, f.Kind, c, layout)
	case fields.Int64, fields.Duration:
		return setPointer[int64](at, f.Kind, c, layout)
	case fields.Uint8:
		return setPointer[uint8](at, f.Kind, c, layout)
	case fields.Uint16:
		return setPointer[uint16](at, f.Kind, c, layout)
	case fields.Uint32:
		return setPointer[uint32](at, f.Kind, c, layout)
	case fields.Uint64:
		return setPointer[uint64](at, f.Kind, c, layout)
	case fields.Float32:
		return setPointer[float32](at, f.Kind, c, layout)
	case fields.Float64:
		return setPointer[float64](at, f.Kind, c, layout)
	case fields.String:
		return setPointer[string](at, f.Kind, c, layout)
	case fields.Bytes:
		return setPointer[[]byte](at, f.Kind, c, layout)
	default:
		return setPointer[time.Time](at, f.Kind, c, layout)
	}
}

func setPointer[V any](at fields.Cells, k fields.Kind, c cell, layout string) error {
	p := fields.At[*V](at, 0)
	if len(c.text) == 0 && !c.quoted {
		*p = nil
		return nil
	}
	v := new(V)
	*p = v
	return setValue(fields.Of1(v), k, c, layout)
}

func setValue(at fields.Cells, k fields.Kind, c cell, layout string) error {
	text := fields.View(c.text)
	switch k {
	case fields.Bool:
		v, err := strconv.ParseBool(text)
		if err != nil {
			return notA("bool", text, err)
		}
		*fields.At[bool](at, 0) = v
	case fields.Int8:
		return setInt[int8](at, text, 8)
	case fields.Int16:
		return setInt[int16](at, text, 16)
	case fields.Int32:
		return setInt[int32](at, text, 32)
	case fields.Int64:
		return setInt[int64](at, text, 64)
	case fields.Uint8:
		return setUint[uint8](at, text, 8)
	case fields.Uint16:
		return setUint[uint16](at, text, 16)
	case fields.Uint32:
		return setUint[uint32](at, text, 32)
	case fields.Uint64:
		return setUint[uint64](at, text, 64)
	case fields.Float32:
		v, err := strconv.ParseFloat(text, 32)
		if err != nil {
			return notA("32-bit number", text, err)
		}
		*fields.At[float32](at, 0) = float32(v)
	case fields.Float64:
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return notA("number", text, err)
		}
		*fields.At[float64](at, 0) = v
	case fields.String:
		*fields.At[string](at, 0) = text
	case fields.Bytes:
		*fields.At[[]byte](at, 0) = append([]byte{}, c.text...)
	case fields.Time:
		v, err := parseTime(text, layout)
		if err != nil {
			return notA("time", text, err)
		}
		*fields.At[time.Time](at, 0) = v
	case fields.Duration:
		v, err := time.ParseDuration(text)
		if err != nil {
			return notA("duration", text, err)
		}
		*fields.At[time.Duration](at, 0) = v
	}
	return nil
}

func setInt[V int8 | int16 | int32 | int64](at fields.Cells, text string, bits int) error {
	v, err := strconv.ParseInt(text, 10, bits)
	if err != nil {
		return notA(strconv.Itoa(bits)+"-bit whole number", text, err)
	}
	*fields.At[V](at, 0) = V(v)
	return nil
}

func setUint[V uint8 | uint16 | uint32 | uint64](at fields.Cells, text string, bits int) error {
	v, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return notA(strconv.Itoa(bits)+"-bit whole number without sign", text, err)
	}
	*fields.At[V](at, 0) = V(v)
	return nil
}

func notA(what, text string, err error) error {
	if len(text) > 64 {
		text = text[:64] + "…"
	}
	if num := (*strconv.NumError)(nil); errors.As(err, &num) && num.Err == strconv.ErrRange {
		return fmt.Errorf("%q is out of range for a %s", text, what)
	}
	return fmt.Errorf("%q is not a %s", text, what)
}

var timeLayouts = []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999", time.DateTime, time.DateOnly}

func parseTime(text, layout string) (t time.Time, err error) {
	if layout != "" {
		return time.Parse(layout, text)
	}
	for _, l := range timeLayouts {
		if t, err = time.Parse(l, text); err == nil {
			return t, nil
		}
	}
	return t, err
}
