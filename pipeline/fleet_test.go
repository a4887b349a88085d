package pipeline_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// gate is a pool, and the transport of its client, that counts what is in flight
// there. No export begins before there are as many snapshots as it waits for: if
// snapshots had to wait for exports, nothing would ever move.
type gate struct {
	pipeline.Pool
	below http.RoundTripper
	open  chan struct{}

	mu        sync.Mutex
	awaited   int // snapshots
	now, most struct{ snapshots, exports int }
}

func newGate(t *testing.T, pool *xapitest.Pool, awaited int) *gate {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	g := &gate{below: transport, open: make(chan struct{}), awaited: awaited}
	client, err := xapi.Dial(t.Context(), pool.URL(), &xapi.Options{
		Username: pool.Username(), Password: xapi.Secret(pool.Password()), PollInterval: 10 * time.Millisecond, Transport: g,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	g.Pool = client
	return g
}

func (g *gate) count(snapshots, exports int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now.snapshots += snapshots
	g.now.exports += exports
	g.most.snapshots = max(g.most.snapshots, g.now.snapshots)
	g.most.exports = max(g.most.exports, g.now.exports)
	if snapshots < 0 {
		if g.awaited--; g.awaited == 0 {
			close(g.open)
		}
	}
}

func (g *gate) CallAsync(ctx context.Context, method string, result any, args ...any) error {
	if method == "VM.snapshot" {
		g.count(1, 0)
		defer g.count(-1, 0)
	}
	return g.Pool.CallAsync(ctx, method, result, args...)
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != "/export_raw_vdi" {
		return g.below.RoundTrip(r)
	}
	g.count(0, 1)
	end := sync.OnceFunc(func() { g.count(0, -1) })
	select {
	case <-g.open:
	case <-r.Context().Done():
		end()
		return nil, r.Context().Err()
	}
	answer, err := g.below.RoundTrip(r)
	if err != nil {
		end()
		return nil, err
	}
	answer.Body = &countedBody{answer.Body, end}
	return answer, nil
}

type countedBody struct {
	io.ReadCloser
	end func()
}

func (b *countedBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}

// fleetJob is a job of many VMs that keeps one point of each.
func fleetJob(id, settings string, vms []xapitest.VMInfo) *pipeline.Job {
	var ids []string
	for _, vm := range vms {
		ids = append(ids, vm.UUID)
	}
	return &pipeline.Job{
		ID: id, Name: "nightly", Type: pipeline.TypeBackup, Mode: pipeline.ModeDelta,
		VMs: pipeline.IDs(ids...), Remotes: pipeline.IDs("r"),
		Settings: map[string]json.RawMessage{"": json.RawMessage(settings)},
	}
}

func fleetOf(t *testing.T, n int) *xapitest.Pool {
	t.Helper()
	vms := xapitest.Fleet(n)
	for i := range vms {
		vms[i].Disks[0].Size = 2 * mib
	}
	pool := xapitest.NewPool(t, xapitest.Inventory{VMs: vms})
	pool.Expect("exported base snapshots")
	return pool
}

func fleetRunner(t *testing.T, pools map[string]pipeline.Pool, change func(*pipeline.RunnerOptions)) *pipeline.Runner {
	t.Helper()
	cat := openFolder(t, t.TempDir())
	opts := &pipeline.RunnerOptions{
		Pools:   pools,
		Remotes: func(context.Context, string) (*catalog.Catalog, error) { return cat, nil },
		Budget:  disk.NewBudget(16 * mib),
	}
	if change != nil {
		change(opts)
	}
	runner, err := pipeline.NewRunner(opts)
	require.NoError(t, err)
	return runner
}

// 50 VMs of two jobs at once: their snapshots are taken from the start, 2 at a time,
// and 12 disks are read at a time, whichever job they are of.
func TestFiftyVMsAtOnceShareThePoolsLimits(t *testing.T) {
	t.Parallel()
	pool := fleetOf(t, 50)
	g := newGate(t, pool, 50)
	limiter := pipeline.NewLimiter(pipeline.DefaultLimits())
	runner := fleetRunner(t, map[string]pipeline.Pool{"lab": g}, func(o *pipeline.RunnerOptions) { o.Limiter = limiter })
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for n := range errs {
		job := fleetJob([]string{"one", "two"}[n], `{"exportRetention":1,"concurrency":0}`, pool.VMs()[25*n:25*n+25])
		wg.Go(func() { _, errs[n] = runner.Run(t.Context(), job, nil) })
	}
	wg.Wait()
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
	require.Equal(t, 2, g.most.snapshots)
	require.Equal(t, 12, g.most.exports)
	require.Empty(t, pool.Leaks())
	require.Len(t, pool.Snapshots(), 50)
	f := limiter.Figures(pipeline.Key{Pool: "lab", Op: pipeline.OpDiskExport})
	require.Equal(t, int64(50), f.Served)
	require.Zero(t, f.InUse)
	require.Positive(t, f.Waited)
}

// A concurrency of 25 keeps 25 VMs under way: the next begins when one is wholly done.
func TestConcurrencyOfTwentyFiveKeepsTwentyFiveVMs(t *testing.T) {
	t.Parallel()
	pool := fleetOf(t, 26)
	g := newGate(t, pool, 25)
	now, most := map[string]bool{}, 0
	runner := fleetRunner(t, map[string]pipeline.Pool{"lab": g}, func(o *pipeline.RunnerOptions) {
		o.Observer = task.ObserverFunc(func(e task.Event) {
			switch {
			case e.Name == "snapshot" && e.Kind == task.EventStart:
				now[e.Parent] = true
				most = max(most, len(now))
			case e.Kind == task.EventEnd:
				delete(now, e.ID)
			}
		})
	})
	_, err := runner.Run(t.Context(), fleetJob("one", `{"exportRetention":1,"concurrency":25}`, pool.VMs()), nil)
	require.NoError(t, err)
	require.Equal(t, 25, most)
	require.Len(t, pool.Snapshots(), 26)
}

// A pool whose snapshots are stuck holds up no other pool.
func TestPoolsDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	stuck, other := fleetOf(t, 2), fleetOf(t, 2)
	stuck.Hang("VM.snapshot", xapitest.EachCall())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := 0
	pools := map[string]pipeline.Pool{"stuck": stuck.Client(t), "other": other.Client(t)}
	runner := fleetRunner(t, pools, func(o *pipeline.RunnerOptions) {
		o.SnapshotTimeout = -1
		o.Observer = task.ObserverFunc(func(e task.Event) {
			if e.Name == "backup VM" && e.Kind == task.EventEnd && e.Status == task.Success {
				if done++; done == 2 {
					cancel()
				}
			}
		})
	})
	run, err := runner.Run(ctx, fleetJob("one", `{"exportRetention":1,"concurrency":0}`, append(stuck.VMs(), other.VMs()...)), nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, task.Interrupted, run.Status())
	require.Len(t, other.Snapshots(), 2)
	require.Empty(t, stuck.Snapshots())
}

// Snapshots that are stuck are abandoned, and the other VMs get their slots.
func TestStuckSnapshotsDoNotBlockThePoolForEver(t *testing.T) {
	t.Parallel()
	pool := fleetOf(t, 4)
	pool.Hang("VM.snapshot", xapitest.OnCall(1))
	pool.Hang("VM.snapshot", xapitest.OnCall(2))
	runner := fleetRunner(t, map[string]pipeline.Pool{"lab": pool.Client(t)}, func(o *pipeline.RunnerOptions) {
		o.SnapshotTimeout = 5 * time.Second
	})
	run, err := runner.Run(t.Context(), fleetJob("one", `{"exportRetention":1,"concurrency":0}`, pool.VMs()), nil)
	require.ErrorIs(t, err, pipeline.ErrSnapshotTimeout)
	require.Len(t, selected(run)[task.Failure], 2)
	require.Len(t, selected(run)[task.Success], 2)
	require.Empty(t, pool.Leaks())
	require.Len(t, pool.Snapshots(), 2)
}
