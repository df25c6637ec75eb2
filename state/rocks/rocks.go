//go:build rocksdb && cgo

package rocks

// #cgo CXXFLAGS: -std=c++20 -O2 -DNDEBUG -fno-rtti
// #cgo LDFLAGS: -lrocksdb -lstdc++ -lm -ldl -pthread
// #cgo noescape millrace_multiget
// #cgo nocallback millrace_multiget
// #cgo noescape millrace_write
// #cgo nocallback millrace_write
// #cgo noescape millrace_run_add
// #cgo nocallback millrace_run_add
// #cgo noescape millrace_scan_next
// #cgo nocallback millrace_scan_next
// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"unsafe"

	"github.com/linxGnu/grocksdb"

	"github.com/millrace/millrace/state/cold"
	"github.com/millrace/millrace/state/keygroup"
)

// Linked tells whether this program has RocksDB in it.
const Linked = true

// A Backend makes stores that share one budget of memory: one cache for
// blocks, indexes and filters, to which the write buffers of all stores are
// charged.
type Backend struct {
	cfg     cold.Config
	cache   *grocksdb.Cache
	buffers *grocksdb.WriteBufferManager
}

// New makes a backend.
func New(c cold.Config) (cold.Backend, error) {
	c, err := c.Filled()
	if err != nil {
		return nil, err
	}
	b := &Backend{cfg: c}
	lru := grocksdb.NewLRUCacheOptions()
	lru.SetCapacity(uint(c.MemoryBytes))
	// Shards are filled unevenly: they must be large beside a block and beside
	// the steps of 256 KiB in which write buffers are charged.
	bits := 0
	for bits < 6 && c.MemoryBytes>>(bits+1) >= 8<<20 {
		bits++
	}
	lru.SetNumShardBits(bits)
	b.cache = grocksdb.NewLRUCacheWithOptions(lru)
	lru.Destroy()
	// It must not stall: a write that it stalls is never told of a full disk.
	// Each store stalls by the number of its buffers.
	b.buffers = grocksdb.NewWriteBufferManagerWithCache(int(float64(c.MemoryBytes)*c.WriteShare), b.cache, false)
	return b, nil
}

// Name is "rocksdb".
func (b *Backend) Name() string { return Name }

// MemoryInUse is what the cache holds, write buffers included.
func (b *Backend) MemoryInUse() int64 { return int64(b.cache.GetUsage()) }

// Close frees the cache.
func (b *Backend) Close() error {
	b.buffers.Destroy()
	b.cache.Destroy()
	return nil
}

// Create makes an empty store, as cold.Backend says.
func (b *Backend) Create(dir string, groups keygroup.Range, o cold.Options) (cold.Store, error) {
	if err := cold.MakeDir(dir); err != nil {
		return nil, err
	}
	return b.open(dir, groups, o)
}

// writeBuffers is how many write buffers a store has, the one that is written
// included.
const writeBuffers = 4

