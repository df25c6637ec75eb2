package streamtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/engine/streamtest"
)

// timers sets and clears timers as its records say, and tells what fires.
func timers(op *millrace.Op[string, act, string]) {
	op.OnRecord(func(a act) error {
		t := at(int64(a.Key))
		switch a.Do {
		case "set":
			op.SetTimer(t)
		case "clear":
			op.ClearTimer(t)
		case "set clock":
			op.SetProcessingTimer(t)
		case "clear clock":
			op.ClearProcessingTimer(t)
		}
		return nil
	})
	op.OnTimer(func(at time.Time) error {
		if at != op.Time() {
			return fmt.Errorf("handler is told %v, record time is %v", at, op.Time())
		}
		op.Emit(fmt.Sprintf("%s %d", op.Key(), at.UnixMilli()))
		if at.UnixMilli()%10 == 7 {
			op.SetTimer(at.Add(time.Millisecond)) // due in the same turn
		}
		return nil
	})
	op.OnProcessingTimer(func(at time.Time) error {
		if op.TimeMillis() != millrace.NoTime {
			return errors.New("a processing-time timer has an event time")
		}
		op.Emit(fmt.Sprintf("%s clock %d", op.Key(), at.UnixMilli()))
		return nil
	})
}

// Timers fire once each, in order, for the key they were set for, as those of a
// plain set do; at the end those of event time fire, those of processing time
// do not.
func TestTimersFireAsAPlainSetDoes(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 2))
		s := streamtest.NewStep(t, timers)
		set, clock := map[string]bool{}, map[string]bool{}
		now, wall := 0, 0
		fire := func(of map[string]bool, form string, to int, twin bool) (want []string) {
			for ms := 0; ms <= to; ms++ {
				for k := range 3 {
					id := fmt.Sprintf("k%d "+form, k, ms)
					if of[id] {
						delete(of, id)
						want = append(want, id)
						if twin && ms%10 == 7 {
							of[fmt.Sprintf("k%d "+form, k, ms+1)] = true
							if ms == to {
								continue
							}
						}
					}
				}
			}
			return want
		}
		check := func(want []string) {
			t.Helper()
			got := s.Output()
			slices.Sort(want)
			inOrder := slices.IsSortedFunc(got, func(a, b string) int { return number(a) - number(b) })
			slices.Sort(got)
			if !slices.Equal(got, want) || !inOrder {
				t.Fatalf("seed %d: fired %v (in order: %t), want %v", seed, got, inOrder, want)
			}
		}
		for range 150 {
			a := act{Do: []string{"set", "set", "clear", "set clock", "set clock", "clear clock"}[rng.IntN(6)], Key: rng.IntN(100)}
			if strings.Contains(a.Do, "clock") {
				a.Key += 1
			}
			k := fmt.Sprintf("k%d", rng.IntN(3))
			s.Send(k, at(0), a)
			switch a.Do {
			case "set":
				set[fmt.Sprintf("%s %d", k, a.Key)] = true
			case "clear":
				delete(set, fmt.Sprintf("%s %d", k, a.Key))
			case "set clock":
				clock[fmt.Sprintf("%s clock %d", k, a.Key)] = true
			case "clear clock":
				delete(clock, fmt.Sprintf("%s clock %d", k, a.Key))
			}
			switch rng.IntN(12) {
			case 0:
				now += 1 + rng.IntN(10)
				s.Watermark(at(int64(now)))
				check(fire(set, "%d", now, true))
			case 1:
				wall += 1 + rng.IntN(10)
				s.ProcessingTime(at(int64(wall)))
				check(fire(clock, "clock %d", wall, false))
			case 2:
				s.Rescale(1 + rng.IntN(4))
				s.Rescale(1)
			}
		}
		s.Finish()
		check(fire(set, "%d", 1000, true))
	}
}

func number(line string) (n int) {
	fmt.Sscan(line[strings.LastIndex(line, " ")+1:], &n)
	return n
}

