package ext

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

const (
	// maxFastChanges bounds names and ranges in memory.
	maxFastChanges = 1 << 18
	// maxFastMoves bounds the work of sorting ranges.
	maxFastMoves = 1 << 26
	// maxFastInodes bounds the bytes of inodes in memory, which may have 64 KiB each.
	maxFastInodes = 64 << 20
)

// fastReplay makes of fast commits what is different from the volume.
type fastReplay struct {
	f       *FS
	changes int
	moves   int
	inodes  int // bytes of them
	skipped int // tags that make no sense here
}

// replayFast shows the fast commits on top of the last transaction. stale says
// why some are missing, if they are.
func (f *FS) replayFast(ctx context.Context, j *journal, transaction uint32) (commits int, stale, err error) {
	r := &fastReplay{f: f}
	f.fast = make(map[uint32]*fastNode)
	l := &fastLog{j: j, transaction: transaction}
	commits, err = l.run(ctx, r.apply)
	for _, n := range f.fast {
		n.list()
	}
	switch {
	case err == nil && r.skipped > 0:
		stale = fmt.Errorf("%w: %d changes make no sense", fsys.ErrCorrupt, r.skipped)
	case errors.Is(err, fsys.ErrLimit) || errors.Is(err, fsys.ErrUnsupported) || errors.Is(err, fsys.ErrCorrupt):
		stale, err = err, nil
	}
	return commits, stale, err
}

// apply does what one fast commit says, as far as it makes sense.
func (r *fastReplay) apply(tags []fastTagged) error {
	for _, t := range tags {
		if r.changes++; r.changes > maxFastChanges || r.moves > maxFastMoves {
			return fmt.Errorf("%w: more than %d changes", fsys.ErrLimit, maxFastChanges)
		}
		ok, err := true, error(nil)
		switch t.tag {
		case fastAddRange:
			ok = len(t.value) >= 16 && r.addRange(t.value)
		case fastDelRange:
			ok = len(t.value) >= 12 && r.delRange(t.value)
		case fastCreate, fastLink, fastUnlink:
			if ok = len(t.value) > 8 && len(t.value) <= 8+255; ok {
				ok, err = r.name(t.tag, t.value)
			}
		case fastInode:
			if ok = len(t.value) >= 4+128; ok {
				ok, err = r.inode(le.Uint32(t.value), t.value[4:])
			}
		case fastPad:
		default:
			ok = false
		}
		if err != nil {
			return err
		}
		if !ok {
			r.skipped++
		}
	}
	return nil
}

// node returns what is different of an inode, nil if there is no such one.
func (r *fastReplay) node(num uint32) *fastNode {
	if num == 0 || num > r.f.sb.inodes {
		return nil
	}
	n := r.f.fast[num]
	if n == nil {
		n = &fastNode{}
		r.f.fast[num] = n
	}
	return n
}

func (r *fastReplay) addRange(v []byte) bool {
	e := v[4:]
	x := run{first: uint64(le.Uint32(e)), count: uint64(le.Uint16(e[4:])), kind: disk.Data}
	if x.count > unwrittenBase {
		x.count, x.kind = x.count-unwrittenBase, disk.Zero
	}
	x.phys = uint64(le.Uint32(e[8:])) | uint64(le.Uint16(e[6:]))<<32
	n := r.node(le.Uint32(v))
	if n == nil || x.count == 0 || x.phys < r.f.sb.firstBlock || x.phys > r.f.sb.blocks || x.count > r.f.sb.blocks-x.phys {
		return false
	}
	r.moves += n.put(x)
	return true
}

func (r *fastReplay) delRange(v []byte) bool {
	x := run{first: uint64(le.Uint32(v[4:])), count: uint64(le.Uint32(v[8:])), kind: disk.Hole}
	n := r.node(le.Uint32(v))
	if n == nil {
		return false
	}
	if x.count > 0 {
		r.moves += n.put(x)
	}
	return true
}

// bytes returns the inode as it is now, to be changed.
func (r *fastReplay) bytes(num uint32, n *fastNode) ([]byte, error) {
	if n.raw == nil {
		raw, _, err := r.f.inodeBytes(uint64(num))
		if err != nil {
			return nil, err
		}
		if r.inodes += len(raw); r.inodes > maxFastInodes {
			return nil, fmt.Errorf("%w: more than %d bytes of inodes", fsys.ErrLimit, maxFastInodes)
		}
		n.raw = slices.Clone(raw)
	}
	return n.raw, nil
}

// inode takes over an inode but for the map of its blocks, which ranges tell.
func (r *fastReplay) inode(num uint32, body []byte) (bool, error) {
	n := r.node(num)
	if n == nil || len(body) > r.f.sb.inodeSize {
		return false, nil
	}
	raw, err := r.bytes(num, n)
	if err != nil {
		return false, err
	}
	copy(raw[:0x28], body)
	copy(raw[0x64:], body[0x64:])
	kind, flags, place := le.Uint16(raw)&modeType, le.Uint32(raw[0x20:]), raw[0x28:0x64]
	switch {
	case flags&flagInline != 0:
		copy(place, body[0x28:])
	case flags&flagExtents != 0:
		if le.Uint16(place) != extentMagic {
			clearMap(place)
		}
	case kind == modeRegular || kind == modeDir:
		return false, nil // the blocks of its map are not in the log
	default: // a link, or the number of a device
		copy(place, body[0x28:])
	}
	return true, nil
}

// clearMap makes a tree without extents.
func clearMap(place []byte) {
	clear(place)
	le.PutUint16(place, extentMagic)
	le.PutUint16(place[4:], 4)
}

// name gives an inode a name, or takes one away.
func (r *fastReplay) name(tag uint16, v []byte) (bool, error) {
	num, name := le.Uint32(v[4:]), string(v[8:])
	dir, n := r.node(le.Uint32(v)), r.node(num)
	if dir == nil || n == nil || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return false, nil
	}
	raw, err := r.bytes(num, n)
	if err != nil {
		return false, err
	}
	links := le.Uint16(raw[0x1A:])
	isDir := le.Uint16(raw)&modeType == modeDir
	switch tag {
	case fastUnlink:
		if !dir.remove(name, num) {
			return true, nil
		}
		if links = max(links, 1) - 1; isDir {
			links = 0
		}
		if links == 0 { // the number may be used again
			n.runs, n.names, n.fresh = nil, nil, false
			clearMap(raw[0x28:0x64])
		}
	case fastCreate:
		dir.add(name, num)
		n.fresh, n.parent = isDir, le.Uint32(v)
		return true, nil // its inode came before
	default:
		dir.add(name, num)
		links++
	}
	le.PutUint16(raw[0x1A:], links)
	return true, nil
}
