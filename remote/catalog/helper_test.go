package catalog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
)

const (
	testVM       = "5f3c3c1e-0000-4000-8000-00000000000a"
	testJob      = "5f3c3c1e-0000-4000-8000-00000000000b"
	testSchedule = "5f3c3c1e-0000-4000-8000-00000000000c"
	testVMDir    = "xo-vm-backups/" + testVM
)

// goldenFS is a fresh copy of the repository that Xen Orchestra wrote.
func goldenFS(t *testing.T) (*testenv.Repository, *local.FS) {
	t.Helper()
	repo := testenv.Golden(t)
	return repo, localFS(t, repo.Dir)
}

func localFS(t *testing.T, dir string) *local.FS {
	t.Helper()
	fsys, err := local.Open(dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fsys.Close()) })
	return fsys
}

func openCatalog(t *testing.T, fsys remote.Filesystem) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(t.Context(), fsys, nil)
	require.NoError(t, err)
	return c
}

func lockVM(t *testing.T, c *catalog.Catalog, vm string) *catalog.Session {
	t.Helper()
	s, err := c.LockVM(t.Context(), vm)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func listPoints(t *testing.T, c *catalog.Catalog, vm string) []*catalog.Point {
	t.Helper()
	var points []*catalog.Point
	for p, err := range c.Points(t.Context(), vm) {
		require.NoError(t, err)
		points = append(points, p)
	}
	return points
}

// machine is a simulated VM with two disks, and what its disks
// held when each of its snapshots was taken.
type machine struct {
	now     int               // number of the last snapshot
	disks   [2][]byte         // content now
	history map[string][]byte // by disk and date
	opts    *catalog.Options
}

// machineDiskSize is small, and yet each block written is 2 MiB in the file.
const machineDiskSize = 64 << 10

func newMachine() *machine {
	m := &machine{history: map[string][]byte{}}
	for i := range m.disks {
		m.disks[i] = make([]byte, machineDiskSize)
	}
	return m
}

func (m *machine) clone() *machine {
	c := &machine{now: m.now, history: map[string][]byte{}, opts: m.opts}
	for i := range m.disks {
		c.disks[i] = bytes.Clone(m.disks[i])
	}
	maps.Copy(c.history, m.history) // contents never change
	return c
}

func sourceVDI(i int) string { return fmt.Sprintf("5f3c3c1e-0000-4000-8000-0000000001%02x", i) }
func snapshotVDI(i, n int) string {
	return fmt.Sprintf("5f3c3c1e-0000-4000-8000-02%02x%08x", i, n)
}
func diskRef(i, n int) string              { return fmt.Sprintf("OpaqueRef:disk-%d-%d", i, n) }
func dateOf(n int) time.Time               { return time.Date(2026, 3, 1, n, 0, 0, 0, time.UTC) }
func historyKey(i int, d time.Time) string { return fmt.Sprintf("%d/%s", i, catalog.FormatDate(d)) }

// snapshot changes the disks and freezes the content: disk 0 has changed at
// each snapshot, disk 1 at each third.
func (m *machine) snapshot() int {
	m.now++
	m.paint(0)
	if m.now%3 == 1 {
		m.paint(1)
	}
	for i := range m.disks {
		m.history[historyKey(i, dateOf(m.now))] = bytes.Clone(m.disks[i])
	}
	return m.now
}

func (m *machine) paint(i int) {
	pattern := fmt.Appendf(nil, "disk %d snapshot %d;", i, m.now)
	for n := 0; n < len(m.disks[i]); {
		n += copy(m.disks[i][n:], pattern)
	}
}

// backup runs what a job does for the VM, keeping the given number of points,
// and returns the date once the point is committed.
func (m *machine) backup(ctx context.Context, fsys remote.Filesystem, keep int) (committed bool, err error) {
	c, err := catalog.Open(ctx, fsys, m.opts)
	if err != nil {
		return false, err
	}
	s, err := c.LockVM(ctx, testVM)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	if _, err := s.Merge(ctx, nil); err != nil {
		return false, err
	}
	if err := m.writePoint(ctx, s); err != nil {
		return false, err
	}
	if _, err := s.Expire(ctx, catalog.Retention{ScheduleID: testSchedule, Keep: keep}); err != nil {
		return true, err
	}
	_, err = s.Merge(ctx, nil)
	return true, err
}

func (m *machine) writePoint(ctx context.Context, s *catalog.Session) (err error) {
	n := m.snapshot()
	w, err := s.NewPoint(ctx, catalog.PointSpec{JobID: testJob, ScheduleID: testSchedule, Time: dateOf(n)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Abort(ctx)) }()
	for i := range m.disks {
		if err := m.writeDisk(ctx, s, w, i); err != nil {
			return err
		}
	}
	_, err = w.Commit(ctx, m.metadata())
	return err
}

// base finds the newest snapshot that the repository still has.
func (m *machine) base(ctx context.Context, s *catalog.Session, i int) (*catalog.Base, int, error) {
	for n := m.now - 1; n > 0; n-- {
		base, err := s.FindBase(ctx, testJob, sourceVDI(i), snapshotVDI(i, n))
		if err != nil || base != nil {
			return base, n, err
		}
	}
	return nil, 0, nil
}

func (m *machine) writeDisk(ctx context.Context, s *catalog.Session, w *catalog.PointWriter, i int) error {
	base, n, err := m.base(ctx, s, i)
	if err != nil {
		return err
	}
	old := m.history[historyKey(i, dateOf(n))]
	var blocks []uint32
	if !bytes.Equal(m.disks[i], old) {
		blocks = append(blocks, 0)
	}
	d, err := w.CreateDisk(ctx, catalog.DiskSpec{
		Ref: diskRef(i, m.now), SourceVDI: sourceVDI(i), SnapshotVDI: snapshotVDI(i, m.now),
		Size: machineDiskSize, Blocks: blocks, Base: base,
	})
	if err != nil {
		return err
	}
	for _, b := range blocks {
		if err := d.WriteBlock(b, m.disks[i]); err != nil {
			return err
		}
	}
	return d.Close()
}

func (m *machine) metadata() catalog.Metadata {
	meta := catalog.Metadata{
		VM:         json.RawMessage(`{"uuid":"` + testVM + `","name_label":"web","name_description":"","tags":[]}`),
		VMSnapshot: json.RawMessage(`{"suspend_VDI":"OpaqueRef:NULL"}`),
		VDIs:       map[string]json.RawMessage{},
	}
	for i := range m.disks {
		meta.VDIs[diskRef(i, m.now)] = fmt.Appendf(nil,
			`{"uuid":%q,"name_label":"disk %d","$snapshot_of$uuid":%q,"virtual_size":%d}`,
			snapshotVDI(i, m.now), i, sourceVDI(i), machineDiskSize)
	}
	return meta
}

// check reads every point that is listed and compares it with the history. It
// returns the dates of the points.
func (m *machine) check(ctx context.Context, fsys remote.Filesystem) ([]string, error) {
	c, err := catalog.Open(ctx, fsys, m.opts)
	if err != nil {
		return nil, err
	}
	var dates []string
	for p, err := range c.Points(ctx, testVM) {
		if err != nil {
			return nil, err
		}
		dates = append(dates, catalog.FormatDate(p.Time()))
		disks := c.Disks(p)
		if len(disks) != len(m.disks) {
			return nil, fmt.Errorf("%s has %d disks", p.ID, len(disks))
		}
		for i, info := range disks {
			got, err := readDisk(ctx, c, p, info.Ref)
			if err != nil {
				return nil, fmt.Errorf("%s: disk %d: %w", p.ID, i, err)
			}
			if !bytes.Equal(got, m.history[historyKey(i, p.Time())]) {
				return nil, fmt.Errorf("%s: disk %d has the wrong content", p.ID, i)
			}
		}
	}
	return dates, nil
}

func readDisk(ctx context.Context, c *catalog.Catalog, p *catalog.Point, ref string) (content []byte, err error) {
	d, err := c.OpenDisk(ctx, p, ref)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	content = make([]byte, d.Size())
	if n, err := d.ReadAt(content, 0); n < len(content) {
		return nil, err
	}
	return content, nil
}

// leavings returns the files of the VM that are neither JSON nor disks of points, nor
// the cache.
func leavings(ctx context.Context, fsys remote.Filesystem) ([]string, error) {
	c, err := catalog.Open(ctx, fsys, nil)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	var data []string // of disks kept as directories
	for p, err := range c.Points(ctx, testVM) {
		if err != nil {
			return nil, err
		}
		known[p.ID] = true
		for _, name := range p.Metadata.VHDs {
			known[path.Join(testVMDir, name)] = true
			if target, err := remote.ReadFile(ctx, fsys, path.Join(testVMDir, name), 1<<30); strings.HasSuffix(name, ".alias.vhd") && err == nil {
				data = append(data, path.Join(testVMDir, path.Dir(name), string(target))+"/")
			}
		}
	}
	var found []string
	err = walk(ctx, fsys, testVMDir, func(name string) {
		isData := slices.ContainsFunc(data, func(dir string) bool { return strings.HasPrefix(name, dir) })
		if !known[name] && !isData && name != cacheFile {
			found = append(found, strings.TrimPrefix(name, testVMDir+"/"))
		}
	})
	return found, err
}

// walk calls visit for every file below dir.
func walk(ctx context.Context, fsys remote.Filesystem, dir string, visit func(name string)) error {
	entries, err := fsys.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if !e.IsDir() {
			visit(name)
			continue
		}
		if err := walk(ctx, fsys, name, visit); err != nil {
			return err
		}
	}
	return nil
}

// listFiles returns the files below dir, but for the caches, which come and go.
func listFiles(t *testing.T, fsys remote.Filesystem, dir string) []string {
	t.Helper()
	var names []string
	require.NoError(t, walk(t.Context(), fsys, dir, func(name string) {
		if path.Base(name) != "cache.json.gz" {
			names = append(names, name)
		}
	}))
	return names
}
