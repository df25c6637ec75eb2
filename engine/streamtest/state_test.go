package streamtest_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/engine/streamtest"
)

// act is one thing a test does to a state: a verb with a key of a map and a
// value.
type act struct {
	Do   string
	Key  int
	To   int
	Text string
}

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// item is a value with a string in it, which takes the ways of types with
// pointers.
type item struct {
	N    int
	Name string
}

// kind is a kind of state: how a handler carries out acts on it, and how a plain
// Go value does. Both return what they saw.
type kind struct {
	verbs []string
	setup func(op *millrace.Op[string, act, string])
	model func() func(key string, a act) string
}

func show[V any](v V, ok bool) string { return fmt.Sprintf("%+v %t", v, ok) }

var kinds = map[string]kind{
	"value": {
		verbs: []string{"set", "ref", "get", "clear", "load", "set"},
		setup: func(op *millrace.Op[string, act, string]) {
			v := op.Value[item]("v")
			op.OnRecord(func(a act) error {
				switch a.Do {
				case "set":
					v.Set(item{a.To, a.Text})
				case "ref":
					v.Ref().N += a.To
				case "clear":
					v.Clear()
				}
				op.Emit(show(v.Load()))
				return nil
			})
		},
		model: func() func(string, act) string {
			m := map[string]item{}
			return func(k string, a act) string {
				switch a.Do {
				case "set":
					m[k] = item{a.To, a.Text}
				case "ref":
					i := m[k]
					i.N += a.To
					m[k] = i
				case "clear":
					delete(m, k)
				}
				v, ok := m[k]
				return show(v, ok)
			}
		},
	},
	"list": {
		verbs: []string{"add", "add", "add", "addall", "replace", "clear", "read", "append while reading"},
		setup: func(op *millrace.Op[string, act, string]) {
			l := op.List[item]("l")
			op.OnRecord(func(a act) error {
				switch a.Do {
				case "add":
					l.Add(item{a.To, a.Text})
				case "addall":
					l.AddAll([]item{{a.To, a.Text}, {a.Key, ""}})
				case "replace":
					l.Replace([]item{{a.Key, a.Text}})
				case "clear":
					l.Clear()
				case "append while reading":
					for v := range l.All() {
						if l.Len() < 20 {
							l.Add(v)
						}
					}
				}
				op.Emit(fmt.Sprintf("%+v %d", slices.Collect(l.All()), l.Len()))
				return nil
			})
		},
		model: func() func(string, act) string {
			m := map[string][]item{}
			return func(k string, a act) string {
				switch a.Do {
				case "add":
					m[k] = append(m[k], item{a.To, a.Text})
				case "addall":
					m[k] = append(m[k], item{a.To, a.Text}, item{a.Key, ""})
				case "replace":
					m[k] = []item{{a.Key, a.Text}}
				case "clear":
					delete(m, k)
				case "append while reading":
					for _, v := range m[k] {
						if len(m[k]) < 20 {
							m[k] = append(m[k], v)
						}
					}
				}
				return fmt.Sprintf("%+v %d", m[k], len(m[k]))
			}
		},
	},
	"map": {
		verbs: []string{"set", "set", "set", "ref", "delete", "clear", "load", "delete odd while reading"},
		setup: func(op *millrace.Op[string, act, string]) {
			m := op.Map[int, item]("m")
			op.OnRecord(func(a act) error {
				switch a.Do {
				case "set":
					m.Set(a.Key, item{a.To, a.Text})
				case "ref":
					m.Ref(a.Key).N += a.To
				case "delete":
					m.Delete(a.Key)
				case "clear":
					if a.To%4 == 0 {
						m.Clear()
					}
				case "delete odd while reading":
					for k := range m.All() {
						if k%2 == 1 {
							m.Delete(k)
						}
					}
				}
				v, ok := m.Load(a.Key)
				all := maps.Collect(m.All())
				op.Emit(fmt.Sprint(show(v, ok), m.Has(a.Key), m.Get(a.Key), all, m.Len()))
				return nil
			})
		},
		model: func() func(string, act) string {
			ms := map[string]map[int]item{}
			return func(key string, a act) string {
				if ms[key] == nil {
					ms[key] = map[int]item{}
				}
				m := ms[key]
				switch a.Do {
				case "set":
					m[a.Key] = item{a.To, a.Text}
				case "ref":
					i := m[a.Key]
					i.N += a.To
					m[a.Key] = i
				case "delete":
					delete(m, a.Key)
				case "clear":
					if a.To%4 == 0 {
						clear(m)
					}
				case "delete odd while reading":
					for k := range m {
						if k%2 == 1 {
							delete(m, k)
						}
					}
				}
				v, ok := m[a.Key]
				return fmt.Sprint(show(v, ok), ok, v, m, len(m))
			}
		},
	},
	"sorted map": {
		verbs: []string{"set", "set", "set", "set", "ref", "delete", "delete range", "clear", "fill", "delete while reading"},
		setup: func(op *millrace.Op[string, act, string]) {
			m := op.OrderedMap[int, item]("m")
			op.OnRecord(func(a act) error {
				switch a.Do {
				case "set":
					m.Set(a.Key, item{a.To, a.Text})
				case "ref":
					m.Ref(a.Key).N += a.To
				case "delete":
					m.Delete(a.Key)
				case "delete range":
					m.DeleteRange(a.Key, a.To)
				case "clear":
					if a.To%8 == 0 {
						m.Clear()
					}
				case "fill":
					for i := range 150 {
						m.Set(i, item{N: i})
					}
				case "delete while reading":
					for k := range m.Backward() {
						if k%3 == 1 {
							m.Delete(k)
						}
					}
					for k := range m.All() {
						m.Delete(k + 7)
					}
				}
				keys := func(seq func(func(int, item) bool)) (ks []int) {
					for k := range seq {
						ks = append(ks, k)
					}
					return ks
				}
				_, _, hasFirst := m.First()
				first, v1, _ := m.First()
				last, v2, hasLast := m.Last()
				v, ok := m.Load(a.Key)
				op.Emit(fmt.Sprint(m.Len(), show(v, ok), hasFirst, first, v1, hasLast, last, v2, keys(m.All()), keys(m.Range(a.Key, a.To)),
					keys(m.From(a.Key)), keys(m.Before(a.Key)), keys(m.Backward()), keys(m.RangeBackward(a.Key, a.To))))
				return nil
			})
		},
		model: func() func(string, act) string {
			ms := map[string]map[int]item{}
			return func(key string, a act) string {
				if ms[key] == nil {
					ms[key] = map[int]item{}
				}
				m := ms[key]
				switch a.Do {
				case "set":
					m[a.Key] = item{a.To, a.Text}
				case "ref":
					i := m[a.Key]
					i.N += a.To
					m[a.Key] = i
				case "delete":
					delete(m, a.Key)
				case "delete range":
					maps.DeleteFunc(m, func(k int, _ item) bool { return k >= a.Key && k < a.To })
				case "clear":
					if a.To%8 == 0 {
						clear(m)
					}
				case "fill":
					for i := range 150 {
						m[i] = item{N: i}
					}
				case "delete while reading":
					maps.DeleteFunc(m, func(k int, _ item) bool { return k%3 == 1 })
					for _, k := range slices.Sorted(maps.Keys(m)) {
						// A key is read in the run of 64 that it is met in, so
						// those just deleted in the same run still count.
						delete(m, k+7)
					}
				}
				keys := func(in func(int) bool, back bool) (ks []int) {
					for _, k := range slices.Sorted(maps.Keys(m)) {
						if in(k) {
							ks = append(ks, k)
						}
					}
					if back {
						slices.Reverse(ks)
					}
					return ks
				}
				all := func(int) bool { return true }
				within := func(k int) bool { return k >= a.Key && k < a.To }
				ks := keys(all, false)
				var first, last int
				if len(ks) > 0 {
					first, last = ks[0], ks[len(ks)-1]
				}
				v, ok := m[a.Key]
				return fmt.Sprint(len(m), show(v, ok), len(ks) > 0, first, m[first], len(ks) > 0, last, m[last], ks, keys(within, false),
					keys(func(k int) bool { return k >= a.Key }, false), keys(func(k int) bool { return k < a.Key }, false), keys(all, true), keys(within, true))
			}
		},
	},
	"reducing": {
		verbs: []string{"add", "add", "add", "clear"},
		setup: func(op *millrace.Op[string, act, string]) {
			r := op.Reducing("r", func(a, b int) int { return max(a, b) })
			op.OnRecord(func(a act) error {
				if a.Do == "add" {
					r.Add(a.To)
				} else {
					r.Clear()
				}
				op.Emit(show(r.Load()))
				return nil
			})
		},
		model: func() func(string, act) string {
			m := map[string]int{}
			return func(k string, a act) string {
				if a.Do == "add" {
					old, ok := m[k]
					if !ok || a.To > old {
						m[k] = a.To
					}
				} else {
					delete(m, k)
				}
				v, ok := m[k]
				return show(v, ok)
			}
		},
	},
	"aggregating": {
		verbs: []string{"add", "add", "add", "clear"},
		setup: func(op *millrace.Op[string, act, string]) {
			type acc struct{ Sum, N int }
			g := op.Aggregating("a", func(x acc, v int) acc { return acc{x.Sum + v, x.N + 1} }, func(x acc) float64 { return float64(x.Sum) / float64(x.N) })
			op.OnRecord(func(a act) error {
				if a.Do == "add" {
					g.Add(a.To)
				} else {
					g.Clear()
				}
				op.Emit(show(g.Load()))
				return nil
			})
		},
		model: func() func(string, act) string {
			m := map[string][]int{}
			return func(k string, a act) string {
				if a.Do == "add" {
					m[k] = append(m[k], a.To)
				} else {
					delete(m, k)
				}
				if len(m[k]) == 0 {
					return show(0.0, false)
				}
				sum := 0
				for _, v := range m[k] {
					sum += v
				}
				return show(float64(sum)/float64(len(m[k])), true)
			}
		},
	},
}

