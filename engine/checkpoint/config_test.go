package checkpoint

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSettingsAreReadByFlinksKeys(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  map[string]string
		want func(*Config)
	}{
		{"nothing", nil, func(*Config) {}},
		{"interval", map[string]string{"execution.checkpointing.interval": "3 min"}, func(c *Config) { c.Interval = 3 * time.Minute }},
		{"interval off", map[string]string{"execution.checkpointing.interval": "0"}, func(*Config) {}},
		{"no checkpoints during backlog", map[string]string{"execution.checkpointing.interval-during-backlog": "0 ms"}, func(c *Config) { c.BacklogInterval = Never }},
		{"rarer during backlog", map[string]string{"execution.checkpointing.interval-during-backlog": "1h"}, func(c *Config) { c.BacklogInterval = time.Hour }},
		{"at least once is never unaligned", map[string]string{"execution.checkpointing.mode": "at-least-once"}, func(c *Config) { c.Mode, c.Unaligned = AtLeastOnce, false }},
		{"several at a time are never unaligned", map[string]string{"execution.checkpointing.max-concurrent-checkpoints": "2"}, func(c *Config) { c.MaxConcurrent, c.Unaligned = 2, false }},
		{"old names", map[string]string{
			"state.checkpoints.dir": "s3://b/c", "state.checkpoints.num-retained": "5", "execution.checkpointing.unaligned": "false",
			"state.backend.incremental": "false", "state.savepoints.dir": "s3://b/s", "state.backend.local-recovery": "false",
		}, func(c *Config) {
			c.NumRetained, c.Unaligned = 5, false
			c.Storage.Dir, c.Storage.SavepointDir, c.Storage.Incremental, c.Storage.FromLocal = "s3://b/c", "s3://b/s", false, false
		}},
		{"retention", map[string]string{"execution.checkpointing.externalized-checkpoint-retention": "retain_on_cancellation"}, func(c *Config) { c.Retention = RetainOnCancellation }},
		{"storage", map[string]string{
			"execution.checkpointing.data-inline-threshold": "1 mb", "execution.checkpointing.storage": "jobmanager",
			"execution.checkpointing.file-merging.max-file-size": "8m", "execution.checkpointing.file-merging.max-space-amplification": "1.5",
		}, func(c *Config) {
			c.Storage.InlineBytes, c.Storage.Kind = 1<<20, "jobmanager"
			c.Storage.MergedFileBytes, c.Storage.MaxSpaceAmplification = 8<<20, 1.5
		}},
		{"keys of others", map[string]string{"parallelism.default": "x"}, func(*Config) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := Default()
			tt.want(&want)
			got, _, err := Parse(tt.set)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("Parse(%v) = %+v, %v\nwant %+v", tt.set, got, err, want)
			}
			if err := got.Validate(); err != nil {
				t.Errorf("what was parsed is not valid: %v", err)
			}
		})
	}
}

func TestEveryWrongSettingIsNamed(t *testing.T) {
	for _, tt := range []struct{ key, value, want string }{
		{"interval", "5 ms", `execution.checkpointing.interval: "5 ms": neither 0 nor in 10ms..8760h0m0s`},
		{"timeout", "soon", `execution.checkpointing.timeout: "soon": not a duration such as "500 ms", "10 s", "5 min", "1 h" or "1m30s"`},
		{"max-concurrent-checkpoints", "0", `execution.checkpointing.max-concurrent-checkpoints: "0": not in 1..2147483647`},
		{"mode", "TWICE", `execution.checkpointing.mode: "TWICE": not one of EXACTLY_ONCE, AT_LEAST_ONCE`},
		{"data-inline-threshold", "2 mb", `execution.checkpointing.data-inline-threshold: "2 mb": not in 0..1048576 bytes`},
		{"num-retaind", "2", `execution.checkpointing.num-retaind: "2": no such key; did you mean execution.checkpointing.num-retained?`},
	} {
		_, _, err := Parse(map[string]string{prefix + tt.key: tt.value})
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %v\nwant %s", tt.key, err, tt.want)
		}
	}
	_, _, err := Parse(map[string]string{prefix + "unaligned.enabled": "true", prefix + "max-concurrent-checkpoints": "3", prefix + "timeout": "0"})
	want := `execution.checkpointing.timeout: "0": not in 10ms..8760h0m0s
execution.checkpointing.unaligned.enabled: "true": needs max-concurrent-checkpoints 1, which is 3`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	_, notes, err := Parse(map[string]string{"state.checkpoints.num-retained": "none"})
	if err == nil || !strings.HasPrefix(err.Error(), `state.checkpoints.num-retained: "none"`) || len(notes) != 1 {
		t.Errorf("an old name: %v, notes %q", err, notes)
	}
}

func TestConfigsThatCannotWorkAreRefused(t *testing.T) {
	c := Config{Interval: 1, BacklogInterval: 2, Mode: 7, MinPause: -1, TolerableFailures: -1, Unaligned: true}
	err := c.Validate()
	for _, field := range []string{"Interval", "BacklogInterval", "Mode", "MinPause", "TolerableFailures", "Unaligned", "Timeout", "MaxConcurrent", "NumRetained", "History"} {
		if err == nil || !strings.Contains(err.Error(), "Config: "+field) {
			t.Errorf("nothing about %s in %v", field, err)
		}
	}
}

func TestPercentilesAreOverTheLastThousand(t *testing.T) {
	var w window
	for i := range int64(3000) {
		w.add(i)
	}
	want := Distribution{Min: 0, Max: 2999, Avg: 1499, P50: 2499, P90: 2899, P95: 2949, P99: 2989, P999: 2998}
	if got := w.distribution(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// The same schedule gives the same actions, whatever order maps are in.
func TestSchedulesReplay(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		a, _ := playSeed(seed, true)
		b, _ := playSeed(seed, true)
		if !slices.Equal(a.log, b.log) {
			t.Fatalf("seed %d gave two different runs", seed)
		}
	}
}

// What is accepted is valid; what is not is named with its key.
func FuzzParse(f *testing.F) {
	f.Add("interval", "10 s", "max-concurrent-checkpoints", "2")
	f.Add("mode", "AT_LEAST_ONCE", "unaligned.enabled", "true")
	f.Add("interval-during-backlog", "0", "tolerable-failed-checkpoints", "2147483647")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		set := map[string]string{prefix + k1: v1, prefix + k2: v2}
		was := maps.Clone(set)
		c, _, err := Parse(set)
		if !maps.Equal(set, was) {
			t.Fatalf("Parse changed %v to %v", was, set)
		}
		if err != nil {
			if !strings.Contains(err.Error(), prefix+k1) && !strings.Contains(err.Error(), prefix+k2) {
				t.Fatalf("%v: %v", set, err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("%v is accepted but %v", set, err)
		}
	})
}
