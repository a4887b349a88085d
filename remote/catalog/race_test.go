//go:build race

package catalog_test

// sweepStride thins the sweeps out under the race detector, which makes moving
// blocks of 2 MiB some 20 times slower: of the operations it takes each 41st.
const sweepStride = 41
