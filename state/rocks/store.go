//go:build rocksdb && cgo

package rocks

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/linxGnu/grocksdb"

	"github.com/millrace/millrace/state/cold"
	"github.com/millrace/millrace/state/keygroup"
)

// A Store is a cold.Store in a RocksDB database.
type Store struct {
	backend *Backend
	dir     string
	groups  keygroup.Range
	opts    *grocksdb.Options
	clocks  *C.millrace_clocks
	db      *grocksdb.DB
	place   []family // the default family first
	view    *C.millrace_db

	readers chan *C.millrace_reader // those not in use, at most readersKept
	halted  error                   // of the last write, after which RocksDB may wait to be resumed

	mu         sync.Mutex
	runs       int               // runs started, for names; guarded by mu
	identities map[string]string // of tables, by name; guarded by mu
}

const readersKept = 4

// A family is a column family and the key groups that it has. The default
// family has those that no other has.
type family struct {
	handle *grocksdb.ColumnFamilyHandle
	name   string
	groups keygroup.Range
}

const (
	defaultFamily = "default"
	familyName    = "groups-%d-%d" // first and last
)

// open opens the database in dir, new or made of the files of an image.
func (b *Backend) open(dir string, groups keygroup.Range, o cold.Options) (_ *Store, err error) {
	s := &Store{
		backend: b, dir: dir, groups: groups,
		clocks:  newClocks(o.TTL),
		readers: make(chan *C.millrace_reader, readersKept), identities: map[string]string{},
	}
	s.opts = b.options(o, s.clocks)
	defer func() {
		if err != nil {
			s.opts.Destroy()
			C.millrace_clocks_free(s.clocks)
		}
	}()
	names := []string{defaultFamily}
	if _, err := os.Stat(filepath.Join(dir, "CURRENT")); err == nil {
		if names, err = grocksdb.ListColumnFamilies(s.opts, dir); err != nil {
			return nil, wrap("opening", dir, err)
		}
	}
	opts := make([]*grocksdb.Options, len(names))
	for i, name := range names {
		f := family{name: name}
		if name != defaultFamily {
			if _, err := fmt.Sscanf(name, familyName, &f.groups.Start, &f.groups.End); err != nil {
				return nil, wrap("opening", dir, fmt.Errorf("%w: column family %q is none of millrace's", cold.ErrCorrupt, name))
			}
		}
		s.place = append(s.place, f)
		opts[i] = s.opts
	}
	db, handles, err := grocksdb.OpenDbColumnFamilies(s.opts, dir, names, opts)
	if err != nil {
		return nil, wrap("opening", dir, err)
	}
	s.db = db
	for i, h := range handles {
		s.place[i].handle = h
	}
	slices.SortStableFunc(s.place, func(a, b family) int {
		return cmp.Compare(rank(a), rank(b))
	})
	s.look()
	return s, nil
}

func rank(f family) int {
	if f.name == defaultFamily {
		return -1
	}
	return f.groups.Start
}

// spans says which family has the entries from which group on.
func (s *Store) spans() (first, in []uint32) {
	from := 0
	for i, f := range s.place[1:] {
		if f.groups.Start > from {
			first, in = append(first, uint32(from)), append(in, 0)
		}
		first, in = append(first, uint32(f.groups.Start)), append(in, uint32(i+1))
		from = f.groups.End + 1
	}
	return append(first, uint32(from)), append(in, 0)
}

// look makes the shim's view of the families as they are now.
func (s *Store) look() {
	if s.view != nil {
		C.millrace_db_free(s.view)
	}
	handles := (*[1 << 16]unsafe.Pointer)(C.malloc(C.size_t(len(s.place)) * C.size_t(unsafe.Sizeof(uintptr(0)))))
	defer C.free(unsafe.Pointer(handles))
	for i, f := range s.place {
		handles[i] = native(f.handle)
	}
	first, in := s.spans()
	s.view = C.millrace_db_new(native(s.db), &handles[0], C.size_t(len(s.place)), u32(first), u32(in), C.size_t(len(first)))
}

func (s *Store) reader() *C.millrace_reader {
	select {
	case r := <-s.readers:
		return r
	default:
		return C.millrace_reader_new()
	}
}

func (s *Store) giveBack(r *C.millrace_reader) {
	select {
	case s.readers <- r:
	default:
		C.millrace_reader_free(r)
	}
}

