package table

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/state/keygroup"
)

// The tests in this file run random histories on a table of the kinds that
// hold many values for a key, beside a Go map that is copied whole where the
// table is snapshotted.

type history struct {
	t    *testing.T
	seed uint64
	op   int
	rng  *rand.Rand
	h    *keygroup.Hasher[string]
}

func histories(t *testing.T, n uint64, run func(h *history)) {
	for seed := range n {
		hasher, _ := keygroup.NewHasher[string](6, keygroup.Options{})
		run(&history{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 3)), h: hasher})
	}
}

func (h *history) fatalf(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("seed %d op %d: %s", h.seed, h.op, fmt.Sprintf(format, args...))
}

// key draws a key, a few of them far more often than the others.
func (h *history) key() (string, uint64) {
	k := fmt.Sprint("key ", min(h.rng.IntN(60), h.rng.IntN(60), h.rng.IntN(60)))
	return k, h.h.One(&k)
}

func (h *history) options() Options { return Options{PageBytes: 128 << h.rng.IntN(6)} }

type frozenMap[S, M any] struct {
	snap S
	want M
}

func cloneMaps[MK comparable](m map[string]map[MK]int) map[string]map[MK]int {
	c := map[string]map[MK]int{}
	for k, v := range m {
		c[k] = maps.Clone(v)
	}
	return c
}

func total[MK comparable](m map[string]map[MK]int) (n int) {
	for _, v := range m {
		n += len(v)
	}
	return n
}

func collect[MK comparable](seq iter.Seq2[MK, *int]) map[MK]int {
	m := map[MK]int{}
	for k, v := range seq {
		if _, twice := m[k]; twice {
			panic(fmt.Sprint("key yielded twice: ", k))
		}
		m[k] = *v
	}
	return m
}

func mapKey(rng *rand.Rand) string {
	return strings.Repeat("m", rng.IntN(12)) + fmt.Sprint(min(rng.IntN(400), rng.IntN(400)))
}

func TestMapTableAndItsSnapshotsHoldWhatMapsOfMapsHold(t *testing.T) {
	histories(t, 4, func(h *history) {
		rng := h.rng
		tab, err := NewMap[string, string, int](keygroup.Whole(6), h.options())
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]map[string]int{}
		check := func(s *MapSnapshot[string, string, int], want map[string]map[string]int) {
			got := map[string]map[string]int{}
			for g := range s.Groups().All() {
				n := 0
				for e := range s.Group(g) {
					n++
					if k := e.Key(); e.Word() != h.h.One(&k) || keygroup.Of(e.Word()) != g {
						h.fatalf("word of %q", k)
					}
					if got[e.Key()] = collect(e.All()); e.Len() != len(got[e.Key()]) {
						h.fatalf("%q: Len %d, %d entries", e.Key(), e.Len(), len(got[e.Key()]))
					}
				}
				if n != s.GroupKeys(g) {
					h.fatalf("group %d: %d keys, GroupKeys %d", g, n, s.GroupKeys(g))
				}
			}
			if !maps.EqualFunc(got, want, maps.Equal) || s.Len() != total(want) || s.Keys() != len(want) {
				h.fatalf("snapshot holds %v\nwant %v", got, want)
			}
			for k, m := range want {
				for mk, v := range m {
					if p := s.Get(h.h.One(&k), k, mk); p == nil || *p != v {
						h.fatalf("snapshot Get(%q, %q) = %v", k, mk, p)
					}
				}
				if !maps.Equal(collect(s.Entries(h.h.One(&k), k)), m) {
					h.fatalf("snapshot Entries(%q)", k)
				}
			}
		}
		var open []frozenMap[*MapSnapshot[string, string, int], map[string]map[string]int]
		grow := true
		for h.op = range 5000 {
			k, w := h.key()
			mk := mapKey(rng)
			if rng.IntN(1000) == 0 {
				grow = !grow
			}
			switch r := rng.IntN(100); {
			case r == 0:
				open = append(open, frozenMap[*MapSnapshot[string, string, int], map[string]map[string]int]{tab.Snapshot(), cloneMaps(want)})
			case r == 1 && len(open) > 0:
				i := rng.IntN(len(open))
				check(open[i].snap, open[i].want)
				open[i].snap.Release()
				open = slices.Delete(open, i, i+1)
			case r == 2 && rng.IntN(4) == 0:
				if got := tab.DeleteAll(w, k); got != (want[k] != nil) {
					h.fatalf("DeleteAll(%q) = %t", k, got)
				}
				delete(want, k)
			case r == 3 && rng.IntN(40) == 0:
				tab.Clear()
				clear(want)
			case r < 70 == grow:
				v, created := tab.Upsert(w, k, mk)
				if old, ok := want[k][mk]; ok == created || *v != old {
					h.fatalf("Upsert(%q, %q) = %d, %t; want %d, %t", k, mk, *v, created, old, !ok)
				}
				if want[k] == nil {
					want[k] = map[string]int{}
				}
				*v, want[k][mk] = h.op+1, h.op+1
			default:
				_, ok := want[k][mk]
				if got := tab.Delete(w, k, mk); got != ok {
					h.fatalf("Delete(%q, %q) = %t", k, mk, got)
				}
				if delete(want[k], mk); len(want[k]) == 0 {
					delete(want, k)
				}
			}
			if v := tab.Get(w, k, mk); (v != nil) != has(want[k], mk) || v != nil && *v != want[k][mk] {
				h.fatalf("Get(%q, %q) = %v", k, mk, v)
			}
			if tab.LenOf(w, k) != len(want[k]) || tab.Keys() != len(want) {
				h.fatalf("LenOf(%q) = %d of %d, %d keys of %d", k, tab.LenOf(w, k), len(want[k]), tab.Keys(), len(want))
			}
		}
		for _, o := range open {
			check(o.snap, o.want)
		}
		check(tab.Snapshot(), want)
		for i, a := range tab.arenas {
			live := 0
			for e := range tab.Group(i) {
				for mk := range e.All() {
					live += len(mk)
				}
			}
			if a.live != live || a.total > 2*live+1024 {
				h.fatalf("group %d: arena counts %d live bytes, %d there, %d in all", i, a.live, live, a.total)
			}
		}
	})
}

