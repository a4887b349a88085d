package xapitest_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

func TestCreatedVMTakesWhatAClientMayChoose(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 8*mib))
	c := p.Client(t)
	rec := call[map[string]json.RawMessage](t, c, "VM.get_record", p.VM("web").Ref)
	rec["blocked_operations"] = json.RawMessage(`{"start":"no"}`)
	ref := call[string](t, c, "VM.create", rec)
	made, err := xapi.Get(t.Context(), c, xapi.Ref[xapi.VM](ref))
	require.NoError(t, err)
	require.NotEqual(t, p.VM("web").UUID, made.UUID)
	require.EqualValues(t, "Halted", made.PowerState)
	require.Empty(t, made.BlockedOperations, "to be set afterwards")
	require.Empty(t, made.VBDs)
	require.Equal(t, []string{"prod"}, made.Tags)

	rec["power_state"] = json.RawMessage(`"Suspended"`)
	require.ErrorIs(t, c.Call(t.Context(), "VM.create", nil, rec), xapi.ErrVMBadPowerState, "without what a suspended VM needs")
	delete(rec, "platform")
	require.ErrorIs(t, c.Call(t.Context(), "VM.create", nil, rec), xapi.ErrFieldType)
}

func TestCloneIsAVMOfItsOwn(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	web := p.VM("web")
	fill(t, web.Disks[0].Path, 0, 4096, 1)
	require.NoError(t, c.CallAsync(t.Context(), "VM.clone", nil, web.Ref, "copy"))
	copied := p.VM("copy")
	require.Equal(t, content(t, web.Disks[0].Path), content(t, copied.Disks[0].Path))
	seed := func(ref string) string { return call[map[string]string](t, c, "VM.get_other_config", ref)["mac_seed"] }
	require.NotEqual(t, seed(web.Ref), seed(copied.Ref))
	require.False(t, call[bool](t, c, "VM.get_is_a_snapshot", copied.Ref))
	require.Empty(t, call[[]string](t, c, "VDI.get_snapshots", web.Disks[0].Ref))
}

func TestTPMKeepsItsContents(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	web := p.VM("web").Ref
	tpm := call[string](t, c, "VTPM.create", web, false)
	require.ErrorIs(t, c.Call(t.Context(), "VTPM.create", nil, web, false), &xapi.Error{Code: "VTPM_MAX_AMOUNT_REACHED"})
	call[any](t, c, "VTPM.set_contents", tpm, "c2VjcmV0")
	snap := snapshot(t, p, c, "s")
	copied := call[[]string](t, c, "VM.get_VTPMs", snap.Ref)
	require.Len(t, copied, 1)
	require.Equal(t, "c2VjcmV0", call[string](t, c, "VTPM.get_contents", copied[0]))
}

func TestLeaksAreWhatABackupLeftBehind(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 8*mib))
	c := p.Client(t)
	snapshot(t, p, c, "xo-backup-temp-snapshot-name")
	call[any](t, c, "VM.add_to_blocked_operations", p.VM("web").Ref, "pool_migrate", "backup")
	kept := task(t, c)
	require.Len(t, p.Leaks(), 3)
	call[any](t, c, "task.destroy", kept)
	require.Len(t, p.Leaks(), 2, "nobody can do more for a pending task")
	p.Expect("pool_migrate is blocked", "xo-backup-temp-snapshot-name")
	require.Empty(t, p.Leaks())
}