// Whatever is done to it, a state answers as a plain Go value per key does,
// when the operator is restored from a snapshot after every record, and with
// ever other numbers of subtasks.
func TestStatesAnswerAsPlainValuesDo(t *testing.T) {
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(4) {
				rng := rand.New(rand.NewPCG(seed, 1))
				var opts []streamtest.Option
				if seed%2 == 1 {
					opts = append(opts, streamtest.NoRestore())
				}
				s := streamtest.NewStep(t, k.setup, opts...)
				model := k.model()
				for i := range 250 {
					a := act{Do: k.verbs[rng.IntN(len(k.verbs))], Key: rng.IntN(9), To: rng.IntN(20), Text: strings.Repeat("x", rng.IntN(3))}
					if a.Do == "fill" && rng.IntN(4) > 0 {
						a.Do = "set"
					}
					key := fmt.Sprint("key", rng.IntN(5))
					want := model(key, a)
					s.Send(key, at(int64(i)), a)
					if got := s.Output(); len(got) != 1 || got[0] != want {
						t.Fatalf("seed %d: act %d: %+v on %s: got\n%v, want\n%v", seed, i, a, key, got, want)
					}
					if i%20 == 19 {
						s.Rescale([]int{3, 2, 1, 5}[i/20%4])
					}
				}
			}
		})
	}
}

