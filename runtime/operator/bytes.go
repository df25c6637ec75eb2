package operator

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/millrace/millrace/runtime/codec"
)

// appendInt64 and takeInt64 write and read the numbers that operators put
// between encoded values: eight bytes, little endian.
func appendInt64(dst []byte, v int64) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(v))
}

func takeInt64(src []byte) (int64, []byte, error) {
	if len(src) < 8 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return int64(binary.LittleEndian.Uint64(src)), src[8:], nil
}

// takeCount reads a number of things that take at least one byte each of what
// follows, as an uvarint.
func takeCount(src []byte) (int, []byte, error) {
	n, w := binary.Uvarint(src)
	if w <= 0 || n > uint64(len(src)-w) {
		return 0, nil, fmt.Errorf("number of entries: %w", codec.ErrCorrupt)
	}
	return int(n), src[w:], nil
}

// maxEmpty is how many values that take no bytes are believed to be in one
// place, so that a corrupt number does not make a restore go on for ever.
const maxEmpty = 1 << 20

// tooMany reports whether src cannot be n values.
func tooMany(n uint64, src []byte) bool { return n > uint64(len(src)) && n > maxEmpty }
