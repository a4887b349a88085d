//go:build !linux

package testenv

import "testing"

type process struct{}

// StartGanesha skips the test: the server runs on Linux only.
func StartGanesha(tb testing.TB) *Ganesha {
	tb.Helper()
	return startGanesha(tb, "")
}

func startGanesha(tb testing.TB, _ string) *Ganesha {
	tb.Helper()
	Missing(tb, "NFS-Ganesha runs on Linux only")
	return nil
}
