package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/config"
	"github.com/xenbackup/xenbackup/examples/internal/live"
	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// service is what the configuration says, ready to run jobs.
type service struct {
	conf    *config.Config
	log     *slog.Logger
	started time.Time

	state   *state
	story   *task.Log // nil: nothing runs
	pools   map[string]*pool
	remotes *remotes
	limiter *pipeline.LocalLimiter
	budget  *disk.Budget
	runner  *pipeline.Runner

	runs   live.Runs
	counts *counts
}

// openService takes the state folder, and is newService.
func openService(conf *config.Config, log *slog.Logger, observer task.Observer) (*service, error) {
	held, err := openState(conf.State)
	if err != nil {
		return nil, err
	}
	story, err := task.OpenLog(held.path("runs"))
	if err != nil {
		return nil, errors.Join(err, held.close())
	}
	s, err := newService(conf, held, log, task.Tee(story, observer))
	if err != nil {
		return nil, errors.Join(err, story.Close())
	}
	s.story = story
	return s, nil
}

// newService prepares everything. Pools and repositories are connected to when a job
// needs them. observer, which may be nil, hears of all runs.
func newService(conf *config.Config, held *state, log *slog.Logger, observer task.Observer) (*service, error) {
	s := &service{
		conf: conf, log: log, started: time.Now(), state: held, pools: map[string]*pool{},
		remotes: newRemotes(conf, held, log), counts: newCounts(conf),
		limiter: pipeline.NewLimiter(conf.PoolLimits()), budget: disk.NewBudget(conf.Memory()),
	}
	pools := map[string]pipeline.Pool{}
	for name, p := range conf.Pools {
		s.pools[name] = newPool(p, s.counts.pool(name), log.With("pool", name))
		pools[name] = s.pools[name]
	}
	var err error
	s.runner, err = pipeline.NewRunner(&pipeline.RunnerOptions{
		Pools: pools, Remotes: s.remotes.catalog, Limiter: s.limiter, Budget: s.budget, Logger: log,
		Observer: task.Tee(&s.runs, s.counts, observer),
	})
	if err != nil {
		return nil, errors.Join(err, held.close())
	}
	return s, nil
}

// close logs out everywhere, and gives the state folder back.
func (s *service) close() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.pools)) {
		if err := s.pools[name].close(); err != nil {
			errs = append(errs, fmt.Errorf("pool %s: %w", name, err))
		}
	}
	if s.story != nil {
		errs = append(errs, s.story.Close())
	}
	return errors.Join(append(errs, s.state.close())...)
}

// runJob runs a job by the schedule, which is "" for one without any.
func (s *service) runJob(ctx context.Context, name, schedule string) (*task.Run, error) {
	job := s.conf.Job(name)
	ids, err := job.RemoteIDs()
	if err != nil {
		return nil, err
	}
	release := s.remotes.hold(ids)
	run, err := s.runner.Run(ctx, job, s.optionsOf(schedule))
	if closing := release(); closing != nil {
		s.log.WarnContext(ctx, "a repository did not close", "job", name, "error", closing)
	}
	return run, err
}

func (s *service) optionsOf(schedule string) *pipeline.RunOptions {
	opts := &pipeline.RunOptions{}
	if own := s.conf.Schedules[schedule]; own != nil {
		opts.ScheduleID = own.ID
	}
	return opts
}
