package parquet

import (
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	pqformat "github.com/parquet-go/parquet-go/format"

	"github.com/millrace/millrace/connectors/format/internal/fields"
)

// pageValuesMax bounds the values of a page: an encoding of runs can claim any
// number in a few bytes. Writers stay below a million.
const pageValuesMax = 1 << 26

// A column moves the values of one column of the file to one field. It is used
// by its reader's goroutine.
type column struct {
	// Set by plan, never written again.
	field  *fields.Field
	leaf   int
	kind   parquet.Kind
	maxDef byte
	put    putFunc // into the cells of rows that all have values
	ptr    putFunc // into the cells of a pointer field, nulls included

	// The column chunk being read.
	in    *watched
	pages parquet.Pages
	heads pageHeads
	page  parquet.Page // what the slices below may be views of
	left  int64        // rows to pass over before the first

	// The page being read: rows[pos:] are left, values from vpos on.
	rows, pos int
	vpos      int
	nulls     bool
	defs      []byte // a level for each row, when nulls
	idx       []int32
	plain     values // of the page
	dict      values // of the dictionary, which idx points into
	vals      *values
	dictOf    parquet.Dictionary // what dict was made of
}

// putFunc fills n cells from the column's next values.
type putFunc func(c *column, out fields.Cells, n int)

// values are decoded values of one kind.
type values struct {
	n     int
	i32   []int32
	i64   []int64
	f32   []float32
	f64   []float64
	i96   []deprecated.Int96
	bits  []byte
	text  string // of byte arrays, end to end
	ends  []uint32
	fixed int
	strs  []string // of a dictionary's byte arrays
}

// str is the i-th byte array.
func (v *values) str(i int) string {
	switch {
	case v.strs != nil:
		return v.strs[i]
	case v.fixed > 0:
		return v.text[i*v.fixed : (i+1)*v.fixed]
	}
	return v.text[v.ends[i]:v.ends[i+1]]
}

// load takes what the library decoded. Byte arrays are copied, all in one, so
// that strings outlive the page.
func (v *values) load(kind parquet.Kind, d encoding.Values) error {
	*v = values{}
	switch kind {
	case parquet.Boolean:
		v.bits = d.Boolean()
		v.n = 8 * len(v.bits)
	case parquet.Int32:
		v.i32 = d.Int32()
		v.n = len(v.i32)
	case parquet.Int64:
		v.i64 = d.Int64()
		v.n = len(v.i64)
	case parquet.Int96:
		v.i96 = d.Int96()
		v.n = len(v.i96)
	case parquet.Float:
		v.f32 = d.Float()
		v.n = len(v.f32)
	case parquet.Double:
		v.f64 = d.Double()
		v.n = len(v.f64)
	case parquet.ByteArray:
		data, ends := d.ByteArray()
		v.text, v.ends = string(data), ends
		v.n = max(len(ends)-1, 0)
		for i := range v.n {
			if ends[i] > ends[i+1] || int(ends[i+1]) > len(data) {
				return errors.New("byte arrays overlap")
			}
		}
	case parquet.FixedLenByteArray:
		data, size := d.FixedLenByteArray()
		if size <= 0 {
			return fmt.Errorf("values of %d bytes", size)
		}
		v.text, v.fixed, v.n = string(data), size, len(data)/size
	}
	return nil
}

// begin starts on a column chunk, at the row given.
func (c *column) begin(f *file, g int, row int64, pageMax int) {
	c.end()
	c.in, c.left = f.in, row
	at, size := chunkRange(f, g, c.leaf)
	c.heads = pageHeads{in: f.in, at: at, end: at + size, pageMax: pageMax, rows: f.rows(g)}
	if at < 0 || size < 0 || at > f.in.in.Size || size > f.in.in.Size-at {
		c.heads.err = fmt.Errorf("bytes %d to %d are outside the file", at, at+size)
	}
	if c.heads.err = errors.Join(c.heads.err, c.heads.check()); c.heads.err != nil {
		return
	}
	c.heads.err = c.in.guard(func() error {
		c.pages = f.rgs[g].ColumnChunks()[c.leaf].Pages()
		return nil
	})
}

// end lets go of the chunk.
func (c *column) end() {
	c.release()
	if c.pages != nil {
		// There is nothing to close but buffers.
		_ = c.in.guard(c.pages.Close)
		c.pages = nil
	}
	c.rows, c.pos, c.dictOf = 0, 0, nil
}

func (c *column) release() {
	if c.page != nil {
		_ = c.in.guard(func() error { parquet.Release(c.page); return nil })
		c.page = nil
	}
}

// ready makes sure that a row is left in the page.
func (c *column) ready() error {
	for c.pos == c.rows {
		if err := c.next(); err != nil {
			return err
		}
		if skip := int(min(c.left, int64(c.rows))); skip > 0 {
			c.pass(skip)
			c.left -= int64(skip)
		}
	}
	return nil
}

// next reads a page.
func (c *column) next() error {
	if c.heads.err != nil {
		return c.heads.err
	}
	c.release()
	c.rows, c.pos, c.vpos = 0, 0, 0
	err := c.in.guard(func() (err error) {
		if c.page, err = c.pages.ReadPage(); err != nil {
			return err
		}
		return c.load()
	})
	if err == io.EOF {
		return errors.New("its pages end before its rows")
	}
	return err
}

