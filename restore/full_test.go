package restore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
	"github.com/xenbackup/xenbackup/xva"
)

const mib = 1 << 20

// source is a pool with VMs to back up, and a repository for their archives.
type source struct {
	pool   *xapitest.Pool
	client *xapi.Client
	dir    string
	key    remote.Secret
	at     time.Time
}

func newSource(t *testing.T) *source {
	t.Helper()
	t.Parallel()
	s := &source{dir: t.TempDir(), at: time.Date(2026, 1, 10, 3, 0, 0, 0, time.UTC)}
	disks := []xapitest.Disk{{Name: "system", Size: 9*mib + 512, Bootable: true}, {Name: "data", Size: 6 * mib}}
	s.pool = xapitest.NewPool(t, xapitest.Inventory{VMs: []xapitest.VM{
		{
			Name: "machine", Description: "what it is for", PowerState: "Running", Memory: 8 * mib, Tags: []string{"prod"},
			OtherConfig: map[string]string{"note": "kept", "xo:backup:job": "j"}, Disks: disks,
			VIFs: []xapitest.VIF{{MAC: "02:16:3e:00:00:09"}}, VTPM: "c2VjcmV0", NVRAM: map[string]string{"EFI-variables": "YmxvYg=="},
		},
		{Name: "diskless"},
	}})
	s.client = dial(t, s.pool, 0)
	random := rand.NewChaCha8([32]byte{1})
	for i, off := range []int64{0, 4 * mib} {
		data := make([]byte, mib+300)
		_, _ = random.Read(data)
		require.NoError(t, s.pool.WriteVDI(s.pool.VM("machine").Disks[i].UUID, data, off))
	}
	return s
}

func (s *source) catalog(t *testing.T) *catalog.Catalog {
	t.Helper()
	fsys, err := local.Open(s.dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fsys.Close()) })
	c, err := catalog.Open(t.Context(), fsys, &catalog.Options{Key: s.key})
	require.NoError(t, err)
	return c
}

// backUp writes a full point of a VM, or of the snapshot ref of it.
func (s *source) backUp(t *testing.T, name string, ref string, opts *xapi.ExportVMOptions) *catalog.Point {
	t.Helper()
	download, err := s.client.ExportVM(t.Context(), xapi.Ref[xapi.VM](ref), opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, download.Close()) }()
	content, err := io.ReadAll(download)
	require.NoError(t, err)
	require.NoError(t, download.Finish(t.Context()))
	return s.store(t, name, content)
}

// store writes a full point with this archive.
func (s *source) store(t *testing.T, name string, content []byte) *catalog.Point {
	t.Helper()
	var m catalog.Metadata
	require.NoError(t, s.client.Call(t.Context(), "VM.get_record", &m.VM, s.pool.VM(name).Ref))
	m.VMSnapshot = m.VM
	session, err := s.catalog(t).LockVM(t.Context(), s.pool.VM(name).UUID)
	require.NoError(t, err)
	defer func() { require.NoError(t, session.Close(context.Background())) }()
	s.at = s.at.Add(time.Hour)
	w, err := session.NewArchive(t.Context(), catalog.PointSpec{JobID: "j", ScheduleID: "s", Time: s.at})
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Abort(t.Context())) }()
	_, err = w.Write(content)
	require.NoError(t, err)
	p, err := w.Commit(t.Context(), m)
	require.NoError(t, err)
	return p
}

// requireSame looks that the restored disks hold what those of machine do.
func (s *source) requireSame(t *testing.T, w *world, res *restore.Result) {
	t.Helper()
	vm := record(t, w, res.Ref)
	require.Len(t, vm.VBDs, 2)
	for _, ref := range vm.VBDs {
		vbd := record(t, w, ref)
		at := int(vbd.Userdevice[0] - '0')
		vdi := record(t, w, vbd.VDI)
		original := s.pool.VM("machine").Disks[at]
		got, err := w.pool.VDIPath(vdi.UUID)
		require.NoError(t, err)
		want, err := os.ReadFile(original.Path)
		require.NoError(t, err)
		content, err := os.ReadFile(got)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, content[:len(want)]), "disk %d", at)
		require.Equal(t, at == 0, vbd.Bootable)
		require.Contains(t, []string{"system", "data"}, vdi.NameLabel)
		require.NotContains(t, vdi.OtherConfig, "xo:backup:job")
	}
}

