package vhd

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// cloneAlignment is what FICLONERANGE wants of offsets and lengths on the file systems that have it.
const cloneAlignment = 4096

// kernelPair copies between two files without the data passing through the process.
type kernelPair struct {
	dst, src        syscall.RawConn
	noClone, noCopy atomic.Bool
}

// newKernelPair returns nil unless both are files of the operating system.
func newKernelPair(dst io.WriterAt, src io.ReaderAt) *kernelPair {
	d, s := rawConn(dst), rawConn(src)
	if d == nil || s == nil {
		return nil
	}
	k := &kernelPair{dst: d, src: s}
	if inMemory(d) {
		k.noClone.Store(true)
		k.noCopy.Store(true)
	}
	return k
}

// inMemory reports whether a file is on a tmpfs. There copy_file_range moves page
// after page while it keeps the file locked; to read in one goroutine while another
// writes takes as much processor time, and two thirds of the time.
func inMemory(c syscall.RawConn) bool {
	var stat unix.Statfs_t
	var err error
	ctlErr := c.Control(func(fd uintptr) { err = unix.Fstatfs(int(fd), &stat) })
	return ctlErr == nil && err == nil && stat.Type == unix.TMPFS_MAGIC
}

func rawConn(v any) syscall.RawConn {
	c, ok := v.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// copy copies up to n bytes and returns how many. 0 without an error: the
// kernel does not do it for these files, or the source has ended.
func (k *kernelPair) copy(dstOff, srcOff, n int64) (int64, error) {
	aligned := (dstOff|srcOff|n)%cloneAlignment == 0
	if aligned && !k.noClone.Load() {
		err := k.both(func(dst, src int) error {
			return unix.IoctlFileCloneRange(dst, &unix.FileCloneRange{
				Src_fd: int64(src), Src_offset: uint64(srcOff), Src_length: uint64(n), Dest_offset: uint64(dstOff),
			})
		})
		if err == nil {
			return n, nil
		}
		if !refused(err) {
			return 0, err
		}
		k.noClone.Store(true)
	}
	if k.noCopy.Load() {
		return 0, nil
	}
	var done int
	err := k.both(func(dst, src int) (err error) {
		from, to := srcOff, dstOff
		done, err = unix.CopyFileRange(src, &from, dst, &to, int(n), 0)
		return err
	})
	if err != nil {
		if !refused(err) {
			return 0, err
		}
		done = 0
	}
	if done == 0 {
		k.noCopy.Store(true) // some file systems say 0 for what they cannot do; reading tells whether it is the end
	}
	return int64(done), nil
}

// flush lets the kernel begin to write n bytes of the destination to its disk,
// while more is copied. It proves nothing: only a sync does.
func (k *kernelPair) flush(dstOff, n int64) {
	_ = k.dst.Control(func(dst uintptr) {
		_ = unix.SyncFileRange(int(dst), dstOff, n, unix.SYNC_FILE_RANGE_WRITE)
	})
}

// both calls f with both descriptors, again when a signal interrupted it.
func (k *kernelPair) both(f func(dst, src int) error) error {
	var err, srcErr error
	dstErr := k.dst.Control(func(dst uintptr) {
		srcErr = k.src.Control(func(src uintptr) {
			for {
				if err = f(int(dst), int(src)); !errors.Is(err, unix.EINTR) {
					return
				}
			}
		})
	})
	return errors.Join(dstErr, srcErr, err)
}

// refused reports whether err says that these files cannot be copied this way,
// rather than that copying failed.
func refused(err error) bool {
	for _, e := range []error{
		unix.EXDEV, unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.ENOTTY, unix.EPERM,
		unix.EBADF, unix.ETXTBSY, unix.EISDIR, unix.EOVERFLOW, unix.EACCES,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
