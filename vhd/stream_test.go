package vhd_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// ramDisk is a disk.Source whose blocks of 2 MiB are data where they are not zeros.
type ramDisk []byte

func (d ramDisk) Size() int64 { return int64(len(d)) }

func (d ramDisk) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(d).ReadAt(p, off) }

func (d ramDisk) Extents(_ context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		for end := min(off+n, d.Size()); off < end; {
			e := disk.Extent{Off: off, Len: min(disk.BlockSize-off%disk.BlockSize, end-off), Kind: disk.Zero}
			if !bytes.Equal(d[off:off+e.Len], make([]byte, e.Len)) {
				e.Kind = disk.Data
			}
			if !yield(e, nil) {
				return
			}
			off += e.Len
		}
	}
}

// noise returns a disk with random data in the given blocks.
func noise(seed byte, size int64, blocks ...int) ramDisk {
	d := make(ramDisk, size)
	rnd := rand.NewChaCha8([32]byte{seed})
	for _, i := range blocks {
		_, _ = rnd.Read(d[int64(i)*disk.BlockSize : min(int64(i+1)*disk.BlockSize, size)])
	}
	return d
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func layoutOf(tb testing.TB, d ramDisk, profile vhd.Profile) vhd.Layout {
	tb.Helper()
	blocks, err := vhd.DataBlocks(tb.Context(), d)
	require.NoError(tb, err)
	return vhd.Layout{
		Type: vhd.Dynamic, Size: d.Size(), UUID: uuidOf(0x41), Timestamp: time.Date(2026, 1, 10, 3, 0, 0, 0, time.UTC),
		Blocks: blocks, Profile: profile,
	}
}

func writeStream(tb testing.TB, w io.Writer, d ramDisk, l vhd.Layout) {
	tb.Helper()
	s, err := vhd.NewStreamWriter(w, l)
	require.NoError(tb, err)
	for _, i := range l.Blocks {
		require.NoError(tb, s.WriteBlock(i, d[int64(i)*disk.BlockSize:min(int64(i+1)*disk.BlockSize, d.Size())]))
	}
	require.NoError(tb, s.Close())
}

const oddSize = 5<<20 + 512*7

func TestStreamsRoundTrip(t *testing.T) {
	d := noise(1, oddSize, 0, 2)
	for name, profile := range map[string]vhd.Profile{"repository": vhd.Repository, "host": vhd.Host} {
		t.Run(name, func(t *testing.T) {
			l := layoutOf(t, d, profile)
			require.Equal(t, []uint32{0, 2}, l.Blocks)
			var written bytes.Buffer
			writeStream(t, &written, d, l)
			require.EqualValues(t, l.StreamSize(), written.Len())

			export, err := vhd.NewExport(t.Context(), d, l)
			require.NoError(t, err)
			require.Equal(t, l.StreamSize(), export.Size())
			exported, err := io.ReadAll(export)
			require.NoError(t, err)
			require.True(t, bytes.Equal(written.Bytes(), exported), "the two writers differ")
			export, err = vhd.NewExport(t.Context(), d, l)
			require.NoError(t, err)
			require.NoError(t, iotest.TestReader(export, exported))

			got, err := readStream(iotest.HalfReader(bytes.NewReader(exported)))
			require.NoError(t, err)
			require.True(t, bytes.Equal(d, got))

			image := openBytes(t, exported, nil)
			require.Empty(t, image.Findings())
			require.True(t, bytes.Equal(d, readAll(t, image)))
			require.LessOrEqual(t, image.Footer().Geometry.Size(), d.Size())
			again, err := vhd.DataBlocks(t.Context(), image)
			require.NoError(t, err)
			require.Equal(t, l.Blocks, again)
		})
	}
}

func TestRepositoryBlocksAreAligned(t *testing.T) {
	d := noise(1, oddSize, 0, 2)
	var file bytes.Buffer
	writeStream(t, &file, d, layoutOf(t, d, vhd.Repository))
	for _, i := range []int64{0, 2} {
		at := bytes.Index(file.Bytes(), d[i*disk.BlockSize:i*disk.BlockSize+4096])
		require.Positive(t, at)
		require.Zero(t, at%4096)
	}
}

func TestStreamWriterWantsItsBlocksInOrder(t *testing.T) {
	d := noise(1, oddSize, 0, 2)
	l := layoutOf(t, d, vhd.Repository)
	s, err := vhd.NewStreamWriter(io.Discard, l)
	require.NoError(t, err)
	require.ErrorIs(t, s.WriteBlock(2, d[:disk.BlockSize]), vhd.ErrBlockOrder)
	s, err = vhd.NewStreamWriter(io.Discard, l)
	require.NoError(t, err)
	require.NoError(t, s.WriteBlock(0, d[:disk.BlockSize]))
	require.ErrorIs(t, s.Close(), vhd.ErrIncomplete)
	for n := range 12 {
		w := &limitedWriter{left: n * 300 << 10}
		s, err := vhd.NewStreamWriter(w, l)
		for _, i := range l.Blocks {
			if err == nil {
				err = s.WriteBlock(i, d[int64(i)*disk.BlockSize:min(int64(i+1)*disk.BlockSize, d.Size())])
			}
		}
		require.ErrorIs(t, err, io.ErrShortWrite)
		if s != nil {
			require.ErrorIs(t, s.Close(), io.ErrShortWrite)
		}
	}
}

type limitedWriter struct{ left int }

func (w *limitedWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.left -= n
	return n, nil
}

func TestLayoutRefusesWhatXOOrTheFormatCannotHold(t *testing.T) {
	good := vhd.Layout{Type: vhd.Differencing, Size: 1 << 20, UUID: uuidOf(2), ParentUUID: uuidOf(1), ParentName: "a.vhd", Blocks: []uint32{0}}
	for name, change := range map[string]func(l *vhd.Layout){
		"fixed":           func(l *vhd.Layout) { l.Type = vhd.Fixed },
		"no size":         func(l *vhd.Layout) { l.Size = 0 },
		"half a sector":   func(l *vhd.Layout) { l.Size++ },
		"block outside":   func(l *vhd.Layout) { l.Blocks = []uint32{1} },
		"block twice":     func(l *vhd.Layout) { l.Blocks = []uint32{0, 0} },
		"no parent":       func(l *vhd.Layout) { l.ParentUUID = vhd.UUID{} },
		"no parent name":  func(l *vhd.Layout) { l.ParentName = "" },
		"absolute parent": func(l *vhd.Layout) { l.ParentName = "/etc/passwd" },
		"long name":       func(l *vhd.Layout) { l.ParentName = strings.Repeat("é", 255) },
		"dynamic child":   func(l *vhd.Layout) { l.Type = vhd.Dynamic },
	} {
		l := good
		change(&l)
		var out bytes.Buffer
		_, err := vhd.NewStreamWriter(&out, l)
		require.ErrorIs(t, err, vhd.ErrUnsupported, name)
		require.Zero(t, out.Len())
	}
	_, err := vhd.NewStreamWriter(io.Discard, good)
	require.NoError(t, err)
}

// writeFile writes a repository image of d to a file.
func writeFile(tb testing.TB, path string, d ramDisk, l vhd.Layout) {
	tb.Helper()
	f, err := os.Create(path)
	require.NoError(tb, err)
	writeStream(tb, f, d, l)
	require.NoError(tb, f.Close())
}

func TestQemuReadsWhatWeWrite(t *testing.T) {
	qemu := testenv.Require(t, "qemu-img")
	dir := t.TempDir()
	for _, size := range []int64{oddSize, 8 << 20, 16<<20 + 512, 512} {
		d := noise(2, size, 0)
		path, raw := filepath.Join(dir, "full.vhd"), filepath.Join(dir, "full.raw")
		writeFile(t, path, d, layoutOf(t, d, vhd.Repository))
		out, err := exec.CommandContext(t.Context(), qemu, "convert", "-f", "vpc", "-O", "raw", path, raw).CombinedOutput()
		require.NoError(t, err, "%s", out)
		got, err := os.ReadFile(raw)
		require.NoError(t, err)
		require.Equal(t, size, int64(len(got)))
		require.Equal(t, sum(d), sum(got))
	}
}

func TestQemuReadsWhatWeMerge(t *testing.T) {
	qemu := testenv.Require(t, "qemu-img")
	dir := t.TempDir()
	base := noise(6, 6<<20, 0, 2)
	writeFile(t, filepath.Join(dir, "a.vhd"), base, layoutOf(t, base, vhd.Repository))
	leaf := noise(7, 10<<20+512, 1, 2, 5)
	copy(leaf, base[:disk.BlockSize])
	writeFile(t, filepath.Join(dir, "b.vhd"), leaf, vhd.Layout{
		Type: vhd.Differencing, Size: leaf.Size(), UUID: uuidOf(0x42), ParentUUID: uuidOf(0x41), ParentName: "a.vhd", Blocks: []uint32{1, 2, 5},
	})
	result, err := vhd.Merge(t.Context(), vhd.OSDir(openRoot(t, dir)), &vhd.MergePlan{Chain: []string{"a.vhd", "b.vhd"}}, nil)
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(dir, "b.vhd"))
	require.NoError(t, err)
	require.Equal(t, info.Size(), result.Size)
	raw := filepath.Join(dir, "b.raw")
	out, err := exec.CommandContext(t.Context(), qemu, "convert", "-f", "vpc", "-O", "raw", filepath.Join(dir, "b.vhd"), raw).CombinedOutput()
	require.NoError(t, err, "%s", out)
	got, err := os.ReadFile(raw)
	require.NoError(t, err)
	require.Len(t, got, len(leaf))
	require.Equal(t, sum(leaf), sum(got))
}

