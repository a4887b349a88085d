package xapitest_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// objects reads all that outlives a restart.
func objects(t *testing.T, c *xapi.Client) map[string]map[string]map[string]any {
	t.Helper()
	all := make(map[string]map[string]map[string]any)
	for class := range strings.FieldsSeq("pool host host_metrics VM VM_metrics VM_guest_metrics VBD VDI VIF VTPM SR PBD PIF VLAN network") {
		all[class] = call[map[string]map[string]any](t, c, class+".get_all_records")
	}
	return all
}

func TestKeptPoolGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	inv := oneVM("Running", 8*mib)
	inv.Hosts = []xapitest.Host{{Name: "alpha"}, {Name: "beta"}}
	inv.SRs = []xapitest.SR{{Name: "shared", Shared: true, Size: 1 << 30}}
	inv.VMs = append(inv.VMs, xapitest.VM{Name: "tpm", VTPM: "secret", BlockedOperations: map[string]string{"start": "no", "migrate_send": "mine"}},
		xapitest.VM{Name: "asleep", PowerState: "Suspended", Disks: []xapitest.Disk{{Size: 2 * mib}}})
	start := func(inv xapitest.Inventory) *xapitest.Pool {
		p, err := xapitest.Start(inv, &xapitest.Options{Dir: dir, Keep: true, TLS: true, Listener: xapitest.NewMemoryListener()})
		require.NoError(t, err)
		return p
	}
	dial := func(p *xapitest.Pool) *xapi.Client {
		c, err := xapi.Dial(t.Context(), p.URL(), &xapi.Options{Password: xapi.Secret(p.Password()), Transport: p.Transport()})
		require.NoError(t, err)
		return c
	}
	p := start(inv)
	require.NoError(t, p.SetMaster("beta"))
	c := dial(p)
	live := p.VM("web").Disks[0]
	call[any](t, c, "VM.add_to_other_config", p.VM("web").Ref, "key", `<"&'> 日本`)
	call[any](t, c, "VDI.enable_cbt", live.Ref)
	first := snapshot(t, p, c, "1").Disks[0]
	require.NoError(t, p.WriteVDI(live.UUID, random(3*mib, 1), mib))
	second := snapshot(t, p, c, "2").Disks[0]
	call[any](t, c, "VBD.destroy", call[[]string](t, c, "VDI.get_VBDs", first.Ref)[0])
	call[any](t, c, "VDI.data_destroy", first.Ref)
	told := changed(t, c, first.Ref, second.Ref)
	before, frozen, fingerprint := objects(t, c), content(t, second.Path), p.Fingerprint()
	require.NoError(t, c.Close())
	require.NoError(t, p.Close())
	info, err := os.Stat(filepath.Join(dir, "pool.json"))
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077, "it has keys")

	q := start(xapitest.Inventory{VMs: xapitest.Fleet(3)})
	require.Equal(t, fingerprint, q.Fingerprint())
	d := dial(q)
	require.Empty(t, cmp.Diff(before, objects(t, d)))
	require.Equal(t, frozen, content(t, second.Path))
	require.Equal(t, "secret", call[string](t, d, "VTPM.get_contents", call[[]string](t, d, "VM.get_VTPMs", q.VM("tpm").Ref)[0]))
	require.Equal(t, told, changed(t, d, first.Ref, second.Ref))
	fill(t, live.Path, 7*mib, 1, 9)
	third := snapshot(t, q, d, "3").Disks[0]
	require.Equal(t, append(told, 112), changed(t, d, first.Ref, third.Ref))
	disk := content(t, second.Path)
	blocks, _ := export(t, d, third.Ref, second.Ref, disk)
	require.Equal(t, []uint32{3}, blocks)
	require.NoError(t, d.Close())
	require.NoError(t, q.Close())
}

func TestWhatIsNoKeptPoolIsRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"cut": `{"version":1,"obj`, "newer": `{"version":2}`, "empty": `{"version":1}`,
		"class": `{"version":1,"objects":{"thing":[]}}`, "field": `{"version":1,"objects":{"VM":[{"ref":"r","record":{"x":"y"}}]}}`,
		"type": `{"version":1,"objects":{"VM":[{"ref":"r","record":{"tags":"y"}}]}}`,
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "pool.json"), []byte(text), 0o600))
		_, err := xapitest.Start(xapitest.Inventory{}, &xapitest.Options{Dir: dir, Keep: true})
		require.ErrorContains(t, err, "pool.json", name)
	}
	_, err := xapitest.Start(xapitest.Inventory{}, &xapitest.Options{Keep: true})
	require.ErrorContains(t, err, "Dir")
}

// keep starts a pool that is kept in dir and closes it with the test.
func keep(t *testing.T, dir string, inv xapitest.Inventory) *xapitest.Pool {
	t.Helper()
	p, err := xapitest.Start(inv, &xapitest.Options{Dir: dir, Keep: true, Listener: xapitest.NewMemoryListener()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func TestSecondPoolInOneDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no flock")
	}
	dir := t.TempDir()
	p := keep(t, dir, oneVM("Running", 2*mib))
	_, err := xapitest.Start(xapitest.Inventory{}, &xapitest.Options{Dir: dir, Keep: true})
	require.ErrorContains(t, err, "running")
	require.FileExists(t, p.VM("web").Disks[0].Path)
	require.NoError(t, p.Close())
	again := keep(t, dir, xapitest.Inventory{})
	require.Equal(t, p.VM("web").UUID, again.VM("web").UUID)
}

// A copy of the folder is what a kill leaves. Time stands still while there is
// something to do, so that nothing is stored in between.
func TestKilledPoolGoesOnFromWhatWasStored(t *testing.T) {
	t.Parallel()
	dir, killed := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p := keep(t, dir, oneVM("Running", 4*mib))
		c := p.Client(t)
		old := snapshot(t, p, c, "old")
		was := content(t, old.Disks[0].Path)
		<-time.After(time.Minute)
		call[any](t, c, "VM.destroy", old.Ref)
		call[any](t, c, "VDI.destroy", old.Disks[0].Ref)
		call[string](t, c, "VM.snapshot", p.VM("web").Ref, "new")
		fresh := p.Snapshots()[0].Disks[0]
		require.FileExists(t, fresh.Path)
		require.NoError(t, os.CopyFS(killed, os.DirFS(dir)))
		<-time.After(time.Minute)
		require.NoFileExists(t, old.Disks[0].Path)

		q := keep(t, killed, xapitest.Inventory{})
		require.Equal(t, was, content(t, q.Snapshots()[0].Disks[0].Path), "the state knows of it, so it is there")
		require.NoFileExists(t, filepath.Join(killed, filepath.Base(fresh.Path)), "nobody knows of it")
		require.NoError(t, q.Close())

		require.NoError(t, os.Remove(filepath.Join(killed, xapitest.StateFile))) // killed while it was made
		again := keep(t, killed, oneVM("Halted", 4*mib))
		require.NoFileExists(t, filepath.Join(killed, filepath.Base(old.Disks[0].Path)))
		require.FileExists(t, again.VM("web").Disks[0].Path)
	})
}
