package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/benchmarks/jobs"
	"github.com/millrace/millrace/benchmarks/nexmark"
)

// queries returns the Nexmark queries by name (q0, q1, …). They are jobs like
// the plain ones and take the same flags.
func queries() []jobs.Job {
	var all []jobs.Job
	for _, q := range nexmark.Queries() {
		all = append(all, jobs.Job{
			Name: q.Name, Short: q.About, Unit: "events",
			New: func(p jobs.Params) (*jobs.Run, error) { return newQuery(q, p) },
		})
	}
	return all
}

// queryList is the part of the help that says what the queries are.
func queryList() string {
	var b strings.Builder
	for _, q := range nexmark.Queries() {
		fmt.Fprintf(&b, "  %-4s %s\n", q.Name, q.About)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// newQuery makes a run of a query. What the run reads and writes beside its
// input and output is in a folder of its own, which Close removes.
func newQuery(q nexmark.Query, p jobs.Params) (_ *jobs.Run, err error) {
	s := nexmark.Setup{
		Events: nexmark.Options{Events: p.Events, Rate: p.Rate}, Rate: p.Rate,
		Input: p.Input, Output: p.Output, SideInput: p.SideInput,
	}
	var scratch string
	remove := func() error { return nil }
	if q.Name == "q13" && s.SideInput == "" || q.Name == "q10" && s.Output == "" {
		if scratch, err = os.MkdirTemp("", "nexmark-"); err != nil {
			return nil, fmt.Errorf("%s: %w", q.Name, err)
		}
		remove = func() error { return os.RemoveAll(scratch) }
		defer func() {
			if err != nil {
				err = errors.Join(err, remove())
			}
		}()
		s.Files = filepath.Join(scratch, "bid")
	}
	if q.Name == "q13" && s.SideInput == "" {
		s.SideInput = filepath.Join(scratch, "side_input.txt")
		if err := nexmark.WriteSideInput(s.SideInput); err != nil {
			return nil, fmt.Errorf("%s: %w", q.Name, err)
		}
	}
	r := &jobs.Run{Results: &jobs.Tally{}, SourceTally: &jobs.Tally{}, Close: remove}
	query, err := q.NewRun(s, r.Results)
	if err != nil {
		return nil, err
	}
	var source *nexmark.Run
	r.Build, r.Events = query.Build, query.Events
	r.Source = func(j *millrace.Job, n int64) {
		only := s
		only.Rate, only.Events = 0, nexmark.Options{Events: n}
		if source, err = q.NewRun(only, r.SourceTally); err != nil {
			panic(err) // the same setup was taken above
		}
		source.BuildSource(j, r.SourceTally)
	}
	r.SourceEvents = func() int64 { return source.Events() }
	return r, nil
}
