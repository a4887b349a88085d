package vhd_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// full is a disk of 64 MiB, all of it data.
func full() ramDisk {
	blocks := make([]int, 32)
	for i := range blocks {
		blocks[i] = i
	}
	return noise(1, 64<<20, blocks...)
}

func BenchmarkStreamWrite(b *testing.B) {
	d := full()
	l := layoutOf(b, d, vhd.Repository)
	b.SetBytes(d.Size())
	b.ReportAllocs()
	for b.Loop() {
		writeStream(b, io.Discard, d, l)
	}
}

func BenchmarkExport(b *testing.B) {
	d := full()
	l := layoutOf(b, d, vhd.Host)
	buf := make([]byte, 256<<10)
	b.SetBytes(d.Size())
	b.ReportAllocs()
	for b.Loop() {
		e, err := vhd.NewExport(b.Context(), d, l)
		require.NoError(b, err)
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, e, buf)
		require.NoError(b, err)
	}
}

func BenchmarkStreamRead(b *testing.B) {
	d := full()
	var file bytes.Buffer
	writeStream(b, &file, d, layoutOf(b, d, vhd.Host))
	buf := make([]byte, disk.BlockSize)
	b.SetBytes(d.Size())
	b.ReportAllocs()
	for b.Loop() {
		s, err := vhd.NewStreamReader(bytes.NewReader(file.Bytes()))
		require.NoError(b, err)
		for err == nil {
			_, _, err = s.Next(buf)
		}
		require.True(b, errors.Is(err, io.EOF))
		require.NoError(b, s.Close())
	}
}

// chainOf99 is a disk of 64 MiB in 99 images, each with some of the blocks.
func chainOf99(b *testing.B) *vhd.Chain {
	b.Helper()
	data := full()
	files := make([][]byte, 99)
	for k := range files {
		var file bytes.Buffer
		l := vhd.Layout{Type: vhd.Differencing, Size: data.Size(), UUID: uuidOf(byte(99 - k)), ParentUUID: uuidOf(byte(98 - k)), ParentName: "p", Blocks: []uint32{uint32(k % 32)}}
		if k == 98 {
			l = layoutOf(b, data, vhd.Repository)
			l.UUID = uuidOf(1)
		}
		writeStream(b, &file, data, l)
		files[k] = file.Bytes()
	}
	chain, err := vhd.OpenChain(b.Context(), openBytes(b, files[0], nil), stackOpener(b, files), nil)
	require.NoError(b, err)
	return chain
}

func BenchmarkChainOf99Read(b *testing.B) {
	chain := chainOf99(b)
	buf := make([]byte, 1<<20)
	b.SetBytes(chain.Size())
	b.ReportAllocs()
	for b.Loop() {
		for off := int64(0); off < chain.Size(); off += int64(len(buf)) {
			_, err := chain.ReadAt(buf, off)
			require.NoError(b, err)
		}
	}
}

func BenchmarkChainOf99Random4K(b *testing.B) {
	chain := chainOf99(b)
	rnd := rand.New(rand.NewPCG(1, 1))
	buf := make([]byte, 4096)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := chain.ReadAt(buf, rnd.Int64N(chain.Size()/4096)*4096); err != nil {
			b.Fatal(err)
		}
	}
}
