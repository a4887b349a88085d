package remote_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
)

func TestRemotesOfXenOrchestraAreUnderstood(t *testing.T) {
	for raw, want := range map[string]remote.XORemote{
		"file:///srv/backups": {URL: "file:///srv/backups"},
		"file://srv/back ups": {URL: "file:///srv/back%20ups"},
		"file:///srv/a?b":     {URL: "file:///srv/a%3Fb"},
		`file:///srv?useVhdDirectory=true&encryptionKey="k"`: {URL: "file:///srv", Settings: map[string]remote.Secret{"useVhdDirectory": "true", "encryptionKey": `"k"`}},
		"file:///srv?compressionType=%22brotli%22":           {URL: "file:///srv", Settings: map[string]remote.Secret{"compressionType": `"brotli"`}},
		"nfs://192.168.100.225:/media/nfs":                   {URL: "nfs://192.168.100.225/media/nfs"},
		"nfs://nas:20:/media/nfs":                            {URL: "nfs://nas:20/media/nfs"},
		"nfs://nas:media":                                    {URL: "nfs://nas/media"},
		"nfs://nas/media":                                    {URL: "nfs://nas/media"},
		"nfs://[fe80::1]:/media":                             {URL: "nfs://[fe80::1]/media"},
		"smb://Administrator:pas:sw@ord?a=1@toto\\\\192.168.100.225\\share\x00\\media\\smb": {
			URL: "smb://toto;Administrator@192.168.100.225/share/media/smb", Password: "pas:sw@ord?a=1",
		},
		"smb://u:p@\\\\nas\x00share":                             {URL: "smb://u@nas/share", Password: "p"},
		"smb://u:p@WORKGROUP\\\\nas\\share":                      {URL: "smb://WORKGROUP;u@nas/share", Password: "p"},
		"smb://u:p@W\\\\nas\\share\x00/a/b?useVhdDirectory=true": {URL: "smb://W;u@nas/share/a/b", Password: "p", Settings: map[string]remote.Secret{"useVhdDirectory": "true"}},
	} {
		got, err := remote.ParseXO(raw)
		require.NoError(t, err, "%q", raw)
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", raw, diff)
		}
		_, err = url.Parse(got.URL)
		require.NoError(t, err)
	}
	for _, raw := range []string{"", "srv", "file://", "nfs://", "nfs://:/x", "nfs://nas:99999:/x", "nfs://nas:/a/../b", "smb://u:hunter2@nas", "smb://u:hunter2@D\\\\", "smb://u:hunter2@D\\\\n as", "smb://u;v:hunter2@D\\\\nas"} {
		_, err := remote.ParseXO(raw)
		require.Error(t, err, "%q", raw)
		require.NotContains(t, err.Error(), "hunter2")
	}
	_, err := remote.ParseXO("s3://key:hunter2@host/bucket")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestThePasswordOfARemoteOfXenOrchestraGoesIntoTheOptions(t *testing.T) {
	r, err := remote.ParseXO("smb://u:hunter2@W\\\\nas\\share?encryptionKey=\"hunter2\"")
	require.NoError(t, err)
	u, err := url.Parse(r.URL)
	require.NoError(t, err)
	a, err := remote.ParseAddress(u, r.Options(&remote.Options{Create: true}))
	require.NoError(t, err)
	require.Equal(t, remote.Secret("hunter2"), a.Password)
	require.True(t, r.Options(&remote.Options{Create: true}).Create)
	require.NotContains(t, fmt.Sprintf("%+v %v", *r, r), "hunter2")
}

func FuzzParseXO(f *testing.F) {
	for _, seed := range []string{"file:///srv", "nfs://nas:20:/media", "smb://u:p@d\\\\h\\s\x00f?a=1", "nfs://[::1%25x]:/", "smb://@\\\\[::1]:4:x", "file://%zz#?"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := remote.ParseXO(raw)
		if err != nil {
			return
		}
		u, err := url.Parse(r.URL)
		require.NoError(t, err, r.URL)
		if u.Scheme == "file" {
			require.True(t, strings.HasPrefix(u.Path, "/"))
			return
		}
		a, err := remote.ParseAddress(u, r.Options(nil))
		require.NoError(t, err, r.URL)
		require.Equal(t, r.Password, a.Password)
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{"smb://D;u:p@h:445/s/f?k=v", "nfs://[fe80::1%25eth0]:1/", "nfs://h:/a/./b//c", "smb://u@h/%2e%2e/x", "x://h#"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.Parse(raw)
		if err != nil {
			return
		}
		a, err := remote.ParseAddress(u, nil, "k")
		if err != nil {
			return
		}
		again, err := url.Parse(a.String())
		require.NoError(t, err, a.String())
		b, err := remote.ParseAddress(again, nil, "k")
		require.NoError(t, err, a.String())
		a.Password, a.Query, b.Query = "", nil, nil
		require.Equal(t, a, b)
		for element := range strings.SplitSeq(a.Path, "/") {
			require.NotEqual(t, "..", element)
		}
	})
}
