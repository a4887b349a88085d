package pipeline_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xva"
)

// newFullWorld is a world whose job makes full backups.
func newFullWorld(t *testing.T, remotes ...string) *world {
	t.Helper()
	w := newWorld(t, remotes...)
	w.job.Mode, w.job.Compression = pipeline.ModeFull, new(pipeline.CompressionNone)
	return w
}

// contents returns the sums of the disks in a point's archive, in their order on
// the VM.
func (w *world) contents(id string, p *catalog.Point) []string {
	w.t.Helper()
	a, err := w.remotes[id].OpenArchive(w.t.Context(), p)
	require.NoError(w.t, err)
	defer func() { require.NoError(w.t, a.Close()) }()
	require.NotEmpty(w.t, a.Proof())
	r, err := xva.NewReader(a, nil)
	require.NoError(w.t, err)
	defer func() { require.NoError(w.t, r.Close()) }()
	sums, at := map[string]*maphash.Hash{}, map[string]int64{}
	for _, d := range r.Disks() {
		sums[d.ID] = newSum()
	}
	for {
		c, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(w.t, err)
		id := c.Disk.ID
		_, _ = sums[id].Write(make([]byte, c.Off-at[id]))
		_, _ = sums[id].Write(c.Data)
		at[id] = c.Off + int64(len(c.Data))
	}
	out := make([]string, len(w.vm().Disks))
	for vbd := range r.OVA().OfClass("VBD") {
		n, err := vbd.Int("userdevice")
		require.NoError(w.t, err)
		out[n] = fmt.Sprintf("%016x", sums[vbd.Text("VDI")].Sum64())
	}
	return out
}

// checkFull looks that a repository has want full points, and that each gives what
// the disks held when it was made.
func (w *world) checkFull(id string, want int) {
	w.t.Helper()
	points := w.points(id)
	require.Len(w.t, points, want)
	for _, p := range points {
		require.Equal(w.t, catalog.ModeFull, p.Metadata.Mode)
		got := w.contents(id, p)
		for i, d := range w.vm().Disks {
			require.Equal(w.t, w.frozen[p.ID][d.UUID], got[i], "%s: disk %d", p.ID, i)
		}
	}
}

func (w *world) called(method string) (n int) {
	for _, c := range w.pool.Calls() {
		if c.Method == method || c.Method == "Async."+method {
			n++
		}
	}
	return n
}

func TestFullRunsKeepThreeArchivesOfWhatTheDisksHeld(t *testing.T) {
	w := newFullWorld(t, "r", "other")
	for i := range 4 {
		w.write(0, int64(i)*3*mib, 2*mib+512, byte(10*i))
		w.write(1, 8*mib, mib+512, byte(10*i+1)) // up to the last, odd sector
		w.mustRun()
		require.Empty(t, w.pool.Snapshots(), "nobody needs one any more")
		w.checkFull("r", min(i+1, 3))
		w.checkFull("other", min(i+1, 3))
	}
	require.Equal(t, 4, w.called("GET /export"), "one read for both")
	var snapshot struct {
		Name    string `json:"name_label"`
		Suspend string `json:"suspend_VDI"`
	}
	require.NoError(t, json.Unmarshal(w.points("r")[0].Metadata.VMSnapshot, &snapshot))
	require.Equal(t, "[XO Backup nightly] web", snapshot.Name)
	require.Equal(t, "OpaqueRef:NULL", snapshot.Suspend)
}

func TestFullRunHasTheTreeOfXO(t *testing.T) {
	w := newFullWorld(t, "r")
	run := w.mustRun()
	vm := run.Record().Tasks[0]
	var names []string
	for _, tk := range vm.Tasks {
		names = append(names, tk.Message)
		for _, c := range tk.Tasks {
			names = append(names, tk.Message+" > "+c.Message)
		}
	}
	require.Equal(t, []string{"snapshot", "export", "export > transfer", "clean-vm"}, names)
	require.Equal(t, map[string]any{"type": "remote", "id": "r", "isFull": true}, vm.Tasks[1].Data)
	require.Equal(t, map[string]any{"size": w.points("r")[0].Metadata.Size}, vm.Tasks[1].Tasks[0].Result)
}

func TestJobOfXOInFullModeRuns(t *testing.T) {
	w := newFullWorld(t, "r")
	job := new(pipeline.Job)
	text := `{"id":"` + w.job.ID + `","name":"nightly","type":"backup","mode":"full","compression":"native","userId":"u",
		"vms":{"id":"` + w.vm().UUID + `"},"remotes":{"id":"r"},"settings":{"` + schedule + `":{"exportRetention":2}}}`
	require.NoError(t, json.Unmarshal([]byte(text), job))
	again, err := json.Marshal(job)
	require.NoError(t, err)
	require.JSONEq(t, text, string(again))
	w.job = job
	w.mustRun()
	w.mustRun()
	w.mustRun()
	w.checkFull("r", 2)
}

func TestArchivesAreCompressedAsTheJobSaysOrThePoolCan(t *testing.T) {
	w := newFullWorld(t, "r")
	kind := func() xva.Compression {
		w.mustRun()
		points := w.points("r")
		a, err := w.remotes["r"].OpenArchive(t.Context(), points[len(points)-1])
		require.NoError(t, err)
		defer func() { require.NoError(t, a.Close()) }()
		return a.Compression()
	}
	for setting, want := range map[string]xva.Compression{"": xva.None, "native": xva.Gzip, "zstd": xva.Zstd} {
		w.job.Compression = new(setting)
		require.Equal(t, want, kind(), setting)
	}
	w.job.Compression = nil
	require.Equal(t, xva.Zstd, kind(), "XCP-ng 8.3")
	w.opts.Pools = map[string]pipeline.Pool{"lab": withoutZstd{w.client}}
	require.Equal(t, xva.Gzip, kind())
	w.checkFull("r", 3)
}

