package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/state/blob"
	"github.com/millrace/millrace/state/keygroup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A job stands for a running job: state that changes, and the workers that
// snapshot it.
type job struct {
	rng         *rand.Rand
	parallelism int
	max         int
	workers     int
	size        int // of a key group's state, at most
	counts      map[int][]byte
	versions    map[int]uint64
	offsets     [][]byte // list state, by subtask
	rules       []byte   // broadcast
	wm          [][]byte // union, by subtask
	pending     [][]byte // transactions, by subtask
	flight      [][]byte // records under way, by subtask
	sst         map[string][]byte
	incarnation uint64
	versioned   bool
	concurrent  bool
	inline      int
	random      bool // what it holds cannot be compressed
	fileBytes   int64
	coldBytes   int64

	encoded, dropped int
	mu               sync.Mutex
}

func newJob(seed uint64) *job {
	j := &job{
		rng: rand.New(rand.NewPCG(seed, 1)), parallelism: 3, max: 16, workers: 2, size: 200,
		counts: map[int][]byte{}, versions: map[int]uint64{}, sst: map[string][]byte{}, incarnation: 77, inline: -1,
	}
	j.offsets, j.wm, j.pending, j.flight = make([][]byte, 3), make([][]byte, 3), make([][]byte, 3), make([][]byte, 3)
	for g := range j.max {
		if g != 5 { // one that has no state yet
			j.touch(g)
		}
	}
	j.step()
	return j
}

// bytes are random, and can be compressed unless j.random.
func (j *job) bytes(n int) []byte {
	var b []byte
	mask := uint64(0x0303030303030303)
	if j.random {
		mask = math.MaxUint64
	}
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, j.rng.Uint64()&mask)
	}
	return b[:n]
}

func (j *job) touch(g int) {
	j.counts[g] = j.bytes(1 + j.rng.IntN(j.size))
	j.versions[g]++
}

// step changes some of the state.
func (j *job) step() {
	for range 3 {
		j.touch(j.rng.IntN(j.max))
	}
	for i := range j.parallelism {
		j.offsets[i] = binary.LittleEndian.AppendUint64(nil, j.rng.Uint64())
		j.wm[i] = binary.LittleEndian.AppendUint64(nil, j.rng.Uint64())
		j.pending[i] = j.bytes(j.rng.IntN(50))
		j.flight[i] = j.bytes(j.rng.IntN(300))
	}
	j.rules = j.bytes(40)
	j.sst[fmt.Sprintf("%06d.sst", len(j.sst))] = j.bytes(100 + j.rng.IntN(300))
}

// part is what subtask i of the operator "count" snapshots.
func (j *job) part(i int) Part {
	p := Part{
		UID: "count", Name: "Count per user", Parallelism: j.parallelism, MaxParallelism: j.max, Subtask: i, Incarnation: j.incarnation,
		EndedInputs: []int{1},
	}
	add := func(state string, group int, version uint64, data []byte) {
		once := 0
		use := func(count *int) {
			j.mu.Lock()
			defer j.mu.Unlock()
			*count++
			if once++; once > 1 {
				panic("encoded or dropped twice")
			}
		}
		p.Pieces = append(p.Pieces, Piece{
			State: state, Group: group, Schema: []byte("schema of " + state), Version: version,
			Encode: func(dst []byte) ([]byte, error) {
				use(&j.encoded)
				return append(dst, data...), nil
			},
			Drop: func() { use(&j.dropped) },
		})
	}
	for g := range keygroup.RangeOf(i, j.parallelism, j.max).All() {
		if data, ok := j.counts[g]; ok {
			v := uint64(0)
			if j.versioned {
				v = j.versions[g]
			}
			add("sum", g, v, data)
			add("timers", g, 0, data[:len(data)/2])
		}
	}
	add("offsets", OperatorGroup, 0, j.offsets[i])
	add("offsets", OperatorGroup, 0, j.offsets[i][:4])
	add("rules", BroadcastGroup, 0, j.rules)
	add("time", UnionGroup, 0, j.wm[i])
	p.Splits = []Split{{ID: fmt.Sprintf("split-%d", i), Data: []byte("d"), Position: j.offsets[i]}, {ID: "fresh"}}
	p.Channels = []ChannelPiece{{Output: i == 0, Port: 1, Channel: i, Encode: func(dst []byte) ([]byte, error) { return append(dst, j.flight[i]...), nil }}}
	p.Commits = []CommitPiece{{Checkpoint: 1, Data: j.pending[i]}}
	if i == 0 {
		for _, name := range slices.Sorted(maps.Keys(j.sst)) {
			p.Cold = append(p.Cold, ColdPiece{Store: "db0", Name: name, First: 0, Last: j.max - 1, Meta: []byte("L0"), Size: int64(len(j.sst[name])), Open: func() (io.ReadCloser, error) {
				return io.NopCloser(bytes.NewReader(j.sst[name])), nil
			}})
		}
	}
	return p
}

