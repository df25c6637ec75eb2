package snapshot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/millrace/millrace/state/blob"
)

// A process runs a job with checkpoints until something goes wrong, the way the
// engine does.
type process struct {
	j       *job
	f       *Folder
	attempt uint64
	last    uint64
	keep    []uint64 // retained, newest first
	base    *Manifest
	skipped []Skipped
	// known is what each checkpoint that may be there holds.
	known map[uint64]map[string]string
	// acked is the newest checkpoint that the job was told is complete.
	acked uint64
}

// start begins an attempt and restores.
func (p *process) start(ctx context.Context) error {
	var err error
	if p.attempt, err = p.f.Claim(ctx); err != nil {
		return err
	}
	if _, p.last, err = p.f.Checkpoints(ctx); err != nil {
		return err
	}
	s, skipped, err := p.f.Newest(ctx, false)
	if err != nil {
		return err
	}
	p.skipped, p.base, p.keep = skipped, nil, nil
	if s != nil {
		p.base, p.keep = s.Manifest, []uint64{s.Manifest.Checkpoint}
	}
	return p.clean(ctx)
}

func (p *process) clean(ctx context.Context) error {
	_, err := p.f.Clean(ctx, CleanOptions{Keep: p.keep, Attempt: p.attempt, Pending: p.last + 1})
	return err
}

// checkpoint takes one and drops the oldest.
func (p *process) checkpoint(ctx context.Context) error {
	p.j.step()
	p.last++
	id := p.last
	p.known[id] = p.j.content()
	m, err := p.j.checkpoint(ctx, p.f, id, p.attempt, p.base)
	if err != nil {
		return err
	}
	p.acked, p.base = id, m
	p.keep = append([]uint64{id}, p.keep[:min(len(p.keep), 1)]...)
	return p.clean(ctx)
}

// exact reports objects that are needed and missing, or there and not needed.
func exact(ctx context.Context, store blob.Store, f *Folder, keep []uint64, attempt uint64) error {
	want := map[string]bool{f.dir + attemptName(attempt): true}
	for _, id := range keep {
		s, err := Open(ctx, store, f.CheckpointDir(id))
		if err != nil {
			return err
		}
		want[f.CheckpointDir(id)+"/"+ManifestName] = true
		for _, x := range s.Manifest.Files {
			want[f.dir+x.Name[len("../"):]] = true
		}
	}
	have := map[string]bool{}
	for i, err := range store.List(ctx, "") {
		if err != nil {
			return err
		}
		have[i.Name] = true
	}
	if !maps.Equal(have, want) {
		return fmt.Errorf("there is\n%q\nwanted\n%q", slices.Sorted(maps.Keys(have)), slices.Sorted(maps.Keys(want)))
	}
	return nil
}

// recovered starts a new process on what an old one has left and checks that
// nothing complete is lost, nothing half is taken for whole, and nothing is left
// over.
func recovered(ctx context.Context, store *blob.Memory, old *process) error {
	f := NewFolder(store, old.f.dir)
	p := &process{j: old.j, f: f, known: old.known}
	if err := p.start(ctx); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	if !store.Torn && len(p.skipped) > 0 {
		return fmt.Errorf("restart skipped %v", p.skipped)
	}
	if p.base == nil {
		if old.acked > 0 {
			return fmt.Errorf("checkpoint %d is lost", old.acked)
		}
	} else {
		id := p.base.Checkpoint
		if id < old.acked {
			return fmt.Errorf("restored checkpoint %d after %d was complete", id, old.acked)
		}
		s, err := Open(ctx, store, f.CheckpointDir(id))
		if err != nil {
			return err
		}
		if err := s.Verify(ctx); err != nil {
			return err
		}
		got, err := load(ctx, s)
		if err != nil {
			return err
		}
		if !maps.Equal(got, p.known[id]) {
			return fmt.Errorf("checkpoint %d restores to something else", id)
		}
	}
	if err := exact(ctx, store, f, p.keep, p.attempt); err != nil {
		return fmt.Errorf("after the restart: %w", err)
	}
	for range 2 {
		if err := p.checkpoint(ctx); err != nil {
			return fmt.Errorf("after the restart: %w", err)
		}
	}
	if err := exact(ctx, store, f, p.keep, p.attempt); err != nil {
		return fmt.Errorf("after two more checkpoints: %w", err)
	}
	for _, id := range p.keep {
		s, err := Open(ctx, store, f.CheckpointDir(id))
		if err == nil {
			err = s.Verify(ctx)
		}
		if err != nil {
			return fmt.Errorf("retained checkpoint %d: %w", id, err)
		}
	}
	return nil
}