func TestMapTableRefusesMapKeysThatCannotBeHashed(t *testing.T) {
	if _, err := NewMap[int, *int, int](keygroup.Whole(1), Options{}); err == nil || !strings.Contains(err.Error(), "pointer") {
		t.Error(err)
	}
}

func TestListTableAndItsSnapshotsHoldWhatMapsOfSlicesHold(t *testing.T) {
	histories(t, 4, func(h *history) {
		rng := h.rng
		tab := NewList[string, int](keygroup.Whole(6), h.options())
		want := map[string][]int{}
		clone := func() map[string][]int {
			c := map[string][]int{}
			for k, v := range want {
				c[k] = slices.Clone(v)
			}
			return c
		}
		values := func(seq iter.Seq[*int]) (vs []int) {
			for v := range seq {
				vs = append(vs, *v)
			}
			return vs
		}
		check := func(s *ListSnapshot[string, int], want map[string][]int) {
			got, n := map[string][]int{}, 0
			for e := range s.All() {
				if got[e.Key()] = values(e.All()); len(got[e.Key()]) != e.Len() {
					h.fatalf("%q: Len %d of %d", e.Key(), e.Len(), len(got[e.Key()]))
				}
				n += e.Len()
			}
			if !maps.EqualFunc(got, want, slices.Equal) || s.Len() != n || s.Keys() != len(want) {
				h.fatalf("snapshot holds %v\nwant %v", got, want)
			}
			for k, vs := range want {
				if !slices.Equal(values(s.Values(h.h.One(&k), k)), vs) {
					h.fatalf("snapshot Values(%q)", k)
				}
			}
		}
		var open []frozenMap[*ListSnapshot[string, int], map[string][]int]
		for h.op = range 4000 {
			k, w := h.key()
			vs := make([]int, rng.IntN(40))
			for i := range vs {
				vs[i] = rng.Int()
			}
			switch r := rng.IntN(100); {
			case r == 0:
				open = append(open, frozenMap[*ListSnapshot[string, int], map[string][]int]{tab.Snapshot(), clone()})
			case r == 1 && len(open) > 0:
				i := rng.IntN(len(open))
				check(open[i].snap, open[i].want)
				open[i].snap.Release()
				open = slices.Delete(open, i, i+1)
			case r < 6:
				if got := tab.Delete(w, k); got != (want[k] != nil) {
					h.fatalf("Delete(%q) = %t", k, got)
				}
				delete(want, k)
			case r < 9:
				tab.Replace(w, k, vs)
				if want[k] = slices.Clone(vs); len(vs) == 0 {
					delete(want, k)
				}
			case r < 12:
				tab.AppendAll(w, k, vs)
				if want[k] = append(want[k], vs...); want[k] == nil {
					delete(want, k)
				}
			default:
				tab.Append(w, k, h.op)
				want[k] = append(want[k], h.op)
			}
			if tab.LenOf(w, k) != len(want[k]) || !slices.Equal(values(tab.Values(w, k)), want[k]) {
				h.fatalf("Values(%q) = %v, want %v", k, values(tab.Values(w, k)), want[k])
			}
		}
		for _, o := range open {
			check(o.snap, o.want)
		}
		check(tab.Snapshot(), want)
	})
}

