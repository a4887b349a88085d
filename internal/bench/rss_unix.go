//go:build (linux || darwin) && (amd64 || arm64)

package bench

import (
	"os"
	"runtime"
	"syscall"
)

// peakMemory returns the bytes of memory that a process that has ended had at most.
func peakMemory(state *os.ProcessState) int64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return usage.Maxrss
	}
	return usage.Maxrss << 10
}
