// Package avro reads and writes Avro object container files. It decides which
// field of the file's schema fills which field of a record, and finds blocks
// again after damage.
//
// Schemas are parsed, and files written, by the hamba/avro library. Values are
// read here, since the library reads a union with null only into a pointer,
// does not widen numbers, and cannot start at a block.
package avro

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hamba/avro/v2"
	"github.com/hamba/avro/v2/ocf"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/internal/fields"
)

// Compression is how the blocks of files written are compressed.
type Compression uint8

// The kinds of compression.
const (
	Snappy Compression = iota
	Deflate
	Zstd
	Uncompressed
)

// Options configures the format. Zero fields take the defaults given.
type Options struct {
	Compression   Compression // of blocks written; Snappy
	BlockBytes    int         // blocks written end when they have reached it, before compression; 64 KiB
	BlockBytesMax int         // largest block read, decompressed; a larger one is damage; 256 MiB
}

// Of is the format of Avro files of records that fill T, a struct whose avro
// tags name fields. Fields that T does not name are passed over.
//
// An int or long fills a field that holds all its values, or one narrower as
// long as the values fit; a float or double a float64, a string, enum, bytes
// or fixed a string or []byte, a timestamp or date a time.Time in UTC, and a
// time of day or a long, as nanoseconds, a time.Duration. A null makes a bad
// record unless the field is a pointer. A damaged block is lost as a whole.
//
// Strings read are views into their block: a program that keeps a few of many
// for long should keep strings.Clone of them.
//
// Times are written as timestamp-micros, durations as long nanoseconds,
// pointers as unions with null.
func Of[T any]() format.Format[T] { return With[T](Options{}) }

// With is [Of] with options.
func With[T any](o Options) format.Format[T] {
	if o.BlockBytes <= 0 {
		o.BlockBytes = 64 << 10
	}
	if o.BlockBytesMax <= 0 {
		o.BlockBytesMax = 256 << 20
	}
	f := &avroFormat[T]{o: o}
	f.fields, f.err = fields.Of[T]("avro")
	if f.err == nil && o.Compression > Uncompressed {
		f.err = fmt.Errorf("avro: there is no compression %d", o.Compression)
	}
	return f
}

type avroFormat[T any] struct {
	o      Options
	fields []fields.Field
	err    error // of the type or the options, given when they are used
}

func (*avroFormat[T]) Extension() string { return ".avro" }

// Cuts leaves the offsets: a range begins at the first block that starts in
// it.
func (*avroFormat[T]) Cuts(_ *format.Input, near []int64) ([]int64, error) { return near, nil }

func (f *avroFormat[T]) Open(in *format.Input, r format.Range, at millrace.Position) (millrace.Reader[T], error) {
	if f.err != nil {
		return nil, f.err
	}
	if err := in.RequirePlain("Avro"); err != nil {
		return nil, err
	}
	rd := &reader[T]{in: in, to: min(r.To, in.Size), blockMax: f.o.BlockBytesMax}
	h, err := readHeader(in)
	if errors.Is(err, errDamaged) {
		if r.From == 0 && at == nil {
			rd.broken = err
		}
		rd.at = rd.to
		return rd, nil
	}
	if err != nil {
		return nil, err
	}
	rd.sync = h.sync
	if rd.codec, err = newCodec(h.codec); err != nil {
		return nil, fmt.Errorf("%s: %w", in.Path, err)
	}
	if rd.steps, err = plan(in.Path, h.schema, f.fields); err != nil {
		return nil, err
	}
	if at == nil {
		rd.at, err = rd.firstBlock(max(r.From, h.end), h.end)
		return rd, err
	}
	off, n := binary.Uvarint(at)
	skip, m := binary.Uvarint(at[max(n, 0):])
	if n <= 0 || m <= 0 || n+m != len(at) || off > uint64(in.Size) {
		return nil, fmt.Errorf("%s: position %x is not one of an Avro file", in.Path, []byte(at))
	}
	rd.at, rd.skip = int64(off), int64(skip)
	return rd, nil
}

// errDamaged marks a file whose header cannot be read.
var errDamaged = errors.New("not a readable Avro file")

const (
	magic    = "Obj\x01"
	syncSize = 16
	// headerMax bounds the header, most of which is the schema.
	headerMax = 16 << 20
)

// header is what stands before the blocks.
type header struct {
	schema *avro.RecordSchema
	codec  string
	sync   [syncSize]byte
	end    int64 // where the first block starts
}

// readHeader reads the header. An error that matches errDamaged is about the
// file's content.
func readHeader(in *format.Input) (h header, err error) {
	damaged := func(format string, args ...any) (header, error) {
		return h, fmt.Errorf("%w: %w", errDamaged, fmt.Errorf(format, args...))
	}
	var meta map[string][]byte
	for size := int64(4 << 10); ; size *= 8 {
		b := make([]byte, min(size, in.Size))
		if err := in.ReadAt(b, 0); err != nil {
			return h, err
		}
		if !strings.HasPrefix(string(b), magic) {
			return damaged("it starts with %q instead of %q", b[:min(len(b), len(magic))], magic)
		}
		c := cursor{b: b[len(magic):]}
		meta = c.metadata()
		sync := c.take(syncSize)
		if c.err == nil {
			copy(h.sync[:], sync)
			h.end = int64(len(b) - len(c.b))
			break
		}
		if c.err != errShort || int64(len(b)) == in.Size || size >= headerMax {
			return damaged("header: %w", c.err)
		}
	}
	h.codec = string(meta["avro.codec"])
	schema, err := parseSchema(meta["avro.schema"])
	if err != nil {
		return damaged("schema: %w", err)
	}
	rec, ok := schema.(*avro.RecordSchema)
	if !ok {
		return h, fmt.Errorf("%s: the file holds %s values, not records", in.Path, schema.Type())
	}
	h.schema = rec
	return h, nil
}

// parseSchema keeps the library's panics, on strange schemas, from the caller.
func parseSchema(b []byte) (s avro.Schema, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("parsing panicked: %v", p)
		}
	}()
	return avro.ParseBytesWithCache(b, "", &avro.SchemaCache{})
}

// Encode writes a schema made from T.
func (f *avroFormat[T]) Encode(w io.Writer) (format.Encoder[T], error) {
	if f.err != nil {
		return nil, f.err
	}
	schema, err := schemaOf(f.fields)
	if err != nil {
		return nil, err
	}
	codec := [...]ocf.CodecName{Snappy: ocf.Snappy, Deflate: ocf.Deflate, Zstd: ocf.ZStandard, Uncompressed: ocf.Null}[f.o.Compression]
	file, err := ocf.NewEncoder(schema, w, ocf.WithCodec(codec), ocf.WithBlockLength(0), ocf.WithBlockSize(f.o.BlockBytes),
		ocf.WithEncoderSchemaCache(&avro.SchemaCache{}))
	if err != nil {
		return nil, fmt.Errorf("avro: %w", err)
	}
	return &encoder[T]{fields: f.fields, file: file}, nil
}
