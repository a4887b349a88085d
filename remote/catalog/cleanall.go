package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// CleanAllOptions directs [Catalog.Clean]. nil is fine.
type CleanAllOptions struct {
	// DryRun plans, and changes nothing.
	DryRun bool

	// Plans bounds what is done, as CleanOptions.Plan does: what [Catalog.Clean]
	// returned from a dry run. VMs without a plan are passed over. nil: all.
	Plans []*CleanPlan

	// Parallel is how many VMs are cleaned at once; 0 is 4.
	Parallel int

	// VM is for each VM; its Plan is not used.
	VM *CleanOptions
}

const (
	defaultCleans = 4
	// restName is what cleans of what belongs to no VM remember by: no VM's name
	// begins with a dot.
	restName = ".repository"
	// restGrace is how long what no lock protects must have been there, unchanged.
	restGrace = time.Hour
)

// Clean cleans the backups of all VMs, several at once, each under its own lock as
// [Session.Clean] does, and then what belongs to no VM: locks of directories that
// do not exist, temporary files, and what earlier cleans keep of VMs that are gone.
//
// The plans are in the order of the VMs' names, the last one of what belongs to
// none. A VM that fails, such as one that is in use (remote.ErrLocked), does not
// stop the others; the errors are joined.
func (c *Catalog) Clean(ctx context.Context, opts *CleanAllOptions) ([]*CleanPlan, error) {
	if opts == nil {
		opts = &CleanAllOptions{}
	}
	if c.isFixed && !opts.DryRun {
		return nil, fmt.Errorf("catalog: clean: %w", ErrAppendOnly)
	}
	var vms []string
	for vm, err := range c.VMs(ctx) {
		if err != nil {
			return nil, err
		}
		if opts.Plans == nil || opts.planOf(vm) != nil {
			vms = append(vms, vm)
		}
	}
	plans, errs := make([]*CleanPlan, len(vms), len(vms)+1), make([]error, len(vms), len(vms)+1)
	parallel := opts.Parallel
	if parallel < 1 {
		parallel = defaultCleans
	}
	slots := make(chan struct{}, parallel)
	var running sync.WaitGroup
	for i, vm := range vms {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			plans[i], errs[i] = c.cleanOne(ctx, vm, opts)
		})
	}
	running.Wait()
	r := &repositoryCleaner{c: c, dry: opts.DryRun, only: opts.planOf(""), bounded: opts.Plans != nil, now: time.Now().UTC(), vms: vms}
	r.plan = &CleanPlan{Findings: []CleanFinding{}}
	return append(plans, r.plan), errors.Join(append(errs, r.run(ctx))...)
}

func (o *CleanAllOptions) planOf(vm string) *CleanPlan {
	i := slices.IndexFunc(o.Plans, func(p *CleanPlan) bool { return p.VM == vm })
	if i < 0 {
		return nil
	}
	return o.Plans[i]
}

func (c *Catalog) cleanOne(ctx context.Context, vm string, opts *CleanAllOptions) (plan *CleanPlan, err error) {
	plan = &CleanPlan{VM: vm, Findings: []CleanFinding{}}
	if ctx.Err() != nil {
		return plan, context.Cause(ctx)
	}
	how := CleanOptions{}
	if opts.VM != nil {
		how = *opts.VM
	}
	how.Plan = opts.planOf(vm)
	if opts.DryRun {
		return c.planClean(ctx, vm, &how)
	}
	s, err := c.LockVM(ctx, vm)
	if err != nil {
		return plan, err
	}
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	return s.Clean(ctx, &how)
}

// repositoryCleaner goes over what belongs to no VM.
type repositoryCleaner struct {
	c       *Catalog
	dry     bool
	bounded bool
	only    *CleanPlan
	now     time.Time
	vms     []string

	memory, seen cleanMemory
	plan         *CleanPlan
}

func (r *repositoryCleaner) run(ctx context.Context) (err error) {
	if r.memory, err = readMemory(ctx, r.c.fsys, restName); err != nil {
		return err
	}
	r.seen = cleanMemory{}
	for _, step := range []func(context.Context) error{r.locks, r.temps, r.departed} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("catalog: clean: %w", err)
		}
	}
	r.plan.sort()
	if r.dry {
		return nil
	}
	return r.seen.write(ctx, r.c.fsys, restName, r.memory)
}

