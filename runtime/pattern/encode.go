package pattern

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrChanged marks a stored state that belongs to a pattern of another shape.
// It cannot be restored; the holder may start the key over without it.
var ErrChanged = errors.New("pattern: the pattern has changed")

// ErrCorrupt marks a stored state that no machine has written.
var ErrCorrupt = errors.New("pattern: corrupt state")

const stateVersion = 1

// AppendState appends s to dst. value appends one event. The form is explicit
// and versioned:
//
//	byte     version, 1
//	8 bytes  fingerprint of the pattern, little-endian
//	uvarint  number of the next event
//	uvarint  events; each: varint timestamp, uvarint number above the one
//	         before, value
//	uvarint  nodes; each: uvarint node before + 1, uvarint slot, uvarint event
//	uvarint  runs; each: uvarint node, uvarint edge + 1
//	uvarint  completed matches; each: uvarint node
//
// Events, and nodes after the node before them, are in the order of arrival;
// what starts when follows from them.
func (m *Machine[T]) AppendState(dst []byte, s *State[T], value func(dst []byte, v *T) []byte) []byte {
	order := s.order()
	dst = append(dst, stateVersion)
	dst = binary.LittleEndian.AppendUint64(dst, m.print)
	dst = binary.AppendUvarint(dst, s.seq)
	dst = binary.AppendUvarint(dst, uint64(len(order.events)))
	var before uint64
	for _, id := range order.events {
		e := &s.events[id]
		dst = binary.AppendVarint(dst, e.timestamp)
		dst = binary.AppendUvarint(dst, e.seq-before)
		before = e.seq
		dst = value(dst, &e.value)
	}
	dst = binary.AppendUvarint(dst, uint64(len(order.nodes)))
	for _, id := range order.nodes {
		n := &s.nodes[id]
		prev := uint64(0)
		if n.prev >= 0 {
			prev = uint64(order.node[n.prev]) + 1
		}
		dst = binary.AppendUvarint(dst, prev)
		dst = binary.AppendUvarint(dst, uint64(n.slot))
		dst = binary.AppendUvarint(dst, uint64(order.event[n.event]))
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.runs)))
	for _, r := range s.runs {
		dst = binary.AppendUvarint(dst, uint64(order.node[r.node]))
		dst = binary.AppendUvarint(dst, uint64(r.edge+1))
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.completed)))
	for _, c := range s.completed {
		dst = binary.AppendUvarint(dst, uint64(order.node[c.node]))
	}
	return dst
}

// order numbers the live events and nodes of a state anew, without gaps.
type order struct {
	events, nodes []int32 // old numbers by new
	event, node   []int32 // new numbers by old
}

func (s *State[T]) order() order {
	o := order{event: make([]int32, len(s.events)), node: make([]int32, len(s.nodes))}
	for i := range o.event {
		o.event[i] = -1
	}
	for i := range o.node {
		o.node[i] = -1
	}
	for _, r := range s.runs {
		o.add(s.nodes, r.node)
	}
	for _, c := range s.completed {
		o.add(s.nodes, c.node)
	}
	for _, n := range o.nodes {
		if id := s.nodes[n].event; o.event[id] < 0 {
			o.event[id] = 0
			o.events = append(o.events, id)
		}
	}
	sortBySeq(s.events, o.events)
	for i, id := range o.events {
		o.event[id] = int32(i)
	}
	return o
}

// add numbers node n after the nodes before it.
func (o *order) add(nodes []node, n int32) {
	from := len(o.nodes)
	for ; n >= 0 && o.node[n] < 0; n = nodes[n].prev {
		o.node[n] = 0
		o.nodes = append(o.nodes, n)
	}
	added := o.nodes[from:]
	for i, j := 0, len(added)-1; i < j; i, j = i+1, j-1 {
		added[i], added[j] = added[j], added[i]
	}
	for i, id := range added {
		o.node[id] = int32(from + i)
	}
}

// DecodeState reads what AppendState has written; all of p must be used. value
// reads one event from the front of its argument and returns it with the rest;
// the event must not refer to the argument afterwards. The error is ErrChanged
// if the pattern has another shape, ErrCorrupt if the bytes make no sense, or
// that of value.
func (m *Machine[T]) DecodeState(p []byte, value func(p []byte) (T, []byte, error)) (*State[T], error) {
	if len(p) < 9 || p[0] != stateVersion {
		return nil, fmt.Errorf("%w: no state of version %d", ErrCorrupt, stateVersion)
	}
	if print := binary.LittleEndian.Uint64(p[1:]); print != m.print {
		return nil, fmt.Errorf("%w: state of %016x, pattern %016x", ErrChanged, print, m.print)
	}
	r := reader{p: p[9:]}
	s := &State[T]{seq: r.uvarint("next event")}
	if err := decodeEvents(s, &r, value); err != nil {
		return nil, err
	}
	first := m.decodeNodes(s, &r)
	m.decodeRuns(s, &r, first)
	m.decodeCompleted(s, &r, first)
	if len(r.p) > 0 {
		r.fail("bytes after the end")
	}
	if r.err == nil {
		m.checkUsed(s, &r)
	}
	if r.err != nil {
		return nil, r.err
	}
	return s, nil
}

