package xapi_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

func TestCallAsyncReturnsTheTasksResultAndLeavesNoTask(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	s.async("VM.snapshot", func(ref string) { s.settle(ref, "success", "<value>OpaqueRef:snap &amp; co</value>") })
	var snapshot xapi.Ref[xapi.VM]
	require.NoError(t, c.CallAsync(t.Context(), "VM.snapshot", &snapshot, "OpaqueRef:vm", "name"))
	require.Equal(t, xapi.Ref[xapi.VM]("OpaqueRef:snap & co"), snapshot)
	require.Zero(t, s.leftTasks())

	s.async("VDI.get_size", func(ref string) { s.settle(ref, "success", "<value>9007199254740993</value>") })
	var size int64
	require.NoError(t, c.CallAsync(t.Context(), "VDI.get_size", &size))
	require.Equal(t, int64(9007199254740993), size)

	s.async("VM.destroy", func(ref string) { s.settle(ref, "success", "") })
	require.NoError(t, c.CallAsync(t.Context(), "VM.destroy", nil))
	var text string
	require.NoError(t, c.CallAsync(t.Context(), "VM.destroy", &text))
	require.ErrorIs(t, c.CallAsync(t.Context(), "VM.destroy", &snapshot), xapi.ErrProtocol)
}

func TestCallAsyncFailsWithTheTasksError(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	s.async("VDI.destroy", func(ref string) { s.settle(ref, "failure", "", "VDI_IN_USE", "OpaqueRef:1", sessionMark+"-1") })
	err := c.CallAsync(t.Context(), "VDI.destroy", nil)
	require.ErrorIs(t, err, xapi.ErrVDIInUse)
	requireNoSecret(t, err)
	s.async("VDI.destroy", func(ref string) { s.settle(ref, "cancelled", "") })
	require.ErrorIs(t, c.CallAsync(t.Context(), "VDI.destroy", nil), xapi.ErrTaskCancelled)
	s.async("VDI.destroy", func(ref string) { s.settle(ref, "failure", "") })
	require.ErrorIs(t, c.CallAsync(t.Context(), "VDI.destroy", nil), xapi.ErrInternal)
	require.Zero(t, s.leftTasks())
}

// ErrHandleInvalid says that the object is gone, which callers that destroy it take for success.
func TestAVanishedTaskDoesNotSayThatTheObjectIsGone(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	s.async("VM.destroy", func(ref string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.tasks, ref)
	})
	err := c.CallAsync(t.Context(), "VM.destroy", nil, "OpaqueRef:vm")
	require.ErrorIs(t, err, xapi.ErrConnectionLost)
	require.NotErrorIs(t, err, xapi.ErrHandleInvalid)

	s.async("VM.destroy", func(ref string) { s.settle(ref, "failure", "", "HANDLE_INVALID", "VM", "OpaqueRef:vm") })
	require.ErrorIs(t, c.CallAsync(t.Context(), "VM.destroy", nil, "OpaqueRef:vm"), xapi.ErrHandleInvalid)
}

func TestCallAsyncPollsWhereThePoolSendsNoEvents(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	s.handle("event.from", func([]any) (any, []string) { return nil, []string{"MESSAGE_METHOD_UNKNOWN", "event.from"} })
	s.async("VM.snapshot", func(ref string) { s.settle(ref, "success", "<value>OpaqueRef:snap</value>") })
	var snapshot xapi.Ref[xapi.VM]
	require.NoError(t, c.CallAsync(t.Context(), "VM.snapshot", &snapshot))
	require.Equal(t, xapi.Ref[xapi.VM]("OpaqueRef:snap"), snapshot)
	require.Equal(t, 1, s.called("event.from"))
}

func TestCallAsyncCancelsItsTaskWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	cause := errors.New("the slot was lost")
	ctx, cancel := context.WithCancelCause(t.Context())
	s.async("VM.snapshot", func(string) { cancel(cause) })
	err := c.CallAsync(ctx, "VM.snapshot", nil)
	require.ErrorIs(t, err, cause)
	require.Equal(t, 1, s.called("task.cancel"))
	require.Zero(t, s.leftTasks())
}

func TestCallAsyncReturnsWhatWasDoneDespiteTheCancel(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var task string
	s.async("VM.snapshot", func(ref string) { task = ref; cancel() })
	s.handle("task.cancel", func([]any) (any, []string) {
		s.settle(task, "success", "<value>OpaqueRef:snap</value>") // too late to cancel
		return "", nil
	})
	var snapshot xapi.Ref[xapi.VM]
	require.NoError(t, c.CallAsync(ctx, "VM.snapshot", &snapshot))
	require.Equal(t, xapi.Ref[xapi.VM]("OpaqueRef:snap"), snapshot)
	require.Zero(t, s.leftTasks())
}

func TestCallAsyncOutlivesNetworkTrouble(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	broken := 0
	var task string
	s.async("VM.snapshot", func(ref string) { task = ref })
	s.handle("event.from", func([]any) (any, []string) { return nil, []string{"EVENTS_LOST"} })
	s.handle("task.get_record", func([]any) (any, []string) {
		if broken++; broken < 6 {
			panic(http.ErrAbortHandler)
		}
		return xapi.Task{Status: "success", Result: "<value>" + task + "</value>"}, nil
	})
	var got string
	require.NoError(t, c.CallAsync(t.Context(), "VM.snapshot", &got))
	require.Equal(t, task, got)
}

// An operation that ignores its cancellation must not hold the caller for longer than the cleanup may take. Fake time, no sockets.
func TestCallAsyncGivesUpOnATaskThatNeverEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := xapi.Dial(t.Context(), "http://pool", &xapi.Options{Password: password, Transport: roundTripper(stubborn)})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		err = c.CallAsync(ctx, "VM.snapshot", nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.LessOrEqual(t, time.Since(began), time.Hour+10*time.Second)
		require.NoError(t, c.Close())
	})
}
