package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// backups is how many times the VM is backed up: enough that points expire twice.
const backups = 5

// story is one quickstart: the simulated pool and what happens in it.
type story struct {
	out    *progress.Printer
	server *xapitest.Pool
	pool   *xapi.Client
	folder *local.FS
	vm     xapitest.VMInfo
	guest  *guest
	points []*catalog.Point
	held   map[string]digests // what the disks held at each point, by its id
}

// tell runs the whole story and returns the rows of the closing table.
func tell(ctx context.Context, out *progress.Printer, work, dir string, size int64) (rows []result, err error) {
	s := &story{out: out, held: map[string]digests{}}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.start(ctx, work, dir, size); err != nil {
		return nil, err
	}
	for n := range backups {
		if err := s.backUpGeneration(ctx, n); err != nil {
			return nil, fmt.Errorf("backup %d: %w", n+1, err)
		}
	}
	s.list()
	return s.compare(ctx)
}

// start starts the pool with the VM, and opens the client and the folder.
func (s *story) start(ctx context.Context, work, dir string, size int64) (err error) {
	system := filepath.Join(work, "system.raw")
	if err := unpackSystemDisk(system); err != nil {
		return fmt.Errorf("unpack the system disk: %w", err)
	}
	disks := filepath.Join(work, "pool")
	if err := os.Mkdir(disks, 0o700); err != nil {
		return err
	}
	s.server, err = xapitest.Start(xapitest.Inventory{
		Name: "quickstart",
		SRs:  []xapitest.SR{{Name: "local storage"}, {Name: "second storage"}},
		VMs: []xapitest.VM{{
			Name: "web", PowerState: "Running",
			Disks: []xapitest.Disk{
				{Name: "system", SR: "local storage", Content: system, Bootable: true},
				{Name: "data", SR: "local storage", Size: size},
			},
			VIFs: []xapitest.VIF{{}},
		}},
	}, &xapitest.Options{Dir: disks})
	if err != nil {
		return err
	}
	s.vm = s.server.VM("web")
	if s.guest, err = newGuest(s.vm.Disks[0].Path, s.vm.Disks[1].Path, size); err != nil {
		return err
	}
	s.out.Printf("simulated pool at %s: VM web, disks of %s and %s", s.server.URL(), progress.Bytes(s.vm.Disks[0].Size), progress.Bytes(size))
	s.pool, err = xapi.Dial(ctx, s.server.URL(), &xapi.Options{Username: s.server.Username(), Password: xapi.Secret(s.server.Password())})
	if err != nil {
		return err
	}
	s.folder, err = local.Open(dir, nil)
	return err
}

// backUpGeneration lets the guest write, notes what its disks hold, and backs it up.
func (s *story) backUpGeneration(ctx context.Context, n int) error {
	if err := s.guest.write(n); err != nil {
		return err
	}
	held := digests{}
	for _, d := range s.vm.Disks {
		sum, err := digestFile(ctx, d.Path, d.Size)
		if err != nil {
			return err
		}
		held[d.UUID] = sum
	}
	s.out.Printf("backup %d of %d", n+1, backups)
	points, err := backUp(ctx, s.pool, s.folder, s.vm.UUID, s.out)
	if err != nil {
		return err
	}
	s.points = points
	s.held[points[len(points)-1].ID] = held
	return nil
}

// compare restores the oldest and the newest point, and compares all disks of
// all points with what they held.
func (s *story) compare(ctx context.Context) ([]result, error) {
	restored := map[string]*restore.Result{}
	for _, p := range []*catalog.Point{s.points[0], s.points[len(s.points)-1]} {
		s.out.Printf("restore %s as a new VM, its disks on the second storage", date(p))
		r, err := restoreTo(ctx, s.pool, s.folder, p, s.server.SR("second storage").UUID, s.restoring)
		if err != nil {
			return nil, fmt.Errorf("restore %s: %w", p.ID, err)
		}
		restored[p.ID] = r
	}
	repository, err := catalog.Open(ctx, s.folder, nil)
	if err != nil {
		return nil, err
	}
	var rows []result
	for _, p := range s.points {
		for _, d := range repository.Disks(p) {
			row := result{point: date(p), disk: d.Name, want: s.held[p.ID][d.SourceVDI]}
			if row.kept, err = digestPoint(ctx, repository, p, d.Ref); err != nil {
				return nil, err
			}
			if r := restored[p.ID]; r != nil {
				if row.restored, err = s.digestRestored(ctx, r.Disks[d.VDI], d.Size); err != nil {
					return nil, err
				}
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// list shows what the repository keeps.
func (s *story) list() {
	s.out.Printf("the repository keeps %d restore points of VM %s:", len(s.points), s.vm.Name)
	for _, p := range s.points {
		s.out.Printf("  %s  %s", p.ID, progress.Bytes(p.Metadata.Size))
	}
}

func (s *story) restoring(p restore.Progress) { s.out.Move("disk "+p.Disk, p.Done, p.Total) }

// date is the name of a point: when its snapshot was taken, in UTC.
func date(p *catalog.Point) string { return catalog.FormatDate(p.Time()) }

func (s *story) digestRestored(ctx context.Context, vdi string, size int64) (string, error) {
	path, err := s.server.VDIPath(vdi)
	if err != nil {
		return "", err
	}
	return digestFile(ctx, path, size)
}

func (s *story) close() error {
	var errs []error
	if s.pool != nil {
		errs = append(errs, s.pool.Close())
	}
	if s.folder != nil {
		errs = append(errs, s.folder.Close())
	}
	if s.server != nil {
		errs = append(errs, s.server.Close())
	}
	return errors.Join(errs...)
}
