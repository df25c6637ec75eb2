package text

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/format"
	"github.com/millrace/millrace/connectors/format/internal/formattest"
	"github.com/millrace/millrace/connectors/format/internal/lines"
)

const sample = "one\n\ntwo\r\n\n\nthree \rhalf\r\nlast"

var sampleLines = []string{"one", "", "two", "", "", "three \rhalf", "last"}

func TestEveryLineComesOnceHoweverTheFileIsCut(t *testing.T) {
	for _, end := range []string{"", "\n", "\r\n"} {
		formattest.SplitsAnywhere(t, Lines(), []byte(sample+end), sampleLines)
		in := formattest.Input([]byte(sample + end))
		formattest.ResumesAnywhere(t, Lines(), in, formattest.Ranges(t, Lines(), in, 5, 6, 12), sampleLines)
	}
}

func TestLinesAcrossChunksAndLongerThanOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 0))
	var want []string
	for total := 0; total < 6*lines.ChunkBytes; {
		n := rng.IntN(300)
		if rng.IntN(400) == 0 {
			n = rng.IntN(2 * lines.ChunkBytes)
		}
		b := make([]byte, n)
		for i := range b {
			b[i] = 'a' + byte(rng.IntN(26))
		}
		want = append(want, string(b))
		total += n
	}
	data := formattest.Write(t, Lines(), want, 1000)
	in := formattest.Input(data)
	for range 5 {
		var near []int64
		for b := rng.Int64N(in.Size); b < in.Size; b += 1 + rng.Int64N(in.Size/3) {
			near = append(near, b)
		}
		rs := formattest.Ranges(t, Lines(), in, near...)
		got, bad, err := formattest.Read(Lines(), in, rs, 256)
		if err != nil || len(bad) > 0 {
			t.Fatal(bad, err)
		}
		formattest.Same(t, got, want, rs)
	}
}

func TestLongLinesAreBadAndPassedOver(t *testing.T) {
	f := Options{LineBytesMax: 1000}.Lines()
	data := "a\n" + strings.Repeat("x", 1000) + "\n" + strings.Repeat("y", 1001) + "\nb\n" + strings.Repeat("z", 3*lines.ChunkBytes) + "\nc"
	got, bad, err := formattest.Read(f, formattest.Input([]byte(data)), formattest.Whole(nil), 2)
	if err != nil || len(got) != 4 || got[3] != "c" || len(bad) != 2 {
		t.Fatal(len(got), bad, err)
	}
	if want := "dir/file.test: line 3, byte 1003: line is longer than the limit of 1000 bytes"; bad[0].Error() != want {
		t.Errorf("got %v, want %v", bad[0], want)
	}
	// Whichever range the long line starts in reports it, and only that one.
	for cut := int64(0); cut < 3000; cut += 7 * formattest.Stride {
		rs := []format.Range{{To: cut}, {From: cut, To: int64(len(data))}}
		got, bad, err := formattest.Read(f, formattest.Input([]byte(data)), rs, 256)
		if err != nil || len(got) != 4 || len(bad) != 2 {
			t.Fatal(cut, len(got), len(bad), err)
		}
	}
}

func TestCompressedFilesReadToWhereTheyAreDamaged(t *testing.T) {
	want := make([]string, 100)
	rng := rand.New(rand.NewPCG(6, 0))
	for i := range want {
		want[i] = strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(40))
	}
	plain := formattest.Write(t, Lines(), want, 100)
	for _, c := range []format.Compression{format.Gzip, format.Zstd} {
		var buf bytes.Buffer
		z, err := format.Compress(&buf, c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		in := formattest.Input(buf.Bytes())
		in.Compression = c
		got, bad, err := formattest.Read(Lines(), in, formattest.Whole(in), 9)
		if err != nil || len(bad) > 0 {
			t.Fatal(c, bad, err)
		}
		formattest.Same(t, got, want, c)
		for cut := 0; cut < buf.Len(); cut += formattest.Stride {
			in := formattest.Input(buf.Bytes()[:cut])
			in.Compression = c
			got, bad, err := formattest.Read(Lines(), in, formattest.Whole(in), 64)
			if err != nil || cut > 0 && len(bad) != 1 || len(got) > len(want) {
				t.Fatalf("%v cut at %d: %d records, %v, %v", c, cut, len(got), bad, err)
			}
			formattest.Same(t, got, want[:len(got)], cut)
			if len(bad) == 1 && !strings.Contains(bad[0].Error(), "dir/file.test: line") {
				t.Fatalf("%v cut at %d: %v", c, cut, bad[0])
			}
		}
		for at := 0; at < buf.Len(); at += formattest.Stride {
			d := bytes.Clone(buf.Bytes())
			d[at] ^= 0x10
			in := formattest.Input(d)
			in.Compression = c
			// A change may show late, or never; it must not do harm.
			if _, _, err := formattest.Read(Lines(), in, formattest.Whole(in), 64); err != nil {
				t.Fatal(c, at, err)
			}
		}
	}
}

func TestCompressedFilesResume(t *testing.T) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	io.WriteString(z, sample)
	z.Close()
	in := formattest.Input(buf.Bytes())
	in.Compression = format.Gzip
	formattest.ResumesAnywhere(t, Lines(), in, formattest.Whole(in), sampleLines)
}

func TestReadingLinesAllocatesChunksOnly(t *testing.T) {
	data := []byte(strings.Repeat("a line of text\n", 200_000))
	rd, err := Lines().Open(formattest.Input(data), format.Range{To: int64(len(data))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	out := millrace.NewRows[string](256)
	read := func() {
		out.Reset()
		if err := rd.Read(context.Background(), out); err != nil || out.Len() != 256 {
			t.Fatal(out.Len(), err)
		}
	}
	read()
	// A chunk holds 17 batches.
	if n := testing.AllocsPerRun(500, read); n > 0.1 {
		t.Errorf("%v allocations for 256 lines", n)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(sample), int64(3), 4)
	f.Fuzz(func(t *testing.T, data []byte, cut int64, longest int) {
		in := formattest.Input(data)
		c := Options{LineBytesMax: longest}.Lines()
		one, bad1, err1 := formattest.Read(c, in, formattest.Whole(in), 5)
		if err1 != nil {
			t.Fatal(err1)
		}
		if cut < 0 || cut > in.Size {
			return
		}
		two, bad2, err := formattest.Read(c, in, []format.Range{{To: cut}, {From: cut, To: in.Size}}, 5)
		if err != nil || len(bad1) != len(bad2) {
			t.Fatal(err, len(bad1), len(bad2))
		}
		formattest.Same(t, two, one, cut)
	})
}

func BenchmarkRead(b *testing.B) {
	data := []byte(strings.Repeat("the quick brown fox jumps over the lazy dog and some more\nshort line\n", 100_000))
	formattest.Bench(b, Lines(), data, 200_000)
}
