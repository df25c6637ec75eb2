//go:build race

package coldtest

const raceDetector = true
