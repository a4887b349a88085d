package filerestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/probe"
)

// Kind says what a [Volume] is.
type Kind uint8

// What a volume is.
const (
	KindDisk      Kind = iota // of the VM
	KindPartition             // of a disk or an array
	KindArray                 // software RAID
	KindGroup                 // of logical volumes
	KindLogical               // a logical volume
)

// String returns the kind in lower case.
func (k Kind) String() string {
	switch k {
	case KindDisk:
		return "disk"
	case KindPartition:
		return "partition"
	case KindArray:
		return "array"
	case KindGroup:
		return "group"
	case KindLogical:
		return "logical volume"
	}
	return "unknown"
}

// Volume is a disk, or something on disks. Its fields do not change.
type Volume struct {
	// ID is stable: it is made of what the disks say, so that the same volume has the same
	// one in another backup of the VM.
	//
	//	xvda               a disk: its Disk.ID
	//	xvda/p5            a partition, by the number that Linux gives it
	//	md:<uuid>          software RAID; its partitions have /p1 behind it
	//	lvm:vg0            a volume group; lvm:vg0@<uuid> where several have the name
	//	lvm:vg0/root       a logical volume
	ID    string
	Kind  Kind
	Type  string // what it holds, as blkid has it: "gpt", "ext4", "LVM2_member", "crypto_LUKS", ...; empty when unknown
	Title string // the same for people
	Label string // of the file system, else of the partition, may be empty
	UUID  string // likewise
	Size  int64  // in bytes

	// Err says why the volume cannot be read: usually a *VolumeError. Nil where it has
	// files, and where it has Children instead.
	Err      error
	Warnings []fsys.Warning // of its structure; those of its files say fsys.FS.Warnings
	Children []*Volume

	r       io.ReaderAt
	content probe.Content
	session *Session

	mu sync.Mutex
	fs fsys.FS
}

// HasFiles tells that there is a reader for what the volume holds. Whether it can be
// opened, [Volume.Open] tells.
func (v *Volume) HasFiles() bool {
	return v.Err == nil && v.content.Kind == probe.Files
}

// Source returns the bytes of the volume; nil for a group, and where it cannot be read.
func (v *Volume) Source() io.ReaderAt { return v.r }

// All yields the volume and everything below it, parents first.
func (v *Volume) All() iter.Seq[*Volume] {
	return func(yield func(*Volume) bool) { v.all(yield) }
}

func (v *Volume) all(yield func(*Volume) bool) bool {
	if !yield(v) {
		return false
	}
	for _, c := range v.Children {
		if !c.all(yield) {
			return false
		}
	}
	return true
}

// Open opens the files of the volume. It is done once; later calls return the same. ctx is
// for the opening alone.
//
// Errors: Err; [ErrNoFiles]; those of the reader, as a *VolumeError.
func (v *Volume) Open(ctx context.Context) (fsys.FS, error) {
	if err := v.session.live(); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fs != nil {
		return v.fs, nil
	}
	if v.Err != nil {
		return nil, v.Err
	}
	if !v.HasFiles() {
		return nil, &VolumeError{Volume: v.ID, Holds: v.Title, Err: ErrNoFiles, Advice: "the volumes in it may have files"}
	}
	reader, _ := v.session.reader(v.content.Family)
	fs, err := openGuarded(ctx, reader, v, v.session.opts.MetadataSize)
	if err != nil {
		return nil, &VolumeError{Volume: v.ID, Holds: v.Title, Err: err}
	}
	v.fs = fs
	return fs, nil
}

// openGuarded makes damage of a panic that a hostile volume causes in a reader.
func openGuarded(ctx context.Context, reader Reader, v *Volume, cacheSize int64) (fs fsys.FS, err error) {
	defer guard(&err)
	if reader.OpenAmong != nil {
		return reader.OpenAmong(ctx, v.r, v.Size, cacheSize, v.session.other)
	}
	return reader.Open(ctx, v.r, v.Size, cacheSize)
}

// guard must be deferred. Readers should not panic; whoever restores files from the disk
// of a tenant should not depend on it.
func guard(err *error) {
	if p := recover(); p != nil {
		*err = errors.Join(*err, fmt.Errorf("filerestore: the reader failed (%v): %w", p, fsys.ErrCorrupt))
	}
}
