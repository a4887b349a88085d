package remote_test

import (
	"context"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

func TestAStorageKeepsItsIdentityAndAnotherOneIsRefused(t *testing.T) {
	crash, empty := remotetest.NewCrash(), remotetest.NewCrash()
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() { ids[i], _ = remote.Identify(t.Context(), crash) })
	}
	wg.Wait()
	for _, id := range ids {
		require.NotEmpty(t, id)
		require.Equal(t, ids[0], id, "however many ask at once")
	}
	requireNoTemp(t, crash)

	storage := crash
	opener := &remote.Opener{Schemes: map[string]remote.OpenFunc{
		"mem": func(context.Context, *url.URL, *remote.Options) (remote.Filesystem, error) { return storage, nil },
	}}
	opts := &remote.Options{ID: ids[0]}
	fsys, err := opener.Open(t.Context(), "mem://x", opts)
	require.NoError(t, err)
	require.NoError(t, fsys.Close())
	storage = empty
	_, err = opener.Open(t.Context(), "mem://x", opts)
	require.ErrorIs(t, err, remote.ErrOtherStorage, "nothing is mounted there")
	_, err = remote.Identify(t.Context(), empty)
	require.NoError(t, err)
	_, err = opener.Open(t.Context(), "mem://x", opts)
	require.ErrorIs(t, err, remote.ErrOtherStorage)
}