// MultiGet looks keys up, as cold.Store says.
func (s *Store) MultiGet(keys *cold.Keys, values *cold.Values) error {
	n := keys.Len()
	values.Resize(n)
	if n == 0 {
		return nil
	}
	r := s.reader()
	defer s.giveBack(r)
	out := values.Data[:cap(values.Data)]
	var used, need, done C.size_t
	for {
		var message *C.char
		done = C.millrace_multiget(s.view, r, char(keys.Data), u32(keys.Ends), C.size_t(n), done,
			char(out), C.size_t(len(out)), &used, u32(values.Ends), u8(values.Found), &need, &message)
		if message != nil {
			return wrap("reading", s.dir, taken(message))
		}
		if int(done) == n {
			values.Data = out[:used]
			return nil
		}
		// Leave room for as much again, for the keys still to come.
		out = slices.Grow(out[:used], 2*int(need)-int(used))
		out = out[:cap(out)]
	}
}

// Write makes the changes of b, as cold.Store says.
func (s *Store) Write(b *cold.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	if err := s.resume(); err != nil {
		return wrap("writing to", s.dir, err)
	}
	packed := b.Packed()
	var message *C.char
	C.millrace_write(s.view, char(packed), C.size_t(len(packed)), &message)
	s.halted = taken(message)
	return wrap("writing to", s.dir, s.halted)
}

// resume lets RocksDB try again after a write that failed: it takes no writes
// after a full disk until then. It may be trying by itself, every five seconds:
// the error stays that of the write until it is done.
func (s *Store) resume() error {
	if s.halted == nil {
		return nil
	}
	var message *C.char
	C.millrace_resume(s.view, &message)
	err := taken(message)
	if err == nil {
		s.halted = nil
	} else if !strings.Contains(err.Error(), "Resource busy") {
		s.halted = err
	}
	return s.halted
}

// Scan iterates over a range, as cold.Store says.
func (s *Store) Scan(lower, upper []byte) (cold.Scanner, error) {
	if upper != nil && len(upper) == 0 {
		upper = []byte{0} // no key is less; without a byte it would be none
	}
	return &scanner{s, C.millrace_scan_new(s.view, char(lower), C.size_t(len(lower)), char(upper), C.size_t(len(upper)))}, nil
}

type scanner struct {
	s *Store
	c *C.millrace_scan
}

const scanBytes = 64 << 10

func (c *scanner) Next(b *cold.Batch) (bool, error) {
	for want := scanBytes; ; {
		buf := b.Space(want)
		var message *C.char
		var ops, need C.size_t
		used := C.millrace_scan_next(c.c, char(buf), C.size_t(len(buf)), &ops, &need, &message)
		if message != nil {
			return false, wrap("scanning", c.s.dir, taken(message))
		}
		if need == 0 {
			b.Filled(int(used), int(ops))
			return ops > 0, nil
		}
		want = int(need)
	}
}

func (c *scanner) Close() error {
	if c.c != nil {
		C.millrace_scan_free(c.c)
		c.c = nil
	}
	return nil
}

// A run is a sorted run: tables in a folder of their own.
type run struct {
	s    *Store
	dir  string
	c    *C.millrace_run // nil when the run has ended
	err  error
	used bool // something was added
}

// runBytes is about how large a table of a run gets before the next begins.
const runBytes = 64 << 20

// NewRun starts a sorted run.
func (s *Store) NewRun() (cold.Run, error) {
	s.mu.Lock()
	s.runs++
	dir := filepath.Join(s.dir, fmt.Sprintf("run-%d", s.runs))
	s.mu.Unlock()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, wrap("starting a run for", s.dir, err)
	}
	path := C.CString(dir)
	defer C.free(unsafe.Pointer(path))
	return &run{s: s, dir: dir, c: C.millrace_run_new(s.view, path, runBytes)}, nil
}

func (r *run) Add(b *cold.Batch) error {
	if r.c == nil {
		return errors.New("adding to a run: it has ended")
	}
	if r.err == nil && b.Len() > 0 {
		packed := b.Packed()
		var message *C.char
		C.millrace_run_add(r.c, char(packed), C.size_t(len(packed)), &message)
		r.err = wrap("adding to a run for", r.s.dir, taken(message))
	}
	return r.err
}

