package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/xapi"
)

// cancelTasks cancels the tasks of a pool whose names end with one of the labels of the
// intents, and forgets them.
func cancelTasks(ctx context.Context, pool Pool, intents []intent) error {
	var labels []string
	for _, in := range intents {
		if in.Label != "" {
			labels = append(labels, in.Label)
		}
	}
	if len(labels) == 0 {
		return nil
	}
	tasks, err := xapi.All[xapi.Task](ctx, pool)
	if err != nil {
		return err
	}
	var errs []error
	for ref, t := range tasks {
		if !slices.ContainsFunc(labels, func(label string) bool { return strings.HasSuffix(t.NameLabel, label) }) {
			continue
		}
		if t.Status == "pending" {
			err := pool.Call(ctx, "task.cancel", nil, ref)
			if _, refused := errors.AsType[*xapi.Error](err); err != nil && !refused { // it ends by itself
				errs = append(errs, err)
			}
		}
		if err := pool.Call(ctx, "task.destroy", nil, ref); err != nil && !isGone(err, ref) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
