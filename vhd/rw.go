package vhd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// RW is an image that is written in place: fixed, dynamic or differencing. It
// is a [disk.Source]. All its methods may be called concurrently; of writes that
// overlap any may win, sector by sector.
//
// Blocks are allocated as they are first written. A new block of a dynamic disk
// has all its sectors, so that readers which ignore bitmaps read it right; zeros
// written to a block that is not there leave it so. A differencing image marks
// the sectors that were written; other sectors come from its parent, and reading
// them here is [ErrParentNeeded]. XO takes a block of a differencing image for
// whole: if it is to merge the image, write whole blocks.
//
// # What survives a crash
//
// After [RW.Sync] has returned, all writes that returned before it was called
// are there, whatever happens then. A write that was not synced may be there,
// sector by sector, or not; but a sector never reads as anything else than it was
// or was written. Data reaches the disk before the bitmap that shows it, and both
// before the entry of the block table that makes a new block reachable. The file
// grows by many blocks at a time, with a footer at its new end before the old one
// is overwritten. If the power goes just then, or in [RW.Resize], the footers may
// differ or the last be missing: [Open] then wants [Recover], and [OpenRW] with
// Recover mends the file. A fixed disk has one footer alone: see [RW.Resize].
type RW struct {
	f    File
	name string

	life    sync.RWMutex // shared by reads and writes; exclusive for what moves things
	syncing sync.Mutex   // held by Sync

	mu        sync.Mutex // guards what follows
	footer    Footer
	header    Header // zero for a fixed disk
	headerOff int64
	blockSize int64
	bitmapLen int64
	blocks    rwBlocks
	end       int64 // where the last structure or block ends
	footerOff int64 // where the trailing footer is
	dirtyEnd  int64 // in [end, dirtyEnd) the file may hold anything; behind it zeros
	grown     bool  // there may be room between end and the footer
	err       error // sticky: nothing is written any more
}

var errClosedRW = errors.New("vhd: image is closed")

// Create makes a new image in f, whose former content is lost, and opens it for
// writing. l describes it; no blocks are listed in it. When Create returns the
// image is durable. f belongs to the caller, who syncs its directory, and closes
// it after the image.
func Create(f File, l Layout) (*RW, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	if len(l.Blocks) > 0 {
		return nil, fmt.Errorf("%w: a new image with blocks", ErrUnsupported)
	}
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	w := &RW{f: f, footer: l.footer(), blockSize: l.blockSize()}
	w.footerOff = l.Size
	if l.Type != Fixed {
		preamble := l.preamble()
		if _, err := f.WriteAt(preamble, 0); err != nil {
			return nil, err
		}
		header, err := parseHeader((*[headerSize]byte)(preamble[layoutHeader:]))
		if err != nil {
			return nil, err
		}
		w.header, w.headerOff, w.bitmapLen = header, layoutHeader, l.bitmapLen()
		w.footerOff = int64(len(preamble))
		w.blocks.init(newTable(int(l.entries())))
	}
	w.end, w.dirtyEnd = w.footerOff, w.footerOff+footerSize
	if err := w.writeFooterAt(w.footerOff); err != nil {
		return nil, err
	}
	return w, nil
}

func newTable(n int) bat {
	t := make(bat, n)
	for i := range t {
		t[i] = unallocated
	}
	return t
}

// Size returns the virtual size in bytes.
func (w *RW) Size() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.footer.CurrentSize
}

// Footer returns the footer as it is now.
func (w *RW) Footer() Footer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.footer
}

// Header returns the header as it is now, the zero value for a fixed disk.
func (w *RW) Header() Header {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.header
}

// BlockSize returns the bytes of a block; 2 MiB for a fixed disk, which has none.
func (w *RW) BlockSize() int64 { return w.blockSize }

// Allocated returns the number of blocks that the image holds.
func (w *RW) Allocated() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.footer.Type == Fixed {
		return int(divUp(w.footer.CurrentSize, w.blockSize))
	}
	return w.blocks.allocated
}

// ReadAt reads what was written, synced or not. Sectors that a dynamic disk does
// not hold are zeros; those that a differencing disk does not hold are
// [ErrParentNeeded].
func (w *RW) ReadAt(p []byte, off int64) (int, error) {
	w.life.RLock()
	defer w.life.RUnlock()
	p, end, err := clip(p, off, w.Size())
	if err != nil {
		return 0, err
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		place, n, err := w.run(at, int64(len(p)-done))
		if err != nil {
			return done, err
		}
		part := p[done : done+int(n)]
		switch {
		case place >= 0:
			err = readExact(w.f, part, place)
		case w.footer.Type == Differencing:
			err = w.errAt("block", at, ErrParentNeeded)
		default:
			clear(part)
		}
		if err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, end
}

// Extents yields what the file holds, sector by sector: Data, or Hole for what
// the parent must be asked for or reads as zeros. A write meanwhile may be in it or not.
func (w *RW) Extents(ctx context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return extents(ctx, w.Size(), off, n, func(at, n int64) (disk.Kind, int64, error) {
		w.life.RLock()
		defer w.life.RUnlock()
		return w.kindAt(at, n)
	})
}

// kindAt is for those who hold w.life.
func (w *RW) kindAt(at, n int64) (disk.Kind, int64, error) {
	place, n, err := w.run(at, n)
	if place >= 0 {
		return disk.Data, n, err
	}
	return disk.Hole, n, err
}

// run returns where in the file the bytes at off are, -1 for nowhere, and for
// how many bytes, at most n and not beyond the block, the answer is the same.
func (w *RW) run(off, n int64) (place, length int64, err error) {
	if w.footer.Type == Fixed {
		return off, n, nil
	}
	block, within := int(off/w.blockSize), off%w.blockSize
	n = min(n, w.blockSize-within)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.blocks.table[block] == unallocated {
		return -1, n, nil
	}
	bits, err := w.bitmapOf(block)
	if err != nil {
		return -1, 0, err
	}
	place = w.dataAt(block) + within
	if bits == nil {
		return place, n, nil
	}
	first := within / sectorSize
	set, sectors := bits.run(int(first), int(divUp(within+n, sectorSize)))
	if !set {
		place = -1
	}
	return place, min(n, (first+int64(sectors))*sectorSize-within), nil
}

// dataAt returns where the data of an allocated block begins.
func (w *RW) dataAt(block int) int64 {
	return int64(w.blocks.table[block])*sectorSize + w.bitmapLen
}

// bitmapOf returns the bitmap of an allocated block, nil when it is full. w.mu is held.
func (w *RW) bitmapOf(block int) (bitmap, error) {
	if bits, ok := w.blocks.bitmap(block); ok {
		return bits, nil
	}
	raw := make(bitmap, w.bitmapLen)
	if err := readExact(w.f, raw, int64(w.blocks.table[block])*sectorSize); err != nil {
		return nil, err
	}
	return w.blocks.keep(block, raw, w.sectorsIn(block)), nil
}

// sectorsIn returns the number of sectors of the disk in a block.
func (w *RW) sectorsIn(block int) int {
	return int(divUp(min(w.blockSize, w.footer.CurrentSize-int64(block)*w.blockSize), sectorSize))
}

// writeFooterAt writes the footer and makes it, and all before it, durable.
func (w *RW) writeFooterAt(off int64) error {
	if _, err := w.f.WriteAt(w.footer.encode()[:], off); err != nil {
		return err
	}
	return w.f.Sync()
}

func (w *RW) errAt(structure string, off int64, err error) error {
	return &FormatError{Name: w.name, Struct: structure, Off: off, Err: err}
}

var _ disk.Source = (*RW)(nil)
