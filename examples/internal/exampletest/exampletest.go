// Package exampletest runs the example programs in tests and looks at what
// they print. What they should print is for each example to say.
package exampletest

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace"
)

// Prints runs a program with its parameters and fails the test unless it
// prints the lines of want, in any order. The program is run as users run it,
// and in the orders of steps that several seeds give, with one to four
// subtasks and small batches.
func Prints(t *testing.T, build func(*millrace.Job), params map[string]string, want string) {
	t.Helper()
	EveryWay(t, func(t *testing.T, opt millrace.RunOptions) {
		t.Helper()
		opt.Params = params
		Same(t, Output(t, opt, build), want)
	})
}

// Same fails the test unless two outputs have the same lines, in any order.
func Same(t *testing.T, got, want string) {
	t.Helper()
	g, w := lines(got), lines(want)
	if !slices.Equal(g, w) {
		t.Errorf("printed\n\t%s\nwant\n\t%s", strings.Join(g, "\n\t"), strings.Join(w, "\n\t"))
	}
}

// EveryWay calls check with options of many kinds.
func EveryWay(t *testing.T, check func(t *testing.T, opt millrace.RunOptions)) {
	t.Helper()
	t.Run("goroutines", func(t *testing.T) { check(t, millrace.RunOptions{}) })
	for seed := range uint64(6) {
		opt := millrace.RunOptions{Seed: &seed, Parallelism: 1 + int(seed%4), BatchSize: 1 + int(seed*seed)}
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { check(t, opt) })
	}
}

// Output runs a program and returns what it writes to standard output.
func Output(t *testing.T, opt millrace.RunOptions, build func(*millrace.Job)) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "stdout")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stdout := os.Stdout
	os.Stdout = f
	defer func() { os.Stdout = stdout }()
	if err := millrace.RunWith(t.Context(), t.Name(), opt, build); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// subtask is what lines begin with when several subtasks print.
var subtask = regexp.MustCompile(`(?m)^\d+> `)

// lines returns the lines of a text, sorted, without the subtask that printed
// each and without what is empty.
func lines(text string) (all []string) {
	for line := range strings.Lines(subtask.ReplaceAllString(text, "")) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	slices.Sort(all)
	return all
}
