//go:build !linux

package local

import (
	"errors"
	"os"
)

func cloneRange(*os.File, int64, *os.File, int64, int64) error { return errors.ErrUnsupported }
