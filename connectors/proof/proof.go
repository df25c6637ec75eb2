// Package proof has what the author of a connector needs to show that it
// delivers exactly once: numbered records, histories of failures that are made
// from seeds, and the comparison of what came out with a run in which nothing
// went wrong.
//
// A history is one job from its start to its end, as far as its sink can see:
// subtasks that write, checkpoints that complete, are declined or are never
// heard of again, attempts that die in the middle of anything and go on with
// another number of subtasks. [Sink.Play] plays one and returns an error that
// names what went wrong; the same seed plays the same history. What happens
// inside the outside (a disk that forgets, a service that refuses) is for the
// connector's own test to inject, where [Sink] asks for it.
package proof

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/millrace/millrace"
)

// Sink is what is to be proven of a sink, on an outside that is empty. Fields
// that are not said to be optional must be set.
type Sink[T any] struct {
	// Sink is the sink as a program would make it. All attempts use it.
	Sink millrace.Sink[T]
	// Record makes the record with a number.
	Record func(n int) T
	// Visible returns the numbers of all records that a reader sees now, in
	// any order.
	Visible func() ([]int, error)
	// Whole says that nothing is visible before the job's end.
	Whole bool
	// Left lists what is left outside that no reader sees. Optional: without
	// it nobody looks.
	// Names of what a Subtask with a Unique made must contain that word.
	Left func() ([]string, error)
	// Break makes the outside fail: the next n operations work, the bad ones
	// after them give errors, and those after work again; bad < 0 means until
	// Crash. Broken reports whether one has failed since the last call.
	// Optional, both or none.
	Break  func(n, bad int)
	Broken func() bool
	// Crash tells that the process has died, and the machine with it if power
	// is set; it repairs what Break broke. Optional.
	Crash func(rng *rand.Rand, power bool)
	// Open opens a subtask with what snapshots of earlier ones held. Optional:
	// without it writers are driven by this package as the engine would.
	Open func(ctx context.Context, sub millrace.Subtask, restored []any) (Subtask[T], error)
	// Ctx is what writers are given. Optional.
	Ctx context.Context
}

// Subtask is one subtask of a sink, as the engine drives it.
type Subtask[T any] interface {
	Write(recs []T) error
	End() error
	Prepare(checkpoint int64) error
	Snapshot() (any, error)
	Notify(checkpoint int64) error
	Pending() bool
	Close() error
}

