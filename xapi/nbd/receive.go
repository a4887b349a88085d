package nbd

import (
	"encoding/binary"
	"errors"
	"math"
)

// receive takes answers until the connection ends. It returns why.
func (c *Client) receive() error {
	for {
		var magic [4]byte
		if err := c.read(magic[:]); err != nil {
			return err
		}
		var err error
		switch number := binary.BigEndian.Uint32(magic[:]); {
		case number == magicSimple:
			err = c.simpleReply()
		case number == magicStructured && c.info.structured:
			err = c.structuredReply()
		default:
			err = violation("answer starts with %#x", number)
		}
		if err != nil {
			return err
		}
	}
}

// read fills p, and sees to it that each part of it comes in time.
func (c *Client) read(p []byte) error {
	for done := 0; done < len(p); {
		n, err := c.in.Read(p[done:])
		done += n
		if err != nil && done < len(p) {
			return lost(err)
		}
		if c.in.Buffered() == 0 {
			c.mu.Lock()
			c.expect()
			c.mu.Unlock()
		}
	}
	return nil
}

// skip drops n bytes.
func (c *Client) skip(n uint32) error {
	var waste [4096]byte
	for n > 0 {
		part := min(n, uint32(len(waste)))
		if err := c.read(waste[:part]); err != nil {
			return err
		}
		n -= part
	}
	return nil
}

func (c *Client) lookup(cookie uint64) (*request, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.pending[cookie]
	if !ok {
		return nil, violation("answer to a request that was not made")
	}
	return r, nil
}

// complete ends a request that has its whole answer. A verdict that the server
// broke the protocol ends the connection.
func (c *Client) complete(r *request, err error) error {
	c.mu.Lock()
	delete(c.pending, r.cookie)
	c.expect()
	c.mu.Unlock()
	r.finish(err)
	if errors.Is(err, ErrProtocol) {
		return err
	}
	return nil
}

// simpleReply takes an error number and a cookie, then all of a read's data.
func (c *Client) simpleReply() error {
	var head [12]byte
	if err := c.read(head[:]); err != nil {
		return err
	}
	code := binary.BigEndian.Uint32(head[:])
	r, err := c.lookup(binary.BigEndian.Uint64(head[4:]))
	if err != nil {
		return err
	}
	if code != 0 {
		return c.complete(r, &CommandError{Code: code, Off: r.off})
	}
	if c.info.structured {
		return violation("a simple answer where a structured one was agreed on")
	}
	if err := c.fill(r, 0, r.length); err != nil {
		return err
	}
	return c.complete(r, r.verdict())
}

// fill reads data into a request's buffer, or past it if nobody wants it.
func (c *Client) fill(r *request, from, to uint32) error {
	var err error
	if part := r.begin(from, to); part != nil {
		err = c.read(part)
	} else {
		err = c.skip(to - from)
	}
	return errors.Join(err, r.arrived(from, to))
}

// structuredReply takes one chunk.
func (c *Client) structuredReply() error {
	var head [16]byte
	if err := c.read(head[:]); err != nil {
		return err
	}
	be := binary.BigEndian
	flags, kind, length := be.Uint16(head[:]), be.Uint16(head[2:]), be.Uint32(head[12:])
	r, err := c.lookup(be.Uint64(head[4:]))
	if err != nil {
		return err
	}
	switch {
	case kind == chunkNone && length == 0 && flags&chunkDone != 0:
	case kind == chunkOffsetData && r.command == cmdRead:
		err = c.offsetData(r, length)
	case kind == chunkOffsetHole && r.command == cmdRead && length == 12:
		err = c.offsetHole(r)
	case kind == chunkBlockStatus && r.command == cmdBlockStatus:
		err = c.blockStatus(r, length)
	case kind&chunkError != 0:
		err = c.errorChunk(r, kind, length)
	default:
		err = violation("chunk of type %d and %d bytes", kind, length)
	}
	if err != nil {
		return err
	}
	if flags&chunkDone == 0 {
		return nil
	}
	return c.complete(r, r.verdict())
}

// place turns the offset of a chunk into one within the request.
func (r *request) place(off uint64, length uint32) (from, to uint32, err error) {
	start := uint64(r.off) // never negative
	if length == 0 || off < start || off-start > math.MaxUint32 || off-start+uint64(length) > uint64(r.length) {
		return 0, 0, violation("data outside of what was asked for")
	}
	from = uint32(off - start) // just checked
	return from, from + length, nil
}

func (c *Client) offsetData(r *request, length uint32) error {
	var head [8]byte
	if length <= 8 {
		return violation("data chunk of %d bytes", length)
	}
	if err := c.read(head[:]); err != nil {
		return err
	}
	from, to, err := r.place(binary.BigEndian.Uint64(head[:]), length-8)
	if err != nil {
		return err
	}
	return c.fill(r, from, to)
}

func (c *Client) offsetHole(r *request) error {
	var b [12]byte
	if err := c.read(b[:]); err != nil {
		return err
	}
	from, to, err := r.place(binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint32(b[8:]))
	if err != nil {
		return err
	}
	clear(r.begin(from, to))
	return r.arrived(from, to)
}

func (c *Client) blockStatus(r *request, length uint32) error {
	if length < 12 || (length-4)%8 != 0 || (length-4)/8 > maxExtents || len(r.extents) > 0 {
		return violation("block status of %d bytes", length)
	}
	var b [8]byte
	if err := c.read(b[:4]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(b[:]) != c.info.context {
		return violation("block status of another context")
	}
	for range (length - 4) / 8 {
		if err := c.read(b[:]); err != nil {
			return err
		}
		s := status{binary.BigEndian.Uint32(b[:]), binary.BigEndian.Uint32(b[4:])}
		if s.length == 0 {
			return violation("an extent of no bytes")
		}
		r.extents = append(r.extents, s)
	}
	return nil
}

func (c *Client) errorChunk(r *request, kind uint16, length uint32) error {
	if length < 6 || length > maxString+14 {
		return violation("error chunk of %d bytes", length)
	}
	b := make([]byte, length)
	if err := c.read(b); err != nil {
		return err
	}
	text := uint32(binary.BigEndian.Uint16(b[4:]))
	if text+6 > length || kind == chunkErrorOffset && text+14 != length {
		return violation("error chunk with a message of %d bytes", text)
	}
	failed := &CommandError{Code: binary.BigEndian.Uint32(b), Off: r.off, Message: string(b[6 : 6+text])}
	if failed.Code == 0 {
		return violation("an error without a code")
	}
	if r.failed == nil {
		r.failed = failed
	}
	return nil
}
