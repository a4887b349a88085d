package catalog

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
)

// tidy removes what is garbage in d and merges what is not referred to.
func (m *merger) tidy(ctx context.Context, d *vdiDir) error {
	if len(d.torn) > 0 {
		return m.mergeAnew(ctx, d)
	}
	if err := m.discardDisks(ctx, d); err != nil {
		return err
	}
	for _, chain := range m.chains(d) {
		if err := m.merge(ctx, d, chain, false); err != nil || d.leave {
			return err
		}
	}
	if err := m.removeData(ctx, d); err != nil || m.clean == nil {
		return err
	}
	return m.tidyRest(ctx, d)
}

// discardDisks removes the disks that nothing needs, children before their parents,
// also after a power cut.
func (m *merger) discardDisks(ctx context.Context, d *vdiDir) error {
	for _, n := range m.garbage(d) {
		g := garbageItem{name: path.Join(d.path, n.name), kind: KindDisk, err: errNoPoint, hold: len(n.children) > 0}
		if n.isCondemned() {
			g.err, g.isCorrupt = n.err, true
		}
		if m.clean != nil {
			g.data = n.data
		}
		gone, err := m.discard(ctx, g)
		if err != nil {
			return err
		}
		if !gone {
			continue
		}
		if err := remote.SyncDir(ctx, m.s.fsys, d.path); err != nil {
			return fmt.Errorf("catalog: %w", err)
		}
		forget(d, n)
		if n.data != "" {
			m.s.unneeded(n.data)
		}
	}
	return nil
}

// mergeAnew makes the merges whose state was torn, as the points and the disks
// say that they must have been. All else in d waits for the next time.
func (m *merger) mergeAnew(ctx context.Context, d *vdiDir) error {
	for _, chain := range m.chains(d) {
		if !slices.Contains(d.torn, chain[0]) {
			continue
		}
		if err := m.merge(ctx, d, chain, true); err != nil {
			return err
		}
		d.torn = slices.DeleteFunc(d.torn, func(name string) bool { return name == chain[0] })
	}
	for _, name := range d.torn {
		m.unknown(path.Join(d.path, name), vhd.ErrMergeState)
	}
	return nil
}

// garbage returns the disks that no point needs, children before parents. To a
// merge, a disk whose parent is missing is not proven to be garbage.
func (m *merger) garbage(d *vdiDir) []*diskNode {
	var found []*diskNode
	var visit func(n *diskNode) (needed bool)
	visit = func(n *diskNode) bool {
		needed := n.used || (n.orphan && m.clean == nil)
		for _, child := range n.children {
			if visit(child) {
				needed = true
			}
		}
		if !needed {
			found = append(found, n)
		}
		return needed
	}
	for _, name := range d.names {
		if n := d.disks[name]; n.parent == nil {
			visit(n)
		}
	}
	return found
}

func forget(d *vdiDir, n *diskNode) {
	delete(d.disks, n.name)
	d.names = slices.DeleteFunc(d.names, func(name string) bool { return name == n.name })
	if n.parent != nil {
		n.parent.children = slices.DeleteFunc(n.parent.children, func(c *diskNode) bool { return c == n })
	}
}

// chains returns what is to be merged: per disk in use, the row of disks before
// it that are not, oldest first. A row with a disk that another one depends on
// too is left as it is.
func (m *merger) chains(d *vdiDir) [][]string {
	var chains [][]string
	for _, name := range d.names {
		n := d.disks[name]
		if !n.used || n.orphan {
			continue
		}
		chain := []string{n.name}
		shared := ""
		for up := n.parent; up != nil && !up.used; up = up.parent {
			chain = append(chain, up.name)
			if len(up.children) > 1 {
				shared = up.name
			}
		}
		if shared != "" {
			m.left(path.Join(d.path, shared), errTwoChildren)
			continue
		}
		if slices.ContainsFunc(chain, func(other string) bool { return isAliasName(other) != isAliasName(name) }) {
			m.left(path.Join(d.path, name), errFlavours)
			continue
		}
		if len(chain) > 1 {
			slices.Reverse(chain)
			chains = append(chains, chain)
		}
	}
	return chains
}
