package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
)

// DiskSpec says which disk is to be written.
type DiskSpec struct {
	Ref         string   // its key in the metadata's vdis
	SourceVDI   string   // uuid of the VM's own VDI: names the directory; "" (of a memory image): SnapshotVDI
	SnapshotVDI string   // uuid of the VDI that is exported: becomes the uuid of the file
	Size        int64    // virtual size in bytes
	Blocks      []uint32 // ascending indexes of the 2 MiB blocks that will be written
	Base        *Base    // what the blocks are a difference to; nil: the disk is complete
}

// DiskWriter writes one disk of a [PointWriter]. It is not safe for concurrent
// use, but several DiskWriters of a point are.
type DiskWriter struct {
	w      *PointWriter
	ctx    context.Context //nolint:containedctx // bound at CreateDisk, like the file it writes
	ref    string
	name   string // from the root
	base   *Base
	layout vhd.Layout
	size   int64 // of the file

	out    *remote.Writer
	stream *vhd.StreamWriter

	mu     sync.Mutex
	ended  bool // closed or aborted
	placed bool // the file may have its name
	ok     bool // it has, and is complete and durable
}

// CreateDisk begins a disk, in a directory that is made durably if need be. It
// is written beside its name, and gets that in [DiskWriter.Close]. The name must
// sort after those in the directory: else [ErrNotNewer]. A uuid that Xen Orchestra
// would not know gives [ErrUUID]. ctx governs the whole life of the DiskWriter.
func (w *PointWriter) CreateDisk(ctx context.Context, spec DiskSpec) (*DiskWriter, error) {
	layout, err := w.layout(spec)
	if err != nil {
		return nil, fmt.Errorf("catalog: disk %s: %w", spec.Ref, err)
	}
	dir := path.Join(w.s.dir, vdisName, w.spec.JobID, cmp.Or(spec.SourceVDI, spec.SnapshotVDI))
	d := &DiskWriter{w: w, ctx: ctx, ref: spec.Ref, base: spec.Base, layout: layout, size: layout.StreamSize()}
	d.name = path.Join(dir, w.date+".vhd")
	if err := w.reserve(d); err != nil {
		return nil, err
	}
	if err := d.begin(dir); err != nil {
		w.release(d)
		return nil, fmt.Errorf("catalog: disk %s: %w", d.name, err)
	}
	return d, nil
}

func (w *PointWriter) layout(spec DiskSpec) (vhd.Layout, error) {
	l := vhd.Layout{
		Type: vhd.Dynamic, Size: spec.Size, Blocks: spec.Blocks,
		Timestamp: w.spec.Time, Profile: vhd.Repository,
	}
	uuid, err := vhd.ParseUUID(spec.SnapshotVDI)
	if err != nil {
		return l, err
	}
	l.UUID = uuid
	if !knownToXO(uuid) {
		return l, fmt.Errorf("snapshot VDI %s: %w", uuid, ErrUUID)
	}
	if !isElement(spec.SnapshotVDI) || !isElement(cmp.Or(spec.SourceVDI, spec.SnapshotVDI)) || spec.Ref == "" {
		return l, ErrInvalidName
	}
	if spec.Base == nil {
		return l, nil
	}
	dir := path.Join(vdisName, w.spec.JobID, cmp.Or(spec.SourceVDI, spec.SnapshotVDI))
	if path.Dir(spec.Base.Path) != dir {
		return l, fmt.Errorf("base %s is not in %s: %w", spec.Base.Path, dir, ErrInvalidName)
	}
	l.Type, l.ParentUUID, l.ParentName = vhd.Differencing, spec.Base.UUID, path.Base(spec.Base.Path)
	return l, nil
}

// knownToXO reports whether Xen Orchestra takes u for a uuid: versions 1 to 5 of
// RFC 4122, as pools make them. It forgets the parent of a disk whose uuids it
// does not know, and its next clean then deletes that parent.
func knownToXO(u vhd.UUID) bool {
	version, variant := u[6]>>4, u[8]>>6
	return version >= 1 && version <= 5 && variant == 0b10
}

