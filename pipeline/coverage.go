package pipeline

import (
	"cmp"
	"context"
	"errors"

	"github.com/xenbackup/xenbackup/selector"
)

// Coverage lists the VMs of all pools that none of the jobs backs up, by name, with the
// reasons, as they are at this moment. A job counts as protecting what it selects, whether
// or not something runs it. It only reads. Of pools that could not be asked the error
// tells, beside what is known of the others.
func (r *Runner) Coverage(ctx context.Context, jobs []*Job) ([]selector.Unprotected, error) {
	var protecting []selector.Job
	for _, job := range jobs {
		s, err := job.Selector(&selector.Options{Job: job.ID, ListedNoBackup: r.opts.ListedNoBackup})
		if err != nil {
			return nil, err
		}
		protecting = append(protecting, selector.Job{Name: cmp.Or(job.Name, job.ID), Selector: s})
	}
	inv := r.readInventory(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var errs []error
	for _, pool := range inv.known.Pools {
		errs = append(errs, inv.errs[pool.Name])
	}
	return selector.Coverage(inv.known.VMs, protecting), errors.Join(errs...)
}
