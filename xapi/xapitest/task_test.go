package xapitest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

func TestTaskOfAnAsyncCallHasItsResult(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	vm := p.VM("web").Ref
	rec := finished(t, c, call[string](t, c, "Async.VM.snapshot", vm, "s"))
	require.EqualValues(t, "success", rec.Status)
	require.Equal(t, "<value>"+p.Snapshots()[0].Ref+"</value>", rec.Result)
	require.EqualValues(t, 1, rec.Progress)

	rec = finished(t, c, call[string](t, c, "Async.VM.start", vm, false, false))
	require.Empty(t, rec.Result, "void")

	rec = finished(t, c, call[string](t, c, "Async.VM.start", vm))
	require.EqualValues(t, "failure", rec.Status, "arguments are checked in the task")
	require.Equal(t, []string{"MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.start", "3", "1"}, rec.ErrorInfo)
	require.ErrorIs(t, c.Call(t.Context(), "Async.VM.get_uuid", nil, vm), xapi.ErrMessageMethodUnknown)
}

func TestCancelledTaskHasNoErrorInfo(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	p.Hang("VM.snapshot", xapitest.OnCall(1))
	ref := call[string](t, c, "Async.VM.snapshot", p.VM("web").Ref, "s")
	rec, err := xapi.Get(t.Context(), c, xapi.Ref[xapi.Task](ref))
	require.NoError(t, err)
	require.EqualValues(t, "pending", rec.Status)
	call[any](t, c, "task.cancel", ref)
	rec = finished(t, c, ref)
	require.EqualValues(t, "cancelled", rec.Status)
	require.Empty(t, rec.ErrorInfo)
	require.Empty(t, p.Snapshots())
}

func TestDestroyedTaskGoesWhenItIsDone(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	p.Hang("VM.snapshot", xapitest.OnCall(1))
	ref := call[string](t, c, "Async.VM.snapshot", p.VM("web").Ref, "s")
	call[any](t, c, "task.destroy", ref)
	require.Equal(t, "pending", call[string](t, c, "task.get_status", ref))
	var first struct{ Token string }
	require.NoError(t, c.Call(t.Context(), "event.from", &first, []string{"task"}, "", 0.0))
	call[any](t, c, "task.cancel", ref)
	token := first.Token
	for { // until the removal has come
		var batch struct {
			Token  string
			Events []struct{ Ref, Operation string }
		}
		require.NoError(t, c.Call(t.Context(), "event.from", &batch, []string{"task/" + ref}, token, 30.1))
		token = batch.Token
		if batch.Events[0].Operation == "del" {
			break
		}
	}
	require.ErrorIs(t, c.Call(t.Context(), "task.get_status", nil, ref), xapi.ErrHandleInvalid)
}

func TestClientCompletesItsOwnTask(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{})
	c := p.Client(t)
	ref := task(t, c)
	require.Len(t, p.Leaks(), 1)
	call[any](t, c, "task.set_progress", ref, 0.5)
	call[any](t, c, "task.set_status", ref, "success")
	require.ErrorIs(t, c.Call(t.Context(), "task.set_status", nil, ref, "failure"), xapi.ErrOperationNotAllowed)
	call[any](t, c, "task.destroy", ref)
	require.Empty(t, p.Leaks())
}

func TestOnlyTheLatestFinishedTasksAreKept(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	var last string
	for range 210 {
		last = call[string](t, c, "Async.VM.update_allowed_operations", p.VM("web").Ref)
		finished(t, c, last)
	}
	tasks := call[[]string](t, c, "task.get_all")
	require.Len(t, tasks, 200)
	require.Contains(t, tasks, last)
}

func TestPoolRunsInABubbleOfTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		network := xapitest.NewMemoryListener()
		p, err := xapitest.Start(oneVM("Halted", 8*mib), &xapitest.Options{Dir: dir, Listener: network, AuthDelay: 5 * time.Second})
		require.NoError(t, err)
		c := p.Client(t)
		began := time.Now()
		_, err = xapi.Dial(context.Background(), p.URL(), &xapi.Options{Password: "wrong", Transport: p.Transport()})
		require.ErrorIs(t, err, xapi.ErrAuthenticationFailed)
		require.Equal(t, 5*time.Second, time.Since(began))
		var batch struct{ Events []any }
		var start struct{ Token string }
		require.NoError(t, c.Call(t.Context(), "event.from", &start, []string{"vm"}, "", 0.0))
		require.NoError(t, c.Call(t.Context(), "event.from", &batch, []string{"vm"}, start.Token, 60.0))
		require.Empty(t, batch.Events)
		require.Equal(t, 65*time.Second, time.Since(began))
		require.NoError(t, c.Close())
		require.NoError(t, p.Close())
	})
}
