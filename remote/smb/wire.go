package smb

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// What is needed of the protocol's headers to guard the client library (MS-SMB2 2.2).
const (
	prefixSize    = 4  // length of the message, of which the first byte is 0
	headerSize    = 64 // SMB2 header
	transformSize = 52 // header of an encrypted message
	maxMessage    = maxIO + 64<<10
	maxNegotiate  = 16 << 10

	cmdNegotiate    = 0
	cmdSessionSetup = 1
	cmdTreeConnect  = 3 // the last one that may go in the clear on a share that encrypts

	statusMoreProcessing = 0xc0000016
	statusPending        = 0x103 // not the answer yet
	flagSigned           = 8
	noMessage            = 1<<64 - 1 // the id of what is no answer: a broken lock, say
	contextEncryption    = 2         // negotiate context
	guestOrNull          = 3         // session flags
)

// wire is the connection below the client library. It knows when something last
// arrived, sends a message and its length in one piece, and keeps from the
// library what would make it panic in a goroutine of its own, where nobody could
// recover: fragments, compounds, and encrypted messages before it has a key.
//
// The library reads from one goroutine and writes from one other.
type wire struct {
	net.Conn
	in     *bufio.Reader
	left   int                     // of the message whose length was checked
	broken context.CancelCauseFunc // told at once why nothing more can be read

	encryptedOnly bool // refuse to send anything but the login in the clear
	prefix        []byte
	out           net.Buffers

	arrived   atomic.Int64 // nanoseconds on the clock of start
	start     time.Time
	canCrypt  bool        // the server has agreed on a cipher; of the reader alone
	loggedIn  atomic.Bool // the server has accepted the login
	hasKey    atomic.Bool // and the library has gone on, so it has the keys
	encrypted atomic.Bool // the library encrypts
}

var (
	errHungUp = errors.New("the server has closed the connection")
	errGuest  = errors.New("the server lets this user in as a guest only, which protects nothing")
	errClear  = errors.New("the server does not encrypt this share, as encrypt=require asks for")
)

func newWire(conn net.Conn, encryptedOnly bool, broken context.CancelCauseFunc) *wire {
	w := &wire{Conn: conn, encryptedOnly: encryptedOnly, broken: broken, start: time.Now()}
	w.in = bufio.NewReaderSize(arrivals{w}, 64<<10)
	return w
}

// arrivals notes the time of what comes in.
type arrivals struct{ w *wire }

func (a arrivals) Read(p []byte) (int, error) {
	n, err := a.w.Conn.Read(p)
	if n > 0 {
		a.w.arrived.Store(int64(time.Since(a.w.start)))
	}
	return n, err
}

// lastArrival is when the server was last heard.
func (w *wire) lastArrival() time.Time { return w.start.Add(time.Duration(w.arrived.Load())) }

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.read(p)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errHungUp
		}
		w.broken(err)
	}
	return n, err
}

func (w *wire) read(p []byte) (int, error) {
	if w.left == 0 {
		size, err := w.admit()
		if err != nil {
			return 0, err
		}
		w.left = prefixSize + size
	}
	n, err := w.in.Read(p[:min(len(p), w.left)])
	w.left -= n
	return n, err
}

// admit waits for the beginning of a message and returns its length, unless it is
// one that the library must not see.
func (w *wire) admit() (int, error) {
	b, err := w.in.Peek(prefixSize)
	if err != nil {
		return 0, err
	}
	size := int(binary.BigEndian.Uint32(b))
	if size < headerSize || size > maxMessage {
		return 0, fmt.Errorf("a message of %d bytes from the server", size)
	}
	if b, err = w.in.Peek(prefixSize + headerSize); err != nil {
		return 0, err
	}
	header := b[prefixSize:]
	switch string(header[:4]) {
	case "\xfdSMB":
		if !w.hasKey.Load() || !w.canCrypt || size < transformSize+headerSize {
			return 0, errors.New("an encrypted message from the server that cannot be one")
		}
		return size, nil
	case "\xfeSMB":
		return size, w.admitClear(header, size)
	}
	return 0, errors.New("the server does not speak SMB 2 or 3")
}

