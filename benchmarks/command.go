package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millrace/millrace/benchmarks/jobs"
)

// flags are those of one run.
type flags struct {
	jobs.Params
	backend            string
	checkpointInterval time.Duration
	json               bool
	cpuProfile         string

	eventsMin int64 // the least --events that makes sense
}

// common adds the flags that every job takes.
func (f *flags) common(fs *pflag.FlagSet, d jobs.Params) {
	f.Params = d
	if f.Parallelism == 0 {
		f.Parallelism = runtime.GOMAXPROCS(0)
	}
	fs.Int64Var(&f.Events, "events", d.Events, "records that the source makes")
	fs.IntVar(&f.Parallelism, "parallelism", f.Parallelism, "subtasks of every operator")
	fs.Int64Var(&f.Rate, "rate", d.Rate, "records that become due each second; 0 for as fast as can be")
	fs.StringVar(&f.backend, "backend", "hashmap", "where keyed state lies: hashmap (in memory)")
	fs.DurationVar(&f.checkpointInterval, "checkpoint-interval", 0, "time between checkpoints; 0 for none")
	fs.BoolVar(&f.json, "json", false, "print the figures as one JSON object")
	fs.StringVar(&f.cpuProfile, "cpuprofile", "", "write a CPU profile of the job to this file")
}

// special adds a flag that only some jobs take.
func (f *flags) special(fs *pflag.FlagSet, name string, d jobs.Params) {
	switch name {
	case "input":
		fs.StringVar(&f.Input, name, d.Input, "file or directory to read")
	case "output":
		fs.StringVar(&f.Output, name, d.Output, "directory to write results to; none are written without it")
	case "side-input":
		fs.StringVar(&f.SideInput, name, d.SideInput, "table of lines key,value that q13 joins with; made for the run if not given")
	case "bytes":
		fs.Int64Var(&f.Bytes, name, d.Bytes, "how much text to make if there is none")
	case "size":
		fs.DurationVar(&f.Size, name, d.Size, "length of the window")
	case "slide":
		fs.DurationVar(&f.Slide, name, d.Slide, "time from the start of one window to that of the next")
	case "keys":
		fs.Int64Var(&f.Keys, name, d.Keys, "number of different keys")
	case "warmup":
		fs.DurationVar(&f.Warmup, name, d.Warmup, "time at the start whose records do not count")
	default:
		panic(fmt.Sprintf("no flag is called %q", name))
	}
}

// check says all that is wrong with the values of the flags that j takes, or
// nil.
func (f *flags) check(j jobs.Job) error {
	var errs []error
	number := func(name string, v, lo, hi int64) {
		if v < lo || v > hi {
			errs = append(errs, fmt.Errorf("--%s %d: must be from %d to %d", name, v, lo, hi))
		}
	}
	span := func(name string, v, lo, hi time.Duration) {
		if v < lo || v > hi {
			errs = append(errs, fmt.Errorf("--%s %v: must be from %v to %v", name, v, lo, hi))
		}
	}
	// Where the default is 0, that has a meaning of its own.
	least := func(def int64) int64 { return min(def, 1) }
	number("events", f.Events, f.eventsMin, 1<<50)
	number("parallelism", int64(f.Parallelism), 1, 1<<15)
	number("rate", f.Rate, least(j.Defaults.Rate), 1_000_000_000)
	for _, name := range j.Flags {
		switch name {
		case "bytes":
			number(name, f.Bytes, 1, 1<<40)
		case "keys":
			number(name, f.Keys, least(j.Defaults.Keys), 1<<40)
		case "size":
			span(name, f.Size, time.Millisecond, 365*24*time.Hour)
		case "slide":
			span(name, f.Slide, time.Millisecond, max(f.Size, time.Millisecond))
		case "warmup":
			span(name, f.Warmup, 0, 24*time.Hour)
		}
	}
	if err := f.unsupported(); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return usageError{err}
	}
	return nil
}

// unsupported says which of the flags ask for what there is not.
func (f *flags) unsupported() error {
	switch {
	case f.backend == "rocksdb" || f.backend == "pebble":
		return usagef("--backend %s: not in this release, which keeps state in memory (--backend hashmap)", f.backend)
	case f.backend != "hashmap":
		return usagef("--backend %s: there is no such backend; use hashmap", f.backend)
	case f.checkpointInterval < 0:
		return usagef("--checkpoint-interval %v: must not be negative", f.checkpointInterval)
	case f.checkpointInterval > 0:
		return usagef("--checkpoint-interval %v: this release takes no checkpoints; leave the flag out", f.checkpointInterval)
	}
	return nil
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "benchmarks JOB [flags]",
		Short: "Run a benchmark job and say what it cost",
		Long: `Run a benchmark job and say what it cost: events a second, events per CPU second
of the whole process, and peak memory. "benchmarks JOB --help" lists a job's
flags. See README.md in this folder for what the figures include.`,
		Example: `  benchmarks count --events 60000000 --parallelism 2 --json
  benchmarks latency --rate 500000
  benchmarks wordcount --input /tmp/text
  benchmarks nexmark --query q5 --events 10000000
  benchmarks baseline count`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownJob,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	root.AddGroup(&cobra.Group{ID: "jobs", Title: "Jobs:"}, &cobra.Group{ID: "others", Title: "Others:"})

	baseline := &cobra.Command{
		Use:     "baseline JOB [flags]",
		Short:   "the same work as a plain loop on one goroutine",
		GroupID: "others",
		Long: `Run a job's work as a plain Go program on one goroutine, without an engine: the
least that the job can cost.`,
		Args: knownJob,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, j := range jobs.All() {
		c := jobCommand(j, false)
		c.GroupID = "jobs"
		root.AddCommand(c)
		baseline.AddCommand(jobCommand(j, true))
	}
	root.AddCommand(baseline, nexmarkCommand())
	return root
}

// knownJob is the check of arguments where a job is to be named: what comes
// here names none.
func knownJob(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	hint := ""
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		hint = fmt.Sprintf(" (did you mean %s?)", s[0])
	}
	return usagef("there is no job %q%s; jobs are %s", args[0], hint, strings.Join(names, ", "))
}

