package remote_test

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
)

func TestErrorNumbersMeanWhatTheDocumentationSays(t *testing.T) {
	for _, c := range []struct {
		errno syscall.Errno
		is    error
	}{
		{syscall.ENOSPC, remote.ErrNoSpace},
		{syscall.EDQUOT, remote.ErrNoSpace},
		{syscall.ENOTEMPTY, remote.ErrNotEmpty},
		{syscall.EROFS, fs.ErrPermission},
		{syscall.EACCES, fs.ErrPermission},
		{syscall.ENOENT, fs.ErrNotExist},
		{syscall.EEXIST, fs.ErrExist},
		{syscall.ENAMETOOLONG, fs.ErrInvalid},
		{syscall.ESTALE, remote.ErrUnavailable},
	} {
		err := remote.PathError("write", "dir/f", &fs.PathError{Op: "openat", Path: "/srv/dir/f", Err: c.errno})
		require.ErrorIs(t, err, c.is)
		require.ErrorIs(t, err, c.errno)
		var errno syscall.Errno
		require.ErrorAs(t, err, &errno)
		require.Equal(t, "write dir/f: "+c.errno.Error(), err.Error(), "the operating system's paths are gone")
	}
	require.NotErrorIs(t, remote.PathError("remove", "d", syscall.ENOTEMPTY), fs.ErrExist)
	var linkErr *os.LinkError
	require.True(t, errors.As(remote.LinkError("rename", "a", "b", syscall.ENOTEMPTY), &linkErr))
	require.NoError(t, remote.PathError("stat", "x", nil))
}