// target is an empty pool, with the repository of s.
func (s *source) target(t *testing.T) *world {
	t.Helper()
	w := (&world{}).withPool(t)
	w.cat = s.catalog(t)
	return w
}

// Whatever the VM was doing, and whatever it has: it comes back on another pool, as a
// whole or disk by disk.
func TestFullPointIsRestoredOnAnotherPool(t *testing.T) {
	s := newSource(t)
	vm := s.pool.VM("machine")
	var snapshot string
	require.NoError(t, s.client.CallAsync(t.Context(), "VM.snapshot", &snapshot, vm.Ref, "[XO Backup nightly] machine"))
	points := map[string]*catalog.Point{
		"plain": s.backUp(t, "machine", snapshot, nil),
		"gzip":  s.backUp(t, "machine", snapshot, &xapi.ExportVMOptions{Compression: xapi.CompressGzip}),
		"zstd":  s.backUp(t, "machine", snapshot, &xapi.ExportVMOptions{Compression: xapi.CompressZstd}),
	}
	for name, p := range points {
		for _, byDisk := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", disk by disk ", byDisk), func(t *testing.T) {
				w := s.target(t)
				var last restore.Progress
				res, err := restore.VM(t.Context(), w.client, w.cat, p, &restore.Options{
					SR: w.pool.SR("other").UUID, DiskByDisk: byDisk, Progress: func(p restore.Progress) { last = p },
				})
				require.NoError(t, err)
				s.requireSame(t, w, res)
				require.Equal(t, last.Total, last.Done)
				require.Len(t, res.Disks, 2)
				got := record(t, w, res.Ref)
				require.Equal(t, res.VM, got.UUID)
				require.Equal(t, "machine ("+catalog.FormatDate(p.Time())+")", got.NameLabel)
				require.Regexp(t, `^Restored on \d{8}T\d{6}Z - what it is for$`, got.NameDescription)
				require.ElementsMatch(t, []string{"prod", "restored from backup"}, got.Tags)
				require.Equal(t, "Halted", got.PowerState)
				require.False(t, got.IsATemplate)
				require.Equal(t, "kept", got.OtherConfig["note"])
				require.NotContains(t, got.OtherConfig, "xo:backup:job")
				require.Equal(t, "uefi", got.HVMBootParams["firmware"])
				require.Equal(t, map[string]string{"EFI-variables": "YmxvYg=="}, got.NVRAM)
				require.Equal(t, "02:16:3e:00:00:09", record(t, w, got.VIFs[0]).MAC)
				require.Len(t, got.VTPMs, 1)
				var content string
				require.NoError(t, w.client.Call(t.Context(), "VTPM.get_contents", &content, got.VTPMs[0]))
				require.Equal(t, "c2VjcmV0", content)
				for _, ref := range got.VBDs {
					require.Equal(t, xapi.Ref[xapi.SR](w.pool.SR("other").Ref), record(t, w, record(t, w, ref).VDI).SR)
				}
				require.Empty(t, got.BlockedOperations)
				require.Empty(t, w.pool.Leaks())
			})
		}
	}
}

