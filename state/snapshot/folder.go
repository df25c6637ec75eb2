package snapshot

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/millrace/millrace/state/blob"
)

// A Folder is where the checkpoints of one job are:
//
//	chk-<id>/_metadata                        the manifest of checkpoint id
//	data/c<id>-a<attempt>-<worker>-<number>   data files, shared by checkpoints
//	attempts/<number>                         attempts of the job that have begun
//
// It is safe for concurrent use.
type Folder struct {
	store blob.Store
	dir   string // with a slash behind it, or empty
}

// NewFolder returns the folder dir of store; dir may be empty. It touches
// nothing.
func NewFolder(store blob.Store, dir string) *Folder { return &Folder{store, slashed(dir)} }

// CheckpointDir is the folder of a checkpoint's manifest in the store.
func (f *Folder) CheckpointDir(id uint64) string { return fmt.Sprintf("%s%s%d", f.dir, chkPrefix, id) }

// String is the folder's URL.
func (f *Folder) String() string {
	return strings.TrimSuffix(f.store.String()+"/"+f.dir, "/")
}

func attemptName(n uint64) string { return fmt.Sprintf("%s%d", attemptsDir, n) }

// Claim begins an attempt of the job and returns its number, from 1. A number is
// given out once, so that it fences: what older attempts publish or clean from
// then on fails with [ErrFenced]. If Claim fails it may be called again.
func (f *Folder) Claim(ctx context.Context) (uint64, error) {
	all, err := f.list(ctx)
	if err != nil {
		return 0, fmt.Errorf("claim an attempt: %w", err)
	}
	n := all.attempt
	for {
		n++
		err := f.store.PutNew(ctx, f.dir+attemptName(n), strings.NewReader("millrace attempt\n"))
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, blob.ErrExists) {
			return 0, fmt.Errorf("claim an attempt: %w", err)
		}
	}
}

// A listing is what is in a folder.
type listing struct {
	checkpoints []uint64 // that have a manifest, newest first
	data        []blob.Info
	attempts    []uint64
	attempt     uint64 // the newest known of
	last        uint64 // the largest checkpoint id known of
}

func (f *Folder) list(ctx context.Context) (*listing, error) {
	l := &listing{}
	for i, err := range f.store.List(ctx, f.dir) {
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(i.Name, f.dir)
		if id, ok := parseCheckpoint(name); ok {
			l.checkpoints = append(l.checkpoints, id)
			l.last = max(l.last, id)
		} else if c, a, ok := parseDataName(name); ok {
			i.Name = name
			l.data = append(l.data, i)
			l.last, l.attempt = max(l.last, c), max(l.attempt, a)
		} else if n, ok := number(name, attemptsDir); ok {
			l.attempts = append(l.attempts, n)
			l.attempt = max(l.attempt, n)
		}
	}
	slices.SortFunc(l.checkpoints, func(a, b uint64) int { return cmp.Compare(b, a) })
	return l, nil
}

// Checkpoints lists the ids of the checkpoints that have a manifest, newest
// first, and last, the largest id that has been used for anything: ids of new
// checkpoints must be larger.
func (f *Folder) Checkpoints(ctx context.Context) (ids []uint64, last uint64, err error) {
	l, err := f.list(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("list checkpoints of %s: %w", f, err)
	}
	return l.checkpoints, l.last, nil
}

// Publish makes m a checkpoint of the folder: when it returns nil, the
// checkpoint is there for good. Before that it makes sure that no newer attempt
// has begun ([ErrFenced]) and that all its files are there in full size.
//
// Publish may be called again with the same manifest after an error. An error
// that is [ErrUncertain] leaves open whether it is there; after any other it is
// not.
func (f *Folder) Publish(ctx context.Context, m *Manifest) error {
	err := f.publish(ctx, m)
	if err != nil {
		return fmt.Errorf("publish checkpoint %d: %w", m.Checkpoint, err)
	}
	return nil
}

func (f *Folder) publish(ctx context.Context, m *Manifest) error {
	if m.Kind != Checkpoint {
		return fmt.Errorf("it is a %s", m.Kind)
	}
	data, err := m.Encode()
	if err != nil {
		return err
	}
	l, err := f.list(ctx)
	if err != nil {
		return err
	}
	if l.attempt > m.Attempt {
		return fmt.Errorf("%w: %d, after %d", ErrFenced, l.attempt, m.Attempt)
	}
	sizes := make(map[string]int64, len(l.data))
	for _, i := range l.data {
		sizes["../"+i.Name] = i.Size
	}
	if err := m.checkSizes(sizes, f.CheckpointDir(m.Checkpoint)); err != nil {
		return err
	}
	return putManifest(ctx, f.store, f.CheckpointDir(m.Checkpoint)+"/"+ManifestName, data)
}

