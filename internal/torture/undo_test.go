package torture_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// mortalPool is a pool whose client dies just before, or after, it changes something.
type mortalPool struct {
	*xapi.Client

	dieAt    int64
	dieAfter bool
	changes  atomic.Int64
}

func (m *mortalPool) change(do func() error) error {
	n := m.changes.Add(1)
	if n == m.dieAt && !m.dieAfter {
		dieNow()
	}
	err := do()
	if n == m.dieAt {
		dieNow()
	}
	return err
}

func (m *mortalPool) Call(ctx context.Context, method string, result any, args ...any) error {
	if strings.Contains(method, ".get_") {
		return m.Client.Call(ctx, method, result, args...)
	}
	return m.change(func() error { return m.Client.Call(ctx, method, result, args...) })
}

func (m *mortalPool) CallAsync(ctx context.Context, method string, result any, args ...any) error {
	return m.change(func() error { return m.Client.CallAsync(ctx, method, result, args...) })
}

func (m *mortalPool) ExportVDI(ctx context.Context, vdi xapi.Ref[xapi.VDI], opts *xapi.ExportVDIOptions) (d *xapi.Download, err error) {
	err = m.change(func() (err error) { d, err = m.Client.ExportVDI(ctx, vdi, opts); return err })
	return d, err
}

func (m *mortalPool) ExportVM(ctx context.Context, vm xapi.Ref[xapi.VM], opts *xapi.ExportVMOptions) (d *xapi.Download, err error) {
	err = m.change(func() (err error) { d, err = m.Client.ExportVM(ctx, vm, opts); return err })
	return d, err
}

// runWithState runs a job, or recovers from runs before, with a state that survives.
func (o *orders) runWithState(ctx context.Context, folder remote.Filesystem) (err error) {
	client, err := xapi.Dial(ctx, o.URL, &xapi.Options{Username: o.Username, Password: xapi.Secret(o.Password)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	repository, err := catalog.Open(ctx, folder, nil)
	if err != nil {
		return err
	}
	state, err := pipeline.DirState(o.State)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	pool := &mortalPool{Client: client, dieAt: int64(o.DieAt), dieAfter: o.DieAfter}
	runner, err := pipeline.NewRunner(&pipeline.RunnerOptions{
		Pools: map[string]pipeline.Pool{"pool": pool}, State: state,
		Remotes: func(context.Context, string) (*catalog.Catalog, error) { return repository, nil },
	})
	if err != nil {
		return err
	}
	if o.Task == "recover" {
		return runner.Recover(ctx)
	}
	job := &pipeline.Job{
		ID: "0b000000-0000-4000-8000-000000000002", Name: "night", Type: pipeline.TypeBackup, Mode: o.Mode,
		VMs: pipeline.IDs(o.VM), Remotes: pipeline.IDs("folder"),
		Settings: map[string]json.RawMessage{"": json.RawMessage(o.Settings)},
	}
	_, err = runner.Run(ctx, job, &pipeline.RunOptions{ScheduleID: schedule})
	if faulty, ok := folder.(*remotetest.Faulty); ok {
		fmt.Printf("changes %d %d\n", pool.changes.Load(), faulty.Count(remotetest.Mutating()...))
	}
	return err
}

// night is a pool, a repository and a state, and what kind of job is killed.
type night struct {
	*world

	state, mode, settings string
}

func (n *night) orders(task string) *orders {
	return &orders{
		Task: task, URL: n.pool.URL(), Username: n.pool.Username(), Password: n.pool.Password(), Dir: n.dir, VM: n.vm.UUID,
		State: n.state, Mode: n.mode, Settings: n.settings,
	}
}

// A process is killed at each step of a job: just before and after each change of the pool,
// and before each of the repository. The next one is killed while it recovers, or not. Then
// there is nothing left of it, the guest runs, and the next backup is what it should be.
func TestKillAtAnyStepOfAJobLeavesNothing(t *testing.T) {
	kinds := []struct{ name, mode, settings string }{
		{"delta of a guest that is halted", "delta", `{"exportRetention": 2, "offlineSnapshot": true}`},
		{"full of a guest that is halted", "full", `{"exportRetention": 2, "offlineBackup": true}`},
		{"delta", "delta", `{"exportRetention": 2}`},
		{"full", "full", `{"exportRetention": 2}`},
	}
	if os.Getenv(stepsVar) == "" { // as a smoke those that do most
		kinds = kinds[:2]
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seeded(t), 7))
			n := newNight(t, kind.mode, kind.settings)
			atPool, atRepository := n.steps(t, random)
			var kills []*orders
			for i := range atPool {
				before, after := n.orders("run"), n.orders("run")
				before.DieAt, after.DieAt, after.DieAfter = i+1, i+1, true
				kills = append(kills, before, after)
			}
			for i := range atRepository {
				k := n.orders("run")
				k.KillAt = i + 1
				kills = append(kills, k)
			}
			random.Shuffle(len(kills), func(i, j int) { kills[i], kills[j] = kills[j], kills[i] })
			if os.Getenv(stepsVar) != "all" {
				kills = kills[:min(len(kills), number(t, stepsVar, 1))]
			}
			killed := 0
			for _, k := range kills {
				if n.kill(t, random, k) {
					killed++
				}
			}
			t.Logf("%d kills in %d steps of a job", killed, len(kills))
			require.True(t, killed > 0 || len(kills) == 1, "the last steps of a job may come to fewer")
		})
	}
}

