package cold

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// An Op is what a Batch does with a key.
type Op uint8

// The operations of a Batch. Their numbers are those of the packed format.
const (
	// Delete removes the entry of a key.
	Delete Op = 0
	// Put sets the value of a key.
	Put Op = 1
	// Merge appends to the value of a key, as if to an empty one where there
	// is none, without reading it. It is how lists grow.
	Merge Op = 2
	// DeleteRange removes the entries from a key, inclusive, to another,
	// exclusive.
	DeleteRange Op = 15
)

// String is the operation's name.
func (o Op) String() string {
	switch o {
	case Delete:
		return "delete"
	case Put:
		return "put"
	case Merge:
		return "merge"
	case DeleteRange:
		return "delete range"
	}
	return fmt.Sprintf("operation %d", uint8(o))
}

// A Batch is a sequence of operations in one buffer. What it packs is the
// batch of LevelDB, which RocksDB and Pebble take as it is:
//
//	8 bytes  0 (a sequence number, set by the store)
//	4 bytes  number of operations, little-endian
//	each:    1 byte Op, then key, and but for Delete the value (for DeleteRange
//	         the end), each as its length in base 128 and its bytes
//
// The zero Batch is empty and ready for use. A Batch is used by one goroutine
// at a time.
type Batch struct {
	buf []byte
	n   uint32
}

const header = 12

// ErrBatch is wrapped by errors about bytes that are not a packed batch.
var ErrBatch = errors.New("not a packed batch")

// ParseBatch checks that packed is a batch, to its end, and makes one that
// goes on using its bytes.
func ParseBatch(packed []byte) (*Batch, error) {
	if len(packed) < header {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrBatch, len(packed))
	}
	b := &Batch{buf: packed, n: binary.LittleEndian.Uint32(packed[8:])}
	rest, n := packed[header:], uint32(0)
	for ; len(rest) > 0; n++ {
		at := len(packed) - len(rest)
		_, _, _, size := next(rest)
		if size == 0 {
			return nil, fmt.Errorf("%w: operation %d at byte %d of %d", ErrBatch, n, at, len(packed))
		}
		rest = rest[size:]
	}
	if n != b.n {
		return nil, fmt.Errorf("%w: %d operations, where its head says %d", ErrBatch, n, b.n)
	}
	return b, nil
}

// Put adds the operation that sets the value of key. Both are copied.
func (b *Batch) Put(key, value []byte) { b.add(Put, key, value) }

// Merge adds the operation that appends value to the value of key.
func (b *Batch) Merge(key, value []byte) { b.add(Merge, key, value) }

// Delete adds the operation that removes the entry of key.
func (b *Batch) Delete(key []byte) {
	b.open(Delete)
	b.buf = append(binary.AppendUvarint(b.buf, uint64(len(key))), key...)
}

// DeleteRange adds the operation that removes the entries with lower <= key <
// upper.
func (b *Batch) DeleteRange(lower, upper []byte) { b.add(DeleteRange, lower, upper) }

func (b *Batch) add(op Op, key, value []byte) {
	b.open(op)
	b.buf = append(binary.AppendUvarint(b.buf, uint64(len(key))), key...)
	b.buf = append(binary.AppendUvarint(b.buf, uint64(len(value))), value...)
}

func (b *Batch) open(op Op) {
	if len(b.buf) == 0 {
		b.buf = append(b.buf, make([]byte, header)...)
	}
	b.n++
	b.buf = append(b.buf, byte(op))
}

// Len is the number of operations.
func (b *Batch) Len() int { return int(b.n) }

// Size is the number of packed bytes.
func (b *Batch) Size() int { return max(len(b.buf), header) }

// Reset empties b and keeps its buffer.
func (b *Batch) Reset() { b.buf, b.n = b.buf[:0], 0 }

// All iterates over the operations. Key and value are views into the buffer,
// good until b changes.
func (b *Batch) All() iter.Seq2[Op, Entry] {
	return func(yield func(Op, Entry) bool) {
		if len(b.buf) < header {
			return
		}
		for rest := b.buf[header:]; len(rest) > 0; {
			op, key, value, size := next(rest)
			if size == 0 || !yield(op, Entry{key, value}) {
				return
			}
			rest = rest[size:]
		}
	}
}

