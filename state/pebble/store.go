package pebble

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/millrace/millrace/state/cold"
	"github.com/millrace/millrace/state/keygroup"
)

// A Store is a cold.Store in a Pebble database.
type Store struct {
	backend *Backend
	db      *pebble.DB
	dir     string
	groups  keygroup.Range
	trouble trouble

	id        string            // makes the identity of files made here
	inherited map[string]string // by name: the identity of files that came from an image; read only

	tables   sstable.WriterOptions // of the tables of runs
	memtable int64                 // bytes
	unasked  int64                 // bytes written since room last asked how full the memtables are
	runs     int                   // number of runs started, for names; guarded by mu
	stalls   int64                 // guarded by mu

	kinds  []cold.TTL
	mu     sync.Mutex
	clocks []int64 // by kind; guarded by mu
	sweep  sweeper
}

// MultiGet looks keys up, as cold.Store says.
func (s *Store) MultiGet(keys *cold.Keys, values *cold.Values) error {
	values.Resize(keys.Len())
	for i := range keys.Len() {
		v, closer, err := s.db.Get(keys.Key(i))
		switch {
		case err == nil:
			values.Data = append(values.Data, v...)
			values.Found[i] = 1
			err = closer.Close()
		case errors.Is(err, pebble.ErrNotFound):
			values.Found[i] = 0
			err = nil
		}
		if err != nil {
			return s.wrap("reading", err)
		}
		if len(values.Data) > 1<<32-1 {
			return s.wrap("reading", errors.New("more than 4 GiB of values asked for at once"))
		}
		values.Ends[i] = uint32(len(values.Data))
	}
	return nil
}

// Write makes the changes of b, as cold.Store says.
func (s *Store) Write(b *cold.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	if err := s.room(int64(b.Size())); err != nil {
		return s.wrap("writing to", err)
	}
	packed := b.Packed()
	if int64(len(packed)+b.Len()*memtableNode) >= s.memtable/3 {
		// Pebble does not copy a large batch into a memtable: it keeps the
		// bytes, which are the caller's, until it has flushed them.
		packed = slices.Clone(packed)
	}
	var p pebble.Batch
	if err := p.SetRepr(packed); err != nil {
		return s.wrap("writing to", err)
	}
	return s.wrap("writing to", s.db.Apply(&p, pebble.NoSync))
}

// memtableNode is more than an entry takes in a memtable besides its bytes.
const memtableNode = 128

// room waits until the memtables have place for size bytes, and reports why
// they will not get it. It asks Pebble once in an eighth of a memtable.
func (s *Store) room(size int64) error {
	changed, err := s.trouble.now()
	if s.unasked += size; s.unasked < s.memtable/8 && err == nil {
		return nil
	}
	s.unasked = 0
	waited := false
	for int64(s.db.Metrics().MemTable.Size) > 2*s.memtable+s.memtable/2 {
		if err != nil {
			return err
		}
		if !waited {
			s.mu.Lock()
			s.stalls++
			s.mu.Unlock()
			waited = true
		}
		<-changed
		changed, err = s.trouble.now()
	}
	return nil
}

// flush brings the memtables to disk.
func (s *Store) flush() error {
	changed, before := s.trouble.now()
	done, err := s.db.AsyncFlush()
	if err != nil {
		return err
	}
	for {
		select {
		case <-done:
			return nil
		case <-changed:
		}
		// One flush that goes wrong may have been under way before.
		if changed, err = s.trouble.now(); err != nil && before != nil {
			return err
		}
		before = err
	}
}

// Scan iterates over a range, as cold.Store says.
func (s *Store) Scan(lower, upper []byte) (cold.Scanner, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: slices.Clone(lower), UpperBound: slices.Clone(upper)})
	if err != nil {
		return nil, s.wrap("scanning", err)
	}
	it.First()
	return &scanner{s: s, it: it}, nil
}

type scanner struct {
	s  *Store
	it *pebble.Iterator
}

func (c *scanner) Next(b *cold.Batch) (bool, error) {
	room := len(b.Space(scanBytes))
	b.Reset()
	for ; c.it.Valid(); c.it.Next() {
		v, err := c.it.ValueAndErr()
		if err != nil {
			return false, c.s.wrap("scanning", err)
		}
		k := c.it.Key()
		if b.Len() > 0 && b.Size()+len(k)+len(v)+11 > room {
			return true, nil
		}
		b.Put(k, v)
	}
	return b.Len() > 0, c.s.wrap("scanning", c.it.Error())
}

func (c *scanner) Close() error {
	if c.it == nil {
		return nil
	}
	it := c.it
	c.it = nil
	return c.s.wrap("scanning", it.Close())
}

const scanBytes = 64 << 10

