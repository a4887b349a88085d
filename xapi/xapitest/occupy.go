package xapitest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// LockFile is the file in Options.Dir by which a pool with Options.Keep has the
// directory for itself. It stays there, as the sign that a pool was started.
const LockFile = "pool.lock"

var errInUse = errors.New("another pool is kept here and running")

// occupy takes a directory for a pool that is kept, and returns what an earlier
// one has left, or nil.
func (s *diskStore) occupy() (k *kept, err error) {
	_, statErr := os.Stat(filepath.Join(s.dir, LockFile))
	ours := statErr == nil
	if s.lock, err = lockDir(s.dir); err != nil {
		return nil, err
	}
	s.kept = true
	if k, err = recall(s.dir); err != nil {
		return nil, err
	}
	if k == nil && !ours {
		return nil, nil //nolint:nilnil // a new pool, in a directory that was none of ours
	}
	return k, s.removeUnknown(k)
}

// isUUID says whether a name is one that newUUID could have made.
func isUUID(name string) bool {
	return len(name) == 36 && strings.Count(name, "-") == 4 && strings.Trim(name, "0123456789abcdef-") == ""
}

// removeUnknown removes the files of disks that a pool made and did not come to
// store, since it was killed.
func (s *diskStore) removeUnknown(k *kept) error {
	known := make(map[string]bool)
	if k != nil {
		for _, row := range k.Objects["VDI"] {
			known[row.Record.str("uuid")] = true
		}
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("xapitest: %w", err)
	}
	for _, entry := range entries {
		uuid, raw := strings.CutSuffix(entry.Name(), ".raw")
		if raw && isUUID(uuid) && !known[uuid] {
			if err := os.Remove(filepath.Join(s.dir, entry.Name())); err != nil {
				return fmt.Errorf("xapitest: %w", err)
			}
		}
	}
	return nil
}
