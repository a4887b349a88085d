//go:build race

package xapi_test

// sweepStride thins sweeps out under the race detector, which makes a transfer some 20 times slower: of the bytes they take each 41st.
const sweepStride = 41

// thinned is how many of n rounds are made under the race detector.
func thinned(n int) int { return (n + 2) / 3 }
