package main

import (
	"bytes"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// operator is a user who may also log in to a simulated pool.
func operator(t *testing.T, dir string, opts *xapitest.Options) (*user, *xapitest.Pool) {
	t.Helper()
	if opts == nil {
		opts = &xapitest.Options{}
	}
	opts.Password, opts.Dir = secret, t.TempDir()
	pool, err := xapitest.Start(xapitest.Inventory{
		SRs: []xapitest.SR{{Name: "first"}, {Name: "second"}}, Networks: []xapitest.Network{{Name: "lan"}},
	}, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close(), "nothing half made is left") })
	u := at(dir)
	u.env["XENBACKUP_PASSWORD"] = secret
	return u, pool
}

func TestVMIsRestoredToAPool(t *testing.T) {
	t.Parallel()
	repo := testenv.Golden(t)
	u, pool := operator(t, repo.Dir, nil)
	first, second := pool.SR("first"), pool.SR("second")
	var made struct {
		Backup, VM string
		Disks      map[string]string
	}
	u.json(t, &made, "vm", "-backup", lastPoint, "-pool", pool.URL(), "-sr", first.UUID, "-map", strings.ToUpper(system)+"="+second.UUID, "-new-macs", "-start")
	require.Len(t, made.Disks, 2)
	client := pool.Client(t)
	ref, err := xapi.ByUUID[xapi.VM](t.Context(), client, made.VM)
	require.NoError(t, err)
	vm, err := xapi.Get(t.Context(), client, ref)
	require.NoError(t, err)
	require.Equal(t, "Running", vm.PowerState)
	content, err := pool.VDIPath(made.Disks[snapshot])
	require.NoError(t, err)
	raw, err := os.ReadFile(content)
	require.NoError(t, err)
	want := repo.Backups["/"+lastPoint].Disks[system]
	require.Equal(t, want.SHA256, sum(raw[:want.Size]))
	disk, err := xapi.ByUUID[xapi.VDI](t.Context(), client, made.Disks[snapshot])
	require.NoError(t, err)
	vdi, err := xapi.Get(t.Context(), client, disk)
	require.NoError(t, err)
	require.Equal(t, second.Ref, string(vdi.SR))

	require.Contains(t, u.ok(t, "vm", "-backup", lastPoint, "-pool", pool.URL(), "-sr", first.UUID, "-map", system+"=", "-name", "half"), "VM ")
	half := pool.VM("half")
	require.Len(t, half.Disks, 1, "one disk was left out")
	requireNoLeases(t, repo.Dir)
}

func TestRestoreThatCannotBeLeavesThePoolAlone(t *testing.T) {
	t.Parallel()
	repo := testenv.Golden(t)
	u, pool := operator(t, repo.Dir, nil)
	vm := []string{"vm", "-backup", lastPoint, "-pool", pool.URL()}
	u.fails(t, 1, []string{"unknown SR", "xe sr-list"}, append(vm, "-sr", system)...)
	u.fails(t, 1, []string{"unknown disk", "show -backup"}, append(vm, "-sr", pool.SR("first").UUID, "-map", filesVM+"=")...)
	u.fails(t, 2, []string{"VDI=SR"}, append(vm, "-map", system)...)
	u.fails(t, 1, []string{"list shows"}, "vm", "-backup", "xo-vm-backups/"+filesVM+"/20260110T060000Z.json", "-pool", pool.URL())
	u.fails(t, 1, []string{"xapi: address"}, "vm", "-backup", lastPoint, "-pool", "http://root:hunter2@127.0.0.1")
	require.Empty(t, pool.VMs())

	u.env["XENBACKUP_PASSWORD"] = "wrong"
	u.fails(t, 1, []string{"AUTHENTICATION_FAILED", "-user"}, vm...)
	delete(u.env, "XENBACKUP_PASSWORD")
	u.fails(t, 2, []string{"XENBACKUP_PASSWORD"}, vm...)
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	u.ok(t, append(vm, "-sr", pool.SR("first").UUID, "-password-file", file)...)
}

func TestHostProvesItselfByItsFingerprint(t *testing.T) {
	t.Parallel()
	repo := testenv.Golden(t)
	u, pool := operator(t, repo.Dir, &xapitest.Options{TLS: true})
	vm := []string{"vm", "-backup", lastPoint, "-pool", pool.URL(), "-sr", pool.SR("first").UUID}
	u.fails(t, 1, []string{pool.Fingerprint(), "-fingerprint"}, vm...)
	require.Contains(t, u.ok(t, append(vm, "-fingerprint", pool.Fingerprint())...), "VM ")
}

