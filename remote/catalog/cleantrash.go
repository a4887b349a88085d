package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"syscall"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// trashDir has a directory per VM, in which each clean has one of its own, named
// by its date, in which garbage has the path that it had below that of the VM.
const trashDir = ".xenbackup/trash"

// trash is where garbage waits for the next clean. Renaming into it and removing
// from it can stop at any point: what is there belongs to nobody.
type trash struct {
	fsys remote.Filesystem
	dir  string
}

// hasRoom tells whether the storage can do without the space for one more run.
func (t *trash) hasRoom(ctx context.Context) bool {
	reporter, ok := remote.As[remote.SpaceReporter](t.fsys)
	if !ok {
		return true
	}
	space, err := reporter.Space(ctx)
	return err != nil || space.Total == 0 || space.Free >= space.Total/20
}

// put moves name to rel below the directory of this run. The move is durable.
func (t *trash) put(ctx context.Context, name, rel string, now time.Time) error {
	run := path.Join(t.dir, FormatDate(now)+"-"+strconv.Itoa(now.Nanosecond()))
	to := path.Join(run, rel)
	if err := remote.MkdirAll(ctx, t.fsys, path.Dir(to)); err != nil {
		return fmt.Errorf("catalog: trash: %w", err)
	}
	if err := remote.RenameNoReplace(ctx, t.fsys, name, to); err != nil {
		return fmt.Errorf("catalog: trash: %w", err)
	}
	for _, dir := range []string{path.Dir(to), path.Dir(name)} {
		if err := remote.SyncDir(ctx, t.fsys, dir); err != nil {
			return fmt.Errorf("catalog: trash: %w", err)
		}
	}
	return nil
}

// runs lists what earlier cleans have left.
func (t *trash) runs(ctx context.Context) ([]string, error) {
	entries, err := t.fsys.ReadDir(ctx, t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("catalog: trash: %w", err)
	}
	var runs []string
	for _, e := range entries {
		runs = append(runs, path.Join(t.dir, e.Name()))
	}
	return runs, nil
}

// isAcross tells whether a rename failed since the trash is another file system.
func isAcross(err error) bool {
	return errors.Is(err, syscall.EXDEV) || errors.Is(err, errors.ErrUnsupported)
}
