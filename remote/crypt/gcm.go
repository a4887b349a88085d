package crypt

import (
	"crypto/cipher"
	"encoding/binary"
	"math/bits"
)

// gcm is a message of aes-256-gcm (NIST SP 800-38D) without additional data.
type gcm struct {
	stream cipher.Stream
	sum    ghash
	mask   [16]byte // of the tag
	size   uint64
}

func newGCM(block cipher.Block, h *hash, nonce *[nonceSize]byte) *gcm {
	g := &gcm{stream: cipher.NewCTR(block, counter(nonce, 2)), sum: ghash{h: h}}
	block.Encrypt(g.mask[:], counter(nonce, 1))
	return g
}

// gcmAt XORs the key stream from byte off of the content into p.
func gcmAt(block cipher.Block, nonce *[nonceSize]byte, p []byte, off int64) {
	s := cipher.NewCTR(block, counter(nonce, uint32(2+off/16))) // a longer file was refused
	var skipped [16]byte
	skip := skipped[:off%16]
	s.XORKeyStream(skip, skip)
	s.XORKeyStream(p, p)
}

func counter(nonce *[nonceSize]byte, n uint32) []byte {
	c := make([]byte, 16)
	copy(c, nonce[:])
	binary.BigEndian.PutUint32(c[nonceSize:], n)
	return c
}

func (g *gcm) encrypt(dst, src []byte) {
	g.stream.XORKeyStream(dst, src)
	g.authenticate(dst[:len(src)])
}

func (g *gcm) decrypt(dst, src []byte) {
	g.authenticate(src)
	g.stream.XORKeyStream(dst, src)
}

func (g *gcm) authenticate(ciphertext []byte) {
	g.sum.write(ciphertext)
	g.size += uint64(len(ciphertext))
}

func (g *gcm) tag() (t [tagSize]byte) {
	y := g.sum.finish().add(element{hi: 0, lo: g.size * 8}).mul(g.sum.h.h)
	y.put(t[:])
	for i := range t {
		t[i] ^= g.mask[i]
	}
	return t
}

// element of GF(2^128) as GCM writes it: bit 0 is the highest bit of hi.
type element struct{ hi, lo uint64 }

func parseElement(b []byte) element {
	return element{hi: binary.BigEndian.Uint64(b), lo: binary.BigEndian.Uint64(b[8:])}
}

func (e element) put(b []byte) {
	binary.BigEndian.PutUint64(b, e.hi)
	binary.BigEndian.PutUint64(b[8:], e.lo)
}

func (e element) add(f element) element { return element{hi: e.hi ^ f.hi, lo: e.lo ^ f.lo} }

// mul is the product modulo x^128 + x^7 + x^2 + x + 1.
func (e element) mul(f element) element {
	var product element
	for i := range 128 {
		word := e.hi
		if i >= 64 {
			word = e.lo
		}
		mask := -(bits.Reverse64(word) >> (i % 64) & 1)
		product.hi ^= f.hi & mask
		product.lo ^= f.lo & mask
		carry := -(f.lo & 1)
		f.lo = f.lo>>1 | f.hi<<63
		f.hi = f.hi>>1 ^ carry&(0xe1<<56)
	}
	return product
}

// pow is e to the n.
func (e element) pow(n uint64) element {
	power := element{hi: 1 << 63} // one
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			power = power.mul(e)
		}
		e = e.mul(e)
	}
	return power
}

// inverse of an element that is not zero: its power 2^128 - 2.
func (e element) inverse() element {
	power := element{hi: 1 << 63}
	for range 127 {
		e = e.mul(e)
		power = power.mul(e)
	}
	return power
}

// hash is the hash key H of an AES key, with what lets the standard library's GCM
// sum up a piece of a message: sealing nothing, with the piece as additional data,
// gives GHASH(piece, lengths) XOR mask, from which the lengths and the mask can be
// taken off again. That is dozens of times as fast as multiplying block by block.
type hash struct {
	h, inverse element
	mask       element // of the tag under the nonce of zeros
	aead       cipher.AEAD
}

func newHash(block cipher.Block, aead cipher.AEAD) *hash {
	var zero, h, mask [16]byte
	block.Encrypt(h[:], zero[:])
	block.Encrypt(mask[:], counter(new([nonceSize]byte), 1))
	k := parseElement(h[:])
	return &hash{h: k, inverse: k.inverse(), mask: parseElement(mask[:]), aead: aead}
}

// of is GHASH of a piece of whole blocks.
func (h *hash) of(piece []byte) element {
	var nonce [nonceSize]byte
	var room [tagSize]byte
	sealed := parseElement(h.aead.Seal(room[:0], nonce[:], nil, piece)).add(h.mask)
	return sealed.mul(h.inverse).add(element{hi: uint64(len(piece)) * 8})
}

// ghash sums up a message in pieces of any length.
type ghash struct {
	h    *hash
	y    element
	part [16]byte // the beginning of a block
	n    int
}

func (g *ghash) write(p []byte) {
	if g.n > 0 {
		n := copy(g.part[g.n:], p)
		g.n, p = g.n+n, p[n:]
		if g.n < 16 {
			return
		}
		g.y, g.n = g.y.add(parseElement(g.part[:])).mul(g.h.h), 0
	}
	if whole := len(p) &^ 15; whole > 0 {
		g.y = g.y.mul(g.h.h.pow(uint64(whole / 16))).add(g.h.of(p[:whole]))
		p = p[whole:]
	}
	g.n = copy(g.part[:], p)
}

// finish pads the last block with zeros.
func (g *ghash) finish() element {
	if g.n > 0 {
		clear(g.part[g.n:])
		g.y, g.n = g.y.add(parseElement(g.part[:])).mul(g.h.h), 0
	}
	return g.y
}
