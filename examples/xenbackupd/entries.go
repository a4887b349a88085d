package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/xenbackup/xenbackup/examples/internal/config"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/schedule"
)

// byHand is the entry of a job without a schedule; no schedule can have its name.
func byHand(job string) string { return "job:" + job }

// schedule makes the entries those of a configuration, after those of another one, which
// may be nil. What runs goes on.
func (d *daemon) schedule(old, conf *config.Config) error {
	entries := d.entries(conf)
	for _, e := range entries {
		if err := d.scheduler.Set(e); err != nil {
			return fmt.Errorf("schedule %s: %w", e.ID, err)
		}
	}
	if old == nil {
		return nil
	}
	for id := range d.entries(old) {
		if _, stays := entries[id]; !stays {
			d.scheduler.Remove(id)
		}
	}
	return nil
}

// entries are the schedules, and the jobs that have none.
func (d *daemon) entries(conf *config.Config) map[string]schedule.Entry {
	entries := map[string]schedule.Entry{}
	for name := range conf.Jobs {
		if own, err := conf.ScheduleOf(name, ""); own == "" && err == nil {
			entries[byHand(name)] = schedule.Entry{ID: byHand(name), Job: name, Run: d.does(name, "")}
		}
	}
	for name, own := range conf.Schedules {
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
		entries[name] = e
	}
	return entries
}

func (d *daemon) does(job, name string) func(context.Context, schedule.Fire) error {
	return func(ctx context.Context, _ schedule.Fire) error {
		run, err := d.runJob(ctx, job, name)
		if err == nil {
			return nil
		}
		status := task.Failure
		if run != nil {
			status = run.Status()
		}
		return &runError{status, err}
	}
}

// runError is why a run did not succeed.
type runError struct {
	status task.Status
	err    error
}

func (e *runError) Error() string { return e.err.Error() }
func (e *runError) Unwrap() error { return e.err }

// statusOf is how a run ended, by what it returned.
func statusOf(err error) task.Status {
	if err == nil {
		return task.Success
	}
	if own, ok := errors.AsType[*runError](err); ok {
		return own.status
	}
	if errors.Is(err, context.Canceled) {
		return task.Interrupted
	}
	return task.Failure
}

// goesOn says that a sequence goes on after a part that failed, but not after one that
// was cancelled: the others have VMs of their own to back up.
func goesOn(err error) bool { return statusOf(err) != task.Interrupted }

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
		switch status := statusOf(e.Err); status {
		case task.Success:
			log.InfoContext(ctx, "ended", "status", string(status))
		case task.Failure:
			log.ErrorContext(ctx, "failed", "error", e.Err)
		default:
			log.WarnContext(ctx, "ended", "status", string(status), "reason", e.Err)
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
