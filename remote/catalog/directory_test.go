package catalog_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

const testKey = "0123456789abcdef0123456789abcdef"

// repositoryOf has n points of a machine whose disks are kept in the format.
func repositoryOf(t *testing.T, n int, opts *catalog.Options) (*machine, *remotetest.Crash) {
	t.Helper()
	m, fsys := newMachine(), remotetest.NewCrash()
	m.opts = opts
	if opts.Key != "" {
		_, err := crypt.Init(t.Context(), fsys, opts.Key, nil)
		require.NoError(t, err)
	}
	for range n {
		_, err := m.backup(t.Context(), fsys, 100)
		require.NoError(t, err)
	}
	return m, durable(fsys)
}

// Whatever the format of the disks: points read to what was written, continue each
// other, and are merged when they expire.
func TestPointsOfDirectories(t *testing.T) {
	for name, opts := range map[string]*catalog.Options{
		"brotli":         {Format: catalog.FormatBrotli},
		"gzip":           {Format: catalog.FormatGzip},
		"not compressed": {Format: catalog.FormatPlain},
		"encrypted":      {Key: testKey},
	} {
		t.Run(name, func(t *testing.T) {
			m, fsys := repositoryOf(t, 3, opts)
			got, err := m.check(t.Context(), fsys)
			require.NoError(t, err)
			require.Equal(t, dates(1, 2, 3), got)

			c, err := catalog.Open(t.Context(), fsys, opts)
			require.NoError(t, err)
			last := listPoints(t, c, testVM)[2].Metadata
			require.Equal(t, map[string]bool{diskRef(0, 3): true, diskRef(1, 3): true}, last.IsVHDDifferencing)
			require.Equal(t, "vdis/"+testJob+"/"+sourceVDI(1)+"/20260301T030000Z.alias.vhd", last.VHDs[diskRef(1, 3)])
			require.EqualValues(t, 2*(512+1024+512+512)+512+disk.BlockSize, last.Size, "as long as streams: one block in all")

			committed, err := m.backup(t.Context(), fsys, 2)
			require.NoError(t, err)
			require.True(t, committed)
			got, err = m.check(t.Context(), fsys)
			require.NoError(t, err)
			require.Equal(t, dates(3, 4), got)
			require.Len(t, disksOf(t.Context(), t, fsys), 4, "aliases")
			for i := range m.disks {
				entries, err := fsys.ReadDir(t.Context(), path.Join(testVMDir, "vdis", testJob, sourceVDI(i), "data"))
				require.NoError(t, err)
				require.Len(t, entries, 2)
			}
		})
	}
}

// The files of a disk are those that Xen Orchestra writes.
func TestDirectoryHasTheFilesOfXenOrchestra(t *testing.T) {
	m, fsys := repositoryOf(t, 1, &catalog.Options{Format: catalog.FormatBrotli})
	dir := path.Join(testVMDir, "vdis", testJob, sourceVDI(0))
	var names []string
	for _, name := range listFiles(t, fsys, dir) {
		names = append(names, strings.TrimPrefix(name, dir+"/"))
	}
	require.Equal(t, []string{
		"20260301T010000Z.alias.vhd",
		"data/20260301T010000Z.vhd/bat",
		"data/20260301T010000Z.vhd/blocks/0/0",
		"data/20260301T010000Z.vhd/chunk-filters.json",
		"data/20260301T010000Z.vhd/footer",
		"data/20260301T010000Z.vhd/header",
	}, names)
	for name, want := range map[string]string{names[0]: "data/20260301T010000Z.vhd", names[3]: `["brotli"]`} {
		data, err := remote.ReadFile(t.Context(), fsys, path.Join(dir, name), 1<<20)
		require.NoError(t, err)
		require.Equal(t, want, string(data))
	}
	require.Len(t, m.disks, 2)
}

// thinned takes of the operations each eleventh: what is not about directories is
// swept with files.
func thinned(n int) int { return 1 + (n-1)*11 }

