package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/state/cold"
)

// runBytes is about how large a table of a run gets before the next begins.
const runBytes = 64 << 20

// A run is a sorted run: tables in a folder of their own.
type run struct {
	s     *Store
	dir   string
	paths []string
	w     *sstable.Writer // of the last path, or nil
	size  int             // bytes given to w
	last  []byte
	err   error
	done  bool
}

// NewRun starts a sorted run.
func (s *Store) NewRun() (cold.Run, error) {
	s.mu.Lock()
	s.runs++
	dir := filepath.Join(s.dir, fmt.Sprintf("run-%d", s.runs))
	s.mu.Unlock()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, s.wrap("starting a run for", err)
	}
	return &run{s: s, dir: dir}, nil
}

func (r *run) Add(b *cold.Batch) error {
	if r.done {
		return errors.New("adding to a run: it has ended")
	}
	if r.err == nil {
		r.err = r.s.wrap("adding to a run for", r.add(b))
	}
	return r.err
}

func (r *run) add(b *cold.Batch) error {
	for op, e := range b.All() {
		if r.last != nil && bytes.Compare(e.Key, r.last) <= 0 {
			return fmt.Errorf("key %x after %x: must ascend", e.Key, r.last)
		}
		r.last = append(r.last[:0], e.Key...)
		if r.w == nil || r.size >= runBytes {
			if err := r.next(); err != nil {
				return err
			}
		}
		r.size += len(e.Key) + len(e.Value)
		var err error
		switch op {
		case cold.Put:
			err = r.w.Set(e.Key, e.Value)
		case cold.Merge:
			err = r.w.Merge(e.Key, e.Value)
		case cold.Delete:
			err = r.w.Delete(e.Key)
		default:
			err = fmt.Errorf("%v in a sorted run", op)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// next ends a table and begins another.
func (r *run) next() error {
	if err := r.end(); err != nil {
		return err
	}
	path := filepath.Join(r.dir, fmt.Sprintf("%d.sst", len(r.paths)))
	f, err := r.s.backend.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	r.paths = append(r.paths, path)
	r.w = sstable.NewWriter(objstorageprovider.NewFileWritable(f), r.s.tables)
	r.size = 0
	return nil
}

func (r *run) end() error {
	if r.w == nil {
		return nil
	}
	w := r.w
	r.w = nil
	return w.Close()
}

func (r *run) Ingest() error {
	if r.done {
		return errors.New("ingesting a run: it has ended")
	}
	defer r.Discard()
	if r.err == nil {
		r.err = r.s.wrap("ending a run for", r.end())
	}
	if r.err != nil || len(r.paths) == 0 {
		return r.err
	}
	// Pebble would wait for ever for a flush that a full disk stops.
	if err := r.s.room(r.s.memtable); err != nil {
		return r.s.wrap("ingesting a run into", err)
	}
	return r.s.wrap("ingesting a run into", r.s.db.Ingest(context.Background(), r.paths))
}

func (r *run) Discard() {
	if r.done {
		return
	}
	r.done = true
	_ = r.end()
	_ = os.RemoveAll(r.dir)
}
