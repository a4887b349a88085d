package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
)

// vdiDir is a directory with disks.
type vdiDir struct {
	path    string
	names   []string // of the disks, sorted
	pending []string // disks that have a merge state
	temps   []string
	xoTemps []string // temporary files of Xen Orchestra
	stale   []string // merge states whose disks are gone
	strays  []string // what no tool makes
	torn    []string // disks whose merge state was torn: the merge begins anew
	data    bool     // there is a directory for what aliases stand for
	leave   bool     // do not touch
	disks   map[string]*diskNode
}

// diskNode is a disk among its relatives.
type diskNode struct {
	name     string
	data     string // what its alias stands for, from the root; "" for a file
	uuid     vhd.UUID
	ref      vhd.ParentRef
	full     bool // it has no parent
	parent   *diskNode
	children []*diskNode
	used     bool  // a point refers to it
	orphan   bool  // a parent, its own or further up, is missing or damaged
	err      error // of a damaged one that no point refers to, which a clean judges; nil otherwise
	size     int64 // of the file; of a directory, that of a file with the same blocks
}

func (n *diskNode) adopt(parent *diskNode) {
	n.parent = parent
	parent.children = append(parent.children, n)
}

// isMerged tells whether n is kept as a directory that was that of an older disk: a
// merge gathers the blocks there, and then lets the alias of the youngest stand for it.
func (n *diskNode) isMerged() bool {
	of, ok := leadingDate(path.Base(n.data))
	own, hasOwn := leadingDate(n.name)
	return ok && hasOwn && of.Before(own)
}

// isCondemned tells whether a clean takes n for garbage that cannot be read.
func (n *diskNode) isCondemned() bool { return n.err != nil }

var (
	errUnreferenced  = errors.New("no point refers to this directory")
	errParentMissing = errors.New("a parent is missing")
	errTwoChildren   = errors.New("two disks that are needed depend on it")
	errStateMismatch = errors.New("a merge state contradicts the points")
	errMissing       = errors.New("a point refers to it, but it is not there")
	errFlavours      = errors.New("the disks before it are kept in another way")
	errAlias         = errors.New("an alias stands for something that is not its own")
	errElsewhere     = errors.New("an alias stands for it, and it is not listed as a directory or file")
	errData          = errors.New("no alias stands for it, and it is no disk")
	errNoPoint       = errors.New("no point needs it")
	errNoAlias       = errors.New("no alias stands for it")
	errUnlisted      = errors.New("it is there, and the listing of its directory left it out")
	errNotPlain      = errors.New("not a plain file or directory where a disk should be")
)

// readDirs lists all directories with disks: those where disks belong, and
// those that points refer to.
func (m *merger) readDirs(ctx context.Context) error {
	below, err := m.s.vdiDirs(ctx)
	if err != nil {
		return err
	}
	dirs := map[string]bool{} // true: a point refers to it
	for _, dir := range below {
		dirs[dir] = false
	}
	for name := range m.refs {
		dirs[path.Dir(name)] = true
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if err := m.checkPlace(ctx, dir, below); err != nil {
			m.unknown(dir, err)
			m.block()
			continue
		}
		d, err := m.readDir(ctx, dir)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			m.unknown(dir, err)
			if isUnknown(err) {
				m.block()
			}
			continue
		}
		if !dirs[dir] && (len(d.names) > 0 || d.data) && m.clean == nil && !m.hasExpired(d) {
			d.leave = true
			m.left(dir, errUnreferenced)
		}
		m.dirs = append(m.dirs, d)
	}
	return nil
}

// hasExpired says that this session has deleted the points of all disks in a directory,
// as those of memory images, of which each has a directory of its own.
func (m *merger) hasExpired(d *vdiDir) bool {
	return len(d.names) > 0 && !slices.ContainsFunc(d.names, func(name string) bool { return !m.s.isUnneeded(path.Join(d.path, name)) })
}

