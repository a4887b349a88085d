package restore_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// world is a repository that Xen Orchestra wrote, and a pool to restore to.
type world struct {
	pool   *xapitest.Pool
	client *xapi.Client
	repo   *testenv.Repository
	cat    *catalog.Catalog
}

// deltaVM is a VM of the repository whose points are VHD files.
const (
	deltaVM     = "000000a0-0000-4000-8000-000000000002"
	firstPoint  = "xo-vm-backups/" + deltaVM + "/20260110T030000Z.json"
	secondPoint = "xo-vm-backups/" + deltaVM + "/20260110T040000Z.json"
	systemDisk  = "00000040-0000-4000-8000-000000000002"
	dataDisk    = "00000041-0000-4000-8000-000000000002"
	dataSnap    = "00000031-0000-4000-8000-0000000007d1" // at secondPoint
	systemSnap  = "00000030-0000-4000-8000-0000000007d1"
)

// newWorld unpacks the repository and opens it for all parts of a test.
func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{repo: testenv.Golden(t)}
	fsys, err := local.Open(w.repo.Dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fsys.Close()) })
	w.cat, err = catalog.Open(t.Context(), fsys, nil)
	require.NoError(t, err)
	return w
}

// withPool returns the world with a pool of its own.
func (w *world) withPool(t *testing.T) *world {
	t.Helper()
	w = &world{repo: w.repo, cat: w.cat}
	w.pool = xapitest.NewPool(t, lab())
	w.client = dial(t, w.pool, 0)
	return w
}

