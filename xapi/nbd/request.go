package nbd

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// request is one command under way.
type request struct {
	command uint16
	flags   uint16
	cookie  uint64
	off     int64
	length  uint32
	slots   chan struct{}
	done    chan struct{} // closed by finish

	mu        sync.Mutex
	buf       []byte // where the data of a read goes; nil once abandoned
	filling   bool   // the receiver writes to buf
	have      []span // what has arrived of a read, ascending, apart
	extents   []status
	failed    error // of the server; the rest of the answer may still come
	err       error
	completed bool
}

// span is a part of a read, relative to its start.
type span struct{ from, to uint32 }

// status is one extent of a block status.
type status struct{ length, flags uint32 }

// finish ends the request, once.
func (r *request) finish(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.completed {
		return
	}
	r.completed, r.err = true, err
	<-r.slots
	close(r.done)
}

// wait waits for the answer or the end of ctx. After that nobody writes to the
// buffer any more: an answer that comes too late is skipped, and if one is coming
// in just now, the connection is given up.
func (r *request) wait(ctx context.Context, c *Client) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
	}
	r.mu.Lock()
	filling := r.filling
	r.buf = nil
	r.mu.Unlock()
	if filling {
		c.fail(fmt.Errorf("%w: a read was given up in mid-answer", ErrClosed))
		<-c.ended
	}
	return context.Cause(ctx)
}

// begin takes the part of the buffer that arrives now; nil means to skip it.
// The caller must call arrived, whatever comes.
func (r *request) begin(from, to uint32) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buf == nil {
		return nil
	}
	r.filling = true
	return r.buf[from:to]
}

// arrived notes that a part is there. It fails when it was there before.
func (r *request) arrived(from, to uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.filling = false
	i, overlap := slices.BinarySearchFunc(r.have, from, func(s span, from uint32) int {
		switch {
		case s.to < from:
			return -1
		case s.from > from:
			return 1
		}
		return 0
	})
	switch {
	case overlap && r.have[i].to != from, i < len(r.have) && !overlap && r.have[i].from < to,
		overlap && i+1 < len(r.have) && r.have[i+1].from < to:
		return violation("bytes sent twice")
	case overlap:
		r.have[i].to = to
	default:
		r.have = slices.Insert(r.have, i, span{from, to})
	}
	if i+1 < len(r.have) && r.have[i+1].from == to {
		r.have[i].to = r.have[i+1].to
		r.have = slices.Delete(r.have, i+1, i+2)
	}
	if len(r.have) > maxGaps {
		return violation("an answer in too many pieces")
	}
	return nil
}

// verdict is the outcome when the last chunk has come.
func (r *request) verdict() error {
	switch {
	case r.failed != nil:
		return r.failed
	case r.command == cmdRead && r.length > 0 && (len(r.have) != 1 || r.have[0] != span{0, r.length}):
		return violation("an answer with gaps")
	case r.command == cmdBlockStatus && len(r.extents) == 0:
		return violation("a block status without extents")
	}
	return nil
}
