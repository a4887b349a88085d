package lvm

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// maxStack is how many volumes may be made of each other.
const maxStack = 8

// role of a volume in a snapshot.
type role uint8

const (
	none    role = iota
	hidden       // what ties origin and changes
	changes      // its own content is of use only together with the origin
	merged       // being overwritten with a snapshot
)

// Volume is a logical volume. It implements io.ReaderAt, and is safe for concurrent use.
type Volume struct {
	Name, UUID string
	Size       int64  // in bytes
	Err        error  // why it cannot be read: fsys.ErrUnsupported, ErrMissing, fsys.ErrCorrupt
	Type       string // of its first segment: "striped" (linear ones too), "raid1", "thin", ...

	group    *Group
	meta     section
	snapshot role
	segments []segment
	height   int // how many volumes are below it
	built    bool
	building bool
}

// segment is a run of a volume that is laid out in one way.
type segment struct {
	start, size int64
	stripe      int64 // bytes in each area in turn
	areas       []area
}

// area is a run of something else.
type area struct {
	r   io.ReaderAt // nil: zeros
	off int64
}

// build maps the volume. Errors say which segment cannot be read.
func (v *Volume) build(depth int) error {
	if v.built {
		return v.Err
	}
	if v.building || depth > maxStack {
		return formatError("volume "+v.Name, -1, fmt.Errorf("%w: it is made of itself", fsys.ErrCorrupt))
	}
	v.building = true
	defer func() { v.building = false }()
	v.Err = v.mapOut(depth)
	v.built = true
	return v.Err
}

func (v *Volume) mapOut(depth int) error {
	count := v.meta.number("segment_count")
	if v.group.extent == 0 || count < 1 || count > int64(len(v.meta)) {
		return formatError("volume "+v.Name, -1, fmt.Errorf("%w: %d segments", fsys.ErrCorrupt, count))
	}
	var failed error
	for i := range count {
		s := v.meta.sub(fmt.Sprintf("segment%d", i+1))
		start, n := s.number("start_extent"), s.number("extent_count")
		if start != v.Size/v.group.extent || n < 1 || n > math.MaxInt64/v.group.extent-start {
			return formatError("volume "+v.Name, -1, fmt.Errorf("%w: segment %d of %d extents at %d", fsys.ErrCorrupt, i+1, n, start))
		}
		seg := segment{start: v.Size, size: n * v.group.extent}
		if i == 0 {
			v.Type = s.text("type")
		}
		if err := v.layOut(&seg, s, depth); err != nil && failed == nil {
			failed = fmt.Errorf("lvm: %s/%s: segment %d: %w", v.group.Name, v.Name, i+1, err)
		}
		v.segments = append(v.segments, seg)
		v.Size += seg.size
	}
	switch v.snapshot {
	case changes:
		return fmt.Errorf("lvm: %s/%s is a snapshot, which this reader does not put together; its origin can be read: %w", v.group.Name, v.Name, fsys.ErrUnsupported)
	case merged:
		return fmt.Errorf("lvm: %s/%s is being merged with its snapshot: %w", v.group.Name, v.Name, fsys.ErrUnsupported)
	}
	return failed
}

func (v *Volume) layOut(seg *segment, s section, depth int) error {
	kind, _, _ := strings.Cut(s.text("type"), "+")
	seg.stripe = seg.size
	switch kind {
	case "striped", "linear":
		return v.stripes(seg, s, depth)
	case "mirror":
		return v.leg(seg, s.listOf("mirrors"), 2, depth)
	case "raid1":
		return v.leg(seg, s.listOf("raids"), 2, depth)
	case "zero":
		seg.areas = []area{{}}
		return nil
	case "error":
		return fmt.Errorf("%w: it has no content", ErrMissing)
	}
	return fmt.Errorf("%w: segments of type %q", fsys.ErrUnsupported, kind)
}

