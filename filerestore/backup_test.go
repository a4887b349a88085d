package filerestore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xva"
)

const (
	testVM       = "5f3c3c1e-0000-4000-8000-00000000000a"
	testJob      = "5f3c3c1e-0000-4000-8000-00000000000b"
	testSchedule = "5f3c3c1e-0000-4000-8000-00000000000c"
)

// repository is one in a folder, with a session of the only VM.
type repository struct {
	tb      testing.TB
	fsys    remote.Filesystem
	catalog *catalog.Catalog
	session *catalog.Session
	points  int
	last    *catalog.Point
}

func newRepository(tb testing.TB) *repository {
	tb.Helper()
	fsys, err := local.Open(tb.TempDir(), nil)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, fsys.Close()) })
	return repositoryOn(tb, fsys)
}

func repositoryOn(tb testing.TB, fsys remote.Filesystem) *repository {
	tb.Helper()
	c, err := catalog.Open(tb.Context(), fsys, nil)
	require.NoError(tb, err)
	s, err := c.LockVM(tb.Context(), testVM)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close(context.Background())) })
	return &repository{tb: tb, fsys: fsys, catalog: c, session: s}
}

func (r *repository) spec() catalog.PointSpec {
	r.points++
	return catalog.PointSpec{JobID: testJob, ScheduleID: testSchedule, Time: time.Date(2026, 3, 1, 0, r.points, 0, 0, time.UTC)}
}

// leases are of those who read.
func (r *repository) leases() []fs.DirEntry {
	r.tb.Helper()
	list, err := r.fsys.ReadDir(r.tb.Context(), ".xenbackup/leases/"+testVM)
	require.NoError(r.tb, err)
	return list
}

func sourceVDI(i int) string { return fmt.Sprintf("5f3c3c1e-0000-4000-8000-0000000001%02x", i) }
func snapshotVDI(i, n int) string {
	return fmt.Sprintf("5f3c3c1e-0000-4000-8000-00000002%02x%02x", i, n)
}

// backup adds a point, to whose disks the blocks given are written.
func (r *repository) backup(disks [][]byte, blocks [][]uint32) *catalog.Point {
	r.tb.Helper()
	ctx := r.tb.Context()
	w, err := r.session.NewPoint(ctx, r.spec())
	require.NoError(r.tb, err)
	defer func() { require.NoError(r.tb, w.Abort(ctx)) }()
	m := catalog.Metadata{
		VM:         json.RawMessage(`{"uuid":"` + testVM + `","name_label":"web","name_description":"","tags":[]}`),
		VMSnapshot: json.RawMessage(`{"suspend_VDI":"OpaqueRef:NULL"}`),
		VDIs:       map[string]json.RawMessage{}, VBDs: map[string]json.RawMessage{},
	}
	for i, content := range disks {
		ref := fmt.Sprintf("OpaqueRef:%d", i)
		m.VDIs[ref] = fmt.Appendf(nil, `{"uuid":%q,"name_label":"disk %d","$snapshot_of$uuid":%q,"virtual_size":%d}`, snapshotVDI(i, r.points), i, sourceVDI(i), len(content))
		m.VBDs["OpaqueRef:vbd-"+strconv.Itoa(i)] = fmt.Appendf(nil, `{"VDI":%q,"userdevice":"%d"}`, ref, i)
		var base *catalog.Base // as FindBase finds it, which takes longer
		if r.last != nil {
			uuid, err := vhd.ParseUUID(snapshotVDI(i, r.points-1))
			require.NoError(r.tb, err)
			base = &catalog.Base{Path: r.last.Metadata.VHDs[ref], UUID: uuid, Size: int64(len(content)), Links: r.points - 1, Format: catalog.FormatFile}
		}
		d, err := w.CreateDisk(ctx, catalog.DiskSpec{
			Ref: ref, SourceVDI: sourceVDI(i), SnapshotVDI: snapshotVDI(i, r.points), Size: int64(len(content)), Blocks: blocks[i], Base: base,
		})
		require.NoError(r.tb, err)
		for _, n := range blocks[i] {
			require.NoError(r.tb, d.WriteBlock(n, content[int(n)*disk.BlockSize:min(len(content), int(n+1)*disk.BlockSize)]))
		}
		require.NoError(r.tb, d.Close())
	}
	r.last, err = w.Commit(ctx, m)
	require.NoError(r.tb, err)
	return r.last
}

// filled lists the blocks that are not zeros.
func filled(content []byte) (list []uint32) {
	for n := 0; n*disk.BlockSize < len(content); n++ {
		if len(bytes.Trim(content[n*disk.BlockSize:min(len(content), (n+1)*disk.BlockSize)], "\x00")) > 0 {
			list = append(list, uint32(n))
		}
	}
	return list
}

