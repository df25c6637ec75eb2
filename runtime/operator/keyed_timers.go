package operator

import (
	"errors"

	"github.com/millrace/millrace/runtime/timer"
)

// The states under which timers are kept in snapshots.
const (
	eventTimers = reserved + "event-timers"
	procTimers  = reserved + "processing-timers"
)

// snapshotTimers freezes the timers of one service.
func (k *Keyed[K]) snapshotTimers(name string, s *timer.Service[K]) []Piece {
	return nil
}

func (k *Keyed[K]) restoreTimers(p Piece, s *timer.Service[K]) error {
	return errors.New("timers cannot be restored")
}
