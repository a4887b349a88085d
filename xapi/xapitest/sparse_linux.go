package xapitest

import (
	"errors"
	"io"
	"iter"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// copySparse copies src to the empty file dst: in one instant where the
// filesystem can share blocks (FICLONE), else extent by extent, holes left out.
func copySparse(dst, src *os.File) error {
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		return nil
	}
	info, err := src.Stat()
	if err != nil {
		return err
	}
	for ext, err := range dataExtents(src, info.Size()) {
		if err != nil {
			return err
		}
		if err := copyExtent(dst, src, ext); err != nil {
			return err
		}
	}
	return nil
}

func copyExtent(dst, src *os.File, ext extent) error {
	if _, err := src.Seek(ext.off, io.SeekStart); err != nil {
		return err
	}
	if _, err := dst.Seek(ext.off, io.SeekStart); err != nil {
		return err
	}
	_, err := io.CopyN(dst, src, ext.len)
	return err
}

// dataExtents yields the parts of the first size bytes of a file that are not
// holes, in ascending order. It moves the file's offset.
func dataExtents(f *os.File, size int64) iter.Seq2[extent, error] {
	return func(yield func(extent, error) bool) {
		for off := int64(0); off < size; {
			start, err := f.Seek(off, unix.SEEK_DATA)
			if errors.Is(err, syscall.ENXIO) {
				return
			}
			if err != nil {
				yield(extent{}, err)
				return
			}
			end, err := f.Seek(start, unix.SEEK_HOLE)
			if err != nil {
				yield(extent{}, err)
				return
			}
			end = min(end, size)
			if start >= end || !yield(extent{start, end - start}, nil) {
				return
			}
			off = end
		}
	}
}

// allocatedBytes counts the blocks that a file takes.
func allocatedBytes(info os.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}
