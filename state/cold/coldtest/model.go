// Package coldtest holds what every backend of package cold must do, as tests
// that a backend's own tests call, and a backend of a few lines that does it
// in the plainest way.
package coldtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/millrace/millrace/state/cold"
	"github.com/millrace/millrace/state/keygroup"
)

// A Model is a cold.Backend that keeps its entries in a map: what the others
// are compared with, and enough for tests of code that needs some backend. It
// has no budget of memory.
type Model struct{}

// Name is "model".
func (Model) Name() string { return "model" }

// MemoryInUse is not counted: 0.
func (Model) MemoryInUse() int64 { return 0 }

// Close does nothing.
func (Model) Close() error { return nil }

// Create makes an empty store.
func (Model) Create(dir string, groups keygroup.Range, o cold.Options) (cold.Store, error) {
	if err := cold.MakeDir(dir); err != nil {
		return nil, err
	}
	return &modelStore{groups: groups, kinds: o.TTL, clocks: make([]int64, len(o.TTL)), entries: map[string][]byte{}}, nil
}

// Restore makes a store of images.
func (m Model) Restore(dir string, groups keygroup.Range, o cold.Options, images ...cold.Image) (cold.Store, error) {
	images, err := cold.Choose(groups, images)
	if err != nil {
		return nil, err
	}
	made, err := m.Create(dir, groups, o)
	if err != nil {
		return nil, err
	}
	s := made.(*modelStore)
	for _, im := range images {
		if err := im.Check(); err != nil {
			return nil, err
		}
		path := filepath.Join(im.Dir, modelFile)
		packed, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("restoring from an image: %w", err)
		}
		b, err := cold.ParseBatch(packed)
		if err != nil {
			return nil, fmt.Errorf("restoring from an image: %w: %s: %w", cold.ErrCorrupt, path, err)
		}
		if sum := sha256.Sum256(packed); im.Files[0].ID != hex.EncodeToString(sum[:]) {
			return nil, fmt.Errorf("restoring from an image: %w: %s has another checksum", cold.ErrCorrupt, path)
		}
		lower, upper := cold.Bounds(im.Groups.Intersect(groups))
		for _, e := range b.All() {
			if bytes.Compare(e.Key, lower) >= 0 && bytes.Compare(e.Key, upper) < 0 {
				s.entries[string(e.Key)] = bytes.Clone(e.Value)
			}
		}
	}
	return s, nil
}

const modelFile = "entries"

type modelStore struct {
	mu      sync.RWMutex
	groups  keygroup.Range
	kinds   []cold.TTL
	clocks  []int64
	entries map[string][]byte
}

func (s *modelStore) MultiGet(keys *cold.Keys, values *cold.Values) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	values.Resize(keys.Len())
	for i := range keys.Len() {
		v, ok := s.entries[string(keys.Key(i))]
		values.Found[i] = 0
		if ok {
			values.Found[i] = 1
			values.Data = append(values.Data, v...)
		}
		values.Ends[i] = uint32(len(values.Data))
	}
	return nil
}

func (s *modelStore) Write(b *cold.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for op, e := range b.All() {
		k := string(e.Key)
		switch op {
		case cold.Put:
			s.entries[k] = bytes.Clone(e.Value)
		case cold.Merge:
			s.entries[k] = append(slices.Clip(s.entries[k]), e.Value...)
		case cold.Delete:
			delete(s.entries, k)
		case cold.DeleteRange:
			maps.DeleteFunc(s.entries, func(k string, _ []byte) bool {
				return k >= string(e.Key) && k < string(e.Value)
			})
		}
	}
	return nil
}

type modelRun struct {
	s    *modelStore
	all  cold.Batch
	last []byte
}

func (s *modelStore) NewRun() (cold.Run, error) { return &modelRun{s: s}, nil }

func (r *modelRun) Add(b *cold.Batch) error {
	for op, e := range b.All() {
		if r.last != nil && bytes.Compare(e.Key, r.last) <= 0 {
			return fmt.Errorf("adding to a run: key %x after %x: must ascend", e.Key, r.last)
		}
		r.last = append(r.last[:0], e.Key...)
		switch op {
		case cold.Put:
			r.all.Put(e.Key, e.Value)
		case cold.Merge:
			r.all.Merge(e.Key, e.Value)
		case cold.Delete:
			r.all.Delete(e.Key)
		default:
			return fmt.Errorf("adding to a run: %v in a sorted run", op)
		}
	}
	return nil
}

func (r *modelRun) Ingest() error {
	defer r.all.Reset()
	return r.s.Write(&r.all)
}

func (r *modelRun) Discard() { r.all.Reset() }

func (s *modelStore) Scan(lower, upper []byte) (cold.Scanner, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := &modelScan{s: s, keys: make([]string, 0, len(s.entries)), entries: maps.Clone(s.entries)}
	for k := range s.entries {
		if k >= string(lower) && (upper == nil || k < string(upper)) {
			c.keys = append(c.keys, k)
		}
	}
	slices.SortFunc(c.keys, strings.Compare)
	return c, nil
}

type modelScan struct {
	s       *modelStore
	keys    []string
	entries map[string][]byte
}

func (c *modelScan) Next(b *cold.Batch) (bool, error) {
	b.Reset()
	for len(c.keys) > 0 && b.Size() < 64<<10 {
		b.Put([]byte(c.keys[0]), c.entries[c.keys[0]])
		c.keys = c.keys[1:]
	}
	return b.Len() > 0, nil
}

func (c *modelScan) Close() error { return nil }

func (s *modelStore) Checkpoint(dir string) (cold.Image, error) {
	scan, err := s.Scan(nil, nil)
	if err != nil {
		return cold.Image{}, err
	}
	var all, b cold.Batch
	for more := true; more; {
		if more, err = scan.Next(&b); err != nil {
			return cold.Image{}, err
		}
		for _, e := range b.All() {
			all.Put(e.Key, e.Value)
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return cold.Image{}, fmt.Errorf("writing a checkpoint: %w", err)
	}
	sum := sha256.Sum256(all.Packed())
	if err := os.WriteFile(filepath.Join(dir, modelFile), all.Packed(), 0o644); err != nil {
		return cold.Image{}, fmt.Errorf("writing a checkpoint: %w", err)
	}
	return cold.List(dir, s.groups, func(string) (string, error) { return hex.EncodeToString(sum[:]), nil })
}

func (s *modelStore) Expire(kind int, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clocks[kind] = max(s.clocks[kind], now)
}

func (s *modelStore) Sweep(int) (int, error) { return len(s.entries), s.Compact(nil, nil) }

func (s *modelStore) Compact(lower, upper []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, v := range s.entries {
		if k < string(lower) || upper != nil && k >= string(upper) || len(v) == 0 {
			continue
		}
		live := alive(s.kinds, s.clocks, []byte(k), v)
		if live == nil {
			delete(s.entries, k)
			continue
		}
		s.entries[k] = live
	}
	return nil
}

// alive is what of an entry's value has not expired: nil for nothing.
func alive(kinds []cold.TTL, clocks []int64, key, value []byte) []byte {
	for i := range kinds {
		if kinds[i].Covers(key) {
			return kinds[i].Live(value, clocks[i], nil)
		}
	}
	return value
}

func (s *modelStore) Stats() cold.Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return cold.Stats{Entries: int64(len(s.entries))}
}

func (s *modelStore) Close() error { return nil }
