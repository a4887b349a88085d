package main

import (
	"encoding/json"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// Killed while it reads a disk, the program puts the pool in order when it starts again,
// and goes on with a delta.
func TestKilledRunIsUndoneAtTheNextStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "1m")
	p := w.start()
	p.run("nightly")
	require.Len(t, w.pool.Snapshots(), 1, "the base of the next delta")

	require.NoError(t, w.pool.WriteVDI(w.pool.VM("web").Disks[0].UUID, []byte("changed"), 8<<20))
	w.pool.Slow("GET /export_raw_vdi", xapitest.OnCall(1), time.Hour)
	code, text := p.ask("POST", "/run/nightly")
	require.Equal(t, http.StatusAccepted, code, text)
	p.reading(2)
	require.Len(t, w.pool.Snapshots(), 2)
	require.Equal(t, -1, p.end(syscall.SIGKILL))

	p = w.start()
	require.Eventually(t, func() bool { return len(w.pool.Snapshots()) == 1 }, time.Minute, 10*time.Millisecond,
		"nothing has to run for it")
	p.run("nightly")
	points := w.list()
	require.Len(t, points, 2)
	for _, differs := range points[1].Metadata.IsVHDDifferencing {
		require.True(t, differs, "what was killed has not cost the chain")
	}
	_, text = p.ask("GET", "/runs?job=nightly")
	var runs []task.Record
	require.NoError(t, json.Unmarshal([]byte(text), &runs), text)
	require.Len(t, runs, 3)
	require.Equal(t, []task.Status{task.Success, task.Interrupted, task.Success}, []task.Status{runs[0].Status, runs[1].Status, runs[2].Status})
	require.Zero(t, p.end(syscall.SIGTERM), p.all.String())
	require.Empty(t, w.pool.Leaks())
}

// run runs a job, and reads the log until it has succeeded.
func (p *process) run(job string) {
	p.w.t.Helper()
	code, text := p.ask("POST", "/run/"+job)
	require.Equal(p.w.t, http.StatusAccepted, code, text)
	require.Contains(p.w.t, p.until("msg=ended"), "status=success")
}