func TestDirectoriesSurviveFailureOfAnyOperation(t *testing.T) {
	m, base := repositoryOf(t, 3, &catalog.Options{Format: catalog.FormatPlain})
	sweep(t, func(n int) bool {
		fsys := durable(base)
		faulty := remotetest.NewFaulty(fsys)
		run := m.clone()
		faulty.FailAt(thinned(n), syscall.EIO)
		committed, err := run.backup(t.Context(), faulty, 2)
		fired := faulty.Fired() > 0
		faulty.Heal()
		recovers(t, run, fsys, committed, err, fmt.Sprintf("operation %d fails", n))
		return fired
	})
}

func TestDirectoriesSurvivePowerCutAtAnyOperation(t *testing.T) {
	m, base := repositoryOf(t, 3, &catalog.Options{Format: catalog.FormatPlain})
	const seed = 20260302
	sweep(t, func(n int) bool {
		fsys := durable(base)
		faulty := remotetest.NewFaulty(fsys)
		run := m.clone()
		faulty.FailFrom(thinned(n), syscall.ENODEV, remotetest.Mutating()...)
		committed, err := run.backup(t.Context(), faulty, 2)
		after := fsys.PowerCut(rand.New(rand.NewPCG(seed, uint64(n))))
		recovers(t, run, after, committed, err, fmt.Sprintf("power cut at change %d", n))
		return faulty.Fired() > 0
	})
}

func TestNothingOfAPointIsUnsynced(t *testing.T) {
	for _, opts := range []*catalog.Options{{}, {Format: catalog.FormatBrotli}, {Key: testKey}} {
		m, fsys := repositoryOf(t, 1, opts)
		trace := remotetest.NewTrace(fsys)
		c, err := catalog.Open(t.Context(), trace, opts)
		require.NoError(t, err)
		s := lockVM(t, c, testVM)
		require.NoError(t, m.writePoint(t.Context(), s))
		require.NoError(t, s.Close(t.Context()))
		var left []string
		for _, line := range trace.Unsynced() {
			if !strings.Contains(line, ".lock") && !strings.Contains(line, ".xenbackup/locks") {
				left = append(left, line)
			}
		}
		require.Empty(t, left)
	}
}

// A chain goes on as it is; who wants it otherwise begins anew, as with Xen Orchestra.
func TestChainsAreOfOneFormat(t *testing.T) {
	m, fsys := repositoryOf(t, 1, &catalog.Options{Format: catalog.FormatGzip})
	find := func(opts *catalog.Options) *catalog.Base {
		c, err := catalog.Open(t.Context(), fsys, opts)
		require.NoError(t, err)
		s, err := c.LockVM(t.Context(), testVM)
		require.NoError(t, err)
		base, err := s.FindBase(t.Context(), testJob, sourceVDI(0), snapshotVDI(0, 1))
		require.NoError(t, err)
		require.NoError(t, s.Close(t.Context()))
		return base
	}
	base := find(nil)
	require.Equal(t, catalog.FormatGzip, base.Format)
	require.NotNil(t, find(&catalog.Options{Format: catalog.FormatGzip}))
	require.Nil(t, find(&catalog.Options{Format: catalog.FormatBrotli}))
	require.Nil(t, find(&catalog.Options{Format: catalog.FormatFile}))
	_, err := catalog.Open(t.Context(), fsys, &catalog.Options{Format: "zip"})
	require.ErrorIs(t, err, catalog.ErrFormat)

	m.opts = &catalog.Options{Format: catalog.FormatFile}
	_, err = m.backup(t.Context(), fsys, 2)
	require.NoError(t, err)
	_, err = m.backup(t.Context(), fsys, 2)
	require.NoError(t, err)
	got, err := m.check(t.Context(), fsys)
	require.NoError(t, err)
	require.Equal(t, dates(2, 3), got)

	c, err := catalog.Open(t.Context(), fsys, m.opts)
	require.NoError(t, err)
	s := lockVM(t, c, testVM)
	m.snapshot()
	w, err := s.NewPoint(t.Context(), catalog.PointSpec{JobID: testJob, Time: dateOf(m.now)})
	require.NoError(t, err)
	_, err = w.CreateDisk(t.Context(), catalog.DiskSpec{
		Ref: "r", SourceVDI: sourceVDI(0), SnapshotVDI: snapshotVDI(0, m.now), Size: machineDiskSize, Base: base,
	})
	require.ErrorIs(t, err, catalog.ErrFormat)
	require.NoError(t, w.Abort(t.Context()))
}

