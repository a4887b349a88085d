package crypt

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/xenbackup/xenbackup/remote"
)

// Algorithm is the name of an authenticated cipher, as encryption.json has it.
type Algorithm string

// The algorithms of Xen Orchestra.
const (
	ChaCha20Poly1305 Algorithm = "chacha20-poly1305"
	AES256GCM        Algorithm = "aes-256-gcm"
)

const (
	keySize   = 32
	nonceSize = 12
	tagSize   = 16
	overhead  = nonceSize + tagSize

	// maxGCM is how many bytes one message of aes-256-gcm may have: its counter
	// has 32 bits, of blocks of 16 bytes, and two values of it are taken.
	maxGCM = (1<<32 - 2) * 16
)

// message encrypts or decrypts one file in passing, and sums it up. It is used for
// one direction, from the first byte to the last.
type message interface {
	// encrypt makes dst the ciphertext of src, which may be the same bytes.
	encrypt(dst, src []byte)
	// decrypt makes dst the content of the ciphertext src, which may be the same bytes.
	decrypt(dst, src []byte)
	// tag is the authentication tag; the message must not be used afterwards.
	tag() [tagSize]byte
}

// scheme is an algorithm with its key.
type scheme struct {
	algorithm Algorithm
	// aead treats whole messages at once, several times as fast as message.
	aead cipher.AEAD
	// message begins a message.
	message func(nonce *[nonceSize]byte) message
	// keystream XORs what encrypts the content from off on into p.
	keystream func(nonce *[nonceSize]byte, p []byte, off int64)
	maxSize   int64
}

func newScheme(a Algorithm, key remote.Secret) (*scheme, error) {
	k := []byte(string(key))
	if len(k) != keySize {
		return nil, fmt.Errorf("%w: it has %d bytes, %d are needed", ErrKey, len(k), keySize)
	}
	switch a {
	case ChaCha20Poly1305:
		aead, err := chacha20poly1305.New(k)
		if err != nil {
			return nil, err
		}
		return &scheme{
			algorithm: a, aead: aead, maxSize: 1<<63 - 1 - overhead,
			message:   func(n *[nonceSize]byte) message { return newChaCha(k, n) },
			keystream: func(n *[nonceSize]byte, p []byte, off int64) { chachaAt(k, n, off).xor(p, p) },
		}, nil
	case AES256GCM:
		block, err := aes.NewCipher(k)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		h := newHash(block, aead)
		return &scheme{
			algorithm: a, aead: aead, maxSize: maxGCM,
			message:   func(n *[nonceSize]byte) message { return newGCM(block, h, n) },
			keystream: func(n *[nonceSize]byte, p []byte, off int64) { gcmAt(block, n, p, off) },
		}, nil
	default:
		return nil, fmt.Errorf("crypt: encryption.json: algorithm %q is not known (known: %s, %s)", a, ChaCha20Poly1305, AES256GCM)
	}
}
