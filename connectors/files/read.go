package files

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path"
	"strings"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/text"
)

// ReadOptions configures a source. Zero fields take the defaults given.
type ReadOptions struct {
	Pattern       string     // names of the files wanted in a directory, as for path.Match; all
	Flat          bool       // leave out the directories in a directory; they are read too
	MinSplitBytes int64      // files are cut into splits of at least this much; 4 MiB
	FS            FileSystem // where the location is; what its scheme says
}

// splitBytesMin is the default of MinSplitBytes. Opening a split costs well
// under a millisecond, reading 4 MiB some milliseconds.
const splitBytesMin = 4 << 20

// splitsPerSubtask is how many splits a file large enough is cut into for each
// subtask, so that one that is late with a split is late with a small one.
const splitsPerSubtask = 4

// Read is a bounded source of the records in the files of a location: a file,
// a directory or a pattern such as "/data/2025-*/part-*.csv". A directory is
// read with those in it; names that start with "." or "_" are left out. Files
// come in the order of their names, and the splits of a file in its order.
//
// A file whose name ends in .gz or .zst is decompressed, and not cut. A
// location with no file in it is an error.
//
// A record that cannot be read is reported as a [millrace.BadRecord] that
// names file, position and field, and reading goes on with what can be read
// after it. A file that lacks a field of T, or has it with another type, fails
// the job.
func Read[T any](location string, f format.Format[T], opts ...ReadOptions) millrace.Source[T] {
	s := &source[T]{location: location, format: f}
	if len(opts) > 0 {
		s.o = opts[0]
	}
	if s.o.MinSplitBytes <= 0 {
		s.o.MinSplitBytes = splitBytesMin
	}
	return s
}

// Lines is a source of the lines of text files; see [text.Lines] about how
// long its strings keep memory.
func Lines(location string, opts ...ReadOptions) millrace.Source[string] {
	return Read(location, text.Lines(), opts...)
}

type source[T any] struct {
	location string
	format   format.Format[T]
	o        ReadOptions
}

func (s *source[T]) Bounded() bool { return true }