func TestFullPointOptions(t *testing.T) {
	s := newSource(t)
	require.NoError(t, s.client.CallAsync(t.Context(), "VM.hard_shutdown", nil, s.pool.VM("machine").Ref))
	p := s.backUp(t, "machine", s.pool.VM("machine").Ref, nil)
	t.Run("name, addresses and start", func(t *testing.T) {
		w := s.target(t)
		res, err := restore.VM(t.Context(), w.client, w.cat, p, &restore.Options{Name: "again", NewMACs: true, Start: true})
		require.NoError(t, err)
		vm := record(t, w, res.Ref)
		require.Equal(t, "again", vm.NameLabel)
		require.Equal(t, "Running", vm.PowerState)
		require.NotEqual(t, "02:16:3e:00:00:09", record(t, w, vm.VIFs[0]).MAC)
	})
	t.Run("one disk elsewhere, one left out", func(t *testing.T) {
		w := s.target(t)
		disks := s.pool.VM("machine").Disks
		res, err := restore.VM(t.Context(), w.client, w.cat, p, &restore.Options{MapSRs: map[string]string{disks[0].UUID: "", disks[1].UUID: w.pool.SR("other").UUID}})
		require.NoError(t, err)
		require.Len(t, res.Disks, 1)
		vm := record(t, w, res.Ref)
		require.Len(t, vm.VBDs, 1)
		require.Equal(t, xapi.Ref[xapi.SR](w.pool.SR("other").Ref), record(t, w, record(t, w, vm.VBDs[0]).VDI).SR)
	})
	for name, c := range map[string]struct {
		opts restore.Options
		want error
	}{
		"unknown SR":   {restore.Options{SR: "00000000-0000-4000-8000-00000000dead"}, restore.ErrUnknownSR},
		"unknown disk": {restore.Options{MapSRs: map[string]string{"nobody": ""}}, restore.ErrUnknownDisk},
	} {
		t.Run(name, func(t *testing.T) {
			w := s.target(t)
			_, err := restore.VM(t.Context(), w.client, w.cat, p, &c.opts)
			require.ErrorIs(t, err, c.want)
			w.requireNothing(t)
		})
	}
}

func TestSuspendedVMComesBackWithItsMemory(t *testing.T) {
	s := newSource(t)
	vm := s.pool.VM("machine")
	require.NoError(t, s.client.CallAsync(t.Context(), "VM.suspend", nil, vm.Ref))
	p := s.backUp(t, "machine", vm.Ref, &xapi.ExportVMOptions{PreservePowerState: true})
	w := s.target(t)
	res, err := restore.VM(t.Context(), w.client, w.cat, p, nil)
	require.NoError(t, err)
	s.requireSame(t, w, res)
	got := record(t, w, res.Ref)
	require.Equal(t, "Suspended", got.PowerState)
	memory := func(pool *xapitest.Pool, client *xapi.Client, ref xapi.Ref[xapi.VDI]) []byte {
		vdi, err := xapi.Get(t.Context(), client, ref)
		require.NoError(t, err)
		name, err := pool.VDIPath(vdi.UUID)
		require.NoError(t, err)
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		return content
	}
	original, err := xapi.Get(t.Context(), s.client, xapi.Ref[xapi.VM](vm.Ref))
	require.NoError(t, err)
	require.True(t, bytes.Equal(memory(s.pool, s.client, original.SuspendVDI), memory(w.pool, w.client, got.SuspendVDI)))

	res, err = restore.VM(t.Context(), w.client, w.cat, p, &restore.Options{Start: true})
	require.NoError(t, err)
	require.Equal(t, "Running", record(t, w, res.Ref).PowerState)
	res, err = restore.VM(t.Context(), w.client, w.cat, p, &restore.Options{DiskByDisk: true})
	require.NoError(t, err)
	require.Equal(t, "Halted", record(t, w, res.Ref).PowerState)
}

func TestDisklessVMIsRestored(t *testing.T) {
	s := newSource(t)
	p := s.backUp(t, "diskless", s.pool.VM("diskless").Ref, nil)
	for _, byDisk := range []bool{false, true} {
		w := s.target(t)
		res, err := restore.VM(t.Context(), w.client, w.cat, p, &restore.Options{DiskByDisk: byDisk})
		require.NoError(t, err)
		require.Empty(t, record(t, w, res.Ref).VBDs)
	}
}

