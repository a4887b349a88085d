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

// The client of Xen Orchestra itself, from npm.
func TestXenAPIOfNPMIsContent(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"json-rpc"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			p := xapitest.NewPool(t, oneVM("Running", 6*mib))
			vm := p.VM("web")
			fill(t, vm.Disks[0].Path, 3*mib-512, mib, 1)
			url := strings.Replace(p.URL(), "://", "://"+p.Username()+":"+p.Password()+"@", 1)
			out, err := testenv.Node(t, xenAPIScript, url, transport, "web", vm.Disks[0].Path)
			require.NoError(t, err, out)
			require.Contains(t, out, "content\n")
		})
	}
}
