package exchange

import (
	"fmt"
	"slices"
	"testing"

	"github.com/millrace/millrace/runtime/record"
	"github.com/millrace/millrace/state/keygroup"
)

// consumer is the far end of one channel.
type consumer struct {
	inbox *Inbox
	woken int
}

func consumers(n int) (cs []*consumer, ts []Target) {
	for range n {
		c := &consumer{}
		c.inbox = NewInbox(func() { c.woken++ })
		cs = append(cs, c)
		ts = append(ts, Target{Inbox: c.inbox})
	}
	return cs, ts
}

// read takes everything from the inbox, returning batches as a task would.
func read[T any](c *consumer) (rows []T, controls []string) {
	for _, m := range c.inbox.Take(nil) {
		if m.Kind != Data {
			controls = append(controls, fmt.Sprint(m.Kind, ":", m.Value, " after ", len(rows)))
			c.inbox.Done(1)
			continue
		}
		b := m.Batch.(*record.Batch[T])
		for _, i := range b.Live() {
			rows = append(rows, b.Rows[i])
		}
		b.Home.Return(b)
		c.inbox.Done(1)
	}
	return rows, controls
}

func batchOf(size int, rows ...int64) *record.Batch[int64] {
	b := record.New[int64](size)
	for _, r := range rows {
		b.Append(r, r)
	}
	return b
}

func keyedBy(t *testing.T, w Wiring) *Keyed[int64, int64] {
	h, err := keygroup.NewHasher[int64](w.MaxParallelism, keygroup.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return NewKeyed(w, h, func(_ *record.Cursor, b *record.Batch[int64], live []int32, dst []int64) []int64 {
		for _, i := range live {
			dst = append(dst, b.Rows[i]%10)
		}
		return dst
	})
}

func TestKeyedSendsAKeyToTheOwnerOfItsGroupWithKeyAndWord(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7} {
		cs, ts := consumers(n)
		out := keyedBy(t, Wiring{Targets: ts, BatchSize: 8, Wake: func() {}, MaxParallelism: 128})
		h, _ := keygroup.NewHasher[int64](128, keygroup.Options{})
		total := 0
		for i := range int64(40) {
			b := batchOf(8, 3*i, 3*i+1, 3*i+2)
			if i%2 == 1 {
				b.Sel = []int32{0, 2}
			}
			if i%5 == 0 {
				b.Shared = true
			}
			want := slices.Clone(b.Rows)
			total += b.Len()
			if err := out.Receive(b); err != nil {
				t.Fatal(err)
			}
			if b.Shared && !slices.Equal(b.Rows, want) {
				t.Fatal("rows of a shared batch were taken")
			}
		}
		out.Flush(true)
		for to, c := range cs {
			for _, m := range c.inbox.Take(nil) {
				b := m.Batch.(*record.Batch[int64])
				keys := *b.Keys.(*[]int64)
				for _, i := range b.Live() {
					key := b.Rows[i] % 10
					if keys[i] != key || b.Words[i] != h.One(&key) || b.Times[i] != b.Rows[i] {
						t.Fatalf("row %d came with key %d, word %x, time %d", b.Rows[i], keys[i], b.Words[i], b.Times[i])
					}
					if o := keygroup.Owner(keygroup.Of(b.Words[i]), n, 128); o != to {
						t.Fatalf("key %d went to %d, its owner is %d", key, to, o)
					}
					total--
				}
			}
		}
		if total != 0 {
			t.Fatalf("%d rows lost or doubled over %d targets", total, n)
		}
	}
}

