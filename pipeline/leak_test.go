package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// holdings is what a process has.
type holdings struct {
	Goroutines int
	Files      int   // that are open; 0 where the system does not say
	Heap       int64 // bytes of what is alive
	Resident   int64 // bytes; 0 where the system does not say
}

// repetition is what a child had before and after jobs, and how these ended.
type repetition struct {
	Before, After holdings
	Ended         map[task.Status]int
	Stacks        string // of what runs that did not before
}

// repeat runs jobs: of one VM after the other those of its rounds, all VMs at the same
// time, and each with a login, a repository and a runner of its own.
func (c *child) repeat(ctx context.Context) (*repetition, error) {
	const first = 1 // rounds, after which what is made once is there
	result := &repetition{Ended: map[task.Status]int{}}
	if err := c.rounds(ctx, first, map[task.Status]int{}); err != nil {
		return result, err
	}
	result.Before = settled(nil)
	if err := c.rounds(ctx, c.Rounds, result.Ended); err != nil {
		return result, err
	}
	if result.After = settled(&result.Before); result.After.Goroutines > result.Before.Goroutines {
		stacks := make([]byte, 64<<10)
		result.Stacks = string(stacks[:runtime.Stack(stacks, true)])
	}
	return result, nil
}

func (c *child) rounds(ctx context.Context, n int, ended map[task.Status]int) error {
	for round := range n {
		statuses := make([]task.Status, len(c.VMs))
		var group errgroup.Group
		for i, vm := range c.VMs {
			group.Go(func() (err error) {
				statuses[i], err = c.one(ctx, vm, round+i)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		for _, status := range statuses {
			ended[status]++
		}
	}
	return nil
}

// one runs one job of one VM. Every other is a delta backup, every eighth is cancelled,
// and of every eighth the repository fails amid it.
func (c *child) one(ctx context.Context, vm string, n int) (status task.Status, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var faulty *remotetest.Faulty
	s, err := c.open(ctx, func(fsys remote.Filesystem) remote.Filesystem {
		faulty = remotetest.NewFaulty(fsys)
		return faulty
	})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	mode := []string{pipeline.ModeDelta, pipeline.ModeFull}[n%2]
	switch n % 8 {
	case 4, 5:
		s.opts.Observer = task.ObserverFunc(func(e task.Event) {
			if e.Kind == task.EventProgress && e.Done > 0 {
				cancel()
			}
		})
	case 6, 7:
		faulty.FailFrom(2, os.ErrPermission, remotetest.Write)
	}
	runner, err := pipeline.NewRunner(&s.opts)
	if err != nil {
		return "", err
	}
	run, runErr := runner.Run(ctx, c.job(mode, vm), nil)
	switch undisturbed := n%8 < 4; {
	case undisturbed && runErr != nil:
		return "", fmt.Errorf("job %d: %w", n, runErr)
	case !undisturbed && runErr == nil:
		return "", fmt.Errorf("job %d has succeeded", n)
	}
	return run.Status(), nil
}

// settled returns what the process has once nothing is under way any more: connections
// that were closed end a moment later. What is to be reached again is given, if any.
func settled(base *holdings) holdings {
	const looks = 500
	var now holdings
	for range looks {
		now = holdings{Goroutines: runtime.NumGoroutine(), Files: openFiles()}
		if base != nil && now.Goroutines <= base.Goroutines && now.Files <= base.Files {
			break
		}
		if base == nil && now.Goroutines <= 1 {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	runtime.GC() // pools give back what they hold
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	now.Heap, now.Resident = int64(stats.HeapAlloc), procStatus("VmRSS")
	return now
}

func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// Backups, failures and cancellations leave nothing in the process: XENBACKUP_JOBS
// says how many there are; the race detector makes them slow.
func TestManyJobsLeaveNothingInTheProcess(t *testing.T) {
	t.Parallel()
	const atOnce, size = 10, 4 * mib
	jobs := 100
	if underRace {
		jobs = 10
	}
	if text := os.Getenv("XENBACKUP_JOBS"); text != "" {
		var err error
		jobs, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	vms := xapitest.Fleet(atOnce)
	for i := range vms {
		vms[i].PowerState, vms[i].Disks[0].Size = "Halted", size
	}
	pool := xapitest.NewPool(t, xapitest.Inventory{SRs: []xapitest.SR{{Name: "local"}}, VMs: vms})
	for _, vm := range pool.VMs() {
		require.NoError(t, pool.WriteVDI(vm.Disks[0].UUID, []byte("content"), 0))
		require.NoError(t, pool.WriteVDI(vm.Disks[0].UUID, []byte("content"), size-512))
	}
	c := childOf(t, pool)
	c.Rounds = jobs / atOnce
	var got repetition
	c.do(t, &got)
	t.Logf("%d jobs: %+v before, %+v after; %v", jobs, got.Before, got.After, got.Ended)
	require.Equal(t, c.Rounds*atOnce, got.Ended[task.Success]+got.Ended[task.Failure]+got.Ended[task.Interrupted])
	require.Positive(t, got.Ended[task.Failure])
	require.Positive(t, got.Ended[task.Interrupted])
	require.LessOrEqual(t, got.After.Goroutines, got.Before.Goroutines, "%s", got.Stacks)
	require.LessOrEqual(t, got.After.Files, got.Before.Files)
	require.LessOrEqual(t, got.After.Heap, got.Before.Heap+mib)
	if !underRace { // whose shadow of memory grows
		require.LessOrEqual(t, got.After.Resident, got.Before.Resident+32*mib)
	}
}
