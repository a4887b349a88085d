package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

const mib = 1 << 20

// world is a pool with a VM of two disks, and repositories to back it up to.
type world struct {
	t       *testing.T
	pool    *xapitest.Pool
	client  *xapi.Client
	opts    pipeline.RunnerOptions
	job     *pipeline.Job
	remotes map[string]*catalog.Catalog
	dirs    map[string]string
	frozen  map[string]map[string]string // sums by point id and source VDI
}

const schedule = "11111111-0000-4000-8000-000000000001"

// newWorld returns a world with the given repositories, and a job that keeps 3
// points in each.
func newWorld(t *testing.T, remotes ...string) *world {
	t.Helper()
	t.Parallel()
	w := &world{
		t: t, remotes: map[string]*catalog.Catalog{}, dirs: map[string]string{},
		frozen: map[string]map[string]string{},
	}
	w.pool = xapitest.NewPool(t, xapitest.Inventory{
		Name: "lab",
		SRs:  []xapitest.SR{{Name: "local"}, {Name: "second"}, {Name: "tiny", Size: 4 * mib}},
		VMs: []xapitest.VM{{
			Name: "web", Description: "the web server", PowerState: "Running", Memory: 8 * mib, Tags: []string{"prod"},
			OtherConfig: map[string]string{"note": "kept"},
			Disks:       []xapitest.Disk{{Name: "system", Size: 16 * mib, Bootable: true}, {Name: "data", Size: 9*mib + 512}},
			VIFs:        []xapitest.VIF{{MAC: "02:16:3e:00:00:02"}},
		}},
	})
	w.client = dial(t, w.pool, 0)
	for _, id := range remotes {
		w.dirs[id] = t.TempDir()
		w.mount(id, w.fsys(id))
	}
	w.job = &pipeline.Job{
		ID: "22222222-0000-4000-8000-000000000001", Name: "nightly", Type: pipeline.TypeBackup, Mode: pipeline.ModeDelta,
		VMs: pipeline.IDs(w.vm().UUID), Remotes: pipeline.IDs(remotes...),
		Settings: map[string]json.RawMessage{schedule: json.RawMessage(`{"exportRetention":3}`)},
	}
	w.opts = pipeline.RunnerOptions{
		Pools: map[string]pipeline.Pool{"lab": w.client},
		Remotes: func(_ context.Context, id string) (*catalog.Catalog, error) {
			return w.remotes[id], nil
		},
		Budget: disk.NewBudget(16 * mib),
	}
	for i := range w.vm().Disks {
		w.write(i, 0, 3*mib, byte(i+1))
	}
	return w
}

// dial logs in to a pool. A patience of 0 is the default: only a test that waits
// for a stall wants less, for on a busy machine everything may stall.
func dial(t *testing.T, pool *xapitest.Pool, patience time.Duration) *xapi.Client {
	t.Helper()
	client, err := xapi.Dial(t.Context(), pool.URL(), &xapi.Options{
		Username: pool.Username(), Password: xapi.Secret(pool.Password()), PollInterval: 10 * time.Millisecond,
		StallTimeout: patience, FirstByteTimeout: patience,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func (w *world) vm() xapitest.VMInfo { return w.pool.VM("web") }

// fsys opens the folder of a repository.
func (w *world) fsys(id string) remote.Filesystem {
	w.t.Helper()
	fsys, err := local.Open(w.dirs[id], nil)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, fsys.Close()) })
	return fsys
}

// mount makes fsys the storage of a repository.
func (w *world) mount(id string, fsys remote.Filesystem) {
	w.t.Helper()
	c, err := catalog.Open(w.t.Context(), fsys, nil)
	require.NoError(w.t, err)
	w.remotes[id] = c
}

// openFolder opens the repository in a folder.
func openFolder(tb testing.TB, dir string) *catalog.Catalog {
	tb.Helper()
	fsys, err := local.Open(dir, nil)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, fsys.Close()) })
	c, err := catalog.Open(tb.Context(), fsys, nil)
	require.NoError(tb, err)
	return c
}

// write is what the guest does.
func (w *world) write(diskIndex int, off int64, n int, fill byte) {
	w.t.Helper()
	f, err := os.OpenFile(w.vm().Disks[diskIndex].Path, os.O_RDWR, 0)
	require.NoError(w.t, err)
	data := make([]byte, n)
	for i := range data {
		data[i] = fill + byte(i%251)
	}
	_, err = f.WriteAt(data, off)
	require.NoError(w.t, err)
	require.NoError(w.t, f.Close())
}

// run runs the job, and remembers what the disks held, which nobody writes meanwhile.
func (w *world) run(opts ...func(*pipeline.RunOptions)) (*task.Run, error) {
	w.t.Helper()
	return w.runCtx(w.t.Context(), opts...)
}

