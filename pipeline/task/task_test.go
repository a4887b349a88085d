package task_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline/task"
)

func TestStatusOfARunFoldsThatOfItsTasks(t *testing.T) {
	skip := &task.SkipError{Reason: task.ReasonUnhealthyChain}
	failure := errors.New("no space")
	cases := map[string]struct {
		children []error
		own      error
		want     task.Status
	}{
		"nothing failed":                        {children: []error{nil, nil}, want: task.Success},
		"no children":                           {want: task.Success},
		"a child failed":                        {children: []error{nil, failure}, want: task.Failure},
		"a child was skipped":                   {children: []error{nil, skip}, want: task.Skipped},
		"failure outweighs skipped":             {children: []error{failure, skip}, want: task.Failure},
		"interruption outweighs skipped":        {children: []error{skip, context.Canceled}, want: task.Interrupted},
		"own failure without a failed child":    {children: []error{nil}, own: failure, want: task.Failure},
		"own skip":                              {own: fmt.Errorf("guard: %w", skip), want: task.Skipped},
		"own cancellation":                      {own: fmt.Errorf("export: %w", context.Canceled), want: task.Interrupted},
		"a child failed and own was a skip too": {children: []error{failure}, own: skip, want: task.Failure},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			run := task.NewRun(task.Job{}, nil, nil)
			for _, err := range c.children {
				run.Start("backup VM", nil).Fail(err)
			}
			run.Fail(c.own)
			require.Equal(t, c.want, run.Status())
		})
	}
}

func TestChildThatNeverEndedWasInterrupted(t *testing.T) {
	run := task.NewRun(task.Job{}, nil, nil)
	run.Start("backup VM", nil)
	run.Succeed(nil)
	require.Equal(t, task.Interrupted, run.Status())
}

func TestFailureRetriedWithSuccessCountsForNothing(t *testing.T) {
	vm := func(run *task.Run, id string) *task.Task {
		return run.Start("backup VM", map[string]any{"type": "VM", "id": id})
	}
	failure := errors.New("stalled")
	for name, c := range map[string]struct {
		second string
		err    error
		want   task.Status
	}{
		"success of the same VM":  {"a", nil, task.Success},
		"failure of the same VM":  {"a", failure, task.Failure},
		"success of another VM":   {"b", nil, task.Failure},
		"no attempt at all":       {"", nil, task.Failure},
		"skip of the same VM":     {"a", &task.SkipError{Reason: task.ReasonNoDisks}, task.Failure},
		"interruption the second": {"a", context.Canceled, task.Failure},
	} {
		t.Run(name, func(t *testing.T) {
			run := task.NewRun(task.Job{}, nil, nil)
			first := vm(run, "a")
			first.WillRetry(1, failure)
			first.Fail(failure)
			if c.second != "" {
				vm(run, c.second).Fail(c.err)
			}
			run.Succeed(nil)
			require.Equal(t, c.want, run.Status())
		})
	}
}

func TestEndIsFinal(t *testing.T) {
	run := task.NewRun(task.Job{}, nil, nil)
	run.Succeed("first")
	run.Fail(errors.New("late"))
	run.Warning("late", nil)
	run.Progress(1, 2)
	require.Equal(t, task.Success, run.Status())
	require.Equal(t, "first", run.Result())
	require.NoError(t, run.Err())
	require.Empty(t, run.Warnings())
}

func TestErrFindsTheErrorOfAnyTask(t *testing.T) {
	run := task.NewRun(task.Job{}, nil, nil)
	vm := run.Start("backup VM", nil)
	transfer := vm.Start("export", nil).Start("transfer", nil)
	transfer.Fail(fmt.Errorf("disk 0: %w", fs.ErrPermission))
	require.Equal(t, task.Pending, vm.Status(), "a parent goes on until it is ended")
	vm.Children()[0].Succeed(nil)
	vm.Succeed(nil)
	run.Succeed(nil)
	require.ErrorIs(t, run.Err(), fs.ErrPermission)
	require.Equal(t, "disk 0: permission denied", run.Err().Error())
}

type codedError string

func (e codedError) Error() string     { return string(e) + "()" }
func (e codedError) ErrorCode() string { return string(e) }

