package avro

import (
	"encoding/binary"
	"errors"
	"math"
)

var (
	errShort = errors.New("data is cut short")
	errValue = errors.New("data is damaged")
)

// cursor reads values from the start of b. After an error it stays where it
// is and reads zeros.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.b = nil
}

func (c *cursor) long() int64 {
	u, n := binary.Uvarint(c.b)
	if n <= 0 {
		if n < 0 {
			c.fail(errValue)
		} else {
			c.fail(errShort)
		}
		return 0
	}
	c.b = c.b[n:]
	return int64(u>>1) ^ -int64(u&1)
}

func (c *cursor) take(n int64) []byte {
	if n < 0 {
		c.fail(errValue)
		return nil
	}
	if n > int64(len(c.b)) {
		c.fail(errShort)
		return nil
	}
	p := c.b[:n]
	c.b = c.b[n:]
	return p
}

func (c *cursor) bytes() []byte { return c.take(c.long()) }

func (c *cursor) bool() bool {
	p := c.take(1)
	if len(p) == 0 {
		return false
	}
	if p[0] > 1 {
		c.fail(errValue)
	}
	return p[0] == 1
}

func (c *cursor) float() float32 {
	p := c.take(4)
	if p == nil {
		return 0
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(p))
}

func (c *cursor) double() float64 {
	p := c.take(8)
	if p == nil {
		return 0
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(p))
}

// blocks calls f for every item of an array or a map.
func (c *cursor) blocks(f func()) {
	for c.err == nil {
		n := c.long()
		if n == 0 {
			return
		}
		if n < 0 { // the block's size follows
			c.long()
			n = -n
		}
		// Items take a byte at least, or there may be any number of them.
		if n < 0 || n > int64(len(c.b)) {
			c.fail(errShort)
		}
		for ; n > 0 && c.err == nil; n-- {
			f()
		}
	}
}

func (c *cursor) metadata() map[string][]byte {
	m := map[string][]byte{}
	c.blocks(func() {
		k := string(c.bytes())
		m[k] = c.bytes()
	})
	return m
}
