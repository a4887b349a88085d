package catalog

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// maxJSON bounds the metadata of one backup.
const maxJSON = 64 << 20

// Options configures a [Catalog]. The zero value, and nil, are fine.
type Options struct {
	Logger   *slog.Logger  // nil: nothing is logged
	LockWait time.Duration // how long LockVM waits for a lock that somebody holds; see remote.LockOptions
	Key      remote.Secret // of a repository encrypted at rest: 32 bytes, used as they are
	Format   DiskFormat    // of new disks

	// AppendOnly: points are added, and nothing that was there before is removed,
	// replaced or written to; [Session.Expire], [Session.Delete], [Session.Merge] and
	// [Session.Clean] give [ErrAppendOnly]. Not meant are the lock of a VM, the cache of
	// its listing, which holds nothing of its own, and what is under .xenbackup; and what a
	// backup that fails has just made is taken back.
	AppendOnly bool

	// IgnoreClock: points are begun although the storage's clock differs from ours. That
	// is right where Xen Orchestra does not use the repository, or where its clock is known
	// to be ours.
	IgnoreClock bool
}

// Catalog is the tree of VM backups on a [remote.Filesystem], as Xen Orchestra
// lays it out. All methods may be called concurrently. Reading takes no lock;
// every change hangs on a [Session].
type Catalog struct {
	fsys     remote.Filesystem
	log      *slog.Logger
	lockWait time.Duration
	isSealed bool // encrypted at rest: files cannot be changed in place
	isFixed  bool // append only
	format   DiskFormat
	blocks   *disk.Budget // of disks that are written as directories
	noClock  bool

	clockMu sync.Mutex
	clockAt time.Time // when the clocks were found equal
}

// Open returns the catalog of the repository on fsys, which stays the
// caller's to close. An empty filesystem is an empty repository. Nothing is
// written. A repository encrypted at rest is decrypted with [Options.Key]; without
// one it gives [ErrEncrypted], with a wrong one [crypt.ErrKey]. Its new disks
// are directories: with [FormatFile], no point can be begun ([ErrEncryptedWrite]). A key
// for a repository that is not encrypted gives [crypt.ErrNotEncrypted], an empty
// filesystem included: [crypt.Init] begins encryption.
func Open(ctx context.Context, fsys remote.Filesystem, opts *Options) (*Catalog, error) {
	if opts == nil {
		opts = &Options{}
	}
	fsys, err := decrypted(ctx, fsys, opts.Key)
	if err != nil {
		return nil, err
	}
	if err := opts.Format.check(); err != nil {
		return nil, err
	}
	_, isSealed := fsys.(*crypt.FS)
	c := &Catalog{
		fsys: fsys, log: opts.Logger, lockWait: opts.LockWait, isSealed: isSealed,
		format: opts.Format, noClock: opts.IgnoreClock,
		blocks: disk.NewBudget(blocksInFlight * disk.BlockSize),
	}
	if opts.AppendOnly {
		c.fsys, c.isFixed = newAppendOnly(fsys), true
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// decrypted is the repository in clear. Who gives a key relies on encryption: when
// somebody has removed encryption.json, nothing may be written in clear.
func decrypted(ctx context.Context, fsys remote.Filesystem, key remote.Secret) (remote.Filesystem, error) {
	algorithm, err := crypt.Detect(ctx, fsys)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	switch {
	case algorithm == "" && key == "":
		return fsys, nil
	case algorithm == "":
		return nil, fmt.Errorf("catalog: a key was given, but: %w", crypt.ErrNotEncrypted)
	case key == "":
		return nil, fmt.Errorf("catalog: %w (%s)", ErrEncrypted, algorithm)
	}
	opened, err := crypt.Open(ctx, fsys, key)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	return opened, nil
}
