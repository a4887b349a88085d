package vhd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
)

// DefaultCheckpoint is the number of bytes that [Merge] copies between two
// records of how far it got, when nothing else is said.
const DefaultCheckpoint = 512 << 20

// MergePlan names what [Merge] merges.
type MergePlan struct {
	Dir   string   // the directory that holds the images, relative to the Dir; "" is the Dir itself
	Chain []string // base names: the oldest image first, each the parent of the next, the one to keep last
}

// MergeOptions are the options of [Merge]; nil means the defaults.
type MergeOptions struct {
	// Progress is told how many bytes of blocks are in the oldest image, and
	// how many will be. It must not block for long.
	Progress func(done, total int64)

	// Logger hears of the steps. nil discards.
	Logger *slog.Logger

	// Lost is asked before each change. An error ends the merge, which then
	// returns it: the caller no longer holds the lock on the directory.
	Lost func() error

	// Checkpoint is how many bytes are copied before they are synced and the
	// state says so: what a crash makes Merge copy again. 0 means DefaultCheckpoint.
	Checkpoint int64
}

// MergeResult says what [Merge] did.
type MergeResult struct {
	Kept    string // base name of the image that now holds everything
	Size    int64  // bytes of its file; of a directory, the bytes of a file with the same blocks
	Merged  int64  // bytes of blocks that this call copied or renamed
	Resumed bool   // an interrupted merge was finished: its chain counted, not that of the plan
}

// Merge brings what the newer images of a chain hold into the oldest, which
// then takes the uuid and the name of the youngest; the images between are
// removed. The content of the youngest image, and of whatever has it for a
// parent, stays the same. The oldest keeps its own parent, if it has one.
//
// Images are files, or disks that XO keeps as directories, named by their
// aliases (see [OpenDirectory]). Between directories blocks that are complete are
// renamed, as XO does it; what is not, or is compressed in another way, is
// copied. For directories dir must be a [DirMaker].
//
// If the state file of an interrupted merge into the oldest image exists, that
// merge is finished instead, whoever began it; see [MergeResult].Resumed.
//
// The steps are journaled in XO's state file (see [MergeState]) and each can be
// repeated. Whenever Merge stops, by an error, by ctx or by a power cut, calling
// it again finishes the work, and meanwhile the youngest image and its
// descendants can be read: with [ChainOptions].AcceptParent set to
// [MergeState.AcceptParent], and the oldest image opened with [Recover].
//
// Before anything is changed, Merge checks that the images are what the plan
// says: [ErrParentMismatch], [ErrIncomplete] for blocks of directories that are
// listed but not there, [ErrMergeState] for a state that does not fit,
// [ErrUnsupported] for blocks of different sizes, a disk that shrinks or
// anything else that cannot be merged. The images must not be written, and are
// better not read, by others at the same time.
func Merge(ctx context.Context, dir Dir, plan *MergePlan, opts *MergeOptions) (result MergeResult, err error) {
	m, err := newMerger(dir, plan, opts)
	if err != nil {
		return MergeResult{}, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	if err := m.run(ctx); err != nil {
		return m.result, fmt.Errorf("merge into %s: %w", m.path(0), err)
	}
	return m.result, nil
}

// merger is one merge. names, targets, links and files are parallel: the oldest first.
type merger struct {
	dir        Dir
	base       string // directory in dir
	names      []string
	progress   func(done, total int64)
	log        *slog.Logger
	lost       func() error
	checkpoint int64

	targets []string  // where the data is: the path of the image, or what its alias stands for
	links   []*Image  // nil where there is none
	files   []DirFile // nil where there is no file, or the image is a directory

	state  MergeState
	torn   bool // there is a state file that cannot be read
	result MergeResult
}

func newMerger(dir Dir, plan *MergePlan, opts *MergeOptions) (*merger, error) {
	if opts == nil {
		opts = &MergeOptions{}
	}
	m := &merger{
		dir: dir, base: path.Clean(plan.Dir), names: slices.Clone(plan.Chain),
		progress: opts.Progress, log: opts.Logger, lost: opts.Lost, checkpoint: opts.Checkpoint,
	}
	if m.progress == nil {
		m.progress = func(int64, int64) {}
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.checkpoint <= 0 {
		m.checkpoint = DefaultCheckpoint
	}
	if !fs.ValidPath(m.base) {
		return nil, fmt.Errorf("%w: directory %q", ErrUnsupported, plan.Dir)
	}
	return m, checkNames(m.names)
}

// checkNames wants at least two different base names, all of aliases or none.
func checkNames(names []string) error {
	if len(names) < 2 {
		return fmt.Errorf("%w: a merge of %d images", ErrUnsupported, len(names))
	}
	for _, name := range names {
		if isAlias(name) != isAlias(names[0]) {
			return fmt.Errorf("%w: a merge of %s and %s", ErrUnsupported, names[0], name)
		}
	}
	for i, name := range names {
		if !fs.ValidPath(name) || path.Base(name) != name || name == "." || slices.Contains(names[:i], name) {
			return fmt.Errorf("%w: image name %q", ErrUnsupported, name)
		}
	}
	return nil
}

func (m *merger) path(i int) string { return path.Join(m.base, m.names[i]) }
func (m *merger) last() int         { return len(m.names) - 1 }
func (m *merger) statePath() string { return MergeStateName(m.path(0)) }

// may is asked before each change.
func (m *merger) may(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if m.lost != nil {
		return m.lost()
	}
	return nil
}

// run does what is left to do, which the state and the files tell.
func (m *merger) run(ctx context.Context) error {
	if err := m.readState(ctx); err != nil {
		return err
	}
	if err := m.openLinks(ctx); err != nil {
		return err
	}
	defer func() { m.result.Kept = m.names[m.last()] }()
	if !m.result.Resumed {
		return m.mergeAndFinish(ctx)
	}
	m.log.InfoContext(ctx, "resume merge", "image", m.path(0), "step", m.state.Step, "synced_block", m.state.SyncedBlock)
	allThere := !slices.Contains(m.links, nil)
	complete := m.links[0] != nil && m.links[0].UUID() == m.state.Child
	// XO does not sync before it says so, and keeps the SyncedBlock that it found.
	proven := complete && m.state.Step == StepCleanup && m.state.SyncedBlock >= max(1, int64(m.links[0].blockCount()))
	switch {
	case m.links[0] == nil:
		return m.afterRename(ctx)
	case m.targets[0] == m.targets[m.last()]: // XO has made the alias of the youngest anew, and not removed the other
		return m.finish(ctx)
	case allThere && !proven:
		return m.mergeAndFinish(ctx)
	case complete:
		return m.finish(ctx)
	}
	return fmt.Errorf("%w: an image is missing, and the oldest is not complete", ErrMergeState)
}

// readState loads the state of an interrupted merge, whose chain then replaces
// that of the plan.
func (m *merger) readState(ctx context.Context) error {
	state, err := ReadMergeState(ctx, m.dir, m.statePath())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, ErrMergeState):
		m.log.WarnContext(ctx, "merge state is unreadable, merging from the start", "image", m.path(0), "error", err)
		m.torn = true
		return nil
	case err != nil:
		return err
	}
	m.state, m.result.Resumed = *state, true
	if len(state.Chain) == 0 {
		return nil // openLinks finds the youngest by its uuid
	}
	if err := checkNames(state.Chain); err != nil {
		return fmt.Errorf("%w: %w", ErrMergeState, err)
	}
	if state.Chain[0] != m.names[0] {
		return fmt.Errorf("%w: it is about %q", ErrMergeState, state.Chain[0])
	}
	m.names = slices.Clone(state.Chain)
	return nil
}

