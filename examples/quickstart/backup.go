package main

import (
	"context"
	"encoding/json"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/xapi"
)

// backUp runs a delta job that keeps three restore points of a VM in the folder, and lists them, oldest first.
func backUp(ctx context.Context, pool *xapi.Client, folder remote.Filesystem, vm string, progress task.Observer) ([]*catalog.Point, error) {
	repository, err := catalog.Open(ctx, folder, nil)
	if err != nil {
		return nil, err
	}
	runner, err := pipeline.NewRunner(&pipeline.RunnerOptions{
		Pools:    map[string]pipeline.Pool{"pool": pool},
		Remotes:  func(context.Context, string) (*catalog.Catalog, error) { return repository, nil },
		Observer: progress,
	})
	if err != nil {
		return nil, err
	}
	if _, err := runner.Run(ctx, &pipeline.Job{
		ID: "5f1f1c2e-0000-4000-8000-000000000001", Name: "nightly", Type: pipeline.TypeBackup, Mode: pipeline.ModeDelta,
		VMs: pipeline.IDs(vm), Remotes: pipeline.IDs("folder"),
		Settings: map[string]json.RawMessage{"": json.RawMessage(`{"exportRetention": 3}`)},
	}, &pipeline.RunOptions{ScheduleID: "5f1f1c2e-0000-4000-8000-000000000002"}); err != nil {
		return nil, err
	}
	var points []*catalog.Point
	for point, err := range repository.Points(ctx, vm) {
		if err != nil {
			return nil, err
		}
		points = append(points, point)
	}
	return points, nil
}

// restoreTo restores a point as a new VM whose disks are on the storage repository sr.
func restoreTo(ctx context.Context, pool *xapi.Client, folder remote.Filesystem, point *catalog.Point, sr string, progress func(restore.Progress)) (*restore.Result, error) {
	repository, err := catalog.Open(ctx, folder, nil)
	if err != nil {
		return nil, err
	}
	return restore.VM(ctx, pool, repository, point, &restore.Options{SR: sr, Progress: progress})
}
