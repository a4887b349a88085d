package remote_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
)

func parse(t *testing.T, raw string, opts *remote.Options, keys ...string) (*remote.Address, error) {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	return remote.ParseAddress(u, opts, keys...)
}

func TestAddressesAreTakenApart(t *testing.T) {
	for raw, want := range map[string]remote.Address{
		"nfs://nas/export/xo":                           {Scheme: "nfs", Host: "nas", Path: "export/xo"},
		"nfs://nas:/export/xo":                          {Scheme: "nfs", Host: "nas", Path: "export/xo"},
		"NFS://[fe80::1]:12049//export/./xo/":           {Scheme: "nfs", Host: "fe80::1", Port: 12049, Path: "export/xo"},
		"smb://nas":                                     {Scheme: "smb", Host: "nas"},
		"smb://DOM;bob:p%40ss@nas:4455/share/a%20b?k=1": {Scheme: "smb", Host: "nas", Port: 4455, Domain: "DOM", Username: "bob", Password: "p@ss", Path: "share/a b"},
		`smb://bob@nas/share\sub\dir`:                   {Scheme: "smb", Host: "nas", Username: "bob", Path: "share/sub/dir"},
		"nfs://nas/export?uid=0&k=2":                    {Scheme: "nfs", Host: "nas", Path: "export"},
	} {
		got, err := parse(t, raw, nil, "uid", "k")
		require.NoError(t, err, raw)
		got.Query = nil
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", raw, diff)
		}
	}
	for _, raw := range []string{"nfs:///export", "nfs:nas/export", "smb://nas:0/x", "smb://nas/a/../b", "smb://nas/a%00b", "smb://nas/x#y", "nfs://nas/x?uuid=1", "nfs://nas/x?%zz"} {
		_, err := parse(t, raw, nil, "uid")
		require.Error(t, err, raw)
	}
}

func TestCredentialsComeFromOptionsThenTheURLThenTheEnvironment(t *testing.T) {
	t.Setenv(remote.EnvUsername, "env")
	t.Setenv(remote.EnvPassword, "envpass")
	for _, c := range []struct {
		raw                        string
		opts                       *remote.Options
		domain, username, password string
	}{
		{"smb://h/s", nil, "", "env", "envpass"},
		{"smb://env@h/s", nil, "", "env", "envpass"},
		{"smb://url@h/s", nil, "", "url", ""},
		{"smb://D;url:up@h/s", nil, "D", "url", "up"},
		{"smb://url:up@h/s", &remote.Options{Password: "op"}, "", "url", "op"},
		{"smb://url:up@h/s", &remote.Options{Username: "opt"}, "", "opt", ""},
		{"smb://h/s", &remote.Options{Username: "opt", Password: "op", Domain: "OD"}, "OD", "opt", "op"},
	} {
		got, err := parse(t, c.raw, c.opts)
		require.NoError(t, err)
		require.Equal(t, [3]string{c.domain, c.username, c.password}, [3]string{got.Domain, got.Username, string(got.Password)}, c.raw)
	}
}

func TestAnAddressNeverShowsItsPassword(t *testing.T) {
	a, err := parse(t, "smb://DOM;bob:hunter2@[::1]:4455/share/dir?k=v", nil, "k")
	require.NoError(t, err)
	require.Equal(t, "smb://DOM;bob@[::1]:4455/share/dir", a.String())
	encoded, err := json.Marshal(a)
	require.NoError(t, err)
	for _, shown := range []string{a.String(), fmt.Sprint(a), fmt.Sprintf("%+v %#v %q", *a, *a, a.Password), string(encoded)} {
		require.NotContains(t, shown, "hunter2")
	}
	share, folder := a.Share()
	require.Equal(t, []string{"share", "dir"}, []string{share, folder})
	require.Equal(t, "[::1]:4455", a.HostPort(445))
}

func TestAHostThatDoesNotAnswerIsNamed(t *testing.T) {
	never := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := (&remote.Options{Timeout: 7 * time.Second, DialContext: never}).Dial(t.Context(), "nas:445")
		unreachable, ok := errors.AsType[*remote.UnreachableError](err)
		require.True(t, ok)
		require.Equal(t, remote.PartHost, unreachable.Part)
		require.ErrorIs(t, err, remote.ErrUnavailable)
		require.Contains(t, err.Error(), "cannot reach host nas:445")
		require.Equal(t, 7*time.Second, time.Since(start))

		cause := errors.New("job cancelled")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		_, err = (&remote.Options{DialContext: never}).Dial(ctx, "nas:445")
		require.ErrorIs(t, err, cause)
	})
	var none *remote.Options
	require.Equal(t, remote.DefaultTimeout, none.SilenceLimit())
	require.NotNil(t, none.Log())
}
