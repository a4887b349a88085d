package nfs_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
)

// A lock that waits behind the data of files is lost on a slow link. Here the link is
// so slow that the data never arrives until the lock has been refreshed.
func TestNamesDoNotWaitBehindTheDataOfFiles(t *testing.T) {
	t.Parallel()
	g, opts := ganesha(t)
	r := newRelay(t, g.Port, 0)
	free := r.hold(1 << 20)
	defer free()
	opts.Port = r.port
	fsys := open(t, testenv.ExportData, opts)
	require.NoError(t, fsys.Mkdir(t.Context(), "vm"))
	require.NoError(t, fsys.Mkdir(t.Context(), "vm.lock"))

	const writers = 12
	content := make([]byte, 2<<20)
	written := make(chan error, writers)
	for i := range writers {
		go func() { written <- remote.WriteFile(t.Context(), fsys, fmt.Sprintf("vm/%d", i), content) }()
	}
	require.Eventually(t, r.holds, 20*time.Second, time.Millisecond)
	_, err := fsys.Stat(t.Context(), "vm.lock")
	require.NoError(t, err)
	require.NoError(t, fsys.Touch(t.Context(), "vm.lock", time.Now()))
	require.NoError(t, fsys.Mkdir(t.Context(), "other"))
	require.NoError(t, fsys.Rename(t.Context(), "other", "another"))
	_, err = fsys.ReadDir(t.Context(), "vm")
	require.NoError(t, err)
	require.Empty(t, written, "the data is on its way still")

	free()
	for range writers {
		require.NoError(t, <-written)
	}
}

func TestAServerThatTakesOneConnectionIsUsedWithOne(t *testing.T) {
	t.Parallel()
	_, opts := ganesha(t)
	var full atomic.Bool
	var refused atomic.Int64
	opts.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if full.Load() {
			refused.Add(1)
			return nil, errors.New("no more")
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	fsys := open(t, testenv.ExportData, opts)
	full.Store(true)
	content := []byte("through one connection")
	for range 2 {
		require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", content))
		got, err := remote.ReadFile(t.Context(), fsys, "f", 100)
		require.NoError(t, err)
		require.Equal(t, content, got)
	}
	require.EqualValues(t, 1, refused.Load(), "it is not asked again and again")
}
