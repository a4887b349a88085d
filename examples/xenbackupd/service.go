package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/config"
	"github.com/xenbackup/xenbackup/examples/internal/live"
	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
)

// service is what there is one of while the program runs, whatever its configuration.
type service struct {
	log     *slog.Logger
	started time.Time

	state    *state
	limiter  *pipeline.LocalLimiter
	observer task.Observer
	runs     live.Runs
	counts   *counts

	mu  sync.Mutex
	now *generation // what begins begins under it
}

// openService takes the state folder, and is newService.
func openService(conf *config.Config, log *slog.Logger, observer task.Observer) (*service, error) {
	held, err := openState(conf.State)
	if err != nil {
		return nil, err
	}
	s, err := newService(conf, held, log, observer)
	if err != nil {
		return nil, err
	}
	s.prune(context.Background())
	return s, nil
}

// newService prepares everything. Pools and repositories are connected to when a job
// needs them. observer, which may be nil, hears of all runs.
func newService(conf *config.Config, held *state, log *slog.Logger, observer task.Observer) (*service, error) {
	s := &service{
		log: log, started: time.Now(), state: held, counts: newCounts(),
		limiter: pipeline.NewLimiter(conf.PoolLimits()),
	}
	s.observer = task.Tee(&s.runs, s.counts, observer)
	if err := s.adopt(conf); err != nil {
		return nil, errors.Join(err, held.close())
	}
	return s, nil
}

// story is the log of all runs.
func (s *service) story() *task.Log { return s.state.held.Runs() }

// close ends the last configuration, once nothing runs, and gives the state folder back.
func (s *service) close() error {
	return errors.Join(s.drop(s.current()), s.state.close())
}

// prune removes the runs that are too old, or too many, from the log.
func (s *service) prune(ctx context.Context) {
	history := s.current().conf.History
	keep := task.Keep{Bytes: history.Bytes()}
	if history.Days > 0 {
		keep.Since = time.Now().AddDate(0, 0, -history.Days)
	}
	n, err := s.story().Prune(keep)
	if err != nil {
		s.log.WarnContext(ctx, "old runs cannot be removed", "error", err)
	}
	if n > 0 {
		s.log.InfoContext(ctx, "old runs were removed from the log", "runs", n)
	}
}
