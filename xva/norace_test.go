//go:build !race

package xva_test

const stride = 1