// mergeAndFinish brings everything into the oldest image, which then replaces the youngest.
func (m *merger) mergeAndFinish(ctx context.Context) error {
	if err := m.verify(ctx); err != nil {
		return err
	}
	if !m.result.Resumed {
		m.state = MergeState{Parent: m.links[1].Parent().UUID, Child: m.links[m.last()].UUID(), Chain: m.names}
	}
	gather := m.gatherInFile
	if _, ok := m.links[0].source.(*dirBlocks); ok {
		gather = m.gatherInDirectory
	}
	size, err := gather(ctx)
	if err != nil {
		return err
	}
	m.state.Step, m.state.DiskSize = StepCleanup, size
	m.state.SyncedBlock = max(1, int64(m.links[m.last()].blockCount()))
	m.state.Obsolete = m.obsolete()
	if err := m.writeState(ctx); err != nil {
		return err
	}
	return m.replace(ctx)
}

// begin writes the state, unless it is there, once all is known to be possible.
func (m *merger) begin(ctx context.Context) error {
	if m.state.Step == StepMergeBlocks {
		return nil
	}
	m.state.Step = StepMergeBlocks
	return m.writeState(ctx)
}

func (m *merger) writeState(ctx context.Context) error {
	if err := m.may(ctx); err != nil {
		return err
	}
	data, err := m.state.MarshalJSON()
	if err != nil {
		return err
	}
	return m.dir.WriteFile(ctx, m.statePath(), data)
}

// close closes what is open. Everything that matters was synced before.
func (m *merger) close() error {
	var errs []error
	for i, f := range m.files {
		if f != nil {
			errs = append(errs, f.Close())
			m.files[i] = nil
		}
	}
	for _, link := range m.links {
		if link != nil {
			errs = append(errs, link.Close())
		}
	}
	return errors.Join(errs...)
}
