//go:build unix

package local

import (
	"os"
	"syscall"
)

// nonblock keeps open from waiting for the other end of a FIFO that somebody put
// where a file should be. It changes nothing for files.
const nonblock = syscall.O_NONBLOCK

func syncDir(root *os.Root, local string) error {
	d, err := root.Open(local)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
