package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/selector"
	"github.com/xenbackup/xenbackup/xapi"
)

// chosenVM is a VM that a run backs up.
type chosenVM struct {
	id, name string
	place
}

// place is where a VM is.
type place struct {
	pool string // as in RunnerOptions.Pools
	ref  xapi.Ref[xapi.VM]
}

// Selector returns what chooses the VMs of the job: its pattern, by which XO's
// smart mode stores its conditions, or its list of ids. A wrong pattern is a
// [*selector.PatternError]; opts may be nil, and its Job counts for patterns only.
func (j *Job) Selector(opts *selector.Options) (*selector.Selector, error) {
	return j.selectorOf(nil, opts)
}

// selectorOf is Selector for some of a list, all if only is empty. A replica that
// is listed is not left out but refused: see ErrOwnReplica.
func (j *Job) selectorOf(only []string, opts *selector.Options) (*selector.Selector, error) {
	pattern, err := selector.ParsePattern(j.VMs)
	if err != nil {
		return nil, fmt.Errorf("pipeline: vms: %w", err)
	}
	if text := bytes.TrimSpace(j.VMs); text[0] != '{' { // nothing that is not an object fits a VM
		return nil, fmt.Errorf("pipeline: vms: %w", &selector.PatternError{Reason: "not an object: " + shortened(text)})
	}
	ids, isList := pattern.IDs()
	if !isList {
		return selector.ByPattern(pattern, opts)
	}
	if len(only) > 0 {
		ids = slices.DeleteFunc(ids, func(id string) bool { return !slices.Contains(only, id) })
	}
	if len(ids) == 0 {
		return nil, selector.ErrNoMatch
	}
	own := selector.Options{}
	if opts != nil {
		own = *opts
		own.Job = ""
	}
	return selector.ByIDs(ids, &own)
}

// selectVMs chooses the VMs of a run from what is there now. Nothing is passed
// over in silence: what a pattern leaves out is an info of the run; a listed VM
// that is left out has a task that is skipped, and what could not be found or
// asked has one that fails.
func (r *Runner) selectVMs(ctx context.Context, job *Job, opts *RunOptions, run *task.Run) ([]chosenVM, error) {
	choice, err := r.choose(ctx, job, opts)
	if err != nil {
		return nil, err
	}
	for _, v := range choice.excluded {
		data := map[string]any{"type": "VM", "id": v.VM.ID(), "name_label": v.VM.Name()}
		if choice.isList {
			run.Start("backup VM", data).Fail(&task.SkipError{Reason: v.Reason})
			continue
		}
		data["reason"] = v.Reason
		run.Info("VM left out", data)
	}
	for _, p := range choice.problems {
		switch {
		case errors.Is(p, selector.ErrNoMatch):
			run.Info(p.Error(), nil)
		case errors.Is(p, selector.ErrVMMissing):
			run.Start("backup VM", map[string]any{"type": "VM", "id": p.ID}).Fail(coded(choice.explain(p)))
		default:
			run.Start("get pool", map[string]any{"type": "pool", "id": p.ID, "name_label": p.Name}).Fail(coded(choice.explain(p)))
		}
	}
	if len(choice.vms) == 0 {
		return nil, noMatch()
	}
	return choice.vms, nil
}

func noMatch() error {
	return &task.SkipError{Reason: task.ReasonNoVMs, Err: selector.ErrNoMatch}
}

// choice is what a job's selector makes of the inventory.
type choice struct {
	vms      []chosenVM
	isList   bool
	excluded []selector.Verdict
	problems []*selector.SelectionError
	inv      *inventory
}

// explain joins a problem with what the pools said.
func (c *choice) explain(p *selector.SelectionError) error {
	return errors.Join(p, c.inv.errs[p.ID], c.inv.errs[p.Name])
}

// choose selects from the pools as they are now. It changes nothing.
func (r *Runner) choose(ctx context.Context, job *Job, opts *RunOptions) (*choice, error) {
	s, err := job.selectorOf(opts.VMs, &selector.Options{Job: job.ID, ListedNoBackup: r.opts.ListedNoBackup})
	if errors.Is(err, selector.ErrNoMatch) {
		return nil, noMatch()
	}
	if err != nil {
		return nil, err
	}
	pattern, err := selector.ParsePattern(job.VMs)
	if err != nil {
		return nil, err
	}
	ids, isList := pattern.IDs()
	c := &choice{isList: isList}
	if isList {
		c.inv = r.lookUp(ctx, ids)
	} else {
		c.inv = r.readInventory(ctx)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	found := s.Select(&c.inv.known)
	c.excluded, c.problems = found.Excluded, found.Problems
	for _, vm := range found.VMs {
		if len(opts.VMs) == 0 || slices.Contains(opts.VMs, vm.ID()) {
			c.vms = append(c.vms, chosenVM{vm.ID(), vm.Name(), c.inv.places[vm.ID()]})
		}
	}
	return c, nil
}