var odd = millrace.NewSideOutput[int]("odd")

func TestSideOutputsAreReadByTheirTags(t *testing.T) {
	setup := func(op *millrace.PlainOp[int, string]) {
		side := op.SideOutput(odd)
		unread := op.SideOutput(millrace.NewSideOutput[string]("unread"))
		op.OnRecord(func(n int) error {
			unread.Emit("x")
			if n%2 == 1 {
				side.Emit(n)
			} else {
				op.Emit(fmt.Sprint(n))
			}
			return nil
		})
	}
	s := streamtest.NewPlainStep(t, setup)
	odds := s.SideOutput(odd)
	for i := range 6 {
		s.Send(at(0), i)
	}
	if got := s.Output(); !slices.Equal(got, []string{"0", "2", "4"}) {
		t.Errorf("main output %v", got)
	}
	if got := odds(); !slices.Equal(got, []int{1, 3, 5}) {
		t.Errorf("side output %v", got)
	}

	streamtest.NoLeaks(t)
	for _, chained := range []bool{true, false} {
		streamtest.Run(t, streamtest.RunOptions{Seeds: 5, Chained: chained}, func(job *millrace.Job) func() error {
			var main streamtest.Collect[string]
			var side streamtest.Collect[int]
			out := job.From("in", streamtest.Records(2, 0, 1, 2, 3, 4, 5)).Process("split", setup)
			out.To("main", &main)
			out.SideOutput(odd).To("side", &side)
			return func() error {
				if m, s := main.Sorted(), side.Sorted(); !slices.Equal(m, []string{"0", "2", "4"}) || !slices.Equal(s, []int{1, 3, 5}) {
					return fmt.Errorf("main %v, side %v", m, s)
				}
				return nil
			}
		})
	}
}

// Whatever the order in which the two sides come, every order meets its payment
// once.
func TestTwoInputsMeetInAThousandOrders(t *testing.T) {
	const n = 12
	var orders, payments []int
	for i := range n {
		orders, payments = append(orders, i), append(payments, n-1-i)
	}
	seeds := 1000
	if testing.Short() {
		seeds = 50
	}
	streamtest.Run(t, streamtest.RunOptions{Seeds: seeds}, func(job *millrace.Job) func() error {
		var out streamtest.Collect[string]
		left := job.From("orders", streamtest.Records(2, orders...)).KeyBy(func(i int) int { return i % 5 })
		right := job.From("payments", streamtest.Records(3, payments...)).KeyBy(func(i int) int { return i % 5 })
		left.Connect(right).Process("settle", func(op *millrace.Op2[int, int, int, string]) {
			open, paid := op.Map[int, bool]("open"), op.Map[int, bool]("paid")
			op.OnLeft(func(o int) error {
				if paid.Has(o) {
					paid.Delete(o)
					op.Emit(fmt.Sprintf("settled %02d", o))
				} else {
					open.Set(o, true)
				}
				return nil
			})
			op.OnRightRef(func(p *int) error {
				if open.Has(*p) {
					open.Delete(*p)
					op.Emit(fmt.Sprintf("settled %02d", *p))
				} else {
					paid.Set(*p, true)
				}
				return nil
			})
			op.OnLeftEnd(func() error { op.Emit("left ends"); return nil })
			op.OnRightEnd(func() error { op.Emit("right ends"); return nil })
		}).To("out", &out)
		return func() error {
			want := []string{"left ends", "left ends", "right ends", "right ends"}
			for i := range n {
				want = append(want, fmt.Sprintf("settled %02d", i))
			}
			slices.Sort(want)
			if got := out.Sorted(); !slices.Equal(got, want) {
				return fmt.Errorf("got %v", got)
			}
			return nil
		}
	})
}

