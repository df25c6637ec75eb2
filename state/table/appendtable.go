package table

import (
	"math/bits"
	"reflect"
	"slices"
	"unsafe"
)

// An AppendTable maps keys to values for a short while: it is filled, read from
// the start to the end, and emptied for the next use. Entries lie in the order
// in which they were inserted, whatever their key groups, and none is ever
// deleted; so inserting costs little more than finding.
//
// It is owned by one goroutine. Keys and words are as in a Table, and as there
// strings in keys are copied.
type AppendTable[K comparable, V any] struct {
	entries []Entry[K, V] // behind one that is no key's
	frozen  int           // of entries, those that Freeze gave away
	index   appendIndex
	strings stringsIn
	arena   arena
}

// NewAppend makes an empty AppendTable.
func NewAppend[K comparable, V any]() *AppendTable[K, V] {
	return &AppendTable[K, V]{strings: stringsOf(reflect.TypeFor[K]())}
}

// Len is the number of entries.
func (t *AppendTable[K, V]) Len[_ lazy]() int { return max(len(t.entries)-1, 0) }

// Entries are those of the table, in the order of insertion. They are valid
// until the next change of the table.
func (t *AppendTable[K, V]) Entries[_ lazy]() []Entry[K, V] {
	return t.entries[min(1, len(t.entries)):]
}

// Upsert is the value of k, to be read and written, valid until the next change
// of the table. If k is not there, it is inserted with a zero value and created
// is true.
func (t *AppendTable[K, V]) Upsert[_ lazy](word uint64, k K) (v *V, created bool) {
	t.room(1)
	i, created := t.upsert(word, k)
	return &t.entries[i].Value, created
}

// UpsertBatch is Upsert for a whole batch, keys[i] with words[i]. It appends to
// values the value of each key, to be read and written; all of them are valid
// until the next change of the table.
func (t *AppendTable[K, V]) UpsertBatch[_ lazy](words []uint64, keys []K, values []*V) []*V {
	t.room(len(words))
	var places, missed [ahead]uint32
	for len(words) > 0 {
		n := min(len(words), ahead)
		ws, ks := words[:n], keys[:n]
		t.index.locate(ws, &places)
		// Whether a key is there can often not be predicted, so there is no
		// branch on it.
		misses := 0
		for i, w := range ws {
			missed[misses&(ahead-1)] = uint32(i)
			miss := 0
			if t.entries[places[i&(ahead-1)]].mark != w|used {
				miss = 1
			}
			misses += miss
		}
		for _, i := range missed[:misses] {
			places[i&(ahead-1)], _ = t.upsert(ws[i], ks[i])
		}
		for i := range ws {
			e := &t.entries[places[i&(ahead-1)]]
			if e.Key != ks[i] {
				at, _ := t.upsert(ws[i], ks[i])
				e = &t.entries[at]
			}
			values = append(values, &e.Value)
		}
		words, keys = words[n:], keys[n:]
	}
	return values
}

// Freeze gives the entries that are there to the caller: they do not change any
// more, and may be read from any goroutine. They stay in the table, but keys
// that come after get entries of their own, even if they have one.
func (t *AppendTable[K, V]) Freeze[_ lazy]() []Entry[K, V] {
	t.frozen = len(t.entries)
	t.index.empty(0)
	e := t.Entries()
	return e[:len(e):len(e)]
}

// Reset takes all entries out. It keeps the memory unless the entries were
// frozen, or that is far more than they needed.
func (t *AppendTable[K, V]) Reset[_ lazy]() {
	n := len(t.entries)
	if t.frozen > 0 || 8*n < cap(t.entries) {
		t.entries = nil
	} else {
		clear(t.entries)
		t.entries = t.entries[:0]
	}
	t.frozen = 0
	t.index.empty(n)
	t.arena = arena{} // keys that were handed out may point into the old one
}

// room makes room for n more entries, so that they stay where they are while
// these are inserted.
func (t *AppendTable[K, V]) room(n int) {
	if len(t.entries)+n+1 > cap(t.entries) {
		t.entries = slices.Grow(t.entries, n+1)
	}
	if len(t.entries) == 0 {
		t.entries = t.entries[:1]
	}
	if need := len(t.entries) - t.frozen + n; 2*need > len(t.index.places) {
		t.index.grow(need)
		for i := max(t.frozen, 1); i < len(t.entries); i++ {
			t.index.put(t.entries[i].mark, i)
		}
	}
}

// upsert returns the place of the entry of k, made if need be. There must be
// room for it.
func (t *AppendTable[K, V]) upsert(word uint64, k K) (at uint32, created bool) {
	places := t.index.places
	mask := uint64(len(places) - 1)
	i := word
	for ; places[i&mask] != 0; i++ {
		at = places[i&mask]
		if e := &t.entries[at]; e.mark == word|used && e.Key == k {
			return at, false
		}
	}
	at = uint32(len(t.entries))
	t.entries = append(t.entries, Entry[K, V]{mark: word | used, Key: k})
	if t.strings.any() {
		t.strings.own(&t.arena, unsafe.Pointer(&t.entries[at].Key))
	}
	places[i&mask] = at
	return at, true
}

// appendIndex finds entries by the lowest bits of their words: an open hash
// table of their places; 0 is free. Its length is a power of two and at least
// twice the number of places in it.
type appendIndex struct{ places []uint32 }

// locate finds the first place to look at for each of words, at most ahead. The
// loads are independent of each other, so that their misses overlap.
func (x *appendIndex) locate(words []uint64, at *[ahead]uint32) {
	mask := uint64(len(x.places) - 1)
	for i, w := range words {
		at[i&(ahead-1)] = x.places[w&mask]
	}
}

// grow makes an empty index for at least n entries.
func (x *appendIndex) grow(n int) {
	x.places = make([]uint32, max(64, 1<<bits.Len(uint(2*n-1))))
}

// empty takes all places out and keeps the memory if that is about what n
// entries need.
func (x *appendIndex) empty(n int) {
	if 16*n < len(x.places) {
		x.places = nil
		return
	}
	clear(x.places)
}

// put adds the place of an entry, given its word or mark.
func (x *appendIndex) put(word uint64, at int) {
	mask := uint64(len(x.places) - 1)
	for x.places[word&mask] != 0 {
		word++
	}
	x.places[word&mask] = uint32(at)
}