func TestEveryRouteKeepsTheRowsAndTheirOrderPerTarget(t *testing.T) {
	for _, tt := range []struct {
		name   string
		make   func(Wiring) Output
		copies int
	}{
		{"rebalance", func(w Wiring) Output { return NewRebalance[int64](w) }, 1},
		{"broadcast", func(w Wiring) Output { return NewBroadcast[int64](w) }, 3},
		{"shuffle", func(w Wiring) Output { return NewShuffle[int64](w) }, 1},
		{"custom", func(w Wiring) Output {
			return NewCustom(w, func(r *int64, n int) int { return int(*r) % n })
		}, 1},
		{"keyed", func(w Wiring) Output { return keyedBy(t, w) }, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cs, ts := consumers(3)
			out := tt.make(Wiring{Targets: ts, BatchSize: 4, Wake: func() {}, MaxParallelism: 128})
			recv := out.(interface {
				Receive(*record.Batch[int64]) error
			})
			want := 0
			var got [3][]int64
			for i := range int64(50) {
				b := batchOf(4, 4*i, 4*i+1, 4*i+2, 4*i+3)
				switch i % 4 {
				case 1:
					b.Sel = []int32{1, 2, 3}
				case 2:
					b.Sel = []int32{}
				case 3:
					b.Shared = true
				}
				want += b.Len() * tt.copies
				if err := recv.Receive(b); err != nil {
					t.Fatal(err)
				}
				if i%7 == 0 {
					out.Flush(false)
				}
				for to, c := range cs {
					rows, _ := read[int64](c)
					got[to] = append(got[to], rows...)
				}
			}
			out.Flush(true)
			n := 0
			for to, c := range cs {
				rows, _ := read[int64](c)
				got[to] = append(got[to], rows...)
				n += len(got[to])
				if !slices.IsSorted(got[to]) {
					t.Errorf("target %d got rows out of order: %v", to, got[to])
				}
			}
			if n != want {
				t.Errorf("%d rows arrived, want %d", n, want)
			}
		})
	}
}

func TestControlComesAfterTheRowsBeforeIt(t *testing.T) {
	cs, ts := consumers(2)
	out := NewBroadcast[int64](Wiring{Targets: ts, BatchSize: 8, Wake: func() {}})
	out.Receive(batchOf(8, 1, 2, 3))
	out.Control(Watermark, 77)
	out.Receive(batchOf(8, 4))
	out.Control(End, 0)
	for _, c := range cs {
		rows, controls := read[int64](c)
		if len(rows) != 4 || fmt.Sprint(controls) != "[1:77 after 3 3:0 after 4]" {
			t.Errorf("rows %v, controls %v", rows, controls)
		}
	}
}

func TestPartialBatchesGoToIdleConsumersOnly(t *testing.T) {
	cs, ts := consumers(1)
	out := NewRebalance[int64](Wiring{Targets: ts, BatchSize: 8, Wake: func() {}})
	out.Receive(batchOf(8, 1))
	out.Flush(false)
	if cs[0].woken != 1 {
		t.Fatal("an idle consumer was not given the batch")
	}
	m := cs[0].inbox.Take(nil) // taken, not yet handled: busy
	out.Receive(batchOf(8, 2))
	out.Flush(false)
	if cs[0].woken != 1 {
		t.Fatal("a busy consumer was given a batch that is not full")
	}
	cs[0].inbox.Done(len(m))
	out.Flush(false)
	if cs[0].woken != 2 {
		t.Fatal("the consumer fell idle and was not given the batch")
	}
}

func TestProducerWithoutCreditIsBlockedUntilABatchComesBack(t *testing.T) {
	woken := 0
	cs, ts := consumers(1)
	out := NewRebalance[int64](Wiring{Targets: ts, BatchSize: 1, Wake: func() { woken++ }})
	for i := range int64(Credit) {
		if out.Blocked() {
			t.Fatalf("blocked after %d of %d batches", i, Credit)
		}
		out.Receive(batchOf(1, i))
	}
	if !out.Blocked() || !out.AwaitCredit() {
		t.Fatal("not blocked without credit")
	}
	out.Receive(batchOf(1, 99)) // one step may overdraw
	m := cs[0].inbox.Take(nil)
	if len(m) != Credit+1 {
		t.Fatalf("%d batches arrived", len(m))
	}
	for i, x := range m {
		b := x.Batch.(*record.Batch[int64])
		b.Home.Return(b)
		if i == 0 && woken != 1 {
			t.Fatal("not woken by the first batch that came back")
		}
	}
	if out.Blocked() || out.AwaitCredit() || woken != 1 {
		t.Fatalf("blocked %t, woken %d times", out.Blocked(), woken)
	}
}

func TestBatchesAreReused(t *testing.T) {
	cs, ts := consumers(1)
	out := keyedBy(t, Wiring{Targets: ts, BatchSize: 4, Wake: func() {}, MaxParallelism: 128})
	in := batchOf(4, 1, 2, 3, 4)
	var spare []Message
	round := func() {
		in.Rows, in.Times = in.Rows[:4], in.Times[:4]
		out.Receive(in)
		out.Flush(true)
		spare = cs[0].inbox.Take(spare)
		for _, m := range spare {
			b := m.Batch.(*record.Batch[int64])
			b.Home.Return(b)
			cs[0].inbox.Done(1)
		}
	}
	for range 10 {
		round()
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations for each batch", n)
	}
}
