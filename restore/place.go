package restore

import (
	"context"
	"errors"
	"fmt"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/xapi"
)

// placement is a disk of the point with the SR it goes to.
type placement struct {
	info catalog.DiskInfo
	sr   xapi.Ref[xapi.SR]
}

// place finds out where each disk of a point goes. Disks that are left out are not in
// the result, nor is a memory image that cannot be used.
func place(ctx context.Context, pool Pool, cat *catalog.Catalog, p *catalog.Point, opts *Options) ([]placement, error) {
	var infos []catalog.DiskInfo
	for _, info := range cat.Disks(p) {
		if p.Metadata.VDIs[info.Ref] == nil {
			return nil, fmt.Errorf("%w: %s: no record of disk %s", ErrIncomplete, p.ID, info.Ref)
		}
		vdi, err := parseRecord(p.Metadata.VDIs[info.Ref])
		if err != nil {
			return nil, fmt.Errorf("restore: disk %s: %w", info.Ref, err)
		}
		use := vdi.text("type") != "suspend"
		if info.Memory = info.Memory && !use; info.Memory {
			if use, err = withMemory(ctx, pool, p, opts.Logger); err != nil {
				return nil, err
			}
		}
		if use {
			infos = append(infos, info)
		}
	}
	return placeDisks(ctx, pool, infos, opts)
}

// placeDisks finds out where each disk goes, and drops those that are left out.
func placeDisks(ctx context.Context, pool Pool, infos []catalog.DiskInfo, opts *Options) ([]placement, error) {
	srs := &srFinder{pool: pool, known: map[string]xapi.Ref[xapi.SR]{}}
	used := map[string]bool{}
	var plan []placement
	for _, info := range infos {
		uuid, skip := opts.SR, false
		for _, name := range []string{info.VDI, info.SourceVDI} {
			if mapped, ok := opts.MapSRs[name]; ok {
				uuid, skip = mapped, mapped == ""
				used[name] = true
			}
		}
		if skip {
			continue
		}
		ref, err := srs.find(ctx, uuid)
		if err != nil {
			return nil, err
		}
		plan = append(plan, placement{info, ref})
	}
	for name := range opts.MapSRs {
		if !used[name] {
			return nil, fmt.Errorf("%w: %s", ErrUnknownDisk, name)
		}
	}
	return plan, nil
}

// srFinder looks up SRs, each once.
type srFinder struct {
	pool  Pool
	known map[string]xapi.Ref[xapi.SR]
}

// find returns the SR with a uuid, for "" the default of the pool.
func (f *srFinder) find(ctx context.Context, uuid string) (ref xapi.Ref[xapi.SR], err error) {
	if ref, ok := f.known[uuid]; ok {
		return ref, nil
	}
	if uuid == "" {
		ref, err = f.defaultSR(ctx)
	} else {
		ref, err = xapi.ByUUID[xapi.SR](ctx, f.pool, uuid)
		if errors.Is(err, xapi.ErrUUIDInvalid) {
			err = fmt.Errorf("%w: %s: %w", ErrUnknownSR, uuid, err)
		}
	}
	if err != nil {
		return "", err
	}
	f.known[uuid] = ref
	return ref, nil
}

func (f *srFinder) defaultSR(ctx context.Context) (xapi.Ref[xapi.SR], error) {
	pools, err := xapi.All[xapi.Pool](ctx, f.pool)
	if err != nil {
		return "", fmt.Errorf("restore: default SR: %w", err)
	}
	for _, p := range pools { // there is one
		if !p.DefaultSR.IsNull() {
			return p.DefaultSR, nil
		}
	}
	return "", fmt.Errorf("%w: the pool has no default", ErrUnknownSR)
}

// openDisks opens the content of all disks. closeAll is never nil.
func openDisks(ctx context.Context, cat *catalog.Catalog, p *catalog.Point, plan []placement) (disks []Disk, closeAll func() error, err error) {
	var open []*catalog.Disk
	closeAll = func() error {
		var errs []error
		for _, d := range open {
			errs = append(errs, d.Close())
		}
		return errors.Join(errs...)
	}
	for _, at := range plan {
		d, err := cat.OpenDisk(ctx, p, at.info.Ref)
		if err != nil {
			return nil, closeAll, fmt.Errorf("restore: disk %s: %w", at.info.Name, err)
		}
		open = append(open, d)
		disks = append(disks, Disk{Key: at.info.Ref, SR: at.sr, Content: d, Memory: at.info.Memory})
	}
	return disks, closeAll, nil
}
