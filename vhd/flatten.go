package vhd

import (
	"context"
	"fmt"
	"io"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// File is what an image is written to: an *os.File, or a [DirFile].
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
}

// CopyOptions are the options of [Flatten] and [FlattenRaw]; nil means the defaults.
type CopyOptions struct {
	// Workers bounds the blocks that are copied at a time, each with a buffer
	// of one block where the kernel cannot copy. 0 means the number of
	// processors, at most 4; more help where the source is far away.
	Workers int

	// Progress is told how far in the disk the copy has got. It is called by one
	// goroutine at a time and must not block for long.
	Progress func(done, total int64)
}

// CopyResult says what a copy did.
type CopyResult struct {
	Size   int64    // of the file that was written, in bytes
	Copied int64    // bytes of data in it
	Blocks []uint32 // of the image that hold data; of pieces of 2 MiB for FlattenRaw and a fixed disk
}

var errOntoItself = fmt.Errorf("%w: to flatten a disk onto a file that it is in", ErrUnsupported)

// Flatten writes src, a chain, an image, a raw file or any other disk, as one
// image to dst, whose former content is lost. l is as for a stream: its type
// [Dynamic] or [Fixed], its Blocks nil; a Size of 0 means that of src rounded
// up to a sector, a larger one is a disk that has grown. Blocks that are all zeros
// are left out; the file is what [NewStreamWriter] would write for the others,
// and sparse where it holds nothing.
//
// Data is shared with the files of src, copied by the kernel or through
// buffers, whatever works first. When Flatten returns nil everything is
// durable; if it stops before, dst is not an image.
func Flatten(ctx context.Context, dst File, src disk.Source, l Layout, opts *CopyOptions) (CopyResult, error) {
	if l.Size == 0 {
		l.Size = roundUp(src.Size(), sectorSize)
	}
	if err := l.check(); err != nil {
		return CopyResult{}, err
	}
	if l.Type == Differencing || len(l.Blocks) > 0 || src.Size() > l.Size {
		return CopyResult{}, fmt.Errorf("%w: flatten %d bytes to a %v disk of %d with %d blocks listed", ErrUnsupported, src.Size(), l.Type, l.Size, len(l.Blocks))
	}
	if l.Type == Fixed {
		l.BlockSize = 0
	}
	m := mapDisk(src)
	if m.isIn(dst) {
		return CopyResult{}, errOntoItself
	}
	if err := dst.Truncate(0); err != nil {
		return CopyResult{}, err
	}
	f := newFlattener(dst, m, l, opts)
	if l.Type == Fixed {
		f.place = func(block uint32, _ int) int64 { return int64(block) * disk.BlockSize }
		f.result.Size = l.Size + footerSize
		return f.finish(ctx, func() error {
			footer := l.footer()
			_, err := dst.WriteAt(footer.encode()[:], l.Size)
			return err
		})
	}
	f.place = func(_ uint32, k int) int64 { return l.dataOffset(k) }
	f.bitmap = l.fullBitmap()
	return f.finish(ctx, func() error {
		l.Blocks = f.result.Blocks
		if err := l.check(); err != nil { // now with the blocks: no file beyond 2 TiB
			return err
		}
		f.result.Size = l.StreamSize()
		footer := l.footer()
		if _, err := dst.WriteAt(footer.encode()[:], l.StreamSize()-footerSize); err != nil {
			return err
		}
		_, err := dst.WriteAt(l.preamble(), 0)
		return err
	})
}

// FlattenRaw writes the bytes of src, a chain, an image or any other disk, to
// dst, whose former content is lost. Where src holds nothing, and in pieces of
// 2 MiB that are all zeros, dst is a hole. Otherwise it is as [Flatten].
func FlattenRaw(ctx context.Context, dst File, src disk.Source, opts *CopyOptions) (CopyResult, error) {
	m := mapDisk(src)
	if m.isIn(dst) {
		return CopyResult{}, errOntoItself
	}
	if err := dst.Truncate(0); err != nil {
		return CopyResult{}, err
	}
	if err := dst.Truncate(src.Size()); err != nil {
		return CopyResult{}, err
	}
	f := newFlattener(dst, m, Layout{Type: Fixed, Size: src.Size()}, opts)
	f.place = func(block uint32, _ int) int64 { return int64(block) * disk.BlockSize }
	f.result.Size = src.Size()
	return f.finish(ctx, func() error { return nil })
}
