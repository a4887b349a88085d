// Package testvolume tests readers of volumes that keep no owners, links or
// attributes of Unix: against what was put there, and against damage.
package testvolume

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// Manifest is what a volume holds, by path.
type Manifest map[string]Described

// Described is a file or directory.
type Described struct {
	Dir      bool   `json:",omitempty"`
	Size     int64  `json:",omitempty"` // of files
	Modified int64  // in seconds
	SHA256   string `json:",omitempty"`
}

// Read makes the manifest of a volume.
func Read(tb testing.TB, vol fsys.Nodes) Manifest {
	tb.Helper()
	m := make(Manifest)
	for item, err := range fsys.Walk(tb.Context(), vol, vol.Root(), nil) {
		require.NoError(tb, err, item.Path)
		require.Equal(tb, item.Info.Mode.Type(), item.Entry.Type, item.Path)
		_, twice := m[item.Path]
		require.False(tb, twice, item.Path)
		d := Described{Dir: item.Info.Mode.IsDir(), Modified: item.Info.Modified.Unix()}
		if !d.Dir {
			f, err := vol.OpenNode(item.Entry.Node)
			require.NoError(tb, err, item.Path)
			d.Size, d.SHA256 = sum(tb, f)
			require.Equal(tb, f.Size(), d.Size, item.Path)
		}
		m[item.Path] = d
	}
	return m
}

// Tree makes the manifest of a directory of the operating system.
func Tree(tb testing.TB, dir string) Manifest {
	tb.Helper()
	m := make(Manifest)
	require.NoError(tb, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		d := Described{Dir: e.IsDir(), Modified: info.ModTime().Unix()}
		if !d.Dir {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			d.Size, d.SHA256 = sum(tb, f)
			if err := f.Close(); err != nil {
				return err
			}
		}
		name, err := filepath.Rel(dir, path)
		m[filepath.ToSlash(name)] = d
		return err
	}))
	return m
}

func sum(tb testing.TB, r io.Reader) (int64, string) {
	tb.Helper()
	h := sha256.New()
	n, err := io.Copy(h, r)
	require.NoError(tb, err)
	return n, hex.EncodeToString(h.Sum(nil))
}