// A full point, compressed or not, gives its VM, its archive, and each disk.
func TestFullPointIsRestoredAsAWholeAndDiskByDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	u, pool := operator(t, dir, nil)
	id := fullBackup(t, dir)
	u.ok(t, "vm", "-backup", id, "-pool", pool.URL(), "-sr", pool.SR("first").UUID, "-name", "whole")
	u.ok(t, "vm", "-backup", id, "-pool", pool.URL(), "-sr", pool.SR("first").UUID, "-name", "by disk", "-disk-by-disk")
	var p listed
	u.json(t, &p, "show", "-backup", id)
	require.Equal(t, "zstd", p.Compression)
	require.Len(t, p.Disks, 1)
	raw := u.ok(t, "disk", "-backup", id, "-o", "-")
	require.True(t, bytes.HasPrefix([]byte(raw[1<<20:]), []byte("guest")))
	for _, name := range []string{"whole", "by disk"} {
		content, err := os.ReadFile(pool.VM(name).Disks[0].Path)
		require.NoError(t, err)
		require.Equal(t, sum(content[:len(raw)]), sum([]byte(raw)), name)
	}
	requireNoLeases(t, dir)
}

// fullBackup writes a full point of a VM with one disk, compressed, and returns its ID.
func fullBackup(t *testing.T, dir string) string {
	t.Helper()
	source := xapitest.NewPool(t, xapitest.Inventory{VMs: []xapitest.VM{{Name: "web", PowerState: "Halted", Disks: []xapitest.Disk{{Name: "root", Size: 4 << 20}}}}})
	web, client := source.VM("web"), source.Client(t)
	require.NoError(t, source.WriteVDI(web.Disks[0].UUID, []byte("guest"), 1<<20))
	download, err := client.ExportVM(t.Context(), xapi.Ref[xapi.VM](web.Ref), &xapi.ExportVMOptions{Compression: xapi.CompressZstd})
	require.NoError(t, err)
	defer func() { require.NoError(t, download.Close()) }()
	var m catalog.Metadata
	require.NoError(t, client.Call(t.Context(), "VM.get_record", &m.VM, web.Ref))
	m.VMSnapshot = m.VM

	fsys, err := local.Open(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, fsys.Close()) }()
	cat, err := catalog.Open(t.Context(), fsys, nil)
	require.NoError(t, err)
	session, err := cat.LockVM(t.Context(), web.UUID)
	require.NoError(t, err)
	defer func() { require.NoError(t, session.Close(t.Context())) }()
	latest, err := session.Latest(t.Context())
	require.NoError(t, err)
	w, err := session.NewArchive(t.Context(), catalog.PointSpec{JobID: web.UUID, ScheduleID: web.UUID, Time: latest.AddDate(2025, 0, 0)})
	require.NoError(t, err)
	_, err = io.Copy(w, download)
	require.NoError(t, err)
	require.NoError(t, download.Finish(t.Context()))
	p, err := w.Commit(t.Context(), m)
	require.NoError(t, err)
	return p.ID
}

// The password of a pool's URL, or of any other, is in no message.
func TestURLsAreRedacted(t *testing.T) {
	t.Parallel()
	u := &user{env: map[string]string{"XENBACKUP_PASSWORD": secret}}
	for _, raw := range []string{"smb://u:hunter2@127.0.0.1:1/s", "nfs://u:hunter2@127.0.0.1/x", "file://u:hunter2@host/x", "smb://u:hunter2@:1/%zz"} {
		_, err := url.Parse(raw)
		code, _, _ := u.run(t, "list", "-remote", raw, "-verbose")
		require.Equal(t, 1, code, "%s %v", raw, err)
	}
}

func TestInterruptedRestoreLeavesNothing(t *testing.T) {
	t.Parallel()
	repo := testenv.Golden(t)
	u, pool := operator(t, repo.Dir, nil)
	pool.Break("PUT /import_raw_vdi", xapitest.OnCall(1), 1<<20, xapitest.Stall)
	cmd := u.command(t, "vm", "-backup", lastPoint, "-pool", pool.URL(), "-sr", pool.SR("first").UUID)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		for _, call := range pool.Calls() {
			if call.Method == "PUT /import_raw_vdi" {
				return true
			}
		}
		return false
	}, time.Minute, 10*time.Millisecond)
	require.Len(t, pool.VMs(), 1, "it is being made")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	require.Equal(t, 130, cmd.ProcessState.ExitCode(), errs.String())
	require.Empty(t, pool.VMs())
	requireNoLeases(t, repo.Dir)
}