func ordered[MK cmp.Ordered](t *testing.T, key func(rng *rand.Rand) MK) {
	histories(t, 2, func(h *history) {
		rng := h.rng
		tab := NewOrdered[string, MK, int](keygroup.Whole(6), h.options())
		want := map[string]map[MK]int{}
		type pair struct {
			k MK
			v int
		}
		pairs := func(seq iter.Seq2[MK, *int]) (ps []pair) {
			for k, v := range seq {
				ps = append(ps, pair{k, *v})
			}
			return ps
		}
		model := func(m map[MK]int, in func(MK) bool) (ps []pair) {
			for _, k := range slices.Sorted(maps.Keys(m)) {
				if in(k) {
					ps = append(ps, pair{k, m[k]})
				}
			}
			return ps
		}
		same := func(what string, got, want []pair) {
			if !slices.Equal(got, want) {
				h.fatalf("%s = %v\nwant %v", what, got, want)
			}
		}
		view := func(o Ordered[MK, int], m map[MK]int) {
			all := model(m, func(MK) bool { return true })
			same("All", pairs(o.All()), all)
			if o.Len() != len(all) {
				h.fatalf("Len %d of %d", o.Len(), len(all))
			}
			a, b := key(rng), key(rng)
			in := model(m, func(k MK) bool { return a <= k && k < b })
			same("Range", pairs(o.Range(a, b)), in)
			slices.Reverse(in)
			same("RangeBackward", pairs(o.RangeBackward(a, b)), in)
			same("From", pairs(o.From(a)), model(m, func(k MK) bool { return a <= k }))
			same("Before", pairs(o.Before(a)), model(m, func(k MK) bool { return k < a }))
			fk, fv := o.First()
			lk, lv := o.Last()
			if (fv == nil) != (len(all) == 0) || (lv == nil) != (len(all) == 0) {
				h.fatalf("First %v Last %v of %d", fv, lv, len(all))
			}
			if len(all) > 0 && (all[0] != pair{fk, *fv} || all[len(all)-1] != pair{lk, *lv}) {
				h.fatalf("First %v %d, Last %v %d of %v", fk, *fv, lk, *lv, all)
			}
			slices.Reverse(all)
			same("Backward", pairs(o.Backward()), all)
			if v := o.Get(a); (v != nil) != has(m, a) || v != nil && *v != m[a] {
				h.fatalf("Get(%v) = %v", a, v)
			}
		}
		check := func(s *OrderedSnapshot[string, MK, int], want map[string]map[MK]int) {
			n := 0
			for e := range s.All() {
				n++
				view(e.Map(), want[e.Key()])
			}
			if n != len(want) || s.Keys() != n || s.Len() != total(want) {
				h.fatalf("snapshot has %d keys, Keys %d, Len %d; want %d, %d", n, s.Keys(), s.Len(), len(want), total(want))
			}
			for k, m := range want {
				view(s.View(h.h.One(&k), k), m)
			}
		}
		var open []frozenMap[*OrderedSnapshot[string, MK, int], map[string]map[MK]int]
		grow := true
		for h.op = range 4000 {
			k, w := h.key()
			mk := key(rng)
			if rng.IntN(800) == 0 {
				grow = !grow
			}
			switch r := rng.IntN(100); {
			case r == 0:
				open = append(open, frozenMap[*OrderedSnapshot[string, MK, int], map[string]map[MK]int]{tab.Snapshot(), cloneMaps(want)})
			case r == 1 && len(open) > 0:
				i := rng.IntN(len(open))
				check(open[i].snap, open[i].want)
				open[i].snap.Release()
				open = slices.Delete(open, i, i+1)
			case r == 2 && rng.IntN(4) == 0:
				if got := tab.DeleteAll(w, k); got != (want[k] != nil) {
					h.fatalf("DeleteAll(%q) = %t", k, got)
				}
				delete(want, k)
			case r < 5:
				to := key(rng)
				gone := model(want[k], func(x MK) bool { return mk <= x && x < to })
				if n := tab.DeleteRange(w, k, mk, to); n != len(gone) {
					h.fatalf("DeleteRange(%q, %v, %v) = %d, want %d", k, mk, to, n, len(gone))
				}
				for _, p := range gone {
					delete(want[k], p.k)
				}
			case r < 75 == grow:
				v, created := tab.Upsert(w, k, mk)
				if old, ok := want[k][mk]; ok == created || *v != old {
					h.fatalf("Upsert(%q, %v) = %d, %t; want %d, %t", k, mk, *v, created, old, !ok)
				}
				if want[k] == nil {
					want[k] = map[MK]int{}
				}
				*v, want[k][mk] = h.op+1, h.op+1
			default:
				_, ok := want[k][mk]
				if got := tab.Delete(w, k, mk); got != ok {
					h.fatalf("Delete(%q, %v) = %t", k, mk, got)
				}
				delete(want[k], mk)
			}
			if len(want[k]) == 0 {
				delete(want, k)
			}
			if tab.Keys() != len(want) || tab.Len() != total(want) {
				h.fatalf("Keys %d, Len %d; want %d, %d", tab.Keys(), tab.Len(), len(want), total(want))
			}
			if h.op%16 == 0 {
				view(tab.View(w, k), want[k])
			}
		}
		for _, o := range open {
			check(o.snap, o.want)
		}
		check(tab.Snapshot(), want)
	})
}

