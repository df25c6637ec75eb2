// Package restart decides what follows a failure: whether the job is restarted
// or fails, when, which of its tasks are, and whether one record is to blame.
// It cancels and starts nothing, and does not know what tasks are restored
// from: package checkpoint decides that.
//
// The strategies, their settings and defaults are Apache Flink's, described in
// its documentation under "Task Failure Recovery". All three machines here are
// pure: they are told what happened and when, and answer.
//
//   - A [Strategy] says whether and when to restart.
//   - [Regions] say which tasks: those connected with a failed one by edges on
//     which records flow while both ends run.
//   - [Suspects] recognise the record that makes a task fail again and again.
package restart

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// A Failure is the loss of a task, or of the whole job.
type Failure struct {
	Cause error
	// Unrecoverable failures are not restarted, whatever the strategy: the
	// next attempt would fail in the same way.
	Unrecoverable bool
}

// A Decision is what to do after a failure.
type Decision struct {
	// At is when the tasks start again; zero if Err is set.
	At time.Time
	// Restarts so far, with this one, since the strategy last began to count.
	Restarts int
	// Merged says that a restart was already on its way, which takes care of
	// this failure too.
	Merged bool
	// Err says why the job fails for good, and wraps the cause; nil if it is
	// restarted.
	Err error
}

// A Strategy decides whether and when a job is restarted. It is owned by the
// job's driver and not safe for concurrent use.
//
// Failures up to the time of a restart that has been decided belong to it: the
// tasks of a job tend to fail together. Flink does so for the exponential delay
// only; with the others, two tasks that one broken connection takes down would
// cost two attempts.
type Strategy struct {
	cfg Config
	rng *rand.Rand

	next     time.Time   // of the last restart decided; zero if there was none
	restarts int         // counted against a limit, or in the exponent
	recent   []time.Time // failures, the last MaxFailures of them
}

// New returns a strategy. rng is used for the jitter of [ExponentialDelay]; nil
// makes none. New panics if c is not valid.
func New(c Config, rng *rand.Rand) *Strategy {
	if err := c.Validate(); err != nil {
		panic(err)
	}
	return &Strategy{cfg: c, rng: rng}
}

// Failed decides about a failure that happened at now, which never goes back.
func (s *Strategy) Failed(now time.Time, f Failure) Decision {
	switch {
	case f.Unrecoverable:
		return s.giveUp(f, "a restart would not help")
	case s.cfg.Kind == None:
		return s.giveUp(f, "the restart strategy is none")
	case !s.next.IsZero() && !now.After(s.next):
		return Decision{At: s.next, Restarts: s.restarts, Merged: true}
	case s.cfg.Kind == FixedDelay:
		if s.restarts >= s.cfg.Attempts {
			return s.giveUp(f, fmt.Sprintf("restarted %d times, as often as allowed", s.restarts))
		}
		return s.restart(now, s.cfg.Delay)
	case s.cfg.Kind == FailureRate:
		return s.byRate(now, f)
	default:
		return s.exponential(now, f)
	}
}

func (s *Strategy) giveUp(f Failure, why string) Decision {
	return Decision{Restarts: s.restarts, Err: fmt.Errorf("not restarted: %s: %w", why, f.Cause)}
}

func (s *Strategy) restart(now time.Time, delay time.Duration) Decision {
	s.restarts++
	s.next = now.Add(delay)
	return Decision{At: s.next, Restarts: s.restarts}
}

func (s *Strategy) byRate(now time.Time, f Failure) Decision {
	if len(s.recent) == s.cfg.MaxFailures {
		if now.Sub(s.recent[0]) <= s.cfg.Interval {
			return s.giveUp(f, fmt.Sprintf("more than %d failures in %v", s.cfg.MaxFailures, s.cfg.Interval))
		}
		s.recent = append(s.recent[:0], s.recent[1:]...)
	}
	s.recent = append(s.recent, now)
	return s.restart(now, s.cfg.Delay)
}

func (s *Strategy) exponential(now time.Time, f Failure) Decision {
	if !s.next.IsZero() && now.Sub(s.next) >= s.cfg.ResetAfter {
		s.restarts = 0
	}
	if s.cfg.AttemptsBeforeReset > 0 && s.restarts >= s.cfg.AttemptsBeforeReset {
		return s.giveUp(f, fmt.Sprintf("restarted %d times without %v of rest in between", s.restarts, s.cfg.ResetAfter))
	}
	v := float64(s.cfg.Initial) * math.Pow(s.cfg.Multiplier, float64(s.restarts))
	if v = min(v, math.MaxInt64/4); s.rng != nil && s.cfg.Jitter > 0 {
		v += v * s.cfg.Jitter * (2*s.rng.Float64() - 1)
	}
	return s.restart(now, max(s.cfg.Initial, min(time.Duration(v), s.cfg.Max)))
}