// runCancelled cancels a first run as soon as something was transferred: nothing may
// be left of it, in the pool or the repository.
func (w *world) runCancelled(repository string) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	w.opts.Observer = task.ObserverFunc(func(e task.Event) {
		if e.Kind == task.EventProgress && e.Done > 0 {
			cancel()
		}
	})
	run, err := w.runCtx(ctx)
	require.ErrorIs(w.t, err, context.Canceled)
	require.Equal(w.t, task.Interrupted, run.Status())
	w.checkClean()
	require.Empty(w.t, w.pool.Snapshots())
	require.Empty(w.t, w.points(repository))
	w.opts.Observer = nil
}

func (w *world) runCtx(ctx context.Context, opts ...func(*pipeline.RunOptions)) (*task.Run, error) {
	w.t.Helper()
	runner, err := pipeline.NewRunner(&w.opts)
	require.NoError(w.t, err)
	options := &pipeline.RunOptions{ScheduleID: schedule}
	for _, f := range opts {
		f(options)
	}
	run, err := runner.Run(ctx, w.job, options)
	for id := range w.remotes {
		for _, p := range w.points(id) {
			if w.frozen[p.ID] == nil {
				w.frozen[p.ID] = map[string]string{}
				for _, d := range w.vm().Disks {
					w.frozen[p.ID][d.UUID] = fileSum(w.t, d.Path)
				}
			}
		}
	}
	return run, err
}

// mustRun runs the job with success and looks that nothing is left over.
func (w *world) mustRun(opts ...func(*pipeline.RunOptions)) *task.Run {
	w.t.Helper()
	run, err := w.run(opts...)
	require.NoError(w.t, err)
	require.Equal(w.t, task.Success, run.Status())
	w.checkClean()
	return run
}

// checkClean looks that pool and repositories hold nothing that a run left.
func (w *world) checkClean() {
	w.t.Helper()
	require.Empty(w.t, w.pool.Leaks())
	for _, s := range w.pool.Snapshots() {
		require.Equal(w.t, "[XO Backup nightly] web", s.Name)
		require.Equal(w.t, "true", w.tags(s)["xo:backup:exported"])
	}
	for id, dir := range w.dirs {
		_ = filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
			require.NoError(w.t, err)
			require.False(w.t, strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".lock"), "%s: %s", id, name)
			return nil
		})
	}
}

func (w *world) tags(vm xapitest.VMInfo) map[string]string {
	w.t.Helper()
	rec, err := xapi.Get(w.t.Context(), w.client, xapi.Ref[xapi.VM](vm.Ref))
	require.NoError(w.t, err)
	return rec.OtherConfig
}

// points returns the restore points of the VM in a repository, oldest first.
func (w *world) points(id string) []*catalog.Point {
	w.t.Helper()
	var points []*catalog.Point
	for p, err := range w.remotes[id].Points(w.t.Context(), w.vm().UUID) {
		if err != nil {
			return nil // nothing was ever written
		}
		points = append(points, p)
	}
	return points
}

// checkPoints looks that a repository has want points, and that each gives what
// the disks held when it was made.
func (w *world) checkPoints(id string, want int) []*catalog.Point {
	w.t.Helper()
	points := w.points(id)
	require.Len(w.t, points, want)
	for _, p := range points {
		for _, info := range w.remotes[id].Disks(p) {
			d, err := w.remotes[id].OpenDisk(w.t.Context(), p, info.Ref)
			require.NoError(w.t, err)
			require.Equal(w.t, w.frozen[p.ID][info.SourceVDI], sum(w.t, io.NewSectionReader(d, 0, d.Size())), "%s: %s", p.ID, info.Name)
			require.NoError(w.t, d.Close())
		}
	}
	return points
}

func isDelta(p *catalog.Point) bool {
	for _, differencing := range p.Metadata.IsVHDDifferencing {
		if !differencing {
			return false
		}
	}
	return true
}

// sumSeed makes the sums of one process comparable.
var sumSeed = maphash.MakeSeed()

// newSum returns a hash that costs less than reading what it hashes: every run of a job
// hashes all disks.
func newSum() *maphash.Hash {
	h := &maphash.Hash{}
	h.SetSeed(sumSeed)
	return h
}

func sum(t *testing.T, r io.Reader) string {
	t.Helper()
	h := newSum()
	_, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, make([]byte, 1<<20))
	require.NoError(t, err)
	return fmt.Sprintf("%016x", h.Sum64())
}

func fileSum(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	return sum(t, f)
}

// find returns the tasks of a run with a name.
func find(run *task.Run, name string) []*task.Task {
	return slices.Collect(func(yield func(*task.Task) bool) {
		for tk := range run.All() {
			if tk.Name() == name && !yield(tk) {
				return
			}
		}
	})
}
