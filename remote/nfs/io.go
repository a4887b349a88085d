package nfs

import (
	"context"
	"encoding/binary"
)

// stability is stable_how: what a WRITE asked for or gave.
type stability uint32

const (
	unstable stability = 0
	fileSync stability = 2
)

// verifier is what a server says of its own life: it changes when it may have
// dropped data written as unstable.
type verifier [8]byte

func (d *decoder) verifier() (v verifier) {
	copy(v[:], d.take(len(v)))
	return v
}

// beginRead makes the READ of len(p) bytes at off.
func (c *client) beginRead(h *handle, p []byte, off int64) *call {
	k := c.call(procRead)
	k.dst = p
	k.e.opaque(h.bytes())
	k.e.uint64(uint64(off))
	k.e.uint32(uint32(len(p)))
	return k
}

// decodeRead takes an answer to READ of which n bytes of data were taken before.
func decodeRead(d *decoder, n int) (int, bool, error) {
	d.postOp()
	count := d.uint32()
	eof := d.bool()
	if length := d.uint32(); d.bad || count != length || int64(length) != int64(n) {
		return 0, false, errMalformed
	}
	return n, eof, nil
}

// beginWrite makes the WRITE of p at off, for a COMMIT to make it durable.
func (c *client) beginWrite(h *handle, p []byte, off int64) *call {
	k := c.call(procWrite)
	k.data = p
	k.e.opaque(h.bytes())
	k.e.uint64(uint64(off))
	k.e.uint32(uint32(len(p)))
	k.e.uint32(uint32(unstable))
	k.e.uint32(uint32(len(p)))
	return k
}

// written is what a server says it did of a WRITE.
type written struct {
	n        int
	stable   bool // no COMMIT is needed
	verifier verifier
}

func decodeWrite(d *decoder, asked int) (w written, err error) {
	d.wcc()
	n := d.uint32()
	how := stability(d.uint32())
	w.verifier = d.verifier()
	if d.bad || int64(n) > int64(asked) || n == 0 && asked > 0 || how > fileSync {
		return written{}, errMalformed
	}
	w.n, w.stable = int(n), how == fileSync
	return w, nil
}

// commit makes durable all that was written to a file before.
func (c *client) commit(ctx context.Context, h *handle) (verifier, error) {
	k := c.call(procCommit)
	k.e.opaque(h.bytes())
	k.e.uint64(0)
	k.e.uint32(0) // to the end
	d, err := c.finish(ctx, k, c.bulk.start(ctx, k))
	if err != nil {
		return verifier{}, err
	}
	return decodeCommit(d)
}

func decodeCommit(d *decoder) (verifier, error) {
	d.wcc()
	v := d.verifier()
	return v, d.end()
}

// authSysCredential is authsys_parms (RFC 5531, appendix A).
func authSysCredential(c *Credential) []byte {
	e := encoder{}
	e.uint32(binary.BigEndian.Uint32([]byte("xenb"))) // any number will do
	e.string(c.Machine[:min(len(c.Machine), 255)])
	e.uint32(c.UID)
	e.uint32(c.GID)
	groups := c.Groups[:min(len(c.Groups), maxGroups)]
	e.uint32(uint32(len(groups)))
	for _, g := range groups {
		e.uint32(g)
	}
	return e.b
}
