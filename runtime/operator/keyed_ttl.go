package operator

import (
	"encoding/binary"
	"time"

	"github.com/millrace/millrace/state/keygroup"
)

// StateOptions adjusts one keyed state. The zero value keeps entries for good.
type StateOptions struct {
	// TTL is how long an entry lives after its last write, in processing time
	// and to the millisecond; 0 means for good. Lists and maps have it for each
	// of their values.
	TTL time.Duration
	// RenewOnRead makes reads count as writes do.
	RenewOnRead bool
	// ReturnExpired lets reads return an expired entry that has not been
	// cleaned up yet.
	ReturnExpired bool
}

// stamped is a value with the time of its last access in milliseconds.
type stamped[V any] struct {
	At    int64
	Value V
}

// lifetime decides about expiry for one state.
type lifetime[K comparable] struct {
	c             *cleaner[K]
	ttl           int64
	renew, expose bool
}

func (k *Keyed[K]) lifetime(o StateOptions) lifetime[K] {
	return lifetime[K]{c: &k.ttl, ttl: max(o.TTL.Milliseconds(), 1), renew: o.RenewOnRead, expose: o.ReturnExpired}
}

// expired reports whether an entry last accessed at is over.
func (l *lifetime[K]) expired(at int64) bool { return at+l.ttl <= l.c.now }

// A cleaner removes expired entries a little with every batch. It goes through
// the states key group by key group. For each row of a batch it may look at
// scanPerRow entries, and it saves that up until it can pay for a whole group,
// so no batch pays for more than one group of each state and the work keeps up
// with any rate of inserts.
type cleaner[K comparable] struct {
	now    int64 // processing time of the batch in milliseconds
	states []sweeper
	turn   int // which state, in which group
	group  int
	credit int
}

// sweeper is a state whose entries expire.
type sweeper interface {
	// clean removes the expired entries of a key group.
	clean(group int)
	// entries is the number of entries.
	entries() int
}

const scanPerRow = 4

func (c *cleaner[K]) sweep(rows int, groups keygroup.Range) {
	c.credit += rows * scanPerRow
	for range c.states {
		s := c.states[c.turn]
		price := s.entries()/groups.Len() + 1
		if c.credit < price {
			return
		}
		c.credit = min(c.credit-price, price) // nothing is saved for later while there is little to do
		s.clean(groups.Start + c.group)
		if c.turn++; c.turn == len(c.states) {
			c.turn = 0
			if c.group++; c.group >= groups.Len() {
				c.group = 0
			}
		}
	}
}

func appendStamp(dst []byte, at int64) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(at))
}
