//go:build !race

package snapshot

const scale = 1
