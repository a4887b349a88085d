package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
	"github.com/xenbackup/xenbackup/xva"
)

// withoutZstd is a pool of hosts that cannot compress with zstd.
type withoutZstd struct{ *xapi.Client }

func (p withoutZstd) Features(ctx context.Context) (*xapi.Features, error) {
	f, err := p.Client.Features(ctx)
	if err == nil {
		f.Zstd = false
	}
	return f, err
}

// A full run that fails says why and leaves what was there, and nothing more, on the
// pool and on the repository.
func TestFailedFullRunIsUndone(t *testing.T) {
	refused := &xapi.Error{Code: "SR_BACKEND_FAILURE_82", Params: []string{"", "snapshot failed", ""}}
	for name, c := range map[string]struct {
		script func(*world)
		want   error
	}{
		"snapshot refused": {func(w *world) { w.pool.Fail("VM.snapshot", xapitest.OnCall(1), refused) }, refused},
		"export refused":   {func(w *world) { w.pool.Fail("GET /export", xapitest.OnCall(1), refused) }, refused},
		"cut in ova.xml":   {func(w *world) { w.pool.Break("GET /export", xapitest.OnCall(1), 700, xapitest.Cut) }, xva.ErrTruncated},
		"cut in a disk":    {func(w *world) { w.pool.Break("GET /export", xapitest.OnCall(1), 3*mib, xapitest.Cut) }, xva.ErrTruncated},
		"cut before its last block": {func(w *world) {
			w.pool.Break("GET /export", xapitest.OnCall(1), w.points("r")[0].Metadata.Size-512, xapitest.Cut)
		}, xva.ErrTruncated},
		"reset":      {func(w *world) { w.pool.Break("GET /export", xapitest.OnCall(1), 3*mib, xapitest.Reset) }, nil},
		"error page": {func(w *world) { w.pool.Break("GET /export", xapitest.OnCall(1), 3*mib, xapitest.ErrorPage) }, nil},
		"stall": {func(w *world) {
			w.pool.Break("GET /export", xapitest.OnCall(1), 3*mib, xapitest.Stall)
			w.opts.Pools = map[string]pipeline.Pool{"lab": dial(w.t, w.pool, 3*time.Second)}
		}, xapi.ErrStalled},
		"compressed, cut": {func(w *world) {
			w.job.Compression = new(pipeline.CompressionZstd)
			w.pool.Break("GET /export", xapitest.OnCall(1), 4096, xapitest.Cut)
		}, xva.ErrTruncated},
	} {
		t.Run(name, func(t *testing.T) {
			w := newFullWorld(t, "r")
			w.mustRun()
			c.script(w)
			run, err := w.run()
			require.Error(t, err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			require.Equal(t, task.Failure, run.Status())
			w.checkClean()
			require.Empty(t, w.pool.Snapshots())
			w.opts.Pools = map[string]pipeline.Pool{"lab": w.client}
			w.checkFull("r", 1)
			w.mustRun()
			w.checkFull("r", 2)
		})
	}
}

func TestCancelledFullRunLeavesNothing(t *testing.T) {
	for _, state := range []string{"Running", "Halted"} {
		t.Run(state, func(t *testing.T) {
			w := newFullWorld(t, "r")
			w.enter(state)
			w.runCancelled("r")
			w.mustRun()
			w.checkFull("r", 1)
		})
	}
}

func TestFullDiskStopsItsOwnArchiveAlone(t *testing.T) {
	w := newFullWorld(t, "good", "bad")
	faulty := remotetest.NewFaulty(w.fsys("bad"))
	w.mount("bad", faulty)
	w.mustRun()
	for n := range 4 {
		faulty.FailFrom(1+n, remote.ErrNoSpace, remotetest.Write)
		run, err := w.run()
		require.ErrorIs(t, err, remote.ErrNoSpace)
		for _, export := range find(run, "export") {
			want := task.Success
			if export.Data("id") == "bad" {
				want = task.Failure
			}
			require.Equal(t, want, export.Status())
		}
		require.Positive(t, faulty.Fired())
		faulty.Heal()
		w.checkClean()
		w.checkFull("good", min(2+n, 3))
		w.checkFull("bad", 1)
	}
	w.mustRun()
	w.checkFull("bad", 2)
}

// What a compressed export of an empty disk does: nothing comes for longer than the
// watchdog's patience, but the task progresses.
func TestSilentExportThatProgressesIsNoStall(t *testing.T) {
	w := newFullWorld(t, "r")
	w.job.Compression = new(pipeline.CompressionZstd)
	w.opts.Pools = map[string]pipeline.Pool{"lab": dial(t, w.pool, time.Second)}
	w.pool.Idle("GET /export", xapitest.OnCall(1), 100, 3)
	w.mustRun()
	w.checkFull("r", 1)
}

func TestLeavingsOfAKilledFullRunAreRemovedBeforeTheNext(t *testing.T) {
	w := newFullWorld(t, "r")
	w.mustRun()
	dir := filepath.Join(w.dirs["r"], "xo-vm-backups", w.vm().UUID)
	for _, name := range []string{".20250101T000000Z.xva.0123456789abcdef.tmp", "20250101T000000Z.xva", "20250101T000000Z.xva.checksum"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), make([]byte, 4096), 0o600))
	}
	var left xapi.Ref[xapi.VM]
	require.NoError(t, w.client.Call(t.Context(), "VM.snapshot", &left, w.vm().Ref, "[XO Backup nightly] web"))
	for key, value := range map[string]string{
		"xo:backup:job": w.job.ID, "xo:backup:schedule": schedule, "xo:backup:vm": w.vm().UUID, "xo:backup:datetime": "20250101T00:00:00Z",
	} {
		require.NoError(t, w.client.Call(t.Context(), "VM.add_to_other_config", nil, left, key, value))
	}
	w.mount("r", remotetest.NewFaulty(w.fsys("r")))
	run := w.mustRun()
	cleans := find(run, "clean-vm")
	require.Len(t, cleans, 2, "one before, for it has something to tell")
	require.NotEmpty(t, cleans[0].Infos())
	w.checkFull("r", 2)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		require.NotContains(t, f.Name(), "20250101T000000Z")
	}
}

