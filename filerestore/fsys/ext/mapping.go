package ext

import (
	"sort"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// run is a part of a file that is in one piece on disk, or a hole. Unit: blocks.
type run struct {
	first uint64 // in the file
	count uint64 // at least 1
	phys  uint64 // in the volume, of data
	kind  disk.Kind
}

func (r run) end() uint64            { return r.first + r.count }
func (r run) contains(b uint64) bool { return b >= r.first && b < r.end() }

// beyond is the end of a hole behind everything that a map can hold.
const beyond = uint64(1) << 60

// mapBlock returns a run that has block b of a file in it; there may be more
// of the same before and behind it.
func (f *FS) mapBlock(in *inode, b uint64) (run, error) {
	if n := f.fast[in.num]; n != nil && len(n.runs) > 0 {
		return n.over(b, func() (run, error) { return f.mapHome(in, b) })
	}
	return f.mapHome(in, b)
}

// mapHome is mapBlock without what fast commits changed.
func (f *FS) mapHome(in *inode, b uint64) (run, error) {
	if in.has(flagExtents) {
		return f.mapExtent(in, b)
	}
	return f.mapIndirect(in, b)
}

const (
	extentMagic    = 0xF30A
	extentMaxDepth = 5
	unwrittenBase  = 32768 // ee_len above it: allocated, reads as zeros
)

// mapExtent goes down the extent tree: nodes of a header and entries of 12
// bytes each, sorted, the root in the inode.
func (f *FS) mapExtent(in *inode, b uint64) (run, error) {
	if b >= 1<<32 {
		return run{first: 1 << 32, count: beyond, kind: disk.Hole}, nil
	}
	node, off, depth := in.block(), in.off+0x28, -1
	end := uint64(1) << 32 // nothing of this subtree is at or behind it
	for {
		entries, d, err := extentNode(in, node, off, depth)
		if err != nil {
			return run{}, err
		}
		n := len(entries) / 12
		i := sort.Search(n, func(i int) bool { return uint64(le.Uint32(entries[12*i:])) > b })
		if i < n {
			end = min(end, uint64(le.Uint32(entries[12*i:])))
		}
		if i == 0 {
			return run{first: b, count: end - b, kind: disk.Hole}, nil
		}
		e := entries[12*(i-1):][:12]
		if d == 0 {
			return f.leafRun(in, e, off, b, end)
		}
		child := uint64(le.Uint32(e[4:])) | uint64(le.Uint16(e[8:]))<<32
		if node, err = f.block(child, in.String()+" extent tree"); err != nil {
			return run{}, err
		}
		off, depth = int64(child)*f.sb.blockSize, d-1
		if err := f.checkExtentBlock(in, node, off); err != nil {
			return run{}, err
		}
	}
}

// extentNode checks the header of a node and returns its entries and depth.
func extentNode(in *inode, node []byte, off int64, depth int) ([]byte, int, error) {
	n, d := int(le.Uint16(node[2:])), int(le.Uint16(node[6:]))
	switch {
	case le.Uint16(node) != extentMagic:
		return nil, 0, corrupt(in.String()+" extent tree", off, "magic %#x", le.Uint16(node))
	case n > (len(node)-12)/12 || n > int(le.Uint16(node[4:])):
		return nil, 0, corrupt(in.String()+" extent tree", off, "%d entries", n)
	case depth >= 0 && d != depth, d > extentMaxDepth:
		return nil, 0, corrupt(in.String()+" extent tree", off, "depth %d", d)
	}
	return node[12:][:12*n], d, nil
}

// checkExtentBlock verifies the checksum behind the last possible entry.
func (f *FS) checkExtentBlock(in *inode, node []byte, off int64) error {
	if !f.sb.checksums() {
		return nil
	}
	tail := 12 + 12*int(le.Uint16(node[4:]))
	if tail+4 > len(node) || crc32c(in.seed, node[:tail]) != le.Uint32(node[tail:]) {
		return formatError(in.String()+" extent tree", "", off, fsys.ErrChecksum)
	}
	return nil
}

// leafRun is the extent e, or the hole between it and end.
func (f *FS) leafRun(in *inode, e []byte, off int64, b, end uint64) (run, error) {
	r := run{first: uint64(le.Uint32(e)), count: uint64(le.Uint16(e[4:])), kind: disk.Data}
	r.phys = uint64(le.Uint32(e[8:])) | uint64(le.Uint16(e[6:]))<<32
	if r.count > unwrittenBase {
		r.count, r.kind = r.count-unwrittenBase, disk.Zero
	}
	if b >= r.end() {
		return run{first: r.end(), count: end - r.end(), kind: disk.Hole}, nil
	}
	r.count = min(r.count, end-r.first)
	if r.phys < f.sb.firstBlock || r.phys > f.sb.blocks || r.count > f.sb.blocks-r.phys {
		return run{}, corrupt(in.String()+" extent tree", off, "blocks %d+%d of %d", r.phys, r.count, f.sb.blocks)
	}
	return r, nil
}

// mapIndirect follows the block map of ext2 and ext3: 12 blocks, then one
// block each of pointers, of pointers to pointers, and of pointers to those.
func (f *FS) mapIndirect(in *inode, b uint64) (run, error) {
	if b < 12 {
		return f.pointers(in, in.block()[:48], in.off+0x28, b, b, 1)
	}
	per := uint64(f.sb.blockSize / 4)
	base, span := uint64(12), uint64(1) // of what one pointer of the level stands for
	for level := range 3 {
		if b-base >= span*per {
			base += span * per
			span *= per
			continue
		}
		table, off := in.block()[48+4*level:][:4], in.off+0x28+48+4*int64(level)
		index, rest := uint64(0), b-base
		for unit := span * per; ; unit /= per {
			p := uint64(le.Uint32(table[4*index:]))
			if p == 0 || unit == 1 {
				return f.pointers(in, table, off, index, b-rest, unit)
			}
			var err error
			if table, err = f.block(p, in.String()+" block map"); err != nil {
				return run{}, err
			}
			off = int64(p) * f.sb.blockSize
			index, rest = rest/(unit/per), rest%(unit/per)
		}
	}
	return run{first: base, count: beyond, kind: disk.Hole}, nil
}

// pointers returns the run that begins with a pointer of a table, which stands
// for unit blocks from first on: a hole if it is 0.
func (f *FS) pointers(in *inode, table []byte, off int64, index, first, unit uint64) (run, error) {
	at := func(i uint64) uint64 { return uint64(le.Uint32(table[4*i:])) }
	n, total := uint64(1), uint64(len(table)/4)-index
	p := at(index)
	if p == 0 {
		for n < total && at(index+n) == 0 {
			n++
		}
		return run{first: first, count: n * unit, kind: disk.Hole}, nil
	}
	for n < total && at(index+n) == p+n {
		n++
	}
	if p < f.sb.firstBlock || p >= f.sb.blocks || n > f.sb.blocks-p {
		return run{}, corrupt(in.String()+" block map", off, "blocks %d+%d of %d", p, n, f.sb.blocks)
	}
	return run{first: first, count: n, phys: p, kind: disk.Data}, nil
}
