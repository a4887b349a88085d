//go:build unix

package main

import (
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Most of the memory is one buffer per block under way, whatever the disks' size.
func TestMemoryStaysBelow200MiB(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), build(t), "-size", "1024")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	if runtime.GOOS == "linux" {
		peak <<= 10 // which counts in KiB
	}
	t.Logf("peak %d MiB", peak>>20)
	require.Less(t, peak, int64(200<<20))
}
