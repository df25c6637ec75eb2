//go:build rocksdb && cgo

package rocks_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path/filepath"
	"testing"

	"github.com/millrace/millrace/state/cold"
	"github.com/millrace/millrace/state/cold/coldtest"
	"github.com/millrace/millrace/state/keygroup"
	"github.com/millrace/millrace/state/rocks"
)

func TestRocks(t *testing.T) { coldtest.Run(t, rocks.New) }

func TestPartitionedIndexesFindTheSame(t *testing.T) {
	b, err := rocks.New(cold.Config{MemoryBytes: cold.MinMemoryBytes, PartitionedIndexes: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.Create(filepath.Join(t.TempDir(), "db"), keygroup.Whole(4), cold.Options{Compression: cold.Dense})
	if err != nil {
		t.Fatal(err)
	}
	run, err := s.NewRun()
	if err != nil {
		t.Fatal(err)
	}
	var w cold.Batch
	var keys cold.Keys
	var values cold.Values
	for i := range 40000 {
		k := binary.BigEndian.AppendUint32(cold.GroupKey(i/10000), uint32(i))
		w.Put(k, k)
		if i%7 == 0 {
			keys.Add(k)
		}
	}
	if err := errors.Join(run.Add(&w), run.Ingest(), s.MultiGet(&keys, &values)); err != nil {
		t.Fatal(err)
	}
	for i := range keys.Len() {
		if v, ok := values.Value(i); !ok || !bytes.Equal(v, keys.Key(i)) {
			t.Fatalf("key %x: got %x, %v", keys.Key(i), v, ok)
		}
	}
	if err := errors.Join(s.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestBatchesDoNotAllocate(t *testing.T) { coldtest.Allocations(t, rocks.New, 0) }

func TestRocksOnAFullDisk(t *testing.T) { coldtest.FullDisk(t, rocks.New) }

func BenchmarkRocks(b *testing.B) { coldtest.Bench(b, rocks.New) }
