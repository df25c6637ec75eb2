// Package rocks is the cold tier on RocksDB. It is the only package that needs
// a C++ compiler and a built RocksDB: it holds the store under the build tag
// rocksdb, and without the tag, or without cgo, a New that says what is
// missing. "make rocksdb" builds RocksDB, once, outside the tree; "eval
// $(state/rocks/build.sh env)" tells a Go build where it is.
//
// It decides how the bytes of package cold lie in a RocksDB database. Options,
// files and checkpoints go through grocksdb; everything that is called per
// batch of records goes through a shim of C++ beside this file, which takes
// the packed buffers as they are: one call across the border for a batch,
// where grocksdb has one and a copy for each key. Merges and expiry run inside
// RocksDB and never call back into Go.
//
// All entries of a store lie in one column family, unless it was restored from
// several images: the files of each are then taken over as they are, each in a
// column family of its own that has its key groups, and no entry is read.
package rocks

// Name is what configuration calls the backend.
const Name = "rocksdb"
