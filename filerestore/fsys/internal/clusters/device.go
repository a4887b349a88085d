package clusters

import (
	"errors"
	"fmt"
	"io"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/pages"
)

// Device is what a volume is kept on. Safe for concurrent use.
type Device struct {
	FS   string // "fat", "exfat": whose errors these are
	R    io.ReaderAt
	Size int64

	pages *pages.Cache
}

// NewDevice makes a device that keeps about cacheSize bytes of metadata.
func NewDevice(name string, r io.ReaderAt, size, cacheSize int64) *Device {
	return &Device{FS: name, R: r, Size: size, pages: pages.New(pages.Size, cacheSize)}
}

// ReadAt fills p. It is for the content of files, and does not use the cache.
func (d *Device) ReadAt(p []byte, off int64) error {
	if off < 0 || off > d.Size-int64(len(p)) {
		return d.Error("volume", off, fmt.Errorf("%w: read of %d bytes beyond its end at %d", fsys.ErrCorrupt, len(p), d.Size))
	}
	if n, err := d.R.ReadAt(p, off); n < len(p) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("%s: read %d bytes at %d: %w", d.FS, len(p), off, err)
	}
	return nil
}

// Bytes returns metadata from the cache, not to be written to.
func (d *Device) Bytes(off, n int64) ([]byte, error) {
	size := d.pages.PageSize()
	if off >= 0 && n >= 0 && off <= d.Size-n && off%size+n <= size {
		page, err := d.pages.Get(off/size, func(index int64) ([]byte, error) {
			p := make([]byte, min(size, d.Size-index*size))
			return p, d.ReadAt(p, index*size)
		})
		if err == nil {
			return page[off%size:][:n], nil
		} // else a neighbour may be what cannot be read
	}
	if off < 0 || n < 0 || off > d.Size-n {
		return nil, d.Error("volume", off, fmt.Errorf("%w: metadata of %d bytes beyond its end at %d", fsys.ErrCorrupt, n, d.Size))
	}
	p := make([]byte, n)
	return p, d.ReadAt(p, off)
}

// Window is a piece of metadata that one goroutine looks at again and again.
type Window struct {
	off  int64
	data []byte
}

// View returns n bytes at off through a window, not to be written to.
func (d *Device) View(w *Window, off, n int64) ([]byte, error) {
	if off >= w.off && off-w.off <= int64(len(w.data))-n {
		return w.data[off-w.off:][:n], nil
	}
	start := off - off%pages.Size
	if off < 0 || off+n > start+pages.Size || off > d.Size-n {
		return d.Bytes(off, n)
	}
	data, err := d.Bytes(start, min(pages.Size, d.Size-start))
	if err != nil {
		return d.Bytes(off, n)
	}
	w.off, w.data = start, data
	return data[off-start:][:n], nil
}

// Error is an error about a structure at an offset.
func (d *Device) Error(structure string, off int64, err error) error {
	return &fsys.FormatError{FS: d.FS, Struct: structure, Off: off, Err: err}
}

// Corrupt says what is wrong with a structure.
func (d *Device) Corrupt(structure string, off int64, format string, args ...any) error {
	return d.Error(structure, off, fmt.Errorf("%w: %s", fsys.ErrCorrupt, fmt.Sprintf(format, args...)))
}
