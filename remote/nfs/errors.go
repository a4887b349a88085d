package nfs

import (
	"errors"
	"fmt"

	"github.com/xenbackup/xenbackup/remote"
)

// ErrProtocol is what a server's answer is that does not obey RFC 1813, 5531 or
// 1833. It is [remote.ErrUnavailable] as well: what the server did is unknown.
var ErrProtocol = errors.New("nfs: the server's answer is malformed")

var errMalformed = &protocolError{}

// protocolError is ErrProtocol with what was wrong about the answer.
type protocolError struct{ what string }

func violation(format string, args ...any) error {
	return &protocolError{what: fmt.Sprintf(format, args...)}
}

func (e *protocolError) Error() string {
	if e.what == "" {
		return ErrProtocol.Error()
	}
	return ErrProtocol.Error() + ": " + e.what
}

func (e *protocolError) Unwrap() []error { return []error{ErrProtocol, remote.ErrUnavailable} }

// lostError is the end of a connection while a call waited for its answer, or
// before it could be sent: whether the call took effect is unknown.
type lostError struct {
	err    error
	silent bool // the server was given up after it had been silent for the time allowed
}

func (e *lostError) Error() string { return "connection lost: " + e.err.Error() }

func (e *lostError) Unwrap() error { return e.err }

var (
	errSilent    = errors.New("no answer within the time allowed")
	errForsaken  = errors.New("a call was not answered although others were")
	errCancelled = errors.New("a caller went away in the middle of a message")
)

// unavailable says which server does not answer, and why.
func unavailable(peer string, err error) error {
	return &unavailableError{peer: peer, err: err}
}

type unavailableError struct {
	peer string
	err  error
}

func (e *unavailableError) Error() string {
	return "server " + e.peer + " unavailable: " + e.err.Error()
}

func (e *unavailableError) Unwrap() []error { return []error{remote.ErrUnavailable, e.err} }
