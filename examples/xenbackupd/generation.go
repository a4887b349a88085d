package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/xenbackup/xenbackup/examples/internal/config"
	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// generation is one configuration, ready to run jobs. When another takes its place, what
// runs ends under it.
type generation struct {
	conf    *config.Config
	pools   map[string]*pool
	remotes *remotes
	budget  *disk.Budget
	runner  *pipeline.Runner

	users int // runs, and the service while it is the current one; guarded by service.mu
}

// adopt makes a configuration the current one, or changes nothing.
func (s *service) adopt(conf *config.Config) error {
	g := &generation{conf: conf, pools: map[string]*pool{}, remotes: newRemotes(conf, s.state, s.log), users: 1}
	pools := map[string]pipeline.Pool{}
	for name, p := range conf.Pools {
		g.pools[name] = newPool(p, s.counts.pool(name), s.log.With("pool", name))
		pools[name] = g.pools[name]
	}
	old := s.current()
	renew := pipeline.NewRunner
	if g.budget = disk.NewBudget(conf.Memory()); old != nil {
		renew = old.runner.Renew
		if old.budget.Limit() == g.budget.Limit() {
			g.budget = old.budget
		}
	}
	var err error
	g.runner, err = renew(&pipeline.RunnerOptions{
		Pools: pools, Remotes: g.remotes.catalog, State: s.state.held, Limiter: s.limiter,
		Budget: g.budget, Logger: s.log, Observer: s.observer,
	})
	if err != nil {
		return err
	}
	s.limiter.SetLimits(conf.PoolLimits())
	s.counts.use(conf)
	s.mu.Lock()
	s.now = g
	s.mu.Unlock()
	if old != nil {
		err = s.drop(old)
	}
	if err != nil {
		s.log.Warn("the last configuration did not end as it should", "error", err)
	}
	return nil
}

// current is the configuration that counts, nil before the first.
func (s *service) current() *generation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// hold is current, which stays usable until it is dropped.
func (s *service) hold() *generation {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.users++
	return s.now
}

// drop logs out of the pools of a configuration that nothing uses any more.
func (s *service) drop(g *generation) error {
	s.mu.Lock()
	g.users--
	used := g.users > 0
	s.mu.Unlock()
	if used {
		return nil
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(g.pools)) {
		if err := g.pools[name].close(); err != nil {
			errs = append(errs, fmt.Errorf("pool %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// recover undoes what runs have left whose process was killed.
func (s *service) recover(ctx context.Context) {
	g := s.hold()
	release := g.remotes.hold(slices.Sorted(maps.Keys(g.conf.Remotes)))
	err := g.runner.Recover(ctx)
	if err = errors.Join(err, release(), s.drop(g)); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "not all is undone that was left when the program was killed; it is tried again with the next run", "error", err)
	}
}

// runJob runs a job by the schedule, which is "" for one without any, as the current
// configuration says.
func (s *service) runJob(ctx context.Context, name, schedule string) (*task.Run, error) {
	g := s.hold()
	defer func() {
		if err := s.drop(g); err != nil {
			s.log.WarnContext(ctx, "a pool could not be logged out of", "error", err)
		}
		s.prune(ctx)
	}()
	job := g.conf.Job(name)
	if job == nil {
		return nil, fmt.Errorf("there is no job %q any more", name)
	}
	ids, err := job.RemoteIDs()
	if err != nil {
		return nil, err
	}
	release := g.remotes.hold(ids)
	run, err := g.runner.Run(ctx, job, g.optionsOf(schedule))
	if closing := release(); closing != nil {
		s.log.WarnContext(ctx, "a repository did not close", "job", name, "error", closing)
	}
	return run, err
}

func (g *generation) optionsOf(schedule string) *pipeline.RunOptions {
	opts := &pipeline.RunOptions{}
	if own := g.conf.Schedules[schedule]; own != nil {
		opts.ScheduleID = own.ID
	}
	return opts
}
