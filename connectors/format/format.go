// Package format says how a file becomes records and records become a file:
// the interface between the files connector, which finds, cuts and names
// files, and the format packages below this one, which know what is inside.
//
// A file is read in ranges. A range owns the units that start in it (a line,
// an Avro block, a Parquet row group), so that ranges which cover a file
// without overlapping yield every record exactly once.
package format

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/millrace/millrace"
)

// A Format reads and writes files of T. It is used by several goroutines at
// once and keeps no state between calls.
type Format[T any] interface {
	// Extension is the end of the names of files written, such as ".csv".
	Extension() string
	// Cuts moves the offsets in near, which ascend, to places where in may be
	// cut, and returns them in ascending order; it may return fewer or none.
	// It is not called for a compressed file, which cannot be cut.
	Cuts(in *Input, near []int64) ([]int64, error)
	// Open reads the units of in that start in r, from the position at that
	// an earlier reader of r returned, or from the start when at is nil.
	// Content that cannot be read is reported by the reader as a
	// [millrace.BadRecord]; an error means that nothing could be read, or
	// that the file does not have the fields that T asks for.
	Open(in *Input, r Range, at millrace.Position) (millrace.Reader[T], error)
	// Encode starts a file on w.
	Encode(w io.Writer) (Encoder[T], error)
}

// A Range is the bytes From to To (exclusive) of a file.
type Range struct{ From, To int64 }

// An Encoder writes one file. It is used by one goroutine.
type Encoder[T any] interface {
	// Encode writes recs, which it does not keep. What it has buffered may
	// not have reached the file's writer yet.
	Encode(recs []T) error
	// Close writes what is buffered and what ends the file. It does not close
	// the file's writer.
	Close() error
}

// An Input is one file to read.
type Input struct {
	// Path names the file in errors.
	Path string
	// R is the file's bytes as stored, Size of them. Whoever made the Input
	// closes it after the readers that use it.
	R    io.ReaderAt
	Size int64
	// Compression is how the whole file is compressed.
	Compression Compression
}

// Bad is a bad record of the file at a position, which is in words.
func (in *Input) Bad(position, field string, reason error, raw []byte) millrace.BadRecord {
	const rawMax = 4 << 10
	if len(raw) > rawMax {
		raw = raw[:rawMax]
	}
	return millrace.BadRecord{
		Split:    in.Path,
		Position: position,
		Field:    field,
		Reason:   reason.Error(),
		Raw:      append([]byte(nil), raw...),
	}
}

// RequirePlain is the error of a format that cannot read a file which is
// compressed as a whole; nil for a file that is not.
func (in *Input) RequirePlain(what string) error {
	if in.Compression == None {
		return nil
	}
	return fmt.Errorf("%s: %s cannot be read from a %s file: it is compressed inside", in.Path, what, in.Compression)
}

// ReadAt fills p from offset off of the stored bytes; a file that ends before
// p is full gives io.ErrUnexpectedEOF.
func (in *Input) ReadAt(p []byte, off int64) error {
	n, err := in.R.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) || err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%s: byte %d: %w", in.Path, off+int64(n), err)
}

// Mismatch is the error for a field of a record type that a file cannot fill.
// Column is its name in the file, got what the file has there ("" for
// nothing), want what the field needs.
func Mismatch(path, column, got, want string) error {
	if got == "" {
		return fmt.Errorf("%s: column %q is missing (the record has it as %s)", path, column, want)
	}
	return fmt.Errorf("%s: column %q is %s in the file and %s in the record", path, column, got, want)
}

// Inline makes a reader a [millrace.InlineReader] when it is embedded.
type Inline struct{}

// ReadsInline marks readers of local files.
func (Inline) ReadsInline() {}

// BadMax is how many bad records a reader reports in one call of Read, about:
// they take no room in the rows, and a reader should return now and then.
const BadMax = 64

// noTime is the event time of a record that has none.
const noTime = math.MinInt64

// NoTimes marks rows that [millrace.Rows.Fill] handed out as having no event
// time.
func NoTimes(times []int64) {
	for i := range times {
		times[i] = noTime
	}
}
