package xapi

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzXMLAnswer(f *testing.F) {
	for _, value := range []string{"<value>1</value>", "<value><array><data><value>a</value></data></array></value>", "<value><struct/></value>"} {
		f.Add("VM.get_record", "<?xml version=\"1.0\"?><methodResponse><params><param><value><struct><member><name>Status</name><value>Success</value></member>"+
			"<member><name>Value</name>"+value+"</member></struct></value></param></params></methodResponse>")
	}
	f.Add("event.from", "<methodResponse><params><param><value><struct><member><name>Status</name><value>Failure</value></member><member>"+
		"<name>ErrorDescription</name><value><array><data><value>CODE</value></data></array></value></member></struct></value></param></params></methodResponse>")
	f.Fuzz(func(t *testing.T, method, text string) {
		var result json.RawMessage
		failed, err := xmlWire{}.decode(strings.NewReader(text), method, &result)
		switch {
		case err != nil:
		case failed != nil:
			require.NotEmpty(t, failed[0])
		default:
			require.True(t, json.Valid(result))
		}
	})
}

// FuzzFollow: wherever a pool points, the client goes to a host over http or https, never from https to http, and never takes
// credentials or a path along that the pool put there for the master.
func FuzzFollow(f *testing.F) {
	for _, seed := range []string{"10.0.0.1", "fe80::1", "[fe80::1]:80", "https://10.0.0.2/export?x=1", "//evil", "http://h", "user@h", "h/../..", "h:99999", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, from := range []*url.URL{{Scheme: "https", Host: "pool.example.org:8443"}, {Scheme: "http", Host: "[::1]"}} {
			if to, err := masterURL(from, text); err == nil {
				require.Equal(t, from.Scheme, to.Scheme)
				require.NotEmpty(t, to.Hostname())
				require.Nil(t, to.User)
				require.Empty(t, to.Path+to.RawQuery+to.Fragment)
				_, err := parseAddress(to.String())
				require.NoError(t, err)
			}
			if to, err := followable(from, text); err == nil {
				require.Nil(t, to.User)
				require.NotEmpty(t, to.Hostname())
				require.True(t, to.Scheme == "https" || to.Scheme == from.Scheme)
			}
			if u, err := parseAddress(text); err == nil {
				require.NotEmpty(t, u.Hostname())
			}
		}
	})
}

func FuzzFingerprint(f *testing.F) {
	f.Add("AB:" + strings.Repeat("cd", 31))
	f.Add("sha256//" + strings.Repeat("A", 43) + "=")
	f.Fuzz(func(t *testing.T, text string) {
		pin, err := ParseFingerprint(text)
		if err != nil {
			return
		}
		again, err := ParseFingerprint(string(pin))
		require.NoError(t, err)
		require.Equal(t, pin, again)
	})
}
