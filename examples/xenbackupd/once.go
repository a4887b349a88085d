package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/config"
	"github.com/xenbackup/xenbackup/examples/internal/live"
	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/pipeline"
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
		if errors.Is(err, pipeline.ErrStateInUse) {
			fmt.Fprintf(std.Err, "If it is the daemon, let it run the job: curl -X POST http://%s/run/%s\n", conf.Listen, job)
		}
		return command.Failed
	}
	out := progress.New(std.Out, std.Terminal)
	watch = live.NewScreen(&s.runs, out).Observe
	out.Printf("%s:", job)
	began := time.Now()
	s.recover(ctx)
	run, err := s.runJob(ctx, job, name)
	out.Clear()
	if closing := s.close(); closing != nil {
		fmt.Fprintln(std.Err, "xenbackupd:", closing)
	}
	if run == nil {
		fmt.Fprintln(std.Err, "xenbackupd:", err)
		return command.Failed
	}
	out.Printf("%s: %s", job, summary(run, time.Since(began)))
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(std.Err, "xenbackupd: %s: interrupted; what was begun is undone\n", job)
		return command.Interrupted
	case run.Status() == task.Skipped:
		return command.Undecided // what was skipped is said above
	case err != nil:
		fmt.Fprintf(std.Err, "xenbackupd: %s: %s: %v\n", job, run.Status(), err)
		return command.Failed
	}
	return command.Done
}

// summary says how a run ended, and how many VMs did.
func summary(run *task.Run, spent time.Duration) string {
	last := map[any]task.Status{} // a VM may have been tried again
	for _, tk := range run.Children() {
		if tk.Name() == "backup VM" {
			last[tk.Data("id")] = tk.Status()
		}
	}
	count := map[task.Status]int{}
	for _, status := range last {
		count[status]++
	}
	status := string(run.Status())
	if run.Status() == task.Skipped && count[task.Success] > 0 {
		status = "done" // as Xen Orchestra counts, all of it were skipped
	}
	parts := []string{fmt.Sprintf("%s in %s", status, spent.Round(time.Second/10)), fmt.Sprintf("%d of %d VMs backed up", count[task.Success], len(last))}
	for _, other := range []struct {
		task.Status
		word string
	}{{task.Skipped, "skipped"}, {task.Failure, "failed"}, {task.Interrupted, "interrupted"}} {
		if n := count[other.Status]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, other.word))
		}
	}
	return strings.Join(parts, ", ")
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
