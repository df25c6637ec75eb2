//go:build !race

package formattest

// stride is how many bytes apart the places are that a test damages or cuts.
const stride = 1
