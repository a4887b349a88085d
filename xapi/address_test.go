package xapi

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddressesOfEveryForm(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"pool.example.org": "https://pool.example.org", "pool:8443": "https://pool:8443", "http://10.0.0.1/": "http://10.0.0.1",
		"fd00::1": "https://[fd00::1]", "https://[fd00::1]:8443": "https://[fd00::1]:8443",
	} {
		u, err := parseAddress(addr)
		require.NoError(t, err, addr)
		require.Equal(t, want, u.String())
	}
	for _, addr := range []string{"", "ftp://x", "https://x/path", "https://x?y", "https://", "http://x\n", "https://u:canary@x", "u:canary@x", "https://u:canary@x:y"} {
		_, err := parseAddress(addr)
		require.Error(t, err, addr)
		require.NotContains(t, err.Error(), "canary")
	}
}

func TestMasterAddressKeepsSchemeAndPort(t *testing.T) {
	t.Parallel()
	slave, err := parseAddress("http://slave:8080")
	require.NoError(t, err)
	for master, want := range map[string]string{
		"10.0.0.1": "http://10.0.0.1:8080", "fd00::1": "http://[fd00::1]:8080", "[fd00::1]": "http://[fd00::1]:8080", "10.0.0.1:81": "http://10.0.0.1:81",
	} {
		u, err := masterURL(slave, master)
		require.NoError(t, err, master)
		require.Equal(t, want, u.String())
	}
	for _, master := range []string{"", "a/b", "u@h", "h?x", "h h", "[", "a:b:c"} {
		_, err := masterURL(slave, master)
		require.Error(t, err, master)
	}
}
