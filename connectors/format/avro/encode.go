package avro

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/hamba/avro/v2/ocf"

	"github.com/millrace/millrace/connectors/format/internal/fields"
)

// schemaOf is the schema of records with the fields, as JSON.
func schemaOf(fs []fields.Field) (string, error) {
	type field struct {
		Name    string `json:"name"`
		Type    any    `json:"type"`
		Default any    `json:"default,omitempty"`
	}
	schema := struct {
		Type   string  `json:"type"`
		Name   string  `json:"name"`
		Fields []field `json:"fields"`
	}{Type: "record", Name: "record"}
	for _, f := range fs {
		t := typeOf(f.Kind)
		if f.Optional {
			t = []any{"null", t}
		}
		schema.Fields = append(schema.Fields, field{Name: f.Name, Type: t})
	}
	b, err := json.Marshal(schema)
	if err != nil {
		return "", fmt.Errorf("avro: %w", err)
	}
	return string(b), nil
}

func typeOf(k fields.Kind) any {
	switch k {
	case fields.Bool:
		return "boolean"
	case fields.Int8, fields.Int16, fields.Int32, fields.Uint8, fields.Uint16:
		return "int"
	case fields.Float32:
		return "float"
	case fields.Float64:
		return "double"
	case fields.String:
		return "string"
	case fields.Bytes:
		return "bytes"
	case fields.Time:
		return map[string]any{"type": "long", "logicalType": "timestamp-micros"}
	}
	return "long"
}

type encoder[T any] struct {
	fields []fields.Field
	file   *ocf.Encoder
	w      *avro.Writer
}

func (e *encoder[T]) Encode(recs []T) error {
	if e.w == nil {
		e.w = avro.NewWriter(nil, 1<<10)
	}
	for i := range recs {
		e.w.Reset(nil)
		for j := range e.fields {
			fd := &e.fields[j]
			at := fields.Cell(&recs[i], fd)
			if fd.Optional {
				if at = fields.Deref(at); at.Nil() {
					e.w.WriteLong(0)
					continue
				}
				e.w.WriteLong(1)
			}
			if err := e.value(fd, at); err != nil {
				return err
			}
		}
		if _, err := e.file.Write(e.w.Buffer()); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder[T]) value(f *fields.Field, at fields.Cells) error {
	w := e.w
	switch f.Kind {
	case fields.Bool:
		w.WriteBool(*fields.At[bool](at, 0))
	case fields.Int8:
		w.WriteInt(int32(*fields.At[int8](at, 0)))
	case fields.Int16:
		w.WriteInt(int32(*fields.At[int16](at, 0)))
	case fields.Int32:
		w.WriteInt(*fields.At[int32](at, 0))
	case fields.Int64, fields.Duration:
		w.WriteLong(*fields.At[int64](at, 0))
	case fields.Uint8:
		w.WriteInt(int32(*fields.At[uint8](at, 0)))
	case fields.Uint16:
		w.WriteInt(int32(*fields.At[uint16](at, 0)))
	case fields.Uint32:
		w.WriteLong(int64(*fields.At[uint32](at, 0)))
	case fields.Uint64:
		v := *fields.At[uint64](at, 0)
		if v > math.MaxInt64 {
			return fmt.Errorf("avro: field %q: %d is more than a long holds", f.Name, v)
		}
		w.WriteLong(int64(v))
	case fields.Float32:
		w.WriteFloat(*fields.At[float32](at, 0))
	case fields.Float64:
		w.WriteDouble(*fields.At[float64](at, 0))
	case fields.String:
		w.WriteString(*fields.At[string](at, 0))
	case fields.Bytes:
		w.WriteBytes(*fields.At[[]byte](at, 0))
	case fields.Time:
		w.WriteLong(fields.At[time.Time](at, 0).UnixMicro())
	}
	return nil
}

func (e *encoder[T]) Close() error { return e.file.Close() }
