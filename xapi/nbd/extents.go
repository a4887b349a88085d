package nbd

import (
	"context"
	"iter"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// Extents yields what [off, off+n) holds, as [disk.Source] has it: Zero where the
// server says that it reads as zeros, else Data. Of a server without block
// status all is Data.
func (c *Client) Extents(ctx context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		var current disk.Extent
		for e, err := range c.rawExtents(ctx, max(0, off), min(off+n, c.Size())) {
			switch {
			case err != nil:
				yield(disk.Extent{}, err)
				return
			case current.Len > 0 && current.Kind == e.Kind:
				current.Len += e.Len
			case current.Len > 0 && !yield(current, nil):
				return
			default:
				current = e
			}
		}
		if current.Len > 0 {
			yield(current, nil)
		}
	}
}

// rawExtents yields the extents as the server cuts them.
func (c *Client) rawExtents(ctx context.Context, off, end int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		if !c.info.status {
			if off < end {
				yield(disk.Extent{Off: off, Len: end - off, Kind: disk.Data}, nil)
			}
			return
		}
		for off < end {
			found, err := c.blockStatusAt(ctx, off, end)
			if err != nil {
				yield(disk.Extent{}, err)
				return
			}
			for _, s := range found {
				if off >= end {
					break
				}
				e := disk.Extent{Off: off, Len: min(int64(s.length), end-off), Kind: disk.Data}
				if s.flags&stateZero != 0 {
					e.Kind = disk.Zero
				}
				if !yield(e, nil) {
					return
				}
				off += e.Len
			}
		}
	}
}

// blockStatusAt asks for the status of [off, end) or the beginning of it. The
// first extent starts at off, rounded down to a block of the server: what that
// adds is taken off again.
func (c *Client) blockStatusAt(ctx context.Context, off, end int64) ([]status, error) {
	block := int64(c.info.minBlock)
	start := off - off%block
	length := min(c.Size(), (end+block-1)/block*block) - start
	r := &request{command: cmdBlockStatus, off: start, length: uint32(min(length, maxStatus))} // just bounded
	if err := c.start(ctx, r); err != nil {
		return nil, err
	}
	if err := r.wait(ctx, c); err != nil {
		return nil, err
	}
	lead := uint32(off - start) // less than a block
	if r.extents[0].length <= lead {
		return nil, violation("an extent smaller than a block")
	}
	r.extents[0].length -= lead
	return r.extents, nil
}