// checkPlace refuses a directory that points refer to and that is not one of
// those where disks belong: behind a symbolic link there may be the disks of
// others.
func (m *merger) checkPlace(ctx context.Context, dir string, below []string) error {
	if slices.Contains(below, dir) {
		return nil
	}
	_, err := m.s.fsys.Stat(ctx, dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // its points are incomplete, and nothing is there to be touched
	case err != nil:
		return err
	}
	return errNotPlain
}

func (m *merger) readDir(ctx context.Context, dir string) (*vdiDir, error) {
	entries, err := m.s.fsys.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) { // proven: what points miss there is found when disks are opened
		return &vdiDir{path: dir}, nil
	}
	if err != nil {
		return nil, err
	}
	d := &vdiDir{path: dir}
	for _, e := range entries {
		name := e.Name()
		oldest, isState := mergeStateOf(name)
		switch {
		case isDiskName(name) && e.IsDir():
			return nil, ErrUnsupportedFlavour // without its alias it is nobody's
		case name == dataDir && e.IsDir():
			d.data = true
		case e.IsDir():
			d.strays = append(d.strays, name)
		case isDiskName(name) && !e.Type().IsRegular():
			m.block() // a link may lead to any other disk
			return nil, fmt.Errorf("%s: %w", name, errNotPlain)
		case isDiskName(name):
			d.names = append(d.names, name)
		case remote.IsTemp(name):
			d.temps = append(d.temps, name)
		case isState:
			d.pending = append(d.pending, oldest)
		case isXOTemp(name):
			d.xoTemps = append(d.xoTemps, name)
		default:
			d.strays = append(d.strays, name)
		}
	}
	return d, nil
}

// refresh lists d again after its files have changed.
func (m *merger) refresh(ctx context.Context, d *vdiDir) error {
	again, err := m.readDir(ctx, d.path)
	if err != nil {
		return fmt.Errorf("catalog: list %s: %w", d.path, err)
	}
	d.names, d.pending, d.data = again.names, again.pending, again.data
	return nil
}

// resume finishes the merges that have a state file in d.
func (m *merger) resume(ctx context.Context, d *vdiDir) error {
	if len(d.pending) == 0 {
		return nil
	}
	for _, oldest := range d.pending {
		state, err := readMerge(ctx, m.s.fsys, d.path, oldest)
		if m.isStale(d, oldest, &state, err) {
			d.stale = append(d.stale, oldest)
			continue
		}
		if errors.Is(err, vhd.ErrMergeState) && !m.refs[path.Join(d.path, oldest)] {
			d.torn = append(d.torn, oldest)
			continue
		}
		if err == nil {
			err = m.judge(ctx, d, oldest, &state)
		}
		if err != nil {
			m.condemn(d, path.Join(d.path, oldest), err)
			return nil
		}
		if err := m.merge(ctx, d, state.state.Chain, true); err != nil || d.leave {
			d.leave = true
			return err
		}
	}
	if m.isDry() { // what else is here shows once this is done
		d.leave = d.leave || len(d.pending) > len(d.stale)+len(d.torn)
		return nil
	}
	if err := m.refresh(ctx, d); err != nil {
		d.leave = true
		return err
	}
	return nil
}

// isStale tells whether nothing is left to be done by a merge, since neither its
// oldest disk nor its youngest exists, and no point misses one of them.
func (m *merger) isStale(d *vdiDir, oldest string, p *pendingMerge, err error) bool {
	if err != nil && !errors.Is(err, vhd.ErrMergeState) {
		return false
	}
	chain := []string{oldest}
	if err == nil {
		chain = append(chain, p.state.Chain...)
	}
	return !slices.ContainsFunc(chain, func(name string) bool {
		return slices.Contains(d.names, name) || m.refs[path.Join(d.path, name)]
	})
}

// condemn leaves d alone, and everything else too unless the cause is proven
// to be in the content.
func (m *merger) condemn(d *vdiDir, name string, err error) {
	m.unknown(name, err)
	d.leave = true
	if isUnknown(err) && !errors.Is(err, errStateMismatch) && !errors.Is(err, errTwoChildren) {
		m.block()
	}
}

