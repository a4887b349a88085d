package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/xapi"
)

var (
	errNoRemotes     = errors.New("pipeline: the runner knows no repositories")
	errUnknownRemote = errors.New("pipeline: unknown repository")
)

// undoing is what is undone of one VM. All of it is idempotent, and forgotten only once it
// is done, so that it may be interrupted.
type undoing struct {
	*recovery

	poolID  string
	pool    Pool
	uuid    string
	ref     xapi.Ref[xapi.VM] // null: the VM is gone
	intents []intent          // the newest first
	tasks   error             // why the tasks of the pool were not cancelled

	remotes  []string           // that the intents name
	sessions []*catalog.Session // of those that answered
}

// undo undoes it, under the locks of the VM: here and in each repository that answers.
func (u *undoing) undo(ctx context.Context) (err error) {
	key := Key{Pool: u.uuid, Op: OpVM}
	vms := u.own.vms
	if vms.InUse(key) > 0 {
		return errBackedUpNow
	}
	_, release, err := vms.Acquire(ctx, key)
	if err != nil {
		return err
	}
	defer release()
	files := u.lock(ctx)
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		for _, s := range u.sessions {
			err = errors.Join(err, s.Close(closing))
		}
	}()
	if errors.Is(files, remote.ErrLocked) {
		return files // somebody is backing it up
	}
	errs := []error{
		u.each(ctx, intentHalted, guestTimeout, u.startGuest),
		u.each(ctx, intentMigration, cleanupTimeout, u.allowMigration),
	}
	files = errors.Join(files, u.tidyRepositories(ctx), u.tasks)
	if files == nil {
		for _, in := range u.of(intentVM) {
			u.done(ctx, &in, "")
		}
	}
	return errors.Join(append(errs, files, u.each(ctx, intentSnapshot, cleanupTimeout, u.removeSnapshot))...)
}

// each calls undo for the intents of a kind, each with its time.
func (u *undoing) each(ctx context.Context, kind intentKind, atMost time.Duration, undo func(context.Context, *intent) (what string, err error)) error {
	var errs []error
	for _, in := range u.of(kind) {
		step, cancel := context.WithTimeout(ctx, atMost)
		what, err := undo(step, &in)
		cancel()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		u.done(ctx, &in, what)
	}
	return errors.Join(errs...)
}

// lock locks the VM in each repository that the intents name. Of those that are locked by
// somebody else the error is remote.ErrLocked.
func (u *undoing) lock(ctx context.Context) error {
	for _, in := range u.intents {
		u.remotes = append(u.remotes, in.Remotes...)
	}
	slices.Sort(u.remotes)
	u.remotes = slices.Compact(u.remotes)
	var errs []error
	for _, id := range u.remotes {
		session, err := u.lockIn(ctx, id)
		if err != nil {
			errs = append(errs, fmt.Errorf("repository %s: %w", id, err))
			continue
		}
		u.sessions = append(u.sessions, session)
	}
	return errors.Join(errs...)
}

func (u *undoing) lockIn(ctx context.Context, id string) (*catalog.Session, error) {
	if u.opts.Remotes == nil {
		return nil, errNoRemotes
	}
	c, err := u.opts.Remotes(ctx, id)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, errUnknownRemote
	}
	return c.LockVM(ctx, u.uuid)
}

// tidyRepositories removes what nobody completes, and finishes merges that were
// interrupted. It begins none: that can wait for the next backup.
func (u *undoing) tidyRepositories(ctx context.Context) error {
	var errs []error
	for _, s := range u.sessions {
		_, err := s.Merge(ctx, &catalog.MergeOptions{MaxTime: 1})
		if errors.Is(err, catalog.ErrAppendOnly) {
			err = nil // others do that
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// startGuest starts a guest that was halted for its backup.
func (u *undoing) startGuest(ctx context.Context, _ *intent) (what string, err error) {
	vm, err := u.read(ctx)
	if err != nil || vm == nil {
		return "", err
	}
	if _, marked := vm.OtherConfig[keyStart]; marked {
		what = "guest that was halted for its backup"
	}
	return what, startMarked(ctx, u.pool, u.ref)
}

// read reads the VM; nil if it is gone.
func (u *undoing) read(ctx context.Context) (*xapi.VM, error) {
	if u.ref.IsNull() {
		return nil, nil
	}
	return read[xapi.VM](ctx, u.pool, u.ref, nil)
}

// allowMigration gives the VM back what a block of the run has replaced.
func (u *undoing) allowMigration(ctx context.Context, in *intent) (what string, err error) {
	if u.ref.IsNull() {
		return "", nil
	}
	changed, err := unblockMigration(ctx, u.pool, u.ref, in.Before)
	if changed {
		what = "block of migration"
	}
	return what, err
}
