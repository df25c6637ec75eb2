package record

import (
	"fmt"
	"time"
)

// A Cursor says which user code a task is in, so that a panic or an error can
// be told with the operator and the record. Whoever is about to call user code
// sets it, and empties Op afterwards; the cost is a store a record.
type Cursor struct {
	// Op is the name of the operator whose user code runs; empty means that no
	// user code does.
	Op string
	// What of the record is asked for, such as "key of", or empty if the record
	// is simply handled. Who sets it empties it afterwards.
	What string
	// Base is the number of records the operator had before this batch, Row
	// the index of the record in the batch, or negative if the code belongs to
	// no record.
	Base int64
	Row  int32
	// Times are the event times of the batch's rows, if known.
	Times []int64
	// Doing says what code that belongs to no record is called for. Where a
	// record is handled it has no meaning.
	Doing string
	// Where is the source split being read, for a source's chain.
	Where func() string
}

// Aside points the cursor at user code that belongs to no record: doing says
// what is called.
func (c *Cursor) Aside(op, doing string) {
	c.Op, c.What, c.Row, c.Times, c.Doing = op, "", -1, nil, doing
}

// Position tells the cursor's place in words; empty if there is nothing to say
// but the operator's name.
func (c *Cursor) Position() string {
	if c.Row < 0 {
		return c.Doing
	}
	s := fmt.Sprintf("record %d", c.Base+int64(c.Row)+1)
	if c.What != "" {
		s = c.What + " " + s
	}
	if int(c.Row) < len(c.Times) && c.Times[c.Row] != NoTime {
		s += fmt.Sprintf(" (event time %s)", FormatMillis(c.Times[c.Row]))
	}
	if c.Where != nil {
		if w := c.Where(); w != "" {
			s += " of " + w
		}
	}
	return s
}

// FormatMillis prints an event time.
func FormatMillis(ms int64) string {
	switch ms {
	case NoTime:
		return "none"
	case 1<<63 - 1:
		return "end of input"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.999Z")
}