// dial logs in to a pool. A patience of 0 is the default: only a test that waits
// for a stall wants less, for on a busy machine everything may stall.
func dial(t *testing.T, pool *xapitest.Pool, patience time.Duration) *xapi.Client {
	t.Helper()
	client, err := xapi.Dial(t.Context(), pool.URL(), &xapi.Options{
		Username: pool.Username(), Password: xapi.Secret(pool.Password()), PollInterval: 10 * time.Millisecond,
		StallTimeout: patience, FirstByteTimeout: patience,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func lab() xapitest.Inventory {
	return xapitest.Inventory{SRs: []xapitest.SR{{Name: "local"}, {Name: "other"}, {Name: "tiny", Size: 2 << 20}}}
}

func (w *world) point(t *testing.T, id string) *catalog.Point {
	t.Helper()
	p, err := w.cat.Point(t.Context(), id)
	require.NoError(t, err)
	return p
}

// record reads an object of the pool.
func record[T any, P xapi.Record[T]](t *testing.T, w *world, ref xapi.Ref[T]) *T {
	t.Helper()
	rec, err := xapi.Get[T, P](t.Context(), w.client, ref)
	require.NoError(t, err)
	return rec
}

// requireNothing looks that the pool is as it was.
func (w *world) requireNothing(t *testing.T) {
	t.Helper()
	require.Empty(t, w.pool.VMs())
	require.Empty(t, w.pool.Leaks())
	vdis, err := xapi.All[xapi.VDI](t.Context(), w.client)
	require.NoError(t, err)
	require.Empty(t, vdis)
}

func (w *world) sum(t *testing.T, vdi string, size int64) string {
	t.Helper()
	path, err := w.pool.VDIPath(vdi)
	require.NoError(t, err)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	h := sha256.New()
	_, err = io.Copy(h, io.NewSectionReader(f, 0, size))
	require.NoError(t, err)
	return hex.EncodeToString(h.Sum(nil))
}

func TestEveryDeltaOfXOIsRestored(t *testing.T) {
	w := newWorld(t).withPool(t)
	restored := 0
	for id, want := range w.repo.Backups {
		p := w.point(t, id)
		res, err := restore.VM(t.Context(), w.client, w.cat, p, nil)
		if want.Mode != "delta" {
			require.ErrorIs(t, err, restore.ErrArchive, id)
			continue
		}
		require.NoError(t, err, id)
		restored++
		vm := record(t, w, res.Ref)
		require.Equal(t, want.VM+" ("+strings.TrimSuffix(p.ID[len(p.ID)-len("20260110T030000Z.json"):], ".json")+")", vm.NameLabel)
		for _, info := range w.cat.Disks(p) {
			if info.VDI == info.SourceVDI { // a memory image
				require.NotContains(t, res.Disks, info.VDI)
				continue
			}
			content := want.Disks[info.SourceVDI]
			require.Equal(t, content.SHA256, w.sum(t, res.Disks[info.VDI], content.Size), "%s: %s", id, info.Name)
		}
	}
	require.GreaterOrEqual(t, restored, 10, "of both flavours")
}

func TestRestoredVMIsLikeTheOriginal(t *testing.T) {
	w := newWorld(t).withPool(t)
	res, err := restore.VM(t.Context(), w.client, w.cat, w.point(t, secondPoint), &restore.Options{SR: w.pool.SR("other").UUID})
	require.NoError(t, err)
	vm := record(t, w, res.Ref)
	require.Equal(t, res.VM, vm.UUID)
	require.Equal(t, "vm-delta-files (20260110T040000Z)", vm.NameLabel)
	require.Regexp(t, `^Restored on \d{8}T\d{6}Z - description of vm-delta-files$`, vm.NameDescription)
	require.ElementsMatch(t, []string{"prod", "restored from backup"}, vm.Tags)
	require.Equal(t, "Halted", vm.PowerState)
	require.EqualValues(t, 1<<30, vm.MemoryStaticMax)
	require.EqualValues(t, 2, vm.VCPUsMax)
	require.Equal(t, map[string]string{"firmware": "bios", "order": "cdn"}, vm.HVMBootParams)
	require.Equal(t, "hvm", vm.DomainType)
	require.Empty(t, vm.BlockedOperations)
	require.Len(t, vm.VIFs, 1)
	require.Equal(t, "02:16:3e:00:00:02", record(t, w, vm.VIFs[0]).MAC)
	require.Len(t, vm.VBDs, 2)
	for i, ref := range vm.VBDs {
		vbd := record(t, w, ref)
		vdi := record(t, w, vbd.VDI)
		require.Equal(t, i == 0, vbd.Bootable)
		require.Equal(t, xapi.Ref[xapi.SR](w.pool.SR("other").Ref), vdi.SR)
		require.Equal(t, "vm-delta-files disk "+vbd.Userdevice, vdi.NameLabel)
		require.Empty(t, vdi.OtherConfig, "a restored disk belongs to no job")
	}
	require.Empty(t, w.pool.Leaks())
}

func TestRestoreOptions(t *testing.T) {
	golden := newWorld(t)
	t.Run("name, addresses and start", func(t *testing.T) {
		w := golden.withPool(t)
		res, err := restore.VM(t.Context(), w.client, w.cat, w.point(t, firstPoint), &restore.Options{Name: "again", NewMACs: true, Start: true})
		require.NoError(t, err)
		vm := record(t, w, res.Ref)
		require.Equal(t, "again", vm.NameLabel)
		require.Equal(t, "Running", vm.PowerState)
		require.NotContains(t, vm.OtherConfig, "mac_seed")
		require.NotEqual(t, "02:16:3e:00:00:02", record(t, w, vm.VIFs[0]).MAC)
	})
	t.Run("one disk elsewhere, one left out", func(t *testing.T) {
		w := golden.withPool(t)
		res, err := restore.VM(t.Context(), w.client, w.cat, w.point(t, secondPoint), &restore.Options{
			MapSRs: map[string]string{systemDisk: w.pool.SR("other").UUID, dataSnap: ""}, // by source and by snapshot
		})
		require.NoError(t, err)
		require.Equal(t, []string{systemSnap}, slices.Collect(maps.Keys(res.Disks)))
		vm := record(t, w, res.Ref)
		require.Len(t, vm.VBDs, 1)
		require.Equal(t, xapi.Ref[xapi.SR](w.pool.SR("other").Ref), record(t, w, record(t, w, vm.VBDs[0]).VDI).SR)
	})
	for name, c := range map[string]struct {
		opts restore.Options
		want error
	}{
		"unknown SR":        {restore.Options{SR: "00000000-0000-4000-8000-00000000dead"}, restore.ErrUnknownSR},
		"unknown mapped SR": {restore.Options{MapSRs: map[string]string{dataDisk: "00000000-0000-4000-8000-00000000dead"}}, restore.ErrUnknownSR},
		"unknown disk":      {restore.Options{MapSRs: map[string]string{"nobody": ""}}, restore.ErrUnknownDisk},
	} {
		t.Run(name, func(t *testing.T) {
			w := golden.withPool(t)
			_, err := restore.VM(t.Context(), w.client, w.cat, w.point(t, firstPoint), &c.opts)
			require.ErrorIs(t, err, c.want)
			w.requireNothing(t)
		})
	}
}

func TestProgressReachesTheEndOfEachDisk(t *testing.T) {
	w := newWorld(t).withPool(t)
	last := map[string]restore.Progress{}
	_, err := restore.VM(t.Context(), w.client, w.cat, w.point(t, secondPoint), &restore.Options{Progress: func(p restore.Progress) {
		require.Greater(t, p.Done, last[p.Disk].Done)
		last[p.Disk] = p
	}})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{systemSnap, dataSnap}, slices.Collect(maps.Keys(last)))
	for _, p := range last {
		require.Equal(t, p.Total, p.Done)
	}
}

func TestFailedRestoreLeavesNothing(t *testing.T) {
	golden := newWorld(t)
	refused := &xapi.Error{Code: "OPERATION_NOT_ALLOWED", Params: []string{"no"}}
	for name, c := range map[string]struct {
		sr     string
		script func(*xapitest.Pool)
		want   error
	}{
		"VM.create refused":   {script: func(p *xapitest.Pool) { p.Fail("VM.create", xapitest.OnCall(1), refused) }, want: refused},
		"second disk refused": {script: func(p *xapitest.Pool) { p.Fail("VDI.create", xapitest.OnCall(2), refused) }, want: refused},
		"VBD refused":         {script: func(p *xapitest.Pool) { p.Fail("VBD.create", xapitest.OnCall(1), refused) }, want: refused},
		"VIF refused":         {script: func(p *xapitest.Pool) { p.Fail("VIF.create", xapitest.OnCall(1), refused) }, want: refused},
		"last step refused":   {script: func(p *xapitest.Pool) { p.Fail("VM.set_name_label", xapitest.OnCall(1), refused) }, want: refused},
		"SR full":             {sr: "tiny", script: func(*xapitest.Pool) {}, want: xapi.ErrSRFull},
		"content refused":     {script: func(p *xapitest.Pool) { p.Fail("PUT /import_raw_vdi", xapitest.OnCall(2), xapi.ErrVDIIOError) }, want: xapi.ErrVDIIOError},
		"connection cut":      {script: func(p *xapitest.Pool) { p.Break("PUT /import_raw_vdi", xapitest.OnCall(1), 3<<20, xapitest.Reset) }},
		"connection stalls":   {script: func(p *xapitest.Pool) { p.Break("PUT /import_raw_vdi", xapitest.OnCall(1), 3<<20, xapitest.Stall) }, want: xapi.ErrStalled},
		"disk busy at clean-up": {script: func(p *xapitest.Pool) {
			p.Fail("VDI.create", xapitest.OnCall(2), refused)
			p.Fail("VDI.destroy", xapitest.OnCall(1), xapi.ErrVDIInUse)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := golden.withPool(t)
			c.script(w.pool)
			opts := &restore.Options{}
			if c.sr != "" {
				opts.SR = w.pool.SR(c.sr).UUID
			}
			client := w.client
			if errors.Is(c.want, xapi.ErrStalled) {
				client = dial(t, w.pool, 3*time.Second)
			}
			_, err := restore.VM(t.Context(), client, w.cat, w.point(t, secondPoint), opts)
			require.Error(t, err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			w.requireNothing(t)
		})
	}
}

func TestCancelledRestoreLeavesNothing(t *testing.T) {
	w := newWorld(t).withPool(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := restore.VM(ctx, w.client, w.cat, w.point(t, secondPoint), &restore.Options{Progress: func(restore.Progress) { cancel() }})
	require.ErrorIs(t, err, context.Canceled)
	w.requireNothing(t)
}
