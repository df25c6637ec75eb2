// Package cold is the small interface through which keyed state uses a
// log-structured store on disk: the cold tier, below the typed tables of
// state/table.
//
// A store holds bytes under bytes, in key order. It decides how they lie on
// disk, how much of its budget of memory goes where, and which files make up
// a checkpoint. It knows one thing about keys: they begin with the number of
// their key group, two bytes, big-endian, so that a range of key groups is a
// range of keys. What else is in a key, what a value means, which entries are
// in memory above it and when they come down is left to its caller.
//
// Calls are batched. [Keys], [Values] and [Batch] are packed buffers that the
// caller owns and uses again; no call keeps one after it returns, and none
// allocates per key once the buffers have grown.
//
// There is no write-ahead log: what is not in a checkpoint is lost with the
// process, as it is for the tables in memory. A folder of a store is
// therefore always a new one, filled by [Backend.Create] or from checkpoints
// by [Backend.Restore], and worthless once the store is closed.
//
// # Concurrency
//
// The calls that change a store, [Store.Write], [Run.Ingest], [Store.Sweep]
// and [Store.Close], are made by one goroutine at a time. Meanwhile any number
// of goroutines may call everything else. A look-up sees each batch and each
// run wholly or not at all; a scanner and a checkpoint see the store as it
// was at some instant during the call that made them, so that a caller who
// needs an exact cut makes them from the goroutine that writes.
//
// # Errors
//
// An error of a store names its folder and, where a file is at fault, the
// file. After an error of Write, Ingest or Checkpoint the store may go on (a
// disk that was full has space again), but the state in memory that the call
// was about must be taken as not written. [ErrCorrupt] marks files that are
// not what was written.
package cold

import (
	"errors"
	"fmt"

	"github.com/millrace/millrace/state/keygroup"
)

// ErrCorrupt is wrapped by errors about files that are missing, cut short or
// altered.
var ErrCorrupt = errors.New("corrupt")

// A Config is what all stores of a process share: a backend is made of it.
type Config struct {
	// MemoryBytes bounds, for all stores of the backend together, the block
	// cache (with indexes and filters) plus the write buffers. The least is
	// MinMemoryBytes; 0 means DefaultMemoryBytes. A store whose buffers do
	// not fit its part has its writes wait for the disk.
	MemoryBytes int64
	// WriteShare is the part of MemoryBytes that write buffers may take, in
	// 0.05..0.9; 0 means DefaultWriteShare.
	WriteShare float64
	// Stores is how many stores the caller means to have open at once; 0
	// means 1. With more than that open the write buffers can exceed their
	// share.
	Stores int
	// Threads is how many flushes and compactions may run at once, over all
	// stores where the backend can share them; 0 means 2.
	Threads int
	// PartitionedIndexes keeps indexes and filters in the cache by parts of a
	// few KiB and not by whole tables of 64 MiB, where the backend can. It pays
	// when they do not fit the cache (they take about a twentieth of what is
	// on disk), and costs a quarter more for each look-up when they do.
	PartitionedIndexes bool
}

// Bounds and defaults of a Config.
const (
	DefaultMemoryBytes = 256 << 20
	MinMemoryBytes     = 4 << 20
	DefaultWriteShare  = 0.4
)

// Filled is c with its zero values replaced by the defaults. The error says
// which value is out of range.
func (c Config) Filled() (Config, error) {
	if c.MemoryBytes == 0 {
		c.MemoryBytes = DefaultMemoryBytes
	}
	if c.WriteShare == 0 {
		c.WriteShare = DefaultWriteShare
	}
	if c.Stores == 0 {
		c.Stores = 1
	}
	if c.Threads == 0 {
		c.Threads = 2
	}
	switch {
	case c.MemoryBytes < MinMemoryBytes:
		return c, fmt.Errorf("cold tier: memory of %d bytes: at least %d are needed", c.MemoryBytes, MinMemoryBytes)
	case c.WriteShare < 0.05 || c.WriteShare > 0.9:
		return c, fmt.Errorf("cold tier: write share %g: not in 0.05..0.9", c.WriteShare)
	case c.Stores < 0 || c.Threads < 0:
		return c, fmt.Errorf("cold tier: %d stores, %d threads: must not be negative", c.Stores, c.Threads)
	}
	return c, nil
}

// WriteBytes is the part of the memory that the write buffers of one store
// may take.
func (c Config) WriteBytes() int64 {
	return int64(float64(c.MemoryBytes)*c.WriteShare) / int64(c.Stores)
}

// Compression says how blocks on disk are compressed.
type Compression uint8

const (
	// Fast costs a few hundredths of a look-up: lz4 in RocksDB, snappy or
	// the like in Pebble. It is the default.
	Fast Compression = iota
	// Dense is zstd where most of the data is, in the last levels of the
	// tree, and Fast above: half the size or less, for slower look-ups.
	Dense
	// Plain compresses nothing.
	Plain
)

// Options are those of one store.
type Options struct {
	// ID must differ between all stores whose checkpoints go to the same
	// place, restarts included: it becomes part of the File.ID of files that
	// carry no identity of their own. Empty means a random one.
	ID          string
	Compression Compression
	// BloomBits is the size of filters, in bits a key; 0 means 10, a negative
	// number means no filters.
	BloomBits int
	// TTL lists the kinds of entries that expire.
	TTL []TTL
}

