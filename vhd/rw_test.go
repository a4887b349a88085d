package vhd_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// TestPeersReadWhatGrewInPlace lets qemu-img and libvhdi read images that were
// written in place and grown beyond what their table had room for.
func TestPeersReadWhatGrewInPlace(t *testing.T) {
	qemu, info := testenv.Require(t, "qemu-img"), testenv.Require(t, "vhdiinfo")
	dir := t.TempDir()
	for _, l := range []vhd.Layout{
		{Type: vhd.Dynamic, Size: 3<<20 + sector, UUID: uuidOf(1), BlockSize: 512 << 10},
		{Type: vhd.Dynamic, Size: 3<<20 + sector, UUID: uuidOf(1), BlockSize: 512 << 10, Profile: vhd.Host},
		{Type: vhd.Fixed, Size: 3<<20 + sector, UUID: uuidOf(1)},
	} {
		name, raw := filepath.Join(dir, "grown.vhd"), filepath.Join(dir, "grown.raw")
		f := createFile(t, name)
		w, err := vhd.Create(f, l)
		require.NoError(t, err)
		truth := make([]byte, 70<<20)
		write := func(owner byte, off, n int64) {
			for at := off; at < off+n; at += sector {
				copy(truth[at:], filled(owner, at))
			}
			_, err := w.WriteAt(truth[off:off+n], off)
			require.NoError(t, err)
		}
		write(1, 0, 8*sector)
		write(2, 3<<20-4*sector, 5*sector)
		require.NoError(t, w.Resize(int64(len(truth)))) // needs a second sector of the table
		write(3, 3<<20+sector, 4*sector)
		write(4, 66<<20, 1<<20)
		require.NoError(t, w.Close())
		require.NoError(t, os.WriteFile(raw, truth, 0o600))
		out, err := exec.CommandContext(t.Context(), qemu, "compare", "-f", "raw", "-F", "vpc", raw, name).CombinedOutput()
		require.NoError(t, err, "%v: %s", l.Type, out)
		require.NotContains(t, string(out), "Warning") // that the sizes differ
		out, err = exec.CommandContext(t.Context(), info, name).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "73400320")
	}
}

