package restart

import (
	"strings"
	"testing"
	"time"
)

func TestSettingsAreReadByFlinksKeys(t *testing.T) {
	for _, tt := range []struct {
		name          string
		set           map[string]string
		checkpointing bool
		want          func(*Config)
	}{
		{"nothing", nil, false, func(*Config) {}},
		{"nothing, with checkpoints", nil, true, func(c *Config) { c.Kind = ExponentialDelay }},
		{"off", map[string]string{"restart-strategy.type": "off"}, true, func(c *Config) { c.Kind = None }},
		{"disable", map[string]string{"restart-strategy.type": "disable"}, true, func(c *Config) { c.Kind = None }},
		{"old name", map[string]string{"restart-strategy": "fixeddelay"}, true, func(c *Config) { c.Kind = FixedDelay }},
		{"fixed delay", map[string]string{
			"restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "7", "restart-strategy.fixed-delay.delay": "3 s",
			"restart-strategy.failure-rate.delay": "9 s",
		}, true, func(c *Config) { c.Kind, c.Attempts, c.Delay = FixedDelay, 7, 3*time.Second }},
		{"failure rate", map[string]string{
			"restart-strategy.type": "failure-rate", "restart-strategy.failure-rate.max-failures-per-interval": "4",
			"restart-strategy.failure-rate.failure-rate-interval": "5 min", "restart-strategy.failure-rate.delay": "9 s",
		}, false, func(c *Config) {
			c.Kind, c.MaxFailures, c.Interval, c.Delay = FailureRate, 4, 5*time.Minute, 9*time.Second
		}},
		{"exponential delay", map[string]string{
			"restart-strategy.type": "exponential-delay", "restart-strategy.exponential-delay.initial-backoff": "100 ms",
			"restart-strategy.exponential-delay.max-backoff": "5 min", "restart-strategy.exponential-delay.backoff-multiplier": "2",
			"restart-strategy.exponential-delay.reset-backoff-threshold": "10 min", "restart-strategy.exponential-delay.jitter-factor": "0",
			"restart-strategy.exponential-delay.attempts-before-reset-backoff": "8",
		}, false, func(c *Config) {
			c.Kind, c.Initial, c.Max, c.Multiplier = ExponentialDelay, 100*time.Millisecond, 5*time.Minute, 2
			c.ResetAfter, c.Jitter, c.AttemptsBeforeReset = 10*time.Minute, 0, 8
		}},
		{"no limit", map[string]string{"restart-strategy.exponential-delay.attempts-before-reset-backoff": "infinite"}, false, func(*Config) {}},
		{"all tasks", map[string]string{"jobmanager.execution.failover-strategy": "full"}, false, func(c *Config) { c.Full = true }},
		{"poison", map[string]string{"restart-strategy.poison-record.policy": "pause-key", "restart-strategy.poison-record.failures": "2"}, false, func(c *Config) { c.Poison, c.PoisonFailures = PauseKey, 2 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := Default(tt.checkpointing)
			want.Kind = Default(tt.checkpointing).Kind
			tt.want(&want)
			got, _, err := Parse(tt.set, tt.checkpointing)
			if err != nil || got != want {
				t.Errorf("Parse(%v) = %+v, %v\nwant %+v", tt.set, got, err, want)
			}
			if err := got.Validate(); err != nil {
				t.Errorf("what was parsed is not valid: %v", err)
			}
		})
	}
}

func TestEveryWrongSettingIsNamed(t *testing.T) {
	_, _, err := Parse(map[string]string{
		"restart-strategy.type":                                            "sometimes",
		"restart-strategy.fixed-delay.attempts":                            "-1",
		"restart-strategy.exponential-delay.initial-backoff":               "10 s",
		"restart-strategy.exponential-delay.max-backoff":                   "5 s",
		"restart-strategy.exponential-delay.jitter-factor":                 "1.5",
		"restart-strategy.exponential-delay.attempts-before-reset-backoff": "many",
		"restart-strategy.fixed-delay.atempts":                             "1",
	}, true)
	want := `restart-strategy.type: "sometimes": not one of none, off, disable, fixed-delay, fixeddelay, failure-rate, failurerate, exponential-delay, exponentialdelay
restart-strategy.fixed-delay.attempts: "-1": not in 0..2147483647
restart-strategy.exponential-delay.jitter-factor: "1.5": not in 0..1
restart-strategy.exponential-delay.attempts-before-reset-backoff: "many": not a whole number in 1..2147483647
restart-strategy.exponential-delay.max-backoff: "5 s": less than initial-backoff, which is 10s
restart-strategy.fixed-delay.atempts: "1": no such key; did you mean restart-strategy.fixed-delay.attempts?`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestConfigsThatCannotWorkAreRefused(t *testing.T) {
	for _, tt := range []struct {
		field string
		c     Config
	}{
		{"Kind", Config{Kind: 9}},
		{"Poison", Config{Poison: 9, PoisonFailures: 2}},
		{"PoisonFailures", Config{Poison: Skip}},
		{"Attempts", Config{Kind: FixedDelay, Attempts: -1}},
		{"Delay", Config{Kind: FixedDelay, Delay: -1}},
		{"MaxFailures", Config{Kind: FailureRate}},
		{"Interval", Config{Kind: FailureRate, MaxFailures: 1, Interval: -1}},
		{"Max", Config{Kind: ExponentialDelay, Initial: 2, Max: 1, Multiplier: 1, ResetAfter: 1}},
		{"Multiplier", Config{Kind: ExponentialDelay, Initial: 1, Max: 1, ResetAfter: 1}},
	} {
		if err := tt.c.Validate(); err == nil || !strings.Contains(err.Error(), "Config: "+tt.field+" ") {
			t.Errorf("%+v: %v says nothing about %s", tt.c, err, tt.field)
		}
	}
}

// What is accepted is valid and can be run; what is not is named with its key.
func FuzzParse(f *testing.F) {
	f.Add("type", "fixed-delay", "fixed-delay.attempts", "3")
	f.Add("type", "exponential-delay", "exponential-delay.backoff-multiplier", "NaN")
	f.Add("exponential-delay.initial-backoff", "1 d", "exponential-delay.max-backoff", "1 s")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		set := map[string]string{prefix + k1: v1, prefix + k2: v2}
		c, _, err := Parse(set, true)
		if err != nil {
			if !strings.Contains(err.Error(), "restart-strategy") {
				t.Fatalf("%v: %v", set, err)
			}
			return
		}
		s := New(c, nil)
		now := epoch
		for range 5 {
			d := s.Failed(now, broken)
			if d.Err == nil && d.At.Before(now) {
				t.Fatalf("%v: restart at %v after a failure at %v", set, d.At, now)
			}
			now = now.Add(time.Minute)
		}
	})
}
