package xapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// backup is a whole job: a snapshot, its disk, and nothing left.
func backup(ctx context.Context, r *rig) error {
	var snapshot xapi.Ref[xapi.VM]
	if err := r.CallAsync(ctx, "VM.snapshot", &snapshot, r.vm(), "backup"); err != nil {
		return err
	}
	record, err := xapi.Get(ctx, r, snapshot)
	if err != nil {
		return err
	}
	for _, ref := range record.VBDs {
		vbd, err := xapi.Get(ctx, r, ref)
		if err != nil {
			return err
		}
		d, err := r.ExportVDI(ctx, vbd.VDI, nil)
		if err == nil {
			err = complete(ctx, d, wholeVHD)
		}
		if err != nil {
			return err
		}
	}
	return remove(ctx, r, snapshot)
}

// TestSessionsEndEveryFewCalls: a job goes on, with one login for each session that ended.
func TestSessionsEndEveryFewCalls(t *testing.T) {
	t.Parallel()
	for _, k := range []int{1, 2, 3, 5, 8, 50} {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, r *rig) {
				t.Helper()
				r.pool.Expire("*", xapitest.Every(k))
				before := len(r.pool.Calls())
				var err error
				for range 4 {
					err = errors.Join(err, backup(t.Context(), r))
				}
				logins, calls := 0, 0
				for _, call := range r.pool.Calls()[before:] {
					if call.Method == "session.login_with_password" {
						logins++
					} else {
						calls++
					}
				}
				if k == 1 { // no session lives as long as a call
					require.ErrorIs(t, err, xapi.ErrSessionInvalid)
					require.LessOrEqual(t, logins, 40)
					return
				}
				require.NoError(t, err)
				require.LessOrEqual(t, logins, calls/k+1)
			})
		})
	}
}

func TestSessionsThatWereIdleForADayAreRenewed(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, r *rig) {
		t.Helper()
		require.NoError(t, getter(t.Context(), r))
		time.Sleep(25 * time.Hour) //nolint:forbidigo // simulated time
		require.NoError(t, getter(t.Context(), r))
		time.Sleep(25 * time.Hour) //nolint:forbidigo // simulated time
		require.NoError(t, exporting("VHD")(t.Context(), r))
	})
}

// TestRestartsAndNewMasters: calls and transfers that a restart cuts are typed errors, or repeated where that is safe; the next ones work.
func TestRestartsAndNewMasters(t *testing.T) {
	t.Parallel()
	var faults []struck
	lost := []error{xapi.ErrConnectionLost, xapi.ErrTaskCancelled, xapi.ErrHandleInvalid, xapi.ErrSessionInvalid, xapi.ErrProtocol}
	for what, script := range map[string]func(p *xapitest.Pool, method string, when xapitest.When){
		"restart":    (*xapitest.Pool).Restart,
		"new master": func(p *xapitest.Pool, method string, when xapitest.When) { p.MoveMaster(method, when, "beta") },
	} {
		add := func(name, method string, when xapitest.When, do job, want ...error) {
			twice := func(ctx context.Context, r *rig) error {
				if err := do(ctx, r); err != nil {
					r.clean(t)
					return errors.Join(err, getter(ctx, r), exporting("VHD")(ctx, r))
				}
				return nil
			}
			faults = append(faults, struck{
				what: what + " at " + name, script: func(p *xapitest.Pool) { script(p, method, when) }, job: twice, want: want, orphan: true,
				either: method == "event.from",
			})
		}
		add("a getter", "VM.get_name_label", first, getter)
		add("a setter", "VM.set_name_description", first, setter, lost...)
		add("a call", "VM.snapshot", first, direct, lost...)
		add("the start of a task", "VM.snapshot", first, async, lost...)
		add("the wait for a task", "event.from", first, func(ctx context.Context, r *rig) error {
			r.pool.Slow("VM.snapshot", first, time.Hour)
			return async(ctx, r)
		}, lost...)
		add("the task of a transfer", "task.create", first, exporting("VHD"), lost...)
		add("the end of a transfer", "event.from", first, exporting("VHD"), lost...)
		add("the end of an upload", "event.from", xapitest.OnCall(3), importVM, lost...)
	}
	testFaults(t, faults)
}

