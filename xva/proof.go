package xva

import (
	"context"
	"errors"
	"io"
)

// errUnproven ends the reading of an archive that nobody wants proven any more.
var errUnproven = errors.New("proof abandoned")

// A Proof reads an archive that passes by on its way elsewhere: all of it is written to the Proof too, in pieces of any length, and
// Close tells whether it was a complete archive. It must end in a Close or an Abort. It is for one goroutine.
type Proof struct {
	to   *io.PipeWriter
	done chan struct{} // closed when the reader is
	err  error
	ova  *OVA
	kind Compression
	seen Stats
}

// NewProof returns a Proof of the archive that will be written to it.
func NewProof() *Proof {
	from, to := io.Pipe()
	p := &Proof{to: to, done: make(chan struct{})}
	go func() { // ends with Close or Abort
		defer close(p.done)
		p.err = p.read(from)
		_ = from.CloseWithError(p.err)
	}()
	return p
}

func (p *Proof) read(from io.Reader) error {
	r, err := NewReader(from, nil)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	p.ova, p.kind = r.OVA(), r.Compression()
	err = r.eachChunk(context.Background(), func(Chunk) error { return nil }) // ends with from
	p.seen = r.Stats()
	return err
}

// Write takes the next piece, and fails as soon as the archive is known to be broken, with what a [Reader] says of it.
func (p *Proof) Write(b []byte) (int, error) { return p.to.Write(b) }

// Close says that all was written, and returns nil only for a complete archive; else the error of a [Reader]. It may be called again.
func (p *Proof) Close() error {
	_ = p.to.Close() // never fails
	<-p.done
	return p.err
}

// Abort ends the Proof without a verdict. It does nothing after Close.
func (p *Proof) Abort() {
	_ = p.to.CloseWithError(errUnproven) // never fails
	<-p.done
}

// OVA returns what ova.xml says; nil before Close or Abort, or when the archive was broken so early.
func (p *Proof) OVA() *OVA {
	if p.ended() {
		return p.ova
	}
	return nil
}

// Compression returns how the archive is compressed, after Close.
func (p *Proof) Compression() Compression {
	if p.ended() {
		return p.kind
	}
	return None
}

// Stats returns what the archive holds, after Close.
func (p *Proof) Stats() Stats {
	if p.ended() {
		return p.seen
	}
	return Stats{}
}

func (p *Proof) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
