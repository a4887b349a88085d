package restore

import "errors"

var (
	// ErrMode is returned for a point that is not a delta backup.
	ErrMode = errors.New("restore: only delta backups can be restored")

	// ErrIncomplete is returned for a point whose metadata lacks what a VM needs.
	ErrIncomplete = errors.New("restore: incomplete metadata")

	// ErrUnknownSR is returned for an SR that the pool does not have. Nothing was
	// changed then.
	ErrUnknownSR = errors.New("restore: unknown SR")

	// ErrUnknownDisk is returned for a disk in Options.MapSRs that the point does
	// not have. Nothing was changed then.
	ErrUnknownDisk = errors.New("restore: unknown disk")
)
