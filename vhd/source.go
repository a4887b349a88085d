package vhd

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

var errNegativeOffset = errors.New("vhd: negative offset")

// clip cuts a read at the end of a disk. end is what the read must return when
// it succeeds: io.EOF if something was cut off.
func clip(p []byte, off, size int64) (part []byte, end, err error) {
	if off < 0 {
		return nil, nil, errNegativeOffset
	}
	if off >= size && len(p) > 0 {
		return nil, nil, io.EOF
	}
	if left := max(0, size-off); int64(len(p)) > left {
		return p[:left], io.EOF, nil
	}
	return p, nil, nil
}

// extents joins the runs that kindAt finds to maximal extents. kindAt looks at
// the n bytes at a place, n > 0, and says what is there, and how many bytes are alike.
func extents(ctx context.Context, size, off, n int64, kindAt func(off, n int64) (disk.Kind, int64, error)) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		if off < 0 || n < 0 {
			yield(disk.Extent{}, errNegativeOffset)
			return
		}
		end := size
		if n < size-off {
			end = off + n
		}
		var open disk.Extent
		for at := off; at < end; {
			if err := context.Cause(ctx); err != nil {
				yield(disk.Extent{}, err)
				return
			}
			kind, length, err := kindAt(at, end-at)
			if err != nil {
				yield(disk.Extent{}, err)
				return
			}
			switch {
			case open.Len == 0:
				open = disk.Extent{Off: at, Len: length, Kind: kind}
			case open.Kind == kind:
				open.Len += length
			default:
				if !yield(open, nil) {
					return
				}
				open = disk.Extent{Off: at, Len: length, Kind: kind}
			}
			at += length
		}
		if open.Len > 0 {
			yield(open, nil)
		}
	}
}

// DataBlocks returns the indexes of the blocks of 2 MiB of src that hold
// anything but holes and zeros, ascending.
func DataBlocks(ctx context.Context, src disk.Source) ([]uint32, error) {
	var blocks []uint32
	next := int64(0)
	for e, err := range src.Extents(ctx, 0, src.Size()) {
		if err != nil {
			return nil, err
		}
		if e.Kind != disk.Data || e.Len == 0 {
			continue
		}
		for i := max(next, e.Off/disk.BlockSize); i*disk.BlockSize < e.End(); i++ {
			blocks = append(blocks, uint32(i))
			next = i + 1
		}
	}
	return blocks, nil
}
