//go:build rocksdb && cgo

package rocks_test

import (
	"testing"

	"github.com/millrace/millrace/state/cold/coldtest"
	"github.com/millrace/millrace/state/rocks"
)

func TestRocks(t *testing.T) { coldtest.Run(t, rocks.New) }

func TestRocksOnAFullDisk(t *testing.T) { coldtest.FullDisk(t, rocks.New) }

func BenchmarkRocks(b *testing.B) { coldtest.Bench(b, rocks.New) }
