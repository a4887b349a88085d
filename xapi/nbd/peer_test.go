package nbd_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi/nbd"
)

// qemuServer serves a raw file on a socket as "disk".
func qemuServer(t *testing.T, file string) string {
	t.Helper()
	testenv.Require(t, "qemu-nbd")
	dir, err := os.MkdirTemp("", "nbd") //nolint:usetesting // names of sockets are short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket, pid := filepath.Join(dir, "s"), filepath.Join(dir, "pid")
	// --fork returns when the socket is there.
	out, err := exec.CommandContext(t.Context(), "qemu-nbd", "--fork", "--pid-file", pid, "-r", "-t", "-e", "4", "-f", "raw", "-x", "disk", "-k", socket, file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Cleanup(func() {
		id, err := os.ReadFile(filepath.Clean(pid))
		require.NoError(t, err)
		require.NoError(t, exec.Command("kill", strings.TrimSpace(string(id))).Run()) //nolint:noctx // the test's context is over
	})
	return socket
}

func TestClientReadsFromQEMU(t *testing.T) {
	t.Parallel()
	m := newMemory(9*mib + 512)
	file := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(filepath.Clean(file))
	require.NoError(t, err)
	_, err = f.WriteAt(m.data[:mib], mib)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(m.Size()))
	require.NoError(t, f.Close())
	want, err := os.ReadFile(filepath.Clean(file))
	require.NoError(t, err)

	socket := qemuServer(t, file)
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "unix", socket)
	require.NoError(t, err)
	c := open(t, conn, nil)
	require.True(t, bytes.Equal(want, all(t, c)))
	got := make([]byte, 5000)
	_, err = c.ReadAt(got, mib+77)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want[mib+77:][:5000], got))
	require.True(t, c.CanStatus())
	list := extents(t, c, 0, c.Size())
	require.Equal(t, disk.Extent{Len: mib, Kind: disk.Zero}, list[0])
	require.Equal(t, disk.Data, list[1].Kind)

	conn, err = d.DialContext(t.Context(), "unix", socket)
	require.NoError(t, err)
	_, err = nbd.NewClient(t.Context(), conn, "other", nil)
	require.ErrorIs(t, err, nbd.ErrUnknownExport)
}

func TestQEMUReadsFromServer(t *testing.T) {
	t.Parallel()
	testenv.Require(t, "qemu-img")
	variants(t, func(t *testing.T, s *nbd.Server, m *memory, _ *nbd.ClientOptions) {
		t.Helper()
		if s.Legacy { // QEMU wants to see the name before it says it
			s.List = func(context.Context) []string { return []string{"disk"} }
		}
		host, port, err := net.SplitHostPort(listen(t, s))
		require.NoError(t, err)
		dir := t.TempDir()
		image := "driver=nbd,export=disk,host=" + host + ",port=" + port
		args := []string{"convert", "--image-opts", "-O", "raw"}
		if s.TLS != nil {
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.TLS.Certificates[0].Certificate[0]})
			require.NoError(t, os.WriteFile(filepath.Join(dir, "ca-cert.pem"), ca, 0o600))
			args = append(args, "--object", "tls-creds-x509,id=tls0,endpoint=client,dir="+dir)
			image += ",tls-creds=tls0,tls-hostname=example.com"
		}
		out := filepath.Join(dir, "out.raw")
		text, err := exec.CommandContext(t.Context(), "qemu-img", append(args, image, out)...).CombinedOutput() // our own words
		require.NoError(t, err, "%s", text)
		got, err := os.ReadFile(filepath.Clean(out))
		require.NoError(t, err)
		require.True(t, bytes.Equal(m.data, got))
	})
}