// TestLibvhdiReadsPartlyWrittenBlocks writes in units of 4 KiB: libvhdi 20210425
// takes all sectors behind one that is there, up to the next multiple of 8, for there too.
func TestLibvhdiReadsPartlyWrittenBlocks(t *testing.T) {
	mount, fusermount := testenv.Require(t, "vhdimount"), testenv.Require(t, "fusermount3")
	if _, err := os.Stat("/dev/fuse"); err != nil {
		testenv.Missing(t, "no /dev/fuse: %v", err)
	}
	dir := t.TempDir()
	_, truth := diskChain(t, dir, 8*sector)
	point := filepath.Join(dir, "mnt")
	require.NoError(t, os.Mkdir(point, 0o700))
	out, err := exec.CommandContext(t.Context(), mount, filepath.Join(dir, "c.vhd"), point).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Cleanup(func() {
		out, err := exec.CommandContext(context.WithoutCancel(t.Context()), fusermount, "-u", point).CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
	got, err := os.ReadFile(filepath.Join(point, "vhdi3"))
	require.NoError(t, err)
	require.Equal(t, sum(truth), sum(got))
}

func TestWritersAndReadersShareAnImage(t *testing.T) {
	f := &memFile{}
	w, err := vhd.Create(f, vhd.Layout{Type: vhd.Dynamic, Size: 8 << 20, UUID: uuidOf(1), BlockSize: 512 << 10})
	require.NoError(t, err)
	truth := noise(1, 8<<20, 0, 1, 2, 3)
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			buf := make([]byte, 100*sector)
			for off := int64(k) * 3 * sector; off < w.Size(); off += 12 * sector {
				n := min(3*sector, truth.Size()-off)
				if _, err := w.WriteAt(truth[off:off+n], off); err != nil {
					t.Error(err)
				}
				if _, err := w.ReadAt(buf[:n], off); err != nil || !bytes.Equal(buf[:n], truth[off:off+n]) {
					t.Errorf("offset %d: %v", off, err)
				}
			}
			if err := w.Sync(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.NoError(t, w.Resize(9<<20))
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	image := openBytes(t, f.data, nil)
	require.EqualValues(t, 9<<20, image.Size())
	require.True(t, bytes.Equal(truth, readAll(t, image)[:8<<20]))
	_, err = w.WriteAt([]byte{1}, 0)
	require.Error(t, err)
}

func TestWhatCannotBeWrittenIsRefusedBefore(t *testing.T) {
	f := &memFile{}
	w, err := vhd.Create(f, vhd.Layout{Type: vhd.Differencing, Size: 2 << 20, UUID: uuidOf(2), ParentUUID: uuidOf(1), ParentName: "p.vhd"})
	require.NoError(t, err)
	_, err = w.WriteAt(make([]byte, 2), 2<<20-1)
	require.ErrorIs(t, err, vhd.ErrBeyondEnd)
	_, err = w.WriteAt(make([]byte, 1), 5)
	require.ErrorIs(t, err, vhd.ErrParentNeeded)
	_, err = w.ReadAt(make([]byte, 1), 5)
	require.ErrorIs(t, err, vhd.ErrParentNeeded)
	_, err = w.WriteAt(make([]byte, sector), 0)
	require.NoError(t, err, "zeros hide the parent")
	_, err = w.WriteAt([]byte{7}, 5)
	require.NoError(t, err, "the sector is there")
	require.ErrorIs(t, w.Resize(1<<20), vhd.ErrUnsupported)
	require.NoError(t, w.Close())

	damaged := bytes.Clone(f.data)
	copy(damaged[2048:], []byte{0, 0, 0, 1}) // the block would be the header
	_, err = vhd.OpenRW(&memFile{data: damaged}, int64(len(damaged)), &vhd.OpenOptions{Mode: vhd.Recover})
	require.ErrorIs(t, err, vhd.ErrBAT)
	cut := &memFile{data: bytes.Clone(f.data[:len(f.data)-footerLen])}
	_, err = vhd.OpenRW(cut, int64(len(cut.data)), nil)
	require.ErrorIs(t, err, vhd.ErrTruncated)
	w, err = vhd.OpenRW(cut, int64(len(cut.data)), &vhd.OpenOptions{Mode: vhd.Recover})
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Empty(t, openBytes(t, cut.data, nil).Findings())
}

const footerLen = 512

// TestSafeRebaseKeepsTheDisk: with both contents, the disk of a child stays the same.
func TestSafeRebaseKeepsTheDisk(t *testing.T) {
	old, other := noise(1, 6<<20, 0, 1), noise(1, 6<<20, 0, 2)
	encode := func(id byte, d ramDisk) *vhd.Image {
		l := layoutOf(t, d, vhd.Repository)
		l.UUID = uuidOf(id)
		var b bytes.Buffer
		writeStream(t, &b, d, l)
		return openBytes(t, b.Bytes(), nil)
	}
	from, to := encode(1, old), encode(2, other)
	for name, opts := range map[string]*vhd.RebaseOptions{"safe": {From: from, To: to}, "names only": nil} {
		f := &memFile{}
		w, err := vhd.Create(f, vhd.Layout{Type: vhd.Differencing, Size: 8 << 20, UUID: uuidOf(3), ParentUUID: uuidOf(1), ParentName: "old.vhd"})
		require.NoError(t, err)
		_, err = w.WriteAt(bytes.Repeat([]byte{3}, 2*sector), 2<<20)
		require.NoError(t, err)
		before, after := overlayOf(t, w, from), overlayOf(t, w, to)
		require.NoError(t, w.Rebase(t.Context(), uuidOf(2), "dir/ñew.vhd", opts), name)
		require.NoError(t, w.Close())
		image := openBytes(t, f.data, nil)
		require.Equal(t, vhd.ParentRef{UUID: uuidOf(2), Names: []string{"dir/ñew.vhd"}}, image.Parent())
		chain, err := vhd.OpenChain(t.Context(), image, func(context.Context, *vhd.Image, vhd.ParentRef) (*vhd.Image, error) { return to, nil }, nil)
		require.NoError(t, err)
		want := before
		if opts == nil {
			want = after
		}
		require.True(t, bytes.Equal(want, readAll(t, chain)), name)
		if opts != nil {
			require.Equal(t, 2, image.Allocated(), "blocks that are alike are not copied")
		}
	}
}

// overlayOf is what the image reads as on top of a parent.
func overlayOf(t *testing.T, w *vhd.RW, parent *vhd.Image) []byte {
	t.Helper()
	require.NoError(t, w.Sync())
	content := make([]byte, w.Size())
	copy(content, readAll(t, parent))
	for e, err := range w.Extents(t.Context(), 0, w.Size()) {
		require.NoError(t, err)
		if e.Kind == disk.Data {
			_, err := w.ReadAt(content[e.Off:e.End()], e.Off)
			require.NoError(t, err)
		}
	}
	return content
}