// sendAt sends an act at a processing time and returns what comes out.
func sendAt[Out any](s *streamtest.Step[string, act, Out], now int64, key string, a act) []Out {
	s.ProcessingTime(at(now))
	s.Send(key, at(0), a)
	return s.Output()
}

func TestEntriesExpireAfterTheirTTL(t *testing.T) {
	type setup = func(op *millrace.Op[string, act, string], opt millrace.StateOption)
	value := func(op *millrace.Op[string, act, string], opt millrace.StateOption) {
		v := op.Value[int]("s", opt)
		op.OnRecord(func(a act) error {
			if a.Do == "set" {
				v.Set(a.To)
			} else {
				op.Emit(show(v.Load()))
			}
			return nil
		})
	}
	list := func(op *millrace.Op[string, act, string], opt millrace.StateOption) {
		l := op.List[int]("s", opt)
		op.OnRecord(func(a act) error {
			if a.Do == "set" {
				l.Replace([]int{a.To})
			} else {
				for v := range l.All() {
					op.Emit(show(v, true))
					return nil
				}
				op.Emit(show(0, false))
			}
			return nil
		})
	}
	mapped := func(op *millrace.Op[string, act, string], opt millrace.StateOption) {
		m := op.Map[int, int]("s", opt)
		op.OnRecord(func(a act) error {
			if a.Do == "set" {
				m.Set(1, a.To)
			} else {
				op.Emit(show(m.Load(1)))
			}
			return nil
		})
	}
	looped := func(op *millrace.Op[string, act, string], opt millrace.StateOption) {
		m := op.Map[int, int]("s", opt)
		op.OnRecord(func(a act) error {
			if a.Do == "set" {
				*m.Ref(1) = a.To
			} else {
				for _, v := range m.All() {
					op.Emit(show(v, true))
					return nil
				}
				op.Emit(show(0, false))
			}
			return nil
		})
	}
	const there, gone = "7 true", "0 false"
	for _, tt := range []struct {
		name  string
		opt   millrace.StateOption
		reads []int64 // at these times, after a write at 1000
		want  []string
	}{
		{"just before its time", millrace.TTL(time.Second), []int64{1999}, []string{there}},
		{"at its time", millrace.TTL(time.Second), []int64{2000}, []string{gone}},
		{"reads do not renew", millrace.TTL(time.Second), []int64{1500, 1999, 2000}, []string{there, there, gone}},
		{"reads renew if asked to", millrace.TTL(time.Second).OnReadAndWrite(), []int64{1999, 2998, 3997, 4997}, []string{there, there, there, gone}},
		{"an expired one is returned once if asked for", millrace.TTL(time.Second).ReturnExpiredIfNotCleanedUp(), []int64{5000, 5001}, []string{there, gone}},
	} {
		for name, f := range map[string]setup{"value": value, "list": list, "map": mapped, "map in a loop": looped} {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				s := streamtest.NewStep(t, func(op *millrace.Op[string, act, string]) { f(op, tt.opt) })
				sendAt(s, 1000, "k", act{Do: "set", To: 7})
				for i, now := range tt.reads {
					got := sendAt(s, now, "k", act{Do: "get"})
					if len(got) != 1 || got[0] != tt.want[i] {
						t.Fatalf("at %d: got %v, want %s", now, got, tt.want[i])
					}
				}
			})
		}
	}
}

