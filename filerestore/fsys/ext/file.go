package ext

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"sync/atomic"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// OpenNode implements fsys.Nodes. Of its content, what was never written is
// Hole, and what is only reserved is Zero.
func (f *FS) OpenNode(id fsys.NodeID) (*fsys.File, error) {
	in, err := f.node(id)
	if err != nil {
		return nil, err
	}
	if !in.is(modeRegular) {
		return nil, formatError(in.String(), "", in.off, fsys.ErrNotRegular)
	}
	src, err := f.content(in)
	if err != nil {
		return nil, err
	}
	info := in.info(f.sb)
	return fsys.NewFile(&info, src), nil
}

// content gives what a file or a long link holds.
func (f *FS) content(in *inode) (disk.Source, error) {
	if in.has(flagEncrypt) {
		return nil, formatError(in.String(), "", in.off, fsys.ErrEncrypted)
	}
	if !in.has(flagInline) {
		return &blocks{f: f, in: in}, nil
	}
	rest, err := f.inlineRest(in)
	if err != nil {
		return nil, err
	}
	data := append(append([]byte{}, in.block()...), rest...)
	if in.size > int64(len(data)) {
		return nil, corrupt(in.String(), in.off, "%d bytes in the inode of %d", len(data), in.size)
	}
	return inline(data[:in.size]), nil
}

// ReadLinkNode implements fsys.Nodes. Targets of less than 60 bytes are in the
// inode, in place of its map.
func (f *FS) ReadLinkNode(id fsys.NodeID) (string, error) {
	in, err := f.node(id)
	if err != nil {
		return "", err
	}
	if !in.is(modeSymlink) {
		return "", formatError(in.String(), "", in.off, fs.ErrInvalid)
	}
	if in.size > f.sb.blockSize {
		return "", corrupt(in.String(), in.off, "link of %d bytes", in.size)
	}
	if fast := in.block(); !in.has(flagExtents|flagInline|flagEncrypt) && in.size < int64(len(fast)) {
		return string(fast[:in.size]), nil
	}
	src, err := f.content(in)
	if err != nil {
		return "", err
	}
	p := make([]byte, in.size)
	if n, err := src.ReadAt(p, 0); n < len(p) {
		return "", fmt.Errorf("ext: link %d: %w", in.num, err)
	}
	return string(p), nil
}

// blocks is the content of a file that is kept in blocks.
type blocks struct {
	f    *FS
	in   *inode
	last atomic.Pointer[run] // used last: most reads follow the one before
}

func (c *blocks) Size() int64 { return c.in.size }

// run returns a run with block b in it.
func (c *blocks) run(b uint64) (run, error) {
	if r := c.last.Load(); r != nil && r.contains(b) {
		return *r, nil
	}
	r, err := c.f.mapBlock(c.in, b)
	if err != nil {
		return run{}, err
	}
	c.last.Store(&r)
	return r, nil
}

// ReadAt implements io.ReaderAt: one read per run.
func (c *blocks) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	if off >= c.in.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > c.in.size-off {
		p, end = p[:c.in.size-off], io.EOF
	}
	bs := c.f.sb.blockSize
	for done := 0; done < len(p); {
		at := off + int64(done)
		r, err := c.run(uint64(at / bs))
		if err != nil {
			return done, err
		}
		part := p[done:]
		if n := r.end() - uint64(at/bs); n <= uint64((int64(len(part))+bs-1)/bs) { // else the run goes on behind it
			part = part[:min(int64(len(part)), int64(n)*bs-at%bs)]
		}
		if r.kind != disk.Data {
			clear(part)
		} else if err := c.f.dev.readAt(part, int64(r.phys)*bs+at-int64(r.first)*bs); err != nil {
			return done, err
		}
		done += len(part)
	}
	return len(p), end
}

// Extents implements disk.Source.
func (c *blocks) Extents(ctx context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		end := c.in.size
		if off < 0 || n <= 0 || off >= end {
			return
		}
		if n < end-off {
			end = off + n
		}
		bs := c.f.sb.blockSize
		now := disk.Extent{Off: off}
		for off < end {
			if err := ctx.Err(); err != nil {
				yield(disk.Extent{}, err)
				return
			}
			r, err := c.run(uint64(off / bs))
			if err != nil {
				yield(disk.Extent{}, err)
				return
			}
			if now.Len > 0 && r.kind != now.Kind {
				if !yield(now, nil) {
					return
				}
				now = disk.Extent{Off: off}
			}
			off = end
			if r.end() <= uint64(end/bs) {
				off = int64(r.end()) * bs
			}
			now.Kind, now.Len = r.kind, off-now.Off
		}
		yield(now, nil)
	}
}

// inline is the content of a file that is kept in its inode.
type inline []byte

func (c inline) Size() int64 { return int64(len(c)) }

// ReadAt implements io.ReaderAt.
func (c inline) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	if off >= int64(len(c)) {
		return 0, io.EOF
	}
	n := copy(p, c[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Extents implements disk.Source: all of it is data.
func (c inline) Extents(_ context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		if n = min(n, int64(len(c))-off); off >= 0 && n > 0 {
			yield(disk.Extent{Off: off, Len: n, Kind: disk.Data}, nil)
		}
	}
}