var errKilled = errors.New("killed")

// simulate runs a process under hook until it has taken four checkpoints or
// cannot go on. tolerant: a failed checkpoint does not end it.
func simulate(ctx context.Context, store *blob.Memory, hook func(blob.Op) blob.Fault, tolerant bool) *process {
	store.Hook = hook
	j := newJob(1)
	j.size = 40
	p := &process{j: j, f: NewFolder(store, "job"), known: map[uint64]map[string]string{}}
	for try := 0; ; try++ {
		if err := p.start(ctx); err == nil {
			break
		} else if !tolerant || try == 5 {
			return p
		}
	}
	for range 4 {
		if err := p.checkpoint(ctx); err != nil {
			if !tolerant {
				return p
			}
			_ = p.clean(ctx) // of what it has left; it may fail, too
		}
	}
	return p
}

func TestAKillAtAnyOperationLosesNothingAndLeavesNothing(t *testing.T) {
	ctx := t.Context()
	whole := &blob.Memory{}
	if p := simulate(ctx, whole, nil, false); p.acked != 4 {
		t.Fatalf("undisturbed: came to checkpoint %d", p.acked)
	}
	ops := whole.Ops()
	if ops < 30 {
		t.Fatalf("%d operations", ops)
	}
	for n := 1; n <= ops; n += min(scale, 3) {
		for _, how := range []struct {
			name string
			done bool
			torn int
		}{{"before", false, 0}, {"after", true, 0}, {"one byte", false, 1}, {"in the middle", false, 150}} {
			store := &blob.Memory{Torn: how.torn > 0}
			p := simulate(ctx, store, blob.Crash(n, errKilled, how.done, how.torn), false)
			store.Hook = nil
			if err := recovered(ctx, store, p); err != nil {
				t.Fatalf("killed %s operation %d of %d: %v", how.name, n, ops, err)
			}
		}
	}
}

func TestASecondKillWhileRecoveringLosesNothing(t *testing.T) {
	ctx := t.Context()
	for n := 3; n <= 34; n += scale {
		store := &blob.Memory{}
		p := simulate(ctx, store, blob.Crash(n, errKilled, n%2 == 0, 0), false)
		for k := 1; k <= 12; k++ {
			again := store.Clone()
			again.Hook = blob.Crash(k, errKilled, k%3 == 0, 0)
			q := &process{j: p.j, f: NewFolder(again, "job"), known: p.known, acked: p.acked}
			if err := q.start(ctx); err != nil && !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			again.Hook = nil
			if err := recovered(ctx, again, p); err != nil {
				t.Fatalf("killed at %d and then at %d: %v", n, k, err)
			}
		}
	}
}

func TestAFailureOfAnyOneOperationIsSurvived(t *testing.T) {
	ctx := t.Context()
	whole := &blob.Memory{}
	simulate(ctx, whole, nil, false)
	for n := 1; n <= whole.Ops(); n += scale {
		for _, f := range []blob.Fault{{Err: blob.ErrTransient}, {Err: blob.ErrTransient, Done: true}, {Err: blob.ErrTransient, Torn: 60}} {
			store := &blob.Memory{Torn: f.Torn > 0}
			p := simulate(ctx, store, func(op blob.Op) blob.Fault {
				if op.N == n {
					return f
				}
				return blob.Fault{}
			}, true)
			if p.acked == 0 {
				t.Fatalf("%+v at %d: no checkpoint", f, n)
			}
			store.Hook = nil
			if err := recovered(ctx, store, p); err != nil {
				t.Fatalf("%+v at %d: %v", f, n, err)
			}
		}
	}
}

