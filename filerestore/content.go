package filerestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// copySize is what is read of a file at once.
const copySize = 1 << 20

// copier copies the content of files, one at a time, with two buffers: the next piece
// is read while the last one is written.
type copier struct {
	ctx  context.Context //nolint:containedctx // lives as long as one call of Archive or Extract
	free chan []byte     // the buffers
	told func(n int64)   // of what was written
}

func newCopier(ctx context.Context, told func(int64)) *copier {
	c := &copier{ctx: ctx, free: make(chan []byte, 2), told: told}
	c.free <- nil // made when there is something to copy
	c.free <- nil
	return c
}

// piece is what was read at a place.
type piece struct {
	off  int64
	data []byte
	err  error // data is zeros then
}

// copy passes the runs of a file to write, in pieces. What cannot be read is passed as
// zeros, so that there is as much as was promised; at the end a *skipError says so.
func (c *copier) copy(file *fsys.File, list []span, write func(p []byte, off int64) error) error {
	ctx, cancel := context.WithCancel(c.ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	var damage, failed error
	take := func(p piece) bool {
		if p.err != nil && damage == nil {
			damage = fmt.Errorf("what is from byte %d on could not all be read, and is zeros there: %w", p.off, p.err)
		}
		failed = write(p.data, p.off)
		c.told(int64(len(p.data)))
		c.free <- p.data[:copySize]
		return failed == nil
	}
	if total(list) <= copySize {
		read(ctx, file, list, c.free, take)
	} else {
		pieces := make(chan piece)
		reading.Go(func() {
			defer close(pieces)
			read(ctx, file, list, c.free, func(p piece) bool {
				select {
				case pieces <- p:
					return true
				case <-ctx.Done():
					c.free <- p.data[:copySize]
					return false
				}
			})
		})
		for p := range pieces {
			if !take(p) {
				break
			}
		}
	}
	if err := context.Cause(c.ctx); failed == nil && err != nil {
		failed = err
	}
	if failed == nil && damage != nil {
		return &skipError{err: damage, kept: true}
	}
	return failed
}

// read yields the pieces of a file.
func read(ctx context.Context, file *fsys.File, list []span, free <-chan []byte, yield func(piece) bool) {
	for _, s := range list {
		for off := s.off; off < s.off+s.n; off += copySize {
			var buf []byte
			select {
			case buf = <-free:
			case <-ctx.Done():
				return
			}
			if buf == nil {
				buf = make([]byte, copySize)
			}
			p := piece{off: off, data: buf[:min(copySize, s.off+s.n-off)]}
			p.err = fill(file, p)
			if !yield(p) {
				return
			}
		}
	}
}

func fill(file *fsys.File, p piece) (err error) {
	defer func() {
		if err != nil {
			clear(p.data)
		}
	}()
	defer guard(&err)
	n, err := file.ReadAt(p.data, p.off)
	if n == len(p.data) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
