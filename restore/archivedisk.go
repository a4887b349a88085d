package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xva"
)

// archiveDisk is a disk in the archive of a full point, read from its beginning to
// its end: what lies behind is reached by reading the archive again.
type archiveDisk struct {
	ctx    context.Context //nolint:containedctx // bound to one restore
	cat    *catalog.Catalog
	point  *catalog.Point
	id     string
	size   int64
	blocks []uint32 // that hold data, ascending

	mu      sync.Mutex
	archive *catalog.Archive // nil until something was read
	reader  *xva.Reader
	cur     xva.Chunk // what was read last
	past    int64     // end of the chunk before: from there to cur there are zeros
	over    bool      // there is no chunk after cur
}

// Size implements disk.Source.
func (d *archiveDisk) Size() int64 { return d.size }

// Extents implements disk.Source, in whole blocks.
func (d *archiveDisk) Extents(ctx context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		end, blocks := min(off+n, d.size), d.blocks
		for off < end {
			if ctx.Err() != nil {
				yield(disk.Extent{}, context.Cause(ctx))
				return
			}
			for len(blocks) > 0 && (int64(blocks[0])+1)*disk.BlockSize <= off {
				blocks = blocks[1:]
			}
			e := disk.Extent{Off: off, Len: end - off, Kind: disk.Zero}
			if len(blocks) > 0 {
				first := int64(blocks[0]) * disk.BlockSize
				if first > off {
					e.Len = min(first, end) - off
				} else {
					e.Kind = disk.Data
					last := first + disk.BlockSize
					for _, b := range blocks[1:] {
						if int64(b)*disk.BlockSize != last {
							break
						}
						last += disk.BlockSize
					}
					e.Len = min(last, end) - off
				}
			}
			if !yield(e, nil) {
				return
			}
			off += e.Len
		}
	}
}

// ReadAt implements io.ReaderAt.
func (d *archiveDisk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := max(0, min(int64(len(p)), d.size-off))
	want := p[:n]
	clear(want)
	if n > 0 && (d.reader == nil || off < d.past) {
		if err := d.open(); err != nil {
			return 0, err
		}
	}
	for n > 0 {
		if end := d.cur.Off + int64(len(d.cur.Data)); end > off {
			if d.cur.Off >= off+n {
				break
			}
			from := max(off, d.cur.Off)
			copy(want[from-off:], d.cur.Data[from-d.cur.Off:])
			if end >= off+n {
				break
			}
		}
		if err := d.advance(); err != nil {
			return 0, err
		}
		if d.over {
			break
		}
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// Confirm reads the rest of an archive of which only the end proves what was read:
// that it was proven before does not say that it is the same still.
func (d *archiveDisk) Confirm(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.prove(); err != nil {
		return err
	}
	return d.closeArchive()
}

func (d *archiveDisk) prove() error {
	if d.reader == nil || d.archive.Proof() != "tag" {
		return nil // each chunk was compared with its checksum
	}
	for {
		switch _, err := d.reader.Next(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("archive of %s: %w", d.point.ID, err)
		}
	}
}

// open begins to read the archive.
func (d *archiveDisk) open() (err error) {
	if err := d.prove(); err != nil {
		return err
	}
	if err := d.closeArchive(); err != nil {
		return err
	}
	if d.archive, err = d.cat.OpenArchive(d.ctx, d.point); err != nil {
		return err
	}
	d.reader, err = xva.NewReader(d.archive, nil)
	return err
}

// advance goes on to the next chunk of the disk.
func (d *archiveDisk) advance() error {
	for !d.over {
		c, err := d.reader.Next()
		switch {
		case errors.Is(err, io.EOF), err == nil && c.Disk.ID > d.id:
			d.over = true
		case err != nil:
			return fmt.Errorf("archive of %s: %w", d.point.ID, err)
		case c.Disk.ID == d.id:
			d.past, d.cur = d.cur.Off+int64(len(d.cur.Data)), c
			return nil
		}
	}
	return nil
}

func (d *archiveDisk) closeArchive() error {
	archive, reader := d.archive, d.reader
	d.archive, d.reader, d.cur, d.past, d.over = nil, nil, xva.Chunk{}, 0, false
	if reader != nil {
		_ = reader.Close() // only read
	}
	if archive != nil {
		return archive.Close()
	}
	return nil
}

// Close closes the archive.
func (d *archiveDisk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closeArchive()
}
