package torture_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

const (
	killsVar = "XENBACKUP_KILLS" // how many kills; a few when empty

	disks    = 3
	diskSize = 8 << 20
	schedule = "5c4ed41e-0000-4000-8000-000000000001"
)

// runJob runs the job once: clean up after the one before, back up, expire, merge.
func (o *orders) runJob(ctx context.Context, folder remote.Filesystem) (err error) {
	pool, err := xapi.Dial(ctx, o.URL, &xapi.Options{Username: o.Username, Password: xapi.Secret(o.Password)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	repository, err := catalog.Open(ctx, folder, nil)
	if err != nil {
		return err
	}
	runner, err := pipeline.NewRunner(&pipeline.RunnerOptions{
		Pools:   map[string]pipeline.Pool{"pool": pool},
		Remotes: func(context.Context, string) (*catalog.Catalog, error) { return repository, nil },
	})
	if err != nil {
		return err
	}
	job := &pipeline.Job{
		ID: "0b000000-0000-4000-8000-000000000001", Name: "torture", Type: pipeline.TypeBackup, Mode: pipeline.ModeDelta,
		VMs: pipeline.IDs(o.VM), Remotes: pipeline.IDs("folder"),
		Settings: map[string]json.RawMessage{"": json.RawMessage(`{"exportRetention": 2, "fullInterval": 7}`)},
	}
	_, err = runner.Run(ctx, job, &pipeline.RunOptions{ScheduleID: schedule})
	return err
}

// world is what outlives the child: the pool and the repository.
type world struct {
	pool *xapitest.Pool
	vm   xapitest.VMInfo
	dir  string

	generation int
	now        [disks]string            // digests of the live disks
	known      map[string][disks]string // digests that each point must have, by its id
}

func TestKillOfAJobLosesNoCommittedPoint(t *testing.T) {
	t.Parallel()
	kills := number(t, killsVar, 3)
	random := rand.New(rand.NewPCG(seeded(t), 0))

	w := newWorld(t)
	var whole time.Duration // of the longest run that was let through
	for range 3 {
		w.write(t, random)
		whole = max(whole, w.run(t))
		w.check(t)
	}
	require.NotEmpty(t, w.known)
	killed := 0
	for killed < kills {
		w.write(t, random)
		if w.kill(t, time.Duration(random.Int64N(int64(whole)))) {
			killed++
		}
		w.check(t)
	}
	for range 2 { // two runs that come to an end leave nothing behind
		w.write(t, random)
		w.run(t)
		w.check(t)
	}
	require.Len(t, w.known, 2, "retention after all")
	w.checkLeavings(t)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	inventory := xapitest.Inventory{VMs: []xapitest.VM{{Name: "guest", PowerState: "Running"}}}
	for i := range disks {
		inventory.VMs[0].Disks = append(inventory.VMs[0].Disks, xapitest.Disk{Name: fmt.Sprint("disk ", i), Size: diskSize})
	}
	pool := xapitest.NewPool(t, inventory)
	pool.Expect("task ") // of a client that was killed
	return &world{pool: pool, vm: pool.VM("guest"), dir: scratch(t), known: map[string][disks]string{}}
}

// write lets the guest write to each disk, and notes what they hold then.
func (w *world) write(t *testing.T, random *rand.Rand) {
	t.Helper()
	w.generation++
	chunk := make([]byte, 64<<10)
	for i, d := range w.vm.Disks {
		f, err := os.OpenFile(d.Path, os.O_RDWR, 0)
		require.NoError(t, err)
		for range 3 {
			for j := range chunk {
				chunk[j] = byte(random.Uint32())
			}
			_, err = f.WriteAt(chunk, random.Int64N(diskSize-int64(len(chunk))))
			require.NoError(t, err)
		}
		h := sha256.New()
		_, err = io.Copy(h, io.NewSectionReader(f, 0, diskSize))
		require.NoError(t, err)
		require.NoError(t, f.Close())
		w.now[i] = string(h.Sum(nil))
	}
}

func (w *world) child(t *testing.T) *child {
	t.Helper()
	return newChild(t, &orders{
		Task: "job", URL: w.pool.URL(), Username: w.pool.Username(), Password: w.pool.Password(), Dir: w.dir, VM: w.vm.UUID,
	})
}

// run lets a child come to its end.
func (w *world) run(t *testing.T) time.Duration {
	t.Helper()
	start := time.Now()
	require.True(t, w.child(t).run(t))
	return time.Since(start)
}

// kill kills a child after a while; false when it had come to its end before.
func (w *world) kill(t *testing.T, after time.Duration) bool {
	t.Helper()
	return killAfter(t, w.child(t), after)
}

// check reads every point there is: each must be a new one with what the disks
// hold now, or a known one with what it had. None may vanish but by retention.
func (w *world) check(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	folder, err := local.Open(w.dir, nil)
	require.NoError(t, err)
	defer folder.Close()
	repository, err := catalog.Open(ctx, folder, nil)
	require.NoError(t, err)
	seen := map[string]bool{}
	for p, err := range repository.Points(ctx, w.vm.UUID) {
		require.NoError(t, err)
		want, ok := w.known[p.ID]
		if !ok {
			want = w.now
			w.known[p.ID] = want
		}
		require.Len(t, repository.Disks(p), disks)
		for _, d := range repository.Disks(p) {
			require.Equal(t, want[w.position(d.SourceVDI)], w.digest(t, repository, p, d.Ref), "%s of %s", d.Name, p.ID)
		}
		seen[p.ID] = true
	}
	for id := range w.known {
		if seen[id] {
			continue
		}
		newerKept := 0
		for other := range seen {
			if other > id {
				newerKept++
			}
		}
		require.GreaterOrEqual(t, newerKept, 2, "%s vanished before its time", id)
		delete(w.known, id)
	}
}

func (w *world) position(vdi string) int {
	for i, d := range w.vm.Disks {
		if d.UUID == vdi {
			return i
		}
	}
	return -1
}

func (w *world) digest(t *testing.T, repository *catalog.Catalog, p *catalog.Point, ref string) string {
	t.Helper()
	d, err := repository.OpenDisk(t.Context(), p, ref)
	require.NoError(t, err, p.ID)
	defer d.Close()
	h := sha256.New()
	_, err = io.Copy(h, io.NewSectionReader(d, 0, d.Size()))
	require.NoError(t, err, p.ID)
	return string(h.Sum(nil))
}

// checkLeavings looks for what nobody needs any more, in the folder and in the pool.
func (w *world) checkLeavings(t *testing.T) {
	t.Helper()
	vhds := 0
	require.NoError(t, filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
		require.False(t, remote.IsTemp(e.Name()), path)
		require.False(t, strings.HasSuffix(path, ".merge.json"), path)
		require.False(t, strings.HasSuffix(path, ".lock"), path)
		if strings.HasSuffix(path, ".vhd") {
			vhds++
		}
		return err
	}))
	require.LessOrEqual(t, vhds, 2*disks, "disks that no point needs")
	for _, leak := range w.pool.Leaks() { // a task of a dead client ends by itself, on a real pool after a day
		require.True(t, strings.HasPrefix(leak, "task "), leak)
	}
	require.Len(t, w.pool.Snapshots(), 1, "the base of the next delta, and no other")
}
