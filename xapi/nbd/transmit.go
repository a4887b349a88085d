package nbd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"sync"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// command is one request of a client.
type command struct {
	flags  uint16
	kind   uint16
	cookie uint64
	off    uint64
	length uint32
}

// defaultServing is how many reads of a connection are done at a time.
const defaultServing = 8

// transmit answers commands until the client leaves.
func (c *session) transmit(ctx context.Context) error {
	limit := c.server.MaxInFlight
	if limit <= 0 {
		limit = defaultServing
	}
	if c.server.Legacy {
		limit = 1
	}
	slots := make(chan struct{}, limit)
	var serving sync.WaitGroup
	defer serving.Wait()
	in := bufio.NewReader(c.conn)
	for {
		cmd, err := nextCommand(in)
		if errors.Is(err, errAborted) {
			return nil // what is under way is still answered
		}
		if err != nil {
			_ = c.conn.Close() // and with it the answers under way
			return err
		}
		slots <- struct{}{}
		serving.Go(func() {
			defer func() { <-slots }()
			if err := c.serve(ctx, cmd); err != nil {
				c.log.InfoContext(ctx, "answer failed", slog.Any("error", err))
				_ = c.conn.Close() // ends the loop above
			}
		})
	}
}

// nextCommand reads a command, and what a write has behind it. The end is
// errAborted.
func nextCommand(in io.Reader) (command, error) {
	cmd, err := readCommand(in)
	switch {
	case err != nil:
		return command{}, err
	case cmd.kind == cmdDisconnect:
		return command{}, errAborted
	case cmd.kind != cmdWrite:
		return cmd, nil
	case cmd.length > maxWrite:
		return command{}, violation("a write of %d bytes", cmd.length)
	}
	_, err = io.CopyN(io.Discard, in, int64(cmd.length))
	return cmd, err
}

func readCommand(in io.Reader) (command, error) {
	var b [28]byte
	if _, err := io.ReadFull(in, b[:]); err != nil {
		return command{}, err
	}
	be := binary.BigEndian
	if be.Uint32(b[:]) != magicRequest {
		return command{}, violation("request starts with %#x", be.Uint32(b[:]))
	}
	return command{
		flags: be.Uint16(b[4:]), kind: be.Uint16(b[6:]), cookie: be.Uint64(b[8:]),
		off: be.Uint64(b[16:]), length: be.Uint32(b[24:]),
	}, nil
}

// serve answers one command. An error means that the connection is of no use.
func (c *session) serve(ctx context.Context, cmd command) error {
	size := uint64(c.disk.Size()) // never negative
	inside := cmd.off <= size && uint64(cmd.length) <= size-cmd.off && cmd.length > 0
	switch {
	case cmd.kind == cmdWrite:
		return c.refuse(cmd, errPermission)
	case cmd.kind == cmdRead && c.server.Legacy && (cmd.off%sector != 0 || cmd.length%sector != 0):
		return errors.Join(c.refuse(cmd, errInvalid), errAborted)
	case cmd.kind == cmdRead && inside && cmd.length <= maxRequest:
		return c.readWhole(cmd)
	case cmd.kind == cmdRead && inside && cmd.length <= maxWrite:
		return c.readPieces(cmd)
	case cmd.kind == cmdBlockStatus && inside && c.status:
		return c.blockStatus(ctx, cmd)
	}
	return c.refuse(cmd, errInvalid)
}

// head is what precedes data: one chunk that is the last, or a simple reply.
func (c *session) head(cmd command, kind uint16, length uint32) []byte {
	be := binary.BigEndian
	if !c.structured {
		b := be.AppendUint32(be.AppendUint32(nil, magicSimple), 0)
		return be.AppendUint64(b, cmd.cookie)
	}
	b := be.AppendUint16(be.AppendUint32(nil, magicStructured), chunkDone)
	b = be.AppendUint64(be.AppendUint16(b, kind), cmd.cookie)
	b = be.AppendUint32(b, length)
	if kind == chunkOffsetData {
		b = be.AppendUint64(b, cmd.off)
	}
	return b
}

func (c *session) refuse(cmd command, code uint32) error {
	be := binary.BigEndian
	var b []byte
	if c.structured {
		b = be.AppendUint16(be.AppendUint32(c.head(cmd, chunkError|1, 6), code), 0)
	} else {
		b = be.AppendUint32(be.AppendUint32(nil, magicSimple), code)
		b = be.AppendUint64(b, cmd.cookie)
	}
	return c.write(b)
}

func (c *session) write(parts ...[]byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	for _, part := range parts {
		if _, err := c.conn.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// readWhole reads first and answers then, so that a failure can be told.
func (c *session) readWhole(cmd command) error {
	buf, ok := c.buffers.Get().(*[maxRequest]byte)
	if !ok {
		buf = new([maxRequest]byte)
	}
	defer c.buffers.Put(buf)
	data := buf[:cmd.length]
	if err := c.readDisk(data, cmd.off); err != nil {
		return c.refuse(cmd, errIO)
	}
	return c.write(c.head(cmd, chunkOffsetData, cmd.length+8), data)
}

// readPieces answers while it reads: a failure half way ends the connection.
func (c *session) readPieces(cmd command) error {
	buf := make([]byte, pieceSize)
	c.writing.Lock()
	defer c.writing.Unlock()
	if _, err := c.conn.Write(c.head(cmd, chunkOffsetData, cmd.length+8)); err != nil {
		return err
	}
	for done := uint32(0); done < cmd.length; {
		piece := buf[:min(pieceSize, cmd.length-done)]
		if err := c.readDisk(piece, cmd.off+uint64(done)); err != nil {
			return err
		}
		if _, err := c.conn.Write(piece); err != nil {
			return err
		}
		done += uint32(len(piece)) // at most pieceSize
	}
	return nil
}

func (c *session) readDisk(p []byte, off uint64) error {
	n, err := c.disk.ReadAt(p, int64(off)) // within the disk
	if n == len(p) {
		return nil
	}
	c.log.Info("read failed", slog.Uint64("offset", off), slog.Any("error", err))
	return errors.Join(io.ErrUnexpectedEOF, err)
}

// blockStatus answers with the extents of the range, or the first of them.
func (c *session) blockStatus(ctx context.Context, cmd command) error {
	be := binary.BigEndian
	data := be.AppendUint32(nil, 1)                                              // the only context
	for e, err := range c.disk.Extents(ctx, int64(cmd.off), int64(cmd.length)) { // within the disk
		if err != nil {
			return c.refuse(cmd, errIO)
		}
		flags := uint32(0)
		switch e.Kind {
		case disk.Hole:
			flags = stateHole | stateZero
		case disk.Zero:
			flags = stateZero
		case disk.Data:
		}
		data = be.AppendUint32(be.AppendUint32(data, uint32(e.Len)), flags) // within the range
		if cmd.flags&cmdFlagOne != 0 || len(data) > 32<<10 {
			break
		}
	}
	if len(data) == 4 {
		return c.refuse(cmd, errIO)
	}
	return c.write(c.head(cmd, chunkBlockStatus, uint32(len(data))), data) // bounded above
}
