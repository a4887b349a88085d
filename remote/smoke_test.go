package remote_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/local"
)

func TestSmoke(t *testing.T) {
	fsys, err := local.Open(t.TempDir(), nil)
	require.NoError(t, err)
	ctx := t.Context()
	require.NoError(t, remote.MkdirAll(ctx, fsys, "a/b"))
	require.NoError(t, remote.WriteFile(ctx, fsys, "a/b/x", []byte("hi")))
	b, err := remote.ReadFile(ctx, fsys, "a/b/x", 2)
	require.NoError(t, err)
	require.Equal(t, "hi", string(b))
	l, err := remote.AcquireLock(ctx, fsys, "a/b", nil)
	require.NoError(t, err)
	require.NoError(t, l.Check(ctx))
	_, err = remote.AcquireLock(ctx, fsys, "a/b", &remote.LockOptions{Wait: -1})
	require.ErrorIs(t, err, remote.ErrLocked)
	require.NoError(t, l.Release(ctx))
	l, err = remote.AcquireLock(ctx, fsys, "a/b", nil)
	require.NoError(t, err)
	require.NoError(t, l.Release(ctx))
	require.ErrorIs(t, fsys.Remove(ctx, "a"), remote.ErrNotEmpty)
	require.NoError(t, remote.RemoveAll(ctx, fsys, "a"))
}
