package restore

import "errors"

var (
	// ErrMode is returned for a point of a mode that is neither delta nor full, and by
	// [ExportXVA] for one that is not delta.
	ErrMode = errors.New("restore: not possible with a backup of this mode")

	// ErrArchive is returned for a full point whose archive cannot be made a VM: it
	// describes none, or more than one. Nothing was changed then.
	ErrArchive = errors.New("restore: the archive does not describe one VM")

	// ErrIncomplete is returned for a point whose metadata lacks what a VM needs.
	ErrIncomplete = errors.New("restore: incomplete metadata")

	// ErrUnknownSR is returned for an SR that the pool does not have. Nothing was
	// changed then.
	ErrUnknownSR = errors.New("restore: unknown SR")

	// ErrUnknownDisk is returned for a disk, of [OpenDisk] or in Options.MapSRs, that
	// the point does not have. Nothing was changed then.
	ErrUnknownDisk = errors.New("restore: unknown disk")
)
