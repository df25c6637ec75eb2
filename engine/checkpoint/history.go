package checkpoint

import (
	"slices"
	"time"
)

// summaryWindow is how many completed snapshots percentiles are taken over.
const summaryWindow = 1000

// Status is where a snapshot is in its life.
type Status uint8

const (
	// InProgress: waits for tasks or for the store.
	InProgress Status = iota
	// Complete: durable and whole.
	Complete
	// GivenUp: see the entry's Err.
	GivenUp
)

var statusNames = [...]string{"IN_PROGRESS", "COMPLETED", "FAILED"}

// String returns the status as Flink's REST interface spells it.
func (s Status) String() string { return statusNames[s] }

// History is statistics of a job's snapshots, as Flink's REST interface shows
// them. It is a copy.
type History struct {
	Counts  Counts
	Summary Summary
	// LatestCompleted is the newest checkpoint, LatestSavepoint the newest
	// savepoint; nil if there is none.
	LatestCompleted, LatestSavepoint, LatestFailed *Entry
	LatestRestored                                 *RestoredEntry
	// Recent snapshots, the newest first.
	Recent []Entry
}

// Counts of snapshots since the coordinator was made.
type Counts struct {
	Restored, Total, InProgress, Completed, Failed int
}

// Summary is over completed snapshots: durations in milliseconds, sizes in
// bytes.
type Summary struct {
	EndToEnd, Checkpointed, State, Processed, Persisted Distribution
}

// Distribution of a number. Min, Max and Avg are over all that there ever
// were, percentiles over the last thousand.
type Distribution struct {
	Min, Max, Avg            int64
	P50, P90, P95, P99, P999 int64
}

// RestoredEntry says what the job was last restored from.
type RestoredEntry struct {
	Completed
	RestoredAt time.Time
}

// An Entry is one snapshot.
type Entry struct {
	ID        ID
	Kind      Kind
	Format    Format
	Status    Status
	Unaligned bool // may have overtaken records
	Triggered time.Time
	LatestAck time.Time // zero if there is none
	Ended     time.Time // completed or given up; zero while in progress
	// Total over the subtasks; its durations are the longest.
	Total Metrics
	Acked int
	// Subtasks of all vertices, in the order of the topology.
	Subtasks []SubtaskEntry
	Path     string
	Dropped  bool // its files are deleted
	Err      *AbortError
}

// SubtaskEntry is the part of one task.
type SubtaskEntry struct {
	Vertex  string
	Index   int // within its vertex
	AckedAt time.Time
	// Finished says that the task had no input left.
	Finished bool
	Metrics  Metrics
}

// Duration is the time from the trigger to the last acknowledgement so far, or
// to when the snapshot was given up.
func (e *Entry) Duration() time.Duration {
	switch {
	case e.Status == GivenUp:
		return e.Ended.Sub(e.Triggered)
	case e.LatestAck.IsZero():
		return 0
	}
	return e.LatestAck.Sub(e.Triggered)
}

// A VertexEntry is the subtasks of one vertex, put together.
type VertexEntry struct {
	Vertex          string
	Subtasks, Acked int
	LatestAck       time.Time
	// Total is as in [Entry].
	Total Metrics
	// Distributions over the acknowledged subtasks, durations in milliseconds.
	StartDelay, Alignment, Sync, Async Spread
}

// Spread of a number over subtasks.
type Spread struct{ Min, Max, Avg int64 }

// Vertices puts the subtasks of each vertex together.
func (e *Entry) Vertices() []VertexEntry {
	var vs []VertexEntry
	for i := 0; i < len(e.Subtasks); {
		v := VertexEntry{Vertex: e.Subtasks[i].Vertex}
		for ; i < len(e.Subtasks) && e.Subtasks[i].Vertex == v.Vertex; i++ {
			s := &e.Subtasks[i]
			v.Subtasks++
			if s.AckedAt.IsZero() {
				continue
			}
			v.Acked++
			if s.AckedAt.After(v.LatestAck) {
				v.LatestAck = s.AckedAt
			}
			v.Total.add(&s.Metrics)
			v.StartDelay.add(s.Metrics.StartDelay, v.Acked)
			v.Alignment.add(s.Metrics.Alignment, v.Acked)
			v.Sync.add(s.Metrics.Sync, v.Acked)
			v.Async.add(s.Metrics.Async, v.Acked)
		}
		for _, s := range []*Spread{&v.StartDelay, &v.Alignment, &v.Sync, &v.Async} {
			s.Avg /= int64(max(v.Acked, 1))
		}
		vs = append(vs, v)
	}
	return vs
}

// add adds the n-th value; Avg holds the sum until the last.
func (s *Spread) add(d time.Duration, n int) {
	v := d.Milliseconds()
	if n == 1 {
		s.Min = v
	}
	s.Min, s.Max, s.Avg = min(s.Min, v), max(s.Max, v), s.Avg+v
}

func (m *Metrics) add(o *Metrics) {
	m.StartDelay = max(m.StartDelay, o.StartDelay)
	m.Alignment = max(m.Alignment, o.Alignment)
	m.Sync = max(m.Sync, o.Sync)
	m.Async = max(m.Async, o.Async)
	m.CheckpointedBytes += o.CheckpointedBytes
	m.StateBytes += o.StateBytes
	m.ProcessedBytes += o.ProcessedBytes
	m.PersistedBytes += o.PersistedBytes
	m.Unaligned = m.Unaligned || o.Unaligned
}

