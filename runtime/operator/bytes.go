package operator

import (
	"encoding/binary"
	"io"
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
