package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/millrace/millrace"
)

// progress is a line on a terminal that is written over, or nothing where
// standard error is none. A nil progress says nothing.
type progress struct {
	out *os.File

	mu   sync.Mutex
	last time.Time
	line bool // there is a line to be cleared
	stop chan struct{}
	gone chan struct{}
}

func newProgress(out *os.File) *progress {
	if !term.IsTerminal(int(out.Fd())) {
		return nil
	}
	return &progress{out: out}
}

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "\r\x1b[K"+format, args...)
	p.line = true
}

// bar returns a function that tells how far something is, five times a second
// at most.
func (p *progress) bar(what string) func(done, total int64) {
	if p == nil {
		return func(int64, int64) {}
	}
	return func(done, total int64) {
		if time.Since(p.last) < 200*time.Millisecond {
			return
		}
		p.last = time.Now()
		p.say("%s: %d %%", what, done*100/max(total, 1))
	}
}

// watch returns a Status function that tells how many records the sources of
// the job have made, until done is called.
func (p *progress) watch(total int64, unit string) func(*millrace.Running) {
	if p == nil {
		return nil
	}
	return func(r *millrace.Running) {
		p.stop, p.gone = make(chan struct{}), make(chan struct{})
		go func() {
			defer close(p.gone)
			begun := time.Now()
			tick := time.NewTicker(500 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-p.stop:
					return
				case <-tick.C:
				}
				var read int64
				for _, o := range r.Operators() {
					if o.Source {
						read += o.Records
					}
				}
				rate := float64(read) / time.Since(begun).Seconds() / 1e6
				if total > 0 {
					p.say("%d %% of %.0fM %s, %.1fM/s", read*100/total, float64(total)/1e6, unit, rate)
				} else {
					p.say("%.1fM records read, %.1fM/s", float64(read)/1e6, rate)
				}
			}
		}()
	}
}

// done clears the line.
func (p *progress) done() {
	if p == nil {
		return
	}
	if p.stop != nil {
		close(p.stop)
		<-p.gone
		p.stop = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.line = false
	}
}
