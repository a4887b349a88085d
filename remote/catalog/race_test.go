//go:build race

package catalog_test

// sweepStride thins the sweeps out under the race detector, which makes moving
// blocks of 2 MiB some 20 times slower: of the operations it takes each 61st.
const sweepStride = 61

const underRace = true

// smoke is how much of something is done in one run of the tests.
func smoke(race, _ int) int { return race }
