package vhd_test

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// openFile opens the image name below root; it is closed with the test.
func openFile(tb testing.TB, root *os.Root, name string, opts *vhd.OpenOptions) (*vhd.Image, error) {
	tb.Helper()
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	tb.Cleanup(func() { _ = f.Close() })
	info, err := f.Stat()
	require.NoError(tb, err)
	if opts == nil {
		opts = &vhd.OpenOptions{Name: name}
	}
	return vhd.Open(f, info.Size(), opts)
}

// parents opens parents by name in the directory of their child.
func parents(tb testing.TB, root *os.Root) vhd.Opener {
	tb.Helper()
	return func(_ context.Context, child *vhd.Image, ref vhd.ParentRef) (*vhd.Image, error) {
		for _, name := range ref.Names {
			parent, err := openFile(tb, root, path.Join(path.Dir(child.Name()), name), nil)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return parent, err
		}
		return nil, vhd.ErrParentNotFound
	}
}

func openChain(tb testing.TB, root *os.Root, name string) *vhd.Chain {
	tb.Helper()
	leaf, err := openFile(tb, root, name, nil)
	require.NoError(tb, err)
	chain, err := vhd.OpenChain(tb.Context(), leaf, parents(tb, root), nil)
	require.NoError(tb, err)
	return chain
}

func openRoot(tb testing.TB, dir string) *os.Root {
	tb.Helper()
	root, err := os.OpenRoot(dir)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = root.Close() })
	return root
}

func digest(tb testing.TB, src disk.Source) string {
	tb.Helper()
	h := sha256.New()
	_, err := io.CopyBuffer(h, io.NewSectionReader(src, 0, src.Size()), make([]byte, 1<<20))
	require.NoError(tb, err)
	return hex.EncodeToString(h.Sum(nil))
}

// goldenDisk is a disk of a backup that XO wrote as a file.
type goldenDisk struct {
	path string // of the VHD, in the repository
	want testenv.ExpectedContent
}

func goldenDisks(tb testing.TB, repo *testenv.Repository) []goldenDisk {
	tb.Helper()
	var disks []goldenDisk
	for point, backup := range repo.Backups {
		if backup.Mode != "delta" {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(repo.Dir, point))
		require.NoError(tb, err)
		var metadata struct {
			VHDs map[string]string `json:"vhds"`
		}
		require.NoError(tb, json.Unmarshal(raw, &metadata))
		for _, name := range metadata.VHDs {
			if path.Ext(path.Base(name[:len(name)-len(".vhd")])) == ".alias" {
				continue
			}
			want, ok := backup.Disks[path.Base(path.Dir(name))] // the directory is named after the source VDI
			require.True(tb, ok, name)
			disks = append(disks, goldenDisk{path.Join(path.Dir(point)[1:], name), want})
		}
	}
	require.NotEmpty(tb, disks)
	return disks
}

func TestChainsThatXOWroteReadRight(t *testing.T) {
	repo := testenv.Golden(t)
	root := openRoot(t, repo.Dir)
	links := 0
	for _, d := range goldenDisks(t, repo) {
		chain := openChain(t, root, d.path)
		require.Equal(t, d.want.Size, chain.Size(), d.path)
		require.Equal(t, d.want.SHA256, digest(t, chain), d.path)
		links = max(links, len(chain.Links()))
	}
	require.Greater(t, links, 2)
}

// TestMergeThatXOBeganIsFinished works on a directory in which XO was killed
// while it merged the first image into the second (testdata, XO's backups 0.74.2).
func TestMergeThatXOBeganIsFinished(t *testing.T) {
	want := map[string]string{
		"20260110T040000Z.vhd": "90582cbd716a8e80c1df38c3c5e87e4051adc922630061e12a3566baa5bb93c9",
		"20260110T050000Z.vhd": "2281bd8199b21707faf222cd7ce144911bbd70bde0f52967a92284c07c3048af",
	}
	dir := t.TempDir()
	unpack(t, "testdata/interrupted-by-xo.tar.zst", dir)
	root := openRoot(t, dir)
	for name, sum := range want {
		require.Equal(t, sum, digest(t, openChain(t, root, name)), "%s, before the merge", name)
	}
	plan := &vhd.MergePlan{Chain: []string{"20260110T030000Z.vhd", "20260110T040000Z.vhd"}}
	result, err := vhd.Merge(t.Context(), vhd.OSDir(root), plan, nil)
	require.NoError(t, err)
	require.True(t, result.Resumed)
	names, err := vhd.OSDir(root).List(t.Context(), ".")
	require.NoError(t, err)
	require.Equal(t, slices.Sorted(maps.Keys(want)), names)
	for name, sum := range want {
		require.Equal(t, sum, digest(t, openChain(t, root, name)), name)
	}
}

func unpack(tb testing.TB, archive, dir string) {
	tb.Helper()
	f, err := os.Open(archive)
	require.NoError(tb, err)
	defer f.Close()
	z, err := zstd.NewReader(f)
	require.NoError(tb, err)
	defer z.Close()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(tb, err)
		data, err := io.ReadAll(r)
		require.NoError(tb, err)
		require.NoError(tb, os.WriteFile(filepath.Join(dir, filepath.Base(h.Name)), data, 0o600))
	}
}
