//go:build !race

package ext_test

const underRace = false