func TestCoMapAndCoFlatMapSeeBothStreams(t *testing.T) {
	streamtest.Run(t, streamtest.RunOptions{}, func(job *millrace.Job) func() error {
		var mapped, flat streamtest.Collect[string]
		both := job.From("a", streamtest.Records(1, 1, 2)).Connect(job.From("b", streamtest.Records(1, "x", "y")))
		both.Map(func(i int) string { return fmt.Sprint(i) }, func(s string) string { return s }).To("mapped", &mapped)
		both.FlatMap(func(i int, emit func(string)) {
			for range i {
				emit(fmt.Sprint(i))
			}
		}, func(string, func(string)) {}).To("flat", &flat)
		return func() error {
			if m, f := mapped.Sorted(), flat.Sorted(); !slices.Equal(m, []string{"1", "2", "x", "y"}) || !slices.Equal(f, []string{"1", "2", "2"}) {
				return fmt.Errorf("mapped %v, flat %v", m, f)
			}
			return nil
		}
	})
}

type airport struct{ Code, Name string }

// A table that is read first is complete when the first record is handled, in
// every subtask and every order.
func TestATableThatIsReadFirstIsComplete(t *testing.T) {
	airports := []airport{{"AMS", "Schiphol"}, {"JFK", "old name"}, {"JFK", "Kennedy"}, {"ZRH", "Zurich"}}
	streamtest.Run(t, streamtest.RunOptions{Seeds: 200}, func(job *millrace.Job) func() error {
		var keyed, plain streamtest.Collect[string]
		names := job.From("airports", streamtest.Records(1, airports...)).
			BroadcastState("airports-by-code", func(a airport) string { return a.Code }).ReadFirst()
		codes := job.From("flights", streamtest.Records(2, "AMS", "JFK", "ZRH", "JFK"))
		codes.KeyBy(func(c string) string { return c }).With(names).
			Process("keyed", func(op *millrace.Op[string, string, string], table millrace.View[string, airport]) {
				op.OnRecord(func(c string) error {
					op.Emit(fmt.Sprint(table.Get(c).Name, table.Len()))
					return nil
				})
			}).To("keyed-out", &keyed)
		codes.With(names).Process("plain", func(op *millrace.PlainOp[string, string], table millrace.View[string, airport]) {
			op.OnRecord(func(c string) error {
				op.Emit(fmt.Sprint(table.Ref(c).Name, table.Len()))
				return nil
			})
		}).To("plain-out", &plain)
		return func() error {
			want := []string{"Kennedy3", "Kennedy3", "Schiphol3", "Zurich3"}
			if k, p := keyed.Sorted(), plain.Sorted(); !slices.Equal(k, want) || !slices.Equal(p, want) {
				return fmt.Errorf("keyed %v, plain %v", k, p)
			}
			return nil
		}
	})
}

// A broadcast handler changes its table and visits every key that has state,
// which others must not.
func TestBroadcastHandlersVisitEveryKey(t *testing.T) {
	streamtest.Run(t, streamtest.RunOptions{Seeds: 50}, func(job *millrace.Job) func() error {
		var out streamtest.Collect[string]
		job.From("in", streamtest.Records(2, "a", "b", "c", "a")).KeyBy(func(s string) string { return s }).
			ConnectBroadcast(job.From("ask", streamtest.Records(1, 1, 2))).
			Process("count", func(op *millrace.BroadcastOp[string, string, int, string]) {
				n := op.Value[int]("n")
				asked := op.Table[int, bool]("asked")
				op.OnRecord(func(string) error {
					*n.Ref()++
					return nil
				})
				op.OnBroadcast(func(q int) error {
					asked.Set(q, true)
					return op.ForEachKey(n, func(string) error {
						*n.Ref() += 10 * q
						return nil
					})
				})
				op.OnBroadcastEnd(func() error {
					op.Emit(fmt.Sprint("asked ", asked.Len()))
					return nil
				})
			}).To("out", &out)
		return func() error {
			if got := out.Sorted(); !slices.Equal(got, []string{"asked 2", "asked 2"}) {
				return fmt.Errorf("got %v", got)
			}
			return nil
		}
	})
}

