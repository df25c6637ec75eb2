package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/millrace/millrace/examples/internal/exampletest"
)

func TestCountsTheWordsOfAllFiles(t *testing.T) {
	params := map[string]string{"input": t.TempDir()}
	write(t, params["input"], "a.txt", "To be, or not to be\n")
	write(t, params["input"], "b.txt", "\nBe\n")
	exampletest.Prints(t, wordcount, params, `
		{Key:to Window:[everything] Value:2}
		{Key:be Window:[everything] Value:3}
		{Key:or Window:[everything] Value:1}
		{Key:not Window:[everything] Value:1}`)
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}
