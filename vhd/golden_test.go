package vhd_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"testing"

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
