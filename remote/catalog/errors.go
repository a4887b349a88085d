package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
)

var (
	// ErrInvalidName is returned for the name of a VM, a job, a disk or a point
	// that cannot be one.
	ErrInvalidName = errors.New("invalid name")

	// ErrOutside is returned for a path, in metadata or in a disk, that leaves
	// the directory of the VM.
	ErrOutside = errors.New("path leaves the directory of the VM")

	// ErrUnsupportedFlavour is returned for a disk that is kept as a directory of
	// blocks where its alias should be. Nothing near it is ever changed.
	ErrUnsupportedFlavour = errors.New("a disk kept as a directory has no alias")

	// ErrEncrypted is returned by Open for a repository that is encrypted at rest
	// when no key is given.
	ErrEncrypted = errors.New("the repository is encrypted, and no key was given")

	// ErrEncryptedWrite is returned for a point with [FormatFile] in a repository that
	// is encrypted at rest: no merge can change a file in place there.
	ErrEncryptedWrite = errors.New("no disks are kept as files in an encrypted repository")

	// ErrFormat is returned for a [DiskFormat] that there is not, or that a disk
	// cannot have because its base has another.
	ErrFormat = errors.New("not a possible format")

	// ErrClock is returned for a point that would be begun while the clocks of this
	// machine and of the storage differ by more than 5 s.
	ErrClock = errors.New("the clocks of this machine and of the storage differ")

	// ErrNotNewer is returned for a point whose date is not later than what its
	// disks' directories already hold: parents must sort before their children.
	ErrNotNewer = errors.New("the date is not later than those in use")

	// ErrUUID is returned for a disk whose uuid is none of the versions 1 to 5 of
	// RFC 4122: Xen Orchestra would delete disks that it depends on.
	ErrUUID = errors.New("not a uuid that Xen Orchestra knows")

	// ErrIncomplete is returned for a point that lacks something it must have.
	ErrIncomplete = errors.New("the point is incomplete")

	// ErrExpired is returned by [Disk.Confirm] when the point was deleted while it
	// was read: what was read may be mixed with a later point's content.
	ErrExpired = errors.New("the point was deleted while it was read")

	// ErrImmutability is returned for an immutability.json that does not say what it
	// should: then nobody can know which backups are guarded.
	ErrImmutability = errors.New("not what says how long backups are guarded")

	// ErrRetention is returned for a [Retention] that makes no sense, or would empty
	// a repository.
	ErrRetention = errors.New("this retention is not possible")

	// ErrAppendOnly is returned for what would remove or change something in a
	// repository that is opened with [Options.AppendOnly].
	ErrAppendOnly = errors.New("the repository is append only")

	// ErrLeased is returned, or reported, for what is not deleted, merged or cleaned
	// since somebody reads it: see [Catalog.Lease].
	ErrLeased = errors.New("somebody reads the VM's points")

	// ErrLeaseLost is returned for what is read under a [Lease] that was lost: it could
	// not be refreshed in time, or somebody took it away. The point may be deleted, and
	// its disks merged, at any moment.
	ErrLeaseLost = errors.New("the lease was lost")

	// ErrSeenOnce is reported for what no point needs, but this library did not write, or
	// did not come to write down that it did: [Session.Merge] and [Session.Clean] remove it
	// when they see it again as it is.
	ErrSeenOnce = errors.New("nobody needs it, and it is removed when it is seen again")

	// ErrHolderSilent is reported for what nobody needs, but whoever held the lock of
	// the VM before, and fell silent, may come back for. The next session removes it.
	ErrHolderSilent = errors.New("whoever held the lock before fell silent, and may come back for it; the next session removes it")

	// ErrBusy is returned by an operation that must not run while a point is
	// being written in the same session.
	ErrBusy = errors.New("a point is being written")
)

// PointError says that the metadata of one backup cannot be used. Such a file
// is unknown, not garbage: it is never deleted for being unreadable, and while
// it is there no disk of its VM is deleted or merged.
type PointError struct {
	Path string // of the JSON file, from the root of the repository
	Off  int64  // in bytes, where the content stopped making sense; 0 when it could not be read at all
	Err  error
}

func (e *PointError) Error() string {
	if e.Off > 0 {
		return fmt.Sprintf("catalog: point %s: byte %d: %v", e.Path, e.Off, e.Err)
	}
	return fmt.Sprintf("catalog: point %s: %v", e.Path, e.Err)
}

func (e *PointError) Unwrap() error { return e.Err }

func newPointError(name string, err error) *PointError {
	pe := &PointError{Path: name, Err: err}
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		pe.Off = syntax.Offset
	case errors.As(err, &typ):
		pe.Off = typ.Offset
	}
	return pe
}
