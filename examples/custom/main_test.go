package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/examples/internal/exampletest"
)

func TestEveryNumberIsInOneFile(t *testing.T) {
	exampletest.EveryWay(t, func(t *testing.T, opt millrace.RunOptions) {
		out := t.TempDir()
		opt.Params = map[string]string{"count": "1001", "out": out}
		if got, want := exampletest.Output(t, opt, custom), fmt.Sprintf("1001 numbers are in %s\n", out); got != want {
			t.Errorf("printed %q, want %q", got, want)
		}
		names, err := filepath.Glob(filepath.Join(out, "*"))
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for word := range strings.FieldsSeq(strings.NewReplacer("[", "", "]", "").Replace(string(text))) {
				n, err := strconv.Atoi(word)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, n)
			}
		}
		slices.Sort(got)
		for i, n := range got {
			if i != n {
				t.Fatalf("number %d is %d", i, n)
			}
		}
		if len(got) != 1001 {
			t.Errorf("%d numbers, want 1001", len(got))
		}
	})
}

func TestReaderGoesOnWhereItsPositionSays(t *testing.T) {
	src := numbers(20)
	splits, err := src.Splits(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	read := func(r millrace.Reader[uint64], room int) (ns []uint64) {
		rows := millrace.NewRows[uint64](room)
		if err := r.Read(t.Context(), rows); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		return append(ns, rows.Records()...)
	}
	for _, split := range splits {
		whole, err := src.Open(t.Context(), split, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := read(whole, 100)
		for n := 1; n <= len(want); n++ {
			first, err := src.Open(t.Context(), split, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := read(first, n)
			second, err := src.Open(t.Context(), split, first.Position())
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, read(second, 100)...); !slices.Equal(got, want) {
				t.Errorf("split %s, %d first: got %v, want %v", split.ID, n, got, want)
			}
		}
	}
}
