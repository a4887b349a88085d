package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
)

// diskFile is a VHD, open.
type diskFile struct {
	name string      // from the root of the repository
	file remote.File // nil for a disk kept as a directory
	img  *vhd.Image
	size int64 // in bytes; 0 for a disk kept as a directory
}

func (f *diskFile) close() error {
	if f.file == nil {
		return f.img.Close()
	}
	return f.file.Close()
}

// openDiskFile opens a VHD to be read, a file or an alias; mode is for a file. A
// directory without an alias, which Xen Orchestra does not know, gives
// ErrUnsupportedFlavour.
func openDiskFile(ctx context.Context, fsys remote.Filesystem, name string, mode vhd.Mode) (*diskFile, error) {
	if isAliasName(name) {
		return openAlias(ctx, fsys, name)
	}
	file, err := fsys.OpenFile(ctx, name, os.O_RDONLY)
	if err != nil {
		if info, statErr := fsys.Stat(ctx, name); statErr == nil && info.IsDir() {
			err = ErrUnsupportedFlavour
		}
		return nil, fmt.Errorf("catalog: disk %s: %w", name, err)
	}
	img, err := openImage(file, name, mode)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("catalog: disk %s: %w", name, err), file.Close())
	}
	return &diskFile{name: name, file: file, img: img, size: img.FileSize()}, nil
}

// openAlias opens a disk that is kept as a directory, which lies below that of
// its alias.
func openAlias(ctx context.Context, fsys remote.Filesystem, name string) (*diskFile, error) {
	img, err := vhd.OpenDirectory(ctx, &diskDir{fsys, path.Dir(name)}, path.Base(name))
	if errors.Is(err, vhd.ErrOutside) {
		err = fmt.Errorf("%w: %w", ErrOutside, err)
	}
	if err != nil {
		return nil, fmt.Errorf("catalog: disk %s: %w", name, err)
	}
	return &diskFile{name: name, img: img}, nil
}

func openImage(file remote.File, name string, mode vhd.Mode) (*vhd.Image, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return vhd.Open(file, info.Size(), &vhd.OpenOptions{Name: name, Mode: mode, ReadHead: true})
}
