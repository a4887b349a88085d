package filerestore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/xva"
)

// OpenBackup finds the volumes on the disks of a restore point. ctx bounds the life of the
// session, which must be closed.
//
// The point is leased, so that nothing of it is deleted or merged meanwhile. Once the
// lease is lost, since the storage did not answer or somebody took it away, nothing more is
// read: catalog.ErrLeaseLost. Where leases are not possible, [Session.Confirm] alone tells
// whether anything was.
//
// The disks are called xvda, xvdb, ... as their VM sees them. One whose chain has more
// than [vhd.FileRestoreMaxLinks] VHDs is not read: it has the Err
// [vhd.ErrChainTooLong]. So is one that cannot be opened. Where that is true of all, it is
// the error of OpenBackup. A disk of Options.Disk that the point does not have is
// fs.ErrNotExist.
//
// Of a full backup, whose disks are in an XVA archive, files are restored where it is
// neither compressed nor encrypted at rest: else catalog.ErrSequential. It is indexed
// first, which reads one place in each MiB of it. A point that is gone gives
// fs.ErrNotExist.
func OpenBackup(ctx context.Context, c *catalog.Catalog, p *catalog.Point, opts *Options) (*Session, error) {
	b := &backup{}
	lease, err := c.Lease(ctx, p.ID)
	switch {
	case err == nil:
		b.lease = lease
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported):
	default:
		return nil, fmt.Errorf("filerestore: %w", err)
	}
	s, err := b.open(ctx, c, p, opts)
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	s.close, s.confirm = b.close, b.confirm
	return s, nil
}

// backup is what a session holds of a repository.
type backup struct {
	lease *catalog.Lease // nil where there are none
	disks []*catalog.Disk
	xva   *catalog.ArchiveDisks
}

func (b *backup) open(ctx context.Context, c *catalog.Catalog, p *catalog.Point, opts *Options) (*Session, error) {
	var disks []Disk
	var err error
	only := ""
	if opts != nil {
		only = opts.Disk
	}
	if p.Metadata.XVA != "" {
		disks, err = b.archive(ctx, c, p, only)
	} else {
		disks, err = b.delta(ctx, c, p, only)
	}
	if err != nil {
		return nil, err
	}
	return Open(ctx, disks, opts)
}

