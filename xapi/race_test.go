//go:build race

package xapi_test

// sweepStride thins sweeps out under the race detector, which makes a transfer some 20 times slower: of the bytes they take each 41st.
const sweepStride = 41
