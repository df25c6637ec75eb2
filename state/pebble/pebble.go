// Package pebble is the cold tier on Pebble, a log-structured store written in
// Go: it needs no C compiler and runs wherever Go does.
//
// It decides how the bytes of package cold lie in a Pebble database. Three
// things differ from the store on RocksDB. Pebble has no filter in its
// compactions, so entries expire when [Store.Sweep] passes them. Pebble cannot
// take over the files of another database, so a restore from several images
// takes over those of the largest and writes the wanted entries of the others
// again, as sorted runs. And look-ups are one by one inside, which costs
// nothing: there is no border to C to cross.
package pebble

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/state/cold"
	"github.com/millrace/millrace/state/keygroup"
)

// A Backend makes stores that share one budget of memory.
type Backend struct {
	cfg   cold.Config
	cache *pebble.Cache // block cache; memtables take their part out of it
	fs    vfs.FS
}

// New makes a backend.
func New(c cold.Config) (*Backend, error) {
	c, err := c.Filled()
	if err != nil {
		return nil, err
	}
	return &Backend{cfg: c, cache: pebble.NewCache(c.MemoryBytes), fs: disk{vfs.Default}}, nil
}

// Name is "pebble".
func (b *Backend) Name() string { return "pebble" }

// MemoryInUse is the size of the block cache with the memtables in it.
func (b *Backend) MemoryInUse() int64 { return b.cache.Size() }

// Close frees the cache.
func (b *Backend) Close() error {
	b.cache.Unref()
	return nil
}

// Create makes an empty store, as cold.Backend says.
func (b *Backend) Create(dir string, groups keygroup.Range, o cold.Options) (cold.Store, error) {
	if err := cold.MakeDir(dir); err != nil {
		return nil, err
	}
	return b.open(dir, groups, o)
}

// memtable is the size of one memtable: a store has at most two that wait or
// are being flushed besides the one that is written, and Pebble keeps one for
// reuse.
func (b *Backend) memtable() int64 { return max(b.cfg.WriteBytes()/4, 256<<10) }

// open opens the database in dir, new or made of the files of an image.
func (b *Backend) open(dir string, groups keygroup.Range, o cold.Options) (*Store, error) {
	s := &Store{
		dir: dir, groups: groups, backend: b, kinds: o.TTL,
		clocks: make([]int64, len(o.TTL)), id: o.ID, inherited: map[string]string{},
		memtable: b.memtable(),
	}
	if s.id == "" {
		s.id = rand.Text()
	}
	s.trouble.changed = make(chan struct{})
	opts := s.options(o)
	compactions := newGate()
	opts.Experimental.CompactionScheduler = compactions
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, s.wrap("opening", err)
	}
	s.db = db
	compactions.open()
	// The tables of runs are those of the first level: in tables of the last
	// one, deletions would count as done.
	s.tables = opts.MakeWriterOptions(0, db.TableFormat())
	s.tables.Compression = opts.MakeWriterOptions(len(opts.Levels)-1, db.TableFormat()).Compression
	return s, nil
}

// options are those of the database.
func (s *Store) options(o cold.Options) *pebble.Options {
	b := s.backend
	opts := &pebble.Options{
		Cache:              b.cache,
		DisableWAL:         true,
		FS:                 b.fs,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             logger{s},
		Merger: &pebble.Merger{
			Name:  "millrace.append",
			Merge: pebble.DefaultMerger.Merge, // older before newer
		},
		MemTableSize: uint64(s.memtable),
		// Writes wait in Store.room, where a full disk is an error: in Pebble
		// they would wait for ever.
		MemTableStopWritesThreshold: 1000,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       1000,
		// Much more than memtables, and each flush would rewrite it all.
		LBaseMaxBytes:              min(max(4*s.memtable, 4<<20), 64<<20),
		CompactionConcurrencyRange: func() (int, int) { return 1, b.cfg.Threads },
		MaxOpenFiles:               16 << 10,
		EventListener: &pebble.EventListener{
			BackgroundError: s.trouble.failed,
			FlushEnd: func(i pebble.FlushInfo) {
				if i.Err == nil {
					s.trouble.flushed()
				}
			},
			DataCorruption: func(i pebble.DataCorruptionInfo) { s.trouble.corrupted(i.Path) },
		},
	}
	bits := o.BloomBits
	if bits == 0 {
		bits = 10
	}
	for i := range opts.Levels {
		l := &opts.Levels[i]
		l.BlockSize = 8 << 10
		if bits > 0 {
			l.FilterPolicy = bloom.FilterPolicy(bits)
		}
	}
	opts.ApplyCompressionSettings(func() pebble.DBCompressionSettings {
		switch o.Compression {
		case cold.Dense:
			return pebble.DBCompressionGood
		case cold.Plain:
			return pebble.DBCompressionNone
		}
		return pebble.DBCompressionFastest
	})
	return opts
}

// wrap says what the store was doing, and marks corruption. Pebble names a
// table by its number: corruption that it met is told with the table's path.
func (s *Store) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf("%s the store in %s", doing, s.dir)
	if pebble.IsCorruptionError(err) {
		if at := s.trouble.corruptFile(); at != "" && !strings.Contains(err.Error(), at) {
			what += ": " + at
		}
		return fmt.Errorf("%s: %w: %w", what, cold.ErrCorrupt, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// trouble gathers what background work tells of.
type trouble struct {
	mu      sync.Mutex
	err     error         // of the last flush; nil when it went well
	changed chan struct{} // closed, and replaced, when a flush ends
	corrupt string        // the path of the table last found corrupt
}

func (t *trouble) failed(err error) {
	t.mu.Lock()
	t.err = err
	close(t.changed)
	t.changed = make(chan struct{})
	t.mu.Unlock()
	if errors.Is(err, syscall.ENOSPC) {
		// Pebble tries again at once, for as long as the disk is full.
		time.Sleep(10 * time.Millisecond)
	}
}

func (t *trouble) flushed() {
	t.mu.Lock()
	t.err = nil
	close(t.changed)
	t.changed = make(chan struct{})
	t.mu.Unlock()
}

func (t *trouble) corrupted(path string) {
	t.mu.Lock()
	t.corrupt = path
	t.mu.Unlock()
}

func (t *trouble) corruptFile() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.corrupt
}

// now is the error of the last flush, and what is closed when the next ends.
func (t *trouble) now() (<-chan struct{}, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed, t.err
}

// logger drops Pebble's log: its errors come back from calls, or by events.
type logger struct{ s *Store }

func (logger) Infof(string, ...any)  {}
func (logger) Errorf(string, ...any) {}

// Fatalf is called when Pebble cannot go on, and must not return: the list of
// live files could not be written.
func (l logger) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf("pebble: the store in %s cannot go on: %s", l.s.dir, fmt.Sprintf(format, args...)))
}
