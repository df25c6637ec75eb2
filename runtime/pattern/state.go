package pattern

import "slices"

// State holds the partial matches of one key. The zero State is that of a key
// without events. It belongs to the machine that fills it; a copy of the struct
// is not a copy of the state.
//
// The events of partial matches are kept once, however many matches share them.
// A partial match is a chain of nodes from its last event back to its first;
// matches with a common beginning share its nodes. Events and nodes are counted
// references: a node by the runs, completed matches and nodes that point to it,
// an event by its nodes.
type State[T any] struct {
	events     []event[T]
	nodes      []node
	freeEvents []int32
	freeNodes  []int32

	runs      []run       // partial matches, in order of their start
	completed []completed // matches held back by a skip strategy, in order of their start
	seq       uint64      // number of the next event to be taken
}

type event[T any] struct {
	value     T
	timestamp int64
	seq       uint64 // grows in the order of arrival
	refs      int32
}

type node struct {
	prev  int32 // node of the event before, or -1
	slot  int32
	event int32
	refs  int32
	mark  uint64 // round in which it was last reported
}

// A run is a partial match that waits for its next event. Directly after it has
// taken an event any edge of the slot may be next; at the event that follows,
// it splits into one run for each edge on which it goes on waiting.
type run struct {
	node      int32
	edge      int32 // of the node's slot, or -1 directly after the event
	start     uint64
	startTime int64
}

type completed struct {
	node  int32
	start uint64
}

// Empty reports whether there is neither a partial match nor one held back. An
// empty state need not be kept.
func (s *State[T]) Empty() bool { return len(s.runs) == 0 && len(s.completed) == 0 }

// Partial returns how many partial matches wait for more events.
func (s *State[T]) Partial() int { return len(s.runs) }

// Events returns how many events are kept.
func (s *State[T]) Events() int { return len(s.events) - len(s.freeEvents) }

func (s *State[T]) addEvent(value T, timestamp int64) int32 {
	e := event[T]{value: value, timestamp: timestamp, seq: s.seq}
	if n := len(s.freeEvents); n > 0 {
		id := s.freeEvents[n-1]
		s.freeEvents = s.freeEvents[:n-1]
		s.events[id] = e
		return id
	}
	s.events = append(s.events, e)
	return int32(len(s.events) - 1)
}

// addNode adds a node that nothing points to yet.
func (s *State[T]) addNode(n node) int32 {
	s.events[n.event].refs++
	if n.prev >= 0 {
		s.nodes[n.prev].refs++
	}
	if k := len(s.freeNodes); k > 0 {
		id := s.freeNodes[k-1]
		s.freeNodes = s.freeNodes[:k-1]
		s.nodes[id] = n
		return id
	}
	s.nodes = append(s.nodes, n)
	return int32(len(s.nodes) - 1)
}

// release gives up one reference to node n and frees what nothing points to any
// more.
func (s *State[T]) release(n int32) {
	for n >= 0 {
		node := &s.nodes[n]
		if node.refs--; node.refs > 0 {
			return
		}
		s.freeNodes = append(s.freeNodes, n)
		e := &s.events[node.event]
		if e.refs--; e.refs == 0 {
			*e = event[T]{} // let go of what the value points to
			s.freeEvents = append(s.freeEvents, node.event)
		}
		n = node.prev
	}
}

// hold inserts a completed match behind those that start no later.
func (s *State[T]) hold(c completed) {
	i := len(s.completed)
	for i > 0 && s.completed[i-1].start > c.start {
		i--
	}
	s.completed = slices.Insert(s.completed, i, c)
}

// resetIfEmpty starts over when nothing is kept, which also lets the numbers
// stay small.
func (s *State[T]) resetIfEmpty() {
	if !s.Empty() {
		return
	}
	s.events, s.nodes = s.events[:0], s.nodes[:0]
	s.freeEvents, s.freeNodes = s.freeEvents[:0], s.freeNodes[:0]
	s.seq = 0
}
