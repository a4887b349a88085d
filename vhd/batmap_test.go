package vhd_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

// withBatmap returns the file of s as tapdisk writes it: with a batmap behind the
// block table, in which the blocks of full are set.
func withBatmap(s *spec, full ...int) []byte {
	be := binary.BigEndian
	plain := s.encode()
	entries := be.Uint32(plain[512+28:])
	table := 1536 + int(entries*4+511)/512*512
	bits := make([]byte, 512)
	for _, i := range full {
		bits[i/8] |= 0x80 >> (i % 8)
	}
	header := make([]byte, 512)
	copy(header, "tdbatmap")
	be.PutUint64(header[8:], uint64(table+512))
	be.PutUint32(header[16:], 1)
	be.PutUint32(header[20:], 0x10002)
	be.PutUint32(header[24:], complement(bits))
	file := slices.Concat(plain[:table], header, bits, plain[table:])
	for i := range entries {
		if at := 1536 + 4*i; be.Uint32(file[at:]) != 0xffffffff {
			be.PutUint32(file[at:], be.Uint32(file[at:])+2)
		}
	}
	for _, footer := range [][]byte{file[:512], file[len(file)-512:]} {
		copy(footer[28:], "tap\x00")
		be.PutUint32(footer[32:], 0x10003)
	}
	return seal(file)
}

// partlyFilled has block 0 full and one sector of block 1.
func partlyFilled() *spec {
	s := &spec{typ: vhd.Dynamic, size: 4096, blockSize: 2048, uuid: 1}
	for _, n := range []int64{0, 1, 2, 3, 5} {
		s.put(n, filled(1, n))
	}
	return s
}

// countingReader counts the reads of one sector, which is what a bitmap takes.
type countingReader struct {
	*bytes.Reader
	sectors int
}

func (r *countingReader) ReadAt(p []byte, off int64) (int, error) {
	if len(p) == 512 {
		r.sectors++
	}
	return r.Reader.ReadAt(p, off)
}

func extentReads(tb testing.TB, file []byte, trust bool) (reads int, image *vhd.Image) {
	tb.Helper()
	r := &countingReader{Reader: bytes.NewReader(file)}
	image, err := vhd.Open(r, int64(len(file)), &vhd.OpenOptions{TrustBatmap: trust})
	require.NoError(tb, err)
	r.sectors = 0
	for _, err := range image.Extents(tb.Context(), 0, image.Size()) {
		require.NoError(tb, err)
	}
	return r.sectors, image
}

func TestBatmapSavesReadsOfBitmapsWhenItIsTrusted(t *testing.T) {
	file := withBatmap(partlyFilled(), 0)
	reads, image := extentReads(t, file, true)
	require.Equal(t, 1, reads, "only the block that is not full is asked")
	require.True(t, bytes.Equal(model(partlyFilled()), readAll(t, image)))
	reads, _ = extentReads(t, file, false)
	require.Equal(t, 2, reads)
}

func TestBatmapThatLiesIsNotBelievedUnasked(t *testing.T) {
	file := withBatmap(partlyFilled(), 0, 1)
	for i := range file[len(file)-512-2048:][:2048] { // what is behind unset bits is not the disk's
		if at := len(file) - 512 - 2048 + i; i/512 != 1 {
			file[at] = 0xee
		}
	}
	image := openBytes(t, file, nil)
	require.True(t, bytes.Equal(model(partlyFilled()), readAll(t, image)))
}

func TestBatmapThatIsDamagedIsAFindingAndNotUsed(t *testing.T) {
	be := binary.BigEndian
	good := withBatmap(partlyFilled(), 0)
	at := bytes.Index(good, []byte("tdbatmap"))
	for name, tamper := range map[string]func(f []byte){
		"checksum":        func(f []byte) { f[at+512] ^= 0x40 },
		"version":         func(f []byte) { be.PutUint32(f[at+20:], 0x10001) },
		"offset far away": func(f []byte) { be.PutUint64(f[at+8:], 1<<63) },
		"offset odd":      func(f []byte) { be.PutUint64(f[at+8:], be.Uint64(f[at+8:])+1) },
		"size":            func(f []byte) { be.PutUint32(f[at+16:], 1<<31) },
		"size 0":          func(f []byte) { be.PutUint32(f[at+16:], 0) },
	} {
		t.Run(name, func(t *testing.T) {
			file := bytes.Clone(good)
			tamper(file)
			reads, image := extentReads(t, file, true)
			require.Equal(t, 2, reads)
			require.Len(t, image.Findings(), 1)
			require.Equal(t, "batmap", image.Findings()[0].Struct)
		})
	}
}
