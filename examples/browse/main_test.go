package main

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/examples/internal/sample"
)

func TestVolumesAreServedReadOnlyToThisMachine(t *testing.T) {
	t.Parallel()
	dir, program := t.TempDir(), filepath.Join(t.TempDir(), "browse")
	disk, err := sample.Image("../../filerestore/testdata/a.img.zst")
	require.NoError(t, err)
	id, err := sample.Write(t.Context(), dir, disk)
	require.NoError(t, err)
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	cmd := exec.CommandContext(t.Context(), program, "file://"+filepath.ToSlash(dir), id)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	base := strings.TrimSuffix(line, "/\n")

	get := func(host, method, path string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
		require.NoError(t, err)
		r.Host = host
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Contains(t, resp.Header.Get("Content-Security-Policy"), "sandbox")
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	_, index := get("", "GET", "/")
	require.Contains(t, index, `<a href="/xvda:p1/">`)
	require.Contains(t, index, `<a href="/lvm:vg0:home/">`)
	_, list := get("", "GET", "/xvda:p1/")
	require.Contains(t, list, "back%5Cslash")
	code, _ := get("", "GET", "/xvda:p1/nothing")
	require.Equal(t, http.StatusNotFound, code)
	code, _ = get("evil.example", "GET", "/")
	require.Equal(t, http.StatusMisdirectedRequest, code)

	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
	leases, err := filepath.Glob(filepath.Join(dir, ".xenbackup", "leases", "*", "*"))
	require.NoError(t, err)
	require.Empty(t, leases)
}
