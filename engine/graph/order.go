package graph

import (
	"fmt"
	"slices"
)

// ReadFirst notes that n holds back its input 0 until its input 1 has ended. It
// returns an error if the job could then never end: records that are held back
// keep the sources they come from from being read, and one of these is what n
// waits for, or what n waits for waits for it in turn.
//
// It may be called from any goroutine, also when the job has been started: some
// operators only say then what they hold back.
func (g *Graph) ReadFirst(n *Node) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Contains(g.firsts, n) {
		g.firsts = append(g.firsts, n)
	}
	if len(g.errs) > 0 { // the graph may not even hang together
		return nil
	}
	return g.deadlock(n)
}

// deadlocks returns what is wrong with the operators noted so far.
func (g *Graph) deadlocks() (errs []error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range g.firsts {
		if err := g.deadlock(n); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n.Location, err))
		}
	}
	return errs
}

// deadlock looks for a way on which what n waits for waits for what n holds
// back.
func (g *Graph) deadlock(n *Node) error {
	held := g.sources(n, 0)
	// A wait is a source that has to be read before n goes on, and why.
	type wait struct {
		source *Node
		why    string
	}
	var queue []wait
	seen := map[*Node]bool{}
	add := func(s *Node, why string) {
		if !seen[s] {
			seen[s] = true
			queue = append(queue, wait{s, why})
		}
	}
	for _, s := range g.sources(n, 1) {
		add(s, "")
	}
	const cure = "read what comes first from a source of its own, by a second job.From, or do without ReadFirst"
	for len(queue) > 0 {
		w := queue[0]
		queue = queue[1:]
		switch {
		case !slices.Contains(held, w.source):
		case w.why == "":
			return fmt.Errorf("operator %s would wait for ever: both of its inputs come from source %s, which cannot be read to its end for the one while records of the other are held back (ReadFirst): %s",
				n.Label(), w.source.Label(), cure)
		default:
			return fmt.Errorf("operator %s would wait for ever: it holds back what comes from source %s (ReadFirst) until it has read another to its end, but %s: %s",
				n.Label(), w.source.Label(), w.why, cure)
		}
		for _, m := range g.firsts {
			if m == n || !slices.Contains(g.sources(m, 0), w.source) {
				continue
			}
			for _, s := range g.sources(m, 1) {
				add(s, join(w.why, fmt.Sprintf("operator %s holds back source %s until source %s has ended", m.Label(), w.source.Label(), s.Label())))
			}
		}
		if w.source.AlignGroup != "" {
			for _, s := range g.Nodes {
				if s.AlignGroup == w.source.AlignGroup {
					add(s, join(w.why, fmt.Sprintf("source %s is not read further than source %s, of align group %q", w.source.Label(), s.Label(), s.AlignGroup)))
				}
			}
		}
	}
	return nil
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + ", and " + b
}

// sources returns the nodes without inputs that records of an input come from.
func (g *Graph) sources(n *Node, input int) (found []*Node) {
	seen := map[int]bool{}
	var visit func(id int)
	visit = func(id int) {
		if seen[id] {
			return
		}
		seen[id] = true
		m := g.Nodes[id]
		if len(m.Inputs) == 0 {
			found = append(found, m)
		}
		for _, e := range m.Inputs {
			visit(e.From)
		}
	}
	for _, e := range n.Inputs {
		if e.Input == input {
			visit(e.From)
		}
	}
	return found
}
