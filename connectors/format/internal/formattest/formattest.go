// Package formattest has the tests that every file format passes: records come
// out once however a file is cut, reading goes on from any position, and
// damage is reported and never more than that.
package formattest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/format"
)

// Path is the name files under test have.
const Path = "dir/file.test"

// Input is data as a file.
func Input(data []byte) *format.Input {
	return &format.Input{Path: Path, R: bytes.NewReader(data), Size: int64(len(data))}
}

// Write is the file a format makes of records, given to it in pieces.
func Write[T any](t testing.TB, f format.Format[T], recs []T, piece int) []byte {
	t.Helper()
	var buf bytes.Buffer
	e, err := f.Encode(&buf)
	if err != nil {
		t.Fatal(err)
	}
	for len(recs) > 0 {
		n := min(piece, len(recs))
		if err := e.Encode(recs[:n]); err != nil {
			t.Fatal(err)
		}
		recs = recs[n:]
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Whole is the range that covers in.
func Whole(in *format.Input) []format.Range { return []format.Range{{To: math.MaxInt64}} }

// Ranges cuts in as near to the offsets as the format can.
func Ranges[T any](t testing.TB, f format.Format[T], in *format.Input, near ...int64) []format.Range {
	t.Helper()
	cuts, err := f.Cuts(in, near)
	if err != nil {
		t.Fatal(err)
	}
	var rs []format.Range
	var from int64
	for _, c := range cuts {
		if c < from || c > in.Size {
			t.Fatalf("cut at %d after %d in %d bytes", c, from, in.Size)
		}
		rs = append(rs, format.Range{From: from, To: c})
		from = c
	}
	return append(rs, format.Range{From: from, To: in.Size})
}

// Read reads the ranges one after another, size records at a time.
func Read[T any](f format.Format[T], in *format.Input, rs []format.Range, size int) (recs []T, bad []millrace.BadRecord, err error) {
	for _, r := range rs {
		rd, err := f.Open(in, r, nil)
		if err != nil {
			return recs, bad, err
		}
		recs, bad, err = drain(rd, recs, bad, size)
		if err = errors.Join(err, rd.Close()); err != nil {
			return recs, bad, err
		}
	}
	return recs, bad, nil
}

// idleMax bounds reads that bring neither a record nor a bad one.
const idleMax = 1000

func drain[T any](rd millrace.Reader[T], recs []T, bad []millrace.BadRecord, size int) ([]T, []millrace.BadRecord, error) {
	out := millrace.NewRows[T](size)
	for idle := 0; ; idle++ {
		out.Reset()
		err := rd.Read(context.Background(), out)
		recs = append(recs, out.Records()...)
		bad = append(bad, out.BadRecords()...)
		if len(out.Records()) > 0 || len(out.BadRecords()) > 0 {
			idle = 0
		}
		switch {
		case err == io.EOF:
			return recs, bad, nil
		case err != nil:
			return recs, bad, err
		case len(out.Times()) != len(out.Records()):
			return recs, bad, errors.New("times and records differ in number")
		case idle > idleMax:
			return recs, bad, errors.New("the reader brings nothing and does not end")
		}
		for _, at := range out.Times() {
			if at != math.MinInt64 {
				return recs, bad, errors.New("a record has an event time that nobody gave")
			}
		}
	}
}

// SplitsAnywhere cuts a file in two at every byte, and in many at random
// places, and wants every record once and in order.
func SplitsAnywhere[T any](t *testing.T, f format.Format[T], data []byte, want []T) {
	t.Helper()
	in := Input(data)
	check := func(rs []format.Range, size int) {
		t.Helper()
		got, bad, err := Read(f, in, rs, size)
		if err != nil || len(bad) > 0 {
			t.Fatalf("ranges %v: %v %v", rs, bad, err)
		}
		Same(t, got, want, rs)
	}
	for b := int64(1); b < in.Size; b += Stride {
		check(Ranges(t, f, in, b), 7)
	}
	rng := rand.New(rand.NewPCG(11, 0))
	for range 1 + 50/Stride {
		var near []int64
		for b := rng.Int64N(20); b < in.Size; b += 1 + rng.Int64N(1+in.Size/4) {
			near = append(near, b)
		}
		check(Ranges(t, f, in, near...), 1+rng.IntN(30))
	}
}

// ResumesAnywhere reads a part, opens again at the position, and wants the
// rest.
func ResumesAnywhere[T any](t *testing.T, f format.Format[T], in *format.Input, rs []format.Range, want []T) {
	t.Helper()
	for _, size := range []int{64, 3, 1}[:1+2/Stride] {
		var before []T
		for _, r := range rs {
			rd, err := f.Open(in, r, nil)
			if err != nil {
				t.Fatal(err)
			}
			for {
				out := millrace.NewRows[T](size)
				err := rd.Read(context.Background(), out)
				if err != nil && err != io.EOF {
					t.Fatal(err)
				}
				before = append(before, out.Records()...)
				at := rd.Position()
				again, err2 := f.Open(in, r, at)
				if err2 != nil {
					t.Fatalf("open %v at %x: %v", r, at, err2)
				}
				rest, bad, err2 := drain(again, nil, nil, 16)
				if err2 != nil || len(bad) > 0 {
					t.Fatalf("read %v at %x: %v %v", r, at, bad, err2)
				}
				if err2 := again.Close(); err2 != nil {
					t.Fatal(err2)
				}
				n := len(before) + len(rest)
				if n > len(want) || r == rs[len(rs)-1] && n != len(want) {
					t.Fatalf("range %v at %x: %d records before and %d after, want %d", r, at, len(before), len(rest), len(want))
				}
				Same(t, append(append([]T(nil), before...), rest...), want[:n], r)
				if err == io.EOF {
					break
				}
			}
			if err := rd.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// SurvivesDamage changes and cuts short a file at every byte, and wants
// errors that name the file, no panic, and no more records than there were.
// Records before damaged ones must be right if the format says so by prefix.
func SurvivesDamage[T any](t *testing.T, f format.Format[T], data []byte, want []T) {
	t.Helper()
	// Damage to a length or a line end can make records, but not many.
	limit := 2*len(want) + len(data)
	try := func(what string, damaged []byte, at int) {
		t.Helper()
		in := Input(damaged)
		rs := Whole(in)
		if at%3 == 0 {
			if cuts, err := f.Cuts(in, []int64{in.Size / 2}); err != nil {
				t.Fatalf("%s at %d: cuts: %v", what, at, err)
			} else if len(cuts) > 0 {
				rs = []format.Range{{To: cuts[0]}, {From: cuts[0], To: in.Size}}
			}
		}
		got, bad, err := Read(f, in, rs, 50)
		if err != nil && !strings.Contains(err.Error(), Path) {
			t.Errorf("%s at %d: error does not name the file: %v", what, at, err)
		}
		for _, b := range bad {
			if b.Split != Path || b.Reason == "" {
				t.Errorf("%s at %d: bad record says too little: %+v", what, at, b)
			}
		}
		if len(got)+len(bad) > limit {
			t.Errorf("%s at %d: %d records and %d bad ones of %d", what, at, len(got), len(bad), len(want))
		}
	}
	for i := 0; i < len(data); i += Stride {
		try("cut", data[:i:i], i)
		d := bytes.Clone(data)
		d[i] ^= [...]byte{0xff, 0x01, 0x80}[i%3]
		try("change", d, i)
	}
}

// Same wants got to be want.
func Same[T any](t testing.TB, got, want []T, with any) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 || reflect.DeepEqual(got, want) {
		return
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !reflect.DeepEqual(got[i], want[i]) {
			var g, w any
			if i < len(got) {
				g = got[i]
			}
			if i < len(want) {
				w = want[i]
			}
			t.Fatalf("with %v: record %d of %d is %+v, want %+v of %d", with, i, len(got), g, w, len(want))
		}
	}
}

// Bench reads data, which holds n records, again and again.
func Bench[T any](b *testing.B, f format.Format[T], data []byte, n int) {
	in := Input(data)
	out := millrace.NewRows[T](256)
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		rd, err := f.Open(in, format.Range{To: in.Size}, nil)
		if err != nil {
			b.Fatal(err)
		}
		got := 0
		for err == nil {
			out.Reset()
			err = rd.Read(context.Background(), out)
			got += out.Len()
			if len(out.BadRecords()) > 0 {
				b.Fatal(out.BadRecords()[0])
			}
		}
		if err != io.EOF || got != n || rd.Close() != nil {
			b.Fatal(got, err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