// act takes the action of f, unless nothing is to be done.
func (r *repositoryCleaner) act(f CleanFinding, do func() error) error {
	var err error
	if !r.dry && (!r.bounded || (r.only != nil && r.only.wants(f.Path, f.Kind))) {
		err = do()
		f.Done = err == nil
	}
	r.plan.Findings = append(r.plan.Findings, f)
	return err
}

// locks removes those of directories that do not exist. One that somebody holds is
// his: the VM is about to be made.
func (r *repositoryCleaner) locks(ctx context.Context) error {
	entries, err := r.list(ctx, vmRoot)
	if err != nil {
		return err
	}
	for _, e := range entries {
		vm, isLock := strings.CutSuffix(e.Name(), ".lock")
		if !isLock || !e.IsDir() || !isVMName(vm) {
			continue
		}
		dir := path.Join(vmRoot, vm)
		if _, err := r.c.fsys.Stat(ctx, dir); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		f := CleanFinding{Path: dir + ".lock", Kind: KindLock, State: StateValid, Reason: "there is nothing that it locks", Action: ActionRemove}
		err := r.act(f, func() error {
			lock, err := remote.AcquireLock(ctx, r.c.fsys, dir, &remote.LockOptions{Logger: r.c.log})
			if errors.Is(err, remote.ErrLocked) {
				return nil
			}
			if err != nil {
				return err
			}
			return lock.Release(ctx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// temps removes temporary files that no lock protects once they are old: at the
// root, beside the VMs, and of what we keep there ourselves.
func (r *repositoryCleaner) temps(ctx context.Context) error {
	for _, dir := range []string{".", vmRoot} {
		entries, err := r.list(ctx, dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := r.temp(ctx, path.Join(dir, e.Name()), e); err != nil {
				return err
			}
		}
	}
	err := remote.Walk(ctx, r.c.fsys, ourDir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == trashDir:
			return fs.SkipDir
		}
		return r.temp(ctx, name, e)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ourDir holds what only this library reads.
const ourDir = ".xenbackup"

func (r *repositoryCleaner) temp(ctx context.Context, name string, e fs.DirEntry) error {
	if e.IsDir() || !remote.IsTemp(name) {
		return nil
	}
	return r.discard(ctx, name, KindTemporary, "nobody has gone on with it")
}

// discard removes what was found, unchanged, some time ago, and remembers it
// otherwise.
func (r *repositoryCleaner) discard(ctx context.Context, name string, kind CleanKind, reason string) error {
	info, err := r.c.fsys.Stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	f := CleanFinding{Path: name, Kind: kind, State: StateValid, Reason: reason, Action: ActionRemember}
	if f.Bytes, err = sizeOf(ctx, r.c.fsys, name); err != nil {
		return err
	}
	now := newSighting(kind, info, r.now)
	if before, ok := r.memory[name]; ok && before.isSame(now) {
		now.First, f.Since = before.First, before.First
		if r.now.Sub(before.First) >= restGrace {
			f.Action = ActionRemove
		}
	}
	r.seen[name] = now
	return r.act(f, func() error {
		if f.Action == ActionRemember {
			return nil
		}
		delete(r.seen, name)
		return remote.RemoveAll(ctx, r.c.fsys, name)
	})
}

// departed removes what cleans keep of VMs that have no directory any more.
func (r *repositoryCleaner) departed(ctx context.Context) error {
	for _, dir := range []string{memoryDir, trashDir} {
		entries, err := r.list(ctx, dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			vm := strings.TrimSuffix(e.Name(), ".json")
			if !isVMName(vm) || !isElement(vm) || slices.Contains(r.vms, vm) {
				continue
			}
			if _, err := r.c.fsys.Stat(ctx, path.Join(vmRoot, vm)); !errors.Is(err, fs.ErrNotExist) {
				continue
			}
			kind := KindOther
			if e.IsDir() {
				kind = KindTrash
			}
			if err := r.discard(ctx, path.Join(dir, e.Name()), kind, "the VM has no backups any more"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *repositoryCleaner) list(ctx context.Context, dir string) ([]fs.DirEntry, error) {
	entries, err := r.c.fsys.ReadDir(ctx, dir)
	return entries, ignoreMissing(err)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
