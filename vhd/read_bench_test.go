package vhd_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// partialChain is a disk of 64 MiB in n images, each of which holds some sectors
// of the first blocks.
func partialChain(tb testing.TB, n, blocks int) *vhd.Chain {
	tb.Helper()
	files := make([][]byte, n)
	for k := range files {
		s := &spec{typ: vhd.Differencing, size: 64 << 20, blockSize: 2 << 20, uuid: byte(n - k), parent: byte(n - k - 1), parentName: "p"}
		if k == n-1 {
			s.typ = vhd.Dynamic
		}
		for i := range int64(blocks) {
			s.put(i*4096+int64(k)*40, filled(s.uuid, i))
		}
		files[k] = s.encode()
	}
	return chainOf(tb, files)
}

// medianRead reads 4 KiB at random places below end and reports the median time.
func medianRead(b *testing.B, src disk.Source, end int64) {
	b.Helper()
	rnd := rand.New(rand.NewPCG(1, 1))
	buf := make([]byte, 4096)
	for off := int64(0); off < end; off += 1 << 20 { // warm
		_, err := src.ReadAt(buf, off)
		require.NoError(b, err)
	}
	var times []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		off := rnd.Int64N(end/4096) * 4096
		start := time.Now()
		if _, err := src.ReadAt(buf, off); err != nil {
			b.Fatal(err)
		}
		if len(times) < 1<<16 {
			times = append(times, time.Since(start))
		}
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1000, "p50-us")
}

func BenchmarkRandom4K(b *testing.B) {
	b.Run("chain of 99, blocks full", func(b *testing.B) {
		chain := filesOf99(b)
		medianRead(b, chain, chain.Size())
	})
	b.Run("chain of 99, blocks in parts", func(b *testing.B) {
		medianRead(b, partialChain(b, 99, 4), 8<<20)
	})
}

// filesOf99 is a disk of 256 MiB in 99 files, each block in one of them.
func filesOf99(b *testing.B) *vhd.Chain {
	b.Helper()
	dir := b.TempDir()
	data := bigNoise()
	for k := range 99 {
		l := vhd.Layout{
			Type: vhd.Differencing, Size: data.Size(), UUID: uuidOf(byte(99 - k)), ParentUUID: uuidOf(byte(98 - k)),
			ParentName: fmt.Sprintf("%d.vhd", k+1),
		}
		for i := uint32(k); i < 128; i += 99 {
			l.Blocks = append(l.Blocks, i)
		}
		if k == 98 {
			l.Type, l.ParentUUID, l.ParentName = vhd.Dynamic, vhd.UUID{}, ""
		}
		writeFile(b, filepath.Join(dir, fmt.Sprintf("%d.vhd", k)), data, l)
	}
	chain, err := vhd.OpenDirChain(b.Context(), vhd.OSDir(openRoot(b, dir)), "0.vhd", nil)
	require.NoError(b, err)
	require.Len(b, chain.Links(), 99)
	b.Cleanup(func() { _ = chain.Close() })
	return chain
}

func bigNoise() ramDisk {
	blocks := make([]int, 128)
	for i := range blocks {
		blocks[i] = i
	}
	return noise(7, 256<<20, blocks...)
}

// BenchmarkSequential reads a disk in one file and in 99, by turns.
func BenchmarkSequential(b *testing.B) {
	chain := filesOf99(b)
	dir := b.TempDir()
	data := bigNoise()
	writeFile(b, filepath.Join(dir, "one.vhd"), data, layoutOf(b, data, vhd.Repository))
	one := openChain(b, openRoot(b, dir), "one.vhd")
	buf := make([]byte, 2<<20)
	read := func(src disk.Source) time.Duration {
		start := time.Now()
		for off := int64(0); off < src.Size(); off += int64(len(buf)) {
			_, err := src.ReadAt(buf, off)
			require.NoError(b, err)
		}
		return time.Since(start)
	}
	read(one)
	read(chain)
	var single, many time.Duration
	b.SetBytes(2 * data.Size())
	for b.Loop() {
		single += read(one)
		many += read(chain)
	}
	b.ReportMetric(single.Seconds()/many.Seconds(), "chain/one")
}

// sparseDisk is a file of 2 TiB of which four blocks are there.
func sparseDisk(tb testing.TB) *os.File {
	tb.Helper()
	const entries = 2 << 40 / (2 << 20)
	s := &spec{typ: vhd.Dynamic, size: 2 << 40, blockSize: 2 << 20, uuid: 1}
	table := bytes.Repeat([]byte{0xff}, entries*4)
	at := int64(1536 + len(table))
	f, err := os.Create(filepath.Join(tb.TempDir(), "sparse.vhd"))
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = f.Close() })
	for _, block := range []int{0, 1000, 500000, entries - 1} {
		binary.BigEndian.PutUint32(table[4*block:], uint32(at/512))
		at += 512 + 2<<20
	}
	for off, data := range map[int64][]byte{0: s.footer(), 512: s.header(entries), 1536: table, at: s.footer()} {
		_, err := f.WriteAt(data, off)
		require.NoError(tb, err)
	}
	return f
}

func BenchmarkOpenSparse2TiB(b *testing.B) {
	f := sparseDisk(b)
	info, err := f.Stat()
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		image, err := vhd.Open(f, info.Size(), nil)
		if err != nil || image.Allocated() != 4 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/open")
}

// TestStateOfAChainIsSmall holds eight images of a disk of 2 TiB, a million blocks, of
// which each has four.
func TestStateOfAChainIsSmall(t *testing.T) {
	const links, blocks = 8, 1 << 20
	f := sparseDisk(t)
	info, err := f.Stat()
	require.NoError(t, err)
	root, err := vhd.Open(f, info.Size(), nil)
	require.NoError(t, err)
	before := heap()
	images := []*vhd.Image{root}
	for range links {
		image, err := vhd.Open(f, info.Size(), nil)
		require.NoError(t, err)
		images = append(images, image)
	}
	perBlock := float64(int64(heap())-int64(before)) / links / blocks
	require.Less(t, perBlock, 0.15, "bytes per block of the disk and image")
	runtime.KeepAlive(images)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestReadsOfPartsOfBlocksDoNotAllocate(t *testing.T) {
	chain := partialChain(t, 3, 1)
	buf := make([]byte, 64<<10)
	_, err := chain.ReadAt(buf, 0)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := chain.ReadAt(buf, 0); err != nil {
			t.Error(err)
		}
	}))
}