// An Entry is a key and its value; of a DeleteRange, the two ends.
type Entry struct{ Key, Value []byte }

// Packed is the whole of b in its packed form, a view that is good until b
// changes.
func (b *Batch) Packed() []byte {
	if len(b.buf) == 0 {
		b.buf = append(b.buf, make([]byte, header)...)
	}
	binary.LittleEndian.PutUint32(b.buf[8:], b.n)
	return b.buf
}

// Space empties b and lends the part of its buffer in which packed operations
// go, at least size bytes. It is for stores, which fill it and say with
// [Batch.Filled] how far.
func (b *Batch) Space(size int) []byte {
	if cap(b.buf) < header+size {
		b.buf = make([]byte, header, header+size)
	}
	b.buf, b.n = b.buf[:header], 0
	clear(b.buf)
	return b.buf[header:cap(b.buf)]
}

// Filled says that the first size bytes of Space are ops packed operations.
func (b *Batch) Filled(size, ops int) { b.buf, b.n = b.buf[:header+size], uint32(ops) }

// next takes apart the first operation of packed; size is its length, or 0
// when there is none.
func next(packed []byte) (op Op, key, value []byte, size int) {
	op = Op(packed[0])
	rest := packed[1:]
	key, rest = field(rest)
	if rest == nil {
		return 0, nil, nil, 0
	}
	switch op {
	case Delete:
	case Put, Merge, DeleteRange:
		if value, rest = field(rest); rest == nil {
			return 0, nil, nil, 0
		}
	default:
		return 0, nil, nil, 0
	}
	return op, key, value, len(packed) - len(rest)
}

// field takes a length and that many bytes off packed; rest is nil, where it
// would otherwise be empty, if they are not there.
func field(packed []byte) (f, rest []byte) {
	n, size := binary.Uvarint(packed)
	if size <= 0 || n > uint64(len(packed)-size) {
		return nil, nil
	}
	end := size + int(n)
	return packed[size:end:end], packed[end:]
}

// Keys is a sequence of keys in one buffer. The zero Keys is empty and ready
// for use.
type Keys struct {
	Data []byte   // the keys, back to back
	Ends []uint32 // where each key ends in Data
}

// Add appends a copy of key.
func (k *Keys) Add(key []byte) {
	k.Data = append(k.Data, key...)
	k.Ends = append(k.Ends, uint32(len(k.Data)))
}

// Len is the number of keys.
func (k *Keys) Len() int { return len(k.Ends) }

// Key is the key at place i, a view that is good until k changes.
func (k *Keys) Key(i int) []byte {
	var from uint32
	if i > 0 {
		from = k.Ends[i-1]
	}
	return k.Data[from:k.Ends[i]:k.Ends[i]]
}

// Reset empties k and keeps its buffers.
func (k *Keys) Reset() { k.Data, k.Ends = k.Data[:0], k.Ends[:0] }

// Values is what a MultiGet has found, in one buffer of at most 4 GiB. The
// zero Values is ready for use.
type Values struct {
	Data  []byte   // the values found, back to back
	Ends  []uint32 // where each value ends in Data
	Found []uint8  // 1 where there was an entry, else 0
}

// Len is the number of keys that were asked for.
func (v *Values) Len() int { return len(v.Ends) }

// Value is the value at place i, a view that is good until v changes, and
// whether there was an entry.
func (v *Values) Value(i int) ([]byte, bool) {
	var from uint32
	if i > 0 {
		from = v.Ends[i-1]
	}
	return v.Data[from:v.Ends[i]:v.Ends[i]], v.Found[i] != 0
}

// Resize makes v one of n values, of which nothing is known, and keeps its
// buffers. It is for stores.
func (v *Values) Resize(n int) {
	v.Data = v.Data[:0]
	if cap(v.Ends) < n {
		v.Ends = make([]uint32, n)
	}
	if cap(v.Found) < n {
		v.Found = make([]uint8, n)
	}
	v.Ends, v.Found = v.Ends[:n], v.Found[:n]
}
