package restore

import (
	"errors"
	"io"

	"github.com/xenbackup/xenbackup/xva"
)

// provenBody is an archive on its way to a pool. It is judged as it passes, and its
// last piece is kept back until it is proven: no pool completes a VM without that.
type provenBody struct {
	from   io.Reader
	size   int64
	proof  *xva.Proof
	buffer []byte
	report func(done, total int64)

	ready  []byte // of buffer, to be given out
	next   int64  // where the next piece begins
	proven bool
	err    error
}

// Read implements io.Reader.
func (b *provenBody) Read(p []byte) (int, error) {
	if len(b.ready) == 0 && b.err == nil {
		b.err = b.fill()
	}
	if b.err != nil {
		return 0, b.err
	}
	n := copy(p, b.ready)
	b.ready = b.ready[n:]
	return n, nil
}

// fill reads the next piece. The first is the one that may be short.
func (b *provenBody) fill() error {
	if b.next == b.size {
		return io.EOF
	}
	whole := int64(len(b.buffer))
	length := (b.size - b.next) % whole
	if length == 0 {
		length = whole
	}
	piece := b.buffer[:length]
	if _, err := io.ReadFull(b.from, piece); err != nil {
		return err
	}
	if _, err := b.proof.Write(piece); err != nil {
		return err
	}
	b.next += length
	if b.next == b.size {
		if err := b.proof.Close(); err != nil {
			return err
		}
		b.proven = true
	}
	b.ready = piece
	b.report(b.next, b.size)
	return nil
}

// damage ends the proof of an archive that was not taken, and returns what is wrong
// with the part that was read; nil when that was in order.
func (b *provenBody) damage() error {
	if err := b.proof.Close(); !errors.Is(err, xva.ErrTruncated) {
		return err
	}
	return nil
}
