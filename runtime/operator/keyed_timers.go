package operator

import (
	"encoding/binary"
	"fmt"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/timer"
)

// The states under which timers are kept in snapshots. An entry is a key and 8
// bytes of milliseconds, little endian.
const (
	eventTimers = reserved + "event-timers"
	procTimers  = reserved + "processing-timers"
)

// snapshotTimers freezes the timers of one service, nil if none was ever set.
func (k *Keyed[K]) snapshotTimers(name string, s *timer.Service[K]) []Piece {
	if s == nil || s.Len() == 0 {
		return nil
	}
	snap := s.Snapshot()
	return k.pieces(name, frozen{
		schema:  schemas(k.keys.Schema()),
		has:     func(g int) bool { return snap.GroupLen(g) > 0 },
		release: snap.Release,
		append: func(dst []byte, g int) []byte {
			for t := range snap.Group(g) {
				dst = k.keys.Append(dst, &t.Key)
				dst = binary.LittleEndian.AppendUint64(dst, uint64(t.At))
			}
			return dst
		},
	})
}

func (k *Keyed[K]) restoreTimers(p Piece, s *timer.Service[K]) error {
	r, _, err := k.open(p, 0)
	if err != nil {
		return err
	}
	for r.more() {
		word, key, err := r.key()
		if err != nil {
			return err
		}
		if len(r.src) < 8 {
			return fmt.Errorf("time of key %v: %w", key, codec.ErrCorrupt)
		}
		s.Set(word, key, int64(binary.LittleEndian.Uint64(r.src)))
		r.src = r.src[8:]
	}
	return nil
}