func TestOnlyWhatMayRunIsSnapshotForAFullBackup(t *testing.T) {
	for state, want := range map[string]struct {
		set   string
		takes bool
	}{
		"Running":                         {`{"exportRetention":1}`, true},
		"Paused":                          {`{"exportRetention":1}`, true},
		"Halted":                          {`{"exportRetention":1}`, false},
		"Suspended":                       {`{"exportRetention":1}`, false},
		"Halted, unconditional":           {`{"exportRetention":1,"unconditionalSnapshot":true}`, true},
		"Halted, with snapshots retained": {`{"exportRetention":1,"snapshotRetention":1}`, true},
		"Suspended, unconditional":        {`{"exportRetention":1,"unconditionalSnapshot":true}`, true},
	} {
		t.Run(state, func(t *testing.T) {
			w := newFullWorld(t, "r")
			w.pool.Expect("exported base snapshots")
			w.enter(state)
			w.set(want.set)
			w.mustRun()
			require.Equal(t, want.takes, w.called("VM.snapshot") > 0)
			w.checkFull("r", 1)
			require.NotEmpty(t, w.vm().UUID, "the VM is still there")
		})
	}
}

// enter brings the VM, which is running, to the power state that name begins with.
func (w *world) enter(name string) {
	w.t.Helper()
	vm := w.vm().Ref
	var err error
	switch name[0] {
	case 'H':
		err = w.client.CallAsync(w.t.Context(), "VM.hard_shutdown", nil, vm)
	case 'P':
		err = w.client.CallAsync(w.t.Context(), "VM.pause", nil, vm)
	case 'S':
		err = w.client.CallAsync(w.t.Context(), "VM.suspend", nil, vm)
	}
	require.NoError(w.t, err)
}

func TestSnapshotRetentionOfFullJobsKeepsSnapshots(t *testing.T) {
	w := newFullWorld(t, "r")
	w.pool.Expect("exported base snapshots")
	w.set(`{"exportRetention":1,"deleteFirst":true,"snapshotRetention":2}`)
	for i := range 4 {
		w.mustRun()
		require.Len(t, w.pool.Snapshots(), min(i+1, 2))
		w.checkFull("r", 1)
	}
	w.set(`{"exportRetention":1}`)
	w.mustRun()
	require.Empty(t, w.pool.Snapshots())
}

func TestFullJobWithoutRepositoriesIsARollingSnapshot(t *testing.T) {
	w := newFullWorld(t)
	w.job.Remotes = nil
	w.pool.Expect("exported base snapshots")
	w.set(`{"snapshotRetention":2}`)
	for i := range 3 {
		w.mustRun()
		require.Len(t, w.pool.Snapshots(), min(i+1, 2))
	}
	require.Zero(t, w.called("GET /export"))
}

func TestExcludedDiskIsNotInTheArchive(t *testing.T) {
	w := newFullWorld(t, "r")
	require.NoError(t, w.client.Call(t.Context(), "VDI.set_name_label", nil, w.vm().Disks[1].Ref, "[NOBAK] scratch"))
	w.enter("Halted")
	w.mustRun()
	require.Equal(t, 1, w.called("VM.snapshot"), "the VM itself has that disk")
	a, err := w.remotes["r"].OpenArchive(t.Context(), w.points("r")[0])
	require.NoError(t, err)
	defer func() { require.NoError(t, a.Close()) }()
	r, err := xva.NewReader(a, nil)
	require.NoError(t, err)
	require.Len(t, r.Disks(), 1)
	require.NoError(t, r.Close())
}

// Full and delta points of one schedule are counted apart, and the other mode's
// snapshot is no base.
func TestJobMayChangeItsMode(t *testing.T) {
	w := newFullWorld(t, "r")
	w.set(`{"exportRetention":1}`)
	w.mustRun()
	w.job.Mode = pipeline.ModeDelta
	w.mustRun()
	require.Len(t, w.points("r"), 2)
	require.Len(t, w.pool.Snapshots(), 1)
	w.job.Mode = pipeline.ModeFull
	w.mustRun()
	require.Len(t, w.points("r"), 2)
	require.Empty(t, w.pool.Snapshots())
	w.job.Mode = pipeline.ModeDelta
	run := w.mustRun()
	require.Equal(t, true, find(run, "export")[0].Data("isFull"))
	require.Len(t, w.points("r"), 2)
}

func TestVMWithoutDisksIsBackedUpInFullMode(t *testing.T) {
	w := newFullWorld(t, "r")
	w.enter("Halted")
	var vbds []xapi.Ref[xapi.VBD]
	require.NoError(t, w.client.Call(t.Context(), "VM.get_VBDs", &vbds, w.vm().Ref))
	for _, vbd := range vbds {
		require.NoError(t, w.client.Call(t.Context(), "VBD.destroy", nil, vbd))
	}
	for _, setting := range []string{`{"exportRetention":2}`, `{"exportRetention":2,"unconditionalSnapshot":true}`} {
		w.set(setting)
		w.mustRun()
	}
	require.Len(t, w.points("r"), 2)
	for _, p := range w.points("r") {
		require.Empty(t, w.contents("r", p))
	}
	require.Empty(t, w.pool.Snapshots())
	w.job.Mode = pipeline.ModeDelta
	run, err := w.run()
	require.Error(t, err)
	require.Equal(t, task.Skipped, run.Status())
}
