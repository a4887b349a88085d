package smb

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// impatience is how long tests wait for what will not be closed.
const impatience = time.Second

// mount opens a path of a server, which begins with a share.
func mount(tb testing.TB, s *testenv.Samba, path string, timeout time.Duration) *FS {
	tb.Helper()
	fsys, err := tryMount(tb.Context(), s, path, timeout)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = fsys.Close() })
	return fsys
}

func tryMount(ctx context.Context, s *testenv.Samba, path string, timeout time.Duration) (*FS, error) {
	a := &remote.Address{Scheme: "smb", Host: "127.0.0.1", Port: s.Port, Username: s.User, Password: remote.Secret(s.Password), Path: path}
	fsys, err := Open(ctx, a, &remote.Options{Timeout: timeout})
	if err == nil {
		fsys.busy = impatience
	}
	return fsys, err
}

func TestAShareThatRequiresEncryptionPassesTheSuite(t *testing.T) {
	s := testenv.StartSamba(t)
	opener := func(path string) func(context.Context) (remote.Filesystem, error) {
		return func(ctx context.Context) (remote.Filesystem, error) { return tryMount(ctx, s, path, 5*time.Second) }
	}
	h := remotetest.Harness{
		Open:     opener("enc"), // signing takes long under the race detector
		Break:    func() error { s.Kill(); return nil },
		Mend:     func() error { s.Start(); return nil },
		ReadOnly: opener("ro"),
		Fill: func(dir string, n int) error {
			for i := range n {
				if err := os.WriteFile(filepath.Join(s.Dir("enc"), dir, fmt.Sprint(i)), nil, 0o666); err != nil {
					return err
				}
			}
			return nil
		},
	}
	if os.Getuid() == 0 {
		s.FillableShare(4 << 20)
		h.Full = opener("full")
	}
	require.NoError(t, remotetest.TestHarness(t.Context(), h))
}

func TestAShareThatIsOnlySignedPassesTheSuite(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	fsys := mount(t, s, "data", 0)
	require.NoError(t, remotetest.Test(t.Context(), fsys))
}
