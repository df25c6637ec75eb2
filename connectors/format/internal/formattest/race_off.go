//go:build !race

package formattest

// Stride is how many bytes apart the places are that a test damages or cuts.
const Stride = 1