// A Backend makes stores, which share its Config. It is safe for concurrent
// use.
type Backend interface {
	// Name is what configuration calls the backend.
	Name() string

	// Create makes an empty store for the entries of groups in dir, which
	// must be empty or not exist.
	Create(dir string, groups keygroup.Range, o Options) (Store, error)

	// Restore makes a store in dir, which must be empty or not exist, out of
	// checkpoints: it holds the entries of all images whose key group is in
	// groups. The ranges of the images must not overlap. Files are linked
	// where images lie on dir's file system, copied elsewhere; the images
	// are not changed and may be removed afterwards. The cost is that of
	// linking files, not of reading entries, for a store of one image and,
	// where the backend says so, of several.
	Restore(dir string, groups keygroup.Range, o Options, images ...Image) (Store, error)

	// MemoryInUse is the number of bytes of the budget that are taken now.
	MemoryInUse() int64

	// Close frees what the stores shared. All stores must be closed before.
	Close() error
}

// A Store holds entries, in the order of their keys as bytes. Keys have at
// least the two bytes of their key group, keys and values at most 256 MiB.
// The package comment says what may be called concurrently.
type Store interface {
	// MultiGet looks up all keys and puts what it finds into values, in the
	// same order, replacing what was there. A key may occur several times.
	MultiGet(keys *Keys, values *Values) error

	// Write makes the changes of b, in order, all or none.
	Write(b *Batch) error

	// NewRun starts a sorted run, the cheap way for many entries.
	NewRun() (Run, error)

	// Scan iterates over the entries with lower <= key < upper, in order, as
	// they are now. A nil upper means to the end. The scanner holds on to
	// files and memory until it is closed.
	Scan(lower, upper []byte) (Scanner, error)

	// Checkpoint makes dir, which must not exist, and links into it the
	// files that hold everything written so far. Dir's parent must exist, on
	// the store's own file system.
	Checkpoint(dir string) (Image, error)

	// Expire sets the clock of the TTL at place kind of the options to now:
	// entries whose time is now or earlier may vanish from here on. A clock
	// never goes back: an earlier time is ignored.
	Expire(kind int, now int64)

	// Sweep looks for expired entries where compaction does not, at most
	// entries of them, from where the last call stopped and around the end;
	// it answers how many it looked at. A backend that expires by compaction
	// does nothing and answers 0.
	Sweep(entries int) (looked int, err error)

	// Compact rewrites what lies in lower <= key < upper (a nil upper means
	// to the end), so that nothing deleted, merged or expired takes space.
	Compact(lower, upper []byte) error

	Stats() Stats

	// Close ends background work and frees memory. It does not write what is
	// in memory to disk, and does not remove the folder.
	Close() error
}

// A Run is a sorted run that is being built. It is used by one goroutine;
// only Ingest counts as a change of the store.
type Run interface {
	// Add appends the entries of b: puts, merges and deletes, whose keys
	// ascend strictly, within b and from one call to the next.
	Add(b *Batch) error

	// Ingest makes the run part of the store, all or nothing, newer than
	// everything that was there, and ends its use. On an error the run is
	// gone and the store is as before.
	Ingest() error

	// Discard ends the use of a run that shall not be ingested. It may be
	// called after Ingest, and then does nothing.
	Discard()
}

// A Scanner is an iteration under way. It is used by one goroutine.
type Scanner interface {
	// Next replaces b by the next entries, as puts, as many as fit into
	// about 64 KiB or b's capacity, whichever is more, and at least one; it
	// answers false when there are none left. A list is one put of the whole
	// list.
	Next(b *Batch) (bool, error)

	// Close ends the iteration. The scanner must be closed before its store.
	Close() error
}

// An Image is a checkpoint of a store: the files of a folder.
type Image struct {
	// Dir is where the files are now.
	Dir string
	// Groups are the key groups that the image answers for: others may be in
	// its files, and are not part of it.
	Groups keygroup.Range
	// Files are all files of the image, ordered by name. The names are those
	// of plain files in Dir.
	Files []File
}

// A File is a file of an image.
type File struct {
	Name string
	Size int64 // in bytes
	// ID is not empty for a file that never changes: two files with the same
	// ID have the same content, in whichever image and under whichever name,
	// so it needs to be stored once. A file without is small and belongs to
	// its image.
	ID string
	// CRC is the CRC-32C of the content of a file without an ID, else 0. A
	// store may take what is left of a torn list of files for the whole list.
	CRC uint32
}

// Stats tell how a store fares. Counters start at zero when the store is
// made.
type Stats struct {
	// Hits and Misses count look-ups of blocks in the cache. Where stores
	// share a cache that counts for all of them, each store tells the sum.
	Hits, Misses int64
	// MemoryBytes is what the backend has in use of its budget, for all
	// stores, and WriteBufferBytes the part of it that is this store's write
	// buffers.
	MemoryBytes, WriteBufferBytes int64
	// Files and FileBytes are what the store has on disk.
	Files, FileBytes int64
	// Entries is an estimate.
	Entries int64
	// PendingBytes is an estimate of what compaction should rewrite.
	PendingBytes int64
	// Flushes and Compactions that have ended, and the bytes that they wrote.
	Flushes, Compactions, WrittenBytes int64
	// Stalls counts the writes that had to wait for the disk, or were
	// delayed.
	Stalls int64
}
