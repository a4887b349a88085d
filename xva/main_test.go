package xva_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// Machines of some MiB are not tried as often as rapid would, unless it is told to.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "15"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
