package nfs_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/nfs"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

func open(tb testing.TB, dir string, opts *nfs.Options) *nfs.FS {
	tb.Helper()
	fsys, err := nfs.Open(tb.Context(), "127.0.0.1", dir, opts)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, fsys.Close()) })
	return fsys
}

func goNFS(tb testing.TB) *nfs.FS {
	tb.Helper()
	port := testenv.GoNFS(tb, tb.TempDir())
	return open(tb, "/", &nfs.Options{Port: port, MountPort: port})
}

// ganesha starts a server, and gives what is needed to open it.
func ganesha(tb testing.TB) (*testenv.Ganesha, *nfs.Options) {
	tb.Helper()
	g := testenv.StartGanesha(tb)
	return g, &nfs.Options{Port: g.Port, MountPort: g.MountPort}
}

// opener opens an export, as a [remotetest.Harness] wants it.
func opener(export string, opts *nfs.Options) func(context.Context) (remote.Filesystem, error) {
	return func(ctx context.Context) (remote.Filesystem, error) {
		return nfs.Open(ctx, "127.0.0.1", export, opts)
	}
}

func TestGoNFSPassesTheSuite(t *testing.T) {
	require.NoError(t, remotetest.Test(t.Context(), goNFS(t)))
}
