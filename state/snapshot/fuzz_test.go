package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/millrace/millrace/state/blob"
)

// tiny is a snapshot of a few hundred bytes.
func tiny(t testing.TB) (*blob.Memory, *Folder) {
	t.Helper()
	store := &blob.Memory{}
	f := NewFolder(store, "")
	w, err := f.Writer(WriterOptions{Checkpoint: 1, Attempt: 1, Worker: "w", InlineBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	var parts []*Partial
	p, err := w.Write(t.Context(), Part{UID: "a", Parallelism: 1, MaxParallelism: 4, Pieces: []Piece{
		{State: "s", Group: 0, Encode: func(dst []byte) ([]byte, error) { return append(dst, "hello hello hello hello hello"...), nil }},
		{State: "s", Group: 3, Encode: func(dst []byte) ([]byte, error) { return append(dst, "world"...), nil }},
		{State: "o", Group: OperatorGroup, Encode: func(dst []byte) ([]byte, error) { return dst, nil }},
	}})
	if err := errors.Join(err, w.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	m, err := Assemble(Info{Checkpoint: 1, Attempt: 1, Kind: Checkpoint, MaxParallelism: 4}, append(parts, p))
	if err == nil {
		err = f.Publish(t.Context(), m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return store, f
}

// What is accepted is consistent, and encodes to something that is the same.
// The envelope is made here, so that the fuzzer gets behind the checksum.
func FuzzDecodeManifest(f *testing.F) {
	store, _ := tiny(f)
	data, err := blob.ReadAll(f.Context(), store, "chk-1/_metadata", 0, -1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[manifestHeadBytes : len(data)-sumBytes])
	f.Fuzz(func(t *testing.T, body []byte) {
		file := append([]byte(manifestMagic), 1, 0, 0, 0, 0, 0, 0, 0)
		file = append(binary.LittleEndian.AppendUint64(file, uint64(len(body))), body...)
		file = binary.LittleEndian.AppendUint64(file, xxhash.Sum64(file))
		m, err := Decode("m", file)
		var p Partial
		_ = p.UnmarshalBinary(body)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatalf("decoded, and then: %v", err)
		}
		m2, err := Decode("m", again)
		if err != nil {
			t.Fatal(err)
		}
		a, err := m.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := m2.JSON(); err != nil || !bytes.Equal(a, b) {
			t.Fatalf("%s\n%s, %v", a, b, err)
		}
		// Reading through any manifest must not panic, whatever is in the store.
		s := &Snapshot{Manifest: m, store: store, dir: "chk-1"}
		_ = s.Verify(t.Context())
		for i := range m.Operators {
			for _, c := range m.Operators[i].chunks() {
				_, _ = s.Read(t.Context(), &m.Operators[i], c)
				_ = s.Copy(t.Context(), &m.Operators[i], c, &bytes.Buffer{})
			}
		}
		Compare(m, m2)
		m.Sizes()
		newBase(m, 0.5)
	})
}

// Blocks with right checksums around wrong content, and wrong files.
func FuzzReadBlocks(f *testing.F) {
	for _, n := range []int{1, 30, 500} {
		b := newBlock(bytes.Repeat([]byte("ab"), n), true, false)
		f.Add(b.head[:16], b.payload, []byte("x"))
	}
	f.Add([]byte{}, []byte{}, []byte("MRDATA\r\n"))
	f.Fuzz(func(t *testing.T, head, payload, tail []byte) {
		var h [blockHeadBytes]byte
		copy(h[:16], head)
		b := block{head: h, payload: payload}
		word := fileWord("f")
		b.place(word, headBytes)
		src := append(b.head[:], payload...)
		size, raw, err := decodeBlock(nil, append(src, tail...), word, headBytes)
		if err == nil && (size != len(src) && size > len(src)+len(tail) || len(raw) == 0 || len(raw) > blockBytesMax) {
			t.Fatalf("a block of %d bytes in %d", len(raw), size)
		}
		file := append(appendHead(nil), src...)
		file = append(file, tail...)
		_, _, err = walkFile(bytes.NewReader(file), "f", func(int64, int, []byte) error { return nil })
		var fe *fileError
		if err == nil || !errors.As(err, &fe) {
			// A whole file by chance needs a foot with a right checksum.
			if !bytes.Contains(file, []byte(footMagic)) {
				t.Fatal(err)
			}
		}
		_, _, _ = walkFile(bytes.NewReader(tail), "f", func(int64, int, []byte) error { return nil })
	})
}

func BenchmarkWrite(b *testing.B) {
	for _, incremental := range []bool{false, true} {
		b.Run(fmt.Sprintf("incremental=%t", incremental), func(b *testing.B) {
			const groups, size = 128, 256 << 10
			j := newJob(1)
			data := make([][]byte, groups)
			for g := range data {
				for i := 0; i < size; i += 32 { // a key, a count, a time
					data[g] = binary.LittleEndian.AppendUint64(data[g], j.rng.Uint64())
					data[g] = binary.LittleEndian.AppendUint64(data[g], uint64(j.rng.IntN(1000)))
					data[g] = binary.LittleEndian.AppendUint64(data[g], 1_700_000_000_000+uint64(i))
					data[g] = binary.LittleEndian.AppendUint64(data[g], 0)
				}
			}
			p := Part{UID: "a", Parallelism: 1, MaxParallelism: groups}
			for g := range data {
				p.Pieces = append(p.Pieces, Piece{State: "s", Group: g, Encode: func(dst []byte) ([]byte, error) { return append(dst, data[g]...), nil }})
			}
			run := func(id uint64, base *Manifest) *Manifest {
				w, err := NewFolder(&blob.Memory{}, "").Writer(WriterOptions{Checkpoint: id, Attempt: 1, Worker: "w", Base: base})
				if err != nil {
					b.Fatal(err)
				}
				out, err := w.Write(b.Context(), p)
				if err := errors.Join(err, w.Close(b.Context())); err != nil {
					b.Fatal(err)
				}
				m, err := Assemble(Info{Checkpoint: id, Attempt: 1, Kind: Checkpoint, MaxParallelism: groups}, []*Partial{out})
				if err != nil {
					b.Fatal(err)
				}
				return m
			}
			var base *Manifest
			if incremental {
				base = run(1, nil)
			}
			b.SetBytes(groups * size)
			for b.Loop() {
				run(2, base)
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	store := &blob.Memory{}
	f := NewFolder(store, "")
	j := newJob(1)
	j.size = 2 << 20
	for g := range j.max {
		j.touch(g)
	}
	m, err := j.checkpoint(b.Context(), f, 1, 1, nil)
	if err != nil {
		b.Fatal(err)
	}
	s, err := Open(b.Context(), store, f.CheckpointDir(1))
	if err != nil {
		b.Fatal(err)
	}
	o := s.Manifest.Operator("count")
	var chunks []*Chunk
	for i := range o.State(Keyed, "sum").Entries {
		chunks = append(chunks, &o.State(Keyed, "sum").Entries[i].Chunk)
		b.SetBytes(0)
	}
	total := int64(0)
	for _, c := range chunks {
		total += c.Bytes
	}
	_ = m
	b.SetBytes(total)
	for b.Loop() {
		if err := s.Load(b.Context(), o, chunks, func(int, []byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
