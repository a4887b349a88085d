package crypt

import "errors"

// What callers branch on, with errors.Is.
var (
	// ErrKey: the key is not 32 bytes, or not the one of this repository.
	ErrKey = errors.New("crypt: wrong key")
	// ErrTampered: what is stored is not what was written: damaged, truncated,
	// never finished, or encrypted with another key.
	ErrTampered = errors.New("crypt: content fails its authentication")
	// ErrInPlace: a file would have to be changed in place, or written out of order.
	// It is an errors.ErrUnsupported too.
	ErrInPlace error = inPlaceError{}
	// ErrTooLong: the file is longer than its algorithm allows.
	ErrTooLong = errors.New("crypt: file too long for aes-256-gcm (64 GiB)")
	// ErrNotEncrypted: the repository is not encrypted.
	ErrNotEncrypted = errors.New("crypt: repository is not encrypted")
	// ErrUnfinished: encryption was begun on this repository and nothing proves a
	// key yet. [Init] finishes it.
	ErrUnfinished = errors.New("crypt: metadata.json is missing, so that no key can be proven")
	// ErrOccupied: encryption can begin on an empty repository only.
	ErrOccupied = errors.New("crypt: repository is not empty")
)

type inPlaceError struct{}

func (inPlaceError) Error() string {
	return "crypt: an encrypted file is written once, from its beginning to its end"
}

func (inPlaceError) Unwrap() error { return errors.ErrUnsupported }
