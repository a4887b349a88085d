package clusters

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"sync/atomic"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// content is what a file holds: valid bytes in clusters, zeros behind them.
type content struct {
	h           *Heap
	m           Mapping // nil where valid is 0
	size, valid int64
	name        string              // of the file's entry, for errors
	last        atomic.Pointer[run] // used last: most reads follow the one before
}

// Content gives what is in the file that begins at a cluster.
func (h *Heap) Content(name string, o *Object) (disk.Source, error) {
	c := &content{h: h, size: o.Size, valid: o.Valid, name: name}
	if h.Clusters(c.size) > int64(h.Count) {
		return nil, h.Corrupt(name, o.Place, "%d bytes in a volume of %d clusters", c.size, h.Count)
	}
	if c.valid == 0 {
		return c, nil
	}
	var err error
	c.m, err = h.Map(o.First, o.Contiguous, c.size)
	return c, err
}

// Size implements disk.Source.
func (c *content) Size() int64 { return c.size }

// ReadAt implements io.ReaderAt: one read per run.
func (c *content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	if off >= c.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > c.size-off {
		p, end = p[:c.size-off], io.EOF
	}
	for done := 0; done < len(p); {
		at, part := off+int64(done), p[done:]
		if at >= c.valid {
			clear(part)
			break
		}
		r, err := c.run(uint32(at / c.h.Size))
		if err != nil {
			return done, err
		}
		start := at - int64(r.index)*c.h.Size
		part = part[:min(int64(len(part)), int64(r.count)*c.h.Size-start, c.valid-at)]
		if err := c.h.ReadAt(part, c.h.Offset(r.cluster)+start); err != nil {
			return done, err
		}
		done += len(part)
	}
	return len(p), end
}

func (c *content) run(i uint32) (run, error) {
	if r := c.last.Load(); r != nil && r.contains(i) {
		return *r, nil
	}
	r, err := c.m.at(i)
	if errors.Is(err, errEnd) {
		return run{}, c.h.Corrupt(c.name, -1, "the chain ends before cluster %d of %d", i+1, c.h.Clusters(c.size))
	}
	if err != nil {
		return run{}, err
	}
	c.last.Store(&r)
	return r, nil
}

// Extents implements disk.Source: data, and zeros behind what was written.
func (c *content) Extents(_ context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		if off < 0 || n <= 0 || off >= c.size {
			return
		}
		end := c.size
		if n < end-off {
			end = off + n
		}
		if data := min(end, c.valid); off < data {
			if !yield(disk.Extent{Off: off, Len: data - off, Kind: disk.Data}, nil) {
				return
			}
			off = data
		}
		if off < end {
			yield(disk.Extent{Off: off, Len: end - off, Kind: disk.Zero}, nil)
		}
	}
}
