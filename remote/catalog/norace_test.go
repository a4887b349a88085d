//go:build !race

package catalog_test

// sweepStride 1: every operation fails once.
const sweepStride = 1