func TestRecordIsTheConsolidatedLogOfXO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock stands still: 2000-01-01
		run := task.NewRun(task.Job{ID: "j", Name: "nightly", ScheduleID: "s"}, map[string]any{"mode": "delta"}, nil)
		run.Info("vms", map[string]any{"vms": []string{"v"}})
		vm := run.Start("backup VM", map[string]any{"type": "VM", "id": "v"})
		vm.Start("snapshot", nil).Succeed("snap-uuid")
		export := vm.Start("export", map[string]any{"type": "remote", "id": "r", "isFull": true})
		transfer := export.Start("transfer", nil)
		transfer.Progress(1, 4)
		transfer.Warning("slow", nil)
		pending := run.Record().Tasks[0].Tasks[1].Tasks[0]
		require.Equal(t, map[string]any{"progress": int64(25)}, pending.Data)
		transfer.Fail(errors.Join(codedError("VDI_IN_USE"), fs.ErrClosed))
		export.Succeed(nil)
		vm.Succeed(nil)
		run.Succeed(nil)

		text, err := json.Marshal(run)
		require.NoError(t, err)
		got := map[string]any{}
		require.NoError(t, json.Unmarshal(text, &got))
		dropIDs(got)
		const at = 946684800000.0
		want := map[string]any{
			"jobId": "j", "jobName": "nightly", "scheduleId": "s", "message": "backup",
			"data": map[string]any{"mode": "delta"}, "start": at, "end": at, "status": "failure",
			"infos": []any{map[string]any{"message": "vms", "data": map[string]any{"vms": []any{"v"}}}},
			"tasks": []any{map[string]any{
				"message": "backup VM", "data": map[string]any{"type": "VM", "id": "v"}, "start": at, "end": at, "status": "failure",
				"tasks": []any{
					map[string]any{"message": "snapshot", "start": at, "end": at, "status": "success", "result": "snap-uuid"},
					map[string]any{
						"message": "export", "data": map[string]any{"type": "remote", "id": "r", "isFull": true},
						"start": at, "end": at, "status": "failure",
						"tasks": []any{map[string]any{
							"message": "transfer", "start": at, "end": at, "status": "failure",
							"warnings": []any{map[string]any{"message": "slow"}},
							"result": map[string]any{
								"message": "VDI_IN_USE()\nfile already closed", "name": "Error", "code": "VDI_IN_USE",
								"errors": []any{
									map[string]any{"message": "VDI_IN_USE()", "name": "Error", "code": "VDI_IN_USE"},
									map[string]any{"message": "file already closed", "name": "Error"},
								},
							},
						}},
					},
				},
			}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// dropIDs removes the ids, which are random, having looked that they are XO's.
func dropIDs(task map[string]any) {
	if id, _ := task["id"].(string); len(id) > 10 && id[9] == '-' {
		delete(task, "id")
	}
	children, _ := task["tasks"].([]any)
	for _, c := range children {
		if m, ok := c.(map[string]any); ok {
			if d, ok := m["data"].(map[string]any); ok && d["type"] != nil {
				m["data"] = d
			}
			dropIDs(m)
		}
	}
}

func TestObserverHearsEachTaskInOrder(t *testing.T) {
	var events []task.Event // calls come one at a time: no lock of our own, the race detector judges
	run := task.NewRun(task.Job{}, nil, task.ObserverFunc(func(e task.Event) { events = append(events, e) }))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			vm := run.Start("backup VM", nil)
			wg.Go(func() { vm.Info("hello", nil) })
			transfer := vm.Start("transfer", nil)
			for i := range int64(4) {
				transfer.Progress(i, 4)
			}
			transfer.Succeed(nil)
			_ = run.Record()
		})
	}
	wg.Wait()
	run.Succeed(nil)

	started, ended := map[string]bool{}, map[string]bool{}
	for _, e := range events {
		require.Equal(t, run.ID(), e.Run)
		require.False(t, ended[e.ID], "nothing after the end")
		if e.Kind == task.EventStart {
			require.True(t, e.Parent == "" || started[e.Parent], "a parent starts first")
			started[e.ID] = true
		}
		require.True(t, started[e.ID])
		ended[e.ID] = e.Kind == task.EventEnd
	}
	require.Equal(t, task.EventEnd, events[len(events)-1].Kind)
	require.Equal(t, run.ID(), events[len(events)-1].ID)
}

func TestAllYieldsParentsFirst(t *testing.T) {
	run := task.NewRun(task.Job{}, nil, nil)
	a := run.Start("a", nil)
	a.Start("a1", nil)
	run.Start("b", nil)
	var names []string
	for tk := range run.All() {
		names = append(names, tk.Name())
	}
	require.Equal(t, []string{"backup run", "a", "a1", "b"}, names)
	for tk := range run.All() {
		require.Equal(t, "backup run", tk.Name())
		break
	}
}