// A difference that cannot be read to its end gives way to the whole disk.
func TestAbortedDiskMakesRoomForAnother(t *testing.T) {
	for _, format := range []catalog.DiskFormat{catalog.FormatFile, catalog.FormatBrotli} {
		m, fsys := repositoryOf(t, 1, &catalog.Options{Format: format})
		before := len(listFiles(t, fsys, testVMDir))
		c, err := catalog.Open(t.Context(), fsys, m.opts)
		require.NoError(t, err)
		s := lockVM(t, c, testVM)
		n := m.snapshot()
		w, err := s.NewPoint(t.Context(), catalog.PointSpec{JobID: testJob, ScheduleID: testSchedule, Time: dateOf(n)})
		require.NoError(t, err)
		base, err := s.FindBase(t.Context(), testJob, sourceVDI(0), snapshotVDI(0, 1))
		require.NoError(t, err)
		spec := catalog.DiskSpec{
			Ref: diskRef(0, n), SourceVDI: sourceVDI(0), SnapshotVDI: snapshotVDI(0, n),
			Size: machineDiskSize, Blocks: []uint32{0}, Base: base,
		}
		difference, err := w.CreateDisk(t.Context(), spec)
		require.NoError(t, err)
		_, err = w.CreateDisk(t.Context(), spec)
		require.ErrorIs(t, err, fs.ErrExist)
		require.NoError(t, difference.WriteBlock(0, make([]byte, 512)))
		require.NoError(t, difference.Abort())
		require.NoError(t, difference.Abort(), "again")
		require.ErrorIs(t, difference.WriteBlock(0, nil), fs.ErrClosed)

		spec.Base = nil
		whole, err := w.CreateDisk(t.Context(), spec)
		require.NoError(t, err)
		require.NoError(t, difference.Abort(), "it is not the other's")
		require.NoError(t, whole.WriteBlock(0, m.disks[0]))
		require.NoError(t, whole.Close())
		require.NoError(t, whole.Abort(), "nothing after Close")
		require.NoError(t, m.writeDisk(t.Context(), s, w, 1))
		p, err := w.Commit(t.Context(), m.metadata())
		require.NoError(t, err)
		require.False(t, p.Metadata.IsVHDDifferencing[diskRef(0, n)])
		got, err := m.check(t.Context(), fsys)
		require.NoError(t, err)
		require.Equal(t, dates(1, 2), got)

		m.snapshot()
		w, err = s.NewPoint(t.Context(), catalog.PointSpec{JobID: testJob, Time: dateOf(m.now)})
		require.NoError(t, err)
		require.NoError(t, m.writeDisk(t.Context(), s, w, 0))
		require.NoError(t, w.Abort(t.Context()))
		require.NoError(t, s.Delete(t.Context(), p.ID))
		_, err = s.Merge(t.Context(), nil)
		require.NoError(t, err)
		require.Len(t, listFiles(t, fsys, testVMDir), before)
	}
}

// Blocks come in the order that was announced, all of them.
func TestDirectoryWithBlocksMissingIsNoDisk(t *testing.T) {
	m, fsys := repositoryOf(t, 0, &catalog.Options{Format: catalog.FormatPlain})
	c, err := catalog.Open(t.Context(), fsys, m.opts)
	require.NoError(t, err)
	s := lockVM(t, c, testVM)
	w, err := s.NewPoint(t.Context(), catalog.PointSpec{JobID: testJob, Time: dateOf(1)})
	require.NoError(t, err)
	d, err := w.CreateDisk(t.Context(), catalog.DiskSpec{
		Ref: "r", SourceVDI: sourceVDI(0), SnapshotVDI: snapshotVDI(0, 1), Size: 3 * disk.BlockSize, Blocks: []uint32{0, 2},
	})
	require.NoError(t, err)
	require.Error(t, d.WriteBlock(2, nil))
	require.NoError(t, d.WriteBlock(0, []byte("x")))
	require.Error(t, d.Close())
	require.Empty(t, listFiles(t, fsys, testVMDir))
	require.NoError(t, w.Abort(t.Context()))
}