func (v *Volume) stripes(seg *segment, s section, depth int) error {
	list := s.listOf("stripes")
	n := int64(len(list) / 2)
	extents := seg.size / v.group.extent
	if n == 0 || len(list)%2 != 0 || extents%n != 0 {
		return fmt.Errorf("%w: %d extents in %d stripes", fsys.ErrCorrupt, extents, n)
	}
	if n > 1 {
		size := s.number("stripe_size")
		if size < 1 || size > extents/n*v.group.extent/512 {
			return fmt.Errorf("%w: stripes of %d sectors", fsys.ErrCorrupt, size)
		}
		seg.stripe = size * 512
	}
	for i := range n {
		name, _ := list[2*i].(string)
		first, ok := list[2*i+1].(int64)
		if !ok || first < 0 {
			return fmt.Errorf("%w: stripe %d", fsys.ErrCorrupt, i+1)
		}
		a, err := v.area(name, first, extents/n, depth)
		if err != nil {
			return err
		}
		seg.areas = append(seg.areas, a)
	}
	return nil
}

// area finds extents of a physical volume, or of another logical one.
func (v *Volume) area(name string, first, n int64, depth int) (area, error) {
	if p := v.group.devices[name]; p != nil {
		switch {
		case p.pv == nil:
			return area{}, ErrMissing
		case p.start < 0 || first > p.count || n > p.count-first || p.count > (math.MaxInt64-p.start)/v.group.extent:
			return area{}, fmt.Errorf("%w: extents %d to %d of %d of %s", fsys.ErrCorrupt, first, first+n, p.count, name)
		}
		return area{p.pv.r, p.start + first*v.group.extent}, nil
	}
	lv := v.group.lvs[name]
	if lv == nil {
		return area{}, fmt.Errorf("%w: there is no %q", fsys.ErrCorrupt, name)
	}
	if err := lv.build(depth + 1); err != nil {
		return area{}, err
	}
	if v.height = max(v.height, lv.height+1); v.height > maxStack {
		return area{}, fmt.Errorf("%w: volumes in more than %d others", fsys.ErrLimit, maxStack)
	}
	if first > lv.Size/v.group.extent || n > lv.Size/v.group.extent-first {
		return area{}, fmt.Errorf("%w: extents %d to %d of %s", fsys.ErrCorrupt, first, first+n, name)
	}
	return area{lv, first * v.group.extent}, nil
}

// leg takes the first copy that is whole, of a list of pairs: a mirror has the name of
// a volume and an extent in each, a RAID that of its metadata and of its content.
func (v *Volume) leg(seg *segment, list []any, step, depth int) error {
	failed := fmt.Errorf("%w: no copies", fsys.ErrCorrupt)
	for ; len(list) >= step; list = list[step:] {
		name, _ := list[0].(string)
		first, isMirror := list[1].(int64)
		if !isMirror {
			name, _ = list[1].(string)
		}
		if lv := v.group.lvs[name]; lv != nil && lv.meta.flag("status", "REBUILD") {
			failed = ErrMissing
			continue
		}
		a, err := v.area(name, first, seg.size/v.group.extent, depth)
		if err == nil {
			seg.areas = []area{a}
			return nil
		}
		failed = err
	}
	return failed
}

// ReadAt implements io.ReaderAt. Of a volume with an Err, that is returned.
func (v *Volume) ReadAt(p []byte, off int64) (int, error) {
	if v.Err != nil {
		return 0, v.Err
	}
	if off < 0 {
		return 0, formatError("volume "+v.Name, off, fsys.ErrCorrupt)
	}
	n := 0
	for n < len(p) {
		if off >= v.Size {
			return n, io.EOF
		}
		got, err := v.segment(off).readAt(p[n:], off)
		n += got
		off += int64(got)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// segment finds the one that holds an offset.
func (v *Volume) segment(off int64) *segment {
	low, high := 0, len(v.segments)-1
	for low < high {
		mid := (low + high + 1) / 2
		if v.segments[mid].start <= off {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return &v.segments[low]
}

// readAt reads up to the end of a stripe.
func (s *segment) readAt(p []byte, off int64) (int, error) {
	off -= s.start
	stripe, within := off/s.stripe, off%s.stripe
	a := s.areas[stripe%int64(len(s.areas))]
	p = p[:min(int64(len(p)), s.stripe-within, s.size-off)]
	if a.r == nil {
		clear(p)
		return len(p), nil
	}
	n, err := a.r.ReadAt(p, a.off+stripe/int64(len(s.areas))*s.stripe+within)
	if n == len(p) {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the disk is shorter than it says
	}
	return n, err
}