func TestFullPointOfAnEncryptedRepositoryIsRestored(t *testing.T) {
	s := newSource(t)
	fsys, err := local.Open(s.dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, fsys.Close()) }()
	s.key = "0123456789abcdef0123456789abcdef"
	random := rand.NewChaCha8([32]byte{2})
	for _, d := range s.pool.VM("machine").Disks { // more than is checked before anything is read of it
		data := make([]byte, 6*mib)
		_, _ = random.Read(data)
		require.NoError(t, s.pool.WriteVDI(d.UUID, data, 0))
	}
	_, err = crypt.Init(t.Context(), fsys, s.key, nil)
	require.NoError(t, err)
	require.NoError(t, s.client.CallAsync(t.Context(), "VM.hard_shutdown", nil, s.pool.VM("machine").Ref))
	p := s.backUp(t, "machine", s.pool.VM("machine").Ref, nil)
	tag := func() { // no pool, and no checksum of a chunk, sees that
		spoil(t, filepath.Join(s.dir, path.Dir(p.ID), path.Base(p.Metadata.XVA)), 12+p.Metadata.Size)
	}
	for _, byDisk := range []bool{false, true} {
		w := s.target(t)
		res, err := restore.VM(t.Context(), w.client, w.cat, p, &restore.Options{DiskByDisk: byDisk})
		require.NoError(t, err)
		s.requireSame(t, w, res)

		tag()
		w = s.target(t)
		_, err = restore.VM(t.Context(), w.client, w.cat, p, &restore.Options{DiskByDisk: byDisk})
		require.ErrorIs(t, err, crypt.ErrTampered)
		w.requireNothing(t)
		tag() // right again
	}

	var once sync.Once // it was proven before, and changes while the disks are sent
	w := s.target(t)
	_, err = restore.VM(t.Context(), w.client, w.cat, p, &restore.Options{
		MapSRs: map[string]string{s.pool.VM("machine").Disks[1].UUID: ""}, Progress: func(restore.Progress) { once.Do(tag) },
	})
	require.ErrorIs(t, err, crypt.ErrTampered)
	w.requireNothing(t)
}

// spoil changes one byte of a file.
func spoil(t *testing.T, name string, off int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, off)
	require.NoError(t, err)
	b[0] ^= 0x55
	_, err = f.WriteAt(b, off)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// A damaged archive makes no VM, wherever it is damaged, and whether or not there is
// a checksum beside it.
func TestDamagedArchiveMakesNoVM(t *testing.T) {
	s := newSource(t)
	require.NoError(t, s.client.CallAsync(t.Context(), "VM.hard_shutdown", nil, s.pool.VM("machine").Ref))
	p := s.backUp(t, "machine", s.pool.VM("machine").Ref, nil)
	size := p.Metadata.Size
	for name, c := range map[string]struct {
		off    int64
		bare   bool
		byDisk bool
		want   error
	}{
		"in a disk":                              {size / 2, false, false, nil},
		"in a disk, no checksum beside it":       {size / 2, true, false, xva.ErrChecksum},
		"in the end, which pools do not read":    {size - 100, false, false, catalog.ErrDamaged},
		"in the end, no checksum beside it":      {size - 100, true, false, nil},
		"disk by disk":                           {size / 2, false, true, nil},
		"disk by disk, no checksum beside it":    {size / 2, true, true, xva.ErrChecksum},
		"in ova.xml, so that nothing is tried":   {20, true, false, nil},
		"the last chunk, no checksum beside it":  {size - 4096, true, false, xva.ErrChecksum},
		"a header of a chunk, in the first half": {size/3 - size/3%512 + 30, true, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			own := *s
			own.dir = t.TempDir()
			require.NoError(t, os.CopyFS(own.dir, os.DirFS(s.dir)))
			file := filepath.Join(own.dir, path.Dir(p.ID), path.Base(p.Metadata.XVA))
			spoil(t, file, c.off)
			if c.bare {
				require.NoError(t, os.Remove(file+".checksum"))
			}
			w := own.target(t)
			_, err := restore.VM(t.Context(), w.client, w.cat, p, &restore.Options{DiskByDisk: c.byDisk})
			require.Error(t, err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			w.requireNothing(t)
		})
	}
}

