package jobs

// flatCounts is the table of the plain loops: counts by number in one flat
// array with open addressing. A Go map would do and costs about twice as much;
// what the engine is compared with should not be easy to beat.
type flatCounts struct {
	slots []flatSlot // a power of two long
	shift uint       // of a hash, to get a slot's index
	used  int
	sink  int64 // keeps the reads ahead in addBatch
}

// flatSlot is free while count is 0.
type flatSlot struct{ key, count int64 }

func newFlatCounts() *flatCounts {
	return &flatCounts{slots: make([]flatSlot, 1<<10), shift: 64 - 10}
}

func flatHash(key int64) uint64 { return uint64(key) * 0x9E3779B97F4A7C15 }

// add adds n to the count of key and returns it. A count that comes to 0 stays
// in the table under a free slot's mark, so n must not let it.
func (t *flatCounts) add(key, n int64) int64 {
	s := t.find(key)
	s.count += n
	return s.count
}

// find returns the slot of key, to be counted in at once.
func (t *flatCounts) find(key int64) *flatSlot {
	mask := uint64(len(t.slots) - 1)
	for i := flatHash(key) >> t.shift; ; i++ {
		s := &t.slots[i&mask]
		if s.count == 0 {
			if t.used*2 >= len(t.slots) {
				t.grow()
				return t.find(key)
			}
			t.used++
			s.key = key
			return s
		}
		if s.key == key {
			return s
		}
	}
}

// addBatch counts each row's key and writes key and count to out. The slots are
// looked at once before, so that the cache misses of a batch overlap.
func (t *flatCounts) addBatch(rows, out []Pair) {
	out = out[:len(rows)]
	var sum int64
	for i := range rows {
		h := flatHash(rows[i].Key) >> t.shift
		sum += t.slots[h].count
	}
	t.sink += sum
	for i := range rows {
		out[i] = Pair{rows[i].Key, t.add(rows[i].Key, 1)}
	}
}

func (t *flatCounts) grow() {
	old := t.slots
	t.slots = make([]flatSlot, 2*len(old))
	t.shift--
	mask := uint64(len(t.slots) - 1)
	for _, o := range old {
		if o.count == 0 {
			continue
		}
		i := flatHash(o.key) >> t.shift
		for t.slots[i&mask].count != 0 {
			i++
		}
		t.slots[i&mask] = o
	}
}

// reset empties the table and keeps its size.
func (t *flatCounts) reset() {
	clear(t.slots)
	t.used = 0
}

// each calls f for every key, in the table's order.
func (t *flatCounts) each(f func(key, count int64)) {
	for i := range t.slots {
		if s := &t.slots[i]; s.count != 0 {
			f(s.key, s.count)
		}
	}
}