func newNight(t *testing.T, mode, settings string) *night {
	t.Helper()
	inventory := xapitest.Inventory{VMs: []xapitest.VM{{Name: "guest", PowerState: "Running"}}}
	for i := range disks {
		inventory.VMs[0].Disks = append(inventory.VMs[0].Disks, xapitest.Disk{Name: fmt.Sprint("disk ", i), Size: diskSize})
	}
	pool := xapitest.NewPool(t, inventory)
	w := &world{pool: pool, vm: pool.VM("guest"), dir: scratch(t), known: map[string][disks]string{}}
	return &night{world: w, state: scratch(t), mode: mode, settings: settings}
}

// steps lets jobs run until retention removes a point each time, and returns how many
// changes the last one made.
func (n *night) steps(t *testing.T, random *rand.Rand) (atPool, atRepository int) {
	t.Helper()
	for range 3 {
		n.write(t, random)
		o := n.orders("run")
		o.KillAt = 1 << 30
		c := newChild(t, o)
		require.True(t, c.run(t))
		n.checkContent(t)
		_, counts, _ := strings.Cut(c.output.String(), "changes")
		_, err := fmt.Sscanf(counts, "%d %d", &atPool, &atRepository)
		require.NoError(t, err, &c.output)
	}
	n.checkAfter(t)
	return atPool, atRepository
}

// kill lets a process be killed, recovers, and backs up. It tells whether it was killed
// before it came to its end.
func (n *night) kill(t *testing.T, random *rand.Rand, k *orders) (killed bool) {
	t.Helper()
	n.write(t, random)
	name := fmt.Sprintf("change %d of the pool (after: %v), %d of the repository", k.DieAt, k.DieAfter, k.KillAt)
	killed = !newChild(t, k).run(t)
	n.checkContent(t)
	if random.IntN(2) == 0 {
		again := n.orders("recover")
		again.DieAt, again.DieAfter = 1+random.IntN(6), random.IntN(2) == 0
		if random.IntN(2) == 0 {
			again.DieAt, again.KillAt = 0, 1+random.IntN(6)
		}
		name += fmt.Sprintf(", then change %d (after: %v), %d of the recovery", again.DieAt, again.DieAfter, again.KillAt)
		newChild(t, again).run(t)
	}
	require.True(t, newChild(t, n.orders("recover")).run(t), name)
	n.checkRecovered(t, name, "exported base snapshots") // retention is the next run's
	n.write(t, random)
	require.True(t, newChild(t, n.orders("run")).run(t), name)
	n.checkRecovered(t, name)
	n.checkAfter(t)
	return killed
}

// checkContent reads all points there are.
func (n *night) checkContent(t *testing.T) {
	t.Helper()
	if n.mode == "delta" {
		n.check(t)
	}
}

// checkRecovered looks for what a process leaves that was killed, but for what contains one
// of the texts.
func (n *night) checkRecovered(t *testing.T, name string, but ...string) {
	t.Helper()
	require.Empty(t, slices.DeleteFunc(n.pool.Leaks(), func(leak string) bool {
		return slices.ContainsFunc(but, func(text string) bool { return strings.Contains(leak, text) })
	}), name)
	guest := n.pool.VM("guest")
	require.Equal(t, "Running", n.powerState(t, guest.Ref), name)
	require.NoError(t, filepath.WalkDir(n.dir, func(path string, e fs.DirEntry, err error) error {
		require.False(t, remote.IsTemp(e.Name()) || strings.HasSuffix(path, ".merge.json") || strings.HasSuffix(path, ".lock"), "%s: %s", name, path)
		return err
	}))
	intents, err := os.ReadFile(filepath.Join(n.state, "intents.jsonl"))
	require.NoError(t, err)
	state, err := pipeline.DirState(n.state)
	require.NoError(t, err)
	defer state.Close()
	compacted, err := os.ReadFile(filepath.Join(n.state, "intents.jsonl"))
	require.NoError(t, err)
	require.Empty(t, compacted, "%s: %s", name, intents)
	for r, err := range state.Runs().Runs(nil) {
		require.NoError(t, err)
		require.NotZero(t, r.End, "%s: run %s", name, r.ID)
	}
}

func (n *night) powerState(t *testing.T, ref string) string {
	t.Helper()
	vm, err := xapi.Get(t.Context(), n.pool.Client(t), xapi.Ref[xapi.VM](ref))
	require.NoError(t, err)
	return vm.PowerState
}

// checkAfter looks at what a run has made that came to its end.
func (n *night) checkAfter(t *testing.T) {
	t.Helper()
	n.checkContent(t)
	folder := openFolder(t, n.dir)
	repository, err := catalog.Open(t.Context(), folder, nil)
	require.NoError(t, err)
	var last *catalog.Point
	points := 0
	for p, err := range repository.Points(t.Context(), n.vm.UUID) {
		require.NoError(t, err)
		last = p
		points++
	}
	require.Equal(t, 2, points)
	if n.mode == "full" {
		require.Empty(t, n.pool.Snapshots())
		return
	}
	require.Len(t, n.pool.Snapshots(), 1, "the base of the next delta, and no other")
	for disk, isDelta := range last.Metadata.IsVHDDifferencing {
		require.True(t, isDelta, "%s: %s", last.ID, disk)
	}
}