func (w *wire) admitClear(header []byte, size int) error {
	if binary.LittleEndian.Uint32(header[20:]) != 0 {
		return errors.New("a compound answer, which nobody asked for")
	}
	status := binary.LittleEndian.Uint32(header[8:])
	command := binary.LittleEndian.Uint16(header[12:])
	if w.hasKey.Load() {
		// The library verifies signatures, but asked to insist on them it refuses
		// what a server never signs.
		signed := binary.LittleEndian.Uint32(header[16:])&flagSigned != 0
		if !signed && status != statusPending && binary.LittleEndian.Uint64(header[24:]) != noMessage {
			return errors.New("an answer that is not signed")
		}
		return nil
	}
	if w.loggedIn.Load() || (status != 0 && status != statusMoreProcessing) {
		return nil
	}
	if size > maxNegotiate {
		return errors.New("an answer to the login that is too long")
	}
	message, err := w.in.Peek(prefixSize + size)
	if err != nil {
		return err
	}
	message = message[prefixSize:]
	switch command {
	case cmdNegotiate:
		return w.admitNegotiate(message)
	case cmdSessionSetup:
		if size < headerSize+8 || message[headerSize+2]&guestOrNull != 0 {
			return errGuest
		}
		w.loggedIn.Store(status == 0)
	}
	return nil
}

// admitNegotiate lets only dialects pass of which the library knows what they
// mean, and notes whether there will be keys for encryption.
func (w *wire) admitNegotiate(message []byte) error {
	if len(message) < headerSize+64 {
		return errors.New("a truncated answer to the negotiation")
	}
	body := message[headerSize:]
	switch dialect := binary.LittleEndian.Uint16(body[4:]); dialect {
	case 0x0202, 0x0210:
		w.canCrypt = false
	case 0x0300, 0x0302:
		w.canCrypt = true
	case 0x0311:
		w.canCrypt = hasContext(message, binary.LittleEndian.Uint32(body[60:]), binary.LittleEndian.Uint16(body[6:]), contextEncryption)
	default:
		return fmt.Errorf("the server speaks dialect %#x", dialect)
	}
	return nil
}

// hasContext reports whether a negotiate response has a context of a type.
func hasContext(message []byte, off uint32, count, kind uint16) bool {
	for ; count > 0 && uint64(off)+8 <= uint64(len(message)); count-- {
		c := message[off:]
		if binary.LittleEndian.Uint16(c) == kind {
			return true
		}
		off += (8 + uint32(binary.LittleEndian.Uint16(c[2:])) + 7) &^ 7
	}
	return false
}

// Write gets the length and the message in two calls.
func (w *wire) Write(p []byte) (int, error) {
	if w.prefix == nil && len(p) == prefixSize {
		w.prefix = append(w.prefix, p...)
		return len(p), nil
	}
	if w.loggedIn.Load() {
		w.hasKey.Store(true)
	}
	if err := w.mayLeave(p); err != nil {
		return 0, err
	}
	w.out = append(w.out[:0], w.prefix, p)
	w.prefix = nil
	out := w.out // WriteTo consumes it
	if _, err := out.WriteTo(w.Conn); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *wire) mayLeave(p []byte) error {
	if len(p) < headerSize {
		return errors.New("a fragment to the server")
	}
	if string(p[:4]) == "\xfdSMB" {
		w.encrypted.Store(true)
		return nil
	}
	if w.encryptedOnly && binary.LittleEndian.Uint16(p[12:]) > cmdTreeConnect {
		return errClear
	}
	return nil
}

// abort closes the connection with a reset where it can, so that the server
// drops what it has not executed yet.
func (w *wire) abort() {
	if tcp, ok := w.Conn.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = w.Close()
}
