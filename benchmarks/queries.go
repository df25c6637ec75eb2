package main

import "github.com/millrace/millrace/benchmarks/jobs"

// queries returns the Nexmark queries by name (q0, q1, …). They are jobs like
// the plain ones and take the same flags.
func queries() []jobs.Job { return nil }
