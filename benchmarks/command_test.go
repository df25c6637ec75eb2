package main

import (
	"errors"
	"strings"
	"testing"
)

func TestFlagsOutOfRangeAreRefused(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"count --keys 0", "--keys 0: must be from 1 to "},
		{"count --keys -1", "--keys -1: must be from 1 to "},
		{"count --events -1", "--events -1: must be from 0 to "},
		{"count --events 9000000000000000000", "--events 9000000000000000000: must be from 0 to "},
		{"count --parallelism 0", "--parallelism 0: must be from 1 to 32768"},
		{"count --rate -1", "--rate -1: must be from 0 to 1000000000"},
		{"count --rate 9000000000000000000", "--rate 9000000000000000000: must be from 0 to 1000000000"},
		{"baseline count --keys 0", "--keys 0: must be from 1 to "},
		{"shuffle --keys 0", "--keys 0: must be from 1 to "},
		{"sliding --keys -1", "--keys -1: must be from 0 to "},
		{"sliding --size 0", "--size 0s: must be from 1ms to "},
		{"sliding --slide 1us", "--slide 1µs: must be from 1ms to 10s"},
		{"sliding --slide 11s", "--slide 11s: must be from 1ms to 10s"},
		{"latency --rate 0", "--rate 0: must be from 1 to 1000000000"},
		{"latency --keys 0", "--keys 0: must be from 1 to "},
		{"latency --warmup -1s", "--warmup -1s: must be from 0s to 24h0m0s"},
		{"latency --warmup 25h", "--warmup 25h0m0s: must be from 0s to 24h0m0s"},
		{"wordcount --bytes 0", "--bytes 0: must be from 1 to "},
		{"wordcount --bytes -4", "--bytes -4: must be from 1 to "},
		{"nexmark --query q0 --events 0", "--events 0: must be from 1 to "},
		{"nexmark --query q0 --events -5", "--events -5: must be from 1 to "},
		{"nexmark --query q0 --rate -5", "--rate -5: must be from 0 to "},
		{"count --keys 0 --rate -1", "--keys 0: must be from 1 to "}, // and the other
		{"count --checkpoint-interval -1s", "--checkpoint-interval -1s: must not be negative"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			var stdout, stderr strings.Builder
			if rc := run(strings.Fields(tt.line), &stdout, &stderr); rc != 2 {
				t.Errorf("exit status %d, want 2", rc)
			}
			if s := stderr.String(); !strings.HasPrefix(s, "benchmarks: ") || !strings.Contains(s, tt.want) {
				t.Errorf("got %q, want %q", s, tt.want)
			}
			if stdout.Len() > 0 {
				t.Errorf("wrote %q", stdout.String())
			}
		})
	}
}

func TestZeroIsTakenWhereItHasAMeaning(t *testing.T) {
	for _, line := range []string{"count --events 0", "sliding --keys 0 --events 1000", "nexmark --query q0 --events 1", "count --keys 1 --events 1000"} {
		var stdout, stderr strings.Builder
		if rc := run(strings.Fields(line), &stdout, &stderr); rc != 0 {
			t.Errorf("%s: exit status %d: %s", line, rc, &stderr)
		}
	}
}

func TestErrorsNameTheQueryOnce(t *testing.T) {
	var stdout, stderr strings.Builder
	run(strings.Fields("nexmark --query q13 --events 5 --side-input /nowhere/at/all"), &stdout, &stderr)
	if s := stderr.String(); strings.Count(s, "q13") != 1 {
		t.Errorf("got %q", s)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no room") }

func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	for _, line := range []string{"--help", "count --help", "count --events 10 --keys 3", "count --events 10 --json", "nexmark --query q0 --events 10 --json", "baseline count --events 10"} {
		var stderr strings.Builder
		if rc := run(strings.Fields(line), full{}, &stderr); rc != 1 || !strings.Contains(stderr.String(), "no room") {
			t.Errorf("%s: exit status %d, %q", line, rc, &stderr)
		}
	}
}