// Splits finds the files and cuts them.
func (s *source[T]) Splits(ctx context.Context, parallelism int) ([]millrace.Split, error) {
	fsys, name, err := resolve(s.location, s.o.FS)
	if err != nil {
		return nil, err
	}
	found, err := find(fsys, name, s.o)
	if err != nil {
		return nil, fmt.Errorf("files: %s: %w", s.location, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("files: %s: there is no file", s.location)
	}
	var total int64
	for _, f := range found {
		total += f.size
	}
	// Cut for the whole of the input, so that many small files stay whole.
	size := max(s.o.MinSplitBytes, total/int64(max(parallelism, 1)*splitsPerSubtask)+1)
	var splits []millrace.Split
	for _, f := range found {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		rs, err := s.ranges(fsys, f, size)
		if err != nil {
			return nil, fmt.Errorf("files: %w", err)
		}
		for _, r := range rs {
			splits = append(splits, encodeSplit(f, r))
		}
	}
	return splits, nil
}

// ranges cuts one file into pieces of about size bytes.
func (s *source[T]) ranges(fsys FileSystem, f foundFile, size int64) (rs []format.Range, err error) {
	if format.CompressionOf(f.name) != format.None {
		return []format.Range{{To: math.MaxInt64}}, nil
	}
	n := (f.size + size - 1) / size
	if n <= 1 {
		return []format.Range{{To: f.size}}, nil
	}
	file, err := fsys.Open(f.name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	var near []int64
	for i := int64(1); i < n; i++ {
		near = append(near, f.size/n*i+f.size%n*i/n)
	}
	cuts, err := s.format.Cuts(&format.Input{Path: f.name, R: file, Size: f.size}, near)
	if err != nil {
		return nil, err
	}
	var from int64
	for _, c := range cuts {
		if c > from && c < f.size {
			rs = append(rs, format.Range{From: from, To: c})
			from = c
		}
	}
	return append(rs, format.Range{From: from, To: f.size}), nil
}

// splitVersion is the first byte of a split's data.
//
//	byte    version
//	uvarint from
//	uvarint to
//	uvarint size of the file when it was listed
//	rest    the file's name
const splitVersion = 1

func encodeSplit(f foundFile, r format.Range) millrace.Split {
	data := []byte{splitVersion}
	data = binary.AppendUvarint(data, uint64(r.From))
	data = binary.AppendUvarint(data, uint64(r.To))
	data = binary.AppendUvarint(data, uint64(f.size))
	data = append(data, f.name...)
	id := f.name
	if r.From > 0 || r.To < f.size {
		id = fmt.Sprintf("%s[%d:%d]", f.name, r.From, r.To)
	}
	return millrace.Split{ID: id, Data: data}
}

func decodeSplit(s millrace.Split) (f foundFile, r format.Range, err error) {
	bad := fmt.Errorf("files: split %s: its data is not that of a file split", s.ID)
	if len(s.Data) == 0 || s.Data[0] != splitVersion {
		return f, r, bad
	}
	rest := s.Data[1:]
	var v [3]int64
	for i := range v {
		u, n := binary.Uvarint(rest)
		if n <= 0 || u > math.MaxInt64 {
			return f, r, bad
		}
		v[i], rest = int64(u), rest[n:]
	}
	if v[0] > v[1] || len(rest) == 0 {
		return f, r, bad
	}
	return foundFile{name: string(rest), size: v[2]}, format.Range{From: v[0], To: v[1]}, nil
}

func (s *source[T]) Open(_ context.Context, sp millrace.Split, at millrace.Position) (millrace.Reader[T], error) {
	fsys, _, err := resolve(s.location, s.o.FS)
	if err != nil {
		return nil, err
	}
	f, r, err := decodeSplit(sp)
	if err != nil {
		return nil, err
	}
	file, err := fsys.Open(f.name)
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	size, err := file.Size()
	if err == nil && size < f.size {
		err = fmt.Errorf("%s has shrunk since the job listed it, from %d to %d bytes", f.name, f.size, size)
	}
	var inner millrace.Reader[T]
	if err == nil {
		in := &format.Input{Path: f.name, R: file, Size: size, Compression: format.CompressionOf(f.name)}
		inner, err = s.format.Open(in, r, at)
	}
	if err != nil {
		return nil, fmt.Errorf("files: %w", errors.Join(err, file.Close()))
	}
	return &reader[T]{Reader: inner, file: file}, nil
}

// reader closes its file after the format's reader.
type reader[T any] struct {
	format.Inline
	millrace.Reader[T]
	file File
}

func (r *reader[T]) Close() error { return errors.Join(r.Reader.Close(), r.file.Close()) }

type foundFile struct {
	name string
	size int64
}

// find lists the files of a location in the order of their names.
func find(fsys FileSystem, name string, o ReadOptions) ([]foundFile, error) {
	if _, err := path.Match(o.Pattern, ""); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", o.Pattern, err)
	}
	e, err := fsys.Stat(name)
	if err == nil {
		return appendFound(nil, fsys, name, e, o)
	}
	if !strings.ContainsAny(name, `*?[\`) {
		return nil, err
	}
	return glob(nil, fsys, name, o)
}

// appendFound adds a file, or the files in a directory.
func appendFound(fs []foundFile, fsys FileSystem, name string, e Entry, o ReadOptions) ([]foundFile, error) {
	if !e.Dir {
		return append(fs, foundFile{name, e.Size}), nil
	}
	es, err := fsys.List(name)
	if err != nil {
		return nil, err
	}
	for _, e := range es {
		if hidden(e.Name) || e.Dir && o.Flat {
			continue
		}
		if !e.Dir && o.Pattern != "" {
			if ok, _ := path.Match(o.Pattern, e.Name); !ok {
				continue
			}
		}
		if fs, err = appendFound(fs, fsys, path.Join(name, e.Name), e, o); err != nil {
			return nil, err
		}
	}
	return fs, nil
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") }

// glob adds what matches a pattern, whose elements may each hold one.
func glob(fs []foundFile, fsys FileSystem, pattern string, o ReadOptions) ([]foundFile, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, err
	}
	// The longest prefix without a pattern is a directory as it stands.
	elems := strings.Split(pattern, "/")
	plain := 0
	for plain < len(elems) && !strings.ContainsAny(elems[plain], `*?[\`) {
		plain++
	}
	dir := strings.Join(elems[:plain], "/")
	if plain == 0 {
		dir = "."
	} else if dir == "" {
		dir = "/"
	}
	return globIn(fs, fsys, dir, elems[plain:], o)
}

func globIn(fs []foundFile, fsys FileSystem, dir string, elems []string, o ReadOptions) ([]foundFile, error) {
	es, err := fsys.List(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range es {
		ok, _ := path.Match(elems[0], e.Name)
		if !ok || hidden(e.Name) && !hidden(elems[0]) || len(elems) > 1 && !e.Dir {
			continue
		}
		name := path.Join(dir, e.Name)
		if len(elems) > 1 {
			fs, err = globIn(fs, fsys, name, elems[1:], o)
		} else {
			fs, err = appendFound(fs, fsys, name, e, o)
		}
		if err != nil {
			return nil, err
		}
	}
	return fs, nil
}
