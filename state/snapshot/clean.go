package snapshot

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/state/blob"
)

// CleanOptions says what [Folder.Clean] must leave.
type CleanOptions struct {
	// Keep are the checkpoints that are retained, and those that are the base of
	// one under way.
	Keep []uint64
	// Attempt is the caller's. All older attempts have ended.
	Attempt uint64
	// Pending is the smallest id of a checkpoint of this attempt that may be
	// under way: nothing is known of what it writes, so that is left alone.
	// Checkpoints of this attempt with smaller ids are complete or given up.
	Pending uint64
	// DryRun makes Clean only tell what it would delete.
	DryRun bool
}

// Cleaned is what [Folder.Clean] deleted, or would delete.
type Cleaned struct {
	// Checkpoints had a manifest and were not to be kept.
	Checkpoints []uint64 `json:"checkpoints,omitempty"`
	// Files are data files that no checkpoint refers to.
	Files []string `json:"files,omitempty"`
	// Bytes is the size of Files.
	Bytes int64 `json:"bytes"`
	// Leavings is the number of interrupted writes that were removed.
	Leavings int `json:"leavings,omitempty"`
}

// Clean deletes the checkpoints that are not to be kept, and all data files that
// no kept checkpoint refers to, except what may be being written. It may be
// interrupted at any point and called again; a crash between two deletions
// leaves files that the next call deletes, never a checkpoint without its files.
//
// If a kept checkpoint's manifest cannot be read it returns that error and
// deletes nothing, since nobody knows what that checkpoint refers to. After
// [ErrFenced] it has deleted nothing either.
func (f *Folder) Clean(ctx context.Context, o CleanOptions) (*Cleaned, error) {
	c, err := f.clean(ctx, o)
	if err != nil {
		return c, fmt.Errorf("clean %s: %w", f, err)
	}
	return c, nil
}

func (f *Folder) clean(ctx context.Context, o CleanOptions) (*Cleaned, error) {
	done := &Cleaned{}
	// What is listed now and not referred to by the manifests read below stays
	// so: a checkpoint under way refers to its own files and to its base's.
	l, err := f.list(ctx)
	if err != nil {
		return done, err
	}
	if l.attempt > o.Attempt {
		return done, fmt.Errorf("%w: %d, after %d", ErrFenced, l.attempt, o.Attempt)
	}
	needed := map[string]bool{}
	for _, id := range o.Keep {
		s, err := Open(ctx, f.store, f.CheckpointDir(id))
		if err != nil {
			return done, fmt.Errorf("checkpoint %d is to be kept: %w", id, err)
		}
		for i := range s.Manifest.Files {
			needed["../"+dataDir+baseOf(s.Manifest.Files[i].Name)] = true
		}
	}
	// Manifests first: without one, a checkpoint whose files are gone cannot be
	// taken for one that is there.
	var names []string
	for _, id := range l.checkpoints {
		if !slices.Contains(o.Keep, id) && id < o.Pending {
			done.Checkpoints = append(done.Checkpoints, id)
			names = append(names, f.CheckpointDir(id)+"/"+ManifestName)
		}
	}
	if !o.DryRun && len(names) > 0 {
		if err := f.store.Delete(ctx, names...); err != nil {
			return done, err
		}
	}
	names = nil
	for _, i := range l.data {
		checkpoint, attempt, _ := parseDataName(i.Name)
		ended := attempt < o.Attempt || attempt == o.Attempt && checkpoint < o.Pending
		if ended && !needed["../"+i.Name] {
			done.Files = append(done.Files, i.Name)
			done.Bytes += i.Size
			names = append(names, f.dir+i.Name)
		}
	}
	for _, n := range l.attempts {
		// The newest stays: it is what fences.
		if n < o.Attempt && n < slices.Max(l.attempts) {
			names = append(names, f.dir+attemptName(n))
		}
	}
	if o.DryRun {
		return done, nil
	}
	if len(names) > 0 {
		if err := f.store.Delete(ctx, names...); err != nil {
			return done, err
		}
	}
	if s, ok := f.store.(blob.Sweeper); ok {
		done.Leavings, err = s.Sweep(ctx, f.dir, func(name string, _ time.Time) bool {
			name = name[len(f.dir):]
			if checkpoint, attempt, ok := parseDataName(name); ok {
				return attempt < o.Attempt || attempt == o.Attempt && checkpoint < o.Pending
			}
			if id, ok := parseCheckpoint(name); ok {
				return id < o.Pending
			}
			n, ok := number(name, attemptsDir)
			return ok && n < o.Attempt
		})
	}
	return done, err
}

// baseOf is the name of a data file without its folder.
func baseOf(name string) string {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			return name[i+1:]
		}
	}
	return name
}

// Drop deletes the savepoint in the folder dir of store: its manifest first,
// then its files. Nothing else in the folder is touched.
func Drop(ctx context.Context, store blob.Store, dir string) error {
	dir = slashed(dir)
	if err := store.Delete(ctx, dir+ManifestName); err != nil {
		return fmt.Errorf("drop savepoint %s: %w", dir, err)
	}
	var names []string
	for i, err := range store.List(ctx, dir+dataDir) {
		if err != nil {
			return fmt.Errorf("drop savepoint %s: %w", dir, err)
		}
		if _, _, ok := parseDataName(i.Name[len(dir):]); ok {
			names = append(names, i.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	if err := store.Delete(ctx, names...); err != nil {
		return fmt.Errorf("drop savepoint %s: %w", dir, err)
	}
	return nil
}
