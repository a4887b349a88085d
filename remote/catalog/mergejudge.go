package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/vhd"
)

// proveUnused makes sure that what no point refers to has none that the listing
// left out: disks and archives have the date of their point in their names.
func (m *merger) proveUnused(ctx context.Context) error {
	var unused []string
	for _, name := range m.files {
		if strings.HasSuffix(strings.TrimSuffix(name, ".checksum"), ".xva") {
			unused = append(unused, name)
		}
	}
	for _, d := range m.dirs {
		for _, name := range d.names {
			if !d.leave && !m.refs[path.Join(d.path, name)] {
				unused = append(unused, name)
			}
		}
	}
	for _, name := range unused {
		date, ok := leadingDate(name)
		point := FormatDate(date) + ".json"
		if !ok || slices.Contains(m.files, point) {
			continue
		}
		_, err := m.s.fsys.Stat(ctx, path.Join(m.s.dir, point))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		m.unknown(path.Join(m.s.dir, point), cmp.Or(err, errUnlisted))
		m.block()
	}
	return nil
}

// judge refuses a state that would take away what a point refers to.
func (m *merger) judge(ctx context.Context, d *vdiDir, oldest string, p *pendingMerge) error {
	chain := p.state.Chain
	if len(chain) < 2 || chain[0] != oldest {
		return fmt.Errorf("state without its chain: %w", errStateMismatch)
	}
	for i, name := range chain {
		if !isElement(name) || !isDiskName(name) || isAliasName(name) != isAliasName(oldest) {
			return fmt.Errorf("disk %q: %w", name, errStateMismatch)
		}
		if i < len(chain)-1 && m.refs[path.Join(d.path, name)] {
			return fmt.Errorf("disk %s is in use: %w", name, errStateMismatch)
		}
	}
	return m.judgeOthers(ctx, d, chain)
}

// judgeOthers refuses a merge that would take away what disks beside its chain
// stand on, as far as points need these: a parent, or the data of their aliases.
func (m *merger) judgeOthers(ctx context.Context, d *vdiDir, chain []string) error {
	data, err := m.dataOf(ctx, d, chain)
	if err != nil {
		return err
	}
	parents := map[string]string{} // of the disks beside the chain
	for _, name := range d.names {
		if slices.Contains(chain, name) {
			continue
		}
		n, parent, err := m.readNode(ctx, d, name)
		if err != nil && !isUnknown(err) && m.isInMerge(ctx, d, name) {
			continue // Xen Orchestra was about to replace or to remove it
		}
		if err != nil {
			return err
		}
		if n.data != "" && data[n.data] {
			return fmt.Errorf("disk %s shares its data: %w", name, errStateMismatch)
		}
		parents[name] = parent
	}
	for _, name := range d.names {
		if !m.refs[path.Join(d.path, name)] || slices.Contains(chain, name) {
			continue
		}
		for up, steps := name, 0; steps <= len(d.names); up, steps = parents[up], steps+1 {
			if i := slices.Index(chain, up); i >= 0 && i < len(chain)-1 {
				return fmt.Errorf("disk %s stands on %s: %w", name, up, errTwoChildren)
			} else if i >= 0 {
				break
			}
		}
	}
	return nil
}

// isInMerge tells whether a disk takes part in a merge that was interrupted.
func (m *merger) isInMerge(ctx context.Context, d *vdiDir, name string) bool {
	return slices.ContainsFunc(d.pending, func(oldest string) bool {
		p, err := readMerge(ctx, m.s.fsys, d.path, oldest)
		return err == nil && slices.Contains(p.state.Chain, name)
	})
}

// dataOf returns what the aliases of a chain stand for, as far as they are there
// and whole.
func (m *merger) dataOf(ctx context.Context, d *vdiDir, chain []string) (map[string]bool, error) {
	data := map[string]bool{}
	for _, name := range chain {
		if !isAliasName(name) {
			continue
		}
		target, err := vhd.AliasTarget(ctx, &diskDir{m.s.fsys, d.path}, name)
		switch {
		case err == nil:
			data[path.Join(d.path, target)] = true
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, vhd.ErrNotVHD):
			return nil, err
		}
	}
	return data, nil
}

// readNode opens a disk and returns it with the name of its parent in d, "" if it
// has none there.
func (m *merger) readNode(ctx context.Context, d *vdiDir, name string) (n *diskNode, parent string, err error) {
	mode := vhd.Strict
	if slices.Contains(d.pending, name) {
		mode = vhd.Recover // a merge has written over its end
	}
	f, err := openDiskFile(ctx, m.s.fsys, path.Join(d.path, name), mode)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	n = &diskNode{name: name}
	if err := m.claim(ctx, d, n); err != nil {
		return nil, "", err
	}
	for _, candidate := range f.img.Parent().Names {
		full, err := within(m.s.dir, d.path, candidate)
		if err == nil && path.Dir(full) == d.path && slices.Contains(d.names, path.Base(full)) {
			return n, path.Base(full), nil
		}
	}
	return n, "", nil
}
