//go:build race

package formattest

// Stride is how many bytes apart the places are that a test damages or cuts:
// the race detector makes each try ten times as long.
const Stride = 23
