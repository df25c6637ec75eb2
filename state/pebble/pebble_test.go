package pebble_test

import (
	"testing"

	"github.com/millrace/millrace/state/cold"
	"github.com/millrace/millrace/state/cold/coldtest"
	"github.com/millrace/millrace/state/pebble"
)

func make1(c cold.Config) (cold.Backend, error) { return pebble.New(c) }

func TestPebble(t *testing.T) { coldtest.Run(t, make1) }

// Pebble makes an object for each batch that it commits; nothing for each key.
func TestBatchesDoNotAllocate(t *testing.T) { coldtest.Allocations(t, make1, 8) }

func TestPebbleOnAFullDisk(t *testing.T) { coldtest.FullDisk(t, make1) }

func BenchmarkPebble(b *testing.B) { coldtest.Bench(b, make1) }