func TestOrderedTableAndItsSnapshotsHoldWhatSortedMapsHold(t *testing.T) {
	t.Run("int", func(t *testing.T) {
		ordered(t, func(rng *rand.Rand) int64 { return rng.Int64N(500) - 250 })
	})
	t.Run("string", func(t *testing.T) { ordered(t, mapKey) })
}

// Snapshots of the kinds are read while the tables are written; the race
// detector watches.
func TestKindsAreReadWhileTheyAreWritten(t *testing.T) {
	h, _ := keygroup.NewHasher[int64](4, keygroup.Options{})
	m, _ := NewMap[int64, int64, int64](keygroup.Whole(4), Options{PageBytes: 256})
	l := NewList[int64, int64](keygroup.Whole(4), Options{PageBytes: 256})
	o := NewOrdered[int64, int64, int64](keygroup.Whole(4), Options{PageBytes: 256})
	rng := rand.New(rand.NewPCG(8, 0))
	change := func(n int, gen int64) {
		for range n {
			k, mk := rng.Int64N(20), rng.Int64N(100)
			w := h.One(&k)
			if rng.IntN(4) == 0 {
				m.Delete(w, k, mk)
				o.Delete(w, k, mk)
				if rng.IntN(20) == 0 {
					l.Delete(w, k)
				}
				continue
			}
			v, _ := m.Upsert(w, k, mk)
			*v = gen
			v, _ = o.Upsert(w, k, mk)
			*v = gen
			l.Append(w, k, gen)
		}
	}
	done := make(chan error)
	for gen := range int64(25) {
		change(400, gen)
		sm, sl, so := m.Snapshot(), l.Snapshot(), o.Snapshot()
		go func() {
			n := 0
			for e := range sm.All() {
				for _, v := range e.All() {
					if n++; *v > gen {
						n = -1 << 30
					}
				}
			}
			for e := range so.All() {
				for _, v := range e.Map().All() {
					if n--; *v > gen {
						n = -1 << 30
					}
				}
			}
			left := sl.Len()
			for e := range sl.All() {
				for v := range e.All() {
					if left--; *v > gen {
						n = -1 << 30
					}
				}
			}
			sm.Release()
			sl.Release()
			so.Release()
			if n != 0 || left != 0 {
				done <- fmt.Errorf("snapshot %d changed: %d, %d", gen, n, left)
				return
			}
			done <- nil
		}()
		change(400, gen+1)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestUpdatesOfPresentEntriesOfKindsDoNotAllocate(t *testing.T) {
	h, _ := keygroup.NewHasher[int64](8, keygroup.Options{})
	m, _ := NewMap[int64, string, int64](keygroup.Whole(8), Options{})
	o := NewOrdered[int64, int64, int64](keygroup.Whole(8), Options{})
	update := func() {
		for k := range int64(50) {
			w := h.One(&k)
			for i, name := range []string{"a", "b", "c", "d", "e"} {
				v, _ := m.Upsert(w, k, name)
				*v++
				v, _ = o.Upsert(w, k, int64(i))
				*v++
			}
		}
	}
	update()
	if n := testing.AllocsPerRun(10, update); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