// Check plays the histories of so many seeds, from first on. On each outside
// one history is played: make makes it.
func Check[T any](t *testing.T, first uint64, histories int, make func(seed uint64) Sink[T]) {
	t.Helper()
	var all Stats
	for seed := first; seed < first+uint64(histories); seed++ {
		stats, err := make(seed).Play(seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		all.add(stats)
	}
	t.Logf("%d histories: %+v", histories, all)
}

// Stats says what has happened in histories, so that a test can tell whether
// they were of any use.
type Stats struct {
	Records, Checkpoints, Declined, Lost int
	Attempts, Kills, PowerLosses, Faults int
	Restored                             int // tokens or the like given to new attempts
	Zombies, Cleaned                     int
}

func (s *Stats) add(o Stats) {
	s.Records += o.Records
	s.Checkpoints += o.Checkpoints
	s.Declined += o.Declined
	s.Lost += o.Lost
	s.Attempts += o.Attempts
	s.Kills += o.Kills
	s.PowerLosses += o.PowerLosses
	s.Faults += o.Faults
	s.Restored += o.Restored
	s.Zombies += o.Zombies
	s.Cleaned += o.Cleaned
}

// Play plays the history of a seed.
func (s Sink[T]) Play(seed uint64) (Stats, error) {
	if s.Ctx == nil {
		s.Ctx = context.Background()
	}
	if s.Open == nil {
		s.Open = s.direct
	}
	h := &history[T]{Sink: s, rng: rand.New(rand.NewPCG(seed, 0)), seed: seed}
	err := h.play()
	return h.stats, err
}

// checkpoint is one that is under way or complete.
type checkpoint struct {
	id    int64
	at    int   // records before it
	ended bool  // all of them
	state []any // by subtask, nil where it has not answered
	acks  int
}

type history[T any] struct {
	Sink[T]
	rng   *rand.Rand
	seed  uint64
	stats Stats

	total    int
	attempt  int64
	next     int // record
	ids      int64
	latest   checkpoint // complete
	pending  []*checkpoint
	subs     []*subtask[T]
	zombies  []*subtask[T]
	messy    bool // something may rightly be left over
	opened   int64
	finished bool
	trace    []string
}

// subtask is one subtask of the current attempt, with what it has yet to do.
type subtask[T any] struct {
	sub      Subtask[T]
	place    millrace.Subtask
	restore  []any
	todo     []func(*subtask[T]) error
	news     []int64 // notifications under way
	notified int64   // what it has been told and has done
	ended    bool
	complete []int64 // checkpoints of its attempt that are complete
	last     int64   // checkpoint it has prepared
}

// errOutside marks an error that an injected fault explains.
var errOutside = errors.New("the outside failed")

// stranger is the number of the first record of another job, which writes to
// the same place.
const stranger = 1 << 20

func (h *history[T]) play() error {
	h.total = 1 + h.rng.IntN(40)
	h.stats.Records = h.total
	other, err := h.strangerBegins()
	if err != nil {
		return err
	}
	h.latest.ended = false
	for h.finished = false; !h.finished; {
		err := h.live()
		if err != nil && !errors.Is(err, errOutside) {
			return fmt.Errorf("attempt %d, parallelism %d, checkpoint %d, %d of %d records: %w\nsteps: %v", h.attempt, len(h.subs), h.latest.id, h.next, h.total, err, h.trace)
		}
		if !h.finished {
			h.die()
		}
		if h.attempt > 200 {
			return errors.New("the job does not end")
		}
	}
	for _, z := range h.zombies {
		_ = z.sub.Close()
	}
	if err := h.strangerEnds(other); err != nil {
		return err
	}
	if err := h.compare(h.total, true); err != nil {
		return fmt.Errorf("at the end: %w\nsteps: %v", err, h.trace)
	}
	return nil
}

// leftover checks that nothing is left that nobody sees but the other job's.
func (h *history[T]) leftover() error {
	if h.Broken != nil && h.Broken() {
		h.messy = true
	}
	if h.Left == nil || h.messy {
		return nil
	}
	h.stats.Cleaned++
	left, err := h.Left()
	if err != nil {
		return err
	}
	left = slices.DeleteFunc(left, func(s string) bool { return strings.Contains(s, "other"+strconv.FormatUint(h.seed, 10)+"a") })
	if len(left) > 0 {
		return fmt.Errorf("at the end there is left %q", left)
	}
	return nil
}

// strangerBegins leaves a prepared transaction of another job.
func (h *history[T]) strangerBegins() (any, error) {
	if h.Whole {
		return nil, nil
	}
	z, err := h.Open(h.Ctx, h.strangers("a"), nil)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(z.Write([]T{h.Record(stranger)}), z.Prepare(1)); err != nil {
		return nil, err
	}
	state, err := z.Snapshot()
	return state, errors.Join(err, z.Close())
}

func (h *history[T]) strangers(unique string) millrace.Subtask {
	return millrace.Subtask{Job: "job", Operator: "sink", Of: 1, Checkpointed: true, Run: "another", Unique: fmt.Sprintf("other%d%s", h.seed, unique)}
}

func (h *history[T]) strangerEnds(state any) error {
	if h.Whole {
		return nil
	}
	z, err := h.Open(h.Ctx, h.strangers("b"), []any{state})
	if err != nil {
		return fmt.Errorf("another job's transaction: %w", err)
	}
	if err := z.Close(); err != nil {
		return err
	}
	seen, err := h.Visible()
	if err == nil && !slices.Contains(seen, stranger) {
		err = errors.New("another job's record is gone")
	}
	return err
}

// live runs an attempt until it fails or the job is done.
func (h *history[T]) live() error {
	h.begin()
	for steps := 0; ; steps++ {
		if steps > 4000 {
			return errors.New("the attempt does not end")
		}
		dies, err := h.step()
		if err != nil || dies || h.finished {
			return err
		}
	}
}

// begin starts an attempt from the last complete checkpoint.
func (h *history[T]) begin() {
	h.attempt++
	h.stats.Attempts++
	h.next, h.pending, h.subs, h.messy = h.latest.at, nil, nil, false
	h.trace = append(h.trace, fmt.Sprintf("|attempt %d from %d|", h.attempt, h.latest.id))
	n := 1 + h.rng.IntN(3)
	if s, ok := h.Sink.Sink.(millrace.SingleWriter); ok && s.SingleWriter() {
		n = 1
	}
	for i := range n {
		h.opened++
		h.subs = append(h.subs, &subtask[T]{place: millrace.Subtask{
			Job: "job", Operator: "sink", Index: i, Of: n, Checkpointed: true,
			Run: "run", Attempt: h.attempt, Unique: "w" + strconv.FormatUint(h.seed, 36) + "x" + strconv.FormatInt(h.opened, 36),
		}})
	}
	for _, state := range h.latest.state {
		if state != nil {
			s := h.subs[h.rng.IntN(n)]
			s.restore = append(s.restore, state)
			h.stats.Restored++
		}
	}
	h.rng.Shuffle(n, func(i, j int) { h.subs[i], h.subs[j] = h.subs[j], h.subs[i] })
	for _, s := range h.subs {
		s.todo = append(s.todo, func(s *subtask[T]) (err error) {
			h.note("open %d", s.place.Index)
			s.sub, err = h.Open(h.Ctx, s.place, s.restore)
			s.notified = h.latest.id
			return err
		})
		if h.latest.ended {
			s.ended = true
			s.todo = append(s.todo, func(s *subtask[T]) error { return s.sub.End() })
		}
	}
	if h.Break != nil && h.rng.IntN(3) > 0 {
		n, bad := h.rng.IntN(40), -1
		if h.rng.IntN(3) == 0 {
			bad = 1 + h.rng.IntN(3)
		}
		h.note("break after %d for %d", n, bad)
		h.Break(n, bad)
	}
}

func (h *history[T]) note(format string, args ...any) {
	h.trace = append(h.trace, fmt.Sprintf(format, args...))
}

// step does one thing. dies means that the attempt ends here.
func (h *history[T]) step() (dies bool, err error) {
	s := h.subs[h.rng.IntN(len(h.subs))]
	switch h.rng.IntN(16) {
	case 0, 1:
		if h.next == h.total {
			break
		}
		n := min(1+h.rng.IntN(4), h.total-h.next)
		recs := make([]T, n)
		for i := range recs {
			recs[i] = h.Record(h.next + i)
		}
		from := h.next
		h.next += n
		s.todo = append(s.todo, func(s *subtask[T]) error {
			h.note("write %d: %d+%d", s.place.Index, from, n)
			return s.sub.Write(recs)
		})
	case 2:
		if len(h.pending) < 2 && !h.latest.ended {
			h.trigger()
		}
	case 3, 4, 5:
		return false, h.decide()
	case 6, 7, 8:
		if len(s.news) > 0 && s.sub != nil {
			return false, h.notify(s)
		}
	case 9:
		h.haunt()
	case 10:
		if h.next == h.total && !s.ended {
			s.ended = true
			s.todo = append(s.todo, func(s *subtask[T]) error {
				h.note("end %d", s.place.Index)
				return s.sub.End()
			})
		}
		return false, h.finish()
	case 11:
		if h.rng.IntN(25) == 0 && h.attempt < 8 {
			return true, nil
		}
	default:
		if len(s.todo) > 0 {
			do := s.todo[0]
			s.todo = s.todo[1:]
			opens := s.sub == nil
			if err := h.fail(do(s)); err != nil {
				return true, err
			}
			if opens {
				return false, h.look()
			}
		}
	}
	return false, nil
}

// fail turns an error that an injected fault explains into errOutside.
func (h *history[T]) fail(err error) error {
	if err != nil && h.Broken != nil && h.Broken() {
		h.stats.Faults++
		h.messy = true
		h.note("fault: %v", err)
		return fmt.Errorf("%w: %w", errOutside, err)
	}
	return err
}

// trigger starts a checkpoint.
func (h *history[T]) trigger() *checkpoint {
	h.ids++
	c := &checkpoint{id: h.ids, at: h.next, state: make([]any, len(h.subs)), ended: h.next == h.total}
	for i, s := range h.subs {
		c.ended = c.ended && s.ended
		s.todo = append(s.todo, func(s *subtask[T]) (err error) {
			h.note("prepare %d: %d", s.place.Index, c.id)
			if err = s.sub.Prepare(c.id); err != nil {
				return err
			}
			s.last = c.id
			if c.state[i], err = s.sub.Snapshot(); err != nil {
				return err
			}
			c.acks++
			return nil
		})
	}
	h.pending = append(h.pending, c)
	return c
}

// decide completes or declines a checkpoint that everybody has answered.
func (h *history[T]) decide() error {
	for i, c := range h.pending {
		if c.acks < len(h.subs) {
			continue
		}
		h.pending = slices.Delete(h.pending, i, i+1)
		if h.rng.IntN(5) == 0 {
			h.stats.Declined++
			h.note("declined %d", c.id)
			return nil
		}
		h.note("complete %d", c.id)
		h.stats.Checkpoints++
		h.latest = *c
		h.pending = slices.DeleteFunc(h.pending, func(p *checkpoint) bool { return p.id < c.id })
		for _, s := range h.subs {
			s.complete = append(s.complete, c.id)
			if h.rng.IntN(4) == 0 {
				h.stats.Lost++
				continue
			}
			s.news = append(s.news, c.id)
			if h.rng.IntN(8) == 0 {
				s.news = append(s.news, c.id) // twice
			}
		}
		return h.look()
	}
	return nil
}

// notify delivers a notification. An error is the attempt's end, or waits for
// the next.
func (h *history[T]) notify(s *subtask[T]) error {
	id := s.news[0]
	s.news = s.news[1:]
	h.note("notify %d: %d", s.place.Index, id)
	if err := h.fail(s.sub.Notify(id)); err != nil {
		if errors.Is(err, errOutside) && h.rng.IntN(2) == 0 {
			s.news = append(s.news, id)
			return nil
		}
		return err
	}
	s.notified = max(s.notified, id)
	return h.look()
}

// look compares what is visible with what must be and what may be.
func (h *history[T]) look() error {
	least := h.latest.id
	for _, s := range h.subs {
		if s.sub == nil {
			return h.compare(0, false)
		}
		least = min(least, s.notified)
	}
	if least == h.latest.id && (!h.Whole || h.latest.ended) {
		return h.compare(h.latest.at, false)
	}
	return h.compare(0, false)
}

// compare checks that a reader sees each of the first must records, and none
// that no checkpoint has, and nothing twice.
func (h *history[T]) compare(must int, exactly bool) error {
	seen, err := h.Visible()
	if err != nil {
		return fmt.Errorf("read what is visible: %w", err)
	}
	slices.Sort(seen)
	seen = slices.DeleteFunc(seen, func(n int) bool { return n >= stranger })
	for i := 1; i < len(seen); i++ {
		if seen[i] == seen[i-1] {
			return fmt.Errorf("record %d is visible twice", seen[i])
		}
	}
	may := h.latest.at
	if h.Whole && !h.latest.ended {
		may = 0
	}
	if len(seen) > 0 && seen[len(seen)-1] >= may {
		return fmt.Errorf("record %d is visible, and the last complete checkpoint, %d, has %d records", seen[len(seen)-1], h.latest.id, may)
	}
	for n := range must {
		if _, ok := slices.BinarySearchFunc(seen, n, cmp.Compare); !ok {
			return fmt.Errorf("record %d is lost: checkpoint %d is complete and committed and has %d records", n, h.latest.id, h.latest.at)
		}
	}
	return nil
}

// finish ends the job if everything is done, and takes checkpoints until it is.
func (h *history[T]) finish() error {
	waits := false
	for _, s := range h.subs {
		if s.sub == nil || !s.ended || len(s.todo) > 0 || len(s.news) > 0 {
			return nil
		}
		waits = waits || s.sub.Pending()
	}
	if waits {
		if len(h.pending) == 0 {
			h.trigger()
		}
		return nil
	}
	if !h.latest.ended {
		if len(h.pending) == 0 {
			h.trigger()
		}
		return nil
	}
	for _, s := range h.subs {
		if err := h.fail(s.sub.Close()); err != nil {
			return err
		}
	}
	if err := h.leftover(); err != nil {
		return err
	}
	h.finished = true
	if h.Crash != nil {
		// Whatever is visible now is there to stay.
		h.Crash(h.rng, h.rng.IntN(2) == 0)
	}
	return nil
}

// die ends an attempt: its subtasks are closed, or killed, or cut off and do
// not know it.
func (h *history[T]) die() {
	how := h.rng.IntN(4)
	h.note("die %d", how)
	power := false
	switch how {
	case 0, 1: // the process is killed, or the machine
		h.stats.Kills++
		power = how == 1 && h.Crash != nil
		if power {
			h.stats.PowerLosses++
		}
	case 2: // another task has failed
		for _, s := range h.subs {
			if s.sub != nil {
				_ = s.sub.Close() // what it leaves is for the next attempt
			}
		}
	case 3:
		for _, s := range h.subs {
			if s.sub != nil {
				h.zombies = append(h.zombies, s)
			}
		}
	}
	if power {
		h.zombies = nil
	}
	if h.Crash != nil {
		h.Crash(h.rng, power)
	}
}

// haunt lets a subtask of an earlier attempt do something.
func (h *history[T]) haunt() {
	if len(h.zombies) == 0 {
		return
	}
	h.stats.Zombies++
	i := h.rng.IntN(len(h.zombies))
	z := h.zombies[i]
	h.note("haunted by %d of %d", z.place.Index, z.place.Attempt)
	switch h.rng.IntN(4) {
	case 0:
		_ = z.sub.Write([]T{h.Record(h.rng.IntN(h.total))})
	case 1:
		z.last += 1000
		_ = z.sub.Prepare(z.last)
	case 2:
		if n := len(z.complete); n > 0 {
			_ = z.sub.Notify(z.complete[n-1])
		}
	case 3:
		_ = z.sub.Close()
		h.zombies = slices.Delete(h.zombies, i, i+1)
	}
	h.messy = true
}
