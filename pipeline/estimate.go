package pipeline

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi"
)

// Unknown is a number of bytes that nobody can tell.
const Unknown = -1

// allocation finds out how much of disks their storage has allocated.
type allocation struct {
	pool Pool
	bySR map[xapi.Ref[xapi.SR]]map[string]*xapi.VDI // VDIs by uuid
}

func newAllocation(pool Pool) *allocation {
	return &allocation{pool: pool, bySR: map[xapi.Ref[xapi.SR]]map[string]*xapi.VDI{}}
}

// of returns how many bytes of a disk and of what it stands on are allocated now, which
// no export of the disk exceeds by much; Unknown where the storage does not say.
func (a *allocation) of(ctx context.Context, ref xapi.Ref[xapi.VDI]) (int64, error) {
	vdi, err := xapi.Get(ctx, a.pool, ref)
	if err != nil {
		return 0, err
	}
	sum := max(0, vdi.PhysicalUtilisation)
	for range maxChain {
		parent := vdi.SMConfig[keyParent]
		if parent == "" {
			break
		}
		all := a.bySR[vdi.SR]
		if all == nil {
			if all, err = vdisOf(ctx, a.pool, vdi.SR); err != nil {
				return 0, fmt.Errorf("chain of disk %s: %w", vdi.UUID, err)
			}
			a.bySR[vdi.SR] = all
		}
		above := all[parent]
		if above == nil {
			return Unknown, nil // some of it is not known
		}
		vdi = above
		sum += max(0, vdi.PhysicalUtilisation)
	}
	if sum == 0 {
		return Unknown, nil
	}
	return sum, nil
}

// changed returns how many bytes of blocks a delta of the disk would have now, as the
// pool tracks them: not while the disk is attached, nor where it does not track.
func (v *vmRun) changed(ctx context.Context, live liveDisk, base *diskBase) int64 {
	if !live.vdi.CBTEnabled {
		return Unknown
	}
	var text string
	if err := v.pool.Call(ctx, "VDI.list_changed_blocks", &text, base.snapshot, live.ref); err != nil {
		return Unknown
	}
	bits, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return Unknown
	}
	const tracked = 64 << 10 // bytes a bit stands for
	const perBlock = disk.BlockSize / tracked / 8
	blocks := int64(0)
	for len(bits) > 0 {
		n := min(perBlock, len(bits))
		for _, b := range bits[:n] {
			if b != 0 {
				blocks++
				break
			}
		}
		bits = bits[n:]
	}
	return blocks * disk.BlockSize
}

// compresses says that the pool is to compress an archive.
func (v *vmRun) compresses() bool {
	c := v.job.Compression
	return c == nil || *c == CompressionNative || *c == CompressionZstd
}

// archiveSize is how large an archive may be that is not compressed.
type archiveSize struct {
	thin int64 // of disks that have no more than was written to them
	most int64 // of all disks
}

func (v *vmRun) archiveSize(ctx context.Context) (size archiveSize, err error) {
	const chunk, perChunk = 1 << 20, 3 * 512 // headers and checksum
	a := newAllocation(v.pool)
	for _, d := range v.live {
		n, err := a.of(ctx, d.ref)
		if err != nil {
			return size, err
		}
		if n != Unknown && n < d.vdi.VirtualSize {
			size.thin += n + n/chunk*perChunk
		} else {
			n = d.vdi.VirtualSize
		}
		size.most += n + n/chunk*perChunk
	}
	return size, nil
}

// checkArchiveRoom drops targets that have no room for an archive that is about to be
// made, as far as that can be told, and warns where it may not fit: of what the pool
// compresses, and of storage that allocates whole disks, only the most is known.
func (v *vmRun) checkArchiveRoom(ctx context.Context) error {
	size, err := v.archiveSize(ctx)
	if err != nil {
		return err
	}
	v.eachTarget(func(t *target) {
		if v.dry && t.settings.DeleteFirst {
			return // what makes room is still there
		}
		space, err := t.catalog.Space(ctx)
		switch {
		case err != nil:
			t.drop(err)
		case space.Total == 0 && space.Free == 0: // the storage does not say
		case !v.compresses() && size.thin > space.Free:
			t.drop(fmt.Errorf("pipeline: an archive of about %d bytes is to be written, and %d are free: %w", size.thin, space.Free, remote.ErrNoSpace))
		case size.most > space.Free:
			v.task.Warning("the archive may not fit", map[string]any{"repository": t.id, "atMost": size.most, "free": space.Free})
		}
	})
	return v.requireTarget()
}
