package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
)

// diskDir is one directory of a Filesystem as package vhd wants it. Names are
// confined to it.
type diskDir struct {
	fsys remote.Filesystem
	root string
}

var _ vhd.DirMaker = (*diskDir)(nil)

func (d *diskDir) path(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", fmt.Errorf("catalog: path %q: %w", name, ErrOutside)
	}
	return path.Join(d.root, name), nil
}

// Open implements vhd.Dir.
func (d *diskDir) Open(ctx context.Context, name string) (vhd.DirFile, error) {
	return d.open(ctx, name, os.O_RDONLY)
}

// OpenRW implements vhd.Dir.
func (d *diskDir) OpenRW(ctx context.Context, name string) (vhd.DirFile, error) {
	return d.open(ctx, name, os.O_RDWR)
}

func (d *diskDir) open(ctx context.Context, name string, flag int) (vhd.DirFile, error) {
	full, err := d.path(name)
	if err != nil {
		return nil, err
	}
	f, err := d.fsys.OpenFile(ctx, full, flag)
	if err != nil {
		return nil, err
	}
	return diskDirFile{f}, nil
}

// ReadFile implements vhd.Dir.
func (d *diskDir) ReadFile(ctx context.Context, name string) ([]byte, error) {
	full, err := d.path(name)
	if err != nil {
		return nil, err
	}
	return remote.ReadFile(ctx, d.fsys, full, 1<<20)
}

// WriteFile implements vhd.Dir.
func (d *diskDir) WriteFile(ctx context.Context, name string, data []byte) error {
	full, err := d.path(name)
	if err != nil {
		return err
	}
	return remote.WriteFile(ctx, d.fsys, full, data)
}

// Rename implements vhd.Dir.
func (d *diskDir) Rename(ctx context.Context, oldname, newname string) error {
	from, err := d.path(oldname)
	if err != nil {
		return err
	}
	to, err := d.path(newname)
	if err != nil {
		return err
	}
	return d.fsys.Rename(ctx, from, to)
}

// Remove implements vhd.Dir.
func (d *diskDir) Remove(ctx context.Context, name string) error {
	full, err := d.path(name)
	if err != nil {
		return err
	}
	return d.fsys.Remove(ctx, full)
}

// MkdirAll implements vhd.DirMaker.
func (d *diskDir) MkdirAll(ctx context.Context, name string) error {
	full, err := d.path(name)
	if err != nil {
		return err
	}
	return remote.MkdirAll(ctx, d.fsys, full)
}

// List implements vhd.Dir.
func (d *diskDir) List(ctx context.Context, name string) ([]string, error) {
	full, err := d.path(name)
	if err != nil {
		return nil, err
	}
	entries, err := d.fsys.ReadDir(ctx, full)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Sync implements vhd.Dir.
func (d *diskDir) Sync(ctx context.Context, name string) error {
	full, err := d.path(name)
	if err != nil {
		return err
	}
	return remote.SyncDir(ctx, d.fsys, full)
}

type diskDirFile struct{ remote.File }

// Size implements vhd.DirFile.
func (f diskDirFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// mergeStateOf returns the disk whose merge the file name is the state of.
func mergeStateOf(name string) (oldest string, ok bool) {
	rest, ok := strings.CutPrefix(name, ".")
	if !ok {
		return "", false
	}
	oldest, ok = strings.CutSuffix(rest, ".merge.json")
	return oldest, ok && isDiskName(oldest)
}

// readMerge reads the state of the merge into the disk oldest.
func readMerge(ctx context.Context, fsys remote.Filesystem, dir, oldest string) (pendingMerge, error) {
	state, err := vhd.ReadMergeState(ctx, &diskDir{fsys, dir}, vhd.MergeStateName(oldest))
	if err != nil {
		return pendingMerge{}, fmt.Errorf("catalog: merge into %s: %w", path.Join(dir, oldest), err)
	}
	m := pendingMerge{oldest: path.Join(dir, oldest), state: state}
	if n := len(state.Chain); n > 1 && isElement(state.Chain[n-1]) {
		m.youngest = path.Join(dir, state.Chain[n-1])
	}
	return m, nil
}

// isUnknown tells whether err may go away by itself: anything but a proof that
// the content is bad.
func isUnknown(err error) bool {
	for _, proof := range []error{
		vhd.ErrNotVHD, vhd.ErrChecksum, vhd.ErrVersion, vhd.ErrTruncated, vhd.ErrInconsistent, vhd.ErrBAT,
		vhd.ErrUnsupported, vhd.ErrMergeState, vhd.ErrFilter, vhd.ErrTrailingData, ErrUnsupportedFlavour, ErrOutside,
	} {
		if errors.Is(err, proof) {
			return false
		}
	}
	return err != nil
}
