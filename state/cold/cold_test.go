package cold_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/millrace/millrace/state/cold"
	"github.com/millrace/millrace/state/cold/coldtest"
	"github.com/millrace/millrace/state/keygroup"
)

func TestModel(t *testing.T) {
	coldtest.Run(t, func(cold.Config) (cold.Backend, error) { return coldtest.Model{}, nil })
}

func TestABatchComesBackAsItWasPacked(t *testing.T) {
	var b cold.Batch
	b.Put([]byte("a"), bytes.Repeat([]byte("x"), 300))
	b.Delete([]byte("b"))
	b.Merge([]byte("c"), nil)
	b.DeleteRange([]byte("d"), []byte("e"))
	back, err := cold.ParseBatch(bytes.Clone(b.Packed()))
	if err != nil {
		t.Fatal(err)
	}
	if back.Len() != 4 || back.Size() != b.Size() {
		t.Fatalf("%d operations in %d bytes", back.Len(), back.Size())
	}
	var ops []cold.Op
	for op, e := range back.All() {
		ops = append(ops, op)
		if op == cold.Put && (string(e.Key) != "a" || len(e.Value) != 300) || op == cold.DeleteRange && string(e.Value) != "e" {
			t.Errorf("%v of %q: %d bytes", op, e.Key, len(e.Value))
		}
	}
	if got := binary.LittleEndian.Uint32(b.Packed()[8:]); got != 4 || len(ops) != 4 || ops[1] != cold.Delete || ops[2] != cold.Merge {
		t.Errorf("%v, head says %d", ops, got)
	}
	b.Reset()
	if b.Len() != 0 || len(b.Packed()) != b.Size() {
		t.Error("a batch that was emptied is not empty")
	}
}

func TestBuffersAreUsedAgain(t *testing.T) {
	var b cold.Batch
	var k cold.Keys
	key, value := []byte("some key"), []byte("some value")
	round := func() {
		b.Reset()
		k.Reset()
		for range 100 {
			b.Put(key, value)
			k.Add(key)
		}
		n := 0
		for _, e := range b.All() {
			n += len(e.Key)
		}
		if n != len(k.Data) {
			t.Error("keys differ")
		}
	}
	round()
	if n := testing.AllocsPerRun(10, round); n > 0 {
		t.Errorf("%g allocations a round", n)
	}
}

func TestListsExpireElementByElement(t *testing.T) {
	elem := func(time int64, s string) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(8+len(s)))
		return append(binary.LittleEndian.AppendUint64(b, uint64(time)), s...)
	}
	list := func(es ...[]byte) []byte { return bytes.Join(es, nil) }
	a, b, c := elem(1, "a"), elem(20, "bb"), elem(0, "")
	torn := list(a, b)[:20]
	for _, tc := range []struct{ in, want []byte }{
		{list(a, b, c), list(b, c)},
		{list(b, a, c), list(b, c)},
		{list(c, b, a), list(c, b)},
		{list(b, c), list(b, c)},
		{list(a, a), nil},
		{torn, torn},
		{list(a, torn), list(a, torn)},
	} {
		kind := cold.TTL{Lists: true}
		if got := kind.Live(tc.in, 10, nil); !bytes.Equal(got, tc.want) || (got == nil) != (tc.want == nil) {
			t.Errorf("%q: got %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestConfigsOutOfRangeAreRefused(t *testing.T) {
	for _, c := range []cold.Config{{MemoryBytes: 1000}, {WriteShare: 0.99}, {Stores: -1}, {Threads: -1}} {
		if _, err := c.Filled(); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
	c, err := cold.Config{}.Filled()
	if err != nil || c.MemoryBytes != cold.DefaultMemoryBytes || c.WriteBytes() != cold.DefaultMemoryBytes*2/5 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestImagesAreChosenByGroup(t *testing.T) {
	images := []cold.Image{{Dir: "b", Groups: keygroup.Range{Start: 8, End: 15}}, {Dir: "a", Groups: keygroup.Range{Start: 0, End: 7}}}
	got, err := cold.Choose(keygroup.Range{Start: 7, End: 7}, images)
	if err != nil || len(got) != 1 || got[0].Dir != "a" {
		t.Errorf("got %v, %v", got, err)
	}
	got, err = cold.Choose(keygroup.Whole(16), images)
	if err != nil || len(got) != 2 || got[0].Dir != "a" {
		t.Errorf("got %v, %v", got, err)
	}
}

func FuzzParseBatch(f *testing.F) {
	var b cold.Batch
	b.Put([]byte("a"), []byte("xyz"))
	b.DeleteRange([]byte("d"), []byte("e"))
	b.Delete([]byte("b"))
	f.Add(bytes.Clone(b.Packed()))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, packed []byte) {
		b, err := cold.ParseBatch(packed)
		if err != nil {
			if !errors.Is(err, cold.ErrBatch) {
				t.Errorf("error without a mark: %v", err)
			}
			return
		}
		var again cold.Batch
		n := 0
		for op, e := range b.All() {
			n++
			switch op {
			case cold.Put:
				again.Put(e.Key, e.Value)
			case cold.Merge:
				again.Merge(e.Key, e.Value)
			case cold.Delete:
				again.Delete(e.Key)
			case cold.DeleteRange:
				again.DeleteRange(e.Key, e.Value)
			}
		}
		if n != b.Len() || again.Len() != n || again.Size() > b.Size() {
			t.Errorf("%d operations, head says %d; packed again %d in %d bytes of %d", n, b.Len(), again.Len(), again.Size(), b.Size())
		}
	})
}

func FuzzLive(f *testing.F) {
	f.Add([]byte{8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, int64(3), true)
	f.Fuzz(func(t *testing.T, value []byte, now int64, lists bool) {
		kind := cold.TTL{Lists: lists}
		live := kind.Live(value, now, nil)
		if len(live) > len(value) {
			t.Errorf("%d bytes live, of %d", len(live), len(value))
		}
		if live != nil && !bytes.Equal(kind.Live(live, now, nil), live) {
			t.Error("what is live does not stay alive")
		}
	})
}
