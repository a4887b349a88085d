package crypt

import (
	"encoding/binary"
	"math"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/poly1305" //nolint:staticcheck // the sum of one message in passing: no other package has it
)

// chachaStream is the key stream of chacha20 from some block on. Its block counter
// has 32 bits, enough for 256 GiB; then it carries into the first word of the nonce,
// as OpenSSL does.
type chachaStream struct {
	key    []byte
	nonce  [nonceSize]byte
	cipher *chacha20.Cipher
	left   uint64 // bytes before the counter wraps
}

const (
	chachaBlock = 64
	chachaSpan  = chachaBlock << 32 // bytes of one nonce
)

// chachaFrom begins at the block with this number, which may exceed 32 bits.
func chachaFrom(key []byte, nonce *[nonceSize]byte, block uint64) *chachaStream {
	s := &chachaStream{key: key, nonce: *nonce}
	s.start(block)
	return s
}

func (s *chachaStream) start(block uint64) {
	if carry := uint32(block >> 32); carry != 0 {
		binary.LittleEndian.PutUint32(s.nonce[:], binary.LittleEndian.Uint32(s.nonce[:])+carry)
	}
	s.cipher, _ = chacha20.NewUnauthenticatedCipher(s.key, s.nonce[:]) // fails for wrong lengths only
	s.cipher.SetCounter(uint32(block & math.MaxUint32))
	s.left = chachaSpan - (block&math.MaxUint32)*chachaBlock
}

// chachaAt is positioned at a byte of the content, whose first block is number 1.
func chachaAt(key []byte, nonce *[nonceSize]byte, off int64) *chachaStream {
	s := chachaFrom(key, nonce, 1+uint64(off)/chachaBlock)
	var skipped [chachaBlock]byte
	skip := skipped[:off%chachaBlock]
	s.xor(skip, skip)
	return s
}

func (s *chachaStream) xor(dst, src []byte) {
	for len(src) > 0 {
		if s.left == 0 {
			s.start(1 << 32) // the next nonce
		}
		n := int(min(uint64(len(src)), s.left))
		s.cipher.XORKeyStream(dst[:n], src[:n])
		s.left -= uint64(n)
		dst, src = dst[n:], src[n:]
	}
}

// chacha is a message of chacha20-poly1305 (RFC 8439) without additional data.
type chacha struct {
	stream *chachaStream
	mac    *poly1305.MAC
	size   uint64
}

func newChaCha(key []byte, nonce *[nonceSize]byte) *chacha {
	var polyKey [32]byte
	chachaFrom(key, nonce, 0).xor(polyKey[:], polyKey[:])
	return &chacha{stream: chachaFrom(key, nonce, 1), mac: poly1305.New(&polyKey)}
}

func (c *chacha) encrypt(dst, src []byte) {
	c.stream.xor(dst, src)
	c.authenticate(dst[:len(src)])
}

func (c *chacha) decrypt(dst, src []byte) {
	c.authenticate(src)
	c.stream.xor(dst, src)
}

func (c *chacha) authenticate(ciphertext []byte) {
	_, _ = c.mac.Write(ciphertext) // never fails
	c.size += uint64(len(ciphertext))
}

func (c *chacha) tag() (t [tagSize]byte) {
	var end [16 + 16]byte
	pad := int(-c.size % 16)
	binary.LittleEndian.PutUint64(end[pad+8:], c.size)
	_, _ = c.mac.Write(end[:pad+16])
	c.mac.Sum(t[:0])
	return t
}
