//go:build !race

package checkpoint

const raceOn = false
