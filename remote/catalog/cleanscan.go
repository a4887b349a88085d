package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/vhd"
)

var (
	errXOTemp = errors.New("Xen Orchestra did not come to the end of it") //nolint:staticcheck // a name
	errStale  = errors.New("no disk of the merge exists")
)

// xoTemp is how Xen Orchestra names what it is about to rename.
var xoTemp = regexp.MustCompile(`^\.\d{10,16}\..+\.(vhd|xva|checksum)$`)

func isXOTemp(name string) bool { return xoTemp.MatchString(name) }

// isForgotten tells whether a network file system keeps the name for a file that
// was removed while it was open.
func isForgotten(name string) bool { return strings.HasPrefix(name, ".nfs") }

// isRuined tells whether a disk that no point refers to is proven to be none.
func (m *merger) isRuined(ctx context.Context, d *vdiDir, name string, err error) bool {
	switch {
	case err == nil || slices.Contains(d.torn, name):
		return false
	case isRuin(err), errors.Is(err, crypt.ErrTampered):
		return true
	case !isAliasName(name) || !errors.Is(err, fs.ErrNotExist):
		return false
	}
	// The alias is there, and what it stands for is not, or lacks a part.
	_, statErr := m.s.fsys.Stat(ctx, path.Join(d.path, name))
	return statErr == nil
}

// beforeRemoval empties the trash of earlier cleans, once it is known that no
// point lacks anything.
func (m *merger) beforeRemoval(ctx context.Context) error {
	if m.clean == nil {
		return nil
	}
	k := m.clean
	runs, err := k.trash.runs(ctx)
	if err != nil {
		return err
	}
	reason := "an earlier clean put it there"
	whole := len(m.report.Unknown) == 0 && !slices.ContainsFunc(m.report.Left, func(f Finding) bool {
		return errors.Is(f.Err, errMissing) || errors.Is(f.Err, errParentMissing)
	})
	for _, run := range runs {
		size, err := sizeOf(ctx, m.s.fsys, run)
		if err != nil {
			return err
		}
		f := CleanFinding{Path: run, Kind: KindTrash, State: StateValid, Reason: reason, Bytes: size, Action: ActionRemove}
		if !whole {
			f.Reason, f.Action = "what some point lacks may be there", ActionNone
			k.finding(f)
			continue
		}
		if err := k.act(ctx, f, func() error { return remote.RemoveAll(ctx, m.s.fsys, run) }); err != nil {
			return err
		}
	}
	return nil
}

// tidyRest goes over what is no disk in d.
func (m *merger) tidyRest(ctx context.Context, d *vdiDir) error {
	for _, oldest := range d.stale {
		name := path.Join(d.path, vhd.MergeStateName(oldest))
		if _, err := m.discard(ctx, garbageItem{name: name, kind: KindState, err: errStale}); err != nil {
			return err
		}
	}
	for _, name := range d.xoTemps {
		if _, err := m.discard(ctx, garbageItem{name: path.Join(d.path, name), kind: KindTemporary, err: errXOTemp}); err != nil {
			return err
		}
	}
	for _, name := range d.strays {
		m.clean.stray(path.Join(d.path, name), StateValid, "no tool makes it, and none minds it")
	}
	for _, name := range d.names {
		if n := d.disks[name]; n != nil && n.data != "" {
			if err := m.tempsInData(ctx, n.data); err != nil {
				return err
			}
		}
	}
	return m.removeEmpty(ctx, d.path)
}

// tempsInData looks for what a merge that was killed left among the blocks of a disk.
func (m *merger) tempsInData(ctx context.Context, data string) error {
	err := remote.Walk(ctx, m.s.fsys, data, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !remote.IsTemp(name) {
			return err
		}
		return m.clean.temp(ctx, name)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeEmpty removes a directory in which there is nothing, or nothing but an
// empty one for data.
func (m *merger) removeEmpty(ctx context.Context, dir string) error {
	entries, err := m.s.fsys.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("catalog: list %s: %w", dir, err)
	}
	for _, e := range entries {
		if e.Name() != dataDir || !e.IsDir() || len(entries) > 1 {
			return nil
		}
		below, err := m.s.fsys.ReadDir(ctx, path.Join(dir, dataDir))
		if err != nil || len(below) > 0 {
			return err
		}
	}
	f := CleanFinding{Path: dir, Kind: KindDirectory, State: StateValid, Reason: "it is empty", Action: ActionRemove}
	return m.clean.act(ctx, f, func() error {
		for _, e := range entries {
			if err := m.s.fsys.Remove(ctx, path.Join(dir, e.Name())); err != nil {
				return err
			}
		}
		return m.s.fsys.Remove(ctx, dir)
	})
}

// stray reports what is left alone.
func (k *cleaner) stray(name string, state CleanState, reason string) {
	if !isForgotten(path.Base(name)) {
		k.finding(CleanFinding{Path: name, Kind: KindOther, State: state, Reason: reason, Action: ActionNone})
	}
}
