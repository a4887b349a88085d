package nfs

import "io"

// piece is a part of a ReadAt or WriteAt that one call moves.
type piece struct {
	p       []byte
	off     int64
	k       *call
	started started
}

// transfer moves p in pieces of at most size bytes, pipelineDepth at a time. The
// count is of bytes from the front without a gap. Nothing touches p once it has
// returned.
func (f *file) transfer(h *handle, p []byte, off int64, size int, write bool) (n int, err error) {
	var ring [pipelineDepth]piece
	begun, ended, next := 0, 0, 0
	for {
		for err == nil && next < len(p) && begun-ended < len(ring) {
			one := &ring[begun%len(ring)]
			*one = piece{p: p[next:min(next+size, len(p))], off: off + int64(next)}
			f.begin(h, one, write)
			begun++
			next += len(one.p)
		}
		if begun == ended {
			return n, err
		}
		moved, endErr := f.end(h, &ring[ended%len(ring)], write)
		ended++
		if err == nil {
			n += moved
			err = endErr
		}
	}
}

func (f *file) begin(h *handle, one *piece, write bool) {
	c := f.fs.client
	if write {
		one.k = c.beginWrite(h, one.p, one.off)
	} else {
		one.k = c.beginRead(h, one.p, one.off)
	}
	one.started = c.bulk.start(f.ctx, one.k)
}

// end waits for a piece, and moves what the server left of it.
func (f *file) end(h *handle, one *piece, write bool) (n int, err error) {
	for relocated := false; ; {
		moved, err := f.answer(one, write)
		n += moved
		switch {
		case err == nil && moved == len(one.p):
			return n, nil
		case err == nil: // the server did a part
			one.p, one.off = one.p[moved:], one.off+int64(moved)
		case isStatus(err, errStale, errBadHandle) && !relocated:
			relocated = true
			if *h, err = f.relocate(); err != nil {
				return n, err
			}
		default:
			return n, err
		}
		f.begin(h, one, write)
	}
}

// answer waits for what comes back for a piece. io.EOF comes with fewer bytes
// than asked for.
func (f *file) answer(one *piece, write bool) (int, error) {
	c := f.fs.client
	d, err := c.finish(f.ctx, one.k, one.started)
	if err != nil {
		return 0, err
	}
	defer c.calls.put(one.k)
	if write {
		w, err := decodeWrite(d, len(one.p))
		if err != nil {
			return 0, err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		return w.n, f.writes.note(&w)
	}
	n, eof, err := decodeRead(d, one.k.n)
	switch {
	case err != nil:
		return 0, err
	case n == len(one.p):
		return n, nil
	case eof:
		return n, io.EOF
	case n == 0:
		return 0, violation("neither data nor the end of the file")
	}
	return n, nil
}
