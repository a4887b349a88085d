package xapitest_test

import (
	_ "embed"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

//go:embed testdata/xen-api.mjs
var xenAPIScript []byte

// The client of Xen Orchestra itself, from npm: over JSON-RPC, and with an old
// pool over XML-RPC and TLS.
func TestXenAPIOfNPMIsContent(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]*xapitest.Options{"new pool": {}, "old pool": {NoJSONRPC: true, TLS: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options.Dir = t.TempDir()
			p, err := xapitest.Start(oneVM("Running", 6*mib), options)
			require.NoError(t, err)
			p.Expect("exported base", "is pending") // it leaves tasks to the pool's garbage collection
			t.Cleanup(func() { require.NoError(t, p.Close()) })
			vm := p.VM("web")
			fill(t, vm.Disks[0].Path, 3*mib-512, mib, 1)
			url := strings.Replace(p.URL(), "://", "://"+p.Username()+":"+p.Password()+"@", 1)
			out, err := testenv.Node(t, xenAPIScript, url, "auto", "web", vm.Disks[0].Path)
			require.NoError(t, err, out)
			require.Contains(t, out, "content\n")
		})
	}
}