func TestRollingAggregatesEmitForEveryRecord(t *testing.T) {
	recs := []act{{Do: "a", Key: 3, To: 1}, {Do: "b", Key: 5, To: 2}, {Do: "a", Key: 1, To: 3}, {Do: "a", Key: 4, To: 4}}
	streamtest.Run(t, streamtest.RunOptions{}, func(job *millrace.Job) func() error {
		var counts streamtest.Collect[millrace.KeyCount[string]]
		outs := map[string]*streamtest.Collect[act]{}
		k := job.From("in", streamtest.Records(1, recs...)).KeyBy(func(a act) string { return a.Do })
		k.Count("count").To("count-out", &counts)
		key := func(a *act) *int { return &a.Key }
		for name, s := range map[string]millrace.Stream[act]{
			"sum": k.Sum("sum", key), "min": k.Min("min", key), "max": k.Max("max", key),
			"min-by": k.MinBy("min-by", func(a act) int { return a.Key }), "max-by": k.MaxBy("max-by", func(a act) int { return a.Key }),
			"reduce": k.Reduce("reduce", func(a, b act) act { return act{a.Do, a.Key * b.Key, b.To, ""} }),
		} {
			outs[name] = &streamtest.Collect[act]{}
			s.To(name+"-out", outs[name])
		}
		return func() error {
			if got := fmt.Sprint(counts.Sorted()); got != "[{a 1} {a 2} {a 3} {b 1}]" {
				return fmt.Errorf("counts %v", got)
			}
			for name, want := range map[string]string{
				"sum": "3/1 4/1 8/1", "min": "3/1 1/1 1/1", "max": "3/1 3/1 4/1",
				"min-by": "3/1 1/3 1/3", "max-by": "3/1 3/1 4/4", "reduce": "3/1 3/3 12/4",
			} {
				var got []string
				for _, r := range outs[name].Records() {
					if r.Do == "a" {
						got = append(got, fmt.Sprintf("%d/%d", r.Key, r.To))
					}
				}
				if strings.Join(got, " ") != want {
					return fmt.Errorf("%s: got %v, want %s", name, got, want)
				}
			}
			return nil
		}
	})
}

// Operator lists are shared out anew when the parallelism changes, union lists
// go to everybody.
func TestOperatorListsAreSharedOutWhenRescaled(t *testing.T) {
	s := streamtest.NewPlainStep(t, func(op *millrace.PlainOp[int, string]) {
		mine, all := op.ListState[int]("mine"), op.UnionListState[int]("all")
		kept := []int{}
		op.OnRestore(func() error {
			kept = slices.Clone(mine.Values())
			return nil
		})
		op.OnSnapshot(func() error {
			mine.Replace(kept)
			return nil
		})
		op.OnRecord(func(n int) error {
			if n < 0 {
				op.Emit(fmt.Sprint(op.Subtask().Index, kept, all.Values()))
				return nil
			}
			kept = append(kept, n)
			all.Add(n)
			return nil
		})
	})
	for i := range 5 {
		s.Send(at(0), i)
	}
	s.Send(at(0), -1)
	s.Rescale(2)
	s.Send(at(0), -1)
	if got := fmt.Sprint(s.Output()); got != "[0 [0 1 2 3 4] [0 1 2 3 4] 0 [0 2 4] [0 1 2 3 4]]" {
		t.Errorf("got %s", got)
	}
}

