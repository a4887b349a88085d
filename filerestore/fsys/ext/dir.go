package ext

import (
	"fmt"
	"io/fs"
	"strconv"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// defaultPage is how many entries a page has when the caller does not care.
const defaultPage = 512

// directory is a directory, cut in blocks of entries: those of its file, or,
// with inline data, two small ones.
type directory struct {
	f      *FS
	in     *inode
	inline [][]byte // nil unless the entries are in the inode
	starts []int64  // where each of inline begins
	size   int64
	fast   *fastNode // what fast commits changed, whose names are behind those on disk; nil without
}

// dirent is an entry as it is on disk. Sizes of records are a multiple of 4.
type dirent struct {
	pos   int64 // in the directory
	next  int64
	inode uint32
	name  []byte
	kind  byte
}

// directory opens a directory.
func (f *FS) directory(num uint64) (*directory, error) {
	in, err := f.inode(num)
	if err != nil {
		return nil, err
	}
	if !in.is(modeDir) {
		return nil, formatError(in.String(), "", in.off, fsys.ErrNotDir)
	}
	if in.size > f.sb.blockSize<<32 { // more than any map has room for
		return nil, corrupt(in.String(), in.off, "directory of %d bytes", in.size)
	}
	d := &directory{f: f, in: in, size: in.size, fast: f.fast[in.num]}
	if d.fast != nil && d.fast.fresh {
		d.size = 0
		return d, nil
	}
	if !in.has(flagInline) {
		return d, nil
	}
	rest, err := f.inlineRest(in)
	if err != nil {
		return nil, err
	}
	d.inline, d.starts = [][]byte{in.block()[4:], rest}, []int64{4, int64(len(in.block()))}
	d.size = int64(len(in.block()) + len(rest))
	return d, nil
}

// blockAt returns the block of entries that has position pos, and where it
// begins. Holes are skipped: then it begins behind pos. Nil is the end.
func (d *directory) blockAt(pos int64) ([]byte, int64, error) {
	if d.inline != nil {
		for i, b := range d.inline {
			if pos < d.starts[i]+int64(len(b)) {
				return b, d.starts[i], nil
			}
		}
		return nil, d.size, nil
	}
	bs := d.f.sb.blockSize
	for pos < d.size {
		b := uint64(pos / bs)
		r, err := d.f.mapBlock(d.in, b)
		if err != nil {
			return nil, d.size, err // nothing behind it can be found either
		}
		if r.kind != disk.Data {
			if r.end() > uint64(d.size/bs) {
				break
			}
			pos = bs * int64(r.end())
			continue
		}
		start := int64(b) * bs
		block, err := d.f.block(r.phys+b-r.first, d.String())
		if err == nil {
			err = d.verify(block, b)
		}
		return block, start, err
	}
	return nil, d.size, nil
}

func (d *directory) String() string { return fmt.Sprintf("directory %d", d.in.num) }

// verify proves the checksum of a block: in a last entry without name, or, in
// nodes of the hash tree, behind the last possible entry of the tree. Those
// end in the same bytes, but begin with an empty entry, or are the first block.
func (d *directory) verify(b []byte, index uint64) error {
	if !d.f.sb.checksums() {
		return nil
	}
	bs := len(b)
	tree := 0 // where the limit and the count of a node's entries are
	if d.in.has(flagIndex) {
		if index == 0 {
			tree = 32
		} else if le.Uint32(b) == 0 && recordLen(le.Uint16(b[4:]), bs) == bs {
			tree = 8
		}
	}
	if tree > 0 {
		limit, count := int(le.Uint16(b[tree:])), int(le.Uint16(b[tree+2:]))
		end := tree + 8*limit
		if count > limit || end+8 > bs {
			return d.blockError(index, fmt.Errorf("%w: hash tree of %d entries, limit %d", fsys.ErrCorrupt, count, limit))
		}
		if crc32c(d.in.seed, b[:tree+8*count], b[end:end+4], []byte{0, 0, 0, 0}) != le.Uint32(b[end+4:]) {
			return d.blockError(index, fsys.ErrChecksum)
		}
		return nil
	}
	if tail := b[bs-12:]; le.Uint32(tail) != 0 || le.Uint16(tail[4:]) != 12 || tail[6] != 0 || tail[7] != 0xDE {
		return d.blockError(index, fmt.Errorf("%w: no checksum", fsys.ErrCorrupt))
	} else if crc32c(d.in.seed, b[:bs-12]) != le.Uint32(tail[8:]) {
		return d.blockError(index, fsys.ErrChecksum)
	}
	return nil
}

func (d *directory) blockError(index uint64, err error) error {
	return formatError(d.String(), fmt.Sprintf("block %d", index), d.in.off, err)
}

// recordLen decodes the length of an entry: blocks of 64 KiB do not fit 16 bits.
func recordLen(n uint16, blockSize int) int {
	if blockSize >= 1<<16 && (n == 0 || n == 0xFFFF) {
		return blockSize
	}
	return int(n)
}

// parse reads the entry at offset o of a block that begins at start.
func (d *directory) parse(b []byte, start int64, o int) (dirent, error) {
	bad := func(what string) (dirent, error) {
		return dirent{}, formatError(d.String(), fmt.Sprintf("entry at %d", start+int64(o)), d.in.off, fmt.Errorf("%w: %s", fsys.ErrCorrupt, what))
	}
	if len(b)-o < 8 {
		return bad("cut short")
	}
	n, length := recordLen(le.Uint16(b[o+4:]), len(b)), int(b[o+6])
	if n < 8 || n%4 != 0 || n > len(b)-o {
		return bad("length of record")
	}
	e := dirent{pos: start + int64(o), next: start + int64(o+n), inode: le.Uint32(b[o:]), kind: b[o+7]}
	if !d.f.sb.hasIncompat(incompatFiletype) {
		length |= int(e.kind) << 8
		e.kind = 0
	}
	if e.inode == 0 {
		return e, nil
	}
	if length == 0 || length > 255 || length > n-8 {
		return bad("length of name")
	}
	if e.inode > d.f.sb.inodes {
		return bad("inode number")
	}
	e.name = b[o+8:][:length]
	return e, nil
}

// end is behind the last entry: a name that a fast commit added takes one byte.
func (d *directory) end() int64 {
	if d.fast == nil {
		return d.size
	}
	return d.size + int64(len(d.fast.added))
}

// scan yields the entries in use from pos on, "." and ".." included, until
// yield says no. On damage, next is where the following block begins.
func (d *directory) scan(pos int64, yield func(dirent) bool) (next int64, err error) {
	for pos < d.size {
		b, start, err := d.blockAt(pos)
		if err != nil {
			return min(max(pos+1, start+d.f.sb.blockSize), d.size), err
		}
		if b == nil {
			pos = d.size
			break
		}
		for o := 0; o < len(b); {
			e, err := d.parse(b, start, o)
			if err != nil {
				return min(start+int64(len(b)), d.size), err
			}
			o = int(e.next - start)
			if e.inode != 0 && e.pos >= pos && e.pos < d.size && !d.fast.hides(e) && !yield(e) {
				return min(e.next, d.size), nil
			}
		}
		pos = min(start+int64(len(b)), d.size)
	}
	for ; pos < d.end(); pos++ {
		name := d.fast.added[pos-d.size]
		if !yield(dirent{pos: pos, next: pos + 1, inode: d.fast.names[name].inode, name: []byte(name)}) {
			return pos + 1, nil
		}
	}
	return d.end(), nil
}

// ReadDirPage implements fsys.Nodes. The order is that of the blocks of the
// directory; a cursor is a position in it.
func (f *FS) ReadDirPage(dir fsys.NodeID, cursor string, n int) ([]fsys.Entry, string, error) {
	d, err := f.readable(dir)
	if err != nil {
		return nil, "", err
	}
	pos := int64(0)
	if cursor != "" {
		if pos, err = strconv.ParseInt(cursor, 10, 64); err != nil || pos < 0 {
			return nil, "", formatError(d.String(), fmt.Sprintf("cursor %q", cursor), -1, fs.ErrInvalid)
		}
	}
	if n <= 0 {
		n = defaultPage
	}
	var page []fsys.Entry
	next, err := d.scan(pos, func(e dirent) bool {
		if name := string(e.name); name != "." && name != ".." {
			page = append(page, f.entry(e))
		}
		return len(page) < n
	})
	if next >= d.end() {
		return page, "", err
	}
	return page, strconv.FormatInt(next, 10), err
}

// readable opens a directory whose names can be read.
func (f *FS) readable(dir fsys.NodeID) (*directory, error) {
	if dir.Tree != 0 {
		return nil, formatError("directory "+dir.String(), "", -1, fs.ErrNotExist)
	}
	d, err := f.directory(dir.Number)
	if err != nil {
		return nil, err
	}
	if d.in.has(flagEncrypt) {
		return nil, formatError(d.String(), "", d.in.off, fsys.ErrEncrypted)
	}
	return d, nil
}

// entry translates an entry; its type comes from its inode where directories
// do not keep types.
func (f *FS) entry(e dirent) fsys.Entry {
	out := fsys.Entry{Name: string(e.name), Node: nodeID(e.inode)}
	if e.kind > 0 && int(e.kind) < len(direntTypes) {
		out.Type = fileMode(direntTypes[e.kind]).Type()
	} else if in, err := f.inode(uint64(e.inode)); err == nil {
		out.Type = fileMode(in.mode).Type()
	} else {
		out.Type = fs.ModeIrregular
	}
	return out
}

// direntTypes translates the type in a directory to that of an inode.
var direntTypes = [...]uint16{0, modeRegular, modeDir, modeChar, modeBlock, modeFIFO, modeSocket, modeSymlink}

// Parent implements fsys.Nodes.
func (f *FS) Parent(dir fsys.NodeID) (fsys.NodeID, error) {
	if dir.Tree != 0 {
		return fsys.NodeID{}, formatError("directory "+dir.String(), "", -1, fs.ErrNotExist)
	}
	d, err := f.directory(dir.Number)
	if err != nil {
		return fsys.NodeID{}, err
	}
	switch {
	case d.fast != nil && d.fast.fresh:
		return nodeID(d.fast.parent), nil
	case d.inline != nil:
		return nodeID(le.Uint32(d.in.block())), nil
	}
	var up uint32
	b, start, err := d.blockAt(0)
	if err != nil {
		return fsys.NodeID{}, err
	}
	for o, i := 0, 0; i < 2 && o < len(b) && start == 0; i++ {
		e, err := d.parse(b, start, o)
		if err != nil {
			return fsys.NodeID{}, err
		}
		if string(e.name) == ".." {
			up = e.inode
		}
		o = int(e.next)
	}
	if up == 0 {
		return fsys.NodeID{}, corrupt(d.String(), d.in.off, "no entry \"..\"")
	}
	return nodeID(up), nil
}
