package xapitest_test

import (
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// A bubble fails unless every goroutine that was started in it has ended.
func TestCloseEndsAllThatRuns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		network := xapitest.NewMemoryListener()
		p, err := xapitest.Start(oneVM("Halted", 8*mib), &xapitest.Options{Dir: dir, Listener: network})
		require.NoError(t, err)
		c := p.Client(t)
		p.Hang("VM.snapshot", xapitest.OnCall(1))
		call[string](t, c, "Async.VM.snapshot", p.VM("web").Ref, "s")
		p.StallExport(0)
		conn, err := network.DialContext(t.Context(), "", "")
		require.NoError(t, err)
		go func() {
			_, _ = io.WriteString(conn, "GET /export_raw_vdi?vdi="+p.VM("web").Disks[0].Ref+" HTTP/1.1\r\nAuthorization: Basic cm9vdDpzaW11bGF0ZWQtc2VjcmV0\r\n\r\n")
			_, _ = io.ReadAll(conn)
		}()
		synctest.Wait()
		require.NotEmpty(t, p.Leaks())
		require.NoError(t, c.Close())
		p.Expect("Async.VM.snapshot")
		require.NoError(t, p.Close())
	})
}

func TestCloseLeavesNoGoroutineOfRealSockets(t *testing.T) {
	p, err := xapitest.Start(oneVM("Running", 8*mib), nil)
	require.NoError(t, err)
	for range 3 {
		_, err := talk(t, p, "GET /nothing HTTP/1.1\r\n\r\n")
		require.NoError(t, err)
	}
	dir := p.VM("web").Disks[0].Path
	require.NoError(t, p.Close())
	require.NoFileExists(t, dir, "a temporary directory is removed")
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		require.NotContains(t, stack, "xapitest.(*server)")
	}
}
