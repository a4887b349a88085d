package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/examples/internal/sample"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// chain writes points of one disk, each on the one before, and returns their IDs. All that
// the disk holds is in the first.
func chain(t *testing.T, dir string, content []byte, links int) (ids []string) {
	t.Helper()
	source := xapitest.NewPool(t, xapitest.Inventory{VMs: []xapitest.VM{{Name: "web", PowerState: "Halted"}}})
	var vm json.RawMessage
	require.NoError(t, source.Client(t).Call(t.Context(), "VM.get_record", &vm, source.VM("web").Ref))
	fsys, err := local.Open(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, fsys.Close()) }()
	c, err := catalog.Open(t.Context(), fsys, nil)
	require.NoError(t, err)
	session, err := c.LockVM(t.Context(), source.VM("web").UUID)
	require.NoError(t, err)
	defer func() { require.NoError(t, session.Close(t.Context())) }()
	var base *catalog.Base
	for n := range links {
		snapshot := fmt.Sprintf("5f3c3c1e-0000-4000-8000-0000000003%02x", n)
		w, err := session.NewPoint(t.Context(), catalog.PointSpec{JobID: sample.VM, ScheduleID: sample.VM, Time: time.Date(2026, 3, 1, 0, n, 0, 0, time.UTC)})
		require.NoError(t, err)
		spec := catalog.DiskSpec{Ref: "OpaqueRef:0", SourceVDI: sample.SourceVDI(0), SnapshotVDI: snapshot, Size: int64(len(content)), Base: base}
		if base == nil {
			spec.Blocks = []uint32{0}
		}
		d, err := w.CreateDisk(t.Context(), spec)
		require.NoError(t, err)
		if base == nil {
			require.NoError(t, d.WriteBlock(0, content[:min(len(content), disk.BlockSize)]))
		}
		require.NoError(t, d.Close())
		p, err := w.Commit(t.Context(), catalog.Metadata{
			VM: vm, VMSnapshot: vm,
			VDIs: map[string]json.RawMessage{"OpaqueRef:0": fmt.Appendf(nil, `{"uuid":%q,"name_label":"disk","$snapshot_of$uuid":%q,"virtual_size":%d,"type":"user","name_description":"","sharable":false,"read_only":false,"other_config":{},"tags":[],"sm_config":{},"xenstore_data":{}}`, snapshot, spec.SourceVDI, spec.Size)},
			VBDs: map[string]json.RawMessage{"OpaqueRef:vbd": json.RawMessage(`{"VDI":"OpaqueRef:0","userdevice":"0","type":"Disk","mode":"RW","bootable":true,"unpluggable":true,"empty":false,"other_config":{},"qos_algorithm_type":"","qos_algorithm_params":{}}`)},
		})
		require.NoError(t, err)
		uuid, err := vhd.ParseUUID(snapshot)
		require.NoError(t, err)
		base = &catalog.Base{Path: p.Metadata.VHDs["OpaqueRef:0"], UUID: uuid, Size: spec.Size, Links: n + 1, Format: catalog.FormatFile}
		ids = append(ids, p.ID)
	}
	return ids
}

// Files come out of a chain of 99 disks. Of 100 they do not, and the program says what to
// do; the VM is restored all the same.
func TestLongChains(t *testing.T) {
	t.Parallel()
	content, err := sample.Image("../../filerestore/testdata/fat.img.zst")
	require.NoError(t, err)
	dir, out := t.TempDir(), t.TempDir()
	ids := chain(t, dir, content, vhd.FileRestoreMaxLinks+1)
	u, pool := operator(t, dir, nil)
	last, beyond := ids[vhd.FileRestoreMaxLinks-1], ids[vhd.FileRestoreMaxLinks]
	u.ok(t, "files", "get", "-backup", last, "-o", out, "hello.txt")
	got, err := os.ReadFile(filepath.Join(out, "hello.txt"))
	require.NoError(t, err)
	require.Equal(t, "on fat\n", string(got))

	for _, args := range [][]string{{"ls", "/"}, {"find", "*"}, {"get", "-o", filepath.Join(out, "a.zip"), "/"}} {
		u.fails(t, 1, []string{"100 VHDs", "full interval", "VM as a whole can still be restored"}, append([]string{"files", args[0], "-backup", beyond}, args[1:]...)...)
	}
	u.ok(t, "vm", "-backup", beyond, "-pool", pool.URL(), "-sr", pool.SR("first").UUID, "-name", "restored")
	raw, err := os.ReadFile(pool.VM("restored").Disks[0].Path)
	require.NoError(t, err)
	require.Equal(t, sum(content), sum(raw[:len(content)]))
	requireNoLeases(t, dir)
}