func (r *run) Ingest() error {
	if r.c == nil {
		return errors.New("ingesting a run: it has ended")
	}
	defer r.Discard()
	if r.err != nil {
		return r.err
	}
	if err := r.s.resume(); err != nil {
		return wrap("ingesting a run into", r.s.dir, err)
	}
	var message *C.char
	C.millrace_run_ingest(r.c, &message)
	r.s.halted = taken(message)
	return wrap("ingesting a run into", r.s.dir, r.s.halted)
}

func (r *run) Discard() {
	if r.c == nil {
		return
	}
	C.millrace_run_free(r.c)
	r.c = nil
	_ = os.RemoveAll(r.dir)
}

// Checkpoint links the files of the store into dir, as cold.Store says.
func (s *Store) Checkpoint(dir string) (cold.Image, error) {
	c, err := s.db.NewCheckpoint()
	if err != nil {
		return cold.Image{}, wrap("writing a checkpoint of", s.dir, err)
	}
	defer c.Destroy()
	if err := c.CreateCheckpoint(dir, 0); err != nil {
		return cold.Image{}, errors.Join(wrap("writing a checkpoint of", s.dir, err), os.RemoveAll(dir))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := make(map[string]string, len(s.identities))
	im, err := cold.List(dir, s.groups, func(name string) (string, error) {
		if filepath.Ext(name) != ".sst" {
			return "", nil
		}
		id, ok := s.identities[name]
		if !ok {
			if id, err = identity(filepath.Join(dir, name)); err != nil {
				return "", err
			}
		}
		known[name] = id
		return id, nil
	})
	if err != nil {
		return cold.Image{}, wrap("writing a checkpoint of", s.dir, err)
	}
	s.identities = known
	return im, nil
}

// identity is what RocksDB wrote into a table to tell it from all others.
func identity(path string) (string, error) {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	var id [64]byte
	var message *C.char
	n := C.millrace_identity(p, char(id[:]), &message)
	return string(id[:n]), taken(message)
}

// Expire sets a clock, as cold.Store says.
func (s *Store) Expire(kind int, now int64) {
	C.millrace_clocks_set(s.clocks, C.size_t(kind), C.int64_t(now))
}

// Sweep does nothing: compaction removes what has expired.
func (s *Store) Sweep(int) (int, error) { return 0, nil }

// Compact rewrites a range, as cold.Store says.
func (s *Store) Compact(lower, upper []byte) error {
	var message *C.char
	C.millrace_compact(s.view, char(lower), C.size_t(len(lower)), char(upper), C.size_t(len(upper)), &message)
	return wrap("compacting", s.dir, taken(message))
}

// Stats are the figures of the database.
func (s *Store) Stats() cold.Stats {
	st := cold.Stats{
		Hits:        int64(s.opts.GetTickerCount(grocksdb.TickerType_BLOCK_CACHE_HIT)),
		Misses:      int64(s.opts.GetTickerCount(grocksdb.TickerType_BLOCK_CACHE_MISS)),
		MemoryBytes: s.backend.MemoryInUse(),
	}
	var flushes, compactions, stalls, written C.int64_t
	C.millrace_events(s.clocks, &flushes, &compactions, &stalls, &written)
	st.Flushes, st.Compactions, st.Stalls = int64(flushes), int64(compactions), int64(stalls)
	st.WrittenBytes = int64(written)
	property := func(name string, f family) int64 {
		n, _ := s.db.GetIntPropertyCF("rocksdb."+name, f.handle)
		return int64(n)
	}
	for _, f := range s.place {
		st.WriteBufferBytes += property("cur-size-all-mem-tables", f)
		meta := s.db.GetColumnFamilyMetadataCF(f.handle)
		st.Files += int64(meta.FileCount())
		st.FileBytes += int64(meta.Size())
		st.Entries += property("estimate-num-keys", f)
		st.PendingBytes += property("estimate-pending-compaction-bytes", f)
	}
	return st
}

// Close closes the database.
func (s *Store) Close() error {
	C.millrace_db_free(s.view)
	for len(s.readers) > 0 {
		C.millrace_reader_free(<-s.readers)
	}
	for _, f := range s.place {
		f.handle.Destroy()
	}
	s.db.Close()
	s.opts.Destroy()
	C.millrace_clocks_free(s.clocks)
	return nil
}
