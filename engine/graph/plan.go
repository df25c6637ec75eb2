package graph

import (
	"fmt"

	"github.com/millrace/millrace/state/keygroup"
)

// A Plan is the physical side of a graph: parallelism decided, operators
// grouped into chains.
type Plan struct {
	Graph *Graph
	// Chains in an order in which every chain comes after those that feed it.
	Chains []*Chain
	// chainOf is the chain of each node.
	chainOf []*Chain
}

// A Chain is the operators that share a task.
type Chain struct {
	Index int
	// Nodes in topological order, the head first.
	Nodes       []*Node
	Parallelism int
	// MaxParallelism of the head, the only one whose input can be keyed.
	MaxParallelism int
}

// Name joins the names of the chain's operators.
func (c *Chain) Name() string {
	s := c.Nodes[0].Name
	for _, n := range c.Nodes[1:] {
		s += " -> " + n.Name
	}
	return s
}

// Options are a job's defaults for its operators.
type Options struct {
	// Parallelism of operators that do not say; 1.
	Parallelism int
	// MaxParallelism of operators that do not say; 0 derives it from the
	// parallelism.
	MaxParallelism int
	// NoChaining gives every operator a task of its own.
	NoChaining bool
}

// ChainOf returns the chain that node id is in.
func (p *Plan) ChainOf(id int) *Chain { return p.chainOf[id] }

// Parallelism returns the number of subtasks of n under o.
func (o Options) parallelism(n *Node) int {
	if n.Parallelism > 0 {
		return n.Parallelism
	}
	return max(o.Parallelism, 1)
}

func (o Options) maxParallelism(n *Node, parallelism int) int {
	if n.MaxParallelism > 0 {
		return n.MaxParallelism
	}
	if o.MaxParallelism > 0 {
		return o.MaxParallelism
	}
	return keygroup.DefaultMax(parallelism)
}

// NewPlan checks g and decides what runs where.
func NewPlan(g *Graph, o Options) (*Plan, error) {
	if err := g.Check(); err != nil {
		return nil, err
	}
	p := &Plan{Graph: g, chainOf: make([]*Chain, len(g.Nodes))}
	// Nodes are added after their inputs, so ID order is topological.
	for _, n := range g.Nodes {
		par := o.parallelism(n)
		if len(n.Inputs) == 0 && !n.Source {
			return nil, fmt.Errorf("%s: operator %s has no input", n.Location, n.Name)
		}
		if len(n.Inputs) == 1 && !o.NoChaining && n.Chaining == ChainAlways {
			e := n.Inputs[0]
			c := p.chainOf[e.From]
			if e.Route == Forward && c.Parallelism == par && g.Nodes[e.From].Chaining != ChainNever {
				c.Nodes = append(c.Nodes, n)
				p.chainOf[n.ID] = c
				continue
			}
		}
		maxp := o.maxParallelism(n, par)
		if par > maxp {
			return nil, fmt.Errorf("%s: operator %s: parallelism %d is greater than its max parallelism %d", n.Location, n.Name, par, maxp)
		}
		c := &Chain{Index: len(p.Chains), Nodes: []*Node{n}, Parallelism: par, MaxParallelism: maxp}
		p.Chains = append(p.Chains, c)
		p.chainOf[n.ID] = c
	}
	return p, nil
}

// Targets returns the subtasks of the consumer that subtask i of the producer
// reaches over e, given the two parallelisms.
func (e Edge) Targets(i, producers, consumers int) []int {
	switch {
	case e.Route == Forward && producers == consumers:
		return []int{i}
	case e.Route == Global:
		return []int{0}
	case e.Route == Rescale && consumers >= producers:
		// Neighbouring consumers, as evenly as they divide.
		var ts []int
		for c := range consumers {
			if c*producers/consumers == i {
				ts = append(ts, c)
			}
		}
		return ts
	case e.Route == Rescale:
		return []int{i * consumers / producers}
	}
	ts := make([]int, consumers)
	for c := range ts {
		ts[c] = c
	}
	return ts
}

// Producers is the number of producer subtasks that reach subtask to of the
// consumer over e.
func (e Edge) Producers(to, producers, consumers int) int {
	switch {
	case e.Route == Forward && producers == consumers, e.Route == Rescale && consumers >= producers:
		return 1
	case e.Route == Global && to > 0:
		return 0
	case e.Route == Rescale:
		return e.Place(producers, to, producers, consumers) // as many as come before the end
	}
	return producers
}

// Place is the place of producer subtask i among those that reach subtask to.
func (e Edge) Place(i, to, producers, consumers int) int {
	switch {
	case e.Route == Forward && producers == consumers, e.Route == Rescale && consumers >= producers:
		return 0
	case e.Route == Rescale:
		n := 0
		for p := range i {
			if p*consumers/producers == to {
				n++
			}
		}
		return n
	}
	return i
}
