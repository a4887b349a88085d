package nbd

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
)

// negotiate is the server's side of a handshake. It returns nil when the client
// has chosen a disk.
func (c *session) negotiate(ctx context.Context) error {
	be := binary.BigEndian
	hello := be.AppendUint64(be.AppendUint64(nil, magicServer), magicOption)
	flags := uint16(flagFixedNewstyle | flagNoZeroes)
	if c.server.Legacy {
		flags = flagFixedNewstyle
	}
	if _, err := c.conn.Write(be.AppendUint16(hello, flags)); err != nil {
		return err
	}
	var answer [4]byte
	if _, err := io.ReadFull(c.conn, answer[:]); err != nil {
		return err
	}
	chosen := be.Uint32(answer[:])
	if chosen&^uint32(flags) != 0 {
		return violation("unknown flags %#x", chosen)
	}
	for range maxOptions {
		option, payload, err := c.readOption()
		if err != nil {
			return err
		}
		done, err := c.answer(ctx, option, payload, chosen&flagNoZeroes == 0)
		if done || err != nil {
			return err
		}
	}
	return violation("too many options")
}

func (c *session) readOption() (option uint32, payload []byte, err error) {
	var head [16]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return 0, nil, err
	}
	be := binary.BigEndian
	length := be.Uint32(head[12:])
	if be.Uint64(head[:]) != magicOption || length > maxOption {
		return 0, nil, violation("malformed option")
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(c.conn, payload)
	return be.Uint32(head[8:]), payload, err
}

// answer serves one option. It returns true when transmission begins.
func (c *session) answer(ctx context.Context, option uint32, payload []byte, padded bool) (bool, error) {
	_, secure := c.conn.(*tls.Conn)
	switch {
	case option == optAbort:
		_ = c.reply(option, repAck, nil) // the client may not wait for it
		return false, errAborted
	case option == optStartTLS:
		return false, c.startTLS(ctx, secure, len(payload))
	case c.server.TLS != nil && !secure && option == optExportName:
		return false, violation("export before TLS")
	case c.server.TLS != nil && !secure:
		return false, c.reply(option, repErrTLSRequired, nil)
	case option == optExportName:
		return true, c.enter(ctx, string(payload), padded)
	case option == optList:
		return false, c.list(ctx, len(payload))
	case c.server.Legacy:
		return false, c.reply(option, repErrUnsupported, nil)
	}
	switch option {
	case optStructuredReply:
		c.structured = true
		return false, c.reply(option, repAck, nil)
	case optInfo, optGo:
		return c.inform(ctx, option, payload)
	case optSetMetaContext, optListMetaContext:
		return false, c.contexts(option, payload)
	}
	return false, c.reply(option, repErrUnsupported, nil)
}

func (c *session) reply(option, kind uint32, data []byte) error {
	be := binary.BigEndian
	b := be.AppendUint64(nil, magicReply)
	b = be.AppendUint32(b, option)
	b = be.AppendUint32(b, kind)
	b = be.AppendUint32(b, uint32(len(data))) // ours are short
	_, err := c.conn.Write(append(b, data...))
	return err
}

func (c *session) startTLS(ctx context.Context, secure bool, payload int) error {
	switch {
	case secure || payload > 0:
		return c.reply(optStartTLS, repErrInvalid, nil)
	case c.server.TLS == nil:
		return c.reply(optStartTLS, repErrPolicy, nil)
	}
	if err := c.reply(optStartTLS, repAck, nil); err != nil {
		return err
	}
	conn := tls.Server(c.conn, c.server.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("nbd: TLS: %w", err)
	}
	c.conn = conn
	c.structured, c.status = false, false // what was agreed in plain text does not count
	return nil
}

// enter serves EXPORT_NAME, which can only be refused by hanging up.
func (c *session) enter(ctx context.Context, name string, padded bool) error {
	if !c.open(ctx, name) {
		return errAborted
	}
	be := binary.BigEndian
	b := be.AppendUint64(nil, uint64(c.disk.Size())) // never negative
	b = be.AppendUint16(b, flagHasFlags|flagReadOnly)
	if padded {
		b = append(b, make([]byte, zeroes)...)
	}
	_, err := c.conn.Write(b)
	return err
}

func (c *session) list(ctx context.Context, payload int) error {
	switch {
	case c.server.List == nil:
		return c.reply(optList, repErrPolicy, nil)
	case payload > 0:
		return c.reply(optList, repErrInvalid, nil)
	}
	for _, name := range c.server.List(ctx) {
		if err := c.reply(optList, repServer, appendString(nil, name)); err != nil {
			return err
		}
	}
	return c.reply(optList, repAck, nil)
}

// inform serves INFO and GO.
func (c *session) inform(ctx context.Context, option uint32, payload []byte) (bool, error) {
	name, rest, ok := cutString(payload)
	if !ok || len(rest) < 2 || len(rest) != 2+2*int(binary.BigEndian.Uint16(rest)) {
		return false, c.reply(option, repErrInvalid, nil)
	}
	if !c.open(ctx, name) {
		return false, c.reply(option, repErrUnknown, nil)
	}
	be := binary.BigEndian
	export := be.AppendUint64(be.AppendUint16(nil, infoExport), uint64(c.disk.Size())) // never negative
	sizes := be.AppendUint32(be.AppendUint16(nil, infoBlockSize), 1)
	sizes = be.AppendUint32(be.AppendUint32(sizes, 64<<10), maxWrite)
	for _, info := range [][]byte{be.AppendUint16(export, flagHasFlags|flagReadOnly), sizes} {
		if err := c.reply(option, repInfo, info); err != nil {
			return false, err
		}
	}
	if option == optGo {
		return true, c.reply(option, repAck, nil)
	}
	if err := c.release(); err != nil {
		return false, err
	}
	return false, c.reply(option, repAck, nil)
}

// contexts serves LIST_META_CONTEXT and SET_META_CONTEXT. There is one context.
func (c *session) contexts(option uint32, payload []byte) error {
	_, rest, ok := cutString(payload)
	if !ok || len(rest) < 4 || option == optSetMetaContext && !c.structured {
		return c.reply(option, repErrInvalid, nil)
	}
	count := binary.BigEndian.Uint32(rest)
	found := count == 0 && option == optListMetaContext
	for rest = rest[4:]; len(rest) > 0; count-- {
		var query string
		if query, rest, ok = cutString(rest); !ok || count == 0 {
			return c.reply(option, repErrInvalid, nil)
		}
		found = found || query == contextAllocation || query == "base:" && option == optListMetaContext
	}
	if count != 0 {
		return c.reply(option, repErrInvalid, nil)
	}
	if option == optSetMetaContext {
		c.status = found
	}
	if found {
		if err := c.reply(option, repMetaContext, append([]byte{0, 0, 0, 1}, contextAllocation...)); err != nil {
			return err
		}
	}
	return c.reply(option, repAck, nil)
}

// cutString takes a string with its length off the front.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 4 {
		return "", nil, false
	}
	length := binary.BigEndian.Uint32(b)
	if length > maxString || int(length) > len(b)-4 {
		return "", nil, false
	}
	return string(b[4 : 4+length]), b[4+length:], true
}
