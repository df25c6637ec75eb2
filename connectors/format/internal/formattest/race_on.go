//go:build race

package formattest

// stride is how many bytes apart the places are that a test damages or cuts:
// the race detector makes each try ten times as long.
const stride = 23
