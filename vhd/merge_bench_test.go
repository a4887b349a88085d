package vhd_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// BenchmarkMerge merges an image of 256 MiB, all of it data, into its parent, and
// compares with copying as many bytes from file to file, both synced.
func BenchmarkMerge(b *testing.B) {
	const size = 256 << 20
	blocks := make([]int, size/disk.BlockSize)
	for i := range blocks {
		blocks[i] = i
	}
	content := noise(1, size, blocks...)
	layout := vhd.Layout{Type: vhd.Dynamic, Size: size, UUID: uuidOf(1)}
	for i := range blocks {
		layout.Blocks = append(layout.Blocks, uint32(i))
	}
	child := layout
	child.Type, child.UUID, child.ParentUUID, child.ParentName = vhd.Differencing, uuidOf(2), uuidOf(1), "0.vhd"
	dir := b.TempDir()
	root := openRoot(b, dir)
	write := func(name string, l vhd.Layout) {
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(b, err)
		writeStream(b, f, content, l)
		require.NoError(b, f.Sync())
		require.NoError(b, f.Close())
	}
	var merging, copying time.Duration
	b.SetBytes(size)
	for b.Loop() {
		b.StopTimer()
		write("0.vhd", layout)
		write("1.vhd", child)
		start := time.Now()
		copyOver(b, dir, "1.vhd", "0.vhd")
		copying += time.Since(start)
		write("0.vhd", layout)
		b.StartTimer()
		start = time.Now()
		_, err := vhd.Merge(b.Context(), vhd.OSDir(root), &vhd.MergePlan{Chain: []string{"0.vhd", "1.vhd"}}, nil)
		require.NoError(b, err)
		merging += time.Since(start)
	}
	b.ReportMetric(float64(merging)/float64(copying), "of-a-copy")
}

// copyOver writes one file over another as plainly as the system can.
func copyOver(b *testing.B, dir, from, to string) {
	b.Helper()
	src, err := os.Open(filepath.Join(dir, from))
	require.NoError(b, err)
	defer src.Close()
	dst, err := os.OpenFile(filepath.Join(dir, to), os.O_RDWR, 0)
	require.NoError(b, err)
	_, err = io.Copy(dst, src)
	require.NoError(b, err)
	require.NoError(b, dst.Sync())
	require.NoError(b, dst.Close())
}
