package fat

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/clusters"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/pages"
)

// table is the file allocation table: for each cluster the one behind it.
type table struct {
	dev      *clusters.Device
	boot     *boot
	off      int64
	mirror   int64 // offset of a copy; 0 without one
	warnings *clusters.Warnings

	mu       sync.Mutex
	compared map[int64]struct{} // pieces of pages.Size
}

func newTable(dev *clusters.Device, b *boot, w *clusters.Warnings) *table {
	t := &table{dev: dev, boot: b, warnings: w, off: b.tables + int64(b.active)*b.tableSize, compared: make(map[int64]struct{})}
	if b.mirrored {
		t.mirror = b.tables + b.tableSize
	}
	return t
}

// entry reads the entry of a cluster, or one of the first two.
func (t *table) entry(w *clusters.Window, c uint32) (uint32, error) {
	at, n := int64(c)*4, int64(4)
	switch t.boot.bits {
	case 12:
		at, n = int64(c)+int64(c/2), 2
	case 16:
		at, n = int64(c)*2, 2
	}
	t.compare(at / pages.Size)
	b, err := t.dev.View(w, t.off+at, n)
	if err != nil {
		return 0, err
	}
	switch t.boot.bits {
	case 12:
		return uint32(le.Uint16(b)) >> (c & 1 * 4) & 0xFFF, nil
	case 16:
		return uint32(le.Uint16(b)), nil
	}
	return le.Uint32(b) & 0x0FFFFFFF, nil
}

// next is what the heap asks.
func (t *table) next(w *clusters.Window, c uint32) (uint32, error) {
	e, err := t.entry(w, c)
	if err != nil {
		return 0, err
	}
	top := uint32(1)<<t.boot.bits - 1
	if t.boot.bits == 32 {
		top = 0x0FFFFFFF
	}
	switch {
	case e >= top-7:
		return 0, nil
	case e == top-8:
		return 0, t.corrupt(c, "is marked as bad")
	case e == 0:
		return 0, t.corrupt(c, "is free")
	case e == 1:
		return 0, t.corrupt(c, "is reserved")
	}
	return e, nil
}

func (t *table) corrupt(c uint32, what string) error {
	return t.dev.Error(fmt.Sprintf("chain: cluster %d", c), -1, fmt.Errorf("%w: it %s", fsys.ErrCorrupt, what))
}

// compare holds a piece of the table against its copy, when it is first used.
func (t *table) compare(piece int64) {
	if t.mirror == 0 {
		return
	}
	t.mu.Lock()
	_, done := t.compared[piece]
	t.compared[piece] = struct{}{}
	t.mu.Unlock()
	if done {
		return
	}
	n := min(pages.Size, t.boot.tableSize-piece*pages.Size)
	mine, err := t.dev.Bytes(t.off+piece*pages.Size, n)
	if err != nil {
		return // who needs an entry of it will see
	}
	theirs := make([]byte, n)
	switch err := t.dev.ReadAt(theirs, t.mirror+piece*pages.Size); {
	case err != nil:
		t.warnings.Add(fsys.Damaged, "the second file allocation table cannot be read; the first is used")
	case !bytes.Equal(mine, theirs):
		t.warnings.Add(fsys.Damaged, "the two file allocation tables differ; the first is used")
	}
}

// dirty tells what the table says of the volume in its second entry.
func (t *table) dirty() (inUse, errors bool, err error) {
	var w clusters.Window
	e, err := t.entry(&w, 1)
	switch t.boot.bits {
	case 16:
		return e&0x8000 == 0, e&0x4000 == 0, err
	case 32:
		return e&0x08000000 == 0, e&0x04000000 == 0, err
	}
	return false, false, err
}
