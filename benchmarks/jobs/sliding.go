package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/millrace/millrace"
)

// eventsPerMilli is how many records have one event time: a million a second.
const eventsPerMilli = 1000

// slidingPairs makes pairs in the order of their event times. The keys are
// auctions as in bids, or, if keys is not 0, evenly spread numbers.
func slidingPairs(keys int64) Fill[Pair] {
	return func(rows []Pair, times []int64, seq, step int64) {
		if keys > 0 {
			for i := range rows {
				rows[i] = Pair{uniformKey(seq, keys), 1}
				times[i] = seq / eventsPerMilli
				seq += step
			}
			return
		}
		for i := range rows {
			x := Mix(seq)
			rows[i] = Pair{auctionOf(seq, x), 100 + int64(x>>40)}
			times[i] = seq / eventsPerMilli
			seq += step
		}
	}
}

func sliding() Job {
	return Job{
		Name:  "sliding",
		Short: "count of each key in a sliding window of event time",
		Long: `Records of 16 bytes, a million in each second of event time, are counted by key
in a sliding window. Keys are auctions as in passthrough (some 65,000 new ones a
second), or --keys evenly spread numbers. Every window sends a row for each of
its keys: with auctions and a slide of 20 ms that is 33 rows for each event, so
take --keys 10000 with small slides.`,
		Unit:     "events",
		Defaults: Params{Events: 60_000_000, Size: 10 * time.Second, Slide: 2 * time.Second},
		Flags:    []string{"size", "slide", "keys"},
		New: func(p Params) (*Run, error) {
			size, slide := p.Size.Milliseconds(), p.Slide.Milliseconds()
			if slide < 1 || size < slide {
				return nil, fmt.Errorf("sliding: size %v, slide %v: the slide must be at least 1ms and at most the size", p.Size, p.Slide)
			}
			if p.Keys < 0 {
				return nil, fmt.Errorf("sliding: keys %d: must not be negative", p.Keys)
			}
			fill := slidingPairs(p.Keys)
			r := &Run{Results: &Tally{}, SourceTally: &Tally{}, Events: fixed(p.Events)}
			source := func(n int64) millrace.Source[Pair] { return newGenerated(n, p.Rate, fill) }
			r.Build = func(j *millrace.Job) {
				j.From("pairs", source(p.Events)).
					KeyByRef(func(p *Pair) int64 { return p.Key }).
					Window(millrace.Sliding(p.Size, p.Slide)).
					Count("count").
					To("discard", discard[millrace.Result[int64, int64]]{r.Results})
			}
			r.Source = sourceOnly(source, r.SourceTally)
			r.Plain = func(ctx context.Context) error {
				w := newPlainWindows(size, slide)
				err := plainLoop(ctx, p.Events, fill, w.add)
				w.finish()
				r.Results.rows.Add(w.results)
				return err
			}
			return r, nil
		},
	}
}

// plainWindows counts records that come in the order of their times, in panes
// that every window is made up of.
type plainWindows struct {
	size, slide, pane int64
	panes             []*flatCounts // of the last size/pane panes, the oldest first
	totals            windowTotals  // over panes
	end               int64         // of the last pane
	begun             bool
	out               []Pair
	results           int64
}

func newPlainWindows(size, slide int64) *plainWindows {
	pane := size
	for b := slide; b != 0; {
		pane, b = b, pane%b
	}
	w := &plainWindows{size: size, slide: slide, pane: pane, out: make([]Pair, plainBatch)}
	for range size / pane {
		w.panes = append(w.panes, newFlatCounts())
	}
	w.totals.t = newFlatCounts()
	return w
}

func (w *plainWindows) add(rows []Pair, times []int64) {
	if !w.begun {
		w.begun = true
		w.end = times[0] - times[0]%w.pane + w.pane
	}
	for len(rows) > 0 {
		n := 0
		for n < len(rows) && times[n] < w.end {
			n++
		}
		w.panes[len(w.panes)-1].addBatch(rows[:n], w.out)
		if rows, times = rows[n:], times[n:]; len(rows) > 0 {
			w.closePane()
		}
	}
}

// closePane ends the last pane, sends the results of the window that ends with
// it, if one does, and drops the oldest pane.
func (w *plainWindows) closePane() {
	last := w.panes[len(w.panes)-1]
	last.each(w.totals.add)
	if (w.end-w.size)%w.slide == 0 {
		n := 0
		w.totals.each(func(key, count int64) {
			w.out[n] = Pair{key, count}
			n++
			w.results++
			if n == len(w.out) {
				n = 0
			}
		})
	}
	first := w.panes[0]
	first.each(func(key, count int64) { w.totals.add(key, -count) })
	w.totals.compact()
	first.reset()
	copy(w.panes, w.panes[1:])
	w.panes[len(w.panes)-1] = first
	w.end += w.pane
}

// finish closes all panes.
func (w *plainWindows) finish() {
	if !w.begun {
		return
	}
	for range w.panes {
		w.closePane()
	}
}

// windowTotals is a flatCounts whose counts may come to zero: it keeps each of
// them one too high.
type windowTotals struct {
	t     *flatCounts
	zeros int
}

func (w *windowTotals) add(key, n int64) {
	s := w.t.find(key)
	switch s.count {
	case 0: // not there before
		s.count = 1
	case 1:
		w.zeros--
	}
	if s.count += n; s.count == 1 {
		w.zeros++
	}
}

func (w *windowTotals) each(f func(key, count int64)) {
	w.t.each(func(key, count int64) {
		if count > 1 {
			f(key, count-1)
		}
	})
}

// compact drops the zeros when they are most of the table.
func (w *windowTotals) compact() {
	if w.zeros <= w.t.used/2 || w.t.used < 1000 {
		return
	}
	next := newFlatCounts()
	w.t.each(func(key, count int64) {
		if count > 1 {
			next.find(key).count = count
		}
	})
	w.t, w.zeros = next, 0
}
