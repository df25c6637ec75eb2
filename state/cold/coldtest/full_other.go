//go:build !linux

package coldtest

import "testing"

// FullDisk tests a store on a disk that runs full: on Linux only.
func FullDisk(t *testing.T, _ Make) { t.Skip("needs Linux") }