// load takes a page's levels and values. It is called under guard.
func (c *column) load() error {
	p := c.page
	rows := int(p.NumValues())
	have := rows
	c.nulls = false
	if c.maxDef > 0 {
		c.defs = p.DefinitionLevels()
		if len(c.defs) != rows {
			return fmt.Errorf("%d levels for %d values", len(c.defs), rows)
		}
		have = 0
		for _, d := range c.defs {
			if d == c.maxDef {
				have++
			}
		}
		c.nulls = have < rows
	}
	if d := p.Dictionary(); d != nil {
		if d != c.dictOf {
			if err := c.loadDictionary(d); err != nil {
				return err
			}
			c.dictOf = d
		}
		data := p.Data()
		c.idx, c.vals = data.Int32(), &c.dict
		if len(c.idx) < have {
			return fmt.Errorf("%d values where %d are claimed", len(c.idx), have)
		}
		var top uint32
		for _, i := range c.idx[:have] {
			top = max(top, uint32(i))
		}
		if have > 0 && int(top) >= c.dict.n {
			return fmt.Errorf("value %d of a dictionary of %d", top, c.dict.n)
		}
	} else {
		if err := c.plain.load(c.kind, p.Data()); err != nil {
			return err
		}
		c.idx, c.vals = nil, &c.plain
		if c.plain.n < have {
			return fmt.Errorf("%d values where %d are claimed", c.plain.n, have)
		}
	}
	c.rows = rows
	return nil
}

func (c *column) loadDictionary(d parquet.Dictionary) error {
	dp := d.Page()
	if err := c.dict.load(c.kind, dp.Data()); err != nil {
		return err
	}
	if c.kind == parquet.ByteArray || c.kind == parquet.FixedLenByteArray {
		strs := make([]string, c.dict.n)
		for i := range strs {
			strs[i] = c.dict.str(i)
		}
		c.dict.strs = strs
	}
	return nil
}

// run is how many rows, at most limit, can be filled at once: all that are
// left in the page, or those before the next null if the field cannot hold
// one.
func (c *column) run(limit int) int {
	n := min(limit, c.rows-c.pos)
	if !c.nulls || c.field.Optional {
		return n
	}
	for i, d := range c.defs[c.pos : c.pos+n] {
		if d != c.maxDef {
			return i
		}
	}
	return n
}

// pass moves n rows on.
func (c *column) pass(n int) {
	c.vpos += c.present(n)
	c.pos += n
}

// present is how many of the next n rows have a value.
func (c *column) present(n int) int {
	if !c.nulls {
		return n
	}
	have := 0
	for _, d := range c.defs[c.pos : c.pos+n] {
		if d == c.maxDef {
			have++
		}
	}
	return have
}

func (c *column) fill(out fields.Cells, n int) {
	if c.field.Optional {
		c.ptr(c, out, n)
		return
	}
	c.put(c, out, n)
}

// pageHeads checks the page headers of a column chunk, before the library
// believes what they say about sizes.
type pageHeads struct {
	in      *watched
	at, end int64
	rows    int64
	pageMax int
	err     error
}

// headBytes is read at once for a page header; most take less than a hundred
// bytes, those with long statistics more.
const headBytes = 1 << 10

func (h *pageHeads) check() error {
	if h.err != nil {
		return nil
	}
	var small [headBytes]byte
	buf := small[:]
	var proto thrift.CompactProtocol
	for page, values := 0, int64(0); h.at < h.end && values < h.rows; page++ {
		b := buf[:min(int64(len(buf)), h.end-h.at)]
		if n, err := h.in.ReadAt(b, h.at); n < len(b) {
			return fmt.Errorf("page %d, byte %d: %w", page, h.at, err)
		}
		size, err := structLen(b)
		if err == errThriftShort && int64(len(b)) < h.end-h.at && len(buf) < 16<<20 {
			buf = make([]byte, 8*len(buf))
			page--
			continue
		}
		var head pqformat.PageHeader
		if err == nil {
			err = h.in.guard(func() error { return thrift.Unmarshal(&proto, b[:size], &head) })
		}
		if err != nil {
			return fmt.Errorf("page %d, byte %d: header: %w", page, h.at, err)
		}
		n := int64(0)
		if v := head.DataPageHeader; v.Valid {
			n = int64(v.V.NumValues)
		}
		if v := head.DataPageHeaderV2; v.Valid {
			n = int64(v.V.NumValues)
		}
		values += n
		if v := head.DictionaryPageHeader; v.Valid {
			n = int64(v.V.NumValues)
		}
		body := int64(head.CompressedPageSize)
		switch {
		case body < 0 || body > h.end-h.at-int64(size):
			return fmt.Errorf("page %d, byte %d: it claims %d bytes, its column has %d left", page, h.at, body, h.end-h.at-int64(size))
		case head.UncompressedPageSize < 0 || int(head.UncompressedPageSize) > h.pageMax:
			return fmt.Errorf("page %d, byte %d: it claims %d bytes decompressed", page, h.at, head.UncompressedPageSize)
		case n < 0 || n > pageValuesMax:
			return fmt.Errorf("page %d, byte %d: it claims %d values", page, h.at, n)
		}
		h.at += int64(size) + body
	}
	return nil
}
