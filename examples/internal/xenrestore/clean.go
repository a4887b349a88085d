package xenrestore

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// cleaned is what clean prints with -json, and what -plan reads.
type cleaned struct {
	Applied bool                 `json:"applied"`
	Plans   []*catalog.CleanPlan `json:"plans"`
}

// cleanFlags are those of clean.
type cleanFlags struct {
	at                     *location
	vm, plan               string
	apply, noTrash, asJSON bool
	grace                  time.Duration
}

// Clean puts a repository in order.
func Clean() command.Command {
	return command.Command{
		Name: "clean", Short: "say what is not in order, and with -apply put it in order", Usage: "-remote URL [-vm UUID] [-apply [-plan FILE]] [-json]",
		Long: `Says what crashes, killed jobs and Xen Orchestra left, and what would be done about it.
Nothing is changed without -apply.

  xenrestore clean -remote file:///srv/backups
  xenrestore clean -remote file:///srv/backups -json > plan.json
  xenrestore clean -remote file:///srv/backups -apply -plan plan.json

With -apply interrupted merges are finished. Garbage goes when two cleans have seen it
unchanged, and then lies in a trash until the next one: so clean twice, some time apart.
Nothing of a VM is touched while something of it is unknown.

The exit code is 3 when something is damaged, else 4 when something is unknown. With
-json it is {"applied","plans":[{"vm","stopped","findings":[{"path","kind","state","reason",
"bytes","since","action","chain","done"}]}]}.
`,
		Prepare: func(flags *flag.FlagSet) command.Run {
			f := &cleanFlags{at: declareLocation(flags)}
			uuidVar(flags, &f.vm, "vm", "only the VM with this `UUID`")
			flags.BoolVar(&f.apply, "apply", false, "do it")
			flags.StringVar(&f.plan, "plan", "", "`file` that clean -json printed: nothing is done that is not in it")
			flags.DurationVar(&f.grace, "grace", 0, "how `long` garbage must have been known before it goes, such as 24h")
			flags.BoolVar(&f.noTrash, "no-trash", false, "remove garbage for good")
			flags.BoolVar(&f.asJSON, "json", false, "print JSON")
			return f.run
		},
	}
}

func (f *cleanFlags) run(ctx context.Context, std *command.Streams) (err error) {
	if f.plan != "" && !f.apply {
		return command.UsageError("-plan goes with -apply")
	}
	bounds, err := f.bounds()
	if err != nil {
		return err
	}
	repo, err := f.at.open(ctx, std)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, repo.Close()) }()
	moved := watch(std)
	defer moved.Clear()
	plans, err := f.clean(ctx, repo, bounds, &catalog.CleanOptions{
		Grace: f.grace, NoTrash: f.noTrash, Merge: &catalog.MergeOptions{Progress: moved.Move},
	})
	moved.Clear()
	if f.asJSON {
		return errors.Join(err, printJSON(std.Out, cleaned{Applied: f.apply, Plans: plans}), verdict(plans))
	}
	found := 0
	for _, p := range plans {
		found += len(p.Findings)
		if len(p.Findings) > 0 {
			fmt.Fprintln(std.Out, p)
		}
	}
	switch {
	case found == 0 && err == nil:
		fmt.Fprintln(std.Out, "Everything is in order.")
	case !f.apply:
		fmt.Fprintln(std.Out, "Nothing was changed: -apply does it.")
	}
	return errors.Join(err, verdict(plans))
}

// bounds reads -plan.
func (f *cleanFlags) bounds() ([]*catalog.CleanPlan, error) {
	if f.plan == "" {
		return nil, nil
	}
	text, err := os.ReadFile(f.plan)
	if err != nil {
		return nil, err
	}
	var doc cleaned
	if err := json.Unmarshal(text, &doc); err != nil || doc.Plans == nil {
		return nil, command.UsageError(f.plan + " is not what clean -json prints")
	}
	return doc.Plans, nil
}

func (f *cleanFlags) clean(ctx context.Context, repo *repository, bounds []*catalog.CleanPlan, opts *catalog.CleanOptions) (plans []*catalog.CleanPlan, err error) {
	if f.vm == "" {
		return repo.Clean(ctx, &catalog.CleanAllOptions{DryRun: !f.apply, Plans: bounds, VM: opts})
	}
	if err := repo.hasVM(ctx, f.vm); err != nil {
		return nil, err
	}
	if !f.apply {
		plan, err := repo.PlanClean(ctx, f.vm)
		return []*catalog.CleanPlan{plan}, err
	}
	if bounds != nil {
		opts.Plan = &catalog.CleanPlan{VM: f.vm} // of a VM that is not in the plan nothing is due
	}
	for _, p := range bounds {
		if p.VM == f.vm {
			opts.Plan = p
		}
	}
	session, err := repo.LockVM(ctx, f.vm)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, session.Close(context.WithoutCancel(ctx))) }()
	plan, err := session.Clean(ctx, opts)
	return []*catalog.CleanPlan{plan}, err
}

// hasVM keeps a lock from making the directory of a VM that is not there.
func (r *repository) hasVM(ctx context.Context, uuid string) error {
	for vm, err := range r.VMs(ctx) {
		if err != nil {
			return err
		}
		if vm == uuid {
			return nil
		}
	}
	return fmt.Errorf("%s: %w", uuid, errNoPoints)
}

// verdict is the error of the exit code.
func verdict(plans []*catalog.CleanPlan) error {
	damage, unknown := 0, 0
	for _, p := range plans {
		for _, f := range p.Findings {
			switch {
			case f.State == catalog.StateCorrupt && !f.Done:
				damage++
			case f.State == catalog.StateUnknown:
				unknown++
			}
		}
	}
	switch {
	case damage > 0:
		return &command.ExitError{Code: command.Damaged}
	case unknown > 0:
		return &command.ExitError{Code: command.Undecided}
	}
	return nil
}
