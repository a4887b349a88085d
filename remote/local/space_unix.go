//go:build linux || darwin

package local

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/xenbackup/xenbackup/remote"
)

func statSpace(root *os.Root) (remote.Space, error) {
	d, err := root.Open(".")
	if err != nil {
		return remote.Space{}, err
	}
	defer d.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(d.Fd()), &st); err != nil {
		return remote.Space{}, err
	}
	unit := int64(st.Bsize) //nolint:unconvert // 32 bits on macOS
	return remote.Space{Total: int64(st.Blocks) * unit, Free: int64(st.Bavail) * unit}, nil
}
