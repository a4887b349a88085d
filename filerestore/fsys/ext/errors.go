package ext

import (
	"fmt"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// formatError is an error of this reader about a structure at an offset.
func formatError(structure, field string, off int64, err error) error {
	return &fsys.FormatError{FS: "ext", Struct: structure, Field: field, Off: off, Err: err}
}

// corrupt says what is wrong with a structure.
func corrupt(structure string, off int64, format string, args ...any) error {
	return formatError(structure, "", off, fmt.Errorf("%w: %s", fsys.ErrCorrupt, fmt.Sprintf(format, args...)))
}
