package remote_test

import (
	"context"
	"errors"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

func TestErrorsOfAnOpenerNeverRepeatAPassword(t *testing.T) {
	opener := &remote.Opener{Schemes: map[string]remote.OpenFunc{
		"smb": func(context.Context, *url.URL, *remote.Options) (remote.Filesystem, error) {
			return nil, errors.New("no such share")
		},
	}}
	for _, raw := range []string{
		"smb://user:hunter2@host/share", "smb://user:hunter2@host:x/share", "smb://user:hunter2%zz@host", "smb://us er:hunter2@host", "ftp://user:hunter2@host", "SMB://user:hunter2@host",
	} {
		_, err := opener.Open(t.Context(), raw, nil)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2", raw)
	}
}

func TestADecoratorIsNotBypassedByACapability(t *testing.T) {
	crash := remotetest.NewCrash()
	_, ok := remote.As[remote.TreeRemover](crash)
	require.True(t, ok)
	plain := struct{ remote.Filesystem }{crash}
	_, ok = remote.As[remote.TreeRemover](plain)
	require.False(t, ok, "a decorator that knows only the eight methods")
	_, ok = remote.As[remote.TreeRemover](remotetest.NewFaulty(plain))
	require.False(t, ok, "a decorator that forwards, over one that lacks it")
	_, ok = remote.As[remote.TreeRemover](remotetest.NewTrace(remotetest.NewFaulty(crash)))
	require.True(t, ok)
}
