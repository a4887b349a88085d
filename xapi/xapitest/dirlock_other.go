//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package xapitest

import (
	"fmt"
	"os"
	"path/filepath"
)

// lockDir marks a directory in which a pool is kept. That no other pool uses it
// at the same time is left to who starts them.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, LockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("xapitest: %w", err)
	}
	return f, nil
}
