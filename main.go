package millrace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// flagSpec is an option that every job's command line has.
type flagSpec struct{ name, value, usage string }

var mainFlags = []flagSpec{
	{"parallelism", "N", "subtasks of each operator that does not say itself (default: number of processors)"},
	{"batch-size", "N", "records that travel together, 1 to 4096 (default 256)"},
	{"no-chaining", "", "give every operator a task of its own"},
	{"progress", "auto|on|off", "show records, rate and event time while the job runs (default auto: on a terminal)"},
	{"log-level", "debug|info|warn|error", "what is logged to standard error (default warn)"},
	{"help", "", "show this"},
}

// Main is the whole of a program's main function: it builds the job, runs it in
// this process, and ends the process: with status 0 when the job has ended, 1
// when it failed, 2 when the command line is wrong, 130 when interrupted.
//
// The command line takes the options of every job (--parallelism and others)
// and the parameters that the program declares with [Job.Param]; --help lists
// both. The first interrupt (Ctrl-C) stops the job, a second one ends the
// process at once. What cannot be written to standard output is an error; a
// shell's >&- is none, for every Go program then has /dev/null there.
func Main(name string, build func(*Job)) {
	os.Exit(run(name, os.Args[1:], os.Stdout, os.Stderr, build))
}

func run(name string, args []string, stdout, stderr *os.File, build func(*Job)) int {
	settings := map[string]string{}
	given, err := parseArgs(args, settings)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 2
	}
	opt, show, err := options(given, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 2
	}
	_, help := given["help"]
	for _, f := range mainFlags {
		delete(given, f.name)
	}
	opt.Settings = settings
	j := &Job{name: name, params: params{given: given}}
	build(j)
	if help {
		if err := usage(stdout, name, j); err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", name, err)
			return 1
		}
		return 0
	}
	if err := j.params.check(); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 2
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends the process
	var p *progress
	if show {
		opt.Status = func(r *Running) { p = startProgress(stderr, r) }
	}
	err = j.run(ctx, opt)
	p.stop()
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintf(stderr, "%s: interrupted\n", name)
		return 130
	}
	fmt.Fprintln(stderr, err)
	return 1
}

// parseArgs takes --name value, --name=value, --name, and settings: -Dkey=value.
func parseArgs(args []string, settings map[string]string) (map[string]string, error) {
	given := map[string]string{}
	for i := 0; i < len(args); i++ {
		a := args[i]
		if d, ok := strings.CutPrefix(a, "-D"); ok {
			if err := setting(settings, d); err != nil {
				return nil, err
			}
			continue
		}
		if a == "-h" {
			a = "--help"
		}
		name, ok := strings.CutPrefix(a, "-")
		if !ok || name == "" {
			return nil, fmt.Errorf("unexpected argument %q: parameters look like --name value", a)
		}
		name = strings.TrimPrefix(name, "-")
		name, value, has := strings.Cut(name, "=")
		if !has {
			value = "true"
			if i+1 < len(args) && !strings.HasPrefix(args[i+1], "--") && name != "help" && name != "no-chaining" {
				i++
				value = args[i]
			}
		}
		if _, twice := given[name]; twice {
			return nil, fmt.Errorf("--%s is given twice", name)
		}
		given[name] = value
	}
	return given, nil
}

// options makes RunOptions of the options that every job has.
func options(given map[string]string, stderr *os.File) (opt RunOptions, show bool, err error) {
	var errs []error
	number := func(name string, lo, hi int) int {
		s, ok := given[name]
		if !ok {
			return 0
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < lo || n > hi {
			errs = append(errs, fmt.Errorf("--%s %q is not a number from %d to %d", name, s, lo, hi))
		}
		return n
	}
	opt.Parallelism = number("parallelism", 1, 32768)
	opt.BatchSize = number("batch-size", 1, 4096)
	if s, ok := given["no-chaining"]; ok {
		if opt.NoChaining, err = strconv.ParseBool(s); err != nil {
			errs = append(errs, fmt.Errorf("--no-chaining %q is neither true nor false", s))
		}
	}
	switch given["progress"] {
	case "", "auto":
		show = term.IsTerminal(int(stderr.Fd()))
	case "on", "true":
		show = true
	case "off", "false":
	default:
		errs = append(errs, fmt.Errorf("--progress %q is not auto, on or off", given["progress"]))
	}
	level := slog.LevelWarn
	if s, ok := given["log-level"]; ok {
		if err := level.UnmarshalText([]byte(s)); err != nil {
			errs = append(errs, fmt.Errorf("--log-level %q is not debug, info, warn or error", s))
		}
	}
	opt.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	return opt, show, errors.Join(errs...)
}

// usage prints what --help shows.
func usage(out io.Writer, name string, j *Job) error {
	w := &strings.Builder{}
	fmt.Fprintf(w, "Usage: %s [--option value]...\n\nRuns the job %s in this process (%s).\n", name, name, runtime.Version())
	if len(j.params.asked) > 0 {
		fmt.Fprintf(w, "\nParameters of this job:\n")
		for _, p := range j.params.asked {
			fmt.Fprintf(w, "  --%-22s %s (default %q)\n", p.name, p.usage, p.def)
		}
	}
	fmt.Fprintf(w, "\nOptions of every job:\n")
	for _, f := range mainFlags {
		fmt.Fprintf(w, "  --%-22s %s\n", strings.TrimSpace(f.name+" "+f.value), f.usage)
	}
	fmt.Fprintf(w, "\nSettings, by Flink's keys:\n"+
		"  -Dexecution.checkpointing.interval=10s -Dexecution.checkpointing.dir=DIR\n"+
		"                           take checkpoints, and go on from the newest when the job has failed or is\n"+
		"                           started again\n")
	_, err := io.WriteString(out, w.String())
	return err
}