// flagError says which flags there are when one is not known.
func flagError(cmd *cobra.Command, err error) error {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	if len(names) == 0 {
		return usageError{err}
	}
	return usagef("%w; flags of %s are %s", err, strings.TrimPrefix(cmd.CommandPath(), "benchmarks "), strings.Join(names, ", "))
}

// jobCommand makes the command of a job or of its baseline.
func jobCommand(j jobs.Job, plain bool) *cobra.Command {
	f := &flags{}
	c := &cobra.Command{
		Use:   j.Name + " [flags]",
		Short: j.Short,
		Long:  j.Long,
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return execute(cmd, f, j, plain)
		},
	}
	if plain {
		c.Long = "A plain loop on one goroutine that does the work of this job:\n\n" + j.Long
	}
	fs := c.Flags()
	fs.SortFlags = false
	f.common(fs, j.Defaults)
	for _, name := range j.Flags {
		f.special(fs, name, j.Defaults)
	}
	return c
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments but flags, and got %q", cmd.Name(), args[0])
	}
	return nil
}

// nexmarkCommand makes the command of the Nexmark queries.
func nexmarkCommand() *cobra.Command {
	f := &flags{}
	query := ""
	c := &cobra.Command{
		Use:     "nexmark --query Q [flags]",
		Short:   "a query of the Nexmark benchmark",
		GroupID: "others",
		Long:    "Run a query of the Nexmark benchmark over events that are generated, or read\nfrom a file with --input.\n\n" + queryList(),
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := queries()
			var names []string
			for _, q := range all {
				names = append(names, q.Name)
			}
			i := slices.Index(names, query)
			switch {
			case query == "":
				return usagef("--query is missing; queries are %s", strings.Join(names, ", "))
			case i < 0:
				return usagef("there is no query %q; queries are %s", query, strings.Join(names, ", "))
			}
			if f.eventsMin = 1; f.Input != "" {
				f.eventsMin = 0 // there are as many as the input holds
			}
			return execute(cmd, f, all[i], false)
		},
	}
	fs := c.Flags()
	fs.SortFlags = false
	fs.StringVar(&query, "query", "", "the query: q0, q1, …")
	d := jobs.Params{Events: 10_000_000}
	f.common(fs, d)
	for _, name := range []string{"input", "output", "side-input"} {
		f.special(fs, name, d)
	}
	return c
}

// execute runs j as the flags say and prints the figures.
func execute(cmd *cobra.Command, f *flags, j jobs.Job, plain bool) error {
	if err := f.check(j); err != nil {
		return err
	}
	name := j.Name
	if plain {
		name = "baseline " + name
	}
	r, err := j.New(f.Params)
	if err != nil {
		return usageError{err}
	}
	if plain && r.Plain == nil {
		return usagef("%s has no baseline", j.Name)
	}
	p := f.Params
	if r.Events != nil && p.Events == 0 {
		p.Events = r.Events() // what the job chose; 0 if it is not known yet
	}
	rep, err := measure(cmd.Context(), request{name: name, unit: j.Unit, params: p, run: r, plain: plain,
		cpuProfile: f.cpuProfile, progress: newProgress(os.Stderr)})
	if err != nil {
		return err
	}
	if f.json {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(rep)
	}
	return rep.print(cmd.OutOrStdout(), j.Unit)
}

// print writes the report for people.
func (r Report) print(w io.Writer, unit string) error {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "%-22s "+format+"\n", append([]any{what}, args...)...)
	}
	line("job", "%s, parallelism %d", r.Query, r.Parallelism)
	line(unit, "%d in %.2f s: %.2fM a second", r.Events, r.Seconds, r.EventsPerSecond/1e6)
	line("CPU", "%.2f s: %.2fM %s per core-second", r.CPUSeconds, r.EventsPerCoreSecond/1e6, unit)
	if r.GeneratorOnly > 0 {
		line("source alone", "%.2fM %s per core-second", r.GeneratorOnly/1e6, unit)
	}
	line("peak memory", "%.1f MB", float64(r.PeakRSSBytes)/1e6)
	line("result rows", "%d", r.ResultRows)
	if r.FirstRecordSeconds > 0 {
		line("first record", "%.0f ms after the process started", r.FirstRecordSeconds*1000)
	}
	if l := r.Latency; l != nil {
		line("latency", "p50 %.3f ms, p90 %.3f, p99 %.3f, p99.9 %.3f, p99.99 %.3f, max %.3f (%d records at %d/s)",
			l.P50Ms, l.P90Ms, l.P99Ms, l.P999Ms, l.P9999Ms, l.MaxMs, l.Samples, l.Rate)
		if l.OverRate {
			line("", "the job fell behind the rate")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
