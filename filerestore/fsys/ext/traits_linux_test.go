package ext_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys/ext"
)

// traits are kinds of volumes, as mkfs and Linux make them.
var traits = []struct {
	name string
	mkfs []string
}{
	{"ext2", []string{"-t", "ext2", "-b", "1024"}},
	{"ext2-rev0", []string{"-t", "ext2", "-r", "0", "-b", "4096"}},
	{"ext3", []string{"-t", "ext3", "-b", "1024", "-I", "128", "-O", "^resize_inode"}},
	{"ext4", []string{"-t", "ext4"}},
	{"ext4-1k-inline", []string{"-t", "ext4", "-b", "1024", "-I", "512", "-O", "inline_data,ea_inode"}},
	{"ext4-inline", []string{"-t", "ext4", "-O", "inline_data"}},
	{"ext4-128", []string{"-t", "ext4", "-I", "128"}},
	{"ext4-inline-plain", []string{"-t", "ext4", "-b", "1024", "-I", "256", "-O", "inline_data,ea_inode,^metadata_csum,^64bit"}},
	{"ext4-bigalloc", []string{"-t", "ext4", "-O", "bigalloc", "-C", "16384"}},
	{"ext4-meta_bg", []string{"-t", "ext4", "-b", "1024", "-g", "1024", "-O", "meta_bg,^flex_bg,^resize_inode"}},
	{"ext4-crc16", []string{"-t", "ext4", "-O", "uninit_bg,^metadata_csum,^64bit"}},
	{"ext4-crc16-64", []string{"-t", "ext4", "-O", "uninit_bg,^metadata_csum,64bit"}},
	{"ext4-seed", []string{"-t", "ext4", "-O", "metadata_csum_seed,large_dir,sparse_super2,orphan_file"}},
	{"ext4-blockmap", []string{"-t", "ext4", "-b", "2048", "-O", "^extents,^64bit,^filetype,^dir_index"}},
}

func TestEveryTraitReadsAsLinuxReadsIt(t *testing.T) {
	requireLoop(t)
	for _, trait := range traits {
		t.Run(trait.name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			mkfs(t, image, imageSize(48<<20), trait.mkfs...)
			dir, unmount := mount(t, image, "rw")
			if *update {
				populate(t, dir, 300, 1<<20)
			} else {
				populate(t, dir, 1500, 4<<20)
			}
			unmount()
			dir, unmount = mount(t, image, "ro")
			want := kernelManifest(t, dir)
			unmount()
			keep(t, trait.name, image, want)
			vol := open(t, image)
			require.Empty(t, vol.Warnings())
			require.Empty(t, cmp.Diff(want, read(t, vol)))
		})
	}
}

// update writes small images into testdata, for machines where none can be made:
// go test -run 'TestEvery|TestDirty' -update
var update = flag.Bool("update", false, "write the images in testdata")

func imageSize(n int64) int64 {
	if *update {
		return n / 3
	}
	return n
}

// keep writes an image and its manifest into testdata when asked to.
func keep(tb testing.TB, name, image string, m manifest) {
	tb.Helper()
	if !*update {
		return
	}
	raw, err := os.ReadFile(image)
	require.NoError(tb, err)
	list, err := json.MarshalIndent(m, "", " ")
	require.NoError(tb, err)
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	require.NoError(tb, err)
	require.NoError(tb, os.WriteFile(filepath.Join("testdata", name+".img.zst"), w.EncodeAll(raw, nil), 0o644))
	require.NoError(tb, os.WriteFile(filepath.Join("testdata", name+".json.zst"), w.EncodeAll(list, nil), 0o644))
}

func mkfs(tb testing.TB, image string, size int64, args ...string) {
	tb.Helper()
	f, err := os.Create(image)
	require.NoError(tb, err)
	require.NoError(tb, f.Truncate(size))
	require.NoError(tb, f.Close())
	run(tb, "mke2fs", append(append([]string{"-q", "-F", "-L", "label"}, args...), image)...)
}

func open(tb testing.TB, image string) *ext.FS {
	tb.Helper()
	vol, err := openFile(tb, image)
	require.NoError(tb, err)
	return vol
}

func openFile(tb testing.TB, image string) (*ext.FS, error) {
	tb.Helper()
	f, err := os.Open(image)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, f.Close()) })
	info, err := f.Stat()
	require.NoError(tb, err)
	return ext.Open(tb.Context(), f, info.Size(), nil)
}
