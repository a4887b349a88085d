package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/config"
	"github.com/xenbackup/xenbackup/examples/internal/live"
	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/pipeline/task"
)

// runOnce runs a job and returns the exit code.
func runOnce(ctx context.Context, conf *config.Config, job, named string, std *command.Streams) int {
	name, err := conf.ScheduleOf(job, named)
	if err != nil {
		fmt.Fprintln(std.Err, "xenbackupd:", err)
		return command.Misused
	}
	var watch task.ObserverFunc
	log := slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: slog.LevelError}))
	s, err := openService(conf, log, task.ObserverFunc(func(e task.Event) { watch(e) }))
	if err != nil {
		fmt.Fprintln(std.Err, "xenbackupd:", err)
		if errors.Is(err, errInUse) {
			fmt.Fprintf(std.Err, "If it is the daemon, let it run the job: curl -X POST http://%s/run/%s\n", conf.Listen, job)
		}
		return command.Failed
	}
	out := progress.New(std.Out, std.Terminal)
	watch = live.NewScreen(&s.runs, out).Observe
	out.Printf("%s:", job)
	began := time.Now()
	run, err := s.runJob(ctx, job, name)
	out.Clear()
	if closing := s.close(); closing != nil {
		fmt.Fprintln(std.Err, "xenbackupd:", closing)
	}
	switch {
	case run == nil:
		fmt.Fprintln(std.Err, "xenbackupd:", err)
		return command.Failed
	case ctx.Err() != nil:
		fmt.Fprintf(std.Err, "xenbackupd: %s: interrupted; what was begun is undone\n", job)
		return command.Interrupted
	case err != nil:
		fmt.Fprintf(std.Err, "xenbackupd: %s: %s: %v\n", job, run.Status(), err)
		return command.Failed
	}
	out.Printf("%s: %s in %s", job, run.Status(), time.Since(began).Round(time.Second/10))
	return command.Done
}

// preview tells when the schedules are due.
func preview(conf *config.Config, now time.Time, w io.Writer) {
	fmt.Fprintf(w, "The configuration can be used: %d pools, %d remotes, %d jobs, %d schedules.\n",
		len(conf.Pools), len(conf.Remotes), len(conf.Jobs), len(conf.Schedules))
	for _, name := range slices.Sorted(maps.Keys(conf.Schedules)) {
		own := conf.Schedules[name]
		switch {
		case !own.On():
			fmt.Fprintf(w, "  %s: disabled\n", name)
		case own.When() == nil:
			fmt.Fprintf(w, "  %s: by hand only\n", name)
		default:
			fmt.Fprintf(w, "  %s: next", name)
			for i, t := range own.When().Preview(now, 3) {
				fmt.Fprint(w, []string{" ", ", then ", ", then "}[i], t.Format("Mon 2006-01-02 15:04 MST"))
			}
			fmt.Fprintln(w)
		}
	}
}