// history collects the statistics.
type history struct {
	most     int
	subtasks []SubtaskEntry // blank, of every entry
	counts   Counts
	recent   []*Entry // oldest first
	latest   struct{ completed, savepoint, failed *Entry }
	restored *RestoredEntry
	summary  struct{ endToEnd, checkpointed, state, processed, persisted window }
}

func newHistory(most int, topo Topology) history {
	h := history{most: most, subtasks: make([]SubtaskEntry, len(topo.Tasks))}
	for i, t := range topo.Tasks {
		h.subtasks[i].Vertex = t.Vertex
		if i > 0 && topo.Tasks[i-1].Vertex == t.Vertex {
			h.subtasks[i].Index = h.subtasks[i-1].Index + 1
		}
	}
	return h
}

func (h *history) started(p *pending, cfg Config) {
	h.counts.Total++
	e := &Entry{
		ID: p.id, Kind: p.kind, Unaligned: p.kind == Checkpoint && cfg.Unaligned, Triggered: p.triggered,
		Subtasks: slices.Clone(h.subtasks), Acked: len(p.acks) - p.missing,
	}
	for i := range p.acks {
		if p.acked[i] {
			e.Subtasks[i].AckedAt, e.Subtasks[i].Finished = p.triggered, true
		}
	}
	if p.request != nil {
		e.Format = p.request.Format
	}
	h.recent = append(h.recent, e)
	// Those in progress stay, so that they are found when they end.
	for i := 0; len(h.recent) > h.most && i < len(h.recent); {
		if h.recent[i].Status == InProgress {
			i++
			continue
		}
		h.recent = slices.Delete(h.recent, i, i+1)
	}
}

func (h *history) find(id ID) *Entry {
	for _, e := range h.recent {
		if e.ID == id {
			return e
		}
	}
	return nil
}

func (h *history) acked(p *pending, a Ack, now time.Time) {
	e := h.find(p.id)
	e.Acked++
	e.LatestAck = now
	s := &e.Subtasks[a.Task]
	s.AckedAt, s.Finished, s.Metrics = now, a.Finished, a.Metrics
	e.Total.add(&a.Metrics)
}

func (h *history) completed(id ID, now time.Time, path string) {
	e := h.find(id)
	e.Status, e.Ended, e.Path = Complete, now, path
	h.counts.Completed++
	if e.Kind.Savepoint() {
		h.latest.savepoint = e
	} else {
		h.latest.completed = e
	}
	h.summary.endToEnd.add(e.Duration().Milliseconds())
	h.summary.checkpointed.add(e.Total.CheckpointedBytes)
	h.summary.state.add(e.Total.StateBytes)
	h.summary.processed.add(e.Total.ProcessedBytes)
	h.summary.persisted.add(e.Total.PersistedBytes)
}

func (h *history) failed(id ID, now time.Time, err *AbortError) {
	e := h.find(id)
	e.Status, e.Ended, e.Err, e.Dropped = GivenUp, now, err, true
	h.counts.Failed++
	h.latest.failed = e
}

func (h *history) dropped(id ID) {
	for _, e := range append([]*Entry{h.latest.completed}, h.recent...) {
		if e != nil && e.ID == id {
			e.Dropped = true
		}
	}
}

func (h *history) restoredFrom(d Completed, now time.Time) {
	h.counts.Restored++
	h.restored = &RestoredEntry{Completed: d, RestoredAt: now}
}

func (h *history) report(inProgress int) History {
	counts := h.counts
	counts.InProgress = inProgress
	r := History{
		Counts: counts,
		Summary: Summary{
			EndToEnd:     h.summary.endToEnd.distribution(),
			Checkpointed: h.summary.checkpointed.distribution(),
			State:        h.summary.state.distribution(),
			Processed:    h.summary.processed.distribution(),
			Persisted:    h.summary.persisted.distribution(),
		},
		LatestCompleted: h.latest.completed.clone(),
		LatestSavepoint: h.latest.savepoint.clone(),
		LatestFailed:    h.latest.failed.clone(),
	}
	if h.restored != nil {
		d := *h.restored
		r.LatestRestored = &d
	}
	for i := len(h.recent) - 1; i >= 0 && len(r.Recent) < h.most; i-- {
		r.Recent = append(r.Recent, *h.recent[i].clone())
	}
	return r
}

func (e *Entry) clone() *Entry {
	if e == nil {
		return nil
	}
	d := *e
	d.Subtasks = slices.Clone(e.Subtasks)
	return &d
}

// window holds the last values of a number, and the bounds of all.
type window struct {
	values        []int64
	count         int64
	sum, min, max int64
}

func (w *window) add(v int64) {
	if w.count == 0 {
		w.min, w.max = v, v
	}
	w.min, w.max, w.sum = min(w.min, v), max(w.max, v), w.sum+v
	if len(w.values) < summaryWindow {
		w.values = append(w.values, v)
	} else {
		w.values[w.count%summaryWindow] = v
	}
	w.count++
}

func (w *window) distribution() Distribution {
	if w.count == 0 {
		return Distribution{}
	}
	vs := slices.Sorted(slices.Values(w.values))
	// The smallest value that at least the share of values do not exceed.
	at := func(permille int) int64 { return vs[(len(vs)*permille+999)/1000-1] }
	return Distribution{
		Min: w.min, Max: w.max, Avg: w.sum / w.count,
		P50: at(500), P90: at(900), P95: at(950), P99: at(990), P999: at(999),
	}
}
