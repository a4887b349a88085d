//go:build !linux

package local

import (
	"errors"
	"os"
)

func renameNoReplace(*os.Root, string, string) error { return errors.ErrUnsupported }