// Every misuse is told in words that name what is wrong.
func TestMisuseIsToldInWords(t *testing.T) {
	type bad struct{ C chan int }
	none := func(int) error { return nil }
	for _, tt := range []struct {
		name  string
		setup func(op *millrace.Op[string, int, int])
		want  string
	}{
		{"state in setup", func(op *millrace.Op[string, int, int]) {
			v := op.Value[int]("v")
			v.Set(1)
		}, `state "v" is used while no key is in effect`},
		{"state in OnFinish", func(op *millrace.Op[string, int, int]) {
			m := op.Map[int, int]("m")
			op.OnRecord(none)
			op.OnFinish(func() error { m.Set(1, 1); return nil })
		}, `state "m" is used while no key is in effect`},
		{"emit in setup", func(op *millrace.Op[string, int, int]) {
			op.OnRecord(none)
			op.Emit(1)
		}, "setup emitted a record"},
		{"state twice", func(op *millrace.Op[string, int, int]) {
			op.Value[int]("v")
			op.List[int]("v")
		}, `state "v" is declared twice`},
		{"state after setup", func(op *millrace.Op[string, int, int]) {
			op.OnRecord(func(int) error { op.Value[int]("late"); return nil })
		}, `state "late": states are declared by the setup function`},
		{"type that cannot be stored", func(op *millrace.Op[string, int, int]) { op.Value[bad]("v") }, `state "v"`},
		{"no handler", func(op *millrace.Op[string, int, int]) {}, "call OnRecord or OnRecordRef"},
		{"two handlers", func(op *millrace.Op[string, int, int]) {
			op.OnRecord(none)
			op.OnRecordRef(func(*int) error { return nil })
		}, "setup set both OnRecord and OnRecordRef"},
		{"handler after setup", func(op *millrace.Op[string, int, int]) {
			op.OnRecord(func(int) error { op.OnTimer(nil); return nil })
		}, "OnTimer can only be called by the setup function"},
		{"timer without handler", func(op *millrace.Op[string, int, int]) {
			op.OnRecord(func(int) error { op.SetTimer(at(1)); return nil })
		}, "setup has set no OnTimer handler"},
		{"panic in a handler", func(op *millrace.Op[string, int, int]) {
			op.OnRecord(func(n int) error {
				if n == 2 {
					panic("oh no")
				}
				op.Emit(n)
				return nil
			})
		}, "operator p: record 3 (event time 1970-01-01T00:00:00.002Z): panic: oh no"},
		{"panic in a timer", func(op *millrace.Op[string, int, int]) {
			op.OnRecord(func(n int) error { op.SetTimer(op.Time()); return nil })
			op.OnTimer(func(time.Time) error { panic("oh no") })
		}, "timer at 1970-01-01T00:00:00Z of key k: oh no"},
		{"side output of another type", func(op *millrace.Op[string, int, int]) {
			op.SideOutput(millrace.NewSideOutput[string]("odd"))
			op.OnRecord(none)
		}, `side output "odd": it is declared as one of string`},
		{"side output not declared", func(op *millrace.Op[string, int, int]) { op.OnRecord(none) }, `side output "odd" is read but setup does not declare it`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seed := uint64(1)
			err := millrace.RunWith(context.Background(), "job", millrace.RunOptions{Parallelism: 1, Seed: &seed}, func(job *millrace.Job) {
				out := job.From("in", streamtest.TimedRecords(1, streamtest.At(at(0), 0), streamtest.At(at(1), 1), streamtest.At(at(2), 2))).
					KeyBy(func(int) string { return "k" }).Process("p", tt.setup)
				out.To("out", &streamtest.Collect[int]{})
				if strings.HasPrefix(tt.name, "side") {
					out.SideOutput(odd).To("side", &streamtest.Collect[int]{})
				}
			})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	err := millrace.RunWith(context.Background(), "job", millrace.RunOptions{}, func(job *millrace.Job) {
		job.From("in", streamtest.Records(1, bad{})).KeyBy(func(bad) int { return 1 }).
			Reduce("r", func(a, _ bad) bad { return a }).To("out", &streamtest.Collect[bad]{})
	})
	if err == nil || !strings.Contains(err.Error(), "operator r: the record type cannot be kept in state") || !strings.Contains(err.Error(), "C") {
		t.Errorf("a record type that cannot be stored: %v", err)
	}
}
