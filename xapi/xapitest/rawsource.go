package xapitest

import (
	"context"
	"io"
	"iter"
	"os"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// rawSource is a raw file as a disk of which the blocks that hold data are known.
type rawSource struct {
	file   *os.File
	size   int64
	blocks []uint32
}

// Size returns the virtual size.
func (s *rawSource) Size() int64 { return s.size }

// ReadAt reads, with zeros beyond the end of the file.
func (s *rawSource) ReadAt(p []byte, off int64) (int, error) {
	n := max(0, min(int64(len(p)), s.size-off))
	if err := readFull(s.file, p[:n], off); err != nil {
		return 0, err
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// Extents yields the blocks that hold data and, between them, zeros.
func (s *rawSource) Extents(_ context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		pos, end := off, min(off+n, s.size)
		emit := func(to int64, kind disk.Kind) bool {
			from := pos
			pos = min(to, end)
			return pos <= from || yield(disk.Extent{Off: from, Len: pos - from, Kind: kind}, nil)
		}
		for i := 0; i < len(s.blocks) && pos < end; {
			first := int64(s.blocks[i]) * blockSize
			last := first
			for ; i < len(s.blocks) && int64(s.blocks[i])*blockSize == last; i++ {
				last += blockSize
			}
			if !emit(max(pos, first), disk.Zero) || !emit(max(pos, last), disk.Data) {
				return
			}
		}
		emit(end, disk.Zero)
	}
}
