package snapshot

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Assemble joins what all workers have stored into a manifest. It reports a
// part that is missing or there twice, and what does not fit together. The
// partials are not used any more.
func Assemble(info Info, partials []*Partial) (*Manifest, error) {
	m := &Manifest{Info: info}
	fail := func(err error) (*Manifest, error) {
		return nil, fmt.Errorf("checkpoint %d: assemble: %w", info.Checkpoint, err)
	}
	at := map[string]int{}
	files := map[string]File{}
	for _, p := range partials {
		for _, f := range p.Files {
			if old, ok := files[f.Name]; ok && old != f {
				return fail(fmt.Errorf("file %s is %+v and %+v", f.Name, old, f))
			}
			files[f.Name] = f
		}
		i, ok := at[p.Operator.UID]
		if !ok {
			i = len(m.Operators)
			at[p.Operator.UID] = i
			m.Operators = append(m.Operators, Operator{
				UID: p.Operator.UID, Name: p.Operator.Name, Parallelism: p.Operator.Parallelism, MaxParallelism: p.Operator.MaxParallelism,
			})
		}
		if err := m.Operators[i].join(&p.Operator); err != nil {
			return fail(fmt.Errorf("operator %q: %w", p.Operator.UID, err))
		}
	}
	for _, f := range files {
		m.Files = append(m.Files, f)
	}
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(m.Operators, func(a, b Operator) int { return strings.Compare(a.UID, b.UID) })
	var errs []error
	for i := range m.Operators {
		if err := m.Operators[i].arrange(); err != nil {
			errs = append(errs, fmt.Errorf("operator %q: %w", m.Operators[i].UID, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fail(err)
	}
	// Broadcast state of all subtasks but one has been dropped, and with it
	// perhaps a file's last chunk.
	m.dropFiles()
	if err := m.check(); err != nil {
		return fail(err)
	}
	return m, nil
}

// join adds what p has to o, in any order.
func (o *Operator) join(p *Operator) error {
	if o.Name != p.Name || o.Parallelism != p.Parallelism || o.MaxParallelism != p.MaxParallelism {
		return fmt.Errorf("%q with parallelism %d of %d, and %q with %d of %d",
			o.Name, o.Parallelism, o.MaxParallelism, p.Name, p.Parallelism, p.MaxParallelism)
	}
	if p.Coordinator != nil {
		if o.Coordinator != nil {
			return errors.New("two parts of the coordinator")
		}
		o.Coordinator = p.Coordinator
	}
	o.Subtasks = append(o.Subtasks, p.Subtasks...)
	o.Splits = append(o.Splits, p.Splits...)
	o.Channels = append(o.Channels, p.Channels...)
	o.Commits = append(o.Commits, p.Commits...)
	o.Cold = append(o.Cold, p.Cold...)
	for i := range p.States {
		s := &p.States[i]
		to := o.State(s.Kind, s.Name)
		if to == nil {
			o.States = append(o.States, State{Name: s.Name, Kind: s.Kind})
			to = &o.States[len(o.States)-1]
		}
		for j := range s.Entries {
			e := s.Entries[j]
			if e.Schema < 0 || e.Schema >= len(s.Schemas) {
				return fmt.Errorf("state %q: schema %d of %d", s.Name, e.Schema, len(s.Schemas))
			}
			e.Schema = to.schema(s.Schemas[e.Schema])
			to.Entries = append(to.Entries, e)
		}
	}
	return nil
}

// arrange sorts everything, whatever the order in which it came, and reports
// subtasks and key groups that are missing or there twice.
func (o *Operator) arrange() error {
	bySubtask := func(a, b int) int { return cmp.Compare(a, b) }
	slices.SortFunc(o.Subtasks, func(a, b Subtask) int { return bySubtask(a.Index, b.Index) })
	for i := 1; i < len(o.Subtasks); i++ {
		if o.Subtasks[i].Index == o.Subtasks[i-1].Index {
			return fmt.Errorf("two parts of subtask %d", o.Subtasks[i].Index)
		}
	}
	for i := range o.Parallelism {
		if i >= len(o.Subtasks) || o.Subtasks[i].Index > i {
			return fmt.Errorf("no part of subtask %d", i)
		}
	}
	slices.SortStableFunc(o.Splits, func(a, b Split) int { return bySubtask(a.Subtask, b.Subtask) })
	slices.SortStableFunc(o.Channels, func(a, b Channel) int { return bySubtask(a.Subtask, b.Subtask) })
	slices.SortStableFunc(o.Commits, func(a, b Commit) int {
		return cmp.Or(bySubtask(a.Subtask, b.Subtask), cmp.Compare(a.Checkpoint, b.Checkpoint))
	})
	slices.SortStableFunc(o.Cold, func(a, b Cold) int { return bySubtask(a.Subtask, b.Subtask) })
	slices.SortFunc(o.States, func(a, b State) int { return compareStates(&a, &b) })
	for i := range o.States {
		s := &o.States[i]
		s.sort()
		switch s.Kind {
		case Keyed:
			for j := 1; j < len(s.Entries); j++ {
				if a, b := &s.Entries[j-1], &s.Entries[j]; a.Group == b.Group {
					return fmt.Errorf("state %q: key group %d is in subtasks %d and %d", s.Name, a.Group, a.Subtask, b.Subtask)
				}
			}
		case Broadcast: // the same in every subtask: the first one's will do
			first := 0
			if len(s.Entries) > 0 {
				first = s.Entries[0].Subtask
			}
			s.Entries = slices.DeleteFunc(s.Entries, func(e Entry) bool { return e.Subtask != first })
		}
		s.arrangeSchemas()
	}
	return nil
}

// arrangeSchemas drops schemas that no entry has, and puts the others in the
// order in which the entries have them, so that the manifest does not depend on
// who came first.
func (s *State) arrangeSchemas() {
	old := s.Schemas
	to := make([]int, len(old)) // new index plus 1
	s.Schemas = nil
	for i := range s.Entries {
		e := &s.Entries[i]
		if to[e.Schema] == 0 {
			s.Schemas = append(s.Schemas, old[e.Schema])
			to[e.Schema] = len(s.Schemas)
		}
		e.Schema = to[e.Schema] - 1
	}
}

// dropFiles drops files that no chunk is in.
func (m *Manifest) dropFiles() {
	used := make(map[string]bool, len(m.Files))
	for _, c := range m.chunks() {
		used[c.File] = true
	}
	m.Files = slices.DeleteFunc(m.Files, func(f File) bool { return !used[f.Name] })
}
