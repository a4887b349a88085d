package nfs

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/xenbackup/xenbackup/remote"
)

const (
	authNone = 0
	authSys  = 1
	maxAuth  = 400 // bytes of a credential or verifier
)

// rejection is an RPC that the server refused to carry out (RFC 5531, section 9).
type rejection struct {
	text string
	kind error
	weak bool // for the source port is not privileged, as a rule
}

func (e *rejection) Error() string { return e.text }

func (e *rejection) Unwrap() error { return e.kind }

// rpcHeader takes the RPC header off an answer, which begins behind the xid.
func (d *decoder) rpcHeader() error {
	if d.uint32() != 1 { // REPLY
		return violation("not a reply")
	}
	switch d.uint32() {
	case 0:
		d.uint32() // verifier
		d.opaque(maxAuth)
		return accepted(d)
	case 1:
		return denied(d)
	}
	return errMalformed
}

// result takes the headers off the answer to a call.
func (k *call) result() (*decoder, error) {
	k.answer = decoder{b: k.reply}
	return &k.answer, k.answer.rpcHeader()
}

func accepted(d *decoder) error {
	stat := d.uint32()
	if d.bad {
		return errMalformed
	}
	switch stat {
	case 0:
		return nil
	case 1:
		return &rejection{text: "the server does not offer this program", kind: errors.ErrUnsupported}
	case 2:
		low, high := d.uint32(), d.uint32()
		return &rejection{text: fmt.Sprintf("the server offers versions %d to %d only", low, high), kind: errors.ErrUnsupported}
	case 3:
		return errNotSupp
	case 4:
		return &rejection{text: "the server could not decode the arguments", kind: fs.ErrInvalid}
	case 5:
		return &rejection{text: "the server has an internal error", kind: remote.ErrUnavailable}
	}
	return errMalformed
}

func denied(d *decoder) error {
	kind, stat := d.uint32(), d.uint32()
	switch {
	case d.bad || kind > 1:
		return errMalformed
	case kind == 0:
		return &rejection{text: "the server speaks another version of RPC", kind: errors.ErrUnsupported}
	case stat == 5:
		return &rejection{text: "the server refuses the credential as too weak", kind: fs.ErrPermission, weak: true}
	}
	return &rejection{text: fmt.Sprintf("the server refuses the credential (auth_stat %d)", stat), kind: fs.ErrPermission}
}
