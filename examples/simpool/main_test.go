package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

// build compiles the program.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "simpool")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

// start runs the program and returns what it says of itself; stop ends it with
// a signal and returns its exit code.
func start(t *testing.T, program string, args ...string) (d description, stop func(syscall.Signal) int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	complaints := filepath.Join(t.TempDir(), "stderr")
	stderr, err := os.Create(complaints)
	require.NoError(t, err)
	cmd.Stderr = stderr
	said := func() string {
		text, err := os.ReadFile(complaints)
		require.NoError(t, err)
		return string(text)
	}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	reader := bufio.NewReader(out)
	line, err := reader.ReadBytes('\n')
	require.NoError(t, err, said())
	require.NoError(t, json.Unmarshal(line, &d))
	return d, func(signal syscall.Signal) int {
		require.NoError(t, cmd.Process.Signal(signal))
		rest, err := io.ReadAll(reader)
		require.NoError(t, err)
		require.Empty(t, string(rest), "one line, no more")
		_ = cmd.Wait() // the exit code tells
		require.Empty(t, said())
		require.NoError(t, stderr.Close())
		return cmd.ProcessState.ExitCode()
	}
}

func TestServesPoolUntilSignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals to send here")
	}
	program, dir := build(t), t.TempDir()
	image := filepath.Join(dir, "root.raw")
	require.NoError(t, os.WriteFile(image, bytes.Repeat([]byte("guest"), 1<<20), 0o600))
	state := filepath.Join(dir, "state")
	d, stop := start(t, program, "-state", state, "-vm", "web="+image+","+image, "-vm", "idle")

	require.Len(t, d.Hosts, 1)
	require.Len(t, d.SRs, 1)
	require.Len(t, d.VMs, 2)
	require.Equal(t, "idle", d.VMs[1].NameLabel)
	require.Len(t, d.VMs[0].Disks, 2)
	root := d.VMs[0].Disks[0]
	require.Equal(t, int64(5<<20), root.Size)
	require.Equal(t, state, filepath.Dir(root.Path))

	var stdout, stderr bytes.Buffer
	require.Equal(t, 3, run(t.Context(), []string{"-state", state}, &stdout, &stderr), "one at a time")
	require.Contains(t, stderr.String(), "running")
	require.Empty(t, stdout.String())

	file, err := os.OpenFile(root.Path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte("written while it runs"), 1<<20)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.Contains(t, string(export(t, d, root.VDI)), "written while it runs")

	require.Zero(t, stop(syscall.SIGTERM))
	require.FileExists(t, root.Path, "-state is kept")
	unchanged, err := os.ReadFile(image)
	require.NoError(t, err)
	require.NotContains(t, string(unchanged), "written", "the images given are copied")

	for _, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM} {
		again, stop := start(t, program, "-state", state, "-vm", "other")
		require.Contains(t, string(export(t, again, root.VDI)), "written while it runs")
		again.URL = d.URL // another port
		require.Equal(t, d, again, "it goes on where it stopped")
		stop(end)
	}
	d, stop = start(t, program, "-tls", "-vm", "web="+image)
	require.Contains(t, d.URL, "https://")
	require.Contains(t, string(export(t, d, d.VMs[0].Disks[0].VDI)), "guest")
	require.Zero(t, stop(syscall.SIGINT))
	require.NoFileExists(t, d.VMs[0].Disks[0].Path, "a temporary folder is removed")
}

// export logs in and downloads a snapshot of a disk.
func export(t *testing.T, d description, uuid string) []byte {
	t.Helper()
	client, err := xapi.Dial(t.Context(), d.URL, &xapi.Options{
		Username: d.Username, Password: xapi.Secret(d.Password), InsecureTLS: true,
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	disk, err := xapi.ByUUID[xapi.VDI](t.Context(), client, uuid)
	require.NoError(t, err)
	var snapshot xapi.Ref[xapi.VDI]
	require.NoError(t, client.CallAsync(t.Context(), "VDI.snapshot", &snapshot, disk))
	download, err := client.ExportVDI(t.Context(), snapshot, &xapi.ExportVDIOptions{Format: "raw"})
	require.NoError(t, err)
	defer func() { require.NoError(t, download.Close()) }()
	content, err := io.ReadAll(download)
	require.NoError(t, err)
	require.NoError(t, download.Finish(t.Context()))
	return content
}

func TestExitCodeTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-h"}, 0, "Exit codes"},
		{[]string{"-vm", "=root.raw"}, 2, "needs a name"},
		{[]string{"web"}, 2, `what is "web"?`},
		{[]string{"-unknown"}, 2, "-unknown"},
		{[]string{"-vm", "web=" + filepath.Join(t.TempDir(), "missing.raw")}, 3, "vm web: disk 0"},
		{[]string{"-listen", "nowhere.invalid:port"}, 3, "simpool:"},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, row.code, run(t.Context(), row.args, &stdout, &stderr), "%v", row.args)
		require.Contains(t, stderr.String(), row.says)
		require.Empty(t, stdout.String())
	}
}
