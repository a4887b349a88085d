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
	name   string // from the root: of the file, or of the alias
	base   *Base
	layout vhd.Layout
	size   int64 // as it counts in the metadata
	sums   *diskRecorder

	mu    sync.Mutex
	out   diskOutput // nil until begun
	ended bool       // closed or aborted
	ok    bool       // it has its name, and is complete and durable
}

// CreateDisk begins a disk, in a directory that is made durably if need be. It
// is written beside its name, and gets that in [DiskWriter.Close]. The name must
// sort after those in the directory: else [ErrNotNewer]. A uuid that Xen Orchestra
// would not know gives [ErrUUID], a base that is kept in another way than
// [Options.Format] says [ErrFormat]. ctx governs the whole life of the DiskWriter.
//
// The blocks of a disk that is kept as a directory are compressed and written
// several at a time: at most 8 by all writers of the Catalog, in as many buffers.
func (w *PointWriter) CreateDisk(ctx context.Context, spec DiskSpec) (*DiskWriter, error) {
	layout, err := w.layout(spec)
	if err != nil {
		return nil, fmt.Errorf("catalog: disk %s: %w", spec.Ref, err)
	}
	format := w.s.c.formatFor(spec.Base)
	if spec.Base != nil && spec.Base.Format != format {
		return nil, fmt.Errorf("catalog: disk %s: format %q on %q: %w", spec.Ref, format, spec.Base.Format, ErrFormat)
	}
	dir := path.Join(w.s.dir, vdisName, w.spec.JobID, cmp.Or(spec.SourceVDI, spec.SnapshotVDI))
	d := &DiskWriter{w: w, ctx: ctx, ref: spec.Ref, base: spec.Base, layout: layout}
	d.name = path.Join(dir, w.date+format.suffix())
	d.sums = newDiskRecorder(d.name, layout)
	if err := w.reserve(d); err != nil {
		return nil, err
	}
	if err := d.begin(format); err != nil {
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
	if w.disks[d.ref] == d {
		delete(w.disks, d.ref)
	}
}

func (d *DiskWriter) begin(format DiskFormat) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.w.s
	if d.ended { // with its point
		return fs.ErrClosed
	}
	if err := s.Err(); err != nil {
		return err
	}
	if err := remote.MkdirAll(d.ctx, s.fsys, d.dir()); err != nil {
		return err
	}
	entries, err := s.fsys.ReadDir(d.ctx, d.dir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isDiskName(e.Name()) && diskStem(e.Name()) >= d.w.date {
			return fmt.Errorf("%w: %s", ErrNotNewer, e.Name())
		}
	}
	filter, isDirectory := format.filter()
	if isDirectory {
		d.size = streamSize(d.layout.Size, len(d.layout.Blocks))
		out, err := newDirectoryOutput(d, filter)
		if err == nil {
			d.out = out
		}
		return err
	}
	d.size = d.layout.StreamSize()
	out, err := newFileOutput(d)
	if err == nil {
		d.out = out
	}
	return err
}

// Size returns how many bytes the disk counts for in the metadata: the length of
// the file, of a disk kept as a directory that which it would have as a stream.
func (d *DiskWriter) Size() int64 { return d.size }

// WriteBlock writes the next block of DiskSpec.Blocks: 2 MiB, the last of the
// disk perhaps less. It does not keep data. An error may be that of an earlier
// block.
func (d *DiskWriter) WriteBlock(index uint32, data []byte) error {
	if err := d.w.s.Err(); err != nil {
		return err
	}
	if d.isEnded() {
		return fmt.Errorf("catalog: disk %s: %w", d.name, fs.ErrClosed)
	}
	if err := d.out.write(index, data); err != nil {
		return fmt.Errorf("catalog: disk %s: %w", d.name, err)
	}
	return nil
}

func (d *DiskWriter) isEnded() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ended
}

// Close completes the disk: all blocks must have been written. It is synced, gets
// its name, its directory is synced, and it is opened again to see that it is what
// was meant. It belongs to no point yet. When Close fails, the disk is not there,
// or Abort removes it.
func (d *DiskWriter) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return nil
	}
	d.ended = true
	err := d.out.finish()
	if err == nil {
		err = d.sums.store(d.ctx, d.w.s.fsys)
	}
	if err != nil {
		return fmt.Errorf("catalog: disk %s: %w", d.name, errors.Join(err, d.discard()))
	}
	d.ok = true
	return nil
}

// Abort discards a disk that was not closed, or whose Close failed. The point goes
// on without it: another disk with the same Ref may be created, such as the whole
// disk where its difference could not be read to the end. Only if something of it
// cannot be removed, which is the error, the Ref stays taken until the Abort of
// the point. After a Close that succeeded Abort does nothing: removing that disk is
// [PointWriter.Abort]'s.
func (d *DiskWriter) Abort() error {
	d.mu.Lock()
	if d.ok {
		d.mu.Unlock()
		return nil
	}
	d.ended = true
	err := d.discard()
	d.mu.Unlock()
	if err != nil {
		return fmt.Errorf("catalog: disk %s: %w", d.name, err)
	}
	d.w.release(d)
	return nil
}

// discard works after the context has ended. d.mu is held.
func (d *DiskWriter) discard() error {
	if d.out == nil {
		return nil
	}
	ctx, cancel := cleanup(d.ctx)
	defer cancel()
	if err := d.out.discard(ctx); err != nil {
		return err
	}
	return removeEvidence(ctx, d.w.s.fsys, d.name)
}

// remove discards the disk, closed or not.
func (d *DiskWriter) remove() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended, d.ok = true, false
	return d.discard()
}

func (d *DiskWriter) isComplete() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ok
}