// Checkpoint links the files of the store into dir, as cold.Store says.
func (s *Store) Checkpoint(dir string) (cold.Image, error) {
	// Without a log Pebble's checkpoint has only what was flushed.
	if err := s.flush(); err != nil {
		return cold.Image{}, s.wrap("writing a checkpoint of", err)
	}
	if err := s.db.Checkpoint(dir); err != nil {
		return cold.Image{}, errors.Join(s.wrap("writing a checkpoint of", err), os.RemoveAll(dir))
	}
	return cold.List(dir, s.groups, func(name string) (string, error) {
		switch filepath.Ext(name) {
		case ".sst", ".blob":
			if id, ok := s.inherited[name]; ok {
				return id, nil
			}
			return s.id + "/" + name, nil
		}
		return "", nil
	})
}

// Compact rewrites a range, as cold.Store says.
func (s *Store) Compact(lower, upper []byte) error {
	if len(s.kinds) > 0 {
		if err := s.sweepRange(lower, upper); err != nil {
			return err
		}
	}
	if upper == nil {
		upper = []byte{0xff, 0xff, 0xff}
	}
	if len(lower) == 0 {
		lower = []byte{0}
	}
	return s.wrap("compacting", s.db.Compact(context.Background(), lower, upper, true))
}

// Stats are the figures of the database.
func (s *Store) Stats() cold.Stats {
	m := s.db.Metrics()
	st := cold.Stats{
		Hits: m.BlockCache.Hits, Misses: m.BlockCache.Misses,
		MemoryBytes: s.backend.MemoryInUse(), WriteBufferBytes: int64(m.MemTable.Size),
		PendingBytes: int64(m.Compact.EstimatedDebt),
		Flushes:      m.Flush.Count, Compactions: m.Compact.Count,
	}
	for _, l := range m.Levels {
		st.Files += l.TablesCount
		st.FileBytes += l.TablesSize
		st.WrittenBytes += int64(l.TableBytesFlushed + l.TableBytesCompacted + l.TableBytesIngested)
	}
	s.mu.Lock()
	st.Stalls = s.stalls
	s.mu.Unlock()
	return st
}

// Close closes the database.
func (s *Store) Close() error { return s.wrap("closing", s.db.Close()) }

// Restore makes a store of images, as cold.Backend says. It takes over the
// files of the largest one.
func (b *Backend) Restore(dir string, groups keygroup.Range, o cold.Options, images ...cold.Image) (_ cold.Store, err error) {
	if err := cold.MakeDir(dir); err != nil {
		return nil, err
	}
	images, err = cold.Choose(groups, images)
	if err != nil {
		return nil, fmt.Errorf("restoring the store in %s: %w", dir, err)
	}
	if len(images) == 0 {
		return b.open(dir, groups, o)
	}
	base := 0
	for i := range images {
		if images[i].Bytes() > images[base].Bytes() {
			base = i
		}
	}
	if err := images[base].Place(dir); err != nil {
		return nil, fmt.Errorf("restoring the store in %s: %w", dir, err)
	}
	s, err := b.open(dir, groups, o)
	if err != nil {
		return nil, fmt.Errorf("restoring from %s: %w", images[base].Dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, f := range images[base].Files {
		if f.ID != "" {
			s.inherited[f.Name] = f.ID
		}
	}
	if err := s.clip(groups.Intersect(images[base].Groups)); err != nil {
		return nil, err
	}
	if err := s.adopt(images, base); err != nil {
		return nil, err
	}
	return s, nil
}

// clip removes what is outside of groups, without reading it.
func (s *Store) clip(groups keygroup.Range) error {
	lower, upper := cold.Bounds(groups)
	for _, out := range []pebble.KeyRange{{Start: []byte{0}, End: lower}, {Start: upper, End: []byte{0xff, 0xff, 0xff}}} {
		if slices.Compare(out.Start, out.End) >= 0 {
			continue
		}
		if err := s.db.Excise(context.Background(), out); err != nil {
			return s.wrap("clipping", err)
		}
	}
	return nil
}

// adopt copies the wanted entries of all images but the one at place base, as
// one sorted run.
func (s *Store) adopt(images []cold.Image, base int) error {
	if len(images) == 1 {
		return nil
	}
	run, err := s.NewRun()
	if err != nil {
		return err
	}
	defer run.Discard()
	for i, im := range images {
		if i == base {
			continue
		}
		if err := s.copyFrom(im, run); err != nil {
			return fmt.Errorf("taking over %s: %w", im.Dir, err)
		}
	}
	return run.Ingest()
}

func (s *Store) copyFrom(im cold.Image, run cold.Run) (err error) {
	dir := filepath.Join(s.dir, "from")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := im.Place(dir); err != nil {
		return err
	}
	from, err := s.backend.open(dir, im.Groups, cold.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	scan, err := from.Scan(cold.Bounds(s.groups.Intersect(im.Groups)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, scan.Close()) }()
	var b cold.Batch
	for {
		more, err := scan.Next(&b)
		if err != nil || !more {
			return err
		}
		if err := run.Add(&b); err != nil {
			return err
		}
	}
}
