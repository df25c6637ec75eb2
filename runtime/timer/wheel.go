package timer

import "math/bits"

// order maps times to whole numbers in the same order.
func order(at int64) uint64 { return uint64(at) ^ 1<<63 }

const (
	digitBits = 8
	digits    = 1 << digitBits
)

// A wheel is a queue of entries by time. Its levels are the bytes of a 64-bit
// time: an entry lies on the level of the highest byte in which its time
// differs from the wheel's, under that byte. So a bucket on the lowest level
// holds entries of one time; when the wheel reaches a bucket further up, its
// entries move down. An entry moves at most seven times in all, and two or
// three when its time is minutes ahead: adding and taking a million such
// entries costs a quarter of what a heap takes.
//
// Invariant: no entry is before cur, and entries of one time are in the order
// of adding. The latter holds because entries of one time are always in one
// bucket.
type wheel[K comparable] struct {
	cur    uint64 // the wheel's time, in the order of order
	levels [64 / digitBits]*level[K]
	free   *chunk[K]
	spare  int // chunks in free
}

type level[K comparable] struct {
	filled  [digits / 64]uint64 // bit set of the buckets that have entries
	buckets [digits]bucket[K]
}

// A bucket is a queue of entries in a chain of chunks; none of them is empty.
type bucket[K comparable] struct {
	head, tail *chunk[K]
	min        int64 // no entry is before
}

type chunk[K comparable] struct {
	next     *chunk[K]
	from, to int // of entries, in use
	entries  [chunkEntries]entry[K]
}

const (
	chunkEntries = 32
	spareMax     = 1 << 12 // chunks kept for reuse; about 4 MB
)

// add puts e in; its time must not be before cur.
func (w *wheel[K]) add(e entry[K]) {
	u := order(e.at)
	n := uint(0)
	if d := u ^ w.cur; d != 0 {
		n = uint(bits.Len64(d)-1) / digitBits
	}
	l := w.levels[n]
	if l == nil {
		l = new(level[K])
		w.levels[n] = l
	}
	i := u >> (n * digitBits) % digits
	b := &l.buckets[i]
	c := b.tail
	switch {
	case c == nil:
		c = w.chunk()
		*b = bucket[K]{c, c, e.at}
		l.filled[i/64] |= 1 << (i % 64)
	case c.to == chunkEntries:
		c.next = w.chunk()
		c = c.next
		b.tail = c
	}
	b.min = min(b.min, e.at)
	c.entries[c.to] = e
	c.to++
}

func (w *wheel[K]) chunk() *chunk[K] {
	if c := w.free; c != nil {
		w.free = c.next
		w.spare--
		c.next, c.from, c.to = nil, 0, 0
		return c
	}
	return new(chunk[K])
}

// recycle keeps c, which is out of use, for later.
func (w *wheel[K]) recycle(c *chunk[K]) {
	clear(c.entries[:c.to]) // they may point to strings
	if w.spare < spareMax {
		c.next = w.free
		w.free = c
		w.spare++
	}
}

// first is the lowest level with entries and the first bucket in it, or nil.
// There is nothing before that bucket on any level.
func (w *wheel[K]) first() (n uint, i uint64, b *bucket[K]) {
	for n, l := range w.levels {
		if l == nil {
			continue
		}
		for j, set := range l.filled {
			if set != 0 {
				i := uint64(j*64 + bits.TrailingZeros64(set))
				return uint(n), i, &l.buckets[i]
			}
		}
	}
	return 0, 0, nil
}

// next is a time before which there is no entry, taken from the entries; ok is
// false if there are none.
func (w *wheel[K]) next() (at int64, ok bool) {
	if _, _, b := w.first(); b != nil {
		return b.min, true
	}
	return 0, false
}

// due is the bucket of the first entries, all of one time, if that is at to
// or before, or nil. It moves the wheel up to that time, and no further.
func (w *wheel[K]) due(to int64) *bucket[K] {
	for {
		n, i, b := w.first()
		if b == nil || b.min > to {
			return nil
		}
		if n == 0 {
			w.cur = order(b.min)
			return b
		}
		w.cur = order(b.min)
		w.again(n, i, func(*entry[K]) bool { return true })
	}
}

// skip moves an empty wheel up to the time to, so that what is added then lies
// on a low level.
func (w *wheel[K]) skip(to int64) {
	if _, _, b := w.first(); b == nil {
		w.cur = max(w.cur, order(to))
	}
}

// again takes the entries of a bucket out and adds those that are kept anew.
func (w *wheel[K]) again(n uint, i uint64, keep func(*entry[K]) bool) {
	l := w.levels[n]
	c := l.buckets[i].head
	l.filled[i/64] &^= 1 << (i % 64)
	l.buckets[i] = bucket[K]{}
	for c != nil {
		for j := c.from; j < c.to; j++ {
			if keep(&c.entries[j]) {
				w.add(c.entries[j])
			}
		}
		next := c.next
		w.recycle(c)
		c = next
	}
}

// pop takes the first entry out of b, a bucket that due gave.
func (w *wheel[K]) pop(b *bucket[K]) entry[K] {
	c := b.head
	e := c.entries[c.from]
	if c.from++; c.from < c.to {
		return e
	}
	if b.head = c.next; b.head == nil {
		b.tail = nil
		i := order(b.min) % digits
		w.levels[0].filled[i/64] &^= 1 << (i % 64)
	}
	w.recycle(c)
	return e
}

// filter keeps the entries for which keep is true.
func (w *wheel[K]) filter(keep func(*entry[K]) bool) {
	for n, l := range w.levels {
		if l == nil {
			continue
		}
		for i := range l.buckets {
			if l.buckets[i].head != nil {
				w.again(uint(n), uint64(i), keep)
			}
		}
	}
}

// clear takes all entries out.
func (w *wheel[K]) clear() {
	w.filter(func(*entry[K]) bool { return false })
}

// A heap is a binary heap of entries by time, and by sequence number within
// one.
type heap[K comparable] []entry[K]

func (e *entry[K]) before(o *entry[K]) bool {
	return e.at < o.at || e.at == o.at && e.seq < o.seq
}

func (h *heap[K]) push(e entry[K]) {
	s := append(*h, e)
	i := len(s) - 1
	for i > 0 && s[i].before(&s[(i-1)/2]) {
		s[i], s[(i-1)/2] = s[(i-1)/2], s[i]
		i = (i - 1) / 2
	}
	*h = s
}

func (h *heap[K]) pop() entry[K] {
	s := *h
	e := s[0]
	n := len(s) - 1
	s[0], s[n] = s[n], entry[K]{}
	s = s[:n]
	s.down(0)
	*h = s
	return e
}

func (h heap[K]) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h[c+1].before(&h[c]) {
			c++
		}
		if !h[c].before(&h[i]) {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}

// filter keeps the entries for which keep is true.
func (h *heap[K]) filter(keep func(*entry[K]) bool) {
	s := (*h)[:0]
	for i := range *h {
		if keep(&(*h)[i]) {
			s = append(s, (*h)[i])
		}
	}
	clear((*h)[len(s):])
	for i := len(s)/2 - 1; i >= 0; i-- {
		s.down(i)
	}
	*h = s
}
