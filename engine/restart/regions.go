package restart

import (
	"fmt"
	"slices"
)

// An Edge says that task To reads what task From sends.
type Edge struct {
	From, To int
	// Blocking edges keep what is sent until From has finished, and To reads
	// it then and possibly again. On others records flow while both run, so
	// that one cannot be restarted without the other.
	Blocking bool
}

// Regions are the parts of a job that can be restarted by themselves: what is
// connected by edges that are not blocking. One all-to-all edge makes one
// region of all it touches; a job without any has one for each of its slices.
// They do not change.
type Regions struct {
	of       []int   // region of each task
	tasks    [][]int // of each region, in ascending order
	blocking []Edge
	in, out  [][]int // of each region: indices of blocking edges
}

// NewRegions divides tasks 0..tasks-1. Regions are numbered by their first task.
// It panics if an edge names a task that does not exist.
func NewRegions(tasks int, edges []Edge) *Regions {
	parent := make([]int, tasks)
	for i := range parent {
		parent[i] = i
	}
	root := func(t int) int {
		for parent[t] != t {
			parent[t] = parent[parent[t]]
			t = parent[t]
		}
		return t
	}
	r := &Regions{of: make([]int, tasks)}
	for _, e := range edges {
		if e.From < 0 || e.From >= tasks || e.To < 0 || e.To >= tasks {
			panic(fmt.Sprintf("restart: edge from task %d to task %d in a job of %d", e.From, e.To, tasks))
		}
		if e.Blocking {
			r.blocking = append(r.blocking, e)
			continue
		}
		// The smaller task is the root, so that regions come out in order.
		a, b := root(e.From), root(e.To)
		parent[max(a, b)] = min(a, b)
	}
	for t := range tasks {
		if root(t) == t {
			r.of[t] = len(r.tasks)
			r.tasks = append(r.tasks, []int{t})
			continue
		}
		r.of[t] = r.of[root(t)]
		r.tasks[r.of[t]] = append(r.tasks[r.of[t]], t)
	}
	r.in, r.out = make([][]int, len(r.tasks)), make([][]int, len(r.tasks))
	for i, e := range r.blocking {
		from, to := r.of[e.From], r.of[e.To]
		r.out[from] = append(r.out[from], i)
		r.in[to] = append(r.in[to], i)
	}
	return r
}

// Len is the number of regions.
func (r *Regions) Len() int { return len(r.tasks) }

// Of returns the region of a task.
func (r *Regions) Of(task int) int { return r.of[task] }

// Tasks returns the tasks of a region in ascending order. They are not the
// caller's to change.
func (r *Regions) Tasks(region int) []int { return r.tasks[region] }

// Restart returns the tasks to restart when some have failed, in ascending
// order: their regions; those that must produce again what these need and what
// is lost; and those that read from a region that is restarted, for they may
// have read something else than it produces now. lost reports whether what was
// sent over a blocking edge is no longer there; nil if everything is.
func (r *Regions) Restart(failed []int, lost func(Edge) bool) []int {
	marked := make([]bool, len(r.tasks))
	var todo []int
	mark := func(region int) {
		if !marked[region] {
			marked[region] = true
			todo = append(todo, region)
		}
	}
	for _, t := range failed {
		mark(r.of[t])
	}
	for len(todo) > 0 {
		region := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, i := range r.in[region] {
			if e := r.blocking[i]; lost != nil && lost(e) {
				mark(r.of[e.From])
			}
		}
		for _, i := range r.out[region] {
			mark(r.of[r.blocking[i].To])
		}
	}
	var ts []int
	for region, m := range marked {
		if m {
			ts = append(ts, r.tasks[region]...)
		}
	}
	slices.Sort(ts)
	return ts
}
