package main

import (
	"testing"

	"github.com/millrace/millrace/examples/internal/exampletest"
)

// The third failure of ann is found although it comes after her success in the
// file; bo fails twice only; cy takes exactly five minutes, which is too long.
func TestThreeFailuresAndASuccessAreReported(t *testing.T) {
	exampletest.Prints(t, bruteForce, map[string]string{"logins": "testdata/logins.json"}, `
		{"User":"ann","From":"2026-01-01T08:00:00Z","To":"2026-01-01T08:00:45Z"}`)
}