func TestFilesComeOutOfADeltaPoint(t *testing.T) {
	r := newRepository(t)
	a, b := unpack(t, "a"), unpack(t, "b")
	blocksA, blocksB := filled(a), filled(b)
	r.backup([][]byte{a, b}, [][]uint32{blocksA[:3], nil}) // the first two points lack something
	r.backup([][]byte{a, b}, [][]uint32{nil, blocksB})
	p := r.backup([][]byte{a, b}, [][]uint32{blocksA[3:], nil})
	s, err := filerestore.OpenBackup(t.Context(), r.catalog, p, nil)
	require.NoError(t, err)
	require.Equal(t, []string{
		"xvda gpt", "xvda/p1 ext4", "xvda/p2 LVM2_member", "xvdb LVM2_member",
		"lvm:vg0 lvm", "lvm:vg0/data ext4", "lvm:vg0/home ext4", "lvm:vg0/root ext4",
	}, tree(s))
	for _, name := range []string{"boot", "root", "data"} {
		files, err := s.OpenVolume(t.Context(), name)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(sums(t, name), sumsOfVolume(t, files)), name)
	}
	require.NoError(t, s.Confirm(t.Context()))
	for _, name := range []string{"xvdb", sourceVDI(1), snapshotVDI(1, 3)} {
		one, err := filerestore.OpenBackup(t.Context(), r.catalog, p, &filerestore.Options{Disk: name})
		require.NoError(t, err)
		require.NotContains(t, tree(one), "xvda gpt")
		require.Contains(t, tree(one), "xvdb LVM2_member")
		require.NoError(t, one.Close())
	}
	_, err = filerestore.OpenBackup(t.Context(), r.catalog, p, &filerestore.Options{Disk: "xvdc"})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Len(t, r.leases(), 1)
	require.NoError(t, s.Close())
	require.Empty(t, r.leases())
	require.NoError(t, r.session.Delete(t.Context(), p.ID))
	_, err = filerestore.OpenBackup(t.Context(), r.catalog, p, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestChainsOf99AreRestoredFromAndOf100Refused(t *testing.T) {
	r := repositoryOn(t, remotetest.NewCrash()) // in memory: a hundred points take their time on a disk
	c := unpack(t, "c")
	blocks := filled(c)
	var p *catalog.Point
	for n := range vhd.FileRestoreMaxLinks {
		p = r.backup([][]byte{c}, [][]uint32{blocks[min(n, len(blocks)):min(n+1, len(blocks))]})
	}
	s, err := filerestore.OpenBackup(t.Context(), r.catalog, p, nil)
	require.NoError(t, err)
	files, err := s.OpenVolume(t.Context(), "lvm:vg0/root")
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(sums(t, "other"), sumsOfVolume(t, files)))
	require.NoError(t, s.Close())

	p = r.backup([][]byte{c}, [][]uint32{nil})
	_, err = filerestore.OpenBackup(t.Context(), r.catalog, p, nil)
	require.ErrorIs(t, err, vhd.ErrChainTooLong)
	require.ErrorContains(t, err, "full interval")
	require.ErrorContains(t, err, "100 VHDs")
	d, err := r.catalog.OpenDisk(t.Context(), p, "OpaqueRef:0") // restoring the VM goes on
	require.NoError(t, err)
	require.NoError(t, d.Close())
}

func TestFilesComeOutOfAFullPoint(t *testing.T) {
	for _, packed := range []xva.Compression{xva.None, xva.Zstd} {
		r := newRepository(t)
		p := r.full(packed)
		s, err := filerestore.OpenBackup(t.Context(), r.catalog, p, nil)
		if packed != xva.None {
			require.ErrorIs(t, err, catalog.ErrSequential)
			continue
		}
		require.NoError(t, err)
		require.Contains(t, tree(s), "xvdb/p1 ext4")
		_, err = filerestore.OpenBackup(t.Context(), r.catalog, p, &filerestore.Options{Disk: "xvda"})
		require.ErrorIs(t, err, fs.ErrNotExist)
		for _, name := range []string{"boot", "home"} {
			files, err := s.OpenVolume(t.Context(), name)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(sums(t, name), sumsOfVolume(t, files)))
		}
		require.NoError(t, s.Confirm(t.Context()))
		require.NoError(t, s.Close())
	}
}

// full adds a full point whose VM has disk a as its second, and memory.
func (r *repository) full(packed xva.Compression) *catalog.Point {
	r.tb.Helper()
	ctx := r.tb.Context()
	a := unpack(r.tb, "a")
	ova := &xva.OVA{Version: xva.Version{ExportVSN: 2}, Objects: []xva.Object{
		{Class: "VBD", ID: "Ref:1", Snapshot: map[string]any{"VDI": "Ref:7", "type": "Disk", "userdevice": "1"}},
		{Class: "VDI", ID: "Ref:7", Snapshot: map[string]any{"virtual_size": strconv.Itoa(len(a)), "name_label": "data"}},
	}}
	w, err := r.session.NewArchive(ctx, r.spec())
	require.NoError(r.tb, err)
	defer func() { require.NoError(r.tb, w.Abort(ctx)) }()
	z, err := xva.NewCompressor(w, packed)
	require.NoError(r.tb, err)
	src := vhd.NewRaw(bytes.NewReader(a), int64(len(a)))
	require.NoError(r.tb, xva.Write(ctx, z, ova, map[string]disk.Source{"Ref:7": src}, nil))
	require.NoError(r.tb, z.Close())
	p, err := w.Commit(ctx, catalog.Metadata{VM: json.RawMessage(`{"uuid":"` + testVM + `"}`), VMSnapshot: json.RawMessage(`{"name_label":"snapshot"}`)})
	require.NoError(r.tb, err)
	return p
}
