// Package csv reads and writes files of comma-separated values as RFC 4180
// has them. It decides which column fills which field and how text becomes a
// value.
//
// It does not use encoding/csv for reading: positions of bad records, going on
// after one, and cutting a file without breaking a quoted line break all need
// the parser's inside. A fuzz test holds the two against each other.
package csv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/internal/fields"
	"github.com/millrace/millrace/connectors/format/internal/lines"
)

// Options configures the format. Zero fields take the defaults given.
type Options struct {
	Comma    byte // between cells; ','
	NoHeader bool // the first record is data; it names the columns
	// Columns names the columns of files without a header, "" for one to pass
	// over; the record's fields in their order.
	Columns []string
	// NoQuotes says that quotes have no meaning, as in many tab-separated
	// files; a quoted cell may hold commas, quotes and line breaks.
	NoQuotes bool
	// SingleLine says that no cell holds a line break. A file can then be cut
	// without reading it first, and a quote that is never closed costs one
	// line; a file to be cut is first read once to find quoted line breaks.
	SingleLine bool
	// TimeLayout is how times are read and written, for package time; they
	// are read as RFC 3339, with a space for the T, without a zone (UTC), or
	// as a date alone, and written as RFC 3339.
	TimeLayout     string
	RecordBytesMax int // longest record; a longer one is a bad record; 16 MiB
}

// Of is the format of CSV files with a header whose records fill T, a struct
// whose csv tags name columns. Columns that T does not name are passed over.
//
// An empty cell is nil for a pointer field and the empty string for a string;
// for other fields it is a bad record. Strings read are views into blocks of
// the file of 256 KiB: a program that keeps a few of many for long should keep
// strings.Clone of them.
func Of[T any]() format.Format[T] { return With[T](Options{}) }

// With is [Of] with options.
func With[T any](o Options) format.Format[T] {
	if o.Comma == 0 {
		o.Comma = ','
	}
	f := &csvFormat[T]{o: o}
	f.fields, f.err = fields.Of[T]("csv")
	if f.err == nil && (o.Comma == '"' || o.Comma == '\n' || o.Comma == '\r') {
		f.err = fmt.Errorf("csv: cells cannot be separated by %q", o.Comma)
	}
	return f
}

type csvFormat[T any] struct {
	o      Options
	fields []fields.Field
	err    error // of the type or the options, given when they are used
}

func (f *csvFormat[T]) Extension() string { return ".csv" }

// Cuts moves each offset to the next start of a record. A line break belongs
// to a cell if the number of quotes before it is odd, which holds for every
// well-formed file; so the file is read once, for its quotes only.
func (f *csvFormat[T]) Cuts(in *format.Input, near []int64) ([]int64, error) {
	if f.o.NoQuotes || f.o.SingleLine || len(near) == 0 {
		return near, nil
	}
	var cuts []int64
	buf := make([]byte, lines.ChunkBytes)
	quoted := false
	for off := int64(0); off < in.Size && len(near) > 0; {
		n, err := in.R.ReadAt(buf[:min(int64(len(buf)), in.Size-off)], off)
		if n == 0 {
			return nil, fmt.Errorf("read %s: byte %d: %w", in.Path, off, err)
		}
		p := buf[:n]
		i := 0
		for len(near) > 0 {
			// The record starts at the target if a line ends just before it.
			skip := max(int64(i), near[0]-1-off)
			if skip >= int64(n) {
				break
			}
			quoted = quoted != (bytes.Count(p[i:skip], quote)%2 == 1)
			i = int(skip)
			end, found := lineEnd(p[i:], &quoted)
			i += end
			if !found {
				break
			}
			cut := off + int64(i)
			if cut < in.Size {
				cuts = append(cuts, cut)
			}
			for len(near) > 0 && near[0] <= cut {
				near = near[1:]
			}
		}
		quoted = quoted != (bytes.Count(p[i:], quote)%2 == 1)
		off += int64(n)
	}
	return cuts, nil
}

var quote = []byte{'"'}

// lineEnd finds the end of the first line of p that ends outside quotes, and
// keeps count of the quotes it passes.
func lineEnd(p []byte, quoted *bool) (end int, found bool) {
	for i, c := range p {
		switch {
		case c == '"':
			*quoted = !*quoted
		case c == '\n' && !*quoted:
			return i + 1, true
		}
	}
	return len(p), false
}

