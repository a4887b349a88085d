package xapitest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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