// Checkpoint 2 is published, but nobody knows; the job goes on without it and
// deletes it. A kill while it does so must not leave a manifest whose files are
// gone.
func TestAKillWhileAnUncertainCheckpointIsDeletedLeavesNoHalf(t *testing.T) {
	for n := 1; ; n++ {
		store := &blob.Memory{}
		killed, from := false, 0
		p := simulate(t.Context(), store, func(op blob.Op) blob.Fault {
			if op.Name == "job/chk-2/_metadata" && (op.Kind == blob.OpPutNew || op.Kind == blob.OpGet) {
				from = op.N
				return blob.Fault{Err: blob.ErrTransient, Done: true}
			}
			if killed = killed || from > 0 && op.N >= from+n; killed {
				return blob.Fault{Err: errKilled}
			}
			return blob.Fault{}
		}, true)
		store.Hook = nil
		if err := recovered(t.Context(), store, p); err != nil {
			t.Fatalf("killed %d operations later: %v", n, err)
		}
		if !killed {
			if p.acked != 4 || n < 15 {
				t.Errorf("came to checkpoint %d, %d operations later", p.acked, n)
			}
			return
		}
	}
}

func TestManyFailuresAreSurvived(t *testing.T) {
	complete := 0
	for seed := range uint64(300 / scale) {
		store := &blob.Memory{Torn: seed%2 == 0}
		p := simulate(t.Context(), store, blob.Faults(seed, blob.Rates{Fail: .04, Lost: .04, Tear: .04}), true)
		store.Hook = nil
		complete += int(p.acked)
		if err := recovered(t.Context(), store, p); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if complete < 400/scale {
		t.Errorf("%d checkpoints only", complete)
	}
}

func TestALostAnswerToAPublicationIsNoFailure(t *testing.T) {
	store := &blob.Memory{}
	first := true
	store.Hook = func(op blob.Op) blob.Fault {
		if first && op.Kind == blob.OpPutNew && op.Name == "job/chk-1/_metadata" {
			first = false
			return blob.Fault{Err: blob.ErrTransient, Done: true}
		}
		return blob.Fault{}
	}
	f := NewFolder(store, "job")
	m, err := newJob(1).checkpoint(t.Context(), f, 1, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Publish(t.Context(), m); err != nil {
		t.Errorf("again: %v", err)
	}
	other := *m
	other.JobName = "other"
	if err := f.Publish(t.Context(), &other); !errors.Is(err, blob.ErrExists) || errors.Is(err, ErrUncertain) {
		t.Errorf("another: %v", err)
	}
}

func TestAPublicationOfUnknownOutcomeSaysSo(t *testing.T) {
	store := &blob.Memory{}
	store.Hook = func(op blob.Op) blob.Fault {
		if op.Name == "job/chk-1/_metadata" {
			return blob.Fault{Err: blob.ErrTransient, Done: true}
		}
		return blob.Fault{}
	}
	_, err := newJob(1).checkpoint(t.Context(), NewFolder(store, "job"), 1, 1, nil)
	if !errors.Is(err, ErrUncertain) || !errors.Is(err, blob.ErrTransient) {
		t.Error(err)
	}
}

func TestAnOldAttemptCanNeitherPublishNorClean(t *testing.T) {
	store := &blob.Memory{}
	f := NewFolder(store, "job")
	j := newJob(1)
	old, err := f.Claim(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m, err := j.checkpoint(t.Context(), f, 1, old, nil)
	if err != nil {
		t.Fatal(err)
	}
	late, err := j.write(t.Context(), j.info(2, old), f.Writer, m)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.Claim(t.Context()); err != nil || n != old+1 {
		t.Fatalf("attempt %d after %d: %v", n, old, err)
	}
	before := objects(t, store, "")
	if err := f.Publish(t.Context(), late); !errors.Is(err, ErrFenced) {
		t.Error(err)
	}
	if _, err := f.Clean(t.Context(), CleanOptions{Attempt: old, Pending: 9}); !errors.Is(err, ErrFenced) {
		t.Error(err)
	}
	if after := objects(t, store, ""); !slices.Equal(before, after) {
		t.Errorf("%q, then %q", before, after)
	}
}

func TestCleanLeavesWhatMayBeBeingWritten(t *testing.T) {
	store := &blob.Memory{}
	f := NewFolder(store, "job")
	j := newJob(1)
	m, err := j.checkpoint(t.Context(), f, 1, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	late, err := j.write(t.Context(), j.info(2, 1), f.Writer, m)
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.Clean(t.Context(), CleanOptions{Keep: []uint64{1}, Attempt: 1, Pending: 2, DryRun: true})
	if err != nil || len(c.Files) > 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err = f.Clean(t.Context(), CleanOptions{Keep: []uint64{1}, Attempt: 1, Pending: 2}); err != nil || len(c.Files) > 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if err := f.Publish(t.Context(), late); err != nil {
		t.Error(err)
	}
	// Published while the caller made up its mind.
	if c, err = f.Clean(t.Context(), CleanOptions{Keep: []uint64{1}, Attempt: 1, Pending: 2}); err != nil || len(c.Files)+len(c.Checkpoints) > 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err = f.Clean(t.Context(), CleanOptions{Keep: []uint64{1}, Attempt: 1, Pending: 3, DryRun: true}); err != nil || len(c.Files) == 0 || !slices.Equal(c.Checkpoints, []uint64{2}) || c.Bytes == 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if err := mustOpen(t, store, f.CheckpointDir(2)).Verify(t.Context()); err != nil {
		t.Errorf("after a dry run: %v", err)
	}
}

func TestCleanRemovesInterruptedWritesOfEndedAttemptsOnly(t *testing.T) {
	dir := t.TempDir()
	store := blob.NewFile(dir)
	f := NewFolder(store, "job")
	if _, err := newJob(1).checkpoint(t.Context(), f, 1, 2, nil); err != nil {
		t.Fatal(err)
	}
	leave := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, "job", name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	leave("data/.tmp-a1-c9-a1-w0-1")  // of the attempt before
	leave("data/.tmp-a1-c1-a2-w0-2")  // of a checkpoint that is complete
	leave("data/.tmp-a1-c2-a2-w0-1")  // being written
	leave("chk-1/.tmp-a1-_metadata")  // of a checkpoint that is complete
	leave("chk-1/.tmp-a1-_metadata2") // not ours
	c, err := f.Clean(t.Context(), CleanOptions{Keep: []uint64{1}, Attempt: 2, Pending: 2})
	if err != nil || c.Leavings != 3 || len(c.Files) > 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err = f.Clean(t.Context(), CleanOptions{Keep: []uint64{1}, Attempt: 3, Pending: 2}); err != nil || c.Leavings != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestCleanDeletesNothingWhenAKeptManifestCannotBeRead(t *testing.T) {
	store := &blob.Memory{}
	f := NewFolder(store, "job")
	j := newJob(1)
	var base *Manifest
	for id := uint64(1); id <= 3; id++ {
		m, err := j.checkpoint(t.Context(), f, id, 1, base)
		if err != nil {
			t.Fatal(err)
		}
		base = m
		j.step()
	}
	replace(t, store, "job/chk-2/_metadata", []byte("rubbish"))
	before := objects(t, store, "")
	if _, err := f.Clean(t.Context(), CleanOptions{Keep: []uint64{3, 2}, Attempt: 1, Pending: 4}); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if after := objects(t, store, ""); !slices.Equal(before, after) {
		t.Errorf("%q, then %q", before, after)
	}
	if _, err := f.Clean(t.Context(), CleanOptions{Keep: []uint64{3}, Attempt: 1, Pending: 4}); err != nil {
		t.Error(err)
	}
	if err := mustOpen(t, store, f.CheckpointDir(3)).Verify(t.Context()); err != nil {
		t.Error(err)
	}
}
