package xapitest_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

func TestXMLRPCOfPythonIsContent(t *testing.T) {
	t.Parallel()
	python := testenv.Require(t, "python3")
	p := xapitest.NewPool(t, oneVM("Running", 4*mib))
	// the script is the test's own
	out, err := exec.CommandContext(t.Context(), python, "testdata/client.py", p.URL(), p.Username(), p.Password()).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "content\n", string(out))
}
