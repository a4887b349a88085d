package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
)

// dataDir holds, beside the aliases, the disks that are kept as directories.
const dataDir = "data"

// claim notes what the alias of n stands for: something below data, that no
// other alias stands for.
func (m *merger) claim(ctx context.Context, d *vdiDir, n *diskNode) error {
	if !isAliasName(n.name) {
		return nil
	}
	target, err := vhd.AliasTarget(ctx, &diskDir{m.s.fsys, d.path}, n.name)
	if err != nil {
		return err
	}
	if path.Dir(target) != dataDir || !isDiskName(path.Base(target)) || isAliasName(target) {
		m.block() // it may be the data of any disk
		return fmt.Errorf("%s: %w", target, errAlias)
	}
	n.data = path.Join(d.path, target)
	for _, other := range d.disks {
		if other.data == n.data {
			return fmt.Errorf("%s has two: %w", target, errAlias)
		}
	}
	return nil
}

// removeData removes what lies in data and no alias stands for: the data of disks
// that were just removed, and what a writer or a merge left when it was killed
// before the alias was there, or after it was gone. That is proven by all the
// aliases, read again: every disk that a point needs is there, with its parents.
func (m *merger) removeData(ctx context.Context, d *vdiDir) error {
	if !d.data {
		return nil
	}
	again, err := m.readDir(ctx, d.path)
	if err != nil {
		return fmt.Errorf("catalog: list %s: %w", d.path, err)
	}
	if len(again.pending) > 0 {
		return nil // it is the merge's to remove
	}
	claimed, here, err := m.aliased(ctx, d, again)
	if err != nil {
		return err
	}
	entries, err := m.s.fsys.ReadDir(ctx, path.Join(d.path, dataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("catalog: list %s: %w", path.Join(d.path, dataDir), err)
	}
	for _, e := range entries {
		if e.IsDir() || e.Type().IsRegular() {
			delete(here, path.Join(d.path, dataDir, e.Name()))
		}
	}
	for name := range here { // by another name, or through a link to another entry
		m.left(name, errElsewhere)
		return nil
	}
	for _, e := range entries {
		if full := path.Join(d.path, dataDir, e.Name()); !claimed[full] {
			if err := m.removeUnclaimed(ctx, full, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// aliased returns what aliases stand for: of all that were read before and are read
// now, and of those that are listed now.
func (m *merger) aliased(ctx context.Context, d, again *vdiDir) (claimed, listed map[string]bool, err error) {
	claimed, listed = map[string]bool{}, map[string]bool{}
	for _, n := range d.disks { // also those whose aliases this listing left out
		claimed[n.data] = true
	}
	for _, name := range again.names {
		if n := d.disks[name]; !isAliasName(name) || (n != nil && n.isCondemned()) {
			continue // no alias, or one that is proven to stand for nothing
		}
		target, err := vhd.AliasTarget(ctx, &diskDir{m.s.fsys, d.path}, name)
		if err != nil {
			return nil, nil, fmt.Errorf("catalog: alias %s: %w", path.Join(d.path, name), err)
		}
		claimed[path.Join(d.path, target)], listed[path.Join(d.path, target)] = true, true
	}
	return claimed, listed, nil
}

// removeUnclaimed removes what no alias stands for, if it is the data of a disk.
func (m *merger) removeUnclaimed(ctx context.Context, name string, e fs.DirEntry) error {
	if !isDiskName(e.Name()) || isAliasName(e.Name()) || (!e.IsDir() && !e.Type().IsRegular()) {
		m.left(name, errData)
		return nil
	}
	gone, err := m.discard(ctx, garbageItem{name: name, kind: KindData, err: errNoAlias, isTree: true})
	if err != nil || !gone {
		return err
	}
	if err := remote.SyncDir(ctx, m.s.fsys, path.Dir(name)); err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	return nil
}
