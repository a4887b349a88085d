//go:build !race

package catalog_test

// sweepStride: each 7th operation fails once; with XENBACKUP_SWEEP every one does.
const sweepStride = 7

const underRace = false

func smoke(_, plain int) int { return plain }