func TestWeReadWhatQemuWrites(t *testing.T) {
	qemu := testenv.Require(t, "qemu-img")
	dir := t.TempDir()
	d := noise(3, 9<<20, 0, 2, 4)
	raw := filepath.Join(dir, "disk.raw")
	require.NoError(t, os.WriteFile(raw, d, 0o600))
	root := openRoot(t, dir)
	for _, format := range []string{"dynamic", "fixed"} {
		out, err := exec.CommandContext(t.Context(), qemu, "convert", "-f", "raw", "-O", "vpc",
			"-o", "force_size=on,subformat="+format, raw, filepath.Join(dir, format+".vhd")).CombinedOutput()
		require.NoError(t, err, "%s", out)
		chain := openChain(t, root, format+".vhd")
		require.Equal(t, d.Size(), chain.Size())
		require.Equal(t, sum(d), digest(t, chain))
	}
}

func TestLibvhdiReadsAChainThatWeWrite(t *testing.T) {
	mount, info := testenv.Require(t, "vhdimount"), testenv.Require(t, "vhdiinfo")
	fusermount := testenv.Require(t, "fusermount")
	if _, err := os.Stat("/dev/fuse"); err != nil {
		testenv.Missing(t, "no /dev/fuse: %v", err)
	}
	dir := t.TempDir()
	base := noise(4, 8<<20, 0, 1, 3)
	writeFile(t, filepath.Join(dir, "20260110T030000Z.vhd"), base, layoutOf(t, base, vhd.Repository))
	leaf := bytes.Clone(base)
	copy(leaf[disk.BlockSize:], noise(5, 4<<20, 0, 1))
	writeFile(t, filepath.Join(dir, "20260110T040000Z.vhd"), leaf, vhd.Layout{
		Type: vhd.Differencing, Size: 8 << 20, UUID: uuidOf(0x42), ParentUUID: uuidOf(0x41),
		ParentName: "20260110T030000Z.vhd", Blocks: []uint32{1, 2},
	})
	require.Equal(t, sum(leaf), digest(t, openChain(t, openRoot(t, dir), "20260110T040000Z.vhd")))
	for _, name := range []string{"20260110T030000Z.vhd", "20260110T040000Z.vhd"} {
		out, err := exec.CommandContext(t.Context(), info, filepath.Join(dir, name)).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "8388608")
	}
	point := filepath.Join(dir, "mnt")
	require.NoError(t, os.Mkdir(point, 0o700))
	out, err := exec.CommandContext(t.Context(), mount, filepath.Join(dir, "20260110T040000Z.vhd"), point).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Cleanup(func() {
		out, err := exec.CommandContext(context.WithoutCancel(t.Context()), fusermount, "-u", point).CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
	found := false
	entries, err := os.ReadDir(point)
	require.NoError(t, err)
	for _, e := range entries {
		got, err := os.ReadFile(filepath.Join(point, e.Name()))
		require.NoError(t, err)
		found = found || sum(got) == sum(leaf)
	}
	require.True(t, found, "none of %v has the content of the chain", entries)
}