func TestAMapLetsEachEntryExpireByItself(t *testing.T) {
	s := streamtest.NewStep(t, func(op *millrace.Op[string, act, int]) {
		m := op.Map[int, string]("m", millrace.TTL(time.Second))
		l := op.List[int]("l", millrace.TTL(time.Second))
		op.OnRecord(func(a act) error {
			m.Set(a.Key, a.Text)
			l.Add(a.Key)
			op.Emit(m.Len())
			op.Emit(l.Len())
			return nil
		})
	})
	for _, tt := range []struct {
		now  int64
		key  int
		want []int
	}{{0, 1, []int{1, 1}}, {400, 2, []int{2, 2}}, {999, 3, []int{3, 3}}, {1000, 4, []int{3, 3}}, {1400, 4, []int{2, 3}}, {9000, 1, []int{1, 1}}} {
		if got := sendAt(s, tt.now, "k", act{Key: tt.key}); !slices.Equal(got, tt.want) {
			t.Errorf("at %d: got %v, want %v", tt.now, got, tt.want)
		}
	}
}

// Records of one key come in while the entries of many others expire; the
// clean-up that goes with each batch removes them all though nobody asks.
func TestExpiredEntriesAreCleanedUpUnasked(t *testing.T) {
	s := streamtest.NewStep(t, func(op *millrace.Op[string, act, int]) {
		v := op.Value[int]("v", millrace.TTL(time.Second).ReturnExpiredIfNotCleanedUp())
		m := op.Map[int, int]("m", millrace.TTL(time.Second).ReturnExpiredIfNotCleanedUp())
		l := op.List[int]("l", millrace.TTL(time.Second).ReturnExpiredIfNotCleanedUp())
		op.OnRecord(func(a act) error {
			n := 0
			if a.Do == "set" {
				v.Set(1)
				m.Set(1, 1)
				l.Add(1)
			} else if a.Do == "look" {
				if _, ok := v.Load(); ok {
					n++
				}
				n += m.Len() + l.Len()
			}
			op.Emit(n)
			return nil
		})
	}, streamtest.NoRestore())
	const keys = 300
	for i := range keys {
		s.Send(fmt.Sprint("old", i), at(0), act{Do: "set"})
	}
	s.ProcessingTime(at(5000))
	for range keys * 3 {
		s.Send("other", at(0), act{Do: "nothing"})
	}
	s.Output()
	for i := range keys {
		s.Send(fmt.Sprint("old", i), at(0), act{Do: "look"})
	}
	left := 0
	for _, n := range s.Output() {
		left += n
	}
	if left > 0 {
		t.Errorf("%d of %d expired entries are still there", left, 3*keys)
	}
}

// State written without TTL is restored by a program that has it, with the time
// of the restore as its last access, and the other way round.
func TestTTLCanBeSwitchedOnAndOff(t *testing.T) {
	ttl := []millrace.StateOption{}
	s := streamtest.NewStep(t, func(op *millrace.Op[string, act, string]) {
		v := op.Value[item]("v", ttl...)
		l := op.List[item]("l", ttl...)
		m := op.Map[string, item]("m", ttl...)
		op.OnRecord(func(a act) error {
			if a.Do == "set" {
				v.Set(item{a.To, "v"})
				l.Add(item{a.To, "l"})
				m.Set("k", item{a.To, "m"})
			}
			x, _ := v.Load()
			op.Emit(fmt.Sprint(x, slices.Collect(l.All()), maps.Collect(m.All())))
			return nil
		})
	})
	full, empty := "{7 v} [{7 l}] map[k:{7 m}]", "{0 } [] map[]"
	expect := func(now int64, do, want string) {
		t.Helper()
		if got := sendAt(s, now, "k", act{Do: do, To: 7}); got[0] != want {
			t.Errorf("at %d: got %s, want %s", now, got[0], want)
		}
	}
	expect(1000, "set", full)
	ttl = append(ttl, millrace.TTL(time.Second))
	s.Rescale(2) // written without, read with
	expect(1500, "get", full)
	expect(1999, "get", full)
	ttl = nil
	s.Rescale(1)
	expect(9000, "get", full)
	ttl = append(ttl, millrace.TTL(time.Second))
	s.Rescale(1)
	expect(9999, "get", full)
	expect(10000, "get", empty)
}
