//go:build !(rocksdb && cgo)

package rocks

import (
	"errors"

	"github.com/millrace/millrace/state/cold"
)

// Linked tells whether this program has RocksDB in it.
const Linked = false

// New says that this program has no RocksDB in it.
func New(cold.Config) (cold.Backend, error) {
	return nil, errors.New("this program was built without RocksDB: run 'make rocksdb' and build with -tags rocksdb")
}
