package fat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/clusters"
)

// maxDir is how large a directory can be: 65,536 entries.
const maxDir = 65536 * clusters.EntrySize

// Options of [Open]. Nil and zero fields mean the defaults.
type Options struct {
	// CacheSize bounds the metadata kept in memory, in bytes; 16 MiB by default.
	CacheSize int64

	// Location is the time zone of the machine that wrote the volume: FAT keeps
	// local times. UTC by default.
	Location *time.Location

	// CodePage has the 128 characters that bytes from 0x80 on stand for in short
	// names; [CodePage437] by default.
	CodePage string
}

// FS is a volume. It implements fsys.FS, and is safe for concurrent use.
type FS struct {
	*fsys.Paths
	*clusters.Files

	boot     *boot
	label    string
	warnings clusters.Warnings
}

var _ fsys.FS = (*FS)(nil)

// Open reads the boot sector of a volume of the given size, or its backup. ctx is for the
// opening alone: later reads take as long as those of r.
//
// Errors: fsys.ErrWrongFormat where there is no such file system,
// fsys.ErrUnsupported, fsys.ErrCorrupt, and those of r.
func Open(ctx context.Context, r io.ReaderAt, size int64, opts *Options) (*FS, error) {
	o := Options{CacheSize: 16 << 20, Location: time.UTC, CodePage: CodePage437}
	if opts != nil {
		o = opts.over(o)
	}
	page, ok := newCodePage(o.CodePage)
	if !ok {
		return nil, fmt.Errorf("fat: a code page has 128 characters: %w", errors.ErrUnsupported)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dev := clusters.NewDevice("fat", r, size, o.CacheSize)
	b, backup, err := readBoot(dev)
	if err != nil {
		return nil, err
	}
	f := &FS{boot: b}
	if backup {
		f.warnings.Add(fsys.Damaged, "the boot sector is damaged; its backup is used")
	}
	t := newTable(dev, b, &f.warnings)
	heap := &clusters.Heap{Device: dev, Off: b.heap, Size: b.cluster, Count: b.clusters, Next: t.next}
	root := clusters.Object{First: b.rootCluster, Size: -1}
	f.Files = clusters.NewFiles(heap, &entries{dev: dev, boot: b, page: page, zone: o.Location}, root, b.root, b.rootSize, maxDir)
	f.Paths = fsys.NewPaths(f)
	if err := f.judge(t, size); err != nil {
		return nil, err
	}
	if err := f.findLabel(page); err != nil {
		return nil, err
	}
	return f, nil
}

// over returns the options with defaults for what is zero.
func (o Options) over(defaults Options) Options {
	if o.CacheSize <= 0 {
		o.CacheSize = defaults.CacheSize
	}
	if o.Location == nil {
		o.Location = defaults.Location
	}
	if o.CodePage == "" {
		o.CodePage = defaults.CodePage
	}
	return o
}

// judge warns of what the volume admits.
func (f *FS) judge(t *table, size int64) error {
	if f.boot.size > size {
		f.warnings.Add(fsys.Damaged, "the volume says that it has %d bytes, but only %d are here", f.boot.size, size)
	}
	inUse, failed, err := t.dirty()
	if err != nil && !errors.Is(err, fsys.ErrCorrupt) {
		return err
	}
	if inUse || f.boot.state&1 != 0 {
		f.warnings.Add(fsys.Dirty, "the volume was in use; what was being written may be incomplete")
	}
	if failed || f.boot.state&2 != 0 {
		f.warnings.Add(fsys.Damaged, "the volume has errors on record; it should be checked")
	}
	return nil
}

// findLabel takes the label of the root before that of the boot sector, which
// not all tools keep. It is among the first entries.
func (f *FS) findLabel(page *codePage) error {
	f.label = f.boot.label
	d, err := clusters.OpenRoot(f.Files)
	if err != nil {
		return err
	}
	for pos := int64(0); pos < 1024*clusters.EntrySize; pos += clusters.EntrySize {
		b, _, err := d.Entry(pos)
		if err != nil {
			if pos > 0 || errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if b[0] == 0 {
			return nil
		}
		if b[0] != erased && b[11]&attrMask != attrLong && b[11]&clusters.Label != 0 {
			f.label = (&entries{page: page}).part(b[:11], false)
			return nil
		}
	}
	return nil
}

// Volume implements fsys.Nodes. Type is "fat12", "fat16" or "fat32".
func (f *FS) Volume() fsys.Volume {
	return fsys.Volume{
		Type: fmt.Sprintf("fat%d", f.boot.bits), Label: f.label, UUID: f.boot.uuid(),
		Size: f.boot.size, BlockSize: f.boot.cluster,
	}
}

// Warnings implements fsys.Nodes. That copies of the table differ is known when
// what differs is read; the rest when Open returns.
func (f *FS) Warnings() []fsys.Warning { return f.warnings.List() }
