package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// peaks is a limiter that notes how many slots were out at most.
type peaks struct {
	pipeline.Limiter
	mu   sync.Mutex
	now  map[pipeline.Op]int
	most map[pipeline.Op]int
}

func (p *peaks) Acquire(ctx context.Context, key pipeline.Key) (context.Context, func(), error) {
	slot, release, err := p.Limiter.Acquire(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	p.add(key.Op, 1)
	return slot, func() { p.add(key.Op, -1); release() }, nil
}

func (p *peaks) add(op pipeline.Op, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now[op] += n
	p.most[op] = max(p.most[op], p.now[op])
}

// All VMs at once, of two jobs, and still no more work on the pool than it bears;
// the memory of all transfers stays within one small budget.
func TestTwoJobsOfManyVMsShareLimitsAndBudget(t *testing.T) {
	var inv xapitest.Inventory
	for i := range 8 {
		inv.VMs = append(inv.VMs, xapitest.VM{
			Name: fmt.Sprint("vm ", i), Disks: []xapitest.Disk{{Name: "a", Size: 2 * mib}, {Name: "b", Size: 4 * mib}},
		})
	}
	pool := xapitest.NewPool(t, inv)
	fsys, err := local.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fsys.Close()) })
	cat, err := catalog.Open(t.Context(), fsys, nil)
	require.NoError(t, err)
	limiter := pipeline.NewLimiter(pipeline.Limits{Snapshot: 2, DiskExport: 3})
	watched := &peaks{Limiter: limiter, now: map[pipeline.Op]int{}, most: map[pipeline.Op]int{}}
	budget := disk.NewBudget(3 * disk.BlockSize)
	runner, err := pipeline.NewRunner(&pipeline.RunnerOptions{
		Pools:   map[string]pipeline.Pool{"lab": pool.Client(t)},
		Remotes: func(context.Context, string) (*catalog.Catalog, error) { return cat, nil },
		Limiter: watched, Budget: budget,
	})
	require.NoError(t, err)

	var wg sync.WaitGroup
	errs := make([]error, 2)
	for n := range errs {
		var ids []string
		for _, vm := range pool.VMs()[4*n : 4*n+4] {
			ids = append(ids, vm.UUID)
		}
		job := &pipeline.Job{
			ID: fmt.Sprint("job-", n), Name: "nightly", Type: pipeline.TypeBackup, Mode: pipeline.ModeDelta,
			VMs: pipeline.IDs(ids...), Remotes: pipeline.IDs("r"),
			Settings: map[string]json.RawMessage{"": json.RawMessage(`{"exportRetention":1,"concurrency":0}`)},
		}
		wg.Go(func() { _, errs[n] = runner.Run(t.Context(), job, nil) })
	}
	wg.Wait()
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
	require.LessOrEqual(t, watched.most[pipeline.OpSnapshot], 2)
	require.LessOrEqual(t, watched.most[pipeline.OpDiskExport], 3)
	for _, op := range []pipeline.Op{pipeline.OpSnapshot, pipeline.OpDiskExport} {
		require.Zero(t, limiter.InUse(pipeline.Key{Pool: "lab", Op: op}))
	}
	require.Zero(t, budget.InUse())
	require.Empty(t, pool.Leaks())
	require.Len(t, pool.Snapshots(), 8)
}
