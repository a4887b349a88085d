//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package pipeline

import (
	"errors"
	"os"
)

// lockFile fails: a process could not prove that it is alone.
func lockFile(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func syncDir(string) error { return nil }
