package restore

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// protect keeps sessions of this library from deleting the point and from merging its
// disks until release. A point that is gone, and one whose VM somebody else is changing
// for long, are errors, before anything was read. Where there can be no lease, such as
// on a read-only storage, the restore goes on without: what is read is confirmed at its
// end in any case.
func protect(ctx context.Context, cat *catalog.Catalog, p *catalog.Point, log *slog.Logger) (release func(), err error) {
	lease, err := cat.Lease(ctx, p.ID)
	switch {
	case err == nil:
		return func() { _ = lease.Release(ctx) }, nil // a lease that stays behind ends by itself
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, remote.ErrLocked), ctx.Err() != nil:
		return nil, err
	}
	if log != nil {
		log.InfoContext(ctx, "restore without a lease", "point", p.ID, "error", err)
	}
	return func() {}, nil
}
