package local

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// cloneRange is ioctl FICLONERANGE. ENOTTY, EOPNOTSUPP: this file system has none;
// EXDEV: two file systems; EINVAL: not aligned, or files that do not go together.
func cloneRange(dst *os.File, dstOff int64, src *os.File, srcOff, n int64) error {
	if dstOff < 0 || srcOff < 0 || n <= 0 {
		return errors.ErrUnsupported // 0 would mean: up to the end
	}
	err := unix.IoctlFileCloneRange(int(dst.Fd()), &unix.FileCloneRange{
		Src_fd: int64(src.Fd()), Src_offset: uint64(srcOff), Src_length: uint64(n), Dest_offset: uint64(dstOff),
	})
	for _, no := range []error{unix.ENOTTY, unix.EOPNOTSUPP, unix.EXDEV, unix.EINVAL, unix.ENOSYS} {
		if errors.Is(err, no) {
			return errors.ErrUnsupported
		}
	}
	return err
}
