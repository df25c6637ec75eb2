package avro

import (
	"bytes"
	"compress/bzip2"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/format"
)

// reader reads the blocks that start in one range.
type reader[T any] struct {
	format.Inline
	// Set by Open, never written again.
	in       *format.Input
	to       int64
	sync     [syncSize]byte
	codec    codec
	steps    []step
	blockMax int

	broken error // why the file cannot be read, until it is reported

	// The block being read, or to be read next when it is not open.
	at    int64 // where it starts
	skip  int64 // records to pass over before the first
	open  bool
	data  cursor
	taken int64 // records taken from data
	count int64 // records in the block
	next  int64 // where the next block starts

	rec T
}

func (r *reader[T]) Read(_ context.Context, out *millrace.Rows[T]) error {
	if r.broken != nil {
		out.Bad(r.in.Bad("", "", r.broken, nil))
		r.broken = nil
	}
	bad := 0
	for out.Room() > 0 && bad < format.BadMax {
		if !r.open {
			if r.at >= r.to {
				return io.EOF
			}
			damage, err := r.load()
			if err != nil {
				return err
			}
			if damage != nil {
				bad++
				out.Bad(r.in.Bad(fmt.Sprintf("block at byte %d", r.at), "", damage, nil))
				if err := r.recover(); err != nil {
					return err
				}
				continue
			}
		}
		if r.taken == r.count {
			r.endBlock()
			continue
		}
		before := r.data.b
		field, reason := decode(r.steps, &r.data, &r.rec)
		switch {
		case r.data.err != nil:
			// Where the next record starts is not known any more.
			bad++
			out.Bad(r.in.Bad(r.where(r.taken, r.count), field, r.data.err, before))
			r.endBlock()
			continue
		case reason != nil:
			r.taken++
			if r.taken > r.skip {
				bad++
				out.Bad(r.in.Bad(r.where(r.taken-1, r.taken), field, reason, before[:len(before)-len(r.data.b)]))
			}
			continue
		}
		if r.taken++; r.taken > r.skip {
			out.Append(r.rec)
		}
	}
	return nil
}

// where names the records from (inclusive) to (exclusive) of the block,
// counted from 1.
func (r *reader[T]) where(from, to int64) string {
	if to-from == 1 {
		return fmt.Sprintf("block at byte %d, record %d", r.at, from+1)
	}
	return fmt.Sprintf("block at byte %d, records %d to %d", r.at, from+1, to)
}

func (r *reader[T]) endBlock() {
	r.at, r.skip, r.open, r.taken = r.next, 0, false, 0
	r.data = cursor{}
}

// blockHead is the most bytes that a block's two numbers take.
const blockHead = 2 * binary.MaxVarintLen64

// load reads the block at r.at. damage is what is wrong with its content, err
// an error of the file.
func (r *reader[T]) load() (damage, err error) {
	left := r.in.Size - r.at
	head := make([]byte, min(blockHead, left))
	if err := r.in.ReadAt(head, r.at); err != nil {
		return nil, err
	}
	c := cursor{b: head}
	count, size := c.long(), c.long()
	if c.err != nil {
		return c.err, nil
	}
	start := int64(len(head) - len(c.b))
	switch {
	case count < 0 || size < 0:
		return fmt.Errorf("it claims %d records in %d bytes", count, size), nil
	case size > left-start-syncSize:
		return fmt.Errorf("it claims %d bytes and the file has %d left: cut short, or damaged", size, max(left-start-syncSize, 0)), nil
	case size > int64(r.blockMax):
		return fmt.Errorf("it has %d bytes, the limit is %d", size, r.blockMax), nil
	}
	stored := make([]byte, size+syncSize)
	if err := r.in.ReadAt(stored, r.at+start); err != nil {
		return nil, err
	}
	if !bytes.Equal(stored[size:], r.sync[:]) {
		return errors.New("it does not end in the file's sync marker"), nil
	}
	plain, err := r.codec(stored[:size], r.blockMax)
	if err != nil {
		return err, nil
	}
	// A record that fills a field takes a byte at least.
	if count > int64(len(plain)) {
		return fmt.Errorf("it claims %d records in %d bytes", count, len(plain)), nil
	}
	r.data, r.count, r.taken, r.open = cursor{b: plain}, count, 0, true
	r.next = r.at + start + size + syncSize
	return nil, nil
}

// recover goes to the next block after a damaged one: behind the next sync
// marker, wherever that is.
func (r *reader[T]) recover() error {
	next, err := r.firstBlock(r.at+1, r.at)
	r.at, r.skip = next, 0
	return err
}

// firstBlock is the start of the first block at or after from, where from is
// not before the first, which starts at first; the range's end if there is
// none.
func (r *reader[T]) firstBlock(from, first int64) (int64, error) {
	if from <= first {
		return first, nil
	}
	buf := make([]byte, 64<<10)
	for off := max(from-syncSize, 0); off < r.to; {
		p := buf[:min(int64(len(buf)), r.in.Size-off)]
		if err := r.in.ReadAt(p, off); err != nil {
			return 0, err
		}
		if i := bytes.Index(p, r.sync[:]); i >= 0 {
			return min(off+int64(i)+syncSize, r.to), nil
		}
		if off+int64(len(p)) == r.in.Size {
			break
		}
		off += int64(len(p) - syncSize + 1)
	}
	return r.to, nil
}

func (r *reader[T]) Position() millrace.Position {
	at, taken := r.at, max(r.taken, r.skip)
	if r.open && r.taken == r.count {
		at, taken = r.next, 0
	}
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(at)), uint64(taken))
}

func (r *reader[T]) Close() error { return nil }

// codec decompresses a block into memory of its own, at most limit bytes.
type codec func(stored []byte, limit int) ([]byte, error)

// zstdMemoryMax bounds the window a zstd block may ask for.
const zstdMemoryMax = 256 << 20

func newCodec(name string) (codec, error) {
	switch name {
	case "", "null":
		return func(b []byte, _ int) ([]byte, error) { return b, nil }, nil
	case "deflate":
		return func(b []byte, limit int) ([]byte, error) {
			return readLimited(flate.NewReader(bytes.NewReader(b)), limit)
		}, nil
	case "bzip2":
		return func(b []byte, limit int) ([]byte, error) {
			return readLimited(bzip2.NewReader(bytes.NewReader(b)), limit)
		}, nil
	case "snappy":
		return unsnappy, nil
	case "zstandard":
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(zstdMemoryMax))
		if err != nil {
			return nil, err
		}
		return func(b []byte, limit int) ([]byte, error) {
			if err := z.Reset(bytes.NewReader(b)); err != nil {
				return nil, err
			}
			return readLimited(z, limit)
		}, nil
	}
	return nil, fmt.Errorf("compression %q is not known", name)
}

func readLimited(r io.Reader, limit int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err == nil && len(b) > limit {
		err = fmt.Errorf("it has more than %d bytes decompressed", limit)
	}
	return b, err
}

func unsnappy(b []byte, limit int) ([]byte, error) {
	const sum = 4
	if len(b) < sum {
		return nil, errShort
	}
	b, want := b[:len(b)-sum], binary.BigEndian.Uint32(b[len(b)-sum:])
	n, err := snappy.DecodedLen(b)
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("it claims %d bytes decompressed", n)
	}
	plain, err := snappy.Decode(nil, b)
	if err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(plain) != want {
		return nil, errors.New("its checksum is wrong")
	}
	return plain, nil
}