// reserve enters d among the disks of the point.
func (w *PointWriter) reserve(d *DiskWriter) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return fmt.Errorf("catalog: point %s: %w", w.name, fs.ErrClosed)
	}
	for ref, other := range w.disks {
		if ref == d.ref || other.name == d.name {
			return fmt.Errorf("catalog: disk %s: %w", d.ref, fs.ErrExist)
		}
	}
	w.disks[d.ref] = d
	return nil
}

func (w *PointWriter) release(d *DiskWriter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.disks, d.ref)
}

func (d *DiskWriter) begin(dir string) error {
	s := d.w.s
	if err := s.Err(); err != nil {
		return err
	}
	if err := remote.MkdirAll(d.ctx, s.fsys, dir); err != nil {
		return err
	}
	entries, err := s.fsys.ReadDir(d.ctx, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isDiskName(e.Name()) && e.Name() >= path.Base(d.name) {
			return fmt.Errorf("%w: %s", ErrNotNewer, e.Name())
		}
	}
	if d.out, err = remote.Create(d.ctx, s.fsys, d.name); err != nil {
		return err
	}
	if d.stream, err = vhd.NewStreamWriter(d.out, d.layout); err != nil {
		return errors.Join(err, d.out.Abort())
	}
	return nil
}

// Size returns the length in bytes of the file that is being written.
func (d *DiskWriter) Size() int64 { return d.size }

// WriteBlock writes the next block of DiskSpec.Blocks: 2 MiB, the last of the
// disk perhaps less.
func (d *DiskWriter) WriteBlock(index uint32, data []byte) error {
	if err := d.w.s.Err(); err != nil {
		return err
	}
	if err := d.stream.WriteBlock(index, data); err != nil {
		return fmt.Errorf("catalog: disk %s: %w", d.name, err)
	}
	return nil
}

// Close completes the disk: all blocks must have been written. The file is
// synced, gets its name, its directory is synced, and it is opened again to see
// that it is what was meant. It belongs to no point yet. When Close fails, the
// disk is not there, or PointWriter.Abort removes it.
func (d *DiskWriter) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return nil
	}
	d.ended = true
	if err := d.complete(); err != nil {
		return fmt.Errorf("catalog: disk %s: %w", d.name, errors.Join(err, d.out.Abort()))
	}
	d.ok = true
	return nil
}

func (d *DiskWriter) complete() error {
	if err := d.stream.Close(); err != nil {
		return err
	}
	if n := d.out.Size(); n != d.size {
		return fmt.Errorf("%d bytes written for %d: %w", n, d.size, ErrIncomplete)
	}
	d.placed = true
	if err := d.out.CommitNew(); err != nil {
		if errors.Is(err, fs.ErrExist) {
			d.placed = false // somebody else's
		}
		return err
	}
	return d.verify()
}

// verify opens the file as a reader would: footers, header and block table.
func (d *DiskWriter) verify() error {
	f, err := openDiskFile(d.ctx, d.w.s.fsys, d.name, vhd.Strict)
	if err != nil {
		return err
	}
	defer f.close()
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != d.size || f.img.UUID() != d.layout.UUID || f.img.Allocated() != len(d.layout.Blocks) {
		return fmt.Errorf("read back %d bytes, uuid %s, %d blocks: %w", info.Size(), f.img.UUID(), f.img.Allocated(), ErrIncomplete)
	}
	return nil
}

// Abort discards a disk that was not closed; after Close it does nothing.
// Removing a closed one is PointWriter.Abort's.
func (d *DiskWriter) Abort() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended || d.out == nil {
		return nil
	}
	d.ended = true
	return d.out.Abort()
}

func (d *DiskWriter) isComplete() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ok
}

// remove removes the file if Close gave it its name.
func (d *DiskWriter) remove(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.placed {
		return nil
	}
	if err := d.w.s.fsys.Remove(ctx, d.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
