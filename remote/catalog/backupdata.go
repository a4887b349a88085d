package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/xenbackup/xenbackup/remote"
)

// BackupData is the content of a [Backup], read from its beginning to its end.
type BackupData struct {
	io.Reader
	file remote.File
	size int64
}

// OpenBackup opens the content of a backup that is not of a VM. In an encrypted
// repository it is decrypted, and none of it, or at least not the last MiB, is given out
// before its tag was checked. Its path is not trusted: what leaves the directory of the
// backup gives [ErrOutside]. ctx bounds the life of what is returned, which must be closed.
func (c *Catalog) OpenBackup(ctx context.Context, b *Backup) (*BackupData, error) {
	name, err := b.dataName()
	if err != nil {
		return nil, fmt.Errorf("backup %s: %w", b.ID, err)
	}
	file, err := c.fsys.OpenFile(ctx, name, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("catalog: backup: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("catalog: backup: %w", err), file.Close())
	}
	return &BackupData{io.NewSectionReader(file, 0, info.Size()), file, info.Size()}, nil
}

// Size returns the length of the content in bytes.
func (d *BackupData) Size() int64 { return d.size }

// Close closes the file.
func (d *BackupData) Close() error { return d.file.Close() }
