package ext

import (
	"fmt"
	"io"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/pages"
)

// device is the volume as it is after recovery: what the journal holds hides
// what is at home. Safe for concurrent use.
type device struct {
	r         io.ReaderAt
	size      int64
	blockSize int64
	over      overlay
	log       *device // where over refers to; nil is the volume itself
	pages     *pages.Cache
}

func newDevice(r io.ReaderAt, size, blockSize, cacheSize int64, over overlay) *device {
	d := &device{r: r, size: size, blockSize: blockSize, over: over}
	d.pages = pages.New(max(blockSize, pages.Size), cacheSize)
	return d
}

// readAt fills p. It is for the content of files, and does not use the cache.
func (d *device) readAt(p []byte, off int64) error {
	if err := readFull(d.r, d.size, p, off); err != nil {
		return err
	}
	return d.over.patch(d, p, off)
}

// readFull reads below the journal.
func readFull(r io.ReaderAt, size int64, p []byte, off int64) error {
	if off < 0 || off > size-int64(len(p)) {
		return formatError("volume", "", off, fmt.Errorf("%w: read of %d bytes beyond its end at %d", fsys.ErrCorrupt, len(p), size))
	}
	if n, err := r.ReadAt(p, off); n < len(p) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("ext: read %d bytes at %d: %w", len(p), off, err)
	}
	return nil
}

// bytes returns metadata from the cache, not to be written to.
func (d *device) bytes(off, n int64) ([]byte, error) {
	size := d.pages.PageSize()
	if off < 0 || off > d.size-n {
		return nil, formatError("volume", "", off, fmt.Errorf("%w: metadata of %d bytes beyond its end at %d", fsys.ErrCorrupt, n, d.size))
	}
	if off%size+n > size { // never with blocks and inodes, which do not cross pages
		p := make([]byte, n)
		return p, d.readAt(p, off)
	}
	page, err := d.pages.Get(off/size, func(index int64) ([]byte, error) {
		p := make([]byte, min(size, d.size-index*size))
		return p, d.readAt(p, index*size)
	})
	if err != nil { // a neighbour may be what cannot be read
		p := make([]byte, n)
		return p, d.readAt(p, off)
	}
	return page[off%size:][:n], nil
}