// options are those of a database and all of its column families.
func (b *Backend) options(o cold.Options, clocks *C.millrace_clocks) *grocksdb.Options {
	opts := grocksdb.NewDefaultOptions()
	C.millrace_options(native(opts), clocks)
	opts.SetCreateIfMissing(true)
	opts.SetInfoLogLevel(grocksdb.WarnInfoLogLevel)
	opts.SetKeepLogFileNum(1)
	opts.SetStatsDumpPeriodSec(0)
	opts.SetStatsPersistPeriodSec(0)
	opts.SetMaxManifestFileSize(16 << 20)
	opts.SetMaxFileOpeningThreads(2)
	opts.SetBytesPerSync(1 << 20) // keep the system's dirty pages few
	opts.EnableStatistics()
	opts.SetStatisticsLevel(grocksdb.StatisticsLevelExceptHistogramOrTimers)

	opts.SetWriteBufferManager(b.buffers)
	buffer := min(max(b.cfg.WriteBytes()/writeBuffers, 256<<10), 64<<20)
	opts.SetWriteBufferSize(uint64(buffer))
	opts.SetMaxWriteBufferNumber(writeBuffers)
	opts.SetArenaBlockSize(uint64(min(buffer/8, 1<<20)))
	opts.SetMaxBackgroundJobs(max(b.cfg.Threads, 2))
	opts.SetAllowConcurrentMemtableWrites(false) // one goroutine writes
	opts.SetMemTablePrefixBloomSizeRatio(0.02)
	opts.SetMemtableWholeKeyFiltering(true)

	opts.SetLevelCompactionDynamicLevelBytes(true)
	opts.SetTargetFileSizeBase(uint64(min(max(buffer, 8<<20), 64<<20)))
	opts.SetMaxBytesForLevelBase(uint64(max(4*buffer, 16<<20)))
	switch o.Compression {
	case cold.Plain:
		opts.SetCompression(grocksdb.NoCompression)
	case cold.Dense:
		opts.SetCompression(grocksdb.LZ4Compression)
		opts.SetBottommostCompression(grocksdb.ZSTDCompression)
	default:
		opts.SetCompression(grocksdb.LZ4Compression)
	}

	table := grocksdb.NewDefaultBlockBasedTableOptions()
	table.SetBlockCache(b.cache)
	table.SetCacheIndexAndFilterBlocks(true)
	table.SetCacheIndexAndFilterBlocksWithHighPriority(true)
	table.SetBlockSize(8 << 10)
	table.SetDataBlockIndexType(grocksdb.KDataBlockIndexTypeBinarySearchAndHash)
	table.SetFormatVersion(6)
	if b.cfg.PartitionedIndexes {
		table.SetIndexType(grocksdb.KTwoLevelIndexSearchIndexType)
		table.SetPartitionFilters(true)
		table.SetMetadataBlockSize(16 << 10)
	}
	bits := o.BloomBits
	if bits == 0 {
		bits = 10
	}
	if bits > 0 {
		table.SetFilterPolicy(grocksdb.NewBloomFilter(float64(bits)))
	}
	opts.SetBlockBasedTableFactory(table)
	table.Destroy()
	return opts
}

// native is the C handle in one of grocksdb's objects, which it does not show.
func native(object any) unsafe.Pointer {
	return reflect.ValueOf(object).Elem().FieldByName("c").UnsafePointer()
}

// clocks makes what expiry is told the time by.
func newClocks(kinds []cold.TTL) *C.millrace_clocks {
	var prefixes cold.Keys
	lists := make([]uint8, len(kinds))
	for i, k := range kinds {
		prefixes.Add(k.Prefix)
		if k.Lists {
			lists[i] = 1
		}
	}
	return C.millrace_clocks_new(char(prefixes.Data), u32(prefixes.Ends), u8(lists), C.size_t(len(kinds)))
}

func char(b []byte) *C.char      { return (*C.char)(unsafe.Pointer(unsafe.SliceData(b))) }
func u32(b []uint32) *C.uint32_t { return (*C.uint32_t)(unsafe.Pointer(unsafe.SliceData(b))) }
func u8(b []uint8) *C.uint8_t    { return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(b))) }

// taken makes an error of a message of the shim, and frees it.
func taken(message *C.char) error {
	if message == nil {
		return nil
	}
	defer C.free(unsafe.Pointer(message))
	return errors.New(C.GoString(message))
}

// tableNumber finds a table that RocksDB names by its number only.
var tableNumber = regexp.MustCompile(`#(\d+)`)

// wrap says what the store was doing, and marks corruption.
func wrap(doing, dir string, err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if !strings.Contains(text, "Corruption") {
		return fmt.Errorf("%s the store in %s: %w", doing, dir, err)
	}
	if m := tableNumber.FindStringSubmatch(text); m != nil && !strings.Contains(text, ".sst") {
		return fmt.Errorf("%s the store in %s: %06s.sst: %w: %w", doing, dir, m[1], cold.ErrCorrupt, err)
	}
	return fmt.Errorf("%s the store in %s: %w: %w", doing, dir, cold.ErrCorrupt, err)
}
