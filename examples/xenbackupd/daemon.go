package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/xenbackup/xenbackup/schedule"
)

// daemon runs jobs when they are due, until it is told to stop.
type daemon struct {
	*service
	scheduler *schedule.Scheduler
	servers   servers
	coverage  coverage
	stopping  atomic.Bool
	reloaded  reloaded
}

// newDaemon makes entries of the schedules.
func newDaemon(s *service) (*daemon, error) {
	d := &daemon{service: s, coverage: coverage{again: make(chan struct{}, 1)}}
	d.recall()
	d.scheduler = schedule.NewScheduler(&schedule.Options{Store: s.state.held.Schedules(), Observer: d.observe})
	return d, d.schedule(nil, d.current().conf)
}

// serve runs what is due until a signal comes. Then nothing more begins; what runs may go
// on for the configured grace, or until a second signal, and is then cancelled and undone.
// A third one kills. SIGHUP takes a changed configuration into use.
func (d *daemon) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	conf := d.current().conf
	begin, err := d.listen(ctx, conf)
	if err != nil {
		return err
	}
	begin()
	var running sync.WaitGroup
	done := make(chan error, 1)
	running.Go(func() { done <- d.scheduler.Run(ctx) })
	running.Go(func() {
		d.recover(ctx)
		d.watchCoverage(ctx)
	})
	defer running.Wait()
	defer cancel()
	d.log.InfoContext(ctx, "ready", "jobs", len(conf.Jobs), "schedules", len(conf.Schedules))
	err = d.wait(ctx, cancel, signals, done)
	return errors.Join(err, d.servers.close())
}

// wait returns when the scheduler has, because of a signal or by itself.
func (d *daemon) wait(ctx context.Context, cancel func(), signals chan os.Signal, done <-chan error) error {
	var grace <-chan time.Time
	for {
		select {
		case err := <-done:
			if d.stopping.Load() {
				d.log.InfoContext(ctx, "stopped")
				return nil
			}
			return err
		case <-grace:
			d.log.WarnContext(ctx, "the grace is over: cancelling", "runs", len(d.runs.Active()))
			cancel()
		case got := <-signals:
			switch {
			case got == syscall.SIGHUP && d.stopping.Load():
			case got == syscall.SIGHUP:
				d.reload(ctx)
			case d.stopping.Swap(true):
				d.log.WarnContext(ctx, "cancelling", "signal", got.String())
				signal.Stop(signals)
				cancel()
			default:
				own := d.current().conf.Grace
				d.log.InfoContext(ctx, "stopping", "signal", got.String(), "runs", len(d.runs.Active()), "grace", own.String())
				d.scheduler.Stop()
				grace = time.After(own)
			}
		}
	}
}

// runNow runs a job by hand.
func (d *daemon) runNow(job, named string) error {
	name, err := d.current().conf.ScheduleOf(job, named)
	if err != nil {
		return err
	}
	if name == "" {
		name = byHand(job)
	}
	return d.scheduler.RunNow(name)
}
