package parquet

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/internal/fields"
)

// reader reads the row groups that start in one range. It holds one page of
// each column at a time.
type reader[T any] struct {
	format.Inline
	in      *format.Input
	file    *file
	pageMax int
	cols    []*column
	owned   []int // row groups of the range
	broken  error // why the file cannot be read, until it is reported

	// The next row to read is row of row group group; rows passed over to get
	// there, before a position, are not decoded into rows.
	group int
	row   int64
	// begun says that the columns are at row of row group group.
	begun bool
}

func (r *reader[T]) Read(_ context.Context, out *millrace.Rows[T]) error {
	if r.broken != nil {
		out.Bad(r.in.Bad("", "", r.broken, nil))
		r.broken = nil
	}
	bad := 0
	for out.Room() > 0 && bad < format.BadMax {
		if !r.begun && !r.nextGroup() {
			return io.EOF
		}
		n, column, err := r.ready(int64(out.Room()))
		switch {
		case r.file.in.err != nil:
			return r.file.in.err
		case err != nil:
			bad++
			out.Bad(r.in.Bad(r.where(r.row, r.file.rows(r.group)), column, err, nil))
			r.endGroup()
		case n == 0 && column != "": // a null where there must be a value
			bad++
			out.Bad(r.in.Bad(r.where(r.row, r.row+1), column, errNull, nil))
			r.pass(1)
		case n > 0:
			rows, times := out.Fill(n)
			format.NoTimes(times)
			for _, c := range r.cols {
				c.fill(fields.Column(rows, c.field), n)
			}
			r.pass(n)
		}
		if r.begun && r.row >= r.file.rows(r.group) {
			r.endGroup()
		}
	}
	return nil
}

var errNull = fmt.Errorf("null in a field that is not a pointer")

// where names rows from (inclusive) to (exclusive) of the current row group,
// counted from 1 over the whole file.
func (r *reader[T]) where(from, to int64) string {
	var before int64
	for g := range r.group {
		before += r.file.rows(g)
	}
	if to-from == 1 {
		return fmt.Sprintf("row group %d, row %d", r.group+1, before+from+1)
	}
	return fmt.Sprintf("row group %d, rows %d to %d", r.group+1, before+from+1, before+to)
}

// nextGroup begins the first owned row group at or after the position.
func (r *reader[T]) nextGroup() bool {
	for _, g := range r.owned {
		if g < r.group {
			continue
		}
		if g > r.group {
			r.group, r.row = g, 0
		}
		if r.row >= r.file.rows(g) {
			r.group, r.row = g+1, 0
			continue
		}
		r.begun = true
		for _, c := range r.cols {
			c.begin(r.file, g, r.row, r.pageMax)
		}
		return true
	}
	if len(r.owned) > 0 {
		r.group, r.row = max(r.group, r.owned[len(r.owned)-1]+1), 0
	}
	return false
}

func (r *reader[T]) endGroup() {
	for _, c := range r.cols {
		c.end()
	}
	r.group, r.row, r.begun = r.group+1, 0, false
}

// ready makes rows available in every column and says how many, at most limit.
// None, with a column's name, means that the next row has a null there.
func (r *reader[T]) ready(limit int64) (n int, column string, err error) {
	limit = min(limit, r.file.rows(r.group)-r.row)
	for _, c := range r.cols {
		if err := c.ready(); err != nil {
			return 0, c.field.Name, err
		}
		run := int64(c.run(int(limit)))
		if run == 0 {
			return 0, c.field.Name, nil
		}
		limit = min(limit, run)
	}
	return int(limit), "", nil
}

func (r *reader[T]) pass(n int) {
	for _, c := range r.cols {
		c.pass(n)
	}
	r.row += int64(n)
}

func (r *reader[T]) Position() millrace.Position {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(r.group)), uint64(r.row))
}

func (r *reader[T]) Close() error {
	for _, c := range r.cols {
		c.end()
	}
	return nil
}
