package xapitest_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

func TestAttachedDiskGrowsOnlineAlone(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 2*mib))
	c := p.Client(t)
	ref := p.VM("web").Disks[0].Ref
	require.ErrorIs(t, c.Call(t.Context(), "VDI.resize", nil, ref, 4*mib), xapi.ErrVDIInUse)
	call[any](t, c, "VDI.resize_online", ref, 4*mib)
	require.EqualValues(t, 4*mib, call[int64](t, c, "VDI.get_virtual_size", ref))
}

func TestTrackedDiskCannotForgetItsWrites(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 2*mib))
	c := p.Client(t)
	ref := p.VM("web").Disks[0].Ref
	call[any](t, c, "VDI.set_on_boot", ref, "reset")
	require.ErrorIs(t, c.Call(t.Context(), "VM.snapshot", nil, p.VM("web").Ref, "s"), code("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"))
	call[any](t, c, "VDI.set_on_boot", ref, "persist")
	call[any](t, c, "VDI.enable_cbt", ref)
	require.ErrorIs(t, c.Call(t.Context(), "VDI.set_on_boot", nil, ref, "reset"), code("VDI_CBT_ENABLED"))
	require.Equal(t, "persist", call[string](t, c, "VDI.get_on_boot", ref))
}

func TestRawUploadWithoutLengthFillsTheDisk(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 2*mib))
	c := p.Client(t)
	ref, path := newDisk(t, p, c, 2*mib)
	raw, s := random(2*mib, 1), login(t, p)
	for sent, want := range map[int64]string{2 * mib: "success", mib: "failure"} {
		job := task(t, c)
		cutTalk(t, p, fmt.Sprintf("PUT /import_raw_vdi?session_id=%s&task_id=%s&vdi=%s HTTP/1.1\r\n\r\n%s", s, job, ref, raw[:sent]))
		require.EqualValues(t, want, finished(t, c, job).Status)
	}
	require.Equal(t, raw, content(t, path))
}

func TestTaskOfTransferMayBeInTheCookie(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 2*mib))
	c := p.Client(t)
	job := task(t, c)
	_, err := talk(t, p, fmt.Sprintf("GET /export_raw_vdi?vdi=%s HTTP/1.1\r\nCookie: session_id=%s&task_id=%s\r\n\r\n", p.VM("web").Disks[0].Ref, login(t, p), job))
	require.NoError(t, err)
	require.EqualValues(t, "success", finished(t, c, job).Status)
}
