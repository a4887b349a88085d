package pipeline_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// The limits of the clients in these tests, and what they may be exceeded by.
const (
	stallLimit     = time.Minute
	firstByteLimit = 10 * time.Minute
)

// faultStride is how many of the points of a sweep are passed over for one that is
// tried: "make torture" tries all.
func faultStride(t *testing.T, stride int) int {
	t.Helper()
	text := os.Getenv("XENBACKUP_FAULTS")
	if text == "" {
		return stride
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return max(1, n)
}

// lab is a world in a bubble of simulated time, whose pool has two hosts and whose
// network can be cut.
type lab struct {
	*world

	wire    *wire
	limiter *pipeline.LocalLimiter
}

// labOptions is what differs between labs.
type labOptions struct {
	mode     string
	pool     xapitest.Options
	settings string // of the job, as JSON
	dial     func(*xapi.Options)
}

// inLab runs a test in a bubble. At its end nothing may be left: no goroutine, no
// fault that never struck, no leak.
func inLab(t *testing.T, opts labOptions, test func(l *lab)) {
	t.Helper()
	poolDir, dir := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, opts, poolDir, dir)
		t.Cleanup(func() { _ = l.pool.Close() }) // after a failure
		t.Cleanup(func() { _ = l.client.Close() })
		test(l)
		require.NoError(t, l.client.Close())
		require.NoError(t, l.pool.Close())
		synctest.Wait()
	})
}

func newLab(t *testing.T, opts labOptions, poolDir, dir string) *lab {
	t.Helper()
	if opts.mode == "" {
		opts.mode = pipeline.ModeDelta
	}
	memory := xapitest.NewMemoryListener()
	opts.pool.Dir, opts.pool.Listener, opts.pool.Now = poolDir, memory, time.Now
	pool, err := xapitest.Start(xapitest.Inventory{
		Name: "lab", Hosts: []xapitest.Host{{Name: "alpha"}, {Name: "beta"}}, SRs: []xapitest.SR{{Name: "shared", Shared: true}},
		VMs: []xapitest.VM{{
			Name: "web", PowerState: "Running",
			Disks: []xapitest.Disk{{Name: "system", Size: 4 * mib, Bootable: true}, {Name: "data", Size: 2 * mib}},
		}},
	}, &opts.pool)
	require.NoError(t, err)
	l := &lab{
		world: &world{
			t: t, pool: pool, remotes: map[string]*catalog.Catalog{}, dirs: map[string]string{"r": dir}, frozen: map[string]map[string]string{},
		},
		wire: &wire{memory: memory}, limiter: pipeline.NewLimiter(pipeline.DefaultLimits()),
	}
	clientOptions := &xapi.Options{
		Password: xapi.Secret(pool.Password()), StallTimeout: stallLimit, FirstByteTimeout: firstByteLimit, DialContext: l.wire.dial,
	}
	if opts.dial != nil {
		opts.dial(clientOptions)
	}
	l.client, err = xapi.Dial(t.Context(), pool.URL(), clientOptions)
	require.NoError(t, err)
	// The storage has the time of the machine, and not that of the bubble.
	l.remotes["r"], err = catalog.Open(t.Context(), l.fsys("r"), &catalog.Options{IgnoreClock: true})
	require.NoError(t, err)
	l.job = &pipeline.Job{
		ID: "22222222-0000-4000-8000-000000000001", Name: "nightly", Type: pipeline.TypeBackup, Mode: opts.mode,
		VMs: pipeline.IDs(l.vm().UUID), Remotes: pipeline.IDs("r"),
		Settings: map[string]json.RawMessage{schedule: json.RawMessage(`{"exportRetention":2}`)},
	}
	if opts.mode == pipeline.ModeFull {
		l.job.Compression = new(pipeline.CompressionNone)
	}
	if opts.settings != "" {
		l.job.Settings[""] = json.RawMessage(opts.settings)
	}
	l.opts = pipeline.RunnerOptions{
		Pools: map[string]pipeline.Pool{"lab": l.client}, Limiter: l.limiter, Budget: disk.NewBudget(16 * mib),
		Remotes: func(_ context.Context, id string) (*catalog.Catalog, error) { return l.remotes[id], nil },
	}
	l.write(0, mib, mib, 1)
	l.write(1, 0, mib, 2)
	return l
}

// fails runs the job while something is wrong: it fails, with want if that is not
// nil, and leaves nothing but what was there before.
func (l *lab) fails(want error, what ...any) *task.Run {
	l.t.Helper()
	before, snapshots := len(l.points("r")), len(l.pool.Snapshots())
	run, err := l.run()
	require.Error(l.t, err, what...)
	if want != nil {
		require.ErrorIs(l.t, err, want, what...)
	}
	l.checkUndone(what...)
	require.Len(l.t, l.points("r"), before, what...)
	require.Len(l.t, l.pool.Snapshots(), snapshots, what...)
	return run
}

// either runs the job while something is wrong that it may survive: then it has made
// a point, and else it has left nothing. It tells which.
func (l *lab) either(what ...any) bool {
	l.t.Helper()
	before := len(l.points("r"))
	run, err := l.run()
	l.checkUndone(what...)
	if err == nil {
		require.Equal(l.t, task.Success, run.Status(), what...)
		l.checkLab(what...)
		return true
	}
	require.Equal(l.t, task.Failure, run.Status(), what...)
	require.LessOrEqual(l.t, len(l.points("r")), before+1, what...)
	return false
}

// succeeds runs the job where nothing is wrong any more, and checks what the
// repository holds. A delta backup after another one is a delta.
func (l *lab) succeeds(what ...any) {
	l.t.Helper()
	before := len(l.points("r"))
	l.write(0, mib, mib, byte(len(l.frozen)))
	_, err := l.run()
	require.NoError(l.t, err, what...)
	l.checkUndone(what...)
	points := l.checkLab(what...)
	if l.job.Mode == pipeline.ModeDelta && before > 0 {
		require.True(l.t, isDelta(points[len(points)-1]), what...)
	}
}

// checkUndone looks that neither pool, repository nor limiter have anything of a run
// that is over.
func (l *lab) checkUndone(what ...any) {
	l.t.Helper()
	l.checkClean()
	require.LessOrEqual(l.t, len(l.pool.Snapshots()), 1, what...)
	for key, f := range l.limiter.All() {
		require.Zero(l.t, f.InUse+f.Waiting, "%v: %v", key, what)
	}
	require.Zero(l.t, l.opts.Budget.InUse(), what...)
}

// checkLab looks that every point gives what the disks held when it was made.
func (l *lab) checkLab(what ...any) []*catalog.Point {
	l.t.Helper()
	points := l.points("r")
	require.NotEmpty(l.t, points, what...)
	if l.job.Mode == pipeline.ModeFull {
		l.checkFull("r", len(points))
		return points
	}
	return l.checkPoints("r", len(points))
}

// wire is the network between the client and the pool.
type wire struct {
	memory *xapitest.MemoryListener

	mu     sync.Mutex
	dialed map[string]int
	snip   func(net.Conn) net.Conn // nil: connections are whole
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := w.memory.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dialed == nil {
		w.dialed = map[string]int{}
	}
	w.dialed[address]++
	if w.snip != nil {
		conn = w.snip(conn)
	}
	return conn, nil
}

// through lets connections from now on go through f; nil leaves them whole.
func (w *wire) through(f func(net.Conn) net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.snip = f
}
