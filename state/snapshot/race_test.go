//go:build race

package snapshot

// scale is how much less the long tests do under the race detector.
const scale = 7
