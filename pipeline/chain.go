package pipeline

import (
	"context"
	"fmt"

	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/xapi"
)

const (
	// keyParent is where storage drivers for VHDs say which VDI is the parent.
	keyParent = "vhd-parent"

	// maxUncoalesced is how many VDIs of a disk's chain may wait to be coalesced,
	// as in XO: a snapshot on top of more would lengthen a chain that the storage
	// cannot keep short.
	maxUncoalesced = 1

	maxChain = 64 // storage drivers stop at 30; a cycle must not hold us
)

// checkChains skips a VM one of whose disks has snapshots behind it that the
// storage has not coalesced yet. Where the storage does not show chains there
// is nothing to check.
func (v *vmRun) checkChains(ctx context.Context) error {
	if v.settings.BypassVDIChainsCheck {
		return nil
	}
	bySR := map[xapi.Ref[xapi.SR]]map[string]*xapi.VDI{}
	for _, d := range v.live {
		if d.vdi.SMConfig[keyParent] == "" {
			continue
		}
		all := bySR[d.vdi.SR]
		if all == nil {
			var err error
			if all, err = vdisOf(ctx, v.pool, d.vdi.SR); err != nil {
				return fmt.Errorf("chain of disk %s: %w", d.vdi.UUID, err)
			}
			bySR[d.vdi.SR] = all
		}
		if n := uncoalesced(d.vdi, all); n > maxUncoalesced {
			v.task.Info("disk not coalesced yet", map[string]any{"disk": d.vdi.UUID, "links": n})
			return &task.SkipError{Reason: task.ReasonUnhealthyChain}
		}
	}
	return nil
}

// vdisOf returns the VDIs of an SR by uuid.
func vdisOf(ctx context.Context, pool Pool, sr xapi.Ref[xapi.SR]) (map[string]*xapi.VDI, error) {
	var records map[xapi.Ref[xapi.VDI]]*xapi.VDI
	if err := pool.Call(ctx, "VDI.get_all_records_where", &records, fmt.Sprintf("field %q = %q", "SR", sr)); err != nil {
		return nil, err
	}
	byUUID := map[string]*xapi.VDI{}
	for _, vdi := range records {
		byUUID[vdi.UUID] = vdi
	}
	return byUUID, nil
}

// uncoalesced counts the links of a disk's chain that only wait to be merged:
// hidden VDIs whose one child is hidden too.
func uncoalesced(disk *xapi.VDI, all map[string]*xapi.VDI) int {
	n := 0
	for range maxChain {
		parent := all[disk.SMConfig[keyParent]]
		if parent == nil {
			break
		}
		children, hidden := 0, false
		for _, vdi := range all {
			if vdi.SMConfig[keyParent] == parent.UUID {
				children++
				hidden = !vdi.Managed
			}
		}
		if !parent.Managed && children == 1 && hidden {
			n++
		}
		disk = parent
	}
	return n
}
