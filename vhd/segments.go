package vhd

import (
	"context"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"slices"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// segment is a run of bytes of a disk that lies in one piece in one file.
type segment struct {
	off, n int64 // in the disk
	file   int   // which of mapping.files
	at     int64 // in that file
}

// mapping says where the bytes of a disk lie, so that they can be copied from
// file to file. A source of which nothing is known is its own file.
type mapping struct {
	src     disk.Source
	files   []io.ReaderAt
	index   map[*Image]int                            // of the images of a chain in files
	resolve func(off, n int64) (*Image, int64, error) // the image that holds what is at off; nil for src that is not made of images
}

func mapDisk(src disk.Source) *mapping {
	m := &mapping{src: src}
	var images []*Image
	switch s := src.(type) {
	case *Image:
		images, m.resolve = []*Image{s}, s.resolve
	case *Chain:
		images, m.resolve = s.Links(), s.resolve
	case *Raw:
		m.files = []io.ReaderAt{s.r}
		return m
	default:
		m.files = []io.ReaderAt{src}
		return m
	}
	m.index = make(map[*Image]int, len(images))
	for k, image := range images {
		m.index[image] = k
		m.files = append(m.files, image.medium())
	}
	return m
}

// isIn reports whether a file that is to be written is one that the disk is in.
func (m *mapping) isIn(dst File) bool {
	media := m.files
	if rw, ok := m.src.(*RW); ok {
		media = []io.ReaderAt{rw.f}
	}
	to := fileInfo(dst)
	return to != nil && slices.ContainsFunc(media, func(r io.ReaderAt) bool {
		from := fileInfo(r)
		return from != nil && os.SameFile(from, to)
	})
}

// fileInfo returns nil for what is not a file of the operating system.
func fileInfo(v any) fs.FileInfo {
	f, ok := v.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	return info
}

// medium is what readers of the places that fileOffset gives read from.
func (m *Image) medium() io.ReaderAt {
	if _, ok := m.fileOffset(0); !ok {
		return m
	}
	return m.r
}

// fileOffset returns where in the file an offset of the disk that the image
// holds lies; not ok when there is no such file.
func (m *Image) fileOffset(off int64) (at int64, ok bool) {
	switch m.source.(type) {
	case flatBlocks:
		return off, true
	case tableBlocks:
		return int64(m.entry(int(off/m.blockSize)))*sectorSize + m.bitmapLen + off%m.blockSize, true
	}
	return off, false
}

// segments yields what [off, off+n) of the disk holds, ascending; what is between
// reads as zeros.
func (m *mapping) segments(ctx context.Context, off, n int64) iter.Seq2[segment, error] {
	if m.resolve == nil {
		return m.sourceSegments(ctx, off, n)
	}
	return func(yield func(segment, error) bool) {
		end := min(m.src.Size(), off+min(n, math.MaxInt64-off))
		for at := off; at < end; {
			if err := context.Cause(ctx); err != nil {
				yield(segment{}, err)
				return
			}
			image, length, err := m.resolve(at, end-at)
			if err != nil {
				yield(segment{}, err)
				return
			}
			if image != nil {
				place, _ := image.fileOffset(at)
				if !yield(segment{off: at, n: length, file: m.index[image], at: place}, nil) {
					return
				}
			}
			at += length
		}
	}
}

// resolve is Chain.resolve for an image alone.
func (m *Image) resolve(off, n int64) (*Image, int64, error) {
	present, length, err := m.run(off, n)
	switch {
	case err != nil || present:
		return m, length, err
	case m.Type() == Differencing:
		return nil, 0, m.errAt("block", "", off, ErrParentNeeded)
	}
	return nil, length, nil
}

func (m *mapping) sourceSegments(ctx context.Context, off, n int64) iter.Seq2[segment, error] {
	rw, _ := m.src.(*RW)
	alone := rw != nil && rw.Footer().Type == Differencing
	return func(yield func(segment, error) bool) {
		for e, err := range m.src.Extents(ctx, off, n) {
			if err == nil && alone && e.Kind == disk.Hole {
				err = rw.errAt("block", e.Off, ErrParentNeeded)
			}
			if err != nil {
				yield(segment{}, err)
				return
			}
			if e.Kind == disk.Data && !yield(segment{off: e.Off, n: e.Len, at: e.Off}, nil) {
				return
			}
		}
	}
}