// Chains that Xen Orchestra began go on with our next disk, in their format, and are
// merged with it.
func TestChainsOfXenOrchestraGoOn(t *testing.T) {
	t.Parallel()
	formats := map[catalog.DiskFormat]int{}
	plain, plainFS := goldenFS(t)
	continueAll(t, openCatalog(t, plainFS), plain, formats)
	repo, _, c := sealed(t)
	sealedFormats := map[catalog.DiskFormat]int{}
	continueAll(t, c, repo, sealedFormats)
	require.NotZero(t, formats[catalog.FormatFile])
	require.NotZero(t, formats[catalog.FormatBrotli])
	require.NotZero(t, formats[catalog.FormatGzip])
	require.NotZero(t, sealedFormats[catalog.FormatBrotli])
	require.Zero(t, sealedFormats[catalog.FormatFile])
}

// continueAll writes a difference of one block to the last point of each VM.
func continueAll(t *testing.T, c *catalog.Catalog, repo *testenv.Repository, formats map[catalog.DiskFormat]int) {
	t.Helper()
	for vm, err := range c.VMs(t.Context()) {
		require.NoError(t, err)
		points := listPoints(t, c, vm)
		last := points[len(points)-1]
		if last.Metadata.Mode != catalog.ModeDelta {
			continue
		}
		s := lockVM(t, c, vm)
		w, err := s.NewPoint(t.Context(), catalog.PointSpec{
			JobID: last.Metadata.JobID, ScheduleID: last.Metadata.ScheduleID, Time: last.Time().AddDate(1, 0, 0),
		})
		require.NoError(t, err)
		want := map[string][]byte{}
		for i, info := range c.Disks(last) {
			old, err := readDisk(t.Context(), c, last, info.Ref)
			require.NoError(t, err)
			sum := sha256.Sum256(old)
			require.Equal(t, repo.Backups["/"+last.ID].Disks[info.SourceVDI].SHA256, hex.EncodeToString(sum[:]))
			base, err := s.FindBase(t.Context(), last.Metadata.JobID, info.SourceVDI, info.VDI)
			require.NoError(t, err)
			if base == nil { // a memory image, or a chain that is not of one format
				base = &catalog.Base{}
				clear(old)
			}
			formats[base.Format]++
			fresh := bytes.Repeat([]byte{byte(i + 1)}, min(disk.BlockSize, len(old)))
			copy(old, fresh)
			spec := catalog.DiskSpec{
				Ref: info.Ref, SourceVDI: info.SourceVDI, SnapshotVDI: fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", i),
				Size: int64(len(old)), Blocks: []uint32{0}, Base: base,
			}
			if base.Path == "" {
				spec.Base = nil
			}
			require.NoError(t, writeOne(t, w, spec, fresh))
			want[info.Ref] = old
		}
		next := last.Metadata
		p, err := w.Commit(t.Context(), next)
		require.NoError(t, err)
		for _, old := range points {
			require.NoError(t, s.Delete(t.Context(), old.ID))
		}
		_, err = s.Merge(t.Context(), nil)
		require.NoError(t, err)
		for ref := range want {
			got, err := readDisk(t.Context(), c, p, ref)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want[ref], got), "%s of %s", ref, p.ID)
		}
		require.NoError(t, s.Close(t.Context()))
	}
}

func writeOne(t *testing.T, w *catalog.PointWriter, spec catalog.DiskSpec, block []byte) error {
	t.Helper()
	d, err := w.CreateDisk(t.Context(), spec)
	if err != nil {
		return err
	}
	return errors.Join(d.WriteBlock(0, block), d.Close())
}