func decodeEvents[T any](s *State[T], r *reader, value func(p []byte) (T, []byte, error)) error {
	var seq uint64
	for i := range r.count("events", 2) {
		e := event[T]{timestamp: r.varint("timestamp")}
		step := r.uvarint("event number")
		if i > 0 && step == 0 || step > math.MaxUint64-seq {
			r.fail("events out of order")
		}
		seq += step
		e.seq = seq
		if seq >= s.seq {
			r.fail("event from the future")
		}
		if i > 0 && e.timestamp < s.events[i-1].timestamp {
			r.fail("timestamps out of order")
		}
		if r.err != nil {
			return r.err
		}
		var err error
		if e.value, r.p, err = value(r.p); err != nil {
			return fmt.Errorf("pattern: event %d of state: %w", i, err)
		}
		s.events = append(s.events, e)
	}
	return r.err
}

// decodeNodes returns, by node, the first event of the match it ends.
func (m *Machine[T]) decodeNodes(s *State[T], r *reader) []int32 {
	var first []int32
	for i := range r.count("nodes", 3) {
		prev := r.index("node before", i+1) - 1
		n := node{
			prev:  prev,
			slot:  r.index("slot", len(m.slots)),
			event: r.index("event", len(s.events)),
		}
		if r.err != nil {
			return nil
		}
		start := n.event
		var edges []edge
		if prev >= 0 {
			start = first[prev]
			edges = m.slots[s.nodes[prev].slot].edges
			if s.nodes[prev].event >= n.event {
				r.fail("nodes out of order")
			}
		} else {
			edges = m.begin
		}
		if !leadsTo(edges, n.slot) {
			r.fail("no way to a slot")
		}
		first = append(first, start)
		s.addNode(n)
	}
	return first
}

func leadsTo(edges []edge, slot int32) bool {
	for i := range edges {
		if edges[i].to == slot {
			return true
		}
	}
	return false
}

func (m *Machine[T]) decodeRuns(s *State[T], r *reader, first []int32) {
	for i := range r.count("runs", 2) {
		n := r.index("node of run", len(s.nodes))
		if r.err != nil {
			return
		}
		edges := m.slots[s.nodes[n].slot].edges
		e := r.index("edge", len(edges)+1) - 1
		if r.err != nil {
			return
		}
		if len(edges) == 0 || e >= 0 && (edges[e].to == endAtNextEvent || edges[e].to >= 0 && edges[e].mode == strict) {
			r.fail("run waits for nothing")
		}
		start := &s.events[first[n]]
		s.nodes[n].refs++
		s.runs = append(s.runs, run{node: n, edge: e, start: start.seq, startTime: start.timestamp})
		if i > 0 && s.runs[i-1].start > start.seq {
			r.fail("runs out of order")
		}
	}
}

func (m *Machine[T]) decodeCompleted(s *State[T], r *reader, first []int32) {
	for i := range r.count("completed matches", 1) {
		n := r.index("node of match", len(s.nodes))
		if r.err != nil {
			return
		}
		s.nodes[n].refs++
		s.completed = append(s.completed, completed{node: n, start: s.events[first[n]].seq})
		if i > 0 && s.completed[i-1].start > s.completed[i].start {
			r.fail("completed matches out of order")
		}
	}
	if m.skip.kind == noSkip && len(s.completed) > 0 {
		r.fail("matches held back for no reason")
	}
}

// checkUsed fails unless everything is referred to and stands in the order in
// which AppendState writes it, so that one state has one form.
func (m *Machine[T]) checkUsed(s *State[T], r *reader) {
	o := s.order()
	if len(o.events) != len(s.events) || len(o.nodes) != len(s.nodes) {
		r.fail("unused parts")
		return
	}
	for i, n := range o.nodes {
		if int(n) != i {
			r.fail("nodes out of order")
			return
		}
	}
	if s.Empty() && s.seq != 0 {
		r.fail("empty state with a past")
	}
}

// A reader takes numbers off the front of p until one is wrong.
type reader struct {
	p   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
}

func (r *reader) uvarint(what string) uint64 {
	v, n := binary.Uvarint(r.p)
	if r.err != nil || n <= 0 || n > 1 && r.p[n-1] == 0 {
		r.fail(what)
		return 0
	}
	r.p = r.p[n:]
	return v
}

func (r *reader) varint(what string) int64 {
	v := r.uvarint(what)
	return int64(v>>1) ^ -int64(v&1)
}

// count reads a number of things that take at least size bytes each.
func (r *reader) count(what string, size int) int {
	v := r.uvarint(what)
	if v > uint64(len(r.p)/size) {
		r.fail(what)
	}
	if r.err != nil {
		return 0
	}
	return int(v)
}

// index reads a number below n.
func (r *reader) index(what string, n int) int32 {
	v := r.uvarint(what)
	if v >= uint64(n) || v > math.MaxInt32 {
		r.fail(what)
	}
	if r.err != nil {
		return 0
	}
	return int32(v)
}

func sortBySeq[T any](events []event[T], ids []int32) {
	slices.SortFunc(ids, func(a, b int32) int { return cmp.Compare(events[a].seq, events[b].seq) })
}
