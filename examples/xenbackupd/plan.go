package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/config"
	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/pipeline"
)

// plan tells what a run of the job would do, and changes nothing. It returns the exit
// code.
func plan(ctx context.Context, conf *config.Config, job, named string, std *command.Streams) int {
	name, err := conf.ScheduleOf(job, named)
	if err != nil {
		fmt.Fprintln(std.Err, "xenbackupd:", err)
		return command.Misused
	}
	held, err := readState(conf.State)
	if err != nil {
		fmt.Fprintln(std.Err, "xenbackupd:", err)
		return command.Failed
	}
	log := slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: slog.LevelError}))
	s, err := newService(conf, held, log, nil)
	if err != nil {
		fmt.Fprintln(std.Err, "xenbackupd:", err)
		return command.Failed
	}
	defer func() { _ = s.close() }() // nothing was changed
	found, err := s.planJob(ctx, job, name)
	if ctx.Err() != nil {
		return command.Interrupted
	}
	fmt.Fprintf(std.Out, "A run of %s now would do this:\n", job)
	clean := true
	if found != nil {
		clean = show(std.Out, conf, found)
	}
	if err != nil {
		fmt.Fprintf(std.Err, "xenbackupd: %s: %v\n", job, err)
	}
	if err != nil || !clean {
		return command.Failed
	}
	return command.Done
}

// planJob is what runJob would do.
func (s *service) planJob(ctx context.Context, name, schedule string) (*pipeline.Plan, error) {
	g := s.current()
	job, opts := g.conf.Job(name), g.optionsOf(schedule)
	ids, err := job.RemoteIDs()
	if err != nil {
		return nil, err
	}
	release := g.remotes.hold(ids)
	found, err := g.runner.Plan(ctx, job, opts)
	_ = release() // nothing was written
	return found, err
}

// show prints a plan, and tells whether all of it would succeed.
func show(w io.Writer, conf *config.Config, p *pipeline.Plan) bool {
	clean := len(p.Problems) == 0
	for _, vm := range p.VMs {
		clean = showVM(w, conf, vm) && clean
	}
	for _, v := range p.Excluded {
		fmt.Fprintf(w, "  %s: left out: %s\n", v.VM.Name(), v.Reason)
	}
	for _, err := range p.Problems {
		fmt.Fprintf(w, "  would fail: %v\n", err)
	}
	return clean
}

func showVM(w io.Writer, conf *config.Config, vm *pipeline.PlannedVM) bool {
	switch {
	case vm.Skip != "":
		fmt.Fprintf(w, "  %s (%s): skipped: %s\n", vm.Name, vm.Pool, vm.Skip)
	case vm.Err != nil:
		fmt.Fprintf(w, "  %s (%s): would fail: %v\n", vm.Name, vm.Pool, vm.Err)
	default:
		fmt.Fprintf(w, "  %s (%s): %s\n", vm.Name, vm.Pool, kind(vm.Full, vm.Reason))
	}
	for _, d := range vm.Disks {
		fmt.Fprintf(w, "    disk %s, %s: %s", d.Name, progress.Bytes(d.Size), kind(d.Full, d.Reason))
		if d.Bytes != pipeline.Unknown {
			fmt.Fprintf(w, ", at most %s", progress.Bytes(d.Bytes))
		}
		fmt.Fprintln(w)
	}
	clean := vm.Err == nil
	for _, t := range vm.Targets {
		name, _ := conf.Remote(t.ID)
		fmt.Fprintf(w, "    to %s", cmp.Or(name, t.ID))
		if t.Free > 0 {
			fmt.Fprintf(w, ", %s free", progress.Bytes(t.Free))
		}
		if t.Last > 0 {
			fmt.Fprintf(w, ", the last point took %s", progress.Bytes(t.Last))
		}
		for _, point := range t.Expire {
			fmt.Fprintf(w, ", then %s expires", point.Time().Local().Format("2006-01-02 15:04"))
		}
		if t.Err != nil {
			clean = false
			fmt.Fprintf(w, ": would fail: %v", t.Err)
		}
		fmt.Fprintln(w)
	}
	for _, note := range vm.Notes {
		fmt.Fprintf(w, "    note: %s%s\n", note.Message, noteDetails(note.Data))
	}
	return clean
}

func kind(full bool, reason string) string {
	switch {
	case full && reason != "":
		return "full: " + reason
	case full:
		return "full"
	}
	return "delta"
}

// noteDetails is what a note says of itself besides its text.
func noteDetails(data map[string]any) string {
	if len(data) == 0 {
		return ""
	}
	return fmt.Sprintf(" %v", data)
}
