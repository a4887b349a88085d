package live_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/examples/internal/live"
	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/pipeline/task"
)

// both tells two observers.
func both(a, b task.Observer) task.Observer {
	return task.ObserverFunc(func(e task.Event) {
		a.Observe(e)
		b.Observe(e)
	})
}

func ExampleScreen() {
	var runs live.Runs
	screen := live.NewScreen(&runs, progress.New(os.Stdout, false))
	run := task.NewRun(task.Job{ID: "j", Name: "nightly"}, nil, both(&runs, screen))
	vm := run.Start("backup VM", map[string]any{"id": "u", "name_label": "web"})
	snapshot := vm.Start("snapshot", nil)
	snapshot.Fail(errors.New("the SR is full"))
	vm.Succeed(nil)
	run.Succeed(nil)
	// Output:
	//   web: snapshot: failure: the SR is full
	//   web: failure
}

func TestRateAndTimeLeftAreThoseOfTheLastSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var runs live.Runs
		var out bytes.Buffer
		screen := live.NewScreen(&runs, progress.New(&out, true))
		run := task.NewRun(task.Job{ID: "j", Name: "nightly", ScheduleID: "s"}, nil, both(&runs, screen))
		run.Info("vms", map[string]any{"vms": []string{"u", "v"}})
		web := run.Start("backup VM", map[string]any{"id": "u", "name_label": "web"})
		waited := web.Start("snapshot", nil).Wait("snapshot")
		require.Equal(t, "waiting for a slot: snapshot", runs.Active()[0].VMs[0].Step)
		waited()
		require.Equal(t, "snapshot", runs.Active()[0].VMs[0].Step)
		var moves []*task.Task
		for range 2 { // targets
			moves = append(moves, web.Start("export", nil).Start("transfer", nil))
		}
		for second := range 20 {
			<-time.After(time.Second)
			speed := 1 << 20
			if second >= 9 {
				speed = 10 << 20
			}
			for _, m := range moves {
				m.Progress(int64(second+1)<<20+int64(max(0, second-8)*(speed-1<<20)), 1<<30)
			}
		}
		active := runs.Active()
		require.Len(t, active, 1)
		got := active[0]
		require.Equal(t, "nightly", got.Job)
		require.Equal(t, "s", got.Schedule)
		require.Equal(t, 2, got.Selected)
		require.Equal(t, []live.VM{{ID: "u", Name: "web", Status: task.Pending, Step: "transfer"}}, got.VMs)
		require.Equal(t, int64(2<<30), got.Total)
		require.InDelta(t, 20<<20, got.Rate, 1)
		require.InDelta(t, float64(got.Total-got.Done)/(20<<20), got.Left, 0.1)
		require.Contains(t, live.Line(got), fmt.Sprintf("0 of 2 VMs, %s of 2.0 GiB, 20.0 MiB/s, 1m31s left", progress.Bytes(got.Done)))
		require.Contains(t, out.String(), "19.0 MiB/s", "the line is rewritten")

		for _, m := range moves {
			m.Succeed(nil)
		}
		web.Succeed(nil)
		require.Equal(t, task.Interrupted, runs.Active()[0].VMs[0].Status, "its exports never ended")
		run.Succeed(nil)
		require.Empty(t, runs.Active())
		require.Contains(t, out.String(), "web: interrupted")
	})
}
