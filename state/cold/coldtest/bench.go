package coldtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/millrace/millrace/state/cold"
	"github.com/millrace/millrace/state/keygroup"
)

// benchKeys is how many entries the store of a benchmark has.
const benchKeys = 5_000_000

// Bench measures a backend with five million entries of 18 bytes under 24 and
// 256 MiB of memory: look-ups, writes, sorted runs, scans and checkpoints. It
// reports nanoseconds of CPU, of all threads, for each entry.
func Bench(b *testing.B, mk Make) {
	backend := make1(b, mk, cold.Config{MemoryBytes: 256 << 20})
	dir := b.TempDir()
	s, err := backend.Create(filepath.Join(dir, "db"), groups, cold.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	rng := rand.New(rand.NewPCG(1, 2))

	b.Run("Load", func(b *testing.B) {
		var w cold.Batch
		cpu := cpuTime()
		n := 0
		for b.Loop() {
			r, err := s.NewRun()
			if err != nil {
				b.Fatal(err)
			}
			for i := 0; i < benchKeys; i += 512 {
				w.Reset()
				for j := i; j < i+512; j++ {
					benchPut(&w, j, 0)
				}
				if err := r.Add(&w); err != nil {
					b.Fatal(err)
				}
			}
			if err := r.Ingest(); err != nil {
				b.Fatal(err)
			}
			n += benchKeys
		}
		report(b, cpu, n)
	})
	b.Run("MultiGetCold512", func(b *testing.B) {
		var keys cold.Keys
		var values cold.Values
		var key [18]byte
		n := 0
		cpu := cpuTime()
		for b.Loop() {
			keys.Reset()
			for range 512 {
				keys.Add(benchKey(key[:], rng.IntN(benchKeys)))
			}
			if err := s.MultiGet(&keys, &values); err != nil {
				b.Fatal(err)
			}
			n += 512
		}
		report(b, cpu, n)
		// From here on every block is in the cache, or was.
		for i := 0; i < benchKeys; {
			keys.Reset()
			for ; keys.Len() < 4096 && i < benchKeys; i += 50 {
				keys.Add(benchKey(key[:], i))
			}
			if err := s.MultiGet(&keys, &values); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, zipf := range []bool{false, true} {
		pick := func() int { return rng.IntN(benchKeys) }
		name := "Uniform"
		if zipf {
			z := rand.NewZipf(rng, 1.05, 1, benchKeys-1)
			// Spread the frequent ones over all keys.
			pick = func() int { return int(z.Uint64() * 2654435761 % benchKeys) }
			name = "Zipf"
		}
		for _, size := range []int{64, 512, 4096} {
			b.Run(fmt.Sprintf("MultiGet%s%d", name, size), func(b *testing.B) {
				var keys cold.Keys
				var values cold.Values
				var key [18]byte
				found, n := 0, 0
				cpu := cpuTime()
				for b.Loop() {
					keys.Reset()
					for range size {
						keys.Add(benchKey(key[:], pick()))
					}
					if err := s.MultiGet(&keys, &values); err != nil {
						b.Fatal(err)
					}
					found += len(values.Data) / 24
					n += size
				}
				if found != n {
					b.Fatalf("%d of %d found", found, n)
				}
				report(b, cpu, n)
			})
		}
		b.Run("Write"+name+"512", func(b *testing.B) {
			var w cold.Batch
			n := 0
			cpu := cpuTime()
			for b.Loop() {
				w.Reset()
				for range 512 {
					benchPut(&w, pick(), n)
				}
				if err := s.Write(&w); err != nil {
					b.Fatal(err)
				}
				n += 512
			}
			report(b, cpu, n)
		})
	}
	b.Run("Ingest100k", func(b *testing.B) {
		var w cold.Batch
		n := 0
		cpu := cpuTime()
		for b.Loop() {
			r, err := s.NewRun()
			if err != nil {
				b.Fatal(err)
			}
			w.Reset()
			for i := rng.IntN(50); i < benchKeys; i += 50 {
				benchPut(&w, i, n)
				n++
			}
			if err := errors.Join(r.Add(&w), r.Ingest()); err != nil {
				b.Fatal(err)
			}
		}
		report(b, cpu, n)
	})
	b.Run("Scan", func(b *testing.B) {
		var w cold.Batch
		n := 0
		cpu := cpuTime()
		for b.Loop() {
			scan, err := s.Scan(nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			for more := true; more; {
				if more, err = scan.Next(&w); err != nil {
					b.Fatal(err)
				}
				n += w.Len()
			}
			_ = scan.Close()
		}
		report(b, cpu, n)
	})
	b.Run("Checkpoint", func(b *testing.B) {
		var w cold.Batch
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			w.Reset()
			for range 10000 {
				benchPut(&w, rng.IntN(benchKeys), i)
			}
			if err := s.Write(&w); err != nil {
				b.Fatal(err)
			}
			to := filepath.Join(dir, fmt.Sprintf("checkpoint-%d-%d", b.N, i))
			b.StartTimer()
			if _, err := s.Checkpoint(to); err != nil {
				b.Fatal(err)
			}
		}
	})
	im, err := s.Checkpoint(filepath.Join(dir, "image"))
	if err != nil {
		b.Fatal(err)
	}
	half := im
	im.Groups.End = 7
	half.Groups.Start = 8
	for _, c := range []struct {
		name   string
		groups keygroup.Range
		images []cold.Image
	}{
		{"RestoreWhole", keygroup.Whole(8), []cold.Image{im}},
		{"RestoreClipped", keygroup.Whole(5), []cold.Image{im}},
		{"RestoreTwo", keygroup.Range{Start: 3, End: 12}, []cold.Image{im, half}},
	} {
		b.Run(c.name, func(b *testing.B) {
			to := filepath.Join(dir, "restored")
			for b.Loop() {
				r, err := backend.Restore(to, c.groups, cold.Options{}, c.images...)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := errors.Join(r.Close(), os.RemoveAll(to)); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
	b.Logf("%+v", s.Stats())
}

// benchKey is entry i's key: key group, key, namespace.
func benchKey(into []byte, i int) []byte {
	binary.BigEndian.PutUint16(into, uint16(i*16/benchKeys))
	binary.BigEndian.PutUint64(into[2:], uint64(i)*0x9e3779b97f4a7c15>>40|uint64(i)<<24)
	binary.BigEndian.PutUint64(into[10:], 7)
	return into[:18]
}

func benchPut(w *cold.Batch, i, salt int) {
	var key [18]byte
	var value [24]byte
	binary.LittleEndian.PutUint64(value[:], uint64(i))
	binary.LittleEndian.PutUint64(value[8:], uint64(salt))
	binary.LittleEndian.PutUint64(value[16:], uint64(i)*0x9e3779b97f4a7c15)
	w.Put(benchKey(key[:], i), value[:])
}

// cpuTime is what the process has used, in nanoseconds.
func cpuTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func report(b *testing.B, before int64, entries int) {
	b.ReportMetric(float64(cpuTime()-before)/float64(entries), "cpu-ns/entry")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(entries), "ns/entry")
}