// write makes the snapshot's files and manifest.
func (j *job) write(ctx context.Context, info Info, writer func(WriterOptions) (*Writer, error), base *Manifest) (*Manifest, error) {
	var parts []*Partial
	var mu sync.Mutex
	for n := range j.workers {
		w, err := writer(WriterOptions{
			Checkpoint: info.Checkpoint, Attempt: info.Attempt, Worker: fmt.Sprintf("w%d", n), Base: base,
			InlineBytes: j.inline, FileBytes: j.fileBytes, ColdBytes: j.coldBytes,
		})
		if err != nil {
			return nil, err
		}
		var wg sync.WaitGroup
		var errs []error
		var own []*Partial
		write := func(p Part) {
			out, err := w.Write(ctx, p)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			own = append(own, out)
		}
		if n == 0 {
			write(Part{UID: "count", Name: "Count per user", Parallelism: j.parallelism, MaxParallelism: j.max, Subtask: CoordinatorPart, Coordinator: []byte("the enumerator")})
		}
		for i := n; i < j.parallelism; i += j.workers {
			if j.concurrent {
				wg.Go(func() { write(j.part(i)) })
			} else {
				write(j.part(i))
			}
			write(Part{UID: "sink", Name: "Sink", Parallelism: j.parallelism, MaxParallelism: j.max, Subtask: i, Finished: true})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		if err := w.Close(ctx); err != nil {
			return nil, err
		}
		// What a worker acknowledges goes over the wire.
		for _, p := range own {
			data, err := p.MarshalBinary()
			if err != nil {
				return nil, err
			}
			var q Partial
			if err := q.UnmarshalBinary(data); err != nil {
				return nil, err
			}
			parts = append(parts, &q)
		}
	}
	return Assemble(info, parts)
}

func (j *job) info(id, attempt uint64) Info {
	return Info{
		JobName: "test", JobID: "0123456789abcdef", Attempt: attempt, Checkpoint: id, Kind: Checkpoint,
		TriggerMillis: 1_700_000_000_000 + int64(id), Engine: "0.4.0", MaxParallelism: j.max, Properties: map[string]string{"graph": "f00d", "a": "b"},
	}
}

// checkpoint takes one and publishes it.
func (j *job) checkpoint(ctx context.Context, f *Folder, id, attempt uint64, base *Manifest) (*Manifest, error) {
	m, err := j.write(ctx, j.info(id, attempt), f.Writer, base)
	if err != nil {
		return nil, err
	}
	return m, f.Publish(ctx, m)
}

// content is all that the job would snapshot now, by address.
func (j *job) content() map[string]string {
	c := map[string]string{}
	for g, data := range j.counts {
		c[fmt.Sprintf("sum %d", g)] = string(data)
		c[fmt.Sprintf("timers %d", g)] = string(data[:len(data)/2])
	}
	for i := range j.parallelism {
		c[fmt.Sprintf("offsets %d 0", i)] = string(j.offsets[i])
		c[fmt.Sprintf("offsets %d 1", i)] = string(j.offsets[i][:4])
		c[fmt.Sprintf("time %d", i)] = string(j.wm[i])
		c[fmt.Sprintf("commit %d", i)] = string(j.pending[i])
		c[fmt.Sprintf("channel %d", i)] = string(j.flight[i])
		c[fmt.Sprintf("split %d", i)] = string(j.offsets[i])
	}
	c["rules"] = string(j.rules)
	c["coordinator"] = "the enumerator"
	for name, data := range j.sst {
		c["cold "+name] = string(data)
	}
	return c
}

// load reads the same out of a snapshot.
func load(ctx context.Context, s *Snapshot) (map[string]string, error) {
	c := map[string]string{}
	o := s.Manifest.Operator("count")
	var names []string
	var chunks []*Chunk
	add := func(name string, x *Chunk) { names, chunks = append(names, name), append(chunks, x) }
	for i := range o.States {
		st := &o.States[i]
		index := map[int]int{}
		for k := range st.Entries {
			e := &st.Entries[k]
			if string(st.Schemas[e.Schema]) != "schema of "+st.Name {
				return nil, fmt.Errorf("state %s has schema %q", st.Name, st.Schemas[e.Schema])
			}
			switch st.Kind {
			case Keyed:
				add(fmt.Sprintf("%s %d", st.Name, e.Group), &e.Chunk)
			case OperatorState:
				add(fmt.Sprintf("%s %d %d", st.Name, e.Subtask, index[e.Subtask]), &e.Chunk)
				index[e.Subtask]++
			case Union:
				add(fmt.Sprintf("%s %d", st.Name, e.Subtask), &e.Chunk)
			case Broadcast:
				add(st.Name, &e.Chunk)
			}
		}
	}
	for i := range o.Commits {
		add(fmt.Sprintf("commit %d", o.Commits[i].Subtask), &o.Commits[i].Chunk)
	}
	for i := range o.Channels {
		add(fmt.Sprintf("channel %d", o.Channels[i].Subtask), &o.Channels[i].Chunk)
	}
	for i := range o.Splits {
		if sp := &o.Splits[i]; sp.Position != nil {
			c[fmt.Sprintf("split %d", sp.Subtask)] = string(sp.Position)
		}
	}
	add("coordinator", o.Coordinator)
	for i := range o.Cold {
		var b bytes.Buffer
		if err := s.Copy(ctx, o, &o.Cold[i].Chunk, &b); err != nil {
			return nil, err
		}
		c["cold "+o.Cold[i].Name] = b.String()
		add("cold "+o.Cold[i].Name, &o.Cold[i].Chunk)
	}
	err := s.Load(ctx, o, chunks, func(i int, data []byte) error {
		c[names[i]] = string(data)
		return nil
	})
	return c, err
}

func sameContent(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if got[k] != want[k] {
			t.Errorf("%s: %s is %d bytes %.20x, want %d bytes %.20x", what, k, len(got[k]), got[k], len(want[k]), want[k])
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s: %s is there", what, k)
		}
	}
	t.FailNow()
}

func mustOpen(t *testing.T, store blob.Store, dir string) *Snapshot {
	t.Helper()
	s, err := Open(t.Context(), store, dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustLoad(t *testing.T, s *Snapshot) map[string]string {
	t.Helper()
	c, err := load(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func objects(t *testing.T, s blob.Store, prefix string) (names []string) {
	t.Helper()
	for i, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, i.Name)
	}
	return names
}

func replace(t *testing.T, s blob.Store, name string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, s blob.Store, name string) []byte {
	t.Helper()
	data, err := blob.ReadAll(t.Context(), s, name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
