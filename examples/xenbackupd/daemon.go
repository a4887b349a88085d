package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/schedule"
)

// daemon runs jobs when they are due, until it is told to stop.
type daemon struct {
	*service
	scheduler *schedule.Scheduler
	stopping  atomic.Bool
}

// byHand is the entry of a job without a schedule; no schedule can have its name.
func byHand(job string) string { return "job:" + job }

// newDaemon makes entries of the schedules.
func newDaemon(s *service) (*daemon, error) {
	d := &daemon{service: s}
	d.recall()
	d.scheduler = schedule.NewScheduler(&schedule.Options{Store: s.state.schedules(), Observer: d.observe})
	for name := range s.conf.Jobs {
		if own, err := s.conf.ScheduleOf(name, ""); own != "" || err != nil {
			continue // it has schedules
		}
		if err := d.scheduler.Set(schedule.Entry{ID: byHand(name), Job: name, Run: d.does(name, "")}); err != nil {
			return nil, err
		}
	}
	for name, own := range s.conf.Schedules {
		e := schedule.Entry{
			ID: name, Job: own.Job, Sequence: own.Sequence, Disabled: !own.On(), Overlap: own.Policy(), CatchUp: own.CatchUp,
		}
		if own.Job != "" {
			e.Run = d.does(own.Job, name)
		} else {
			e.Tolerate = goesOn
		}
		if when := own.When(); when != nil {
			e.When = when
		}
		if err := d.scheduler.Set(e); err != nil {
			return nil, fmt.Errorf("schedule %s: %w", name, err)
		}
	}
	return d, nil
}

// goesOn says that a sequence goes on after a part that failed, but not after one that
// was cancelled: the others have VMs of their own to back up.
func goesOn(err error) bool { return !errors.Is(err, context.Canceled) }

func (d *daemon) does(job, name string) func(context.Context, schedule.Fire) error {
	return func(ctx context.Context, _ schedule.Fire) error {
		_, err := d.runJob(ctx, job, name)
		return err
	}
}

// causes are why something runs, for the log.
var causes = map[schedule.Cause]string{
	schedule.Scheduled: "due", schedule.CaughtUp: "missed", schedule.ByHand: "asked", schedule.InSequence: "sequence",
}

// observe logs and counts what the scheduler does.
func (d *daemon) observe(e schedule.Event) {
	d.counts.schedule(e)
	log := d.log.With("schedule", e.Fire.Entry)
	ctx := context.Background()
	switch e.Kind {
	case schedule.EventStarted:
		log.InfoContext(ctx, "beginning", "cause", causes[e.Fire.Cause], "due", e.Fire.Due)
	case schedule.EventEnded:
		if e.Err != nil {
			log.ErrorContext(ctx, "failed", "error", e.Err)
		}
	case schedule.EventSkipped:
		log.WarnContext(ctx, "skipped", "due", e.Fire.Due, "reason", e.Err)
	case schedule.EventMissed:
		log.WarnContext(ctx, "missed while the program did not run", "due", e.Fire.Due)
	case schedule.EventClock:
		log.WarnContext(ctx, "the clock was set back: starting anew")
	case schedule.EventUnsaved:
		d.log.ErrorContext(ctx, "cannot remember what has run", "error", e.Err)
	}
}

// serve runs what is due until a signal comes. Then nothing more begins; what runs may go
// on for the configured grace, or until a second signal, and is then cancelled and undone.
// A third one kills.
func (d *daemon) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	servers, err := d.listen(ctx)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	done := make(chan error, 1)
	running.Go(func() { done <- d.scheduler.Run(ctx) })
	defer running.Wait()
	defer cancel()
	d.log.InfoContext(ctx, "ready", "jobs", len(d.conf.Jobs), "schedules", len(d.conf.Schedules))
	err = d.wait(ctx, cancel, signals, done)
	return errors.Join(err, servers.close())
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
			if d.stopping.Swap(true) {
				d.log.WarnContext(ctx, "cancelling", "signal", got.String())
				signal.Stop(signals)
				cancel()
				continue
			}
			d.log.InfoContext(ctx, "stopping", "signal", got.String(), "runs", len(d.runs.Active()), "grace", d.conf.Grace.String())
			d.scheduler.Stop()
			grace = time.After(d.conf.Grace)
		}
	}
}

// runNow runs a job by hand.
func (d *daemon) runNow(job, named string) error {
	name, err := d.conf.ScheduleOf(job, named)
	if err != nil {
		return err
	}
	if name == "" {
		name = byHand(job)
	}
	return d.scheduler.RunNow(name)
}

// statusOf is how a run ended, by what it returned.
func statusOf(err error) task.Status {
	_, skipped := errors.AsType[*task.SkipError](err)
	switch {
	case err == nil:
		return task.Success
	case skipped:
		return task.Skipped
	case errors.Is(err, context.Canceled):
		return task.Interrupted
	}
	return task.Failure
}
