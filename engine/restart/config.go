package restart

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/millrace/millrace/engine/checkpoint/setting"
)

// Kind is a way to decide about restarts.
type Kind uint8

const (
	// None never restarts.
	None Kind = iota
	// FixedDelay restarts a number of times, always after the same delay.
	FixedDelay
	// FailureRate restarts unless failures come too close together.
	FailureRate
	// ExponentialDelay restarts after a delay that grows with every restart
	// until the job has run well for a time.
	ExponentialDelay
)

var kindNames = [...]string{"none", "fixed-delay", "failure-rate", "exponential-delay"}

// String returns the kind as settings name it.
func (k Kind) String() string { return kindNames[k] }

// Policy is what to do about a record that makes a task fail again and again.
type Policy uint8

const (
	// Restart leaves it to the strategy, like any other failure.
	Restart Policy = iota
	// FailJob ends the job.
	FailJob
	// Skip leaves the record out and puts it with its error where bad records
	// go.
	Skip
	// PauseKey leaves out all records of its key, likewise.
	PauseKey
)

var policyNames = []string{"restart", "fail", "skip", "pause-key"}

// String returns the policy as settings name it.
func (p Policy) String() string { return policyNames[p] }

// Config says how failures are answered. [Default] is what holds where nothing
// is set, [Parse] reads it from settings.
type Config struct {
	Kind Kind

	// Attempts of FixedDelay.
	Attempts int
	// Delay of FixedDelay and FailureRate before a restart.
	Delay time.Duration

	// MaxFailures in Interval are restarted by FailureRate; one more fails the
	// job.
	MaxFailures int
	Interval    time.Duration

	// Initial delay of ExponentialDelay, multiplied by Multiplier with each
	// restart up to Max, more or less by the share Jitter, and Initial again
	// after ResetAfter without failure.
	Initial, Max time.Duration
	Multiplier   float64
	Jitter       float64
	ResetAfter   time.Duration
	// AttemptsBeforeReset of ExponentialDelay; 0 sets no limit.
	AttemptsBeforeReset int

	// Full restarts all tasks after every failure, not only their region.
	Full bool

	// Poison says what to do about a record at which tasks have failed
	// PoisonFailures times. A function that asks another system fails at the
	// same record for as long as that one is down: give it retries before
	// anything but Restart.
	Poison         Policy
	PoisonFailures int
}

// Default returns what holds where nothing is set: exponential delay if the job
// takes periodic checkpoints, else no restarts, for they would lose its state.
func Default(checkpointing bool) Config {
	c := Config{
		Attempts: 1, Delay: time.Second,
		MaxFailures: 1, Interval: time.Minute,
		Initial: time.Second, Max: time.Minute, Multiplier: 1.5, Jitter: 0.1, ResetAfter: time.Hour,
		PoisonFailures: 3,
	}
	if checkpointing {
		c.Kind = ExponentialDelay
	}
	return c
}

// kinds are the names of each kind that Flink accepts.
var kinds = []string{"none", "off", "disable", "fixed-delay", "fixeddelay", "failure-rate", "failurerate", "exponential-delay", "exponentialdelay"}

const (
	prefix      = "restart-strategy."
	fixed       = prefix + "fixed-delay."
	rate        = prefix + "failure-rate."
	exponential = prefix + "exponential-delay."

	most = 365 * 24 * time.Hour
)

// Parse reads a configuration from settings by Flink's keys. checkpointing says
// whether the job takes periodic checkpoints. Keys under restart-strategy that
// do not exist are errors; others are not looked at. The error names every
// problem with its key, value and range.
func Parse(settings map[string]string, checkpointing bool) (c Config, notes []string, err error) {
	r := setting.Read(settings)
	c = Default(checkpointing)
	if key := prefix + "type"; r.Has(key, "restart-strategy") {
		switch i := r.Choice(key, 0, kinds, "restart-strategy"); {
		case i < 3:
			c.Kind = None
		case i < 5:
			c.Kind = FixedDelay
		case i < 7:
			c.Kind = FailureRate
		default:
			c.Kind = ExponentialDelay
		}
	}
	c.Attempts = r.Int(fixed+"attempts", c.Attempts, 0, math.MaxInt32)
	fixedDelay := r.Duration(fixed+"delay", c.Delay, 0, most)
	c.MaxFailures = r.Int(rate+"max-failures-per-interval", c.MaxFailures, 1, 1_000_000)
	c.Interval = r.Duration(rate+"failure-rate-interval", c.Interval, 0, most)
	rateDelay := r.Duration(rate+"delay", c.Delay, 0, most)
	if c.Delay = fixedDelay; c.Kind == FailureRate {
		c.Delay = rateDelay
	}
	c.Initial = r.Duration(exponential+"initial-backoff", c.Initial, time.Millisecond, most)
	c.Max = r.Duration(exponential+"max-backoff", c.Max, time.Millisecond, most)
	c.Multiplier = r.Float(exponential+"backoff-multiplier", c.Multiplier, 1, math.Inf(1))
	c.Jitter = r.Float(exponential+"jitter-factor", c.Jitter, 0, 1)
	c.ResetAfter = r.Duration(exponential+"reset-backoff-threshold", c.ResetAfter, time.Millisecond, most)
	if key := exponential + "attempts-before-reset-backoff"; r.String(key, "infinite") != "infinite" {
		c.AttemptsBeforeReset = r.Int(key, 0, 1, math.MaxInt32)
	}
	if c.Max < c.Initial {
		r.Fail(exponential+"max-backoff", "less than initial-backoff, which is %v", c.Initial)
	}
	c.Full = r.Choice("jobmanager.execution.failover-strategy", 0, []string{"region", "full"}) == 1
	c.Poison = Policy(r.Choice(prefix+"poison-record.policy", int(c.Poison), policyNames))
	c.PoisonFailures = r.Int(prefix+"poison-record.failures", c.PoisonFailures, 2, math.MaxInt32)
	r.Unknown(prefix)
	return c, r.Notes(), r.Err()
}

// Validate reports every field that is out of its range, or nil.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("restart.Config: "+format, args...))
		}
	}
	check(int(c.Kind) < len(kindNames), "Kind %d is unknown", uint8(c.Kind))
	check(int(c.Poison) < len(policyNames), "Poison %d is unknown", uint8(c.Poison))
	check(c.PoisonFailures >= 2 || c.Poison == Restart, "PoisonFailures %d is not 2 or more", c.PoisonFailures)
	check(c.Delay >= 0, "Delay %v is negative", c.Delay)
	switch c.Kind {
	case FixedDelay:
		check(c.Attempts >= 0, "Attempts %d is negative", c.Attempts)
	case FailureRate:
		check(c.MaxFailures >= 1, "MaxFailures %d is not 1 or more", c.MaxFailures)
		check(c.Interval >= 0, "Interval %v is negative", c.Interval)
	case ExponentialDelay:
		check(c.Initial > 0, "Initial %v is not positive", c.Initial)
		check(c.Max >= c.Initial, "Max %v is less than Initial, which is %v", c.Max, c.Initial)
		check(c.Multiplier >= 1, "Multiplier %v is not 1 or more", c.Multiplier)
		check(c.Jitter >= 0 && c.Jitter <= 1, "Jitter %v is not in 0..1", c.Jitter)
		check(c.ResetAfter > 0, "ResetAfter %v is not positive", c.ResetAfter)
		check(c.AttemptsBeforeReset >= 0, "AttemptsBeforeReset %d is negative", c.AttemptsBeforeReset)
	}
	return errors.Join(errs...)
}
