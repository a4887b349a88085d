package ext

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/names"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/pages"
)

// Options of [Open]. Nil and zero fields mean the defaults.
type Options struct {
	// CacheSize bounds the metadata kept in memory, in bytes; 16 MiB by default.
	CacheSize int64

	// IgnoreJournal shows the volume as it is at home, without what its journal
	// holds; it is for looking at damage. [FS.Warnings] tells.
	IgnoreJournal bool

	// Journal finds the device that holds the journal of a volume that keeps it
	// elsewhere, by its UUID, and tells its size; false if it is not at hand. It
	// is asked if there is something to replay. Nil finds none.
	Journal func(uuid string) (r io.ReaderAt, size int64, ok bool)
}

// FS is a volume. It implements fsys.FS, and is safe for concurrent use.
type FS struct {
	*fsys.Paths

	sb      *superblock
	dev     *device
	log     *device              // of the journal, if it is not inside the volume
	fast    map[uint32]*fastNode // what fast commits changed; nil without
	indexes names.Cache

	copyGroup   uint64 // whose copy of the superblock is used; 0: the first one
	otherCopies bool   // there are copies of other file systems too
	mu          sync.Mutex
	warnings    []fsys.Warning
}

var _ fsys.FS = (*FS)(nil)

// Open reads the superblock of a volume of the given size, and replays its
// journal in memory. ctx is for the opening alone: later reads take as long as
// those of r.
//
// Errors: fsys.ErrWrongFormat where there is no such file system,
// fsys.ErrUnsupported with the name of the feature, fsys.ErrCorrupt, and those
// of r. A journal that cannot be replayed is a warning, and so is a damaged
// superblock of which there is a copy.
func Open(ctx context.Context, r io.ReaderAt, size int64, opts *Options) (*FS, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.CacheSize <= 0 {
		o.CacheSize = 16 << 20
	}
	f := &FS{}
	f.Paths = fsys.NewPaths(f)
	if err := f.load(r, size, o.CacheSize, nil); err != nil {
		return nil, err
	}
	if f.sb.hasIncompat(incompatRecover) || f.copyGroup > 0 && f.sb.compat&compatHasJournal != 0 { // copies do not tell
		if err := f.recover(ctx, &o); err != nil {
			return nil, err
		}
	}
	f.judge(size)
	if _, err := f.directory(rootInode); err != nil {
		return nil, err
	}
	return f, nil
}

// load reads the superblock, through the journal where there is one.
func (f *FS) load(r io.ReaderAt, size, cacheSize int64, over overlay) error {
	if size < superOffset+superSize {
		return formatError("superblock", "", superOffset, fmt.Errorf("%w: volume of %d bytes", fsys.ErrWrongFormat, size))
	}
	blockSize := int64(pages.Size)
	if f.sb != nil {
		blockSize = f.sb.blockSize
	}
	sb, err := f.superblock(&device{r: r, size: size, blockSize: blockSize, over: over, log: f.log})
	if err != nil {
		return err
	}
	if f.sb != nil && sb.blockSize != blockSize {
		return corrupt("superblock in the journal", superOffset, "block size %d", sb.blockSize)
	}
	f.sb, f.dev = sb, newDevice(r, size, sb.blockSize, cacheSize, over)
	f.dev.log = f.log
	return nil
}

// recover replays the journal. What cannot be replayed is a warning, unless it
// cannot be read at all.
func (f *FS) recover(ctx context.Context, o *Options) error {
	if o.IgnoreJournal {
		f.warn(fsys.Stale, "the journal was ignored, as asked for: the newest changes are missing")
		return nil
	}
	j, err := f.findJournal(o)
	if j == nil && err == nil {
		f.warn(fsys.Stale, "the journal is on another device (%s), and was not replayed: the newest changes are missing", formatUUID(f.sb.journalUUID))
		return nil
	}
	if err == nil {
		err = f.replay(ctx, j, o.CacheSize)
	}
	if err != nil && (errors.Is(err, fsys.ErrCorrupt) || errors.Is(err, fsys.ErrUnsupported) || errors.Is(err, fsys.ErrLimit) || errors.Is(err, fs.ErrNotExist)) {
		f.warn(fsys.Stale, "the journal was not replayed, and the newest changes are missing: %v", err)
		return nil
	}
	return err
}

