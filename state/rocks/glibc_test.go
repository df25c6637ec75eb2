//go:build rocksdb && cgo && linux

package rocks_test

import (
	"debug/elf"
	"fmt"
	"os"
	"strings"
	"testing"
)

// Amazon Linux 2023 has glibc 2.34. What this test binary asks for is what any
// program with RocksDB asks for, built on the same system.
func TestAProgramWithRocksDBRunsOnGlibc234(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	libraries, err := f.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range libraries {
		name, _, _ := strings.Cut(l, ".so")
		switch name {
		case "libc", "libm", "libgcc_s", "libpthread", "libdl", "libresolv":
		default:
			if !strings.HasPrefix(l, "ld-linux") {
				t.Errorf("needs %s", l)
			}
		}
	}
	symbols, err := f.ImportedSymbols()
	if err != nil {
		t.Fatal(err)
	}
	versioned := 0
	for _, s := range symbols {
		var major, minor int
		if n, _ := fmt.Sscanf(s.Version, "GLIBC_%d.%d", &major, &minor); n != 2 {
			continue
		}
		versioned++
		if major > 2 || minor > 34 {
			t.Errorf("needs %s of %s: build on a system that is no newer than Debian 12", s.Name, s.Version)
		}
	}
	if versioned == 0 {
		t.Error("no symbol has a version of glibc: nothing was checked")
	}
}
