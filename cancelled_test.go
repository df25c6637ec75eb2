package millrace_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/millrace/millrace"
)

// cancelledSink returns errors of a cancellation that is none of the job's.
type cancelledSink struct{ open, write, flush error }

func (s cancelledSink) OpenWriter(context.Context, millrace.Subtask) (millrace.Writer[int64], error) {
	return s, s.open
}
func (s cancelledSink) Write(context.Context, []int64) error { return s.write }
func (s cancelledSink) Flush(context.Context) error          { return s.flush }
func (s cancelledSink) Close() error                         { return nil }

// An error that wraps a cancellation, such as of a client's own request, ends
// the job like any other.
func TestErrorsOfOtherCancellationsEndTheJob(t *testing.T) {
	cancelled := fmt.Errorf("post batch: %w", context.Canceled)
	for name, s := range map[string]cancelledSink{"open": {open: cancelled}, "write": {write: cancelled}, "flush": {flush: cancelled}} {
		for _, p := range []int{1, 4} {
			err := millrace.RunWith(t.Context(), "post", millrace.RunOptions{Parallelism: p}, func(job *millrace.Job) {
				job.From("numbers", numbers{n: 10000}).Rebalance().To("out", s)
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s, parallelism %d: %v", name, p, err)
			}
		}
	}
}
