package snapshot

import (
	"cmp"
	"slices"
	"strings"
)

// A Diff tells how two snapshots differ, as far as their manifests tell: which
// operators, states and key groups are in one only, have other content, or
// another size. It lists nothing that is the same.
type Diff struct {
	Operators []OperatorDiff `json:"operators"`
	// Same is the number of key groups and pieces that are the same.
	Same int `json:"same"`
}

// Change says what became of something.
type Change string

// The changes.
const (
	Added   Change = "added"
	Removed Change = "removed"
	Changed Change = "changed"
)

// An OperatorDiff is what differs in an operator.
type OperatorDiff struct {
	UID    string      `json:"uid"`
	Name   string      `json:"name"` // the newer one's
	Change Change      `json:"change"`
	Old    int         `json:"old_parallelism,omitempty"`
	New    int         `json:"new_parallelism,omitempty"`
	States []StateDiff `json:"states,omitempty"`
}

// A StateDiff is what differs in a state.
type StateDiff struct {
	Name   string    `json:"name"`
	Kind   StateKind `json:"kind"`
	Change Change    `json:"change"`
	// Schema: the schemas differ.
	Schema bool `json:"schema,omitempty"`
	// OldBytes and NewBytes are the state's size.
	OldBytes int64 `json:"old_bytes"`
	NewBytes int64 `json:"new_bytes"`
	// Groups are the key groups that differ; for other kinds of state, the
	// subtasks.
	Groups []GroupDiff `json:"groups,omitempty"`
}

// A GroupDiff is what differs in a key group of a state.
type GroupDiff struct {
	Group    int    `json:"group"`
	Change   Change `json:"change"`
	OldBytes int64  `json:"old_bytes"`
	NewBytes int64  `json:"new_bytes"`
}

// Compare tells what has changed from a to b.
func Compare(a, b *Manifest) *Diff {
	d := &Diff{}
	merge(a.Operators, b.Operators, func(a, b *Operator) int { return strings.Compare(a.UID, b.UID) }, func(x, y *Operator) {
		od := OperatorDiff{Change: change(x, y)}
		var none Operator
		x, y = cmp.Or(x, &none), cmp.Or(y, &none)
		od.UID, od.Name = cmp.Or(y.UID, x.UID), cmp.Or(y.Name, x.Name)
		od.Old, od.New = x.Parallelism, y.Parallelism
		merge(x.States, y.States, compareStates, func(x, y *State) {
			if sd, same := compareState(x, y, &d.Same); !same {
				od.States = append(od.States, sd)
			}
		})
		if od.Change != Changed || od.Old != od.New || x.Name != y.Name || x.MaxParallelism != y.MaxParallelism || len(od.States) > 0 {
			d.Operators = append(d.Operators, od)
		}
	})
	return d
}

func change[T any](x, y *T) Change {
	switch {
	case x == nil:
		return Added
	case y == nil:
		return Removed
	default:
		return Changed
	}
}

// merge walks two sorted lists side by side; f gets nil for what one lacks.
func merge[T any](a, b []T, compare func(a, b *T) int, f func(x, y *T)) {
	for len(a) > 0 || len(b) > 0 {
		var x, y *T
		switch {
		case len(b) == 0 || len(a) > 0 && compare(&a[0], &b[0]) < 0:
			x = &a[0]
		case len(a) == 0 || compare(&a[0], &b[0]) > 0:
			y = &b[0]
		default:
			x, y = &a[0], &b[0]
		}
		if x != nil {
			a = a[1:]
		}
		if y != nil {
			b = b[1:]
		}
		f(x, y)
	}
}

func compareState(x, y *State, sameCount *int) (sd StateDiff, same bool) {
	sd.Change = change(x, y)
	var none State
	x, y = cmp.Or(x, &none), cmp.Or(y, &none)
	sd.Name, sd.Kind = cmp.Or(y.Name, x.Name), cmp.Or(y.Kind, x.Kind)
	sd.Schema = sd.Change == Changed && !slices.EqualFunc(x.Schemas, y.Schemas, slices.Equal)
	sum := func(s *State) (n int64) {
		for i := range s.Entries {
			n += s.Entries[i].Bytes
		}
		return n
	}
	sd.OldBytes, sd.NewBytes = sum(x), sum(y)
	groups := func(s *State) []groupContent {
		var all []groupContent
		for i := range s.Entries {
			e := &s.Entries[i]
			g := e.Group
			if s.Kind != Keyed {
				g = e.Subtask
			}
			if n := len(all); n > 0 && all[n-1].group == g {
				all[n-1].bytes += e.Bytes
				all[n-1].hashes = append(all[n-1].hashes, e.Hash)
				continue
			}
			all = append(all, groupContent{g, e.Bytes, []Hash{e.Hash}})
		}
		return all
	}
	merge(groups(x), groups(y), func(a, b *groupContent) int { return cmp.Compare(a.group, b.group) }, func(x, y *groupContent) {
		if x != nil && y != nil && slices.Equal(x.hashes, y.hashes) {
			*sameCount++
			return
		}
		gd := GroupDiff{Change: change(x, y)}
		if x != nil {
			gd.Group, gd.OldBytes = x.group, x.bytes
		}
		if y != nil {
			gd.Group, gd.NewBytes = y.group, y.bytes
		}
		sd.Groups = append(sd.Groups, gd)
	})
	return sd, sd.Change == Changed && !sd.Schema && len(sd.Groups) == 0
}

type groupContent struct {
	group  int
	bytes  int64
	hashes []Hash
}