// In the middle of a transfer the host goes away, whichever way the bytes go.
func TestRestartsInTheMiddleOfTransfers(t *testing.T) {
	t.Parallel()
	for _, change := range []struct {
		what string
		do   func(p *xapitest.Pool) error
	}{
		{"restart", func(p *xapitest.Pool) error { return p.RestartHost("alpha") }},
		{"new master", func(p *xapitest.Pool) error { return p.SetMaster("beta") }},
	} {
		t.Run(change.what, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, r *rig) {
				t.Helper()
				d, err := r.ExportVM(t.Context(), vmOf(r.pool), nil)
				require.NoError(t, err)
				_, err = io.CopyN(io.Discard, d, 100_000)
				require.NoError(t, err)
				require.NoError(t, change.do(r.pool))
				require.Error(t, complete(t.Context(), d, wholeXVA))

				var vdi xapi.Ref[xapi.VDI]
				sr := xapi.Ref[xapi.SR](r.pool.SR("shared").Ref)
				require.NoError(t, r.CallAsync(t.Context(), "VDI.create", &vdi, xapi.VDI{SR: sr, VirtualSize: 4 << 20, Type: "user"}))
				source := &interrupted{r: zeros{}, after: 1 << 20, do: func() error { return change.do(r.pool) }}
				err = r.ImportVDI(t.Context(), vdi, 4<<20, source, &xapi.ImportVDIOptions{Format: "raw"})
				if change.what == "restart" { // the second move changes nothing
					require.Error(t, err)
				}
				require.NoError(t, source.err)
				require.NoError(t, r.CallAsync(t.Context(), "VDI.destroy", nil, vdi))
				require.NoError(t, backup(t.Context(), r))
			})
		})
	}
}

// interrupted does something after some bytes.
type interrupted struct {
	r     io.Reader
	after int
	do    func() error
	err   error
}

func (i *interrupted) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	if i.after > 0 && i.after <= n {
		i.err = i.do()
	}
	i.after -= n
	return n, err
}

// TestTheInventoryStaysTrueWhateverHappens: floods, lost events, sessions that end, restarts, a new master, answers that break.
func TestTheInventoryStaysTrueWhateverHappens(t *testing.T) {
	t.Parallel()
	for what, script := range map[string]func(t *testing.T, p *xapitest.Pool){
		"a flood at each answer": func(_ *testing.T, p *xapitest.Pool) { p.Flood("event.from", xapitest.Every(2)) },
		"events lost":            func(_ *testing.T, p *xapitest.Pool) { p.Fail("event.from", xapitest.Every(3), xapi.ErrEventsLost) },
		"tokens refused": func(_ *testing.T, p *xapitest.Pool) {
			p.Fail("event.from", xapitest.Every(3), xapi.ErrEventTokenInvalid)
		},
		"a busy pool":       func(_ *testing.T, p *xapitest.Pool) { p.Fail("event.from", xapitest.Every(2), xapi.ErrTooBusy) },
		"sessions end":      func(_ *testing.T, p *xapitest.Pool) { p.Expire("event.from", xapitest.Every(3)) },
		"answers are cut":   func(_ *testing.T, p *xapitest.Pool) { p.Break("event.from", xapitest.Every(2), 3000, xapitest.Cut) },
		"answers are reset": func(_ *testing.T, p *xapitest.Pool) { p.Break("event.from", xapitest.Every(2), 300, xapitest.Reset) },
		"answers stall":     func(_ *testing.T, p *xapitest.Pool) { p.Break("event.from", xapitest.Every(3), 200, xapitest.Stall) },
		"pages in answers": func(_ *testing.T, p *xapitest.Pool) {
			p.Break("event.from", xapitest.Every(2), 300, xapitest.ErrorPage)
		},
		"hanging":      func(_ *testing.T, p *xapitest.Pool) { p.Hang("event.from", xapitest.Every(3)) },
		"restarts":     func(_ *testing.T, p *xapitest.Pool) { p.Restart("event.from", xapitest.Every(4)) },
		"a new master": func(_ *testing.T, p *xapitest.Pool) { p.MoveMaster("event.from", xapitest.OnCall(2), "beta") },
		"no barrier": func(_ *testing.T, p *xapitest.Pool) {
			p.Fail("event.inject", xapitest.EachCall(), xapi.ErrPermissionDenied)
		},
		"nothing": func(t *testing.T, _ *xapitest.Pool) { t.Helper() },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, r *rig) {
				t.Helper()
				script(t, r.pool)
				inv := inventory(t, r.Client)
				vm := vmOf(r.pool)
				for i := range 8 {
					name := fmt.Sprintf("name %d", i)
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					for { // what a user does whose call got lost
						err := r.Call(ctx, "VM.set_name_label", nil, vm, name)
						if err == nil {
							break
						}
						require.NoError(t, ctx.Err(), "%v", err)
					}
					require.NoError(t, inv.Sync(ctx))
					require.Equal(t, name, inv.Snapshot().VMs.Get(vm).NameLabel)
					cancel()
				}
				require.NoError(t, inv.Close())
				synctest.Wait()
			})
		})
	}
}

func TestAWrongPasswordMayTakeItsTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		network := xapitest.NewMemoryListener()
		p, err := xapitest.Start(xapitest.Inventory{}, &xapitest.Options{Dir: dir, Listener: network, AuthDelay: 5 * time.Second})
		require.NoError(t, err)
		began := time.Now()
		_, err = xapi.Dial(t.Context(), p.URL(), &xapi.Options{Password: "wrong", DialContext: network.DialContext})
		require.ErrorIs(t, err, xapi.ErrAuthenticationFailed)
		require.Equal(t, 5*time.Second, time.Since(began))
		require.NoError(t, p.Close())
	})
}
