package nbd

import (
	"errors"
	"fmt"
	"io/fs"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrProtocol says that the peer does not follow the protocol, or speaks a
	// variant that this package does not. The connection is of no use any more.
	ErrProtocol = errors.New("nbd: protocol error")

	// ErrUnknownExport says that the server does not have the disk, or does not
	// give it to this client. Servers that only know EXPORT_NAME say so by
	// hanging up.
	ErrUnknownExport = errors.New("nbd: unknown export")

	// ErrTLSRequired says that the server wants TLS before anything else.
	ErrTLSRequired = errors.New("nbd: server requires TLS")

	// ErrTLSRefused says that the server does not do TLS, which ClientOptions
	// asks for.
	ErrTLSRefused = errors.New("nbd: server refuses TLS")

	// ErrClosed says that the connection was closed, by Close or by the server.
	ErrClosed = errors.New("nbd: connection closed")

	// ErrStalled says that an answer was due and no byte came for
	// ClientOptions.StallTimeout.
	ErrStalled = errors.New("nbd: stalled")
)

// RefusedError is an option of the handshake that the server refused.
type RefusedError struct {
	Option  uint32 // as in the specification: 7 is GO
	Code    uint32 // type of the reply, such as 0x80000006 for an unknown export
	Message string // of the server, made printable; may be empty
}

// Error names the option and the reason.
func (e *RefusedError) Error() string {
	text := fmt.Sprintf("nbd: option %d refused with code %#x", e.Option, e.Code)
	if e.Message != "" {
		text += fmt.Sprintf(": %q", e.Message)
	}
	return text
}

// Is compares with [ErrUnknownExport], [ErrTLSRequired] and [ErrTLSRefused].
func (e *RefusedError) Is(target error) bool {
	switch target {
	case ErrTLSRefused:
		return e.Option == optStartTLS
	case ErrTLSRequired:
		return e.Code == repErrTLSRequired
	case ErrUnknownExport:
		return e.Code == repErrUnknown
	}
	return false
}

// CommandError is a read or block status that the server failed. The connection
// is still good.
type CommandError struct {
	Code    uint32 // an errno of Linux: 5 is EIO
	Off     int64  // of the request, bytes
	Message string // of the server, made printable; may be empty
}

// Error gives the place and the reason.
func (e *CommandError) Error() string {
	text := fmt.Sprintf("nbd: request at %d failed with errno %d", e.Off, e.Code)
	if e.Message != "" {
		text += fmt.Sprintf(": %q", e.Message)
	}
	return text
}

// Is knows the codes that package fs has names for.
func (e *CommandError) Is(target error) bool {
	switch target {
	case fs.ErrPermission:
		return e.Code == errPermission
	case fs.ErrInvalid:
		return e.Code == errInvalid
	}
	return false
}

// Error codes of commands.
const (
	errPermission  = 1
	errIO          = 5
	errInvalid     = 22
	errUnsupported = 95
)

func violation(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}
