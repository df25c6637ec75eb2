package snapshot

import (
	"bytes"
	"cmp"
	"slices"
)

// A base is a checkpoint whose content may be referred to. A nil base has none.
type base struct {
	files   map[string]File
	poor    map[string]bool // files with too little in them that is needed
	entries map[entryKey]baseEntry
	colds   map[coldKey]*Cold
}

// An entryKey addresses a piece over the checkpoints of a job: subtask and index
// are 0 for keyed state.
type entryKey struct {
	uid, state     string
	kind           StateKind
	group          int
	subtask, index int
}

type baseEntry struct {
	e           *Entry
	schemas     [][]byte
	incarnation uint64
}

type coldKey struct{ uid, store, name string }

func newBase(m *Manifest, minLive float64) *base {
	b := &base{files: map[string]File{}, poor: map[string]bool{}, entries: map[entryKey]baseEntry{}, colds: map[coldKey]*Cold{}}
	for _, f := range m.Files {
		b.files[f.Name] = f
	}
	for i := range m.Operators {
		o := &m.Operators[i]
		for j := range o.States {
			s := &o.States[j]
			index := 0
			for k := range s.Entries {
				e := &s.Entries[k]
				key := entryKey{uid: o.UID, state: s.Name, kind: s.Kind, group: e.Group}
				if s.Kind != Keyed {
					if k > 0 && s.Entries[k-1].Subtask == e.Subtask {
						index++
					} else {
						index = 0
					}
					key.subtask, key.index = e.Subtask, index
				}
				b.entries[key] = baseEntry{e, s.Schemas, o.Subtasks[e.Subtask].Incarnation}
			}
		}
		for j := range o.Cold {
			c := &o.Cold[j]
			b.colds[coldKey{o.UID, c.Store, c.Name}] = c
		}
	}
	for name, live := range liveBytes(m) {
		if f := b.files[name]; minLive > 0 && float64(live) < minLive*float64(f.Size-headBytes-footBytes) {
			b.poor[name] = true
		}
	}
	return b
}

// liveBytes adds up, for each file, the bytes that m's chunks are in. Chunks may
// share blocks.
func liveBytes(m *Manifest) map[string]int64 {
	type span struct{ from, to int64 }
	spans := map[string][]span{}
	for _, c := range m.chunks() {
		if c.File == "" {
			continue
		}
		of := spans[c.File]
		s := span{c.Offset, c.Offset + c.Stored}
		if n := len(of); n > 0 && of[n-1].from <= s.from && s.from <= of[n-1].to { // the usual order
			of[n-1].to = max(of[n-1].to, s.to)
			continue
		}
		spans[c.File] = append(of, s)
	}
	live := map[string]int64{}
	for name, of := range spans {
		slices.SortFunc(of, func(a, b span) int { return cmp.Compare(a.from, b.from) })
		end := int64(0)
		for _, s := range of {
			if s.to > end {
				live[name] += s.to - max(s.from, end)
				end = s.to
			}
		}
	}
	return live
}

func (b *base) find(key entryKey) *baseEntry {
	if b == nil {
		return nil
	}
	e, ok := b.entries[key]
	if !ok {
		return nil
	}
	return &e
}

func (b *base) cold(uid, store, name string) *Cold {
	if b == nil {
		return nil
	}
	return b.colds[coldKey{uid, store, name}]
}

func (b *base) reusable(file string) bool { return !b.poor[file] }

func (e *baseEntry) schemaIs(s []byte) bool { return bytes.Equal(e.schemas[e.e.Schema], s) }

// indexes numbers the pieces of a part that have the same state and no key
// group.
type indexes struct {
	p *Part
	n map[entryKey]int
}

func newIndexes(p *Part) *indexes { return &indexes{p, map[entryKey]int{}} }

// key is the address of piece i. It is called once for each piece, in order.
func (x *indexes) key(i int) entryKey {
	piece := &x.p.Pieces[i]
	key := entryKey{uid: x.p.UID, state: piece.State, kind: kindOf(piece.Group)}
	if key.kind == Keyed {
		key.group = piece.Group
		return key
	}
	key.subtask = x.p.Subtask
	n := x.n[key]
	x.n[key] = n + 1
	key.index = n
	return key
}

func kindOf(group int) StateKind {
	switch group {
	case OperatorGroup:
		return OperatorState
	case UnionGroup:
		return Union
	case BroadcastGroup:
		return Broadcast
	default:
		return Keyed
	}
}

// sortStates makes states of a part's entries; entry i is piece i.
func sortStates(p *Part, entries []Entry) []State {
	type key struct {
		kind StateKind
		name string
	}
	at := map[key]int{}
	var states []State
	for i := range p.Pieces {
		k := key{kindOf(p.Pieces[i].Group), p.Pieces[i].State}
		n, ok := at[k]
		if !ok {
			n = len(states)
			at[k] = n
			states = append(states, State{Name: k.name, Kind: k.kind})
		}
		s := &states[n]
		entries[i].Schema = s.schema(p.Pieces[i].Schema)
		s.Entries = append(s.Entries, entries[i])
	}
	slices.SortFunc(states, func(a, b State) int { return compareStates(&a, &b) })
	for i := range states {
		states[i].sort()
	}
	return states
}

// schema returns the index of a schema, which it adds if it is new.
func (s *State) schema(schema []byte) int {
	for i := len(s.Schemas) - 1; i >= 0; i-- {
		if bytes.Equal(s.Schemas[i], schema) {
			return i
		}
	}
	s.Schemas = append(s.Schemas, bytes.Clone(schema))
	return len(s.Schemas) - 1
}

func (s *State) sort() {
	slices.SortStableFunc(s.Entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Subtask, b.Subtask))
	})
}
