package ext

import (
	"fmt"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

const (
	aclUser  = 0x2 // entries that name someone
	aclGroup = 0x8
)

// expandACL turns an ACL of version 1, as ext keeps it, into version 2, as
// programs get it from Linux. Entries that name no one lack the id on disk.
func expandACL(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return b, nil
	}
	if len(b) < 4 || le.Uint32(b) != 1 {
		return nil, fmt.Errorf("%w: version", fsys.ErrCorrupt)
	}
	out := le.AppendUint32(nil, 2)
	for b = b[4:]; len(b) > 0; {
		if len(b) < 4 {
			return nil, fmt.Errorf("%w: entry cut short", fsys.ErrCorrupt)
		}
		id := ^uint32(0)
		n := 4
		if tag := le.Uint16(b); tag == aclUser || tag == aclGroup {
			if n = 8; len(b) < n {
				return nil, fmt.Errorf("%w: entry cut short", fsys.ErrCorrupt)
			}
			id = le.Uint32(b[4:])
		}
		out = le.AppendUint32(append(out, b[:4]...), id)
		b = b[n:]
	}
	return out, nil
}
