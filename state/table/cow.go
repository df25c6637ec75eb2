package table

import (
	"slices"
	"sync/atomic"
)

// versions tells what the writer may change in place and what it must copy,
// because a snapshot can see it.
//
// Every page and directory carries the epoch in which it was made. A snapshot
// ends an epoch: it sees what was made in its epoch and before. Hence a page
// is shared when its epoch is at most that of the newest snapshot still held,
// and the writer's whole check is one comparison with shared.
//
// Invariant: a directory that holds a page made in epoch e is either of epoch
// e or later, or no snapshot of an epoch between the two is held. So whoever
// may write a page in place may also write its directory in place.
//
// It belongs to the goroutine that owns the table; snapshots are released
// from any goroutine by their token.
type versions struct {
	epoch  uint32   // given to what is made now; from 1
	shared uint32   // made in this epoch or before: may be seen by a snapshot
	held   []*token // snapshots not yet known to be released, oldest first
	moves  uint64   // how often an upsert has moved entries of a page
}

// A token stands for one snapshot.
type token struct {
	epoch    uint32
	released atomic.Bool
}

func newVersions() versions { return versions{epoch: 1} }

// freeze ends the epoch and gives the token of a snapshot of it.
func (v *versions) freeze() *token {
	v.refresh()
	t := &token{epoch: v.epoch}
	v.held = append(v.held, t)
	v.shared = v.epoch
	v.epoch++
	return t
}

// refresh forgets released snapshots. The atomic flag orders the last read of
// a released snapshot before the writes that follow here.
func (v *versions) refresh() {
	if len(v.held) == 0 {
		return
	}
	v.held = slices.DeleteFunc(v.held, func(t *token) bool { return t.released.Load() })
	v.shared = 0
	if n := len(v.held); n > 0 {
		v.shared = v.held[n-1].epoch
	}
}

// frozen reports whether what was made in epoch must be copied before it is
// written. It is the slow half of the check: callers have compared epoch with
// shared already.
func (v *versions) frozen(epoch uint32) bool {
	v.refresh()
	return epoch <= v.shared
}
