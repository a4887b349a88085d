//go:build unix

package local

import (
	"os"
	"syscall"
)

// checkMounted compares the device below the directory with the one below "/".
func checkMounted(root *os.Root) error {
	here, err := root.Stat(".")
	if err != nil {
		return err
	}
	top, err := os.Stat("/")
	if err != nil {
		return err
	}
	a, okA := here.Sys().(*syscall.Stat_t)
	b, okB := top.Sys().(*syscall.Stat_t)
	if okA && okB && a.Dev == b.Dev {
		return ErrNotMounted
	}
	return nil
}
