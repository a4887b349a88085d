package vhd_test

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"maps"
	"slices"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

const sector = 512

// spec describes an image that is encoded by code of its own, so that the tests
// do not lean on the writers of the package.
type spec struct {
	typ        vhd.DiskType
	size       int64
	blockSize  int64
	uuid       byte // all 16 bytes
	parent     byte
	parentName string
	maxEntries int // 0 = as many as needed
	blocks     map[int]block
	order      []int // physical; nil = ascending
	short      bool  // a footer of 511 bytes
}

// block is the content of a block: nil sectors are not there.
type block map[int][]byte

// put stores one sector of the disk.
func (s *spec) put(n int64, data []byte) {
	perBlock := s.blockSize / sector
	i := int(n / perBlock)
	if s.blocks == nil {
		s.blocks = make(map[int]block)
	}
	if s.blocks[i] == nil {
		s.blocks[i] = make(block)
	}
	s.blocks[i][int(n%perBlock)] = data
}

func uuidOf(b byte) (u vhd.UUID) {
	for i := range u {
		u[i] = b
	}
	return u
}

func complement(b []byte) uint32 {
	var sum uint32
	for _, c := range b {
		sum += uint32(c)
	}
	return ^sum
}

func (s *spec) footer() []byte {
	be := binary.BigEndian
	b := make([]byte, 512)
	copy(b, "conectix")
	be.PutUint32(b[8:], 2)
	be.PutUint32(b[12:], 0x10000)
	be.PutUint64(b[16:], 512)
	copy(b[28:], "test")
	be.PutUint64(b[40:], uint64(s.size))
	be.PutUint64(b[48:], uint64(s.size))
	be.PutUint32(b[60:], uint32(s.typ))
	u := uuidOf(s.uuid)
	copy(b[68:], u[:])
	be.PutUint32(b[64:], complement(b))
	return b
}

func (s *spec) header(entries int) []byte {
	be := binary.BigEndian
	b := make([]byte, 1024)
	copy(b, "cxsparse")
	be.PutUint64(b[8:], 1<<64-1)
	be.PutUint64(b[16:], 1536)
	be.PutUint32(b[24:], 0x10000)
	be.PutUint32(b[28:], uint32(entries))
	be.PutUint32(b[32:], uint32(s.blockSize))
	if s.typ == vhd.Differencing {
		u := uuidOf(s.parent)
		copy(b[40:], u[:])
		for i, c := range utf16.Encode([]rune(s.parentName)) {
			be.PutUint16(b[64+2*i:], c)
		}
	}
	be.PutUint32(b[36:], complement(b))
	return b
}

// encode returns the file.
func (s *spec) encode() []byte {
	if s.typ == vhd.Fixed {
		data := make([]byte, s.size)
		for i, blk := range s.blocks {
			for n, sec := range blk {
				copy(data[int64(i)*s.blockSize+int64(n)*sector:], sec)
			}
		}
		return append(data, s.footer()...)
	}
	entries := max(s.maxEntries, int((s.size+s.blockSize-1)/s.blockSize))
	table := bytes.Repeat([]byte{0xff}, (entries*4+511)/512*512)
	var body bytes.Buffer
	start := 1536 + len(table)
	order := s.order
	if order == nil {
		order = slices.Sorted(maps.Keys(s.blocks))
	}
	for _, i := range order {
		binary.BigEndian.PutUint32(table[i*4:], uint32((start+body.Len())/512))
		bits := make([]byte, ((s.blockSize/sector+7)/8+511)/512*512)
		data := make([]byte, s.blockSize)
		for n, sec := range s.blocks[i] {
			bits[n/8] |= 0x80 >> (n % 8)
			copy(data[n*sector:], sec)
		}
		body.Write(bits)
		body.Write(data)
	}
	footer := s.footer()
	file := slices.Concat(footer, s.header(entries), table, body.Bytes(), footer)
	if s.short {
		file = file[:len(file)-1]
	}
	return file
}

// model is the slow truth: what a stack of images must read as, the leaf first.
func model(stack ...*spec) []byte {
	content := make([]byte, stack[0].size)
	limit := stack[0].size
	limits := make([]int64, len(stack))
	for k, s := range stack {
		limit = min(limit, s.size)
		limits[k] = limit
	}
	for k, s := range slices.Backward(stack) {
		for i, blk := range s.blocks {
			for n, data := range blk {
				off := int64(i)*s.blockSize + int64(n)*sector
				if off < limits[k] {
					copy(content[off:limits[k]], data)
				}
			}
		}
	}
	return content
}

func openBytes(tb testing.TB, file []byte, opts *vhd.OpenOptions) *vhd.Image {
	tb.Helper()
	image, err := vhd.Open(bytes.NewReader(file), int64(len(file)), opts)
	require.NoError(tb, err)
	return image
}

// ascending is 0, 1, 2, ... in a sector.
var ascending = func() []byte {
	b := make([]byte, sector)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}()

// filled is a sector that tells who wrote it and where it belongs.
func filled(owner byte, n int64) []byte {
	b := bytes.Repeat([]byte{owner ^ byte(n*7)}, sector)
	subtle.XORBytes(b, b, ascending) // not byte by byte, which is slow under the race detector
	b[0] = owner
	binary.BigEndian.PutUint64(b[1:], uint64(n))
	return b
}

func readAll(tb testing.TB, src disk.Source) []byte {
	tb.Helper()
	data := make([]byte, src.Size())
	if len(data) == 0 {
		return data
	}
	_, err := src.ReadAt(data, 0)
	require.NoError(tb, err)
	return data
}
