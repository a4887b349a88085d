// Package testenv finds and starts the real programs that tests compare with:
// other people's tools and servers, as Debian ships them.
//
// A plain "go test ./..." runs anywhere: a test whose peer is not installed
// says so and is skipped. With XENBACKUP_PEERS=require in the environment, as
// "make test" sets it, a missing peer is a failure.
package testenv

import (
	"os"
	"os/exec"
	"testing"
)

// Require returns the path of the program name, such as "qemu-img". Without it
// the test is skipped, or fails where peers are required.
func Require(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(tb, "the program %s is not installed", name)
	}
	return path
}

// Missing ends a test that cannot run on this machine, for the reason given: it
// is skipped, or fails where peers are required.
func Missing(tb testing.TB, format string, args ...any) {
	tb.Helper()
	if os.Getenv("XENBACKUP_PEERS") == "require" {
		tb.Fatalf("peers are required: "+format, args...)
	}
	tb.Skipf(format, args...)
}
