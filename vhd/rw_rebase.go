package vhd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// RebaseOptions are the options of [RW.Rebase]; nil means that only what the
// image says of its parent changes.
type RebaseOptions struct {
	// From and To are what the old parent and the new one hold, each with its
	// own parents. With both, the disk stays the same: where they differ the
	// image gets what it did not hold, in whole blocks. Without, its content changes
	// wherever they differ, which is right when the caller knows that they do not.
	From, To disk.Source
}

// Rebase makes a differencing image the child of another parent: of the disk
// parent, found under a name relative to the directory of the image, with
// slashes. The name goes into the header and a W2ru locator; locators of other
// kinds are removed, because they would lead to the old parent.
//
// When Rebase returns nil all is durable. After a crash the image has the old
// parent or the new one, and with both contents given reads the same through
// either. The 1024 bytes of the header, which lie in one page of 4 KiB, are
// written at once.
func (w *RW) Rebase(ctx context.Context, parent UUID, name string, opts *RebaseOptions) error {
	if opts == nil {
		opts = &RebaseOptions{}
	}
	l := Layout{Type: Differencing, Size: sectorSize, ParentUUID: parent, ParentName: name}
	if err := l.check(); err != nil {
		return err
	}
	if w.footer.Type != Differencing || (opts.From == nil) != (opts.To == nil) {
		return fmt.Errorf("%w: rebase a %v disk", ErrUnsupported, w.footer.Type)
	}
	if opts.From != nil {
		if err := w.fillDifferences(ctx, opts.From, opts.To); err != nil {
			return fmt.Errorf("rebase: %w", err)
		}
	}
	w.life.Lock()
	defer w.life.Unlock()
	if err := w.sync(); err != nil {
		return err
	}
	if err := w.setParent(parent, name); err != nil {
		w.err = fmt.Errorf("vhd: changing the parent failed: %w", err)
		return w.err
	}
	return nil
}

// setParent writes the locator, which the uuid in the header makes valid.
func (w *RW) setParent(parent UUID, name string) error {
	content := encodeW2ru(name)
	at, err := w.locatorPlace()
	if err != nil {
		return err
	}
	h := w.header
	h.ParentUUID, h.ParentName, h.ParentTimestamp = parent, name, 0
	h.Locators = [maxLocators]Locator{{
		Code: [4]byte([]byte(PlatformW2ru)), Space: 1, Length: uint32(len(content)), Offset: uint64(at),
	}}
	var sector [sectorSize]byte
	copy(sector[:], content)
	if _, err := w.f.WriteAt(sector[:], at); err != nil {
		return err
	}
	if err := w.f.Sync(); err != nil {
		return err
	}
	if _, err := w.f.WriteAt(h.encode()[:], w.headerOff); err != nil {
		return err
	}
	if err := w.f.Sync(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.header = h
	return nil
}

// locatorPlace returns a sector for the locator: the one that the image has, or a new one.
func (w *RW) locatorPlace() (int64, error) {
	for _, l := range w.header.Locators {
		whole := l.Space == 1 || l.Space >= sectorSize // sectors or bytes, depending on who wrote it
		if string(l.Code[:]) == PlatformW2ru && whole && l.Offset%sectorSize == 0 && l.Offset < uint64(w.end) && w.unused(int64(l.Offset)) {
			return int64(l.Offset), nil
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at := roundUp(w.end, sectorSize)
	if at+sectorSize > w.footerOff {
		if err := w.growFile(at + sectorSize); err != nil {
			return 0, err
		}
	}
	w.end = at + sectorSize
	return at, nil
}

// unused tells whether a sector that a locator claims has nothing else in it.
func (w *RW) unused(at int64) bool {
	table := int64(w.header.TableOffset)
	taken := []region{{0, footerSize}, {w.headerOff, w.headerOff + headerSize}, {table, table + batSize(int64(w.header.MaxTableEntries))}}
	for b := range w.blocks.table.entries() {
		taken = append(taken, region{int64(b.sector) * sectorSize, int64(b.sector)*sectorSize + w.bitmapLen + w.blockSize})
	}
	return !slices.ContainsFunc(taken, func(r region) bool { return r.from < at+sectorSize && at < r.to })
}

// fillDifferences completes the blocks in which the two parents differ where
// the image asks them.
func (w *RW) fillDifferences(ctx context.Context, from, to disk.Source) error {
	blocks := make(map[int64]bool)
	for _, src := range []disk.Source{from, to} {
		for e, err := range src.Extents(ctx, 0, w.Size()) {
			if err != nil {
				return err
			}
			if e.Kind != disk.Data || e.Len == 0 {
				continue
			}
			for block := e.Off / w.blockSize; block*w.blockSize < e.End(); block++ {
				blocks[block] = true
			}
		}
	}
	old, other := make([]byte, w.blockSize), make([]byte, w.blockSize)
	for block := range divUp(w.Size(), w.blockSize) {
		if !blocks[block] { // zeros in both
			continue
		}
		if err := w.fillBlock(ctx, block*w.blockSize, from, to, old, other); err != nil {
			return err
		}
	}
	return nil
}

// fillBlock compares one block where the image does not hold it. Meanwhile
// nobody else writes: the old content must not cover what is new.
func (w *RW) fillBlock(ctx context.Context, off int64, from, to disk.Source, old, other []byte) error {
	if err := w.room(); err != nil {
		return err
	}
	w.life.Lock()
	defer w.life.Unlock()
	size := w.footer.CurrentSize
	n := min(w.blockSize, size-off)
	var holes []disk.Extent
	for e, err := range extents(ctx, size, off, n, w.kindAt) {
		if err != nil {
			return err
		}
		if e.Kind == disk.Hole {
			holes = append(holes, e)
		}
	}
	differ := false
	for _, e := range holes {
		a, b := old[e.Off-off:e.End()-off], other[e.Off-off:e.End()-off]
		if err := errors.Join(readPadded(from, a, e.Off), readPadded(to, b, e.Off)); err != nil {
			return err
		}
		differ = differ || !bytes.Equal(a, b)
	}
	if !differ {
		return nil
	}
	for _, e := range holes {
		if _, err := w.write(old[e.Off-off:e.End()-off], e.Off); err != nil {
			return err
		}
	}
	return nil
}

// readPadded reads from a disk beyond the end of which there are zeros.
func readPadded(src disk.Source, p []byte, off int64) error {
	n := int(max(0, min(int64(len(p)), src.Size()-off)))
	clear(p[n:])
	if n == 0 {
		return nil
	}
	got, err := src.ReadAt(p[:n], off)
	if got == n && errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}
