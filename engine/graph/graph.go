// Package graph describes a job: its operators, how records get from one to
// the next, and which of them share a task. It is built by the API, checked
// here, and run by others; nothing in it runs.
package graph

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"github.com/millrace/millrace/runtime/exchange"
	"github.com/millrace/millrace/runtime/operator"
	"github.com/millrace/millrace/state/keygroup"
)

// Route says which subtask of the consumer a record goes to.
type Route uint8

const (
	// Forward keeps records in the subtask of the same index. Where the two
	// parallelisms differ it becomes Rebalance.
	Forward Route = iota
	// Keyed sends records of one key to one subtask.
	Keyed
	// Rebalance spreads batches round robin over all subtasks.
	Rebalance
	// Rescale spreads round robin over the consumer's nearest subtasks only.
	Rescale
	// Shuffle picks a subtask at random for each record.
	Shuffle
	// Broadcast sends every record to every subtask.
	Broadcast
	// Global sends every record to subtask 0.
	Global
	// Custom asks a function of the user for each record.
	Custom
)

var routeNames = [...]string{"forward", "keyed", "rebalance", "rescale", "shuffle", "broadcast", "global", "custom"}

// String returns the route's name in lower case.
func (r Route) String() string { return routeNames[r] }

// Chaining says whether an operator may share a task with the one before it.
type Chaining uint8

const (
	// ChainAlways joins the operator to its input's task where possible.
	ChainAlways Chaining = iota
	// ChainHead starts a new task; others may follow in it.
	ChainHead
	// ChainNever gives the operator a task of its own.
	ChainNever
)

// A Node is one operator.
type Node struct {
	// ID is the node's index in its graph.
	ID int
	// UID names the operator's state in snapshots; empty if it keeps none.
	UID string
	// Name is how metrics, logs and errors call it.
	Name string
	// Parallelism is the number of subtasks; 0 takes the job's.
	Parallelism int
	// MaxParallelism is the number of key groups; 0 takes the job's, or the
	// default for the parallelism.
	MaxParallelism int
	Chaining       Chaining
	Inputs         []Edge
	// Prepare is called once per run, before the subtasks are made, and
	// returns what makes the operator of one subtask.
	Prepare func(ctx context.Context, parallelism int) (func() operator.Operator, error)
	// Location is file:line of the call that made the node.
	Location string
	// Source says that the node has no inputs by intent, Sink that it has no
	// consumers by intent.
	Source, Sink bool
	// AlignGroup names the group of sources that wait for each other in event
	// time; empty for none.
	AlignGroup string
}

// An Edge leads from a port of one node to an input of another.
type Edge struct {
	From, Port int
	// Input is the logical input it feeds; several edges into one input are a
	// union.
	Input int
	Route Route
	// Connect makes the producer's side of the edge for one subtask. For
	// Forward, Rescale and Rebalance it is asked for Rebalance over the given
	// targets, for Global likewise.
	Connect func(w exchange.Wiring) (exchange.Output, error)
	// Entry makes the function by which the consumer's task hands batches to
	// input Input of op.
	Entry func(op operator.Operator) func(batch any) (int, error)
}

// A Graph is the operators of one job. It is built by one goroutine, and not
// changed afterwards but by ReadFirst.
type Graph struct {
	Nodes []*Node
	errs  []error
	uids  map[string]*Node

	mu     sync.Mutex
	firsts []*Node // operators that read one input first; see ReadFirst
}

// Fail records a mistake made while building; Check reports all of them.
func (g *Graph) Fail(location, format string, args ...any) {
	g.errs = append(g.errs, fmt.Errorf("%s: %w", location, fmt.Errorf(format, args...)))
}

var uidForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// Add adds a node and returns it with its ID set. A uid that is malformed or
// taken is recorded as a mistake.
func (g *Graph) Add(n Node) *Node {
	n.ID = len(g.Nodes)
	p := &n
	g.Nodes = append(g.Nodes, p)
	if n.UID != "" {
		g.Claim(n.UID, p)
	}
	return p
}

// Claim takes uid for n.
func (g *Graph) Claim(uid string, n *Node) {
	if !uidForm.MatchString(uid) {
		g.Fail(n.Location, "operator id %q: use lower-case letters, digits and hyphens, such as %q", uid, "hot-items")
		return
	}
	if g.uids == nil {
		g.uids = map[string]*Node{}
	}
	if was, ok := g.uids[uid]; ok {
		g.Fail(n.Location, "operator id %q is taken by the operator made at %s: ids name state in checkpoints and must differ", uid, was.Location)
		return
	}
	g.uids[uid] = n
}

// Check reports every mistake made while building, or nil.
func (g *Graph) Check() error {
	errs := slices.Clone(g.errs)
	if len(errs) == 0 { // a graph with mistakes may not even hang together
		errs = g.deadlocks()
	}
	for _, n := range g.Nodes {
		if n.Parallelism < 0 || n.Parallelism > keygroup.MaxParallelism {
			errs = append(errs, fmt.Errorf("%s: operator %s: parallelism %d is not in 1..%d", n.Location, n.Name, n.Parallelism, keygroup.MaxParallelism))
		}
		if n.MaxParallelism < 0 || n.MaxParallelism > keygroup.MaxParallelism {
			errs = append(errs, fmt.Errorf("%s: operator %s: max parallelism %d is not in 1..%d", n.Location, n.Name, n.MaxParallelism, keygroup.MaxParallelism))
		}
	}
	if len(g.Nodes) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New("the job has no operators: begin with job.From"))
	}
	return errors.Join(errs...)
}

// Label is what errors and logs call the node: its name and, where that is not
// an id and so may stand for several, the place of the call that made it.
func (n *Node) Label() string {
	if n.UID != "" || n.Location == "" {
		return n.Name
	}
	return n.Name + " (" + filepath.Base(n.Location) + ")"
}

// Read reports whether some operator reads what n sends.
func (g *Graph) Read(n *Node) bool {
	for _, m := range g.Nodes {
		for _, e := range m.Inputs {
			if e.From == n.ID {
				return true
			}
		}
	}
	return false
}
