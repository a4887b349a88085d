package ext

import (
	"fmt"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

const (
	xattrMagic = 0xEA020000

	// maxXattr bounds one value, as Linux does, and maxXattrs all of a file.
	maxXattr  = 64 << 10
	maxXattrs = 16 << 20

	indexSystem = 7 // with the name "data", it is the rest of inline data
)

// xattrPrefixes translates the number that stands for the beginning of a name.
var xattrPrefixes = map[byte]string{
	1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 6: "security.", indexSystem: "system.",
}

// xattr is an attribute as it is on disk.
type xattr struct {
	index byte
	name  []byte
	value []byte // unless it is in an inode of its own
	inode uint32
	size  int
}

// Xattrs implements fsys.Nodes. ACLs are in the form in which Linux gives them
// to programs. What Linux hides is not shown: the context of encryption, and
// the rest of inline data.
func (f *FS) Xattrs(id fsys.NodeID) (map[string][]byte, error) {
	in, err := f.node(id)
	if err != nil {
		return nil, err
	}
	list, err := f.xattrs(in)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	var out map[string][]byte
	total := 0
	for _, x := range list {
		prefix, known := xattrPrefixes[x.index]
		if !known || x.isInline() {
			continue
		}
		if total += x.size; total > maxXattrs {
			return out, formatError(in.String(), "attributes", in.off, fmt.Errorf("%w: more than %d bytes", fsys.ErrLimit, maxXattrs))
		}
		value, err := f.xattrValue(in, x)
		if err != nil {
			return out, err
		}
		if x.index == 2 || x.index == 3 {
			if value, err = expandACL(value); err != nil {
				return out, formatError(in.String(), "ACL", in.off, err)
			}
		}
		if out == nil {
			out = make(map[string][]byte)
		}
		out[prefix+string(x.name)] = value
	}
	return out, nil
}

func (x xattr) isInline() bool { return x.index == indexSystem && string(x.name) == "data" }

// xattrs lists the attributes in the inode and in its block of attributes.
func (f *FS) xattrs(in *inode) ([]xattr, error) {
	list, err := inodeXattrs(in)
	if err != nil {
		return nil, err
	}
	n := in.fileACL(f.sb)
	if n == 0 {
		return list, nil
	}
	what := in.String() + " attribute block"
	b, err := f.block(n, what)
	if err != nil {
		return nil, err
	}
	off := int64(n) * f.sb.blockSize
	if le.Uint32(b) != xattrMagic || le.Uint32(b[8:]) != 1 {
		return nil, corrupt(what, off, "magic %#x, %d blocks", le.Uint32(b), le.Uint32(b[8:]))
	}
	if f.sb.checksums() {
		var number [8]byte
		le.PutUint64(number[:], n)
		if crc32c(f.sb.seed, number[:], b[:0x10], []byte{0, 0, 0, 0}, b[0x14:]) != le.Uint32(b[0x10:]) {
			return nil, formatError(what, "", off, fsys.ErrChecksum)
		}
	}
	return parseXattrs(list, what, off, b[32:], b)
}

// inodeXattrs lists those behind the fixed fields of the inode.
func inodeXattrs(in *inode) ([]xattr, error) {
	at := 128 + in.extraSize()
	if at+4 > len(in.raw) || le.Uint32(in.raw[at:]) != xattrMagic {
		return nil, nil
	}
	area := in.raw[at+4:]
	return parseXattrs(nil, in.String()+" attributes", in.off, area, area)
}

// parseXattrs reads entries, padded to 4 bytes and ended by zeros; their
// values are at offsets in values.
func parseXattrs(list []xattr, what string, off int64, entries, values []byte) ([]xattr, error) {
	for len(entries) >= 4 && le.Uint32(entries) != 0 {
		if len(entries) < 16 {
			return nil, corrupt(what, off, "entry cut short")
		}
		n := int(entries[0])
		x := xattr{index: entries[1], inode: le.Uint32(entries[4:])}
		start, size := int(le.Uint16(entries[2:])), le.Uint32(entries[8:])
		padded := 16 + (n+3)&^3
		if padded > len(entries) || size > maxXattr {
			return nil, corrupt(what, off, "name of %d bytes, value of %d", n, size)
		}
		x.name, x.size = entries[16:][:n], int(size)
		if x.inode == 0 {
			if start > len(values) || x.size > len(values)-start {
				return nil, corrupt(what, off, "value at %d+%d of %d", start, x.size, len(values))
			}
			x.value = values[start:][:x.size]
		}
		list = append(list, x)
		entries = entries[padded:]
	}
	return list, nil
}

// xattrValue returns a copy of a value. A large one is the content of an inode
// of its own, whose access time is the checksum.
func (f *FS) xattrValue(owner *inode, x xattr) ([]byte, error) {
	value := make([]byte, x.size)
	if x.inode == 0 {
		copy(value, x.value)
		return value, nil
	}
	in, err := f.inode(uint64(x.inode))
	if err != nil {
		return nil, fmt.Errorf("ext: attribute of inode %d: %w", owner.num, err)
	}
	if !in.has(flagEAInode) || !in.is(modeRegular) || in.size != int64(x.size) || in.has(flagInline|flagEncrypt) {
		return nil, corrupt(in.String(), in.off, "not a value of %d bytes", x.size)
	}
	content := blocks{f: f, in: in}
	if n, err := content.ReadAt(value, 0); n < len(value) {
		return nil, fmt.Errorf("ext: attribute of inode %d: %w", owner.num, err)
	}
	lustre := le.Uint32(in.raw[0x10:]) == owner.num && in.generation == owner.generation // has no checksum there
	if crc32c(f.sb.seed, value) != le.Uint32(in.raw[8:]) && !lustre {
		return nil, formatError(in.String(), "value", in.off, fsys.ErrChecksum)
	}
	return value, nil
}

// inlineRest returns what inline data has beyond the 60 bytes of the map.
func (f *FS) inlineRest(in *inode) ([]byte, error) {
	list, err := inodeXattrs(in)
	if err != nil {
		return nil, err
	}
	for _, x := range list {
		if x.isInline() && x.inode == 0 {
			return x.value, nil
		}
	}
	return nil, nil
}
