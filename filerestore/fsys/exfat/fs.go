package exfat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/clusters"
)

// maxDir is how large a directory can be.
const maxDir = 256 << 20

// Options of [Open]. Nil and zero fields mean the defaults.
type Options struct {
	// CacheSize bounds the metadata kept in memory, in bytes; 16 MiB by default.
	CacheSize int64

	// Location is the time zone of times that were written without their offset
	// from UTC; UTC by default.
	Location *time.Location
}

// FS is a volume. It implements fsys.FS, and is safe for concurrent use.
type FS struct {
	*fsys.Paths
	*clusters.Files

	boot     *boot
	heap     *clusters.Heap
	entries  *entries
	bitmap   *bitmap // nil without one that can be used
	label    string
	warnings clusters.Warnings
}

var _ fsys.FS = (*FS)(nil)

// Open reads the boot region of a volume of the given size, or its backup. ctx
// is for the opening alone: later reads take as long as those of r.
//
// Errors: fsys.ErrWrongFormat where there is no such file system,
// fsys.ErrUnsupported, fsys.ErrCorrupt, and those of r.
func Open(ctx context.Context, r io.ReaderAt, size int64, opts *Options) (*FS, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.CacheSize <= 0 {
		o.CacheSize = 16 << 20
	}
	if o.Location == nil {
		o.Location = time.UTC
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dev := clusters.NewDevice("exfat", r, size, o.CacheSize)
	b, backup, err := readBoot(dev)
	if err != nil {
		return nil, err
	}
	f := &FS{boot: b}
	if backup {
		f.warnings.Add(fsys.Damaged, "the boot region is damaged; its backup is used")
	}
	t := &table{dev: dev, off: b.table}
	f.heap = &clusters.Heap{Device: dev, Off: b.heap, Size: b.cluster, Count: b.clusters, Next: t.next}
	f.entries = &entries{heap: f.heap, zone: o.Location, warnings: &f.warnings}
	f.Files = clusters.NewFiles(f.heap, f.entries, clusters.Object{First: b.root, Size: -1}, 0, 0, maxDir)
	f.Paths = fsys.NewPaths(f)
	f.judge(size)
	if err := f.loadSystem(); err != nil {
		return nil, err
	}
	return f, nil
}

// judge warns of what the volume admits.
func (f *FS) judge(size int64) {
	if f.boot.size > size {
		f.warnings.Add(fsys.Damaged, "the volume says that it has %d bytes, but only %d are here", f.boot.size, size)
	}
	if f.boot.flags&flagDirty != 0 {
		f.warnings.Add(fsys.Dirty, "the volume was in use; what was being written may be incomplete")
	}
	if f.boot.flags&flagFailure != 0 {
		f.warnings.Add(fsys.Damaged, "the volume has errors on record; it should be checked")
	}
}

// loadSystem reads what the root has besides files. It is among the first
// entries, where tools put it.
func (f *FS) loadSystem() error {
	d, err := clusters.OpenRoot(f.Files)
	if err != nil {
		return err
	}
	var bitmap, upcase []byte
	for pos := int64(0); pos < 4096*clusters.EntrySize; pos += clusters.EntrySize {
		b, _, err := d.Entry(pos)
		if err != nil {
			if pos == 0 && !errors.Is(err, io.EOF) {
				return err
			}
			break
		}
		if b[0] == 0 {
			break
		}
		switch {
		case b[0] == kindBitmap && (b[1]&1 != 0) == f.boot.second:
			bitmap = slices.Clone(b)
		case b[0] == kindUpcase:
			upcase = slices.Clone(b)
		case b[0] == kindLabel:
			f.label = label(b)
		}
	}
	if err := f.loadBitmap(bitmap); err != nil {
		return err
	}
	if f.bitmap != nil && !f.bitmap.allocated(f.boot.root, 1) {
		f.warnings.Add(fsys.Damaged, "the allocation bitmap calls the root directory free")
	}
	return f.loadUpcase(upcase)
}

func label(b []byte) string {
	units := make([]uint16, min(int(b[1]), 11))
	for i := range units {
		units[i] = le.Uint16(b[2+2*i:])
	}
	return clusters.UTF8(units)
}

// OpenNode implements fsys.Nodes. What was reserved and not written is Zero.
func (f *FS) OpenNode(id fsys.NodeID) (*fsys.File, error) {
	file, err := f.Files.OpenNode(id)
	if err != nil {
		return nil, err
	}
	o, err := f.entries.Parse(int64(id.Number) * clusters.EntrySize)
	if err != nil {
		return nil, fmt.Errorf("exfat: file %v: %w", id, err)
	}
	f.checkClusters(&o)
	return file, nil
}

// Volume implements fsys.Nodes.
func (f *FS) Volume() fsys.Volume {
	return fsys.Volume{Type: "exfat", Label: f.label, UUID: f.boot.uuid(), Size: f.boot.size, BlockSize: f.boot.cluster}
}

// Warnings implements fsys.Nodes. What the bitmap says of a file is known when
// that is opened; the rest when Open returns.
func (f *FS) Warnings() []fsys.Warning { return f.warnings.List() }
