package xapitest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// recorder is a test that may fail.
type recorder struct {
	*testing.T
	failures []string
	cleanup  []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}
func (r *recorder) Cleanup(f func()) { r.cleanup = append(r.cleanup, f) }

// Each thing that a backup program may leave behind fails the test that started
// the pool, and passes once it is expected.
func TestCloseFailsTheTestOnEachLeak(t *testing.T) {
	t.Parallel()
	mark := func(t *testing.T, c *xapi.Client, ref string) {
		t.Helper()
		for key, value := range map[string]string{"xo:backup:job": "j", "xo:backup:vm": "v", "xo:backup:exported": "true"} {
			call[any](t, c, "VM.add_to_other_config", ref, key, value)
		}
	}
	for name, row := range map[string]struct {
		leak  func(t *testing.T, p *xapitest.Pool, c *xapi.Client)
		says  string
		fault bool
	}{
		"a fault that never struck": {func(_ *testing.T, p *xapitest.Pool, _ *xapi.Client) {
			p.Fail("VM.snapshot", xapitest.OnCall(1), xapi.ErrSRFull)
		}, "scripted faults that never struck: VM.snapshot (0 matching calls)", true},
		"a fault for a later call": {func(t *testing.T, p *xapitest.Pool, c *xapi.Client) {
			t.Helper()
			p.CutExport(1 << 40)
			d, err := c.ExportVDI(t.Context(), xapi.Ref[xapi.VDI](p.VM("web").Disks[0].Ref), nil)
			require.NoError(t, err)
			apply(t, d, make([]byte, 4*mib))
			require.NoError(t, d.Finish(t.Context()))
			require.NoError(t, d.Close())
		}, "GET /export_raw_vdi (1 matching calls)", true},
		"a snapshot with the name of an unfinished one": {func(t *testing.T, p *xapitest.Pool, c *xapi.Client) {
			t.Helper()
			snapshot(t, p, c, "xo-backup-temp-snapshot-name")
		}, "is called xo-backup-temp-snapshot-name", false},
		"a disk of the control domain": {func(t *testing.T, p *xapitest.Pool, c *xapi.Client) {
			t.Helper()
			dom0 := call[string](t, c, "host.get_control_domain", p.Hosts()[0].Ref)
			call[string](t, c, "VBD.create", map[string]any{
				"VM": dom0, "VDI": p.VM("web").Disks[0].Ref, "userdevice": "autodetect", "bootable": false, "mode": "RO", "type": "Disk", "empty": false,
				"other_config": map[string]string{}, "qos_algorithm_type": "", "qos_algorithm_params": map[string]string{},
			})
		}, "1 disks are attached to Control domain", false},
		"a task": {func(t *testing.T, _ *xapitest.Pool, c *xapi.Client) { t.Helper(); task(t, c) }, "is pending", false},
		"a blocked migration": {func(t *testing.T, p *xapitest.Pool, c *xapi.Client) {
			t.Helper()
			call[any](t, c, "VM.add_to_blocked_operations", p.VM("web").Ref, "pool_migrate", "VM migration is blocked during backup")
		}, "pool_migrate is blocked on vm", false},
		"two bases": {func(t *testing.T, p *xapitest.Pool, c *xapi.Client) {
			t.Helper()
			for _, name := range []string{"1", "2"} {
				mark(t, c, snapshot(t, p, c, name).Ref)
			}
		}, "2 exported base snapshots of vm v for job j", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, expected := range []bool{false, true} {
				r := &recorder{T: t}
				p := xapitest.NewPool(r, oneVM("Halted", 4*mib))
				c, err := xapi.Dial(context.Background(), p.URL(), &xapi.Options{Password: xapi.Secret(p.Password())})
				require.NoError(t, err)
				row.leak(t, p, c)
				if expected {
					p.Expect(row.says) // which a fault does not heed: it proved nothing
				}
				require.NoError(t, c.Close())
				for _, f := range r.cleanup {
					f()
				}
				if expected && !row.fault {
					require.Empty(t, r.failures)
					continue
				}
				require.Len(t, r.failures, 1)
				require.Contains(t, r.failures[0], row.says)
			}
		})
	}
}

func TestOneBaseOfEachJobIsNoLeak(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 2*mib))
	c := p.Client(t)
	for _, job := range []string{"one", "two"} {
		ref := snapshot(t, p, c, job).Ref
		for key, value := range map[string]string{"xo:backup:job": job, "xo:backup:vm": "v", "xo:backup:exported": "true"} {
			call[any](t, c, "VM.add_to_other_config", ref, key, value)
		}
	}
	require.Empty(t, p.Leaks())
}
