package filerestore

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// aclText makes of an ACL, as Linux keeps it in an extended attribute, the text that tar
// programs keep: "user::rw-,user:1000:r--,group::r--,mask::r--,other::---". In the
// attribute a version, 2, is before entries of tag, permissions and id.
func aclText(value []byte) (string, error) {
	if len(value) < 4 || binary.LittleEndian.Uint32(value) != 2 || len(value)%8 != 4 {
		return "", fmt.Errorf("an ACL of %d bytes: %w", len(value), fsys.ErrCorrupt)
	}
	var list []string
	for e := value[4:]; len(e) > 0; e = e[8:] {
		tag, perm, id := binary.LittleEndian.Uint16(e), binary.LittleEndian.Uint16(e[2:]), binary.LittleEndian.Uint32(e[4:])
		var who string
		switch tag {
		case 0x01:
			who = "user::"
		case 0x02:
			who = fmt.Sprintf("user:%d:", id)
		case 0x04:
			who = "group::"
		case 0x08:
			who = fmt.Sprintf("group:%d:", id)
		case 0x10:
			who = "mask::"
		case 0x20:
			who = "other::"
		default:
			return "", fmt.Errorf("an ACL with an entry of type %#x: %w", tag, fsys.ErrCorrupt)
		}
		bits := []byte("---")
		for i, c := range []byte("rwx") {
			if perm&(4>>i) != 0 {
				bits[i] = c
			}
		}
		list = append(list, who+string(bits))
	}
	return strings.Join(list, ","), nil
}
