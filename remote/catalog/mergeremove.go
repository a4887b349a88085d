package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/xenbackup/xenbackup/remote"
)

// removeTemps removes the leavings of writers that did not come to an end:
// under the lock there is no other.
func (m *merger) removeTemps(ctx context.Context) error {
	for _, name := range m.files {
		if err := m.removeTemp(ctx, m.s.dir, name); err != nil {
			return err
		}
	}
	for _, d := range m.dirs {
		for _, name := range d.temps {
			if err := m.removeTemp(ctx, d.path, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *merger) removeTemp(ctx context.Context, dir, name string) error {
	full := path.Join(dir, name)
	if !remote.IsTemp(name) || m.refs[full] {
		return nil
	}
	if m.clean != nil {
		return m.clean.temp(ctx, full)
	}
	return m.remove(ctx, full)
}

// discard removes what is proven to be garbage, if it is ours or was so before. A clean
// knows no difference, and moves it aside; hold lets it be remembered and no more.
func (m *merger) discard(ctx context.Context, g garbageItem) (gone bool, err error) {
	if m.clean != nil {
		return m.clean.discard(ctx, g)
	}
	if m.s.lock.HolderMayReturn() {
		m.left(g.name, ErrHolderSilent)
		return false, nil
	}
	sure, err := m.isOurs(ctx, g.name)
	if err == nil && !sure {
		sure, err = m.sightings.again(ctx, g)
	}
	if err != nil {
		return false, err
	}
	if !sure || g.hold {
		m.left(g.name, ErrSeenOnce)
		return false, nil
	}
	if g.isTree {
		err = remote.RemoveAll(ctx, m.s.fsys, g.name)
	} else {
		err = m.s.fsys.Remove(ctx, g.name)
	}
	switch {
	case errors.Is(err, fs.ErrPermission): // something guards it
		m.left(g.name, err)
		return false, nil
	case err != nil:
		return false, fmt.Errorf("catalog: %w", err)
	}
	m.removed(g.name)
	return true, nil
}

// isOurs tells whether garbage needs no second look: this session has deleted the point
// that needed it, or this library wrote it, and the lock proves that whoever did is no
// more.
func (m *merger) isOurs(ctx context.Context, name string) (bool, error) {
	if m.s.isUnneeded(name) {
		return true, nil
	}
	_, err := m.s.fsys.Stat(ctx, evidenceName(strings.TrimSuffix(name, checksumSuffix)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("catalog: evidence of %s: %w", name, err)
	}
	return true, nil
}

func (m *merger) remove(ctx context.Context, name string) error {
	if err := m.s.fsys.Remove(ctx, name); err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	m.removed(name)
	return nil
}

func (m *merger) removed(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report.Removed = append(m.report.Removed, m.rel(name))
}

// removeArchives removes archives that lost their JSON in a deletion that was
// interrupted. A VM without any point is not touched: a listing may lie.
func (m *merger) removeArchives(ctx context.Context) error {
	used := map[string]bool{}
	for _, p := range m.points {
		used[strings.TrimSuffix(path.Base(p.ID), ".json")+".xva"] = true
		used[path.Clean(p.Metadata.XVA)] = true
	}
	if len(m.points) == 0 && m.clean == nil {
		return nil
	}
	for _, name := range m.files {
		archive := strings.TrimSuffix(name, ".checksum")
		stem, ok := strings.CutSuffix(archive, ".xva")
		if _, err := ParseDate(stem); !ok || err != nil || used[archive] {
			continue
		}
		g := garbageItem{name: path.Join(m.s.dir, name), kind: KindArchive, err: errNoPoint}
		if _, err := m.discard(ctx, g); err != nil {
			return err
		}
	}
	return nil
}