// replay reads the log, and the superblock again behind it.
func (f *FS) replay(ctx context.Context, j *journal, cacheSize int64) error {
	if j.start == 0 && !f.sb.hasIncompat(incompatRecover) {
		return nil // clean, says the journal: the superblock at hand is a copy
	}
	r := &replay{j: j}
	if err := r.run(ctx); err != nil {
		return err
	}
	over := r.overlay()
	if err := f.load(f.dev.r, f.dev.size, cacheSize, over); err != nil {
		return err
	}
	commits, stale, err := f.replayFast(ctx, j, j.sequence+r.done)
	if err != nil {
		return err
	}
	what := ""
	if commits > 0 {
		what = fmt.Sprintf(" and %d fast commits", commits)
	}
	f.warn(fsys.Replayed, "the volume was in use; %d transactions of its journal (%d blocks)%s were replayed in memory", r.done, len(over), what)
	if r.damage != nil {
		f.warn(fsys.Stale, "the journal is damaged, and what follows is missing: %v", r.damage)
	}
	if r.skipped > 0 {
		f.warn(fsys.Damaged, "%d blocks of the journal are damaged, and were not replayed", r.skipped)
	}
	if stale != nil {
		f.warn(fsys.Stale, "not all fast commits of the journal were replayed, and files synced in the last seconds may be older or missing: %v", stale)
	}
	return nil
}

// judge warns of what the superblock admits.
func (f *FS) judge(size int64) {
	if f.copyGroup > 0 {
		f.warn(fsys.Damaged, "the superblock is damaged; its copy in group %d is used", f.copyGroup)
	}
	if f.otherCopies {
		f.warn(fsys.Damaged, "copies of the superblocks of several file systems are here, as older ones leave them; what is shown may be another one than the volume had last")
	}
	if f.sb.state&stateErrors != 0 {
		f.warn(fsys.Damaged, "the volume has errors on record; it should be checked with e2fsck")
	}
	if f.sb.blocks > uint64(size)/uint64(f.sb.blockSize) {
		f.warn(fsys.Damaged, "the volume says that it has %d blocks of %d bytes, but only %d bytes are here", f.sb.blocks, f.sb.blockSize, size)
	}
}

// warn adds a warning, unless it is there already.
func (f *FS) warn(c fsys.Concern, format string, args ...any) {
	w := fsys.Warning{Concern: c, Text: fmt.Sprintf(format, args...)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.warnings, w) {
		f.warnings = append(f.warnings, w)
	}
}

// Volume implements fsys.Nodes. Type is "ext2", "ext3" or "ext4", by features.
func (f *FS) Volume() fsys.Volume {
	return fsys.Volume{
		Type: f.sb.typeName(), Label: f.sb.label, UUID: formatUUID(f.sb.uuid),
		Size: int64(f.sb.blocks) * f.sb.blockSize, BlockSize: f.sb.clusterSize,
	}
}

// Warnings implements fsys.Nodes. That there are damaged group descriptors is
// known when one is needed; the rest when Open returns.
func (f *FS) Warnings() []fsys.Warning {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.warnings)
}

// Root implements fsys.Nodes.
func (f *FS) Root() fsys.NodeID { return nodeID(rootInode) }

// StatNode implements fsys.Nodes. The number of a node is that of its inode.
func (f *FS) StatNode(id fsys.NodeID) (fsys.Info, error) {
	in, err := f.node(id)
	if err != nil {
		return fsys.Info{}, err
	}
	return in.info(f.sb), nil
}

func (f *FS) node(id fsys.NodeID) (*inode, error) {
	if id.Tree != 0 {
		return nil, formatError("inode "+id.String(), "", -1, fs.ErrNotExist)
	}
	return f.inode(id.Number)
}

// block returns a block of metadata, not to be written to.
func (f *FS) block(n uint64, structure string) ([]byte, error) {
	if n < f.sb.firstBlock || n >= f.sb.blocks {
		return nil, corrupt(structure, -1, "block %d of %d", n, f.sb.blocks)
	}
	return f.dev.bytes(int64(n)*f.sb.blockSize, f.sb.blockSize)
}

func formatUUID(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