func (f *csvFormat[T]) Open(in *format.Input, r format.Range, at millrace.Position) (millrace.Reader[T], error) {
	if f.err != nil {
		return nil, f.err
	}
	d := &reader[T]{in: in, f: f}
	d.p = parser{comma: f.o.Comma, noQuotes: f.o.NoQuotes, singleLine: f.o.SingleLine}
	names, start, err := f.header(in)
	if err != nil {
		return nil, err
	}
	if names == nil { // no header that could be read: nothing else can be
		names, r, at = f.names(), format.Range{}, nil
	}
	if err := d.plan(names); err != nil {
		return nil, err
	}
	if at == nil && r.From < start {
		at = binary.AppendUvarint(nil, uint64(start))
		r.From = min(r.From, start)
	}
	d.s, err = lines.New(in, r, at, lines.Options{Max: f.o.RecordBytesMax, Reuse: !d.keeps})
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (f *csvFormat[T]) names() []string {
	names := make([]string, len(f.fields))
	for i, fd := range f.fields {
		names[i] = fd.Name
	}
	return names
}

// header is the names of the columns and where the first data record starts.
// An empty file has no names and no records.
func (f *csvFormat[T]) header(in *format.Input) (names []string, start int64, err error) {
	s, err := lines.New(in, format.Range{To: 1}, nil, lines.Options{Max: f.o.RecordBytesMax})
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for len(s.Window()) < len(bom) && !s.Ended() {
		if err := s.More(); err != nil {
			return nil, 0, err
		}
	}
	if bytes.HasPrefix(s.Window(), bom) {
		s.Advance(len(bom))
	}
	if f.o.NoHeader {
		names = f.o.Columns
		if names == nil {
			names = f.names()
		}
		return names, s.Offset(), nil
	}
	p := parser{comma: f.o.Comma, noQuotes: f.o.NoQuotes, singleLine: f.o.SingleLine}
	for {
		n, bad, err := next(s, &p)
		switch {
		case err == io.EOF:
			return nil, 0, nil
		case err != nil:
			return nil, 0, err
		case bad != nil:
			return nil, 0, fmt.Errorf("%s: header: %w", in.Path, bad.reason)
		}
		s.Advance(n)
		if len(p.cells) == 0 {
			continue
		}
		for _, c := range p.cells {
			names = append(names, string(c.text))
		}
		return names, s.Offset(), nil
	}
}

var bom = []byte("\uFEFF")

type reader[T any] struct {
	format.Inline
	in    *format.Input
	f     *csvFormat[T]
	s     *lines.Scanner
	p     parser
	names []string
	cols  []column
	keeps bool // a field refers to the text it was read from
	rec   T
}

// column is a field of the record and the cell that fills it.
type column struct {
	cell  int
	field *fields.Field
}

func (d *reader[T]) plan(names []string) error {
	d.names = names
	for i := range d.f.fields {
		fd := &d.f.fields[i]
		cell := -1
		for j, n := range names {
			if n != fd.Name {
				continue
			}
			if cell >= 0 {
				return fmt.Errorf("%s: column %q is there twice, as number %d and %d", d.in.Path, n, cell+1, j+1)
			}
			cell = j
		}
		if cell < 0 {
			return fmt.Errorf("%w; the file has %s", format.Mismatch(d.in.Path, fd.Name, "", fd.GoType()), strings.Join(names, ", "))
		}
		d.cols = append(d.cols, column{cell, fd})
		d.keeps = d.keeps || fd.Kind == fields.String
	}
	return nil
}

func (d *reader[T]) Read(_ context.Context, out *millrace.Rows[T]) error {
	bad := 0
	for out.Room() > 0 && bad < format.BadMax {
		if d.s.Done() {
			return io.EOF
		}
		n, damage, err := next(d.s, &d.p)
		if err != nil {
			if err == io.EOF {
				d.s.ReportBroken(out.Bad)
			}
			return err
		}
		if damage == nil && len(d.p.cells) > 0 {
			damage = d.fill()
		}
		switch {
		case damage != nil:
			bad++
			out.Bad(d.in.Bad(d.s.Where(d.s.Offset()), damage.field, damage.reason, damage.raw))
			// What follows a bad quote may be good: go on with the next line.
			if n == 0 {
				if err := d.s.Skip(); err != nil {
					return err
				}
			}
		case len(d.p.cells) > 0:
			out.Append(d.rec)
		}
		d.s.Advance(n)
	}
	return nil
}

func (d *reader[T]) Position() millrace.Position { return d.s.Position() }
func (d *reader[T]) Close() error                { return d.s.Close() }

// fill makes a record of the cells.
func (d *reader[T]) fill() *damage {
	if len(d.p.cells) != len(d.names) {
		return &damage{raw: d.p.raw, reason: fmt.Errorf("%d cells where there are %d columns", len(d.p.cells), len(d.names))}
	}
	for i := range d.cols {
		c := &d.cols[i]
		if err := set(&d.rec, c.field, d.p.cells[c.cell], d.f.o.TimeLayout); err != nil {
			return &damage{raw: d.p.raw, field: c.field.Name, reason: err}
		}
	}
	return nil
}

// damage is why a record is bad.
type damage struct {
	field  string
	reason error
	raw    []byte
}

// next parses the record at the scanner's place and returns its length in
// bytes, which the caller takes from the scanner. A record that cannot be
// parsed has length 0. No cells and no damage is an empty line.
func next(s *lines.Scanner, p *parser) (n int, bad *damage, err error) {
	for {
		w := s.Window()
		if len(w) == 0 && s.Ended() {
			return 0, nil, io.EOF
		}
		// What stands before a damaged place may not be all of its record.
		n, err := p.parse(w, s.Ended() && s.Broken() == nil)
		switch {
		case err == errShort && s.Ended():
			return 0, nil, io.EOF
		case err == nil && n > s.Max()+1 || err == errShort && len(w) > s.Max():
			return 0, &damage{raw: w, reason: fmt.Errorf("%w of %d bytes", lines.ErrTooLong, s.Max())}, nil
		case err == errShort:
			if err := s.More(); err != nil {
				return 0, nil, err
			}
		case err != nil:
			raw := w
			if i := bytes.IndexByte(w, '\n'); i >= 0 {
				raw = w[:i]
			}
			return 0, &damage{raw: raw, reason: err}, nil
		default:
			return n, nil, nil
		}
	}
}

// errShort says that the record does not end in what was given.
var errShort = errors.New("record is cut short")

// parser cuts one record into cells.
type parser struct {
	comma                byte
	noQuotes, singleLine bool

	cells []cell
	raw   []byte // the record without its line end
}

// cell is one cell's text; quoted tells "" from nothing.
type cell struct {
	text   []byte
	quoted bool
}

// parse cuts the first record of w and returns its length with its line end.
// ended says that w is all there is.
func (p *parser) parse(w []byte, ended bool) (n int, err error) {
	p.cells = p.cells[:0]
	end := bytes.IndexByte(w, '\n')
	n = end + 1
	if end < 0 {
		if !ended {
			return 0, errShort
		}
		end, n = len(w), len(w)
	}
	line := w[:end]
	if k := len(line); k > 0 && line[k-1] == '\r' {
		line = line[:k-1]
	}
	p.raw = line
	if len(line) == 0 {
		return n, nil
	}
	if p.noQuotes || bytes.IndexByte(line, '"') < 0 {
		p.split(line)
		return n, nil
	}
	if p.singleLine {
		// The line's end ends everything.
		_, err = p.parseQuoted(line, true)
		return n, err
	}
	n, err = p.parseQuoted(w, ended)
	if err == nil {
		p.raw = bytes.TrimRight(w[:n], "\r\n")
	}
	return n, err
}

// split cuts a line without quotes.
func (p *parser) split(line []byte) {
	from := 0
	for i, c := range line {
		if c == p.comma {
			p.cells = append(p.cells, cell{text: line[from:i]})
			from = i + 1
		}
	}
	p.cells = append(p.cells, cell{text: line[from:]})
}

func (p *parser) parseQuoted(w []byte, ended bool) (n int, err error) {
	i := 0
	for {
		c, next, err := p.cell(w[i:], ended)
		if err != nil {
			return 0, cellError{len(p.cells) + 1, err}.orShort()
		}
		p.cells = append(p.cells, c)
		i += next
		switch {
		case i == len(w):
			return i, nil
		case w[i] == p.comma:
			i++
		case w[i] == '\n':
			return i + 1, nil
		default: // "\r\n", or "\r" at the very end
			return min(i+2, len(w)), nil
		}
	}
}

// cellError is what is wrong in which cell.
type cellError struct {
	number int
	err    error
}

func (e cellError) orShort() error {
	if e.err == errShort {
		return e.err
	}
	return e
}

func (e cellError) Error() string { return fmt.Sprintf("cell %d: %v", e.number, e.err) }
func (e cellError) Unwrap() error { return e.err }

var (
	errBareQuote  = errors.New("quote inside a cell that is not quoted")
	errAfterQuote = errors.New("text after the closing quote")
	errOpenQuote  = errors.New("quote is not closed")
)

// cell cuts the cell at the start of w; what ends it is at w[n:].
func (p *parser) cell(w []byte, ended bool) (c cell, n int, err error) {
	if len(w) == 0 || w[0] != '"' {
		for i, b := range w {
			switch {
			case b == p.comma || b == '\n':
				if b == '\n' && i > 0 && w[i-1] == '\r' {
					i--
				}
				return cell{text: w[:i]}, i, nil
			case b == '"':
				return c, 0, errBareQuote
			}
		}
		if !ended {
			return c, 0, errShort
		}
		n := len(w)
		if n > 0 && w[n-1] == '\r' {
			n--
		}
		return cell{text: w[:n]}, n, nil
	}
	from, doubled := 1, false
	for i := 1; ; {
		j := bytes.IndexByte(w[i:], '"')
		if j < 0 {
			if !ended {
				return c, 0, errShort
			}
			return c, 0, errOpenQuote
		}
		i += j + 1 // behind the quote
		if i+1 >= len(w) && !ended {
			return c, 0, errShort
		}
		if i < len(w) && w[i] == '"' {
			doubled = true
			i++
			continue
		}
		text := w[from : i-1]
		if doubled {
			text = bytes.ReplaceAll(text, []byte(`""`), quote)
		}
		c = cell{text, true}
		switch rest := w[i:]; {
		case len(rest) == 0, rest[0] == p.comma, rest[0] == '\n':
			return c, i, nil
		case rest[0] == '\r' && (len(rest) == 1 || rest[1] == '\n'):
			return c, i, nil
		}
		return cell{}, 0, errAfterQuote
	}
}
