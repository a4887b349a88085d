package remote

import (
	"context"
	"time"
)

// Space is the size of the storage below a Filesystem, in bytes. 0 is unknown.
type Space struct {
	Total int64 `json:"total"`
	Free  int64 `json:"free"` // what this user may still write
}

// SpaceReporter is a Filesystem that knows how full it is.
type SpaceReporter interface {
	Space(ctx context.Context) (Space, error)
}

// TreeRemover is a Filesystem that removes a tree faster than its entries one
// by one. A name that does not exist is no error. After an error, part of the
// tree may be gone. Callers use [RemoveAll].
type TreeRemover interface {
	RemoveAll(ctx context.Context, name string) error
}

// Locker is a Filesystem with locks of its own, such as a lease server beside
// it. They must exclude those who use XO's lock directory. Callers use
// [AcquireLock]; [NewLock] makes the Lock.
type Locker interface {
	Lock(ctx context.Context, name string, opts *LockOptions) (*Lock, error)
}

// DirSyncer is a Filesystem whose directories must be synced for their entries
// to be durable. Callers use [SyncDir].
type DirSyncer interface {
	// SyncDir returns when all that was created, renamed and removed directly in
	// the directory before the call is durable.
	SyncDir(ctx context.Context, name string) error
}

// NoReplacer is a Filesystem that can rename without replacing, atomically:
// when newname exists the error is [fs.ErrExist] and nothing has changed. It may
// answer [errors.ErrUnsupported] when the storage turns out not to be able.
type NoReplacer interface {
	RenameNoReplace(ctx context.Context, oldname, newname string) error
}

// Toucher is a Filesystem that can set modification times, those of directories
// too. The storage may round mtime.
type Toucher interface {
	Touch(ctx context.Context, name string, mtime time.Time) error
}

// RangeCloner is a [File] that can share the storage of another one's bytes, so
// that a copy costs no space and no transfer (a reflink: XFS, Btrfs). Callers use
// [CloneRange].
type RangeCloner interface {
	// CloneRange makes n bytes at dstOff of this file, which is open for writing,
	// those at srcOff of src. Offsets and n are multiples of the file system's
	// block, 4096 as a rule; n may also end at the end of src. It answers
	// [errors.ErrUnsupported], and has changed nothing, when this storage cannot,
	// or cannot with this src. The clone is durable after Sync.
	CloneRange(dstOff int64, src File, srcOff, n int64) error
}

// Decliner is a decorator that has the method of a capability but cannot always
// honour it, because what it wraps lacks it.
type Decliner interface {
	Filesystem
	// Declines reports whether the capability is not offered. The argument is a
	// nil pointer to the interface asked for, such as (*DirSyncer)(nil).
	Declines(capability any) bool
}

// As finds a capability, such as a [DirSyncer], of fsys. It asks fsys alone, and
// never looks through a decorator: a decorator that does not know a capability
// cannot be bypassed by it. A decorator offers one by having its method, and
// declines it for the moment as a [Decliner].
func As[T any](fsys Filesystem) (T, bool) {
	c, ok := fsys.(T)
	if d, decides := fsys.(Decliner); ok && decides && d.Declines((*T)(nil)) {
		var none T
		return none, false
	}
	return c, ok
}

// Offers reports whether fsys has the capability given as a nil pointer to one
// of this package's interfaces. A decorator that forwards what the Filesystem
// below it can do answers [Decliner] with !Offers(below, capability).
func Offers(fsys Filesystem, capability any) bool {
	var ok bool
	switch capability.(type) {
	case *SpaceReporter:
		_, ok = As[SpaceReporter](fsys)
	case *TreeRemover:
		_, ok = As[TreeRemover](fsys)
	case *Locker:
		_, ok = As[Locker](fsys)
	case *DirSyncer:
		_, ok = As[DirSyncer](fsys)
	case *NoReplacer:
		_, ok = As[NoReplacer](fsys)
	case *Toucher:
		_, ok = As[Toucher](fsys)
	}
	return ok
}
