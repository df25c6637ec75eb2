package pattern

import "iter"

// A condition looks at an event alone, or also at what the partial match has
// taken. At most one field is set; with none, every event fits.
type condition[T any] struct {
	simple    func(T) bool
	iterative func(T, Matched[T]) bool
}

func (c condition[T]) set() bool { return c.simple != nil || c.iterative != nil }

func (c condition[T]) eval(v T, m Matched[T]) bool {
	switch {
	case c.simple != nil:
		return c.simple(v)
	case c.iterative != nil:
		return c.iterative(v, m)
	}
	return true
}

func (c condition[T]) and(d condition[T]) condition[T] {
	switch {
	case !c.set():
		return d
	case c.simple != nil && d.simple != nil:
		return condition[T]{simple: func(v T) bool { return c.simple(v) && d.simple(v) }}
	}
	return condition[T]{iterative: func(v T, m Matched[T]) bool { return c.eval(v, m) && d.eval(v, m) }}
}

func (c condition[T]) or(d condition[T]) condition[T] {
	switch {
	case !c.set():
		return d
	case c.simple != nil && d.simple != nil:
		return condition[T]{simple: func(v T) bool { return c.simple(v) || d.simple(v) }}
	}
	return condition[T]{iterative: func(v T, m Matched[T]) bool { return c.eval(v, m) || d.eval(v, m) }}
}

// Matched gives a condition the events that a partial match has taken so far.
// It is valid only during the call of the condition.
type Matched[T any] struct {
	machine *Machine[T]
	state   *State[T]
	node    int32
	now     int64
}

// Timestamp returns the timestamp of the event being judged.
func (m Matched[T]) Timestamp() int64 { return m.now }

// Count returns how many events the stage has taken.
func (m Matched[T]) Count(stage string) int {
	n := 0
	for range m.Backward(stage) {
		n++
	}
	return n
}

// Last returns the latest event of the stage and whether there is one.
func (m Matched[T]) Last(stage string) (T, bool) {
	for v := range m.Backward(stage) {
		return v, true
	}
	var zero T
	return zero, false
}

// Backward goes over the events of the stage, the latest first. It is the
// cheapest way to see them all: it copies nothing aside.
func (m Matched[T]) Backward(stage string) iter.Seq[T] {
	return func(yield func(T) bool) {
		for n := m.node; n >= 0; {
			node := &m.state.nodes[n]
			if m.machine.stages[m.machine.slots[node.slot].stage] == stage && !yield(m.state.events[node.event].value) {
				return
			}
			n = node.prev
		}
	}
}

// All returns the events of the stage in the order in which they came.
func (m Matched[T]) All(stage string) []T {
	var all []T
	for v := range m.Backward(stage) {
		all = append(all, v)
	}
	for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
		all[i], all[j] = all[j], all[i]
	}
	return all
}
