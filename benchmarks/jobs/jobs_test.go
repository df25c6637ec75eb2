package jobs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace"
)

// small is a run of j that takes no time worth mentioning.
func small(t *testing.T, j Job) *Run {
	t.Helper()
	p := j.Defaults
	p.Parallelism = 2
	if j.Name == "wordcount" {
		p.Bytes = 100_000
		p.Input = t.TempDir()
	} else {
		p.Events = 20_000
	}
	if p.Rate > 0 {
		p.Rate, p.Warmup = 1_000_000, 5*time.Millisecond
	}
	r, err := j.New(p)
	if err != nil {
		t.Fatal(err)
	}
	if r.Prepare != nil {
		if err := r.Prepare(t.Context(), func(int64, int64) {}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestJobsAndTheirBaselinesCountTheSame(t *testing.T) {
	for _, j := range All() {
		t.Run(j.Name, func(t *testing.T) {
			plain := small(t, j)
			if err := plain.Plain(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, parallelism := range []int{1, 3} {
				r := small(t, j)
				err := millrace.RunWith(t.Context(), j.Name, millrace.RunOptions{Parallelism: parallelism}, r.Build)
				if err != nil {
					t.Fatal(err)
				}
				if r.Events() == 0 || r.Events() != plain.Events() {
					t.Errorf("parallelism %d: %d events, the plain loop has %d", parallelism, r.Events(), plain.Events())
				}
				if r.Results.Rows() == 0 || r.Results.Rows() != plain.Results.Rows() {
					t.Errorf("parallelism %d: %d result rows, the plain loop has %d", parallelism, r.Results.Rows(), plain.Results.Rows())
				}
				if r.Results.First().IsZero() {
					t.Errorf("parallelism %d: no first record was seen", parallelism)
				}
				if r.Latency != nil && r.Latency.Count() != plain.Latency.Count() {
					t.Errorf("parallelism %d: %d latencies, the plain loop has %d", parallelism, r.Latency.Count(), plain.Latency.Count())
				}
				if err := millrace.RunWith(t.Context(), j.Name, millrace.RunOptions{Parallelism: parallelism},
					func(j *millrace.Job) { r.Source(j, 1000) }); err != nil {
					t.Errorf("source alone: %v", err)
				}
			}
		})
	}
}

func TestSplitsTogetherMakeEveryRecordOnce(t *testing.T) {
	for _, splits := range []int{1, 2, 7} {
		src := newGenerated(1000, 0, func(rows []int64, times []int64, seq, step int64) {
			untimed(times)
			for i := range rows {
				rows[i] = seq
				seq += step
			}
		})
		list, err := src.Splits(t.Context(), splits)
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, s := range list {
			at := millrace.Position(nil)
			for ended := false; !ended; {
				// A fresh reader for each batch: positions must be exact.
				r, err := src.Open(t.Context(), s, at)
				if err != nil {
					t.Fatal(err)
				}
				rows := millrace.NewRows[int64](64)
				ended = r.Read(t.Context(), rows) != nil
				got = append(got, rows.Records()...)
				at = r.Position()
			}
		}
		slices.Sort(got)
		for i := range int64(1000) {
			if len(got) != 1000 || got[i] != i {
				t.Fatalf("%d splits: %d records, not 0 to 999 once each", splits, len(got))
			}
		}
	}
}

func TestRecordsAreDueAtTheirRate(t *testing.T) {
	p := NewPace(3)
	for _, seq := range []int64{0, 1, 2, 3, 1_000_000_000} {
		due := p.Due(seq)
		if n := p.DueBy(due + 1); n != seq+1 {
			t.Errorf("at %d ns, when record %d is due, %d are", due, seq, n)
		}
	}
}

func TestHistogramQuantilesAreWithinAPercent(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	var all []int64
	for range 10_000 {
		d := int64(1) << rng.IntN(40)
		d += rng.Int64N(d)
		all = append(all, d)
		part := &Histogram{}
		part.Add(time.Duration(d))
		if len(all)%2 == 0 {
			h.Add(time.Duration(d))
		} else if len(all) < 100 {
			h.Merge(part)
		} else {
			h.Add(time.Duration(d))
		}
	}
	slices.Sort(all)
	for _, q := range []float64{0, .5, .9, .99, .999, .9999, 1} {
		want := all[max(int(q*float64(len(all))+0.5), 1)-1]
		got := int64(h.Quantile(q))
		if got < want || float64(got) > float64(want)*1.01 {
			t.Errorf("quantile %v is %d, want %d to 1 %% above", q, got, want)
		}
	}
	if h.Count() != 10_000 || int64(h.Max()) != all[len(all)-1] {
		t.Errorf("%d counted up to %v", h.Count(), h.Max())
	}
}

func TestTextIsTheSameEveryTime(t *testing.T) {
	read := func() string {
		dir := t.TempDir()
		if err := MakeText(t.Context(), dir, 50_000, func(int64, int64) {}); err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for f := range textFiles {
			b, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("part-%d.txt", f)))
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
		}
		return all.String()
	}
	text := read()
	if again := read(); again != text {
		t.Error("two texts of one size differ")
	}
	if len(text) < 50_000 || len(text) > 51_000 {
		t.Errorf("%d bytes of text, want 50,000 and the ends of lines", len(text))
	}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		for _, w := range words {
			if len(w) < 3 || len(w) > 10 {
				t.Fatalf("word %q in line %q", w, line)
			}
		}
		if len(words) != textLineWords {
			t.Fatalf("line %q", line)
		}
	}
}

func TestInterruptedTextLeavesNothingBehind(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	err := MakeText(ctx, dir, 1<<40, func(done, _ int64) {
		if done > 0 {
			cancel()
		}
	})
	if err == nil {
		t.Fatal("no error")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestWordsAreWhatLiesBetweenBlanks(t *testing.T) {
	for line, want := range map[string][]string{
		"":           nil,
		" ":          nil,
		"a":          {"a"},
		"a bc":       {"a", "bc"},
		"  a   bc  ": {"a", "bc"},
	} {
		var got []string
		eachWord(line, func(w string) { got = append(got, w) })
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestZipfDrawsFirstWordsAsOftenAsTheyShould(t *testing.T) {
	const n, draws = 1000, 1_000_000
	a := newAlias(n)
	rng := rand.New(rand.NewPCG(3, 4))
	var got [n]int
	for range draws {
		got[a.next(rng)]++
	}
	sum := 0.0
	for i := range n {
		sum += 1 / float64(i+1)
	}
	for i := range 10 {
		want := draws / (float64(i+1) * sum)
		if f := float64(got[i]); f < want*.95 || f > want*1.05 {
			t.Errorf("word %d drawn %d times, want about %.0f", i, got[i], want)
		}
	}
}

func TestFlatCountsCountLikeAMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	flat, want := newFlatCounts(), map[int64]int64{}
	out := make([]Pair, plainBatch)
	for range 100 {
		rows := make([]Pair, 1+rng.IntN(plainBatch))
		for i := range rows {
			rows[i].Key = rng.Int64N(5000) - 2500
		}
		flat.addBatch(rows, out)
		for i, r := range rows {
			want[r.Key]++
			if out[i] != (Pair{r.Key, want[r.Key]}) {
				t.Fatalf("%v, want count %d of key %d", out[i], want[r.Key], r.Key)
			}
		}
	}
	n := 0
	flat.each(func(key, count int64) {
		n++
		if count != want[key] {
			t.Errorf("key %d: %d, want %d", key, count, want[key])
		}
	})
	if n != len(want) {
		t.Errorf("%d keys, want %d", n, len(want))
	}
}

func TestMakingRecordsAllocatesNothing(t *testing.T) {
	rows, times := make([]Bid, 256), make([]int64, 256)
	texts := newBidTexts()
	if n := testing.AllocsPerRun(100, func() { texts.fill(rows, times, 7, 2) }); n != 0 {
		t.Errorf("bids: %v allocations a batch", n)
	}
	flat := newFlatCounts()
	pairs, fill := make([]Pair, 256), uniformPairs(100)
	if n := testing.AllocsPerRun(100, func() {
		fill(pairs, times, 7, 2)
		flat.addBatch(pairs, pairs)
	}); n != 0 {
		t.Errorf("counts: %v allocations a batch", n)
	}
}
