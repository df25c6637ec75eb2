package millrace

import (
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/millrace/millrace/runtime/operator"
)

// progress writes one line about a running job to a terminal, again and again
// in the same place.
type progress struct {
	w    *os.File
	r    *Running
	quit chan struct{}
	done chan struct{}
}

const redraw = 200 * time.Millisecond

func startProgress(w *os.File, r *Running) *progress {
	p := &progress{w: w, r: r, quit: make(chan struct{}), done: make(chan struct{})}
	go p.run()
	return p
}

// stop ends the line; the last one stays, so that it can be read.
func (p *progress) stop() {
	if p == nil {
		return
	}
	close(p.quit)
	<-p.done
}

func (p *progress) run() {
	defer close(p.done)
	start := time.Now()
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	var last int64
	lastAt := start
	rate := 0.0
	for {
		select {
		case <-p.quit:
			n, _ := p.now()
			took := time.Since(start)
			fmt.Fprintf(p.w, "\r\x1b[K%s records in %s (%s/s)%s\n", count(n), took.Round(time.Millisecond), count(int64(float64(n)/took.Seconds())), p.late())
			return
		case now := <-tick.C:
			n, wm := p.now()
			current := float64(n-last) / now.Sub(lastAt).Seconds()
			if rate == 0 {
				rate = current
			}
			rate = 0.7*rate + 0.3*current
			last, lastAt = n, now
			fmt.Fprintf(p.w, "\r\x1b[K%s records  %s/s  event time %s", count(n), count(int64(rate)), wm)
		}
	}
}

// now is the number of records read by all sources and the job's event time.
func (p *progress) now() (n int64, watermark string) {
	wm := int64(math.MaxInt64)
	for _, o := range p.r.Operators() {
		if o.Source {
			n += o.Records
		} else {
			wm = min(wm, o.Watermark)
		}
	}
	return n, operator.FormatMillis(wm)
}

// late says how many records were dropped, if any: the log says where.
func (p *progress) late() string {
	n := int64(0)
	for _, o := range p.r.Operators() {
		for _, d := range o.LateDropped {
			n += d.Records
		}
	}
	if n == 0 {
		return ""
	}
	return ", " + count(n) + " dropped as late"
}

// count prints a number with its thousands set off.
func count(n int64) string {
	s := fmt.Sprint(n)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 && s[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}