func TestFailedRestoreOfAFullPointLeavesNothing(t *testing.T) {
	s := newSource(t)
	require.NoError(t, s.client.CallAsync(t.Context(), "VM.hard_shutdown", nil, s.pool.VM("machine").Ref))
	p := s.backUp(t, "machine", s.pool.VM("machine").Ref, nil)
	refused := &xapi.Error{Code: "OPERATION_NOT_ALLOWED", Params: []string{"no"}}
	for name, c := range map[string]struct {
		sr     string
		script func(*xapitest.Pool)
		want   error
	}{
		"import refused":    {script: func(p *xapitest.Pool) { p.Fail("PUT /import", xapitest.OnCall(1), refused) }, want: refused},
		"SR full":           {sr: "tiny", script: func(*xapitest.Pool) {}, want: xapi.ErrSRFull},
		"connection cut":    {script: func(p *xapitest.Pool) { p.Break("PUT /import", xapitest.OnCall(1), 3*mib/2, xapitest.Reset) }},
		"connection stalls": {script: func(p *xapitest.Pool) { p.Break("PUT /import", xapitest.OnCall(1), 3*mib/2, xapitest.Stall) }, want: xapi.ErrStalled},
		"tag refused":       {script: func(p *xapitest.Pool) { p.Fail("VM.add_tags", xapitest.OnCall(1), refused) }, want: refused},
		"address refused":   {script: func(p *xapitest.Pool) { p.Fail("VIF.create", xapitest.OnCall(1), refused) }, want: refused},
		"name refused":      {script: func(p *xapitest.Pool) { p.Fail("VM.set_name_label", xapitest.OnCall(1), refused) }, want: refused},
	} {
		t.Run(name, func(t *testing.T) {
			w := s.target(t)
			c.script(w.pool)
			opts := &restore.Options{}
			if c.sr != "" {
				opts.SR = w.pool.SR(c.sr).UUID
			}
			client := w.client
			if errors.Is(c.want, xapi.ErrStalled) {
				client = dial(t, w.pool, 3*time.Second)
			}
			_, err := restore.VM(t.Context(), client, w.cat, p, opts)
			require.Error(t, err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			w.requireNothing(t)
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		for _, byDisk := range []bool{false, true} {
			w := s.target(t)
			ctx, cancel := context.WithCancel(t.Context())
			_, err := restore.VM(ctx, w.client, w.cat, p, &restore.Options{DiskByDisk: byDisk, Progress: func(restore.Progress) { cancel() }})
			require.ErrorIs(t, err, context.Canceled)
			w.requireNothing(t)
			cancel()
		}
	})
}

// A file that was read and does not close is no reason to leave a VM behind.
func TestErrorOfClosingWhatWasReadLeavesNothing(t *testing.T) {
	s := newSource(t)
	require.NoError(t, s.client.CallAsync(t.Context(), "VM.hard_shutdown", nil, s.pool.VM("machine").Ref))
	p := s.backUp(t, "machine", s.pool.VM("machine").Ref, nil)
	for _, byDisk := range []bool{false, true} {
		for n, fired := 1, true; fired; n++ {
			w := s.target(t)
			fsys, err := local.Open(s.dir, nil)
			require.NoError(t, err)
			faulty := remotetest.NewFaulty(fsys)
			w.cat, err = catalog.Open(t.Context(), faulty, nil)
			require.NoError(t, err)
			faulty.FailAt(n, remote.ErrUnavailable, remotetest.Close)
			_, err = restore.VM(t.Context(), w.client, w.cat, p, &restore.Options{DiskByDisk: byDisk})
			if fired = faulty.Fired() > 0; err != nil {
				require.True(t, fired)
				w.requireNothing(t)
			}
			require.NoError(t, fsys.Close())
		}
	}
}

// Archives whose description is only a stub, as those of the repositories that Xen
// Orchestra made for its tests, are refused before the pool hears of them.
func TestArchiveWithoutAVMIsRefused(t *testing.T) {
	golden := newWorld(t)
	for id, want := range golden.repo.Backups {
		if want.Mode != catalog.ModeFull {
			continue
		}
		w := golden.withPool(t)
		for _, byDisk := range []bool{false, true} {
			_, err := restore.VM(t.Context(), w.client, w.cat, w.point(t, id), &restore.Options{DiskByDisk: byDisk})
			require.ErrorIs(t, err, restore.ErrArchive)
		}
		for _, c := range w.pool.Calls() {
			require.NotEqual(t, "PUT /import", c.Method)
		}
		w.requireNothing(t)
	}
	p := &catalog.Point{ID: firstPoint, Metadata: catalog.Metadata{Mode: "other", VM: json.RawMessage(`{}`)}}
	_, err := restore.VM(t.Context(), nil, golden.cat, p, nil)
	require.ErrorIs(t, err, restore.ErrMode)
}