func TestFullPointsOfEncryptedRepositories(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	w := newFullWorld(t, "r")
	_, err := crypt.Init(t.Context(), w.fsys("r"), key, nil)
	require.NoError(t, err)
	w.remotes["r"], err = catalog.Open(t.Context(), w.fsys("r"), &catalog.Options{Key: key})
	require.NoError(t, err)
	for range 4 {
		w.mustRun()
	}
	w.checkFull("r", 3)
	sums, err := filepath.Glob(filepath.Join(w.dirs["r"], "xo-vm-backups", w.vm().UUID, "*.checksum"))
	require.NoError(t, err)
	require.Empty(t, sums)
}

func TestNoMoreThanTwoArchivesAreExportedAtATime(t *testing.T) {
	t.Parallel()
	var inv xapitest.Inventory
	for i := range 6 {
		inv.VMs = append(inv.VMs, xapitest.VM{Name: fmt.Sprint("vm ", i), Disks: []xapitest.Disk{{Name: "a", Size: 2 * mib}}})
	}
	pool := xapitest.NewPool(t, inv)
	repository := openFolder(t, t.TempDir())
	limiter := pipeline.NewLimiter(pipeline.DefaultLimits())
	watched := &peaks{Limiter: limiter, now: map[pipeline.Op]int{}, most: map[pipeline.Op]int{}}
	var ids []string
	for _, vm := range pool.VMs() {
		ids = append(ids, vm.UUID)
	}
	runner, err := pipeline.NewRunner(&pipeline.RunnerOptions{
		Pools:   map[string]pipeline.Pool{"lab": pool.Client(t)},
		Remotes: func(context.Context, string) (*catalog.Catalog, error) { return repository, nil },
		Limiter: watched,
	})
	require.NoError(t, err)
	_, err = runner.Run(t.Context(), &pipeline.Job{
		ID: "job", Name: "nightly", Type: pipeline.TypeBackup, Mode: pipeline.ModeFull, VMs: pipeline.IDs(ids...), Remotes: pipeline.IDs("r"),
		Settings: map[string]json.RawMessage{"": json.RawMessage(`{"exportRetention":1,"concurrency":0}`)},
	}, nil)
	require.NoError(t, err)
	require.Equal(t, 2, watched.most[pipeline.OpVMExport])
	require.Zero(t, watched.most[pipeline.OpSnapshot], "all are halted")
	require.Zero(t, limiter.InUse(pipeline.Key{Pool: "lab", Op: pipeline.OpVMExport}))
	require.Empty(t, pool.Leaks())
}
