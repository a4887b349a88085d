//go:build !race

package xapi_test

// sweepStride 1: an export is cut at every byte.
const sweepStride = 1

func thinned(n int) int { return n }
