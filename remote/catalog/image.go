package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
)

// diskFile is a VHD, open.
type diskFile struct {
	name string // from the root of the repository
	file remote.File
	img  *vhd.Image
}

// openDiskFile opens a VHD to be read. A disk kept as a directory gives
// ErrUnsupportedFlavour.
func openDiskFile(ctx context.Context, fsys remote.Filesystem, name string, mode vhd.Mode) (*diskFile, error) {
	if isAliasName(name) {
		return nil, fmt.Errorf("catalog: disk %s: %w", name, ErrUnsupportedFlavour)
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
	return &diskFile{name: name, file: file, img: img}, nil
}

func openImage(file remote.File, name string, mode vhd.Mode) (*vhd.Image, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return vhd.Open(file, info.Size(), &vhd.OpenOptions{Name: name, Mode: mode})
}
