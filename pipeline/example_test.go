package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// Back up a VM twice: in full, and then what has changed.
func Example() {
	if err := backUpTwice(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// success: a full backup
	// success: a delta
}

func backUpTwice(ctx context.Context) error {
	pool, err := xapitest.Start(xapitest.Inventory{
		VMs: []xapitest.VM{{Name: "web", Disks: []xapitest.Disk{{Name: "system", Size: 8 << 20}}}},
	}, nil)
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := xapi.Dial(ctx, pool.URL(), &xapi.Options{Username: pool.Username(), Password: xapi.Secret(pool.Password())})
	if err != nil {
		return err
	}
	defer client.Close()

	dir, err := os.MkdirTemp("", "repository")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fsys, err := local.Open(dir, nil)
	if err != nil {
		return err
	}
	defer fsys.Close()
	repository, err := catalog.Open(ctx, fsys, nil)
	if err != nil {
		return err
	}

	runner, err := pipeline.NewRunner(&pipeline.RunnerOptions{
		Pools:   map[string]pipeline.Pool{"lab": client},
		Remotes: func(context.Context, string) (*catalog.Catalog, error) { return repository, nil },
	})
	if err != nil {
		return err
	}
	job := &pipeline.Job{
		ID: "7f9a0b8e-0000-4000-8000-000000000001", Name: "nightly", Type: pipeline.TypeBackup, Mode: pipeline.ModeDelta,
		VMs: pipeline.IDs(pool.VM("web").UUID), Remotes: pipeline.IDs("nas"),
		Settings: map[string]json.RawMessage{"": json.RawMessage(`{"exportRetention": 7}`)},
	}
	for _, kind := range []string{"a full backup", "a delta"} {
		run, err := runner.Run(ctx, job, &pipeline.RunOptions{ScheduleID: "7f9a0b8e-0000-4000-8000-000000000002"})
		if err != nil {
			return err
		}
		fmt.Printf("%s: %s\n", run.Status(), kind)
	}
	return nil
}

// A job's settings are a cascade: what a narrower scope says wins.
func ExampleJob_Resolve() {
	job := &pipeline.Job{Settings: map[string]json.RawMessage{
		"":       json.RawMessage(`{"concurrency": 0, "exportRetention": 7}`),
		"weekly": json.RawMessage(`{"exportRetention": 4, "fullInterval": 1}`),
	}}
	s, err := job.Resolve("", "weekly")
	fmt.Println(s.Concurrency, s.ExportRetention, s.FullInterval, err)
	// Output: 0 4 1 <nil>
}

// Slots go to those who wait, in the order they came.
func ExampleLocalLimiter() {
	limiter := pipeline.NewLimiter(pipeline.DefaultLimits())
	key := pipeline.Key{Pool: "lab", Op: pipeline.OpSnapshot}
	slot, release, err := limiter.Acquire(context.Background(), key)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(limiter.InUse(key), "in use, slot alive:", slot.Err() == nil)
	release()
	fmt.Println(limiter.InUse(key), "in use")
	// Output:
	// 1 in use, slot alive: true
	// 0 in use
}

// With a state directory a killed process's leavings are undone by the next one. One
// process has it at a time.
func ExampleDirState() {
	dir, err := os.MkdirTemp("", "state")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	pool, err := xapitest.Start(xapitest.Inventory{}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	if err := recoverAtStart(context.Background(), dir, pool); err != nil {
		fmt.Println(err)
	}
	// Output:
	// held: true
	// nothing is left
	// given back: true
}

func recoverAtStart(ctx context.Context, dir string, pool *xapitest.Pool) error {
	client, err := xapi.Dial(ctx, pool.URL(), &xapi.Options{Username: pool.Username(), Password: xapi.Secret(pool.Password())})
	if err != nil {
		return err
	}
	defer client.Close()
	state, err := pipeline.DirState(dir)
	if err != nil {
		return err
	}
	_, err = pipeline.DirState(dir)
	fmt.Println("held:", errors.Is(err, pipeline.ErrStateInUse))

	runner, err := pipeline.NewRunner(&pipeline.RunnerOptions{Pools: map[string]pipeline.Pool{"lab": client}, State: state})
	if err != nil {
		return err
	}
	if err := runner.Recover(ctx); err != nil { // before anything else: a guest may be down
		return err
	}
	fmt.Println("nothing is left")
	// runner.Run, from here on

	err = state.Close() // once no run is under way
	fmt.Println("given back:", err == nil)
	return err
}
