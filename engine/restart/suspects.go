package restart

import "slices"

// suspectsMost is how many records are remembered; of more, those that failed
// longest ago are forgotten.
const suspectsMost = 1024

// A Position names a record so that it is found again after a restart: by the
// source that read it, the split and the place in it.
type Position struct {
	Source, Split, Offset string
}

// A Verdict is what the failures at a record say.
type Verdict struct {
	// Failures of tasks at this record, with the last.
	Failures int
	// Poison says that there were enough of them to blame the record, and that
	// Policy is to be applied.
	Poison bool
	Policy Policy
}

// Suspects recognise a record that makes a task fail whenever it is processed:
// without that, a job goes back to its checkpoint and to the same record for
// ever. Whether the errors are the same does not matter. Of the failures that
// one restart takes care of, the driver reports each record once.
//
// Suspects are owned by the job's driver and not safe for concurrent use.
type Suspects struct {
	policy   Policy
	enough   int
	failures map[Position]int
	order    []Position // of the last failure, oldest first
	blamed   []Position // in the order of the verdicts
}

// NewSuspects returns suspects without any record.
func NewSuspects(c Config) *Suspects {
	return &Suspects{policy: c.Poison, enough: c.PoisonFailures, failures: map[Position]int{}}
}

// Failed records that a task has failed while it processed the record at p,
// and says what follows.
func (s *Suspects) Failed(p Position) Verdict {
	s.failures[p]++
	if i := slices.Index(s.order, p); i >= 0 {
		s.order = slices.Delete(s.order, i, i+1)
	}
	if s.order = append(s.order, p); len(s.order) > suspectsMost {
		delete(s.failures, s.order[0])
		s.order = slices.Delete(s.order, 0, 1)
	}
	n := s.failures[p]
	v := Verdict{Failures: n, Poison: n >= s.enough, Policy: s.policy}
	if v.Poison && !slices.Contains(s.blamed, p) {
		s.blamed = append(s.blamed, p)
	}
	return v
}

// Passed records that the record at p, which has failed before, was processed
// well by now: the cause lay elsewhere.
func (s *Suspects) Passed(p Position) {
	if _, ok := s.failures[p]; !ok {
		return
	}
	delete(s.failures, p)
	s.order = slices.DeleteFunc(s.order, func(o Position) bool { return o == p })
	s.blamed = slices.DeleteFunc(s.blamed, func(o Position) bool { return o == p })
}

// Blamed returns the records that were found to be poison, in the order in
// which they were. Where the policy is to leave them out, sources are told of
// them whenever they are restored.
func (s *Suspects) Blamed() []Position { return slices.Clone(s.blamed) }
