package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/xva"
)

// ErrSequential is returned for an archive that can be read from its beginning to its end
// only: it is compressed (xva.ErrCompressed too), or encrypted.
var ErrSequential = errors.New("the archive can be read as a stream only")

// ArchiveDisks are the disks of a full backup, each to be read anywhere: see the methods
// of [xva.Archive]. They may be read concurrently, and what is read is compared with the
// checksums that the archive holds for each MiB.
type ArchiveDisks struct {
	*xva.Archive
	c     *Catalog
	point string // id
	file  remote.File
}

// OpenArchiveDisks opens the disks inside the archive of a full backup. Its headers are
// read, one place in each MiB, and prove that all of it is there. An archive that is
// compressed or encrypted gives [ErrSequential]: see [Catalog.OpenArchive]; what is no
// archive, an *xva.FormatError; and the rest is as there. ctx bounds the life of what is
// returned, which must be closed.
func (c *Catalog) OpenArchiveDisks(ctx context.Context, p *Point) (*ArchiveDisks, error) {
	name, err := archiveName(p)
	if err != nil {
		return nil, err
	}
	if c.isSealed {
		return nil, fmt.Errorf("catalog: archive %s: encrypted: %w", name, ErrSequential)
	}
	file, err := c.fsys.OpenFile(ctx, name, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("catalog: archive: %w", err)
	}
	archive, err := openArchiveDisks(ctx, file, p.Metadata.Size)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("catalog: archive %s: %w", name, err), file.Close())
	}
	return &ArchiveDisks{archive, c, p.ID, file}, nil
}

func openArchiveDisks(ctx context.Context, file remote.File, recorded int64) (*xva.Archive, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if recorded > 0 && recorded != info.Size() {
		return nil, fmt.Errorf("%d bytes, where %d were written: %w", info.Size(), recorded, ErrDamaged)
	}
	archive, err := xva.Open(ctx, file, info.Size(), nil)
	if errors.Is(err, xva.ErrCompressed) {
		err = fmt.Errorf("%w: %w", ErrSequential, err)
	}
	return archive, err
}

// Confirm tells whether the point is still there: [ErrExpired] when it was deleted while
// it was read.
func (a *ArchiveDisks) Confirm(ctx context.Context) error { return a.c.confirmPoint(ctx, a.point) }

// Close closes the file.
func (a *ArchiveDisks) Close() error { return a.file.Close() }
