package nfs

import (
	"io/fs"
	"math"
	"time"
)

// fileType is ftype3.
type fileType uint32

const (
	typeRegular fileType = 1
	typeDir     fileType = 2
	typeSymlink fileType = 5
)

const maxHandle = 64 // NFS3_FHSIZE

// handle is the server's name of a file or directory. It is comparable, and a
// copy costs no allocation.
type handle struct {
	n uint8
	b [maxHandle]byte
}

func (h *handle) bytes() []byte { return h.b[:h.n] }

func (d *decoder) handle() (h handle) {
	p := d.opaque(maxHandle)
	if len(p) == 0 {
		d.bad, d.b = true, nil
	}
	h.n = uint8(copy(h.b[:], p))
	return h
}

// attr is what we use of fattr3.
type attr struct {
	kind   fileType
	mode   uint32
	size   int64
	fsid   uint64
	fileID uint64
	mtime  time.Time
}

// same reports whether a and b describe the same object, as far as one can tell
// by the number the server gives it.
func (a *attr) same(b *attr) bool {
	return a.kind == b.kind && a.fsid == b.fsid && a.fileID == b.fileID
}

func (d *decoder) attr() (a attr) {
	a.kind = fileType(d.uint32())
	a.mode = d.uint32()
	d.take(12) // links, uid, gid
	size := d.uint64()
	d.take(16) // bytes used, device
	a.fsid, a.fileID = d.uint64(), d.uint64()
	d.take(8) // access time
	a.mtime = d.time()
	d.take(8) // change time
	if size > math.MaxInt64 {
		d.bad = true
	}
	a.size = int64(size)
	return a
}

func (d *decoder) time() time.Time {
	seconds, nanoseconds := d.uint32(), d.uint32()
	return time.Unix(int64(seconds), int64(nanoseconds))
}

// postOp takes a post_op_attr. ok is false when the server left it out.
func (d *decoder) postOp() (a attr, ok bool) {
	if ok = d.bool(); ok {
		a = d.attr()
	}
	return a, ok && !d.bad
}

// postOpHandle takes a post_op_fh3.
func (d *decoder) postOpHandle() (h handle, ok bool) {
	if ok = d.bool(); ok {
		h = d.handle()
	}
	return h, ok && !d.bad
}

// wcc takes a wcc_data, of which nothing is used.
func (d *decoder) wcc() {
	if d.bool() {
		d.take(24)
	}
	d.postOp()
}

// newAttr is an sattr3: what to set.
type newAttr struct {
	mode    uint32 // 0: as it is
	size    int64  // -1: as it is
	now     bool   // both times are the server's
	touched time.Time
}

func (e *encoder) newAttr(a newAttr) {
	e.bool(a.mode != 0)
	if a.mode != 0 {
		e.uint32(a.mode)
	}
	e.uint32(0) // uid
	e.uint32(0) // gid
	e.bool(a.size >= 0)
	if a.size >= 0 {
		e.uint64(uint64(a.size))
	}
	for range 2 { // access and modification
		switch {
		case a.now:
			e.uint32(1)
		case !a.touched.IsZero():
			e.uint32(2)
			e.uint32(uint32(a.touched.Unix()))
			e.uint32(uint32(a.touched.Nanosecond()))
		default:
			e.uint32(0)
		}
	}
}

// info is the [fs.FileInfo] of an attr.
type info struct {
	name string
	attr attr
}

func (i *info) Name() string       { return i.name }
func (i *info) Size() int64        { return i.attr.size }
func (i *info) ModTime() time.Time { return i.attr.mtime }
func (i *info) IsDir() bool        { return i.attr.kind == typeDir }
func (i *info) Sys() any           { return nil }

func (i *info) Mode() fs.FileMode {
	mode := fs.FileMode(i.attr.mode & 0o777)
	switch i.attr.kind {
	case typeRegular:
	case typeDir:
		mode |= fs.ModeDir
	case typeSymlink:
		mode |= fs.ModeSymlink
	default:
		mode |= fs.ModeIrregular
	}
	return mode
}