// openDisks opens every disk in d and links children to parents.
func (m *merger) openDisks(ctx context.Context, d *vdiDir) error {
	d.disks = make(map[string]*diskNode, len(d.names))
	for _, name := range d.names {
		full := path.Join(d.path, name)
		mode := vhd.Strict
		if slices.Contains(d.torn, name) {
			mode = vhd.Recover // the merge has written over its end
		}
		f, err := openDiskFile(ctx, m.s.fsys, full, mode)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if m.clean != nil && !m.refs[full] && m.isRuined(ctx, d, name, err) {
			d.disks[name] = &diskNode{name: name, full: true, orphan: true, err: err}
			continue
		}
		if err != nil {
			if isAliasName(name) && errors.Is(err, ErrOutside) {
				m.block() // it may be the data of any disk
			}
			m.condemn(d, full, err)
			continue
		}
		n := &diskNode{name: name, uuid: f.img.UUID(), used: m.refs[full], ref: f.img.Parent(), size: f.size}
		if err := m.claim(ctx, d, n); err != nil {
			m.condemn(d, full, errors.Join(err, f.close()))
			continue
		}
		n.full = f.img.Type() != vhd.Differencing
		if n.data != "" {
			n.size = streamSize(f.img.Size(), f.img.Allocated())
		}
		d.disks[name] = n
		if err := f.close(); err != nil {
			m.condemn(d, full, err)
		}
	}
	for full := range m.refs {
		if path.Dir(full) == d.path && !slices.Contains(d.names, path.Base(full)) {
			m.left(full, errMissing)
			d.leave = true // what it stands on may be here
		}
	}
	if !d.leave {
		m.link(d)
	}
	return nil
}

func (m *merger) link(d *vdiDir) {
	for _, name := range d.names {
		n := d.disks[name]
		if n.full {
			continue
		}
		err := m.findParent(d, n)
		switch {
		case errors.Is(err, errParentMissing):
			n.orphan = true
			if m.clean != nil && !n.used {
				n.err = err
				continue
			}
			d.leave = true
			m.left(path.Join(d.path, name), err)
		case err != nil:
			m.condemn(d, path.Join(d.path, name), err)
			return
		}
	}
	for _, n := range d.disks {
		for up, steps := n, 0; up != nil; up, steps = up.parent, steps+1 {
			if steps > len(d.disks) {
				m.condemn(d, path.Join(d.path, n.name), vhd.ErrCycle)
				return
			}
			n.orphan = n.orphan || up.orphan
		}
	}
	for _, name := range d.names { // what a point needs, and does not stand on what it must
		if n := d.disks[name]; n.used && n.orphan && !d.leave {
			d.leave = true
			m.left(path.Join(d.path, name), errParentMissing)
		}
	}
}

// findParent links n to the disk that is its parent. A parent elsewhere, or
// one with another uuid, is not for us to judge.
func (m *merger) findParent(d *vdiDir, n *diskNode) error {
	var other error
	var ruin *diskNode
	for _, candidate := range n.ref.Names {
		full, err := within(m.s.dir, d.path, candidate)
		if err != nil {
			return err
		}
		if path.Dir(full) != d.path {
			m.block() // its parent is another directory's to delete
			return fmt.Errorf("parent %q: %w", candidate, ErrOutside)
		}
		parent, ok := d.disks[path.Base(full)]
		if !ok {
			continue
		}
		if parent.uuid == n.ref.UUID {
			n.adopt(parent)
			return nil
		}
		if parent.isCondemned() {
			ruin = parent
			continue
		}
		other = fmt.Errorf("%w: %s", vhd.ErrParentMismatch, candidate)
	}
	switch {
	case other != nil:
		return other
	case ruin != nil: // whose uuid nobody can tell
		n.adopt(ruin)
		return nil
	}
	return fmt.Errorf("%w: %q", errParentMissing, n.ref.Names)
}
