package xapitest_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

func TestFieldsHaveTheirMessages(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	vm := p.VM("web")
	call[any](t, c, "VM.set_name_description", vm.Ref, "a server")
	require.Equal(t, "a server", call[string](t, c, "VM.get_name_description", vm.Ref))
	call[any](t, c, "VM.add_to_other_config", vm.Ref, "k", "v")
	err := c.Call(t.Context(), "VM.add_to_other_config", nil, vm.Ref, "k", "w")
	refused, ok := errors.AsType[*xapi.Error](err)
	require.True(t, ok)
	require.Equal(t, "MAP_DUPLICATE_KEY", refused.Code)
	require.Equal(t, []string{"VM", "other_config", vm.Ref, "k"}, refused.Params)
	call[any](t, c, "VM.remove_from_other_config", vm.Ref, "k")
	call[any](t, c, "VM.remove_from_other_config", vm.Ref, "k")
	call[any](t, c, "VM.add_tags", vm.Ref, "db")
	call[any](t, c, "VM.add_tags", vm.Ref, "db")
	require.Equal(t, []string{"prod", "db"}, call[[]string](t, c, "VM.get_tags", vm.Ref))
	call[any](t, c, "VM.remove_tags", vm.Ref, "prod")
	require.Equal(t, []string{"db"}, call[[]string](t, c, "VM.get_tags", vm.Ref))
	require.ErrorIs(t, c.Call(t.Context(), "VM.set_is_a_snapshot", nil, vm.Ref, true), xapi.ErrMessageMethodUnknown)
}

func TestRecordsAreFoundByExpression(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 8*mib))
	c := p.Client(t)
	count := func(expr string) int {
		return len(call[map[string]any](t, c, "VM.get_all_records_where", expr))
	}
	require.Equal(t, 2, count("true"))
	require.Equal(t, 1, count(`field "name__label" = "web"`))
	require.Equal(t, 1, count(`field "is_control_domain" = "false" and field "power_state" = "Running"`))
	require.Equal(t, 1, count(`not (field "name_label"="web")`))
	require.Equal(t, 2, count(`field "name_label"="web" or true`))
	require.ErrorIs(t, c.Call(t.Context(), "VM.get_all_records_where", nil, `field "a" =`), xapi.ErrInternal)
}

func TestBackReferencesFollow(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	vm := p.VM("web")
	disk := vm.Disks[0].Ref
	args := map[string]any{
		"VM": vm.Ref, "VDI": disk, "userdevice": "autodetect", "bootable": false, "mode": "RW", "type": "Disk", "empty": false,
		"other_config": map[string]string{}, "qos_algorithm_type": "", "qos_algorithm_params": map[string]string{},
	}
	vbd := call[string](t, c, "VBD.create", args)
	require.True(t, slices.Contains(call[[]string](t, c, "VM.get_VBDs", vm.Ref), vbd))
	require.True(t, slices.Contains(call[[]string](t, c, "VDI.get_VBDs", disk), vbd))
	require.Equal(t, "xvdb", call[string](t, c, "VBD.get_device", vbd))
	args["userdevice"] = "0"
	err := c.Call(t.Context(), "VBD.create", nil, args)
	require.ErrorIs(t, err, &xapi.Error{Code: "DEVICE_ALREADY_EXISTS"})
	delete(args, "mode")
	require.ErrorIs(t, c.Call(t.Context(), "VBD.create", nil, args), xapi.ErrFieldType)
	call[any](t, c, "VBD.destroy", vbd)
	require.Len(t, call[[]string](t, c, "VM.get_VBDs", vm.Ref), 1)
	require.Len(t, call[[]string](t, c, "VDI.get_VBDs", disk), 1)
}

func TestExpiredSessionsAreRefusedUntilLogin(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{})
	s := login(t, p)
	p.ExpireSessions()
	_, _, answer := post(t, p, `{"jsonrpc":"2.0","id":1,"method":"VM.get_all","params":["`+s+`"]}`)
	require.Contains(t, answer, "SESSION_INVALID")
	c := p.Client(t)
	p.ExpireSessions()
	call[[]string](t, c, "VM.get_all") // the client logs in again
}
