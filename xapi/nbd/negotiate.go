package nbd

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// negotiation is the client's side of a handshake.
type negotiation struct {
	conn     net.Conn
	fixed    bool // the server answers options
	noZeroes bool

	size       uint64
	flags      uint16
	minBlock   uint32
	maxBlock   uint32
	structured bool
	context    uint32 // id of base:allocation
	status     bool   // the server has base:allocation
}

// negotiate runs the handshake and leaves the connection at its first request.
// Reads are exact, so that no byte sent before TLS is taken for one of after.
func negotiate(ctx context.Context, conn net.Conn, export string, config *tls.Config) (*negotiation, error) {
	n := &negotiation{conn: conn, minBlock: sector, maxBlock: maxRequest}
	if err := n.greet(); err != nil {
		return nil, err
	}
	if config != nil {
		if !n.fixed {
			return nil, fmt.Errorf("%w: it knows no options", ErrTLSRefused)
		}
		if err := n.startTLS(ctx, config); err != nil {
			return nil, err
		}
	}
	if n.fixed {
		done, err := n.open(export)
		if done || err != nil {
			return n, err
		}
	}
	return n, n.exportName(export)
}

// greet exchanges the magic numbers and flags.
func (n *negotiation) greet() error {
	var hello [18]byte
	if _, err := io.ReadFull(n.conn, hello[:]); err != nil {
		return lost(err)
	}
	be := binary.BigEndian
	if be.Uint64(hello[:]) != magicServer || be.Uint64(hello[8:]) != magicOption {
		return violation("not a newstyle NBD server")
	}
	flags := be.Uint16(hello[16:])
	n.fixed, n.noZeroes = flags&flagFixedNewstyle != 0, flags&flagNoZeroes != 0
	return n.write(be.AppendUint32(nil, uint32(flags&(flagFixedNewstyle|flagNoZeroes))))
}

func (n *negotiation) startTLS(ctx context.Context, config *tls.Config) error {
	if err := n.option(optStartTLS, nil); err != nil {
		return err
	}
	if _, err := n.reply(optStartTLS); err != nil {
		return err
	}
	secure := tls.Client(n.conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("nbd: TLS: %w", err)
	}
	n.conn = secure
	return nil
}

// open asks for all that makes reading better, and then for the export. It
// returns false when the server knows none of that.
func (n *negotiation) open(export string) (bool, error) {
	var err error
	if n.structured, err = n.try(optStructuredReply, nil, nil); err != nil {
		return false, err
	}
	if n.structured {
		query := appendString(nil, export)
		query = appendString(binary.BigEndian.AppendUint32(query, 1), contextAllocation)
		if _, err = n.try(optSetMetaContext, query, n.takeContext); err != nil {
			return false, err
		}
	}
	request := binary.BigEndian.AppendUint16(appendString(nil, export), 1) // one kind of information
	request = binary.BigEndian.AppendUint16(request, infoBlockSize)
	known := false
	done, err := n.try(optGo, request, func(kind uint32, data []byte) error {
		known = known || kind == repInfo && len(data) == 12 && binary.BigEndian.Uint16(data) == infoExport
		return n.takeInfo(kind, data)
	})
	if done && !known {
		err = violation("GO without a size")
	}
	return done, err
}

// try sends an option and takes its replies. It returns false when the server
// does not know the option, or not for this export where that is no error.
func (n *negotiation) try(option uint32, payload []byte, take func(kind uint32, data []byte) error) (bool, error) {
	if err := n.option(option, payload); err != nil {
		return false, err
	}
	for range maxReplies {
		r, err := n.reply(option)
		if refused, ok := errors.AsType[*RefusedError](err); ok && (refused.Code == repErrUnsupported || option == optSetMetaContext) {
			return false, nil
		}
		if err != nil || r.kind == repAck {
			return err == nil, err
		}
		if take == nil {
			return false, violation("unexpected reply %d to option %d", r.kind, option)
		}
		if err := take(r.kind, r.data); err != nil {
			return false, err
		}
	}
	return false, violation("too many replies to option %d", option)
}

func (n *negotiation) takeContext(kind uint32, data []byte) error {
	if kind == repMetaContext && len(data) >= 4 && string(data[4:]) == contextAllocation {
		n.context, n.status = binary.BigEndian.Uint32(data), true
	}
	return nil
}

func (n *negotiation) takeInfo(kind uint32, data []byte) error {
	if kind != repInfo || len(data) < 2 {
		return violation("unexpected reply %d to GO", kind)
	}
	be := binary.BigEndian
	switch be.Uint16(data) {
	case infoExport:
		if len(data) != 12 {
			return violation("export information of %d bytes", len(data))
		}
		n.size, n.flags = be.Uint64(data[2:]), be.Uint16(data[10:])
	case infoBlockSize:
		if len(data) != 14 {
			return violation("block size information of %d bytes", len(data))
		}
		n.minBlock, n.maxBlock = be.Uint32(data[2:]), min(be.Uint32(data[10:]), maxRequest)
		if n.minBlock == 0 || n.minBlock&(n.minBlock-1) != 0 || n.minBlock > 64<<10 || n.maxBlock < n.minBlock {
			return violation("block sizes from %d to %d", n.minBlock, n.maxBlock)
		}
		n.maxBlock -= n.maxBlock % n.minBlock
	}
	return nil
}

// exportName enters the export by the option that servers cannot refuse but by
// hanging up.
func (n *negotiation) exportName(export string) error {
	if err := n.option(optExportName, []byte(export)); err != nil {
		return err
	}
	answer := make([]byte, 10+zeroes)
	if n.noZeroes {
		answer = answer[:10]
	}
	if k, err := io.ReadFull(n.conn, answer); err != nil {
		if k == 0 && errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: the server hung up", ErrUnknownExport)
		}
		return lost(err)
	}
	n.size, n.flags = binary.BigEndian.Uint64(answer), binary.BigEndian.Uint16(answer[8:])
	return nil
}

func (n *negotiation) option(option uint32, payload []byte) error {
	b := binary.BigEndian.AppendUint64(nil, magicOption)
	b = binary.BigEndian.AppendUint32(b, option)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload))) // names are bounded
	return n.write(append(b, payload...))
}

func (n *negotiation) write(b []byte) error {
	if _, err := n.conn.Write(b); err != nil {
		return lost(err)
	}
	return nil
}

// reply is the answer to an option.
type reply struct {
	kind uint32
	data []byte
}

// reply reads one answer to an option; that of an error is a *RefusedError.
func (n *negotiation) reply(option uint32) (reply, error) {
	var head [20]byte
	if _, err := io.ReadFull(n.conn, head[:]); err != nil {
		return reply{}, lost(err)
	}
	be := binary.BigEndian
	length := be.Uint32(head[16:])
	if be.Uint64(head[:]) != magicReply || be.Uint32(head[8:]) != option || length > maxOption {
		return reply{}, violation("malformed reply to option %d", option)
	}
	r := reply{kind: be.Uint32(head[12:]), data: make([]byte, length)}
	if _, err := io.ReadFull(n.conn, r.data); err != nil {
		return reply{}, lost(err)
	}
	if r.kind&repError != 0 {
		return reply{}, &RefusedError{Option: option, Code: r.kind, Message: string(r.data[:min(len(r.data), maxString)])}
	}
	return r, nil
}

// appendString appends a string with its length before it.
func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...) // bounded by maxString
}

// lost is the error of a connection that ended, or broke, in mid-protocol.
func lost(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("%w: %w", ErrClosed, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%w: %w", ErrClosed, err)
}