func (b *backup) delta(ctx context.Context, c *catalog.Catalog, p *catalog.Point, only string) ([]Disk, error) {
	var infos []catalog.DiskInfo
	var disks []Disk
	devices := deviceNames(p)
	for _, info := range c.Disks(p) {
		if !info.Memory {
			infos = append(infos, info)
			disks = append(disks, Disk{ID: cmp.Or(devices[info.Ref], info.SourceVDI, info.Ref), Name: info.Name, Size: info.Size})
		}
	}
	var chosen []Disk
	var failed []error
	for i, d := range distinct(disks) {
		if !wanted(only, d.ID, infos[i].SourceVDI, infos[i].VDI) {
			continue
		}
		opened, err := c.OpenDisk(ctx, p, infos[i].Ref)
		if err == nil {
			b.disks = append(b.disks, opened)
			d.R, d.Size = b.lease.Guard(opened), opened.Size()
			err = checkLinks(opened.Links())
		}
		if err != nil {
			d.R, d.Err = nil, &VolumeError{Volume: d.ID, Err: err}
			failed = append(failed, d.Err)
		}
		chosen = append(chosen, d)
	}
	if len(failed) > 0 && len(failed) == len(chosen) {
		return nil, errors.Join(failed...)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return chosen, absent(only, chosen)
}

// wanted tells whether one of the names of a disk is the one that is asked for.
func wanted(only string, names ...string) bool { return only == "" || slices.Contains(names, only) }

func absent(only string, chosen []Disk) error {
	if only == "" || len(chosen) > 0 {
		return nil
	}
	return fmt.Errorf("filerestore: disk %q: %w", only, fs.ErrNotExist)
}

func checkLinks(links int) error {
	if links <= vhd.FileRestoreMaxLinks {
		return nil
	}
	return fmt.Errorf("its chain has %d VHDs, and files are restored from at most %d; set the full interval of the backup job "+
		"to %d or less, so that it makes a full backup again in time; the VM as a whole can still be restored from this point: %w",
		links, vhd.FileRestoreMaxLinks, vhd.FileRestoreMaxLinks, vhd.ErrChainTooLong)
}

// deviceNames says how the VM sees its disks, by their key in the metadata.
func deviceNames(p *catalog.Point) map[string]string {
	names := map[string]string{}
	for _, raw := range p.Metadata.VBDs {
		var vbd struct {
			VDI        string `json:"VDI"`
			UserDevice string `json:"userdevice"`
		}
		if json.Unmarshal(raw, &vbd) == nil && vbd.VDI != "" {
			names[vbd.VDI] = deviceName(vbd.UserDevice)
		}
	}
	return names
}

// deviceName makes xvda of "0", and xvdaa of "26".
func deviceName(position string) string {
	n, err := strconv.ParseUint(position, 10, 16)
	if err != nil {
		return ""
	}
	name := ""
	for n++; n > 0; n = (n - 1) / 26 {
		name = string(rune('a'+(n-1)%26)) + name
	}
	return "xvd" + name
}

// distinct gives disks that have an ID twice another one.
func distinct(disks []Disk) []Disk {
	seen := map[string]bool{}
	for i := range disks {
		for n, id := 2, disks[i].ID; seen[disks[i].ID]; n++ {
			disks[i].ID = fmt.Sprintf("%s-%d", id, n)
		}
		seen[disks[i].ID] = true
	}
	return disks
}

func (b *backup) archive(ctx context.Context, c *catalog.Catalog, p *catalog.Point, only string) ([]Disk, error) {
	a, err := c.OpenArchiveDisks(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("filerestore: %w", err)
	}
	b.xva = a
	devices, memory := archiveDevices(a.OVA())
	var disks, chosen []Disk
	var uuids []string
	for _, image := range a.Images() {
		if memory[image.ID()] {
			continue
		}
		d := Disk{ID: cmp.Or(devices[image.ID()], image.ID()), R: b.lease.Guard(image), Size: image.Size()}
		uuid := ""
		if o := a.OVA().Object(image.ID()); o != nil {
			d.Name, _ = o.Snapshot["name_label"].(string)
			uuid, _ = o.Snapshot["uuid"].(string)
		}
		disks, uuids = append(disks, d), append(uuids, uuid)
	}
	for i, d := range distinct(disks) {
		if wanted(only, d.ID, uuids[i]) {
			chosen = append(chosen, d)
		}
	}
	return chosen, absent(only, chosen)
}

// archiveDevices says the same of an archive, and which images are memory.
func archiveDevices(ova *xva.OVA) (names map[string]string, memory map[string]bool) {
	names, memory = map[string]string{}, map[string]bool{}
	for o := range ova.OfClass("VBD") {
		vdi, _ := o.Snapshot["VDI"].(string)
		position, _ := o.Snapshot["userdevice"].(string)
		names[vdi] = deviceName(position)
	}
	for o := range ova.OfClass("VDI") {
		memory[o.ID] = o.Snapshot["type"] == "suspend"
	}
	return names, memory
}

// confirm asks whether the point was there all the time.
func (b *backup) confirm(ctx context.Context) error {
	var errs []error
	if b.lease != nil {
		errs = append(errs, b.lease.Err())
	}
	for _, d := range b.disks {
		errs = append(errs, d.Confirm(ctx))
	}
	if b.xva != nil {
		errs = append(errs, b.xva.Confirm(ctx))
	}
	return errors.Join(errs...)
}

// close works after the context of OpenBackup has ended.
func (b *backup) close() error {
	var errs []error
	for _, d := range b.disks {
		errs = append(errs, d.Close())
	}
	if b.xva != nil {
		errs = append(errs, b.xva.Close())
	}
	if b.lease != nil {
		errs = append(errs, b.lease.Release(context.Background())) //nolint:contextcheck // given back in any case
	}
	return errors.Join(errs...)
}
