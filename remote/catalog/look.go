package catalog

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/xenbackup/xenbackup/remote"
)

// FindBase is [Session.FindBase] for whoever wants to know what the next backup
// would be: nothing is locked, so it may be different a moment later.
func (c *Catalog) FindBase(ctx context.Context, vm, jobID, sourceVDI, snapshotVDI string) (*Base, error) {
	dir, err := vmDir(vm)
	if err != nil {
		return nil, err
	}
	look := &Session{c: c, vm: vm, dir: dir, fsys: c.fsys}
	return look.FindBase(ctx, jobID, sourceVDI, snapshotVDI)
}

// Space tells how full the storage is. What it does not tell is 0.
func (c *Catalog) Space(ctx context.Context) (remote.Space, error) {
	reporter, ok := remote.As[remote.SpaceReporter](c.fsys)
	if !ok {
		return remote.Space{}, nil
	}
	space, err := reporter.Space(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		return remote.Space{}, nil
	}
	if err != nil {
		return remote.Space{}, fmt.Errorf("catalog: space: %w", err)
	}
	return space, nil
}

// Room returns how many bytes of blocks of a disk can be written, as far as that can be
// told: [math.MaxInt64] where the storage does not say, and where blocks are
// compressed. base is that of the disk, nil for a full one.
func (c *Catalog) Room(ctx context.Context, base *Base) (int64, error) {
	format := c.formatFor(base)
	if format == FormatBrotli || format == FormatGzip {
		return math.MaxInt64, nil
	}
	space, err := c.Space(ctx)
	if err != nil {
		return 0, err
	}
	if space.Total == 0 && space.Free == 0 {
		return math.MaxInt64, nil
	}
	return space.Free, nil
}