// checkSizes reports files that are not there in full; sizes has what is there.
func (m *Manifest) checkSizes(sizes map[string]int64, dir string) error {
	var errs []error
	for i := range m.Files {
		file := &m.Files[i]
		size, ok := sizes[file.Name]
		switch {
		case !ok:
			errs = append(errs, &DamageError{File: path.Join(dir, file.Name), Offset: -1, Of: m.ownersOf(file.Name), Problem: fmt.Sprintf("is missing, want %d bytes", file.Size)})
		case size != file.Size:
			errs = append(errs, &DamageError{File: path.Join(dir, file.Name), Offset: -1, Of: m.ownersOf(file.Name), Problem: fmt.Sprintf("has %d bytes, want %d", size, file.Size)})
		}
	}
	return errors.Join(errs...)
}

// ownersOf tells whose chunks are in a file.
func (m *Manifest) ownersOf(file string) string {
	first, n := "", 0
	for who, c := range m.chunks() {
		if c.File == file {
			if n == 0 {
				first = who().String()
			}
			n++
		}
	}
	if n > 1 {
		first += fmt.Sprintf(" and %d more", n-1)
	}
	return first
}

// putManifest puts a manifest in one step, and finds out what became of it if
// the store does not say.
func putManifest(ctx context.Context, store blob.Store, name string, data []byte) error {
	err := store.PutNew(ctx, name, bytes.NewReader(data))
	if err == nil {
		return nil
	}
	there, rerr := blob.ReadAll(ctx, store, name, 0, -1)
	switch {
	case rerr == nil && bytes.Equal(there, data):
		return nil // the answer was lost, or an earlier call did it
	case rerr == nil:
		return fmt.Errorf("another manifest is there: %w", err)
	case errors.Is(rerr, blob.ErrNotExist):
		return err
	default:
		return fmt.Errorf("%w: %w", ErrUncertain, errors.Join(err, rerr))
	}
}

// PublishSavepoint makes m the savepoint in the folder dir of store, which
// [SavepointWriter] has written. Errors are as for [Folder.Publish].
func PublishSavepoint(ctx context.Context, store blob.Store, dir string, m *Manifest) error {
	err := publishSavepoint(ctx, store, slashed(dir), m)
	if err != nil {
		return fmt.Errorf("publish savepoint %s: %w", path.Join(store.String(), dir), err)
	}
	return nil
}

func publishSavepoint(ctx context.Context, store blob.Store, dir string, m *Manifest) error {
	if m.Kind != Savepoint {
		return fmt.Errorf("it is a %s", m.Kind)
	}
	data, err := m.Encode()
	if err != nil {
		return err
	}
	sizes, err := fileSizes(ctx, store, dir)
	if err != nil {
		return err
	}
	if err := m.checkSizes(sizes, dir); err != nil {
		return err
	}
	return putManifest(ctx, store, dir+ManifestName, data)
}

// fileSizes lists the data files beside a savepoint's manifest.
func fileSizes(ctx context.Context, store blob.Store, dir string) (map[string]int64, error) {
	sizes := map[string]int64{}
	for i, err := range store.List(ctx, dir+dataDir) {
		if err != nil {
			return nil, err
		}
		sizes[strings.TrimPrefix(i.Name, dir)] = i.Size
	}
	return sizes, nil
}

// Skipped is a checkpoint that [Folder.Newest] passed over.
type Skipped struct {
	Checkpoint uint64
	Why        error
}

// Newest opens the newest checkpoint that is not damaged, and tells which newer
// ones it passed over. Nil and no error if there is none. whole makes it read
// all bytes of a candidate; else it makes sure of the manifest, and of the
// files' sizes.
//
// What it cannot decide is an error: a store that does not answer, a manifest of
// a newer version. Going back further than needed would repeat what sinks have
// committed.
func (f *Folder) Newest(ctx context.Context, whole bool) (*Snapshot, []Skipped, error) {
	l, err := f.list(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("newest checkpoint in %s: %w", f, err)
	}
	sizes := make(map[string]int64, len(l.data))
	for _, i := range l.data {
		sizes["../"+i.Name] = i.Size
	}
	var skipped []Skipped
	for _, id := range l.checkpoints {
		s, err := Open(ctx, f.store, f.CheckpointDir(id))
		if err == nil && s.Manifest.Checkpoint != id {
			err = &DamageError{File: f.CheckpointDir(id) + "/" + ManifestName, Offset: -1, Problem: fmt.Sprintf("is the manifest of checkpoint %d", s.Manifest.Checkpoint)}
		}
		if err == nil {
			err = s.Manifest.checkSizes(sizes, f.CheckpointDir(id))
		}
		if err == nil && whole {
			err = s.Verify(ctx)
		}
		if err == nil {
			return s, skipped, nil
		}
		if !onlyDamage(err) {
			return nil, skipped, fmt.Errorf("newest checkpoint in %s: %w", f, err)
		}
		skipped = append(skipped, Skipped{id, err})
	}
	return nil, skipped, nil
}

// onlyDamage reports whether all that err joins is damage.
func onlyDamage(err error) bool {
	if _, ok := err.(*DamageError); ok {
		return true
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			if !onlyDamage(err) {
				return false
			}
		}
		return true
	case interface{ Unwrap() error }:
		return onlyDamage(e.Unwrap())
	}
	return false
}
