// Command benchmarks runs one job and says what it cost: the plain jobs of
// package jobs, the Nexmark queries, and each job as a plain loop without an
// engine.
//
//	go run ./benchmarks count --events 60000000 --parallelism 2 --json
//	go run ./benchmarks nexmark --query q5 --events 10000000
//	go run ./benchmarks baseline count --events 60000000
//
// It decides how runs are measured and what the flags are called. What a job
// does is decided in benchmarks/jobs and benchmarks/nexmark; README.md says
// what the figures include.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run runs the command and returns the process's exit status: 0, 1 for a run
// that went wrong, 2 for a command line that makes no sense, 130 for one that
// was interrupted.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := newCommand()
	cmd.SetArgs(args)
	out := &writer{w: stdout}
	cmd.SetOut(out)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		err = out.err // help is written by what does not look
	}
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "benchmarks: interrupted")
		return 130
	}
	fmt.Fprintf(stderr, "benchmarks: %v\n", err)
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	return 1
}

// writer keeps the first error of a writer.
type writer struct {
	w   io.Writer
	err error
}

// Write implements [io.Writer].
func (w *writer) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if w.err == nil {
		w.err = err
	}
	return n, err
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }
