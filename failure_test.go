package millrace_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/engine/streamtest"
)

// brittle is a source and a sink that does what a test wants in each of its
// methods.
type brittle struct {
	at    string // the method that fails
	how   func() error
	block bool
}

func (b brittle) call(method string) error {
	if b.at == method {
		return b.how()
	}
	return nil
}

func (b brittle) Bounded() bool { return b.call("Bounded") == nil }

func (b brittle) Splits(context.Context, int) ([]millrace.Split, error) {
	return []millrace.Split{{ID: "one"}, {ID: "two"}}, b.call("Splits")
}

func (b brittle) Open(context.Context, millrace.Split, millrace.Position) (millrace.Reader[int64], error) {
	if b.block {
		return &brittleReader{brittle: b}, b.call("Open")
	}
	return &inlineBrittle{brittleReader{brittle: b}}, b.call("Open")
}

func (b brittle) OpenWriter(context.Context, millrace.Subtask) (millrace.Writer[int64], error) {
	return brittleWriter{b}, b.call("OpenWriter")
}

type brittleReader struct {
	brittle
	read bool
}

type inlineBrittle struct{ brittleReader }

func (*inlineBrittle) ReadsInline() {}

func (r *brittleReader) Read(_ context.Context, out *millrace.Rows[int64]) error {
	if r.read {
		return io.EOF
	}
	r.read = true
	for i := range int64(10) {
		out.AppendAt(i, i)
	}
	return r.call("Read")
}

func (r *brittleReader) Position() millrace.Position {
	r.call("Position")
	return nil
}
func (r *brittleReader) Close() error { return r.call("Reader.Close") }

type brittleWriter struct{ brittle }

func (w brittleWriter) Write(context.Context, []int64) error { return w.call("Write") }
func (w brittleWriter) Flush(context.Context) error          { return w.call("Flush") }
func (w brittleWriter) Close() error                         { return w.call("Writer.Close") }

func TestPanicOfAConnectorEndsItsJobOnly(t *testing.T) {
	streamtest.NoLeaks(t)
	for _, tt := range []struct {
		at   string
		want string
	}{
		{"Splits", "operator in: list splits: "},
		{"Bounded", "operator in: list splits: "},
		{"Open", "operator in: open split one: "},
		{"Read", "operator in: read split one: "},
		{"Position", "operator in: read split one: "},
		{"Reader.Close", "operator in: close split one: "},
		{"OpenWriter", "operator out: open writer: "},
		{"Write", "operator out: write from record 1 (event time 1970-01-01T00:00:00Z)"},
		{"Flush", "operator out: flush: "},
		{"Writer.Close", "operator out: close writer: "},
	} {
		t.Run(tt.at, func(t *testing.T) {
			other := make(chan error)
			var got collect[int64]
			go func() {
				other <- millrace.Run(t.Context(), "other", func(job *millrace.Job) {
					job.From("numbers", numbers{n: 20000}).Rebalance().Map(func(i int64) int64 { return i }).To("out", &got)
				})
			}()
			run := func(how func() error, block bool, opt millrace.RunOptions) string {
				t.Helper()
				b := brittle{at: tt.at, how: how, block: block}
				err := millrace.RunWith(t.Context(), "brittle", opt, func(job *millrace.Job) {
					job.From("in", b).To("out", b)
				})
				if err == nil {
					t.Fatal("no error")
				}
				return err.Error()
			}
			for _, opt := range []millrace.RunOptions{{Parallelism: 1}, {Parallelism: 1, NoChaining: true}, {Parallelism: 1, Seed: new(uint64)}} {
				for _, block := range []bool{false, true} {
					if tt.at == "Position" && (!block || opt.Seed != nil) {
						continue // is asked for by what reads ahead only
					}
					msg := run(func() error { panic("torn apart") }, block, opt)
					if !strings.HasPrefix(msg, "job brittle: "+tt.want) || !strings.Contains(msg, "panic: torn apart") || !strings.Contains(msg, "failure_test.go:") {
						t.Errorf("got %s", msg)
					}
					if tt.at == "Bounded" || tt.at == "Position" {
						continue // have no error to return
					}
					msg = run(func() error { return errors.New("no disk") }, block, opt)
					if !strings.HasPrefix(msg, "job brittle: "+tt.want) || !strings.HasSuffix(msg, ": no disk") {
						t.Errorf("got %s", msg)
					}
				}
			}
			if err := <-other; err != nil || len(got.recs) != 20000 {
				t.Errorf("the other job: %v, %d records", err, len(got.recs))
			}
		})
	}
}

// closes counts readers that are open.
type closes struct {
	brittle
	open *int
}

func (c closes) Open(ctx context.Context, s millrace.Split, at millrace.Position) (millrace.Reader[int64], error) {
	*c.open++
	r, err := c.brittle.Open(ctx, s, at)
	return closesReader{r, c.open}, err
}

func (closes) Bounded() bool { return false }

type closesReader struct {
	millrace.Reader[int64]
	open *int
}

func (closesReader) ReadsInline() {}
func (r closesReader) Close() error {
	*r.open--
	return r.Reader.Close()
}

func TestPanicOfOneReaderLeavesNoOtherOpen(t *testing.T) {
	open := 0
	src := closes{brittle{at: "Reader.Close", how: func() error { panic("torn apart") }}, &open}
	err := millrace.RunWith(t.Context(), "brittle", millrace.RunOptions{Parallelism: 1, Seed: new(uint64)}, func(job *millrace.Job) {
		job.From("in", src).Map(func(i int64) int64 { return 1 / (i - 3) }).To("out", discard[int64]{})
	})
	if err == nil || !strings.Contains(err.Error(), "divide by zero") || strings.Count(err.Error(), "panic: torn apart") != 2 || open != 0 {
		t.Errorf("%d readers are open; got %v", open, err)
	}
}

func TestPanicNamesTheFunctionThatPanicked(t *testing.T) {
	at := func(want int64) func(int64) {
		return func(i int64) {
			if i == want {
				panic("torn apart")
			}
		}
	}
	sum := func(op *millrace.Op[int64, int64, int64]) {
		op.OnRecord(func(i int64) error { op.Emit(i); return nil })
	}
	zero := func(int64) int64 { return 0 }
	for _, tt := range []struct {
		name  string
		build func(s millrace.Stream[int64]) millrace.Stream[int64]
		want  string
	}{
		{"key", func(s millrace.Stream[int64]) millrace.Stream[int64] {
			return s.KeyBy(func(i int64) int64 { at(300)(i); return 0 }).Process("sum", sum)
		}, "operator sum: key of record 301 (event time 1970-01-01T00:00:00.3Z)"},
		{"key by reference", func(s millrace.Stream[int64]) millrace.Stream[int64] {
			return s.KeyByRef(func(i *int64) int64 { at(300)(*i); return 0 }).Process("sum", sum)
		}, "operator sum: key of record 301 (event time 1970-01-01T00:00:00.3Z)"},
		{"partitioner", func(s millrace.Stream[int64]) millrace.Stream[int64] {
			return s.PartitionCustom(func(i int64, n int) int { at(300)(i); return 0 }).Map(func(i int64) int64 { return i }).Named("next")
		}, "operator next (failure_test.go:"},
		{"partitioner, record", func(s millrace.Stream[int64]) millrace.Stream[int64] {
			return s.PartitionCustom(func(i int64, n int) int { at(300)(i); return 0 }).Map(func(i int64) int64 { return i }).Named("next")
		}, "): target of record 301 (event time 1970-01-01T00:00:00.3Z)"},
		{"event time", func(s millrace.Stream[int64]) millrace.Stream[int64] {
			return s.EventTime(func(i int64) time.Time { at(300)(i); return time.UnixMilli(i) }, 0)
		}, "operator in: record 301 (event time 1970-01-01T00:00:00.3Z) of split 0: panic"},
		{"event time in the middle", func(s millrace.Stream[int64]) millrace.Stream[int64] {
			return s.Map(func(i int64) int64 { return i }).EventTimeMillis(func(i *int64) int64 { at(300)(*i); return *i }, 0)
		}, "): record 301 (event time 1970-01-01T00:00:00.3Z)"},
		{"watermark generator", func(s millrace.Stream[int64]) millrace.Stream[int64] {
			return s.Timestamps(millrace.Timestamps[int64]{Generator: func() millrace.WatermarkGenerator[int64] { return generator(at(300)) }})
		}, "operator in: record 301 (event time 1970-01-01T00:00:00.3Z) of split 0: panic"},
		{"window function after a flush", func(s millrace.Stream[int64]) millrace.Stream[int64] {
			return s.KeyBy(zero).Window(millrace.Tumbling(time.Hour)).
				Apply("each", func(_ int64, _ millrace.Window, recs iter.Seq[int64], emit func(int64)) {
					for r := range recs {
						emit(r)
						at(700)(r)
					}
				}).Map(func(i int64) int64 { return i })
		}, "operator each: as event time moved: panic"},
		{"timer", func(s millrace.Stream[int64]) millrace.Stream[int64] {
			return s.KeyBy(zero).Process("alarm", func(op *millrace.Op[int64, int64, int64]) {
				op.OnRecord(func(i int64) error { op.SetTimer(op.Time()); return nil })
				op.OnTimer(func(t time.Time) error { at(700)(t.UnixMilli()); op.Emit(0); return nil })
			})
		}, "operator alarm: as event time moved: panic: timer at 1970-01-01T00:00:00.7Z of key 0"},
		{"handler after a flush", func(s millrace.Stream[int64]) millrace.Stream[int64] {
			return s.KeyBy(zero).Process("many", func(op *millrace.Op[int64, int64, int64]) {
				op.OnRecord(func(i int64) error {
					for range 1000 {
						op.Emit(i)
					}
					at(7)(i)
					return nil
				})
			}).Map(func(i int64) int64 { return i })
		}, "operator many: record 8 (event time 1970-01-01T00:00:00.007Z)"},
		{"reader of what a handler flushed", func(s millrace.Stream[int64]) millrace.Stream[int64] {
			return s.KeyBy(zero).Process("many", func(op *millrace.Op[int64, int64, int64]) {
				op.OnRecord(func(i int64) error {
					for j := range int64(1000) {
						op.Emit(j)
					}
					return nil
				})
			}).Map(func(i int64) int64 { at(300)(i); return i }).Named("next")
		}, "operator next (failure_test.go:"},
		{"end of input", func(s millrace.Stream[int64]) millrace.Stream[int64] {
			return s.Process("", func(op *millrace.PlainOp[int64, int64]) {
				op.OnRecord(func(int64) error { return nil })
				op.OnFinish(func() error { panic("torn apart") })
			})
		}, "): OnFinish: panic"},
		{"close", func(s millrace.Stream[int64]) millrace.Stream[int64] {
			return s.Process("", func(op *millrace.PlainOp[int64, int64]) {
				op.OnRecord(func(int64) error { return nil })
				op.OnClose(func() error { panic("torn apart") })
			})
		}, "): OnClose: panic"},
		{"setup", func(s millrace.Stream[int64]) millrace.Stream[int64] {
			return s.Process("", func(op *millrace.PlainOp[int64, int64]) { panic("torn apart") })
		}, "): setup: panic"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, opt := range []millrace.RunOptions{{Parallelism: 1}, {Parallelism: 1, NoChaining: true}, {Parallelism: 1, Seed: new(uint64)}} {
				err := millrace.RunWith(t.Context(), "failing", opt, func(job *millrace.Job) {
					tt.build(job.From("in", numbers{n: 1000})).To("out", discard[int64]{})
				})
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "torn apart") || !strings.Contains(err.Error(), "failure_test.go:") {
					t.Errorf("got %v, want %q", err, tt.want)
				}
			}
		})
	}
}

// generator makes no watermarks and calls a function for every record.
type generator func(int64)

func (g generator) OnEvent(i *int64, _ int64) int64 { g(*i); return millrace.NoWatermark }
func (generator) OnPeriodic() int64                 { return millrace.NoWatermark }
