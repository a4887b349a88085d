package crypt

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/local"
)

// repo is an encrypted repository in a directory.
type repo struct {
	*FS
	dir string
}

func newRepository(tb testing.TB, a Algorithm) repo {
	tb.Helper()
	dir := tb.TempDir()
	f, err := Init(tb.Context(), openLocal(tb, dir), testKey, &InitOptions{Algorithm: a})
	require.NoError(tb, err)
	return repo{FS: f, dir: dir}
}

func openLocal(tb testing.TB, dir string) remote.Filesystem {
	tb.Helper()
	fsys, err := local.Open(dir, nil)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = fsys.Close() })
	return fsys
}

// writeFile writes content in pieces.
func writeFile(tb testing.TB, f remote.Filesystem, name string, content []byte, piece int) {
	tb.Helper()
	file, err := f.OpenFile(tb.Context(), name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	require.NoError(tb, err)
	for off := 0; off < len(content); off += piece {
		_, err := file.WriteAt(content[off:min(len(content), off+piece)], int64(off))
		require.NoError(tb, err)
	}
	require.NoError(tb, file.Sync())
	require.NoError(tb, file.Close())
}

func readFile(tb testing.TB, f remote.Filesystem, name string) []byte {
	tb.Helper()
	data, err := remote.ReadFile(tb.Context(), f, name, 1<<30)
	require.NoError(tb, err)
	return data
}
