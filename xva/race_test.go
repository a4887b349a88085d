//go:build race

package xva_test

// stride thins out long series under the race detector.
const stride = 8
