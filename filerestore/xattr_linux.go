package filerestore

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// setXattrs sets what this user may set, and tells of what it may not.
func setXattrs(f *os.File, xattrs map[string][]byte, privileged bool) error {
	var failed []error
	for _, name := range slices.Sorted(maps.Keys(xattrs)) {
		if !privileged && !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_") {
			failed = append(failed, fmt.Errorf("%s: %w", name, errAttribute))
			continue
		}
		if err := unix.Fsetxattr(int(f.Fd()), name, xattrs[name], 0); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w: %w", name, errAttribute, err))
		}
	}
	return errors.Join(failed...)
}
