package xenrestore

import (
	"cmp"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/restore"
)

// disksProgress shows how far the disks of a VM are together, and tells of each when it is
// done. Disks may come at the same time.
type disksProgress struct {
	out   *progress.Printer
	names map[string]string // by what restore calls them

	mu    sync.Mutex
	began time.Time
	disks map[string]*movedDisk
}

type movedDisk struct {
	began       time.Time
	done, total int64
}

func watchDisks(out *progress.Printer, infos []catalog.DiskInfo) *disksProgress {
	d := &disksProgress{out: out, names: map[string]string{}, began: time.Now(), disks: map[string]*movedDisk{}}
	for _, info := range infos {
		name := printable(cmp.Or(info.Name, info.SourceVDI))
		d.names[info.Ref], d.names[info.VDI] = name, name // of delta and of full points
	}
	return d
}

func (d *disksProgress) move(at restore.Progress) {
	d.mu.Lock()
	defer d.mu.Unlock()
	one := d.disks[at.Disk]
	if one == nil {
		one = &movedDisk{began: time.Now()}
		d.disks[at.Disk] = one
	}
	ends := at.Done == at.Total && at.Total > 0 && one.done != at.Done
	one.done, one.total = at.Done, at.Total
	if ends {
		spent := max(time.Since(one.began), time.Millisecond)
		d.out.Printf("  %s: %s, %s/s", cmp.Or(d.names[at.Disk], at.Disk, "archive"), progress.Bytes(one.done), progress.Bytes(int64(float64(one.done)/spent.Seconds())))
	}
	var done, total int64
	for _, each := range d.disks {
		done, total = done+each.done, total+max(each.done, each.total)
	}
	d.out.Line("  " + progress.Amount(done, total, time.Since(d.began)))
}
