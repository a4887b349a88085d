package smb

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
	s := testenv.StartSamba(t)
	r := startRelay(t, fmt.Sprintf("127.0.0.1:%d", s.Port), 0)
	free := r.hold(1 << 20)
	defer free()
	near := *s
	near.Port = r.port()
	fsys := mount(t, &near, "data", patience)
	require.NoError(t, fsys.Mkdir(t.Context(), "vm"))
	require.NoError(t, fsys.Mkdir(t.Context(), "vm.lock"))

	const writers = 12
	content := noise(2 << 20)
	written := make(chan error, writers)
	for i := range writers {
		go func() { written <- remote.WriteFile(t.Context(), fsys, fmt.Sprintf("vm/%d", i), content) }()
	}
	require.Eventually(t, r.holds, patience, time.Millisecond)
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
	s := testenv.StartSamba(t)
	var dials atomic.Int64
	a := &remote.Address{Scheme: "smb", Host: "127.0.0.1", Port: s.Port, Username: s.User, Password: remote.Secret(s.Password), Path: "data"}
	fsys, err := Open(t.Context(), a, &remote.Options{
		Timeout: patience,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if dials.Add(1) == 2 {
				return nil, errors.New("no more")
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	})
	require.NoError(t, err)
	defer fsys.Close()
	content := noise(3 << 20)
	for range 2 {
		require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", content))
		requireContent(t, fsys, "f", content)
	}
	require.EqualValues(t, 2, dials.Load(), "it is not asked again and again")

	fsys.files.mu.Lock()
	fsys.files.sharing = time.Now() // minutes later
	fsys.files.mu.Unlock()
	requireContent(t, fsys, "f", content)
	require.EqualValues(t, 3, dials.Load())
	names, err := fsys.link.get(t.Context())
	require.NoError(t, err)
	files, err := fsys.files.get(t.Context())
	require.NoError(t, err)
	require.NotSame(t, names, files)

	fsys.files.mu.Lock()
	fsys.files.current, fsys.files.sharing = names, time.Now().Add(time.Hour)
	fsys.files.mu.Unlock()
	files.close()
	names.kill(errSilent)
	requireContent(t, fsys, "f", content) // a session that is lost is not shared any more
	require.EqualValues(t, 5, dials.Load())
}
