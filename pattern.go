package millrace

import (
	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/runtime/pattern"
)

// Pattern describes a sequence of events of type T, stage by stage; [Begin]
// starts one. A pattern is a value: every method returns a new one. What is
// wrong with it is found when the job that uses it is started.
//
//	millrace.Begin("fail", func(l Login) bool { return !l.OK }).Times(3).
//		Next("in", func(l Login) bool { return l.OK }).
//		Within(5 * time.Minute)
type Pattern[T any] = pattern.Pattern[T]

// Match holds the events of one match, by the name of the stage that took them.
type Match[T any] = pattern.Match[T]

// Matched gives a condition the events that a partial match has taken so far.
type Matched[T any] = pattern.Matched[T]

// Timeout is a partial match that ran out of time while it waited for more.
type Timeout[T any] = pattern.Timeout[T]

// Skip says which other matches are given up when a match is found.
type Skip = pattern.Skip

// Begin starts a pattern with a stage that takes an event for which is returns
// true. A nil condition takes any event.
func Begin[T any](stage string, is func(T) bool) Pattern[T] { return pattern.Begin(stage, is) }

// BeginGroup starts a pattern with another pattern as a group, to which
// quantifiers then apply as a whole.
func BeginGroup[T any](group Pattern[T]) Pattern[T] { return pattern.BeginGroup(group) }

// NoSkip finds every match. It is the default.
func NoSkip() Skip { return pattern.NoSkip() }

// SkipToNext gives up all matches that started with the same event as the match.
func SkipToNext() Skip { return pattern.SkipToNext() }

// SkipPastLastEvent gives up all matches that started up to the last event of
// the match.
func SkipPastLastEvent() Skip { return pattern.SkipPastLastEvent() }

// SkipToFirst gives up all matches that started before the match's first event
// of the stage.
func SkipToFirst(stage string) Skip { return pattern.SkipToFirst(stage) }

// SkipToLast gives up all matches that started before the match's last event of
// the stage.
func SkipToLast(stage string) Skip { return pattern.SkipToLast(stage) }

// Detect sends f of every match of p in the records of a key, which it takes in
// the order of their event times. A match has the event time of what completed
// it. Late records are dropped; see [KeyedStream.DetectAll]. Partial matches and
// the records that wait are kept in checkpoints under id.
func (k KeyedStream[K, T]) Detect[Out any](id string, p Pattern[T], f func(K, Match[T]) Out) Stream[Out] {
	return Stream[Out]{job: k.s.job, node: addDetect[K, T, Out, struct{}](k, id, p, f, nil).node}
}

// DetectTimeouts is [KeyedStream.Detect] that also sends timedOut of every
// partial match that runs out of the time given by [Pattern.Within], on the
// second stream and with the time at which it does. At the end of the input all
// that have a limit run out of time.
func (k KeyedStream[K, T]) DetectTimeouts[Out, Timed any](id string, p Pattern[T], f func(K, Match[T]) Out, timedOut func(K, Timeout[T]) Timed) (Stream[Out], Stream[Timed]) {
	n := addDetect(k, id, p, f, timedOut)
	return Stream[Out]{job: k.s.job, node: n.node}, Stream[Timed]{job: k.s.job, node: n.node, port: 1}
}

// DetectAll is [KeyedStream.DetectTimeouts] with the records on the third stream
// that come when event time has passed them already.
func (k KeyedStream[K, T]) DetectAll[Out, Timed any](id string, p Pattern[T], f func(K, Match[T]) Out, timedOut func(K, Timeout[T]) Timed) (matches Stream[Out], timeouts Stream[Timed], late Stream[T]) {
	n := addDetect(k, id, p, f, timedOut)
	return Stream[Out]{job: k.s.job, node: n.node}, Stream[Timed]{job: k.s.job, node: n.node, port: 1}, Stream[T]{job: k.s.job, node: n.node, port: 2}
}

// addDetect adds the operator.
func addDetect[K comparable, T, Out, Timed any](k KeyedStream[K, T], id string, p Pattern[T], f func(K, Match[T]) Out, timedOut func(K, Timeout[T]) Timed) Stream[Out] {
	job := k.s.job
	if err := p.Validate(); err != nil {
		job.g.Fail(caller(), "detect %s: %w", id, err)
	}
	stores[T](job, "detect "+id+": records that wait or are part of a match")
	n := k.then(id, func() operator.Operator {
		return &operator.Detect[K, T, Out, Timed]{Pattern: p, OnMatch: f, OnTimeout: timedOut}
	})
	return Stream[Out]{job: job, node: n}
}
