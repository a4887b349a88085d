package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// protection is a lease for as long as a point is read. nil is none.
type protection struct {
	lease  *catalog.Lease
	cancel context.CancelCauseFunc
	watch  sync.WaitGroup
}

// protect keeps sessions of this library from deleting the point and from merging its
// disks until the protection ends. The context that it returns ends with the lease's
// loss. A point that is gone, and one whose VM somebody else is changing for long, are
// errors, before anything was read. Where there can be no lease, such as on a read-only
// storage, the restore goes on without: what is read is confirmed at its end in any case.
func protect(ctx context.Context, cat *catalog.Catalog, p *catalog.Point, log *slog.Logger) (context.Context, *protection, error) {
	lease, err := cat.Lease(ctx, p.ID)
	switch {
	case err == nil:
		under, cancel := context.WithCancelCause(ctx)
		h := &protection{lease: lease, cancel: cancel}
		h.watch.Go(func() {
			select {
			case <-lease.Lost():
				cancel(lease.Err())
			case <-under.Done():
			}
		})
		return under, h, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, remote.ErrLocked), ctx.Err() != nil:
		return nil, nil, err
	}
	if log != nil {
		log.InfoContext(ctx, "restore without a lease", "point", p.ID, "error", err)
	}
	return ctx, nil, nil
}

// end gives the lease back and returns how the restore ended: with its error, which has
// catalog.ErrLeaseLost if the lease was lost before. One that succeeded has confirmed
// what it read.
func (h *protection) end(err error) error {
	if h == nil {
		return err
	}
	if lost := h.lease.Err(); err != nil && lost != nil && !errors.Is(err, catalog.ErrLeaseLost) {
		err = fmt.Errorf("restore: %w: %w", lost, err)
	}
	h.cancel(nil)
	h.watch.Wait()
	_ = h.lease.Release(context.Background()) // one that stays behind ends by itself
	return err
}

// guard returns src as long as the lease is held.
func (h *protection) guard(src disk.Source) disk.Source {
	if h == nil {
		return src
	}
	return &guardedSource{src, h.lease.Guard(src)}
}

// guardedSource reads under a lease.
type guardedSource struct {
	disk.Source
	r io.ReaderAt
}

// ReadAt implements io.ReaderAt.
func (g *guardedSource) ReadAt(p []byte, off int64) (int, error) { return g.r.ReadAt(p, off) }
