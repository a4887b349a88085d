package remote

import (
	"context"
	"io"
	"io/fs"
)

// Filesystem is a directory tree on local or network storage.
//
// Names obey [fs.ValidPath]: "." is the root, elements are separated by
// slashes, and there is no "..", no leading and no trailing slash. Any other
// name is [fs.ErrInvalid]. Errors are *[fs.PathError] or *[os.LinkError] with
// these names in them, and errors.Is tells them apart as the package
// documentation lists.
//
// All methods may be called concurrently. A method whose context has ended
// fails with the cause of that end and does nothing.
type Filesystem interface {
	// Stat describes a file or directory; a symbolic link stands for its target.
	Stat(ctx context.Context, name string) (fs.FileInfo, error)

	// ReadDir lists a directory in ascending byte order of the names. The
	// entries need not be an instant's snapshot, but what existed before and
	// after the call is in it, once. A failed or partial listing is an error
	// and never a shorter list.
	ReadDir(ctx context.Context, name string) ([]fs.DirEntry, error)

	// OpenFile opens a regular file. The flag is os.O_RDONLY or os.O_RDWR, the
	// latter alone, with os.O_TRUNC, or with os.O_CREATE|os.O_EXCL: then the
	// file must not exist ([fs.ErrExist]), and of concurrent callers one wins.
	// A directory is an error. ctx governs the File's whole life: when it ends,
	// reads and writes fail with its cause; Close works all the same.
	OpenFile(ctx context.Context, name string, flag int) (File, error)

	// Mkdir makes one directory. It is atomic: of concurrent callers one wins,
	// the others get [fs.ErrExist]. [Lock] is built on that.
	Mkdir(ctx context.Context, name string) error

	// Rename moves a file or directory. An existing file at newname is
	// replaced, atomically if [Properties] say so; a directory that is not
	// empty never is. After an error either name may be the one that is there,
	// but never neither.
	Rename(ctx context.Context, oldname, newname string) error

	// Remove removes a file or an empty directory; otherwise [ErrNotEmpty].
	Remove(ctx context.Context, name string) error

	// Properties are constant while the Filesystem is open.
	Properties() Properties

	// Close releases what the Filesystem holds. Files still open become
	// unusable or stay usable until closed, as the back end says.
	Close() error
}

// File is an open file. Concurrent calls are allowed; writes to the same bytes
// at the same time leave either.
type File interface {
	// ReadAt is strict: n < len(p) comes with an error, [io.EOF] at the end.
	io.ReaderAt
	// WriteAt writes beyond the end too: what lies between reads as zeros.
	io.WriterAt
	// Stat describes the open file, with its size including what was written.
	Stat() (fs.FileInfo, error)
	// Truncate sets the size; what is added reads as zeros.
	Truncate(size int64) error
	// Sync returns when data and size are durable, as far as the storage
	// honours it. It never makes the file's name durable: see [SyncDir]. Once
	// Sync has failed, or [ErrLost] was seen, nothing written through this File
	// is known to be there, and a later Sync that succeeds does not change that.
	Sync() error
	// Close releases the file. It does not imply Sync, and where a server
	// reports a failed write at close, Close returns it.
	Close() error
}

// Properties are what a caller must adapt to.
type Properties struct {
	// AtomicReplace: during Rename over a file, every reader finds the old or
	// the new content, and so does who looks after a crash.
	AtomicReplace bool `json:"atomicReplace"`
	// ReplaceOpenTarget: Rename replaces, and Remove removes, a file that
	// somebody holds open.
	ReplaceOpenTarget bool `json:"replaceOpenTarget"`
	// StableMetadata: Rename, Mkdir, Remove and the creation of a file are
	// durable when they return, and [SyncDir] has nothing to do.
	StableMetadata bool `json:"stableMetadata"`
	// CaseSensitive: names that differ in case only are different files.
	CaseSensitive bool `json:"caseSensitive"`
	// ReadOnly: every change is refused with fs.ErrPermission.
	ReadOnly bool `json:"readOnly"`
	// PipelineDepth is how many concurrent ReadAt or WriteAt on one File are
	// useful; 0 and 1 mean that more than one gains nothing.
	PipelineDepth int `json:"pipelineDepth"`
	// IOSize is the preferred size of one ReadAt or WriteAt in bytes; 0 leaves
	// the choice to the caller.
	IOSize int `json:"ioSize"`
	// SyncEvery is after how many bytes of a long file a [Writer] syncs what it
	// has written, so that a server that restarts loses no more than that; 0
	// leaves it to the end.
	SyncEvery int64 `json:"syncEvery"`
	// InvalidRunes cannot be part of a name, besides "/" and NUL.
	InvalidRunes string `json:"invalidRunes"`
}
