package clusters

import (
	"errors"
	"fmt"
	"io"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/pages"
)

// Dir reads the entries of one directory. It belongs to one goroutine.
type Dir struct {
	f     *Files
	o     *Object
	m     Mapping // nil of a root that lies before the heap
	limit int64   // bytes

	last  run
	start int64 // of block, in the directory
	off   int64 // of block, in the volume
	block []byte
}

// Entry returns the 32 bytes at a position of the directory, not to be written
// to, and their place in the volume; io.EOF at the end.
func (d *Dir) Entry(pos int64) (b []byte, place int64, err error) {
	if pos < d.start || pos-d.start >= int64(len(d.block)) {
		if err := d.load(pos); err != nil {
			return nil, 0, err
		}
	}
	at := pos - d.start
	return d.block[at:][:EntrySize], d.off + at, nil
}

// load brings the block with a position: what lies in the same page and cluster.
func (d *Dir) load(pos int64) error {
	if pos < 0 || pos > d.limit-EntrySize {
		return d.beyond()
	}
	var off, n int64
	if d.m == nil {
		off, n = d.f.rootOff+pos, d.f.rootLen-pos
	} else {
		h := d.f.heap
		i := uint32(pos / h.Size)
		if !d.last.contains(i) {
			r, err := d.m.at(i)
			if errors.Is(err, errEnd) && d.o.Size < 0 {
				return io.EOF
			}
			if err != nil {
				return d.damaged(err)
			}
			d.last = r
		}
		cluster := d.last.cluster + (i - d.last.index)
		if !d.f.tree.own(cluster, d.o.First) {
			return d.f.heap.Corrupt(d.String(), h.Offset(cluster), "cluster %d is in another directory too", cluster)
		}
		off, n = h.Offset(cluster)+pos%h.Size, h.Size-pos%h.Size
	}
	n = min(n, pages.Size-off%pages.Size, d.limit-pos)
	b, err := d.f.heap.Bytes(off, n-n%EntrySize)
	if err != nil {
		return err
	}
	d.start, d.off, d.block = pos, off, b
	return nil
}

// beyond is what is behind the limit: nothing, or too much.
func (d *Dir) beyond() error {
	if d.m == nil || d.o.Size >= 0 {
		return io.EOF
	}
	_, err := d.m.at(uint32(d.f.heap.Clusters(d.limit)))
	switch {
	case errors.Is(err, errEnd):
		return io.EOF
	case err != nil:
		return d.damaged(err)
	}
	return d.f.heap.Corrupt(d.String(), -1, "more than %d bytes", d.limit)
}

func (d *Dir) damaged(err error) error {
	if errors.Is(err, errEnd) {
		return d.f.heap.Corrupt(d.String(), -1, "its chain is shorter than its %d bytes", d.o.Size)
	}
	return fmt.Errorf("%s: %w", d, err)
}

// String names the directory in errors.
func (d *Dir) String() string { return "directory " + d.o.node().String() }

// Corrupt says what is wrong with the entry at a position.
func (d *Dir) Corrupt(pos int64, what string) error {
	return d.Error(pos, fmt.Errorf("%w: %s", fsys.ErrCorrupt, what))
}

// Error is an error about the entry at a position.
func (d *Dir) Error(pos int64, err error) error {
	return d.f.heap.Error(fmt.Sprintf("%s entry at %d", d, pos), d.off+pos-d.start, err)
}
